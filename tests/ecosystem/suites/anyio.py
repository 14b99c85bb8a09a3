from third_party.sdist import pinned

from ecosystem.suite import Suite

_SOURCE = pinned("anyio")

SUITE = Suite(
    name="anyio",
    source=_SOURCE,
    needs=(f"anyio=={_SOURCE.version}", "hypothesis==6.170.17", "pytest-mock==3.17.0", "trustme==1.2.1"),
    package="anyio",
    keeps_package=True,  # make third-party has the same folder, and src is not on the path here
    quick=("tests/test_sockets.py",),
    arguments=("-p", "anyio", "-p", "pytest_mock", "-p", "ipv6_localhost"),
    left_out={
        r"^(?!.*asyncio)": "tests without a loop",
        r"\+uvloop|\btrio\b": "other loops",
        r"test_(nonexistent|entrypoint)_main_module": "need a __main__ with a file, which pytest-xdist's is not",
        "test_asyncio_run_does_not_leak_event_loop": "does not wait for a thread that refers to the loop",
        r"::test_getaddrinfo\[": "asks a name server on the Internet",
    },
    probe="over_anyio",
)
