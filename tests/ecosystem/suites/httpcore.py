from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="httpcore",
    source=Archive("httpcore", "1.0.9", "6e34463af53fd2ab5d807f399a9b45ea31c3dfa2276f15a2c3f00afff6e176e8"),
    needs=("httpcore[asyncio,http2,socks,trio]==1.0.9", "httpx==0.28.1", "pytest-httpbin==2.1.0"),
    package="httpcore",
    arguments=("-W", "ignore::pytest.PytestUnknownMarkWarning"),
    quick=("tests/_async",),
    plugins=("anyio.pytest_plugin", "pytest_httpbin.plugin"),
    left_out={r"\btrio\b|test_connection_pool_concurrency|test_models.py::test_response_async": "other loops"},
    through="anyio",
    probe="over_httpcore",
)
