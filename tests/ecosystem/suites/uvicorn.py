from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="uvicorn",
    source=Archive("uvicorn", "0.54.0", "a2e33cbfaa0306f8e6b0c13e0cb89d7d7a2da3e62b90c66e18c33d9807b28620"),
    needs=(
        "uvicorn==0.54.0",
        "a2wsgi==1.10.10",
        "cryptography==50.0.2",
        "httptools==0.9.0",
        "httpx2==2.16.2",
        "python-dotenv==1.2.4",
        "pytest-mock==3.17.0",
        "PyYAML==6.0.4",
        "trustme==1.2.1",
        "watchfiles==1.3.0",
        "websockets==15.0.1",
        "wsproto==1.3.2",
        "zttp==0.0.35",
    ),
    package="uvicorn",
    tests=("tests", "--ignore=tests/benchmarks"),
    quick=("tests/test_server.py", "tests/test_ssl.py", "tests/protocols/test_http.py"),
    plugins=("anyio.pytest_plugin", "pytest_mock"),
    left_out={
        r"\buvloop\b": "other loops",
        r"test_get_loop_factory\[asyncio": "the test's name has the loop's class, so it differs",
    },
    white_box={"test_loop_auto": "expects that the loop's class is defined in asyncio"},
    probe="over_uvicorn",
)
