"""TCPDirect's library (libonload_zf): found, checked and opened at run time by cffi, in ABI mode.

Everything here happens once for a loop: attributes, ``zf_stack_alloc``, and the addresses of the functions that the
stack in C (``stacks/tcpdirect/stack.c``) calls by itself from then on. The declarations are the vendor's, of
``zf/*.h``; those that C calls are in ``zf.h`` as well.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sfloop.native.cores.core import LoopCore, tcpdirect_functions
from sfloop.native.libraries.tcpdirect_errors import explain_init, explain_stack, huge_pages, nearest

__all__ = [
    "LIBRARY",
    "LIBRARY_VARIABLE",
    "LOW_LATENCY",
    "OpenStack",
    "attach",
    "library_state",
    "open_stack",
    "versions",
]

#: The name the loader is asked for when the variable names no file.
LIBRARY: Final = "libonload_zf.so.1"
LIBRARY_VARIABLE: Final = "SFLOOP_TCPDIRECT_LIBRARY"

#: What sfloop sets unless ``ZF_ATTR`` or ``Options(tcpdirect=…)`` says otherwise.
LOW_LATENCY: Final[Mapping[str, int]] = {
    # An empty poll looks once for events, not 128 times: the loop has other things to look at, and comes back at once.
    "reactor_spin_count": 1,
    # Without a PIO buffer the stack does with DMA, instead of failing.
    "pio": 1,
    # Connections that are over hold one of 64 zockets for as long: not two minutes, nor the kernel's tcp_fin_timeout.
    "tcp_timewait_ms": 1000,
    "tcp_finwait_ms": 5000,
}

_CDEF: Final = """
struct sockaddr; struct epoll_event; struct iovec; struct iphdr; struct udphdr; struct timespec;
struct zf_attr; struct zf_stack; struct zf_muxer_set; struct zf_waitable; struct zf_ds;
struct zft; struct zft_handle; struct zftl; struct zfur; struct zfut; struct zft_msg; struct zfur_msg;
typedef unsigned int socklen_t;

