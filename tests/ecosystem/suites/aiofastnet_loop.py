import dataclasses

from ecosystem.suites import aiofastnet

SUITE = dataclasses.replace(
    aiofastnet.SUITE,
    name="aiofastnet, loop",
    tests=("tests/test_smoke.py", "tests/test_protocol_error.py"),
    quick=("tests/test_protocol_error.py",),
    variables={"NO_AIOFN": "1"},  # connections by the loop's methods, instead of aiofastnet's functions
    probe="",
)
