from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="aiohttp",
    source=Archive("aiohttp", "3.14.5", "5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178"),
    needs=(
        "aiohttp==3.14.5",
        "blockbuster==1.5.29",
        "Brotli==1.2.1",
        "coverage==7.17.5",
        "freezegun==1.5.5",
        "isal==1.9.1; python_version < '3.14'",
        "proxy.py==2.4.10",
        "pytest-cov==7.1.0",
        "pytest-mock==3.17.0",
        "python-on-whales==0.81.0",
        "re-assert==1.1.0",
        "trustme==1.2.1",
    ),
    package="aiohttp",
    tests=("tests", "--ignore=tests/autobahn", "--ignore=tests/test_benchmarks_client.py"),
    quick=("tests/test_client_ws_functional.py", "tests/test_connector.py", "tests/test_web_runner.py"),
    # Without --aiohttp-fast, each test collects the garbage of the whole process, which takes most of the time.
    arguments=("--aiohttp-fast", "-m", "not dev_mode and not autobahn and not internal"),
    plugins=("pytest_mock", "pytest_cov.plugin"),
    white_box={
        "test_start_tls_connection_returns_none": "start_tls() of a closed transport returns None on "
        "asyncio, and raises ConnectionAbortedError on sfloop",
    },
    probe="over_aiohttp",
)