int zf_init(void);
const char *zf_version(void);
const char *zf_version_short(void);
const char *onload_version_short(void);
int zf_attr_alloc(struct zf_attr **);
void zf_attr_free(struct zf_attr *);
int zf_attr_set_int(struct zf_attr *, const char *, int64_t);
int zf_attr_get_int(struct zf_attr *, const char *, int64_t *);
int zf_attr_get_str(struct zf_attr *, const char *, char **);
int zf_attr_set_from_str(struct zf_attr *, const char *, const char *);
int zf_attr_doc(const char *, const char ***, int *);
int zf_stack_alloc(struct zf_attr *, struct zf_stack **);
int zf_stack_free(struct zf_stack *);
int zf_stack_is_quiescent(struct zf_stack *);
int zf_stack_has_pending_work(const struct zf_stack *);
int zf_stack_query_feature(struct zf_stack *, int);
int zf_reactor_perform(struct zf_stack *);
int zf_muxer_alloc(struct zf_stack *, struct zf_muxer_set **);
void zf_muxer_free(struct zf_muxer_set *);
int zf_muxer_add(struct zf_muxer_set *, struct zf_waitable *, const struct epoll_event *);
int zf_muxer_del(struct zf_waitable *);
int zf_muxer_wait(struct zf_muxer_set *, struct epoll_event *, int, int64_t);
int zf_waitable_fd_get(struct zf_stack *, int *);
int zf_waitable_fd_prime(struct zf_stack *);
int zft_alloc(struct zf_stack *, const struct zf_attr *, struct zft_handle **);
int zft_handle_free(struct zft_handle *);
int zft_addr_bind(struct zft_handle *, const struct sockaddr *, socklen_t, int);
int zft_connect(struct zft_handle *, const struct sockaddr *, socklen_t, struct zft **);
struct zf_waitable *zft_to_waitable(struct zft *);
int zft_shutdown_tx(struct zft *);
int zft_free(struct zft *);
int zft_state(struct zft *);
int zft_error(struct zft *);
void zft_getname(struct zft *, struct sockaddr *, socklen_t *, struct sockaddr *, socklen_t *);
void zft_zc_recv(struct zft *, struct zft_msg *, int);
int zft_zc_recv_done(struct zft *, struct zft_msg *);
int zft_zc_recv_done_some(struct zft *, struct zft_msg *, size_t);
ssize_t zft_send(struct zft *, const struct iovec *, int, int);
ssize_t zft_send_single(struct zft *, const void *, size_t, int);
int zft_send_space(struct zft *, size_t *);
int zft_get_mss(struct zft *);
unsigned int zf_delegated_send_prepare(struct zft *, int, int, unsigned int, struct zf_ds *);
int zftl_listen(struct zf_stack *, const struct sockaddr *, socklen_t, const struct zf_attr *, struct zftl **);
int zftl_accept(struct zftl *, struct zft **);
struct zf_waitable *zftl_to_waitable(struct zftl *);
void zftl_getname(struct zftl *, struct sockaddr *, socklen_t *);
int zftl_free(struct zftl *);
int zfur_alloc(struct zfur **, struct zf_stack *, const struct zf_attr *);
int zfur_free(struct zfur *);
int zfur_addr_bind(struct zfur *, struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
int zfur_addr_unbind(struct zfur *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
void zfur_zc_recv(struct zfur *, struct zfur_msg *, int);
void zfur_zc_recv_done(struct zfur *, struct zfur_msg *);
int zfur_pkt_get_header(struct zfur *, const struct zfur_msg *, const struct iphdr **, const struct udphdr **, int);
int zfur_pkt_get_timestamp(struct zfur *, const struct zfur_msg *, struct timespec *, int, unsigned int *);
struct zf_waitable *zfur_to_waitable(struct zfur *);
int zfut_alloc(struct zfut **, struct zf_stack *, const struct sockaddr *, socklen_t, const struct sockaddr *,
               socklen_t, int, const struct zf_attr *);
int zfut_free(struct zfut *);
int zfut_get_mss(struct zfut *);
int zfut_send_single(struct zfut *, const void *, size_t);
int zfut_send(struct zfut *, const struct iovec *, int, int);
struct zf_waitable *zfut_to_waitable(struct zfut *);
void free(void *);
"""


@dataclass
class OpenStack:
    """A ``zf_stack``, and what the C stack is made from. :meth:`free` gives it back unless C has taken it."""

    functions: list[int]
    stack: int
    attr: int
    #: In network byte order; 0: the interface's own addresses.
    address: int
    #: How much of an address has to be as that one to be behind the simulator; 0: not on a simulator.
    emulated_bits: int
    timestamps: bool
    max_destinations: int
    #: "TCPDirect 10.0.0 with Onload 9.0.2", and what the NIC is used with.
    description: str
    library: _Library

    def free(self) -> None:
        """Frees the stack and its attributes."""
        lib, ffi = self.library.lib, self.library.ffi
        lib.zf_stack_free(ffi.cast("struct zf_stack *", self.stack))
        lib.zf_attr_free(ffi.cast("struct zf_attr *", self.attr))


class _Library:
    """The library, loaded. It stays so for the life of the process, as its threads and mappings do."""

    def __init__(self, path: str) -> None:
        # By the dynamic loader alone. cffi asks ldconfig, gcc and ld as well for a library that is not there, and its
        # declarations take 15 ms to parse: that is left for a library that is.
        try:
            ctypes.CDLL(path)
        except OSError as error:
            raise OSError(errno.ENOENT, _not_loaded(path, str(error))) from None
        from cffi import FFI

        self.path = path
        self.ffi: Any = FFI()
        self.ffi.cdef(_CDEF)
        self.initialised = False
        self.libc: Any = self.ffi.dlopen(None)
        self.lib: Any = self.ffi.dlopen(path)
        self.names = self._attribute_names()

    def function(self, name: str) -> int:
        """A function's address."""
        try:
            return int(self.ffi.cast("intptr_t", self.ffi.addressof(self.lib, name)))
        except AttributeError:
            raise OSError(
                errno.ENOSYS,
                f"{self.path} has no {name}(): sfloop needs TCPDirect 9 or later, and this is "
                f"{_words(self, 'zf_version_short')}",
            ) from None

    def _attribute_names(self) -> list[str]:
        names, count = self.ffi.new("const char ***"), self.ffi.new("int *")
        if self.lib.zf_attr_doc(self.ffi.NULL, names, count) < 0:
            return []
        found = [_text(self.ffi.string(names[0][i])) for i in range(count[0])]
        self.libc.free(names[0])
        return found

    def initialise(self) -> None:
        """``zf_init``, once."""
        if self.initialised:
            return
        given = from_environment()
        self.check_names(given, "ZF_ATTR")
        if "emu" in given and "interface" not in given:
            raise OSError(errno.EINVAL, "ZF_ATTR has emu, for the software NIC, and must then have interface, too")
        if given.get("emu") in ("2", "3"):  # it aborts the process where they are missing
            huge_pages(int(given.get("max_sbufs", 1024)) + 20)
        rc = self.lib.zf_init()
        if rc < 0:
            raise explain_init(-rc, self.path)
        self.initialised = True

    def check_names(self, attributes: Mapping[str, object], where: str) -> None:
        """:raises OSError: an attribute's name that the library does not have."""
        for name in attributes:
            if self.names and name.lower() not in self.names:
                raise OSError(
                    errno.EINVAL,
                    f"{where}: TCPDirect {_words(self, 'zf_version_short')} has no attribute {name!r}"
                    f"{nearest(name, self.names)}",
                )

    def integer(self, attr: Any, name: str) -> int | None:
        """An attribute's value, None where there is no such attribute."""
        value = self.ffi.new("int64_t *")
        return int(value[0]) if self.lib.zf_attr_get_int(attr, name.encode(), value) == 0 else None

    def string(self, attr: Any, name: str) -> str | None:
        """The same of an attribute that is text."""
        value = self.ffi.new("char **")
        if self.lib.zf_attr_get_str(attr, name.encode(), value) < 0 or value[0] == self.ffi.NULL:
            return None
        text = _text(self.ffi.string(value[0]))
        self.libc.free(value[0])
        return text


_loaded: dict[str, _Library] = {}


def _load() -> _Library:
    path = os.environ.get(LIBRARY_VARIABLE) or LIBRARY
    if path not in _loaded:
        _loaded[path] = _Library(path)
    return _loaded[path]


def library_state() -> tuple[bool, str]:
    """Whether the library is here, and which it is; or why not, and what to do."""
    try:
        library = _load()
    except OSError as error:
        return False, str(error.strerror)
    return True, f"{versions(library)}; needs an interface's name"


def versions(library: _Library | None = None) -> str:
    """What the library says it is: ``"TCPDirect 9.2.1 with Onload 9.1.0"``.

    :raises OSError: there is no library.
    """
    library = library or _load()
    return f"TCPDirect {_words(library, 'zf_version_short')} with Onload {_words(library, 'onload_version_short')}"


def open_stack(interface: str, attributes: Mapping[str, int | str], functions: list[str]) -> OpenStack:
    """Makes a ``zf_stack`` on an interface.

    :param attributes: they override what ``ZF_ATTR`` says, and that overrides :data:`LOW_LATENCY`.
    :param functions: the names of the functions whose addresses are wanted, in order.
    :raises OSError: what is missing (library, driver, licence, huge pages, interface …), and what to do about it.
    """
    library = _load()
    addresses = [library.function(name) for name in functions]
    library.check_names(attributes, "tcpdirect=")
    library.initialise()
    attr = _attributes(library, interface, attributes)
    stack = library.ffi.new("struct zf_stack **")
    rc = library.lib.zf_stack_alloc(attr, stack)
    if rc < 0:
        buffers = library.integer(attr, "n_bufs") or 0
        library.lib.zf_attr_free(attr)
        raise explain_stack(-rc, interface, buffers)
    return OpenStack(
        functions=addresses,
        stack=int(library.ffi.cast("intptr_t", stack[0])),
        attr=int(library.ffi.cast("intptr_t", attr)),
        address=_emulated_address(library, attr, interface),
        emulated_bits=_emulated_bits(library, attr),
        timestamps=bool(library.integer(attr, "rx_timestamping")),
        max_destinations=library.integer(attr, "max_udp_tx_endpoints") or 0,
        description=f"{versions(library)}; {_features(library, stack[0])}",
        library=library,
    )


def attach(loop: LoopCore, interface: str, attributes: Mapping[str, int | str], overflow: bool) -> str:
    """Makes a ``zf_stack`` on an interface and gives it to a loop. Returns what it is, for people.

    :param overflow: whether connections beyond what the library holds (64) are left to the kernel; else they fail with
        ``ENOBUFS``.
    :raises OSError: see :func:`open_stack`.
    """
    made = open_stack(interface, attributes, tcpdirect_functions())
    try:
        loop._open_tcpdirect(
            made.functions,
            made.stack,
            made.attr,
            interface,
            made.address,
            made.emulated_bits,
            made.timestamps,
            overflow,
            made.max_destinations,
        )
    except OSError:
        made.free()
        raise
    return made.description


def _attributes(library: _Library, interface: str, given: Mapping[str, int | str]) -> Any:
    lib, ffi = library.lib, library.ffi
    holder = ffi.new("struct zf_attr **")
    rc = lib.zf_attr_alloc(holder)
    if rc < 0:
        raise OSError(-rc, f"zf_attr_alloc() failed ({os.strerror(-rc)}): ZF_ATTR is {os.environ.get('ZF_ATTR')!r}")
    attr = holder[0]
    said = from_environment()
    wanted: dict[str, int | str] = {name: value for name, value in LOW_LATENCY.items() if name not in said}
    wanted.update({name.lower(): value for name, value in given.items()})
    wanted["interface"] = interface
    for name, value in wanted.items():
        if isinstance(value, int):
            rc = lib.zf_attr_set_int(attr, name.encode(), value)
        else:
            rc = lib.zf_attr_set_from_str(attr, name.encode(), value.encode())
        if rc < 0:
            lib.zf_attr_free(attr)
            raise OSError(-rc, f"tcpdirect: the attribute {name} cannot be {value!r}: {_doc(library, name)}")
    return attr


def _doc(library: _Library, name: str) -> str:
    """What the library itself says of an attribute's type and default."""
    lines, count = library.ffi.new("const char ***"), library.ffi.new("int *")
    if library.lib.zf_attr_doc(name.encode(), lines, count) < 0 or count[0] < 6:
        return "see the attributes in TCPDirect's user guide"
    texts = [" ".join(_text(library.ffi.string(lines[0][i])).split()) for i in range(count[0])]
    library.libc.free(lines[0])
    return f"it is of type {texts[1]}, by default {texts[3]}; {texts[5]}"


def from_environment() -> dict[str, str]:
    """What ``ZF_ATTR`` sets, names in lower case."""
    pairs = (item.partition("=") for item in os.environ.get("ZF_ATTR", "").split(";") if item.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _emulated_address(library: _Library, attr: Any, interface: str) -> int:
    """The address of a software NIC where it is not the interface's: of the simulator of our tests, and of the
    vendor's on a TUN device, which by default is that device's with the last two bits turned round."""
    text = library.string(attr, "sim_address")
    if text is None and from_environment().get("emu") == "3":
        text = library.string(attr, "emu_tun_ip")
        if text is None:
            return _interface_address(interface) ^ socket.htonl(3)
    return int(struct.unpack("=I", socket.inet_aton(text))[0]) if text else 0


def _emulated_bits(library: _Library, attr: Any) -> int:
    """The simulator has one address when it talks to itself, and a wire's other side otherwise."""
    if library.string(attr, "sim_address") is None:
        return 0
    return 32 if library.string(attr, "sim_wire") is None else 24


def _interface_address(interface: str) -> int:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("256s", interface.encode()[:15])
        answer = fcntl.ioctl(sock.fileno(), 0x8915, request)  # SIOCGIFADDR of <linux/sockios.h>
    return int(struct.unpack("=I", answer[20:24])[0])


def _features(library: _Library, stack: Any) -> str:
    """Which of the NIC's fast ways to send are in use (enum zf_stack_feature)."""
    query = library.lib.zf_stack_query_feature
    names = [name for number, name in enumerate(("CTPIO", "PIO")) if query(stack, number) == 1]
    return f"sends by {' and '.join(names)}" if names else "sends by DMA"


def _not_loaded(path: str, why: str) -> str:
    if path != LIBRARY:
        return f"TCPDirect's library cannot be loaded: {why}; {LIBRARY_VARIABLE} is to be the path of {LIBRARY}"
    if "No such file" in why:
        return f"{LIBRARY} is not here: install TCPDirect, or name it in {LIBRARY_VARIABLE}"
    return f"TCPDirect's library cannot be loaded: {why}"


def _words(library: _Library, function: str) -> str:
    try:
        return " ".join(_text(library.ffi.string(getattr(library.lib, function)())).split()) or "?"
    except AttributeError:
        return "?"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
