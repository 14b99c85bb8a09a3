"""Opening the library: the calls made, and the error when something is missing."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from harness import zf
from harness.loops import drain

import sfloop
from sfloop.native.cores.core import StackLost
from sfloop.native.libraries import tcpdirect, tcpdirect_declarations, tcpdirect_errors

HEADER = Path(tcpdirect.__file__).parent / "zf.h"


@pytest.fixture
def attr_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(zf.VARIABLE, zf.library())
    return monkeypatch


def refusal(**options: Any) -> OSError:
    with pytest.raises(OSError) as caught:
        zf.new_loop(**options)
    return caught.value


def test_both_declarations_of_the_library_agree() -> None:
    """The C table and cffi's declarations have the same names, results and arguments."""
    macro = HEADER.read_text().partition("#define SF_ZF_FUNCTIONS(X)")[2].partition("\n\n")[0].replace("\\\n", " ")
    in_c = {name: (result, arguments) for result, name, arguments in re.findall(r"X\((.*?), (\w+), \((.*?)\)\)", macro)}
    declared = re.sub(r"\s+", " ", tcpdirect_declarations.DECLARATIONS)
    in_cffi = {
        name: (result, arguments) for result, name, arguments in re.findall(r"([\w ]+[ *]+)(\w+)\((.*?)\);", declared)
    }
    assert list(in_c) == tcpdirect.functions()
    for name, (result, arguments) in in_c.items():
        found = in_cffi[name]
        assert plain(found[0]) == plain(result), name
        assert plain(found[1]) == plain(arguments), name


def plain(text: str) -> str:
    return re.sub(r"\s+", "", text.replace("unsigned int", "unsigned"))


def test_a_loop_says_what_it_runs_on() -> None:
    loop = zf.new_loop()
    try:
        described = loop.describe()
        assert described["stack"] == "tcpdirect"
        assert described["library"].startswith("TCPDirect ")
        assert "tcpdirect" in loop.stats()["stacks"]
    finally:
        loop.close()


def test_a_missing_library_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zf.VARIABLE, "/nonexistent/libonload_zf.so.1")
    with pytest.raises(OSError, match="cannot be loaded.*set SFLOOP_TCPDIRECT_LIBRARY to the path") as caught:
        sfloop.Loop(sfloop.Options(stack="tcpdirect", interface="lo", fallback="error"))
    assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.warns(RuntimeWarning, match="the loop runs on the kernel stack"):
        sfloop.Loop(sfloop.Options(stack="tcpdirect", interface="lo", fallback="warn")).close()


@pytest.mark.usefixtures("attr_of_the_environment")
def test_a_library_that_is_another() -> None:
    class Strange:
        path, ffi, lib = "libm.so.6", tcpdirect._load().ffi, tcpdirect._load().ffi.dlopen("libm.so.6")

    with pytest.raises(OSError, match=r"libm.so.6 has no zf_reactor_perform\(\): sfloop needs TCPDirect 9"):
        tcpdirect._Library.function(Strange(), "zf_reactor_perform")  # type: ignore[arg-type]


def test_a_wrong_attribute_is_refused_with_the_nearest_right_one() -> None:
    assert "no attribute 'n_buf'; did you mean 'n_bufs'?" in str(refusal(tcpdirect={"n_buf": 4096}))
    assert "did you mean 'reactor_spin_count'?" in str(refusal(tcpdirect="reactor_spincount=3"))


def test_a_value_out_of_range_is_refused_with_the_librarys_words() -> None:
    if not zf.is_simulator():
        pytest.skip("the vendor's library checks few ranges; the simulator checks all")
    assert re.search(r"attribute pio cannot be 7: it is of type int, by default 3", str(refusal(tcpdirect={"pio": 7})))
    assert "attribute pio cannot be 'x'" in str(refusal(tcpdirect={"pio": "x"}))


@pytest.mark.parametrize(
    "value",
    [{"interface": "eth0"}, {"a": 1.5}, {"a": True}, {1: 2}, "n_bufs", "=3", {"a;b": 1}, {"": 1}, 7],
)
def test_options_that_are_no_attributes(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"tcpdirect="):
        sfloop.Options(tcpdirect=value)


def test_attributes_can_be_hashed_and_written() -> None:
    options = sfloop.Options(tcpdirect={"N_BUFS": 8192, "ctpio_mode": "ct"})
    assert options == sfloop.Options(tcpdirect="n_bufs=8192;ctpio_mode=ct")
    assert hash(options) == hash(sfloop.Options(tcpdirect="ctpio_mode=ct;n_bufs=0x2000"))
    assert str(options.tcpdirect) == "n_bufs=8192;ctpio_mode=ct"


@pytest.mark.usefixtures("attr_of_the_environment")
def test_a_row_of_the_backends() -> None:
    row = next(backend for backend in sfloop.backends() if backend.name == "tcpdirect")
    assert row.available
    assert row.reason.startswith("TCPDirect ")


