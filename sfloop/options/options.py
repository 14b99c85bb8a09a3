"""The options of an event loop: names, allowed values, and sources.

:class:`~sfloop.Loop`, :class:`~sfloop.Policy`, :func:`sfloop.run`, :func:`sfloop.new_event_loop`, the ``sfloop run``
command line and the environment take the same options. All of them call :meth:`Options.resolve`, so an option means the
same everywhere.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, cast, get_args

from sfloop.common.names import nearest
from sfloop.options.affinity import check_cpu, cpu_range, pin_thread
from sfloop.options.amounts import check_linger, check_ring
from sfloop.options.attributes import Attributes, check_attributes
from sfloop.options.tcplimits import TcpLimits, check_tcp

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["DRIVERS", "FALLBACKS", "SPIN_MODES", "STACKS", "OptionKeywords", "Options", "pin_thread"]

# The names of the registries in C, and "auto", "onload", "ef_vi" and "dpdk". This module does not load the native code,
# so a test compares them.
StackOption = Literal["auto", "kernel", "tcpdirect", "tcpip", "onload"]
DriverOption = Literal["shm", "af_xdp", "packet", "ef_vi", "dpdk"]
FallbackOption = Literal["kernel", "warn", "error"]
TlsOption = Literal["auto", "asyncio"]
SpinMode = Literal["adaptive", "always", "never", "for"]

STACKS: Final[tuple[str, ...]] = get_args(StackOption)
DRIVERS: Final[tuple[str, ...]] = get_args(DriverOption)
SPIN_MODES: Final = ("adaptive", "always", "never")
FALLBACKS: Final = ("kernel", "warn", "error")
TLS: Final = ("auto", "asyncio")

#: The longest spin that may be given as a number, in microseconds (one hour). Use "always" for a longer one.
SPIN_MAX_US: Final = 3_600_000_000
#: The shortest spin, in microseconds: one nanosecond, the resolution of the loop's clock.
SPIN_MIN_US: Final = 0.001
#: The longest interface name in bytes: IFNAMSIZ of <net/if.h> without the terminating zero.
INTERFACE_NAME_MAX: Final = 15

ENVIRONMENT_PREFIX: Final = "SFLOOP_"
#: Variables with the prefix that are not options of a loop. Other modules read them.
OTHER_VARIABLES: Final = (
    "SFLOOP_TCPDIRECT_LIBRARY",
    "SFLOOP_EF_VI_LIBRARY",
    "SFLOOP_ONLOAD_PROFILE",
    "SFLOOP_ONLOAD_ENTERED",
    "SFLOOP_RUN",
)
#: Prefixes reserved for the project's own tools and tests.
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
    """The options of a loop. Immutable, validated, hashable.

    Every field is a keyword. An option that was given counts as set even if it equals the default, so
    ``Options(spin="adaptive")`` overrides ``SFLOOP_SPIN=always``. :attr:`explicit` has the names of the options that
    were given.

    :raises ValueError: a value is not allowed. The message names the option, the value and the allowed values.
    :raises TypeError: a value has the wrong type, or the option does not exist.
    """

    #: The network stack. ``"auto"`` takes the best one that works on :attr:`interface`.
    stack: StackOption = "auto"
    #: The frame driver of the ``tcpip`` stack. ``None``: the stack chooses.
    driver: DriverOption | None = None
    #: The network interface to accelerate, by the kernel's name. Without it only Solarflare NICs are accelerated, and
    #: only by stacks that take none of the kernel's traffic but their own flows. For the ``shm`` driver: the wire's
    #: name and this end's IPv4 address, ``"feed@127.77.0.1"``.
    interface: str | None = None
    #: ``"adaptive"``, ``"always"``, ``"never"``, or the microseconds to spin after the last event before the loop
    #: sleeps.
    spin: str | float = "adaptive"
    #: The CPU to pin the loop's thread to while the loop runs. ``None``: do not pin it.
    cpu: int | None = None
    #: What to do when the stack or driver that was asked for cannot be used: take the kernel stack silently
    #: (``"kernel"``), take it with a ``RuntimeWarning`` (``"warn"``), or raise ``OSError`` (``"error"``).
    fallback: FallbackOption = "kernel"
    #: Write every frame that passes the driver of the ``tcpip`` stack to this file, as nanosecond pcap.
    pcap: str | None = None
    #: Write one line about each of these frames to this file. ``"-"`` is standard error.
    trace: str | None = None
    #: Simulated faults of the driver, for tests: ``"loss=1%,reorder=0.5%,delay=50us..2ms,seed=7"``.
    faults: str | None = None
    #: Limits and timers of the ``tcpip`` stack's TCP, by name (docs/tcp.md): a mapping, or ``"time_wait=5,mss=1000"``.
    tcp: TcpLimits | None = None
    #: The most seconds that ``loop.close()`` waits for closed connections of a bypass stack to deliver their data.
    linger: float = 2.0
    #: Frames in each receive ring (one for each queue), rounded up to a power of two. A larger ring loses no frames in
    #: a longer pause of the loop. ``None``: the driver chooses.
    ring: int | None = None
    #: Attributes of TCPDirect, which override those of ``ZF_ATTR``: ``{"n_bufs": 8192}``, or ``"n_bufs=8192;pio=0"``.
    tcpdirect: Attributes | None = None
    #: Who processes TLS records: native code where possible (``"auto"``), or ``asyncio.sslproto`` (``"asyncio"``).
    tls: TlsOption = "auto"

    def __init__(self, **keywords: Unpack[OptionKeywords]) -> None:
        _reject_unknown(keywords)
        for name, value in keywords.items():
            object.__setattr__(self, name, _CHECKS[name](name, value))
        # Not a dataclass field, because it tells the source of the values and has no part in equality or repr.
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
        """The names of the options that were given."""
        return cast("frozenset[str]", self.__dict__["_explicit"])

    @property
    def spin_mode(self) -> SpinMode:
        """``"adaptive"``, ``"always"``, ``"never"``, or ``"for"`` if :attr:`spin` is a number."""
        return cast("SpinMode", self.spin) if isinstance(self.spin, str) else "for"

    @property
    def spin_ns(self) -> int:
        """Nanoseconds to spin after the last event before the loop sleeps; 0 unless :attr:`spin_mode` is ``"for"``."""
        return 0 if isinstance(self.spin, str) else round(self.spin * 1_000)

    @property
    def ring_frames(self) -> int:
        """:attr:`ring` rounded up to a power of two; 0 if it was not given."""
        return 0 if self.ring is None else 1 << (self.ring - 1).bit_length()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the options from the environment: ``SFLOOP_STACK``, ``SFLOOP_SPIN`` and so on, one variable for each
        option. An empty variable counts as unset.

        An unknown variable that starts with ``SFLOOP_`` causes a ``RuntimeWarning``, because it is nearly always a
        misspelling.

        :raises ValueError: a variable has a value that is not allowed. The message names the variable.
        """
        environ = os.environ if environ is None else environ
        given: dict[str, Any] = {}
        # Filter by name first, because os.environ encodes and decodes each value that is read.
        for variable in [name for name in environ if name.startswith(ENVIRONMENT_PREFIX)]:
            text = environ[variable]
            name = variable[len(ENVIRONMENT_PREFIX) :].lower()
            if name in _CHECKS and variable == variable_of(name):
                if text != "":
                    given[name] = from_text(name, text, label=variable)
            elif variable not in OTHER_VARIABLES and not variable.startswith(OTHER_PREFIXES):
                known = [variable_of(option) for option in _CHECKS]
                warnings.warn(
                    f"the environment variable {variable} is not known to sfloop and was ignored"
                    f"{nearest(variable, known)}; it reads {', '.join(known)}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return cls(**cast("OptionKeywords", given))

    @classmethod
    def resolve(cls, options: Options | None = None, /, **keywords: Unpack[OptionKeywords]) -> Options:
        """Combine all sources of options. Each option comes from the first source that gives it: the keywords,
        ``options``, the environment, the defaults. In the result every option counts as given, so to resolve the result
        again changes nothing and costs little.

        :raises TypeError: ``options`` is not an :class:`Options`, or a keyword is not an option.
        :raises ValueError: a value is not allowed, or two values cannot be combined.
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
        # A source may name a stack that takes no driver. A driver from a source of lower rank, such as the environment,
        # is then ignored, because it was meant for another stack.
        if (
            values["driver"] is not None
            and not _stack_takes_driver(values["stack"])
            and level["stack"] < level["driver"]
        ):
            values["driver"] = None
        return cls(**cast("OptionKeywords", values))


@functools.cache
def _defaults() -> Options:
    """The options of every loop for which nothing was given. All of these loops share one object, because it is
    immutable."""
    return Options(**cast("OptionKeywords", {field.name: field.default for field in fields(Options)}))


def variable_of(name: str) -> str:
    """The environment variable that sets an option: ``spin`` → ``SFLOOP_SPIN``."""
    return ENVIRONMENT_PREFIX + name.upper()


def from_text(name: str, text: str, *, label: str) -> Any:
    """Convert the text of an environment variable or of a command line argument to an option's value.

    :param label: the option's name in error messages.
    :raises ValueError: the text is not an allowed value.
    """
    if name == "cpu":
        try:
            return check_cpu(label, int(text))
        except ValueError:
            if text.strip().lstrip("+-").isdigit():
                raise
            raise ValueError(f"{label}={text!r}: must be the number of a CPU, {cpu_range()}") from None
    return _CHECKS[name](label, text)


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
            f"'/' or white space, as `ip link` shows it; or, for the shm driver, a wire's name and an address like "
            f"'feed@127.77.0.1'"
        )
    if at:
        import ipaddress  # only here, because its import is slow and most loops name no wire

        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise ValueError(
                f"{label}={value!r}: {address!r} is not an IPv4 address; the shm driver's wire and this end's address "
                f"are written like 'feed@127.77.0.1'"
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
        raise ValueError(f"{label}={value!r}: {allowed}; use 'never' to switch spinning off")
    if not math.isfinite(number) or not SPIN_MIN_US <= number <= SPIN_MAX_US:
        raise ValueError(
            f"{label}={value!r}: a number of microseconds must be from {SPIN_MIN_US} to {SPIN_MAX_US} (an hour); "
            f"use 'always' to spin without end"
        )
    return number


def _check_text(label: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{label}={value!r}: must be a string or None, not {type(value).__name__}")
    if value is not None and (not value or "\0" in value):
        raise ValueError(f"{label}={value!r}: must not be empty or contain a zero byte; give None to switch it off")
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
