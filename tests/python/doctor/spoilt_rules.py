"""Machines with rules that sfloop passes by, and the doctor's answers."""

from __future__ import annotations

from fake_machine import NIC, FakeMachine, unseen
from spoilt_machines import Spoil, both, remove, write

from sfloop.doctor.rules import Chain


def nft(*chains: Chain) -> Spoil:
    return lambda m: setattr(m, "nftables", lambda _: list(chains))


def deny_tables(m: FakeMachine) -> None:
    m.set("/proc/net/ip_tables_names", "")
    m.denied.add("/proc/net/ip_tables_names")


def traffic_control(filters: int, programs: int) -> Spoil:
    return lambda m: setattr(m, "traffic_control", lambda _: (filters, programs))


# Check, the spoilt part, the status, the reason, the cost in µs (the upper end), and the command.
CASES: list[tuple[str, Spoil, str, str, float | None, str | None]] = [
    (
        "firewall",
        nft(Chain("nft inet filter input", "input", 12, drops=True), Chain("nft ip t out", "output", 1)),
        "warn",
        r"^nft inet filter input \(12 rules, policy drop\), nft ip t out \(1 rule\): the kernel applies this",
        None,
        "sfloop run --stack kernel",
    ),
    ("firewall", nft(*[Chain("nft ip t in", "input", 1)] * 6), "warn", r"and 2 more: ", None, "ethtool -N"),
    (
        "firewall",
        both(
            write("/proc/net/ip_tables_names", "nat\nfilter\n"),
            lambda m: setattr(m, "iptables", lambda _, tables: [Chain(f"iptables -t {t}", "input", 1) for t in tables]),
        ),
        "warn",
        r"^iptables -t nat \(1 rule\), iptables -t filter \(1 rule\): ",
        None,
        "sfloop run --stack kernel",
    ),
    ("firewall", lambda m: setattr(m, "nftables", unseen("run as root")), "unseen", "run as root", None, None),
    ("firewall", deny_tables, "unseen", "may not read /proc/net/ip_tables_names: run as root", None, None),
    (
        "nat",
        nft(Chain("nft ip nat post", "postrouting", 1, translates=True)),
        "warn",
        "may get the port",
        None,
        "masquerade",
    ),
    ("nat", lambda m: setattr(m, "nftables", unseen("run as root")), "unseen", "run as root", None, None),
    ("conntrack", nft(Chain("nft ip t in", "input", 1, tracks=True)), "warn", "uses the state", None, "icmp type"),
    (
        "conntrack",
        write("/proc/sys/net/netfilter/nf_conntrack_count", "7"),
        "warn",
        "follows 7 flows",
        None,
        "icmp type",
    ),
    ("conntrack", lambda m: setattr(m, "nftables", unseen("run as root")), "unseen", "run as root", None, None),
    (
        "rp-filter",
        write("/proc/sys/net/ipv4/conf/all/rp_filter", "2"),
        "warn",
        "rp_filter=2 .loose.*answer at all",
        None,
        "stack kernel",
    ),
    (
        "rp-filter",
        write(f"/proc/sys/net/ipv4/conf/{NIC}/rp_filter", "1"),
        "warn",
        f"rp_filter=1 .strict.*through {NIC}",
        None,
        "stack kernel",
    ),
    ("rp-filter", remove("/proc/sys/net/ipv4/conf"), "unseen", "does not exist", None, None),
    ("tc-ingress", traffic_control(1, 0), "warn", "^1 filter of tc on ingress", None, "tc filter show"),
    ("tc-ingress", traffic_control(2, 1), "warn", "^2 filters of tc and 1 program of tcx", None, "bpftool net show"),
    ("tc-ingress", lambda m: setattr(m, "traffic_control", unseen("run as root")), "unseen", "run as root", None, None),
]
