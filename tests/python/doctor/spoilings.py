"""How a tuned machine is spoilt for the doctor's tests: each function makes one change."""

from __future__ import annotations

from collections.abc import Callable

from fake_machine import NIC, FakeMachine

from sfloop.doctor.netdev import Xdp

HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB"

CPU_DIRECTORY = "/sys/devices/system/cpu"

CLOCK = "/sys/devices/system/clocksource/clocksource0"

Spoil = Callable[[FakeMachine], object]


def no_interface(m: FakeMachine) -> None:
    m.interface = None


def capabilities(m: FakeMachine, mask: int) -> None:
    m.set("/proc/self/status", f"CapEff:\t{mask:016x}\n")


def virtual_nic(m: FakeMachine) -> None:
    m.remove(f"/sys/class/net/{NIC}/device")


def features(*names: str, attached: str | None = None, known: bool = True) -> Spoil:
    return lambda m: setattr(m, "xdp", lambda _: Xdp(frozenset(names) if known else None, attached))


def device(kind: str) -> Spoil:
    return lambda m: setattr(m, "xdp", lambda _: Xdp(frozenset({"basic"}), None, kind=kind))


def tls_engine(name: str, refusal: str) -> Spoil:
    """Refuse every engine before the named one."""
    engines = {
        "native": "OpenSSL 3.5.0",
        "memory-bio": "OpenSSL 3.5.0, by Python's ssl module",
        "asyncio": "asyncio.sslproto",
    }
    best = list(engines).index(name)
    rows = tuple((e, refusal if at < best else None, what) for at, (e, what) in enumerate(engines.items()))
    return lambda m: setattr(m, "tls_engines", lambda: rows)


def driver(name: str, value: object) -> Spoil:
    return lambda m: setattr(m.driver, name, value)


def refuse(command: int, error: int) -> Spoil:
    return lambda m: m.driver.refused.update({command: error})


def write(name: str, text: str) -> Spoil:
    return lambda m: m.set(name, text)


def remove(*names: str) -> Spoil:
    return lambda m: [m.remove(name) for name in names]


def deny(name: str) -> Spoil:
    return lambda m: m.denied.add(name)


def both(*spoils: Spoil) -> Spoil:
    return lambda m: [spoil(m) for spoil in spoils]
