"""No loop starts a process when it is made, for any option and any missing backend.

A seccomp filter kills the program at the system call that would start a process.
"""

from __future__ import annotations

import signal

import pytest
from harness import programs

WATCHED = """
import ctypes, platform, struct, subprocess, warnings
import sfloop, sfloop.loop
sfloop.backends()  # an editable install starts a compiler when a module of sfloop is looked for that was not built

# <asm/unistd.h>: execve, execveat, clone, then fork and vfork where they exist. clone3 is the same everywhere.
CALLS = {"x86_64": (59, 322, 56, 57, 58), "aarch64": (221, 281, 220)}[platform.machine()]
CLONE3, CLONE_THREAD = 435, 0x10000
LOAD, EQUALS, HAS_BITS, RETURN = 0x20, 0x15, 0x45, 0x06  # <linux/bpf_common.h>
ALLOW, KILL_PROCESS, NO_SUCH_CALL = 0x7FFF0000, 0x80000000, 0x00050026  # <linux/seccomp.h>; ENOSYS
CALL, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38

def start_no_process():
    execve, execveat, clone, *forks = CALLS
    code = [(LOAD, 0, 0, CALL)]
    for call in (execve, execveat, *forks):
        code += [(EQUALS, 0, 1, call), (RETURN, 0, 0, KILL_PROCESS)]
    code += [(EQUALS, 0, 1, CLONE3), (RETURN, 0, 0, NO_SUCH_CALL)]  # its flags are in memory; libc takes clone() then
    code += [(EQUALS, 0, 3, clone), (LOAD, 0, 0, FIRST_ARGUMENT), (HAS_BITS, 1, 0, CLONE_THREAD)]
    code += [(RETURN, 0, 0, KILL_PROCESS), (RETURN, 0, 0, ALLOW)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in code))
    program = struct.pack("@HP", len(code), ctypes.addressof(packed))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0, os.strerror(ctypes.get_errno())

start_no_process()
"""

MAKING = """
async def nothing():
    return 7

for options in ({}, {}, {"stack": "kernel"}, {"stack": "tcpdirect"}, {"stack": "tcpdirect", "interface": "lo"},
                {"stack": "onload"}, {"stack": "tcpip"}, {"driver": "ef_vi", "interface": "lo"}):
    assert sfloop.run(nothing(), **options) == 7
loop = sfloop.new_event_loop()
described = loop.describe()
loop.close()
assert described["stack"] == "kernel"
assert set(described["reasons"]) == {"tcpdirect", "tcpip", "kernel"}, described
sfloop.backends()
threading.Thread(target=print, args=("made",)).start()
"""


def test_no_process_is_started() -> None:
    assert programs.run("sfloop", WATCHED + MAKING, limit=60) == "made\n"


@pytest.mark.parametrize("start", ['subprocess.run(["true"])', 'os.system("true")', "os.fork()"])
def test_a_process_would_be_noticed(start: str) -> None:
    process = programs.start("sfloop", WATCHED + start)
    programs.finish(process, 60)
    assert process.returncode == -signal.SIGSYS


PARSED = """
import sfloop
sfloop.run(asyncio.sleep(0))
sfloop.run(asyncio.sleep(0), stack="tcpdirect", interface="lo")
print(sorted({"cffi", "pycparser", "ctypes", "ipaddress", "sfloop.transports.ethernet"} & {*sys.modules} - {*before}))
"""


def test_no_declarations_are_parsed_for_a_library_that_is_not_there() -> None:
    found = programs.run("sfloop", "before = [*sys.modules]" + PARSED, limit=60, SFLOOP_TCPDIRECT_LIBRARY="")
    assert "cffi" not in found
    assert "pycparser" not in found


def test_a_loop_with_default_options_imports_only_what_it_needs() -> None:
    body = "before = [*sys.modules]" + PARSED.replace(
        'sfloop.run(asyncio.sleep(0), stack="tcpdirect", interface="lo")', ""
    )
    assert programs.run("sfloop", body, limit=60) == "[]\n"
