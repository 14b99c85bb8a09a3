from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from third_party.sdist import Archive

from ecosystem.services.redis import redis
from ecosystem.suite import Suite


@contextmanager
def _service() -> Iterator[Mapping[str, str]]:
    with redis() as (host, port):
        yield {"PYTEST_ADDOPTS": f"--redis-url=redis://{host}:{port}/0"}


SUITE = Suite(
    name="redis",
    source=Archive("redis", "8.1.0", "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25"),
    needs=(
        "redis==8.1.0",
        "cryptography==50.0.2",
        "numpy==2.2.6",
        "opentelemetry-api==1.45.2",
        "opentelemetry-sdk==1.45.2",
        "pybreaker==1.4.1",
        "pytest-asyncio==1.5.0",
        "redis-entraid==1.2.2",
        "xxhash==4.1.0",
    ),
    package="redis",
    # The scenarios drive a cluster through a fault injector.
    tests=("tests/test_asyncio", "--ignore=tests/test_asyncio/test_scenario"),
    quick=("tests/test_asyncio/test_encoding.py", "tests/test_asyncio/test_pipeline.py"),
    arguments=("-m", "not onlycluster and not redismod and not ssl and not cp_integration"),
    plugins=("pytest_asyncio.plugin",),
    environment="services",
    service=_service,
    probe="over_redis",
)
