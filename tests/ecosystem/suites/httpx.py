from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="httpx",
    source=Archive("httpx", "0.28.1", "75e98c5f16b0f35b567856f597f06ff2270a374470a5c2392242528e3e3e42fc"),
    needs=(
        "httpx[brotli,cli,http2,socks,zstd]==0.28.1",
        "chardet==5.2.0",
        "cryptography==50.0.2",
        "trio==0.35.0",
        "trustme==1.2.1",
        "uvicorn==0.54.0",
    ),
    package="httpx",
    quick=("tests/client/test_async_client.py",),
    plugins=("anyio.pytest_plugin",),
    left_out={
        r"\btrio\b": "other loops",
        "test_a?sync_proxy_close": "connects to a host on the Internet",
        "tests/test_main.py": "the command line, without a loop, with the output of older versions of click and rich",
        "test_logging_re": "expects the log lines of an older uvicorn",
    },
    through="httpcore",
    probe="over_httpx",
)
