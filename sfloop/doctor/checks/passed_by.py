"""Protections of the kernel on the interface, which sfloop's bypass stacks do not pass through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sfloop.doctor.finding import Finding, UnseenError
from sfloop.doctor.machine import Machine
from sfloop.doctor.rules import Chain

_REVERSE_PATH = {1: "strict", 2: "loose"}
_LISTED = 4


def check_rules(machine: Machine) -> Iterator[Finding]:
    """Firewall, address translation and connection tracking, by nf_tables or iptables."""
    name = machine.interface
    if name is None:
        return
    chains, unseen = _chains(machine, name)
    yield _firewall(name, [chain for chain in chains if not _only_translates(chain)], unseen)
    yield _translation(name, [chain for chain in chains if _only_translates(chain)], unseen)
    yield _tracking(machine, name, [chain for chain in chains if chain.tracks], unseen)


def _chains(machine: Machine, name: str) -> tuple[list[Chain], str | None]:
    """The chains that were found, and the reason why there may be more (None: there are no more)."""
    found: list[Chain] = []
    unseen: list[str] = []

    def legacy() -> list[Chain]:
        tables = (machine.find("/proc/net/ip_tables_names") or "").split()
        return machine.iptables(name, tables) if tables else []

    ask: Callable[[], list[Chain]]
    for ask in (lambda: machine.nftables(name), legacy):
        try:
            found += ask()
        except UnseenError as error:
            unseen.append(str(error))
    return found, "; ".join(unseen) or None


def _only_translates(chain: Chain) -> bool:
    """Whether the chain only masquerades: it changes the kernel's connections, and sfloop's own do not need it."""
    return chain.translates and chain.hook == "postrouting"


def _listed(chains: list[Chain]) -> str:
    rest = f" and {len(chains) - _LISTED} more" if len(chains) > _LISTED else ""
    return ", ".join(chain.text for chain in chains[:_LISTED]) + rest


def _firewall(name: str, chains: list[Chain], unseen: str | None) -> Finding:
    if chains:
        return Finding(
            "firewall",
            name,
            "warn",
            f"{_listed(chains)}: the kernel applies this to its traffic on {name}. But the tcpip stack and TCPDirect "
            "receive before these rules and send past them, so their sockets are open to every host on the network",
            command=f"sfloop run --stack kernel …   # the rules hold there; or filter on the switch, or in the NIC: "
            f"ethtool -N {name} …",
        )
    if unseen is not None:
        return Finding("firewall", name, "unseen", unseen)
    return Finding("firewall", name, "pass", "no rule of nf_tables or iptables applies, so none is bypassed")


def _translation(name: str, chains: list[Chain], unseen: str | None) -> Finding:
    if chains:
        return Finding(
            "nat",
            name,
            "warn",
            f"{_listed(chains)}: a connection that is translated to this host's address may get the port and the "
            "peer of a tcpip connection, whose stack then takes its frames; sfloop's own are not translated",
            command="nft add rule … masquerade to :61000-65535   # ports outside net.ipv4.ip_local_port_range, and "
            "outside those that sfloop binds",
        )
    if unseen is not None:
        return Finding("nat", name, "unseen", unseen)
    return Finding("nat", name, "pass", "no addresses are translated on output")


def _tracking(machine: Machine, name: str, chains: list[Chain], unseen: str | None) -> Finding:
    text = machine.find("/proc/sys/net/netfilter/nf_conntrack_count") or "0"
    count = int(text) if text.isdecimal() else 0
    if chains or count:
        why = f"{_listed(chains)} uses the state of connections" if chains else f"conntrack follows {count} flows"
        return Finding(
            "conntrack",
            name,
            "warn",
            f"{why}; it does not know those of the tcpip stack. Packets that the kernel gets for them (ICMP errors, "
            "fragments) belong to no known connection, so a rule that accepts known ones only drops them",
            command="nft insert rule … icmp type destination-unreachable accept   # path MTU discovery needs it",
        )
    if unseen is not None:
        return Finding("conntrack", name, "unseen", unseen)
    return Finding("conntrack", name, "pass", "conntrack follows nothing here")


def check_reverse_path(machine: Machine) -> Iterator[Finding]:
    """Reverse path filtering. The kernel uses the higher value of "all" and the interface."""
    name = machine.interface
    if name is None:
        return
    values = [int(machine.find(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter") or 0) for scope in ("all", name)]
    kind = _REVERSE_PATH.get(max(values))
    if not machine.exists("/proc/sys/net/ipv4/conf/all/rp_filter"):
        raise UnseenError("/proc/sys/net/ipv4/conf/all/rp_filter does not exist: it is hidden, or there is no IPv4")
    if kind is None:
        yield Finding("rp-filter", name, "pass", "no reverse path filtering, so none is bypassed")
        return
    yield Finding(
        "rp-filter",
        name,
        "warn",
        f"rp_filter={max(values)} ({kind} reverse path filtering): the kernel drops a packet whose source it would not "
        f"answer {'through ' + name if kind == 'strict' else 'at all'}; the tcpip stack and TCPDirect do not check",
        command="sfloop run --stack kernel …   # it holds there; or refuse foreign sources on the switch",
    )


def check_traffic_control(machine: Machine) -> Iterator[Finding]:
    """Filters and programs on the ingress path."""
    name = machine.interface
    if name is None:
        return
    filters, programs = machine.traffic_control(name)
    if not filters and not programs:
        yield Finding("tc-ingress", name, "pass", "no filter of tc and no program of tcx on ingress")
        return
    parts = [f"{filters} filter{'s' if filters != 1 else ''} of tc"] if filters else []
    parts += [f"{programs} program{'s' if programs != 1 else ''} of tcx"] if programs else []
    yield Finding(
        "tc-ingress",
        name,
        "warn",
        f"{' and '.join(parts)} on ingress: the tcpip stack receives before them. (Its driver packet attaches a "
        "program of tcx itself while it runs.)",
        command=f"tc filter show dev {name} ingress; bpftool net show dev {name}   # whose they are, and what they do",
    )
