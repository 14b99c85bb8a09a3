from third_party.sdist import pinned

from ecosystem.suite import Suite

_SOURCE = pinned("picows")

SUITE = Suite(
    name="picows",
    source=_SOURCE,
    needs=(
        f"picows=={_SOURCE.version}",
        "aiofastnet==1.2.0",
        "async-timeout==5.0.1",
        "pytest-asyncio==1.5.0",
        "tiny-proxy==0.3.0",
        "uvloop==0.23.0",
        "websockets==15.0.1",
    ),
    environment="picows",  # its tests import uvloop, and other suites use uvloop if it is there
    package="picows",
    quick=("tests/test_ws_logic.py", "tests/test_websockets_recv.py", "tests/test_websockets_send.py"),
    plugins=("pytest_asyncio.plugin",),
    left_out={
        r"\buvloop\b": "other loops",
        "test_proxy_dns_resolution": "asks a name server on the Internet",
        r"test_client_handshake_timeout\[.*tcp": "a race: the handshake must take longer than 10 µs",
    },
    probe="over_picows",
)
