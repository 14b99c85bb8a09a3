from third_party.sdist import pinned

from ecosystem.suite import Suite

_SOURCE = pinned("aiofastnet")

SUITE = Suite(
    name="aiofastnet",
    source=_SOURCE,
    needs=(f"aiofastnet=={_SOURCE.version}", "async-timeout==5.0.1", "pytest-asyncio==1.5.0"),
    package="aiofastnet",
    tests=("tests", "--ignore=tests/test_benchmarks.py"),
    quick=("tests/test_api_streams.py", "tests/test_api_datagram.py"),
    plugins=("pytest_asyncio.plugin",),
    left_out={r"\buvloop\b": "other loops"},
    probe="over_aiofastnet",
)
