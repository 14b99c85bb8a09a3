"""TCPDirect's library (libonload_zf): found, checked and opened at run time with cffi in ABI mode.

Everything here happens once for a loop: attributes, ``zf_stack_alloc``, and the addresses of the functions that the
stack in C (``stacks/tcpdirect``) calls by itself from then on.
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

from sfloop.common.names import nearest
from sfloop.native.cores.core import LoopCore, StackLost, stack_options
from sfloop.native.libraries.tcpdirect_declarations import DECLARATIONS
from sfloop.native.libraries.tcpdirect_errors import explain_init, explain_stack, huge_pages

__all__ = [
    "LIBRARY",
    "LIBRARY_VARIABLE",
    "LOW_LATENCY",
    "OpenStack",
    "attach",
    "functions",
    "library_state",
    "open_stack",
    "versions",
]

#: The name passed to the dynamic loader unless the variable names a file.
LIBRARY: Final = "libonload_zf.so.1"
#: For an attribute that no name of the library resembles.
NO_SUCH_ATTRIBUTE: Final = "; see the attributes in TCPDirect's user guide"
LIBRARY_VARIABLE: Final = "SFLOOP_TCPDIRECT_LIBRARY"

#: Attributes that sfloop sets, unless ``ZF_ATTR`` or ``Options(tcpdirect=…)`` sets them.
LOW_LATENCY: Final[Mapping[str, int]] = {
    # An empty poll checks for events once and not 128 times, because the loop has other work and polls again soon.
    "reactor_spin_count": 1,
    # Without a PIO buffer the stack uses DMA instead of failing.
    "pio": 1,
    # A connection that has ended holds one of 64 zockets this long. The usual two minutes, or the kernel's
    # tcp_fin_timeout, would be too long.
    "tcp_timewait_ms": 1000,
    "tcp_finwait_ms": 5000,
}


@dataclass
class OpenStack:
    """A ``zf_stack``, and the arguments of the stack in C. Call :meth:`free` unless C has taken it over."""

    #: Name → address.
    functions: dict[str, int]
    stack: int
    attr: int
    #: In network byte order; 0: the interface's own addresses apply.
    address: int
    #: Length of the address prefix that is behind the simulator, in bits; 0: no simulator.
    emulated_bits: int
    timestamps: bool
    max_destinations: int
    #: Versions and the NIC's mode of sending, such as "TCPDirect 10.0.0 with Onload 9.0.2; sends by CTPIO".
    description: str
    library: _Library

    def options(self) -> dict[str, int | str]:
        """The options of the C stack (``stacks/tcpdirect/options.c``)."""
        return {
            **self.functions,
            "stack": self.stack,
            "attr": self.attr,
            "address": self.address,
            "emulated_bits": self.emulated_bits,
            "timestamps": self.timestamps,
            "max_destinations": self.max_destinations,
        }

    def free(self) -> None:
        """Free the stack and its attributes."""
        lib, ffi = self.library.lib, self.library.ffi
        lib.zf_stack_free(ffi.cast("struct zf_stack *", self.stack))
        lib.zf_attr_free(ffi.cast("struct zf_attr *", self.attr))


class _Library:
    """The loaded library. It stays loaded for the life of the process, because its threads and mappings do."""

    def __init__(self, path: str) -> None:
        # Ask the dynamic loader first. For a missing library cffi would also run ldconfig, gcc and ld, and it takes 15
        # ms to parse the declarations.
        try:
            ctypes.CDLL(path)
        except OSError as error:
            raise OSError(errno.ENOENT, _not_loaded(path, str(error))) from None
        from cffi import FFI

        self.path = path
        self.ffi: Any = FFI()
        self.ffi.cdef(DECLARATIONS)
        self.initialised = False
        self.libc: Any = self.ffi.dlopen(None)
        self.lib: Any = self.ffi.dlopen(path)
        self.names = self._attribute_names()

    def function(self, name: str) -> int:
        """The address of a function. Raises OSError (``ENOSYS``) if the library does not have it."""
        try:
            return int(self.ffi.cast("intptr_t", self.ffi.addressof(self.lib, name)))
        except AttributeError:
            raise OSError(
                errno.ENOSYS,
                f"{self.path} has no {name}(): sfloop needs TCPDirect 9 or later; this is "
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
        """Calls ``zf_init`` once."""
        if self.initialised:
            return
        given = from_environment()
        self.check_names(given, "ZF_ATTR")
        if "emu" in given and "interface" not in given:
            raise OSError(errno.EINVAL, "ZF_ATTR has emu, for the software NIC, and must then have interface, too")
        if given.get("emu") in ("2", "3"):  # the library aborts the process if they are missing
            huge_pages(int(given.get("max_sbufs", 1024)) + 20)
        rc = self.lib.zf_init()
        if rc < 0:
            raise explain_init(-rc, self.path)
        self.initialised = True

    def check_names(self, attributes: Mapping[str, object], where: str) -> None:
        """:raises OSError: the library does not have an attribute of this name."""
        for name in attributes:
            if self.names and name.lower() not in self.names:
                raise OSError(
                    errno.EINVAL,
                    f"{where}: TCPDirect {_words(self, 'zf_version_short')} has no attribute {name!r}"
                    f"{nearest(name, self.names) or NO_SUCH_ATTRIBUTE}",
                )

    def integer(self, attr: Any, name: str) -> int | None:
        """The value of an integer attribute; None if it does not exist."""
        value = self.ffi.new("int64_t *")
        return int(value[0]) if self.lib.zf_attr_get_int(attr, name.encode(), value) == 0 else None

    def string(self, attr: Any, name: str) -> str | None:
        """The value of a text attribute; None if it does not exist or is not set."""
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
    """Return (True, the library's version), or (False, the reason why it cannot be used, and a remedy)."""
    try:
        library = _load()
    except OSError as error:
        return False, str(error.strerror)
    return True, f"{versions(library)}; needs an interface's name"


def versions(library: _Library | None = None) -> str:
    """The library's version: ``"TCPDirect 9.2.1 with Onload 9.1.0"``.

    :raises OSError: the library is missing.
    """
    library = library or _load()
    return f"TCPDirect {_words(library, 'zf_version_short')} with Onload {_words(library, 'onload_version_short')}"


def open_stack(interface: str, attributes: Mapping[str, int | str], functions: list[str]) -> OpenStack:
    """Make a ``zf_stack`` on an interface.

    :param attributes: they override what ``ZF_ATTR`` says, and that overrides :data:`LOW_LATENCY`.
    :param functions: the names of the functions whose addresses are wanted.
    :raises OSError: something is missing (library, driver, licence, huge pages, interface …). The text names it and a
        remedy.
    """
    library = _load()
    addresses = {name: library.function(name) for name in functions}
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


def functions() -> list[str]:
    """The names of the library's functions that the C stack calls."""
    return [name for name in stack_options("tcpdirect") if name.startswith("zf")]


def attach(loop: LoopCore, interface: str, attributes: Mapping[str, int | str], overflow: bool) -> str:
    """Make a ``zf_stack`` on an interface and give it to a loop. Returns a description of the library.

    :param overflow: True: the kernel makes the connections beyond the library's limit of 64. False: they fail with
        ``ENOBUFS``.
    :raises OSError: see :func:`open_stack`.
    """
    made = open_stack(interface, attributes, functions())
    try:
        loop._open_stack("tcpdirect", None, {**made.options(), "interface": interface, "overflow": overflow})
    except StackLost:
        raise
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
    """The library's own description of an attribute's type and default."""
    lines, count = library.ffi.new("const char ***"), library.ffi.new("int *")
    if library.lib.zf_attr_doc(name.encode(), lines, count) < 0 or count[0] < 6:
        return "see the attributes in TCPDirect's user guide"
    texts = [" ".join(_text(library.ffi.string(lines[0][i])).split()) for i in range(count[0])]
    library.libc.free(lines[0])
    return f"it is of type {texts[1]}, by default {texts[3]}; {texts[5]}"


def from_environment() -> dict[str, str]:
    """The attributes in ``ZF_ATTR``. Names are in lower case."""
    pairs = (item.partition("=") for item in os.environ.get("ZF_ATTR", "").split(";") if item.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _emulated_address(library: _Library, attr: Any, interface: str) -> int:
    """The address of a software NIC, if it is not the interface's. That is so for the simulator of our tests, and for
    the vendor's emulator on a TUN device, whose default is the device's address with the last two bits inverted."""
    text = library.string(attr, "sim_address")
    if text is None and from_environment().get("emu") == "3":
        text = library.string(attr, "emu_tun_ip")
        if text is None:
            return _interface_address(interface) ^ socket.htonl(3)
    return int(struct.unpack("=I", socket.inet_aton(text))[0]) if text else 0


def _emulated_bits(library: _Library, attr: Any) -> int:
    """The length of the simulator's address prefix. The simulator has one address if it talks to itself, else a
    network."""
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
    """The NIC's ways to send that are in use (enum zf_stack_feature)."""
    query = library.lib.zf_stack_query_feature
    names = [name for number, name in enumerate(("CTPIO", "PIO")) if query(stack, number) == 1]
    return f"sends by {' and '.join(names)}" if names else "sends by DMA"


def _not_loaded(path: str, why: str) -> str:
    if path != LIBRARY:
        return f"TCPDirect's library cannot be loaded: {why}; set {LIBRARY_VARIABLE} to the path of {LIBRARY}"
    if "No such file" in why:
        return f"{LIBRARY} is missing: install TCPDirect, or set {LIBRARY_VARIABLE} to its path"
    return f"TCPDirect's library cannot be loaded: {why}"


def _words(library: _Library, function: str) -> str:
    try:
        return " ".join(_text(library.ffi.string(getattr(library.lib, function)())).split()) or "?"
    except AttributeError:
        return "?"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
