"""Facts that matter to the driver af_xdp: XDP modes, a program that is already attached, queues."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine

#: Cost of the copy with a driver that lacks zero copy; cost of generic mode, which first makes a socket buffer.
_COPY = Cost(0.1, 0.5, "message", "typical")
_GENERIC = Cost(0.5, 2, "message", "typical")


def check(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None:
        return
    try:
        xdp = machine.xdp(name)
    except UnseenError as error:
        yield Finding("xdp", name, "unseen", str(error))
    else:
        if xdp.attached is not None:
            yield Finding(
                "xdp",
                name,
                "fail",
                f"a program is attached ({xdp.attached}), so the driver af_xdp finds the interface busy",
                command=f"ip link set {name} xdp off   # first find its owner: bpftool net show",
            )
        yield _modes(name, xdp.features)
    yield _queues(machine, name)


def _modes(name: str, features: frozenset[str] | None) -> Finding:
    if features is None:
        return Finding("xdp", name, "unseen", "this kernel does not report XDP features (it is older than 6.3)")
    if "basic" not in features:
        return Finding("xdp", name, "warn", "its driver has no native mode, so af_xdp uses generic mode", _GENERIC)
    if "zero-copy" not in features:
        return Finding("xdp", name, "warn", "native mode; its driver copies each frame (no zero copy)", _COPY)
    return Finding("xdp", name, "pass", f"native mode with zero copy ({', '.join(sorted(features))})")


def _queues(machine: Machine, name: str) -> Finding:
    try:
        used, most = machine.ethtool.queues(name)
        reason = f"{used} of {most} receive queues in use"
    except UnseenError:
        used = sum(queue.startswith("rx-") for queue in machine.names(f"/sys/class/net/{name}/queues"))
        reason = f"{used} receive queue{'s' if used != 1 else ''}"
    if not used:
        return Finding("queues", name, "unseen", "the kernel does not report its queues")
    if used > 1:
        # af_xdp opens a socket for each queue and polls all of them in every turn.
        return Finding(
            "queues",
            name,
            "warn",
            f"{reason}; the driver af_xdp polls all of them",
            Cost(0.05, 0.1 * used, "turn", "typical"),
            f"ethtool -L {name} combined 1   # or steer the flows: ethtool -N",
        )
    return Finding("queues", name, "pass", reason)
