"""Options: accepted values, error messages, and the precedence of sources."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import warnings
from typing import Any

import pytest

from sfloop.options import options as config
from sfloop.options.options import Options, from_text

pytestmark = pytest.mark.usefixtures("no_options_in_the_environment")

DEFAULTS = {
    "stack": "auto",
    "driver": None,
    "interface": None,
    "spin": "adaptive",
    "cpu": None,
    "fallback": "kernel",
    "pcap": None,
    "trace": None,
    "faults": None,
    "tcp": None,
    "linger": 2.0,
    "ring": None,
    "tcpdirect": None,
    "tls": "auto",
}


def test_defaults() -> None:
    options = Options()
    assert dataclasses.asdict(options) == DEFAULTS
    assert options.explicit == frozenset()


def test_equality_and_hash_are_by_value_whatever_was_explicit() -> None:
    assert Options(spin="adaptive") == Options()
    assert hash(Options(spin="adaptive")) == hash(Options())
    assert Options(spin="always") != Options()


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().spin = "always"  # type: ignore[misc]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_keep_what_was_explicit(duplicate: Any) -> None:
    options = Options(spin=50, stack="kernel")
    assert duplicate(options) == options
    assert duplicate(options).explicit == {"spin", "stack"}


@pytest.mark.parametrize(
    ("spin", "mode", "nanoseconds"),
    [
        ("adaptive", "adaptive", 0),
        ("always", "always", 0),
        ("never", "never", 0),
        (50, "for", 50_000),
        (0.5, "for", 500),
        ("50", "for", 50_000),
        ("2.5", "for", 2_500),
        (config.SPIN_MIN_US, "for", 1),
        (config.SPIN_MAX_US, "for", 3_600_000_000_000),
    ],
)
def test_spin(spin: str | float, mode: str, nanoseconds: int) -> None:
    options = Options(spin=spin)
    assert options.spin_mode == mode
    assert options.spin_ns == nanoseconds


@pytest.mark.parametrize(
    "spin",
    ["", "sometimes", "Always", 0, 0.0, "0", -1, "-3", math.nan, math.inf, "inf", "1e99", 1e-9, config.SPIN_MAX_US + 1],
)
def test_bad_spin(spin: str | float) -> None:
    with pytest.raises(ValueError, match=r"^spin=.*'(never|always)'") as raised:
        Options(spin=spin)
    assert repr(spin) in str(raised.value)


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({"stack": "kernal"}, ["stack='kernal'", "'tcpdirect'", "did you mean 'kernel'?"]),
        ({"stack": "TCPDirect"}, ["stack='TCPDirect'", "did you mean 'tcpdirect'?"]),
        ({"stack": "zzz"}, ["stack='zzz'", "'auto', 'kernel', 'tcpdirect', 'tcpip', 'onload'"]),
        ({"driver": "afxdp"}, ["driver='afxdp'", "None", "did you mean 'af_xdp'?"]),
        ({"driver": "dpdk", "stack": "kernel"}, ["driver='dpdk'", "stack='kernel'", "'tcpip'"]),
        ({"fallback": "warning"}, ["fallback='warning'", "'kernel', 'warn', 'error'", "did you mean 'warn'?"]),
        ({"interface": ""}, ["interface=''", "1 to 15 bytes"]),
        ({"interface": "a" * 16}, ["interface='aaaaaaaaaaaaaaaa'", "1 to 15 bytes"]),
        ({"interface": "eth 0"}, ["interface='eth 0'", "white space"]),
        ({"interface": "a/b"}, ["interface='a/b'", "'/'"]),
        ({"interface": "lo\0x"}, ["interface='lo\\x00x'", "name of a network interface"]),
        ({"cpu": -1}, ["cpu=-1", "0 to "]),
        ({"cpu": 1_000_000}, ["cpu=1000000", "0 to "]),
        ({"spin": "alway"}, ["spin='alway'", "did you mean 'always'?"]),
    ],
)
def test_bad_values_name_what_is_allowed(keywords: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        Options(**keywords)
    for name in names:
        assert name in str(raised.value)


@pytest.mark.parametrize(
    "keywords",
    [
        {"stack": None},
        {"stack": 1},
        {"driver": 1},
        {"interface": b"eth0"},
        {"spin": None},
        {"spin": True},
        {"cpu": "1"},
        {"cpu": 1.0},
        {"cpu": True},
        {"fallback": None},
    ],
)
def test_wrong_types(keywords: dict[str, Any]) -> None:
    (name, value), *_ = keywords.items()
    with pytest.raises(TypeError, match=f"^{name}=") as raised:
        Options(**keywords)
    assert repr(value) in str(raised.value)
    assert "must be" in str(raised.value)


@pytest.mark.parametrize("call", [Options, Options.resolve])
def test_unknown_option(call: Any) -> None:
    with pytest.raises(TypeError, match=r"no option 'spinn'; did you mean 'spin'\?; its options are stack, driver"):
        call(spinn="always")


def test_positional_arguments_are_not_options() -> None:
    with pytest.raises(TypeError):
        Options("kernel")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"options must be an sfloop\.Options or None, not dict"):
        Options.resolve({"stack": "kernel"})  # type: ignore[arg-type]


# ---- environment ----


def test_environment() -> None:
    environ = {
        "SFLOOP_STACK": "tcpip",
        "SFLOOP_DRIVER": "af_xdp",
        "SFLOOP_INTERFACE": "lo",
        "SFLOOP_SPIN": "50",
        "SFLOOP_CPU": "0",
        "SFLOOP_FALLBACK": "warn",
        "SFLOOP_PCAP": "frames.pcap",
        "SFLOOP_TRACE": "-",
        "SFLOOP_FAULTS": "loss=1%",
        "SFLOOP_TCP": "time_wait=5, congestion=newreno",
        "SFLOOP_LINGER": "0.5",
        "SFLOOP_RING": "4096",
        "SFLOOP_TLS": "asyncio",
        "SFLOOP_TCPDIRECT": "n_bufs=8192;CTPIO_mode=ct",
        "HOME": "/",
    }
    options = Options.from_environment(environ)
    assert dataclasses.asdict(options) == {
        "stack": "tcpip",
        "driver": "af_xdp",
        "interface": "lo",
        "spin": 50,
        "cpu": 0,
        "fallback": "warn",
        "pcap": "frames.pcap",
        "trace": "-",
        "faults": "loss=1%",
        "tcp": (("congestion", "newreno"), ("time_wait", 5.0)),
        "linger": 0.5,
        "ring": 4096,
        "tls": "asyncio",
        "tcpdirect": {"n_bufs": 8192, "ctpio_mode": "ct"},
    }
    assert options.explicit == set(DEFAULTS)


@pytest.mark.parametrize(("ring", "frames"), [(None, 0), (64, 64), (65, 128), (50_000, 65_536), (65_536, 65_536)])
def test_a_ring_is_rounded_up_to_a_power_of_two(ring: int | None, frames: int) -> None:
    assert Options(ring=ring).ring_frames == frames


@pytest.mark.parametrize(
    ("ring", "error"), [(63, ValueError), (65_537, ValueError), (64.0, TypeError), (True, TypeError)]
)
def test_a_ring_has_a_least_and_a_most(ring: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="ring=.*: must be a number of frames from 64 to 65536"):
        Options(ring=ring)


def test_an_empty_variable_is_unset() -> None:
    options = Options.from_environment({"SFLOOP_SPIN": "", "SFLOOP_CPU": ""})
    assert options == Options()
    assert options.explicit == frozenset()


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("SFLOOP_SPIN", "fast", "SFLOOP_SPIN='fast': must be one of 'adaptive', 'always', 'never', or a number"),
        ("SFLOOP_CPU", "two", "SFLOOP_CPU='two': must be the number of a CPU, 0 to"),
        ("SFLOOP_CPU", "-1", "SFLOOP_CPU=-1: must be the number of a CPU, 0 to"),
        ("SFLOOP_STACK", "kernl", "SFLOOP_STACK='kernl': must be one of 'auto', 'kernel'"),
        ("SFLOOP_FALLBACK", "no", "SFLOOP_FALLBACK='no': must be one of 'kernel', 'warn', 'error'"),
        ("SFLOOP_INTERFACE", "eth 0", "SFLOOP_INTERFACE='eth 0': must be the name of a network interface"),
        ("SFLOOP_TCP", "time_wate=5", "SFLOOP_TCP: there is no limit 'time_wate'; did you mean 'time_wait'?;"),
        ("SFLOOP_TCP", "time_wait=-1", "SFLOOP_TCP: time_wait='-1': must be a number of seconds from 0.001 to 3600"),
        ("SFLOOP_TCP", "mss=lots", "SFLOOP_TCP: mss='lots': must be a whole number from 88 to 65495"),
        ("SFLOOP_TCP", "congestion=bbr", "SFLOOP_TCP: congestion='bbr': must be one of 'cubic', 'newreno'"),
        ("SFLOOP_TCP", "cubic", "SFLOOP_TCP='cubic': 'cubic' must be a name and a value"),
        ("SFLOOP_LINGER", "long", "SFLOOP_LINGER='long': must be a number of seconds from 0 to 3600"),
        ("SFLOOP_RING", "lots", "SFLOOP_RING='lots': must be a number of frames from 64 to 65536"),
        ("SFLOOP_RING", "100000", "SFLOOP_RING=100000: must be a number of frames from 64 to 65536"),
        ("SFLOOP_DRIVER", "e1000", "SFLOOP_DRIVER='e1000': must be one of 'shm'"),
    ],
)
def test_environment_errors_name_the_variable(variable: str, text: str, says: str) -> None:
    with pytest.raises(ValueError) as raised:
        Options.from_environment({variable: text})
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SFLOOP_SPINN", "SFLOOP_SPIN"),
        ("SFLOOP_IFACE", "SFLOOP_"),
        ("SFLOOP_spin", "SFLOOP_SPIN"),
        ("SFLOOP_ONLOAD_LIBRARY", "SFLOOP_"),  # Onload is preloaded by its own wrapper
    ],
)
def test_unknown_variables_warn(variable: str, meant: str) -> None:
    with pytest.warns(RuntimeWarning, match=f"{variable} is not known to sfloop.*{meant}"):
        assert Options.from_environment({variable: "always"}) == Options()


def test_variables_read_elsewhere_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Options.from_environment(
            {"SFLOOP_TCPDIRECT_LIBRARY": "/x", "SFLOOP_TEST_SEED": "1", "SFLOOPY": "1", "PATH": "/bin"}
        )


# ---- precedence ----


def test_keywords_then_options_then_environment_then_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_SPIN", "10")
    monkeypatch.setenv("SFLOOP_CPU", "0")
    monkeypatch.setenv("SFLOOP_FALLBACK", "warn")
    options = Options(spin=20, fallback="error")
    assert Options.resolve() == Options(spin=10, cpu=0, fallback="warn")
    assert Options.resolve(options) == Options(spin=20, cpu=0, fallback="error")
    assert Options.resolve(options, spin=30) == Options(spin=30, cpu=0, fallback="error")
    assert Options.resolve(spin=30) == Options(spin=30, cpu=0, fallback="warn")


def test_a_default_given_explicitly_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_SPIN", "always")
    monkeypatch.setenv("SFLOOP_CPU", "0")
    assert Options.resolve().spin == "always"
    assert Options.resolve(spin="adaptive").spin == "adaptive"
    assert Options.resolve(Options(spin="adaptive")).spin == "adaptive"
    assert Options.resolve(cpu=None).cpu is None


def test_resolving_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = Options.resolve()
    monkeypatch.setenv("SFLOOP_SPIN", "always")
    assert Options.resolve(resolved) is resolved
    assert resolved.explicit == set(DEFAULTS)


def test_a_stack_named_here_drops_the_driver_named_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_STACK", "tcpip")
    monkeypatch.setenv("SFLOOP_DRIVER", "af_xdp")
    assert Options.resolve(stack="kernel").driver is None
    assert Options.resolve(stack="auto").driver == "af_xdp"
    with pytest.raises(ValueError, match="driver='af_xdp' does not go with stack='kernel'"):
        Options.resolve(stack="kernel", driver="af_xdp")


def test_a_driver_named_here_does_not_go_with_a_stack_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFLOOP_STACK", "kernel")
    with pytest.raises(ValueError, match="driver='af_xdp' does not go with stack='kernel'"):
        Options.resolve(driver="af_xdp")


def test_from_text_labels_its_errors() -> None:
    assert from_text("cpu", "0", label="--cpu") == 0
    assert from_text("spin", "12.5", label="--spin") == 12.5
    with pytest.raises(ValueError, match=r"^--spin='x'"):
        from_text("spin", "x", label="--spin")