@pytest.mark.usefixtures("attr_of_the_environment")
def test_low_latency_unless_something_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    library = tcpdirect._load()

    def spin(given: dict[str, int | str]) -> int | None:
        attr = tcpdirect._attributes(library, "lo", given)
        try:
            return library.integer(attr, "reactor_spin_count")
        finally:
            library.lib.zf_attr_free(attr)

    before = tcpdirect.from_environment()
    assert spin({}) == 1
    monkeypatch.setenv("ZF_ATTR", ";".join([*(f"{k}={v}" for k, v in before.items()), "reactor_spin_count=9"]))
    assert spin({}) == 9
    assert spin({"reactor_spin_count": 12}) == 12


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENODEV, "TCPDirect cannot use this interface"),
        (errno.EBUSY, "no virtual interface left"),
        (errno.ENOKEY, "no licence for TCPDirect"),
        (errno.ENOMEM, r"huge pages of 2 MiB, and \d+ are free; .*sysctl vm.nr_hugepages"),
        (errno.ENOSPC, "no PIO buffer is left"),
        (errno.ENOENT, "drivers of Onload are not loaded"),
        (errno.EPERM, "may not open /dev/sfc_char"),
        (errno.EINVAL, "out of its range"),
        (errno.EIO, "zf_stack_alloc.. returned Input/output error"),
    ],
)
def test_each_reason_why_there_is_no_stack(error: int, words: str) -> None:
    said = tcpdirect_errors.explain_stack(error, "enp1s0f0", 0)
    assert said.errno == error
    assert re.search(words, str(said)), said


def test_each_reason_why_the_library_does_not_begin() -> None:
    assert "finds no control plane" in str(tcpdirect_errors.explain_init(errno.ENOENT, "lib"))
    assert "does not understand ZF_ATTR" in str(tcpdirect_errors.explain_init(errno.EINVAL, "lib"))
    assert "Operation not permitted" in str(tcpdirect_errors.explain_init(errno.EPERM, "lib"))
    with pytest.raises(OSError, match="huge pages"):
        tcpdirect_errors.huge_pages(10**9)


@pytest.mark.parametrize("fallback", ["error", "kernel"])
def test_more_connections_than_there_are_zockets(fallback: str) -> None:
    """Both ends of a connection are the loop's, and take one zocket each."""
    loop = zf.new_loop(fallback=fallback)
    writers: list[asyncio.StreamWriter] = []

    async def serve(_: Any, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    async def main() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            for _ in range(64):
                _, writer = await asyncio.wait_for(asyncio.open_connection(*server.sockets[0].getsockname()), 5)
                writers.append(writer)
        finally:
            server.close()
        return sum(writer.get_extra_info("stack") == "kernel" for writer in writers)

    try:
        if fallback == "error":
            with pytest.raises(OSError, match=r"limit of connections is reached.*fallback='kernel'") as caught:
                loop.run_until_complete(main())
            assert caught.value.errno == errno.ENOBUFS
            assert loop.stats()["stacks"]["tcpdirect"]["zockets_full"] > 0
        else:
            assert loop.run_until_complete(main()) > 0  # by the kernel
    finally:
        for writer in writers:
            writer.transport.abort()
        drain(loop)
        loop.close()


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[tcpdirect.OpenStack]:
    """The stacks that Python has freed."""
    free, found = tcpdirect.OpenStack.free, list[tcpdirect.OpenStack]()

    def noted(stack: tcpdirect.OpenStack) -> None:
        found.append(stack)
        free(stack)

    monkeypatch.setattr(tcpdirect.OpenStack, "free", noted)
    return found


@pytest.mark.usefixtures("attr_of_the_environment")
def test_a_stack_that_is_refused_is_given_back(freed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcpdirect.OpenStack, "options", lambda _: {"nothing": 1})
    loop = sfloop.Loop(sfloop.Options(stack="kernel"))
    try:
        with pytest.raises(OSError, match="the tcpdirect stack has no option nothing"):
            tcpdirect.attach(loop, zf.interface(), {}, overflow=True)
        assert len(freed) == 1
    finally:
        loop.close()


@pytest.mark.usefixtures("attr_of_the_environment")
def test_a_stack_that_the_engine_cannot_take_is_freed_by_c(freed: list[Any]) -> None:
    loop = sfloop.Loop(sfloop.Options(stack="kernel"))
    try:
        for number in range(8):
            loop._open_stack("tcpip", ("shm", f"zf-{os.getpid()}-{number}", socket.htonl(0x7F4D0001), [], 64), {})
        with pytest.raises(StackLost):
            tcpdirect.attach(loop, zf.interface(), {}, overflow=True)
        assert not freed
    finally:
        loop.close()
