"""TCPDirect's library for the tests: our simulator of it, or the library in SFLOOP_TCPDIRECT_LIBRARY.

The vendor's library needs an interface: a NIC in SFLOOP_TEST_TCPDIRECT_INTERFACE, or its software NIC in ZF_ATTR
(``emu=2;interface=lo``).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "SFLOOP_TCPDIRECT_LIBRARY"
INTERFACE_VARIABLE = "SFLOOP_TEST_TCPDIRECT_INTERFACE"

#: The address of a test's plain sockets that are peers of the loop's; it is not the stack's.
KERNEL_HOST = "127.0.1.1"

_given = os.environ.get(VARIABLE)


def is_simulator() -> bool:
    """Whether the library is our simulator."""
    return _given is None or "zfsim" in _given


@functools.cache
def library() -> str:
    """The library's path. Builds the simulator on first use."""
    if _given is not None:
        return _given
    build = ROOT / "build" / Path(sys.prefix).name
    target = "tests/sim/tcpdirect/libzfsim.so"
    ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert ninja and build.is_dir(), f"no ninja, or no build in {build}: make .venv/with-test"
    done = subprocess.run([ninja, "-C", str(build), target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(build / target)


def interface() -> str:
    """The interface of the tests' stacks."""
    return os.environ.get(INTERFACE_VARIABLE, "lo")


def new_loop(**options: Any) -> Any:
    """A loop on the TCPDirect stack."""
    import sfloop

    options = {"stack": "tcpdirect", "interface": interface(), "fallback": "error", **options}
    with mock.patch.dict(os.environ, {VARIABLE: library()}):
        loop = sfloop.Loop(sfloop.Options(**options))
    assert loop.describe()["stack"] == "tcpdirect", loop.describe()["reasons"]
    return loop


#: Folders of tests/python whose tests also run on the TCPDirect stack.
FOLDERS = ("tcp", "udp")

_FD = "a connection past the kernel has no descriptor"
_LOCAL = "on an emulated interface a local address without a zocket does not answer by the kernel"
_QUEUE = "a zfur holds 64 datagrams and drops further ones"
_ICMP = "TCPDirect does not see ICMP errors"
_KERNELS = "says nothing of TCPDirect: IPv6 and AF_UNIX are the kernel's"

#: Tests in these folders that do not: test or module → reason. docs/solarflare.md has the same list for users.
EXCEPT = {
    "test_offsets_and_counts": _FD,
    "test_extra_information": _FD,
    "test_types_and_extra_information": _FD,
    "test_the_socket_can_be_duplicated": _FD,
    "test_a_second_transport_on_the_same_descriptor_is_refused": _FD,
    "test_exhaustion": _FD,
    "test_a_hundred_connections_at_once": "both their ends are in one stack, which has 64 zockets",
    "test_the_port_can_be_used_again_at_once": "a listener's port stays taken until its last connection is gone",
    "test_reuse_port_lets_two_servers_share_a_port": _LOCAL,
    "test_keep_alive": "TCPDirect has no keepalive",
    "test_five_hundred_at_once": _QUEUE,
    "test_kept_datagrams_are_not_changed_by_later_ones": _QUEUE,
    "test_every_member_gets_every_datagram": _QUEUE,
    "test_pausing_in_the_middle_of_a_batch": _QUEUE,
    "test_leaving_the_group": "the stack takes up to a second to notice that a group was left",
    "test_a_view_of_a_view_that_is_kept": "the library uses lent memory again at once",
    "test_a_refused_datagram": _ICMP,
    "test_datagrams_beside_refusals": _ICMP,
    "test_failing_error_received": _ICMP,
    "test_unix_stream": _KERNELS,
    "test_unix_datagrams": _KERNELS,
}

_NO_RST = "nothing answers a SYN to a port that nobody listens at"
_FRAGMENT = "the first fragment arrives as a datagram of its own; a NIC leaves fragments to the kernel"

#: Further tests that the vendor's software NIC (emu=2) cannot pass.
EMULATOR = {
    "test_refused": _NO_RST,
    "test_all_addresses_refused": _NO_RST,
    "test_async_with_closes": _NO_RST,
    "test_start_serving_later": _NO_RST,
    "test_all_interfaces": "an address of 127/8 at which nobody listens is silent",
    "test_large_ones": _FRAGMENT,
    "test_sizes": _FRAGMENT,
    "test_an_endless_stream_leaves_room_for_others": "its thread spins, too: two CPUs are not enough to count turns",
}
if "emu" in os.environ.get("ZF_ATTR", ""):
    EXCEPT.update(EMULATOR)
