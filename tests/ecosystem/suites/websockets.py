from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="websockets",
    # The source distribution on PyPI has no tests.
    source=Archive(
        "websockets",
        "15.0.1",
        "8451495265af3e368f794c4dc15c99ce90c771d95560f542bff8c64b5455af3b",
        debian="python-websockets",
    ),
    needs=("websockets==15.0.1", "python-socks[asyncio]==3.2.1"),
    package="src",
    tests=("tests/asyncio", "tests/legacy"),
    quick=("tests/asyncio/test_client.py", "tests/asyncio/test_server.py"),
    white_box={
        r"ConnectionTests::test_(local|remote)_address": "replaces asyncio.BaseTransport.get_extra_info, which "
        "sfloop's transports do not inherit",
    },
    probe="over_websockets",
)
