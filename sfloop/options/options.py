"""The options of an event loop: what they are, what they may be, where they come from.

Every way of making a loop takes the same options — :class:`~sfloop.Loop`, :class:`~sfloop.Policy`,
:func:`sfloop.run`, :func:`sfloop.new_event_loop`, the ``sfloop run`` command line and the environment — and all
of them end in :meth:`Options.resolve`, so that an option means the same thing everywhere.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, cast

from sfloop.options.affinity import check_cpu, cpu_range, pin_thread
from sfloop.options.amounts import check_linger, check_ring
from sfloop.options.attributes import Attributes, check_attributes
from sfloop.options.tcplimits import TcpLimits, check_tcp

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["DRIVERS", "FALLBACKS", "SPIN_MODES", "STACKS", "OptionKeywords", "Options", "pin_thread"]

StackOption = Literal["auto", "kernel", "tcpdirect", "tcpip", "onload"]
DriverOption = Literal["shm", "af_xdp", "packet", "ef_vi", "dpdk"]
FallbackOption = Literal["kernel", "warn", "error"]
TlsOption = Literal["auto", "asyncio"]
SpinMode = Literal["adaptive", "always", "never", "for"]

STACKS: Final = ("auto", "kernel", "tcpdirect", "tcpip", "onload")
DRIVERS: Final = ("shm", "af_xdp", "packet", "ef_vi", "dpdk")
SPIN_MODES: Final = ("adaptive", "always", "never")
FALLBACKS: Final = ("kernel", "warn", "error")
TLS: Final = ("auto", "asyncio")

#: The longest spin that may be given as a number, in microseconds (an hour). Above it "always" says what is meant.
SPIN_MAX_US: Final = 3_600_000_000
#: The shortest, in microseconds: one nanosecond, the resolution of the loop's clock.
SPIN_MIN_US: Final = 0.001
#: IFNAMSIZ of <net/if.h> less its terminating zero, in bytes.
INTERFACE_NAME_MAX: Final = 15

ENVIRONMENT_PREFIX: Final = "SFLOOP_"
#: Variables with the prefix that are read elsewhere and are no options of a loop.
OTHER_VARIABLES: Final = (
    "SFLOOP_TCPDIRECT_LIBRARY",
    "SFLOOP_EF_VI_LIBRARY",
    "SFLOOP_ONLOAD_LIBRARY",
    "SFLOOP_ONLOAD_PROFILE",
    "SFLOOP_ONLOAD_ENTERED",
)
#: Prefixes that the project's own tools and tests keep for themselves.
OTHER_PREFIXES: Final = ("SFLOOP_TEST_", "SFLOOP_BENCH_", "SFLOOP_DEMO_")


class OptionKeywords(TypedDict, total=False):
    """The keyword arguments accepted wherever options are (PEP 692)."""

    stack: StackOption
    driver: DriverOption | None
    interface: str | None
    spin: str | float
    cpu: int | None
    fallback: FallbackOption
    pcap: str | None
    trace: str | None
    faults: str | None
    tcp: Mapping[str, int | float | str] | TcpLimits | str | None
    linger: float
    ring: int | None
    tcpdirect: Mapping[str, int | str] | str | None
    tls: TlsOption


@dataclass(frozen=True, init=False)
class Options:
    """What a loop is asked to be. Immutable, validated, hashable.

    Every field is a keyword. A field that was given counts as set even if it equals the default, so that
    ``Options(spin="adaptive")`` overrides ``SFLOOP_SPIN=always``; :attr:`explicit` tells which were given.

    :raises ValueError: a value that is not allowed; the message names the option, the value and what is allowed.
    :raises TypeError: a value of the wrong type, or an option that does not exist.
    """

    #: The network stack: ``"auto"`` takes the best that works on :attr:`interface`.
    stack: StackOption = "auto"
    #: The frame driver under the ``tcpip`` stack; ``None`` lets the stack choose.
    driver: DriverOption | None = None
    #: The network interface to accelerate, by the kernel's name for it. Nothing is attached to a NIC nobody named. For
    #: the ``shm`` driver: a wire's name and this side's IPv4 address, ``"feed@127.77.0.1"``.
    interface: str | None = None
    #: ``"adaptive"``, ``"always"``, ``"never"``, or the microseconds to spin after the last event before sleeping.
    spin: str | float = "adaptive"
    #: The CPU to pin the loop's thread to; ``None`` leaves the thread where it is.
    cpu: int | None = None
    #: What to do when what was asked for cannot be had: take the kernel stack silently (``"kernel"``), take it with a
    #: ``RuntimeWarning`` (``"warn"``), or raise (``"error"``).
    fallback: FallbackOption = "kernel"
    #: A file to write every frame to that passes the driver of the ``tcpip`` stack, as nanosecond pcap.
    pcap: str | None = None
    #: A file for a line on every such frame; ``"-"`` is standard error.
    trace: str | None = None
    #: Faults for the driver to have, for tests: ``"loss=1%,reorder=0.5%,delay=50us..2ms,seed=7"``.
    faults: str | None = None
    #: Limits and timers of the ``tcpip`` stack's TCP, by name (docs/tcp.md): a mapping, or ``"time_wait=5,mss=1000"``.
    tcp: TcpLimits | None = None
    #: The seconds that ``loop.close()`` may go on for connections of a bypass stack that were closed and have not
    #: delivered everything yet.
    linger: float = 2.0
    #: Frames that the driver's receive ring holds (of each queue), so that a pause loses none; rounded up to a power of
    #: two. ``None`` is the driver's own choice.
    ring: int | None = None
    #: Attributes of TCPDirect, over those of ``ZF_ATTR``: ``{"n_bufs": 8192}``. As text, ``"n_bufs=8192;pio=0"``.
    tcpdirect: Attributes | None = None
    #: The records of TLS connections: natively where that is possible (``"auto"``), or all by ``asyncio.sslproto``.
    tls: TlsOption = "auto"

    def __init__(self, **keywords: Unpack[OptionKeywords]) -> None:
        _reject_unknown(keywords)
        for name, value in keywords.items():
            object.__setattr__(self, name, _CHECKS[name](name, value))
        # Not a dataclass field: it is about where the values came from, and has no part in equality or repr.
        object.__setattr__(self, "_explicit", frozenset(keywords))
        self.__post_init__()

    def __post_init__(self) -> None:
        if self.driver is not None and not _stack_takes_driver(self.stack):
            raise ValueError(
                f"driver={self.driver!r} does not go with stack={self.stack!r}: frame drivers serve the 'tcpip' stack "
                f"only; give stack='tcpip' (or 'auto'), or leave driver out"
            )
        if self.interface is not None and "@" in self.interface and self.driver not in (None, "shm"):
            raise ValueError(
                f"interface={self.interface!r}: a wire's name and an address are for driver='shm'; driver="
                f"{self.driver!r} needs the name of a network interface"
            )

    @property
    def explicit(self) -> frozenset[str]:
        """The names of the options that were given, rather than left at their defaults."""
        return cast("frozenset[str]", self.__dict__["_explicit"])

    @property
    def spin_mode(self) -> SpinMode:
        """``"adaptive"``, ``"always"``, ``"never"``, or ``"for"`` when :attr:`spin` is a number."""
        return cast("SpinMode", self.spin) if isinstance(self.spin, str) else "for"

    @property
    def spin_ns(self) -> int:
        """Nanoseconds to spin after the last event before sleeping; 0 unless :attr:`spin_mode` is ``"for"``."""
        return 0 if isinstance(self.spin, str) else round(self.spin * 1_000)

    @property
    def ring_frames(self) -> int:
        """:attr:`ring`, rounded up to a power of two; 0 if it was not given."""
        return 0 if self.ring is None else 1 << (self.ring - 1).bit_length()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The options set in the environment by ``SFLOOP_STACK``, ``SFLOOP_DRIVER``, ``SFLOOP_INTERFACE``,
        ``SFLOOP_SPIN``, ``SFLOOP_CPU`` and ``SFLOOP_FALLBACK``. An empty variable counts as unset.

        A variable that starts with ``SFLOOP_`` and means nothing to sfloop gives a ``RuntimeWarning``, since it is
        nearly always a misspelling.

        :raises ValueError: a variable has a value that is not allowed; the message names the variable.
        """
        environ = os.environ if environ is None else environ
        given: dict[str, Any] = {}
        # Names first: each value of os.environ that is asked for is encoded and decoded.
        for variable in [name for name in environ if name.startswith(ENVIRONMENT_PREFIX)]:
            text = environ[variable]
            name = variable[len(ENVIRONMENT_PREFIX) :].lower()
            if name in _CHECKS and variable == variable_of(name):
                if text != "":
                    given[name] = from_text(name, text, label=variable)
            elif variable not in OTHER_VARIABLES and not variable.startswith(OTHER_PREFIXES):
                known = [variable_of(option) for option in _CHECKS]
                warnings.warn(
                    f"the environment variable {variable} means nothing to sfloop and was ignored"
                    f"{_nearest(variable, known)}; it reads {', '.join(known)}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return cls(**cast("OptionKeywords", given))

    @classmethod
    def resolve(cls, options: Options | None = None, /, **keywords: Unpack[OptionKeywords]) -> Options:
        """The options to use, each taken from the first of these that gives it: the keywords, then ``options``, then
        the environment, then the defaults. The result counts as explicit throughout: resolving it again is free and
        does not change it.

        :raises TypeError: ``options`` is no :class:`Options`, or a keyword is no option.
        :raises ValueError: a value is not allowed, or two values do not go together.
        """
        if options is not None and not isinstance(options, Options):
            raise TypeError(
                f"options must be an sfloop.Options or None, not {type(options).__name__} {options!r}; "
                f"write sfloop.Options(stack=..., spin=...) or pass the options as keywords"
            )
        everything = frozenset(_CHECKS)
        if options is not None and not keywords and options.explicit == everything:
            return options
        environment = cls.from_environment()
        if options is None and not keywords and not environment.explicit:
            return _defaults()
        asked = cls(**keywords)
        layers = [asked] if options is None else [asked, options]
        layers.append(environment)
        values: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        level: dict[str, int] = dict.fromkeys(values, len(layers))
        for rank, layer in reversed(list(enumerate(layers))):
            for name in layer.explicit:
                values[name] = getattr(layer, name)
                level[name] = rank
        # Someone who names a stack here has not asked for the driver that, say, the environment names for another.
        if (
            values["driver"] is not None
            and not _stack_takes_driver(values["stack"])
            and level["stack"] < level["driver"]
        ):
            values["driver"] = None
        return cls(**cast("OptionKeywords", values))


@functools.cache
def _defaults() -> Options:
    """The options of every loop for which nothing was given: the same object, because it cannot change."""
    return Options(**cast("OptionKeywords", {field.name: field.default for field in fields(Options)}))


def variable_of(name: str) -> str:
    """The environment variable that sets an option: ``spin`` → ``SFLOOP_SPIN``."""
    return ENVIRONMENT_PREFIX + name.upper()


def from_text(name: str, text: str, *, label: str) -> Any:
    """An option's value from the text of an environment variable or a command line; ``label`` is the name that
    errors give it.

    :raises ValueError: the text is no allowed value.
    """
    if name == "cpu":
        try:
            return check_cpu(label, int(text))
        except ValueError:
            if text.strip().lstrip("+-").isdigit():
                raise
            raise ValueError(f"{label}={text!r}: must be the number of a CPU, {cpu_range()}") from None
    return _CHECKS[name](label, text)


def nearest(given: str, allowed: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when one of the allowed names is close to the given one, else nothing."""
    return _nearest(given, allowed, quote=True)


def _nearest(given: str, allowed: Iterable[str], *, quote: bool = False) -> str:
    import difflib  # on the error path only: it costs more to import than the rest of this module

    close = difflib.get_close_matches(given.lower() if quote else given, allowed, n=1, cutoff=0.6)
    if not close:
        return ""
    return f"; did you mean {close[0]!r}?" if quote else f" (did you mean {close[0]}?)"


def _reject_unknown(keywords: Mapping[str, object]) -> None:
    for name in keywords:
        if name not in _CHECKS:
            raise TypeError(
                f"sfloop has no option {name!r}{nearest(name, _CHECKS)}; its options are {', '.join(_CHECKS)}"
            )


def _stack_takes_driver(stack: str) -> bool:
    return stack in ("auto", "tcpip")


def _choice(label: str, value: object, allowed: tuple[str, ...], *, also: str = "") -> str:
    if not isinstance(value, str):
        raise TypeError(f"{label}={value!r}: must be {_one_of(allowed)}{also}, not {type(value).__name__}")
    if value not in allowed:
        raise ValueError(f"{label}={value!r}: must be {_one_of(allowed)}{also}{nearest(value, allowed)}")
    return value


def _one_of(allowed: tuple[str, ...]) -> str:
    return "one of " + ", ".join(repr(name) for name in allowed)


def _check_stack(label: str, value: object) -> str:
    return _choice(label, value, STACKS)


def _check_driver(label: str, value: object) -> str | None:
    return None if value is None else _choice(label, value, DRIVERS, also=" or None")


def _check_tls(label: str, value: object) -> str:
    return _choice(label, value, TLS)


def _check_fallback(label: str, value: object) -> str:
    return _choice(label, value, FALLBACKS)


def _check_interface(label: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(
            f"{label}={value!r}: must be the name of a network interface or None, not {type(value).__name__}"
        )
    name, at, address = value.partition("@")
    if not 0 < len(os.fsencode(name)) <= INTERFACE_NAME_MAX or any(c.isspace() or c in "/\0" for c in name):
        raise ValueError(
            f"{label}={value!r}: must be the name of a network interface: 1 to {INTERFACE_NAME_MAX} bytes without "
            f"'/' or white space, as `ip link` shows it; or, for the shm driver, a wire's name and an address, as in "
            f"'feed@127.77.0.1'"
        )
    if at:
        import ipaddress  # it costs as much to import as the rest of this module, and most loops name no wire

        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise ValueError(
                f"{label}={value!r}: {address!r} is no IPv4 address; a wire of the shm driver and this side's address "
                f"are written as in 'feed@127.77.0.1'"
            ) from None
    return value


def _check_spin(label: str, value: object) -> str | float:
    allowed = f"must be {_one_of(SPIN_MODES)}, or a number of microseconds to spin before sleeping"
    if isinstance(value, str):
        if value in SPIN_MODES:
            return value
        try:
            number: float = int(value)
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                raise ValueError(f"{label}={value!r}: {allowed}{nearest(value, SPIN_MODES)}") from None
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{label}={value!r}: {allowed}, not {type(value).__name__}")
    else:
        number = value
    if number == 0:
        raise ValueError(f"{label}={value!r}: {allowed}; not to spin at all is 'never'")
    if not math.isfinite(number) or not SPIN_MIN_US <= number <= SPIN_MAX_US:
        raise ValueError(
            f"{label}={value!r}: a number of microseconds must be from {SPIN_MIN_US} to {SPIN_MAX_US} (an hour); "
            f"to spin without end is 'always'"
        )
    return number


def _check_text(label: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{label}={value!r}: must be a string or None, not {type(value).__name__}")
    if value is not None and (not value or "\0" in value):
        raise ValueError(f"{label}={value!r}: must not be empty or contain a zero byte; leave it out, or give None")
    return value


_CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "stack": _check_stack,
    "driver": _check_driver,
    "interface": _check_interface,
    "spin": _check_spin,
    "cpu": check_cpu,
    "fallback": _check_fallback,
    "pcap": _check_text,
    "trace": _check_text,
    "faults": _check_text,
    "tcp": check_tcp,
    "linger": check_linger,
    "ring": check_ring,
    "tcpdirect": check_attributes,
    "tls": _check_tls,
}
