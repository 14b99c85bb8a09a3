import dataclasses

from ecosystem.suites import aiofastnet

SUITE = dataclasses.replace(
    aiofastnet.SUITE,
    name="aiofastnet, loop",
    tests=("tests/test_smoke.py", "tests/test_protocol_error.py"),
    quick=("tests/test_protocol_error.py",),
    left_out={
        **aiofastnet.SUITE.left_out,
        "test_ssl_membio_enabled|test_transport_base|test_ssl_renegotiate": "names of aiofastnet's",
        r"test_(write|writelines)_paused": "aiofastnet's behaviour, which differs from asyncio's",
        r"test_sendfile\[|test_sendfile_huge_error": "aiofastnet's behaviour, which differs from asyncio's",
        "test_write_wrong_type|test_bad_buffer": "aiofastnet's behaviour, which differs from asyncio's",
        "test_ssl_server_hostname_not_passed": "asyncio accepts an empty name, and checks none",
        "test_ssl_timeout_validation": "asyncio checks a server's time limits for each connection",
        "test_sendfile_ssl_not_implemented": "asyncio raises RuntimeError, aiofastnet NotImplementedError",
        "test_exc_|_exc$": "asyncio handles exceptions of protocols differently",
    },
    variables={"NO_AIOFN": "1"},  # connections by the loop's methods, instead of aiofastnet's functions
    probe="",
)
