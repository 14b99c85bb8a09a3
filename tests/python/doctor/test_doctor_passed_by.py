"""The doctor's findings of rules that sfloop passes by: rules of a real namespace, and tables built from bytes."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest
from harness import capabilities, link
from harness import firewalls as fw
from harness.link import INTERFACE, Side

import sfloop
from sfloop.doctor import iptables, nftables, tc
from sfloop.doctor.checks import passed_by
from sfloop.doctor.finding import Finding, UnseenError
from sfloop.doctor.machine import Machine
from sfloop.doctor.rules import Chain


@pytest.fixture
def near() -> Iterator[Side]:
    """Enter a new namespace with one end of a link."""
    reason = link.unavailable()
    if reason is not None:
        pytest.skip(reason)
    with link.made_link() as made, made.near.entered():
        yield made.near


def nft_or_skip(*messages: fw.Message) -> None:
    try:
        fw.nft(*messages)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP):
            pytest.skip(f"this kernel lacks a part of nf_tables: {error}")
        raise


def found() -> dict[str, Chain]:
    return {chain.name: chain for chain in nftables.chains(INTERFACE)}


def test_no_rules(near: Side) -> None:
    assert nftables.chains(INTERFACE) == []
    assert iptables.chains(INTERFACE, []) == []
    assert tc.ingress(INTERFACE) == (0, 0)
    with pytest.raises(UnseenError, match="nosuch0"):
        nftables.chains("nosuch0")
    with pytest.raises(UnseenError, match="nosuch0"):
        tc.ingress("nosuch0")


def test_a_policy_of_drop_and_rules(near: Side) -> None:
    drop = fw.verdict(fw.DROP)
    nft_or_skip(
        fw.table(fw.INET, "filter"),
        fw.chain(fw.INET, "filter", "input", fw.INPUT, fw.DROP),
        fw.chain(fw.INET, "filter", "output", fw.OUTPUT),
        fw.chain(fw.INET, "filter", "empty", fw.PREROUTING),
        fw.chain(fw.INET, "filter", "forward", fw.FORWARD, fw.DROP),
        fw.rule(fw.INET, "filter", "output", drop),
        fw.rule(fw.INET, "filter", "output", fw.TRACKED, drop),
    )
    assert found() == {
        "nft inet filter input": Chain("nft inet filter input", "input", 0, drops=True),
        "nft inet filter output": Chain("nft inet filter output", "output", 2, tracks=True),
    }


def test_rules_of_other_interfaces_are_left_out(near: Side) -> None:
    drop = fw.verdict(fw.DROP)
    index = socket.if_nametoindex(INTERFACE)

    def on(*compared: bytes) -> fw.Message:
        return fw.rule(fw.IP, "t", "in", *compared, drop)

    nft_or_skip(
        fw.table(fw.IP, "t"),
        fw.chain(fw.IP, "t", "in", fw.INPUT),
        on(*fw.interface_is(6, fw.name_of("eth7"))),
        on(*fw.interface_is(6, fw.name_of(INTERFACE), equal=False)),
        on(*fw.interface_is(6, b"eth")),
        on(*fw.interface_is(4, struct.pack("=I", index + 1))),
    )
    assert found() == {}
    fw.nft(
        on(*fw.interface_is(6, fw.name_of(INTERFACE))),
        on(*fw.interface_is(6, b"vet")),
        on(*fw.interface_is(6, fw.name_of("eth7"), equal=False)),
        on(*fw.interface_is(4, struct.pack("=I", index))),
    )
    assert found()["nft ip t in"].rules == 4


def test_jumps_are_followed(near: Side) -> None:
    """firewalld, ufw and Docker make a base chain that only jumps."""
    nft_or_skip(
        fw.table(fw.IP, "t"),
        fw.chain(fw.IP, "t", "base", fw.INPUT),
        fw.chain(fw.IP, "t", "nothing"),
        fw.chain(fw.IP, "t", "zone"),
        fw.chain(fw.IP, "t", "inner"),
        fw.rule(fw.IP, "t", "base", fw.verdict(fw.JUMP, "nothing")),
    )
    assert found() == {}
    fw.nft(
        fw.rule(fw.IP, "t", "base", fw.verdict(fw.JUMP, "zone")),
        fw.rule(fw.IP, "t", "zone", fw.verdict(fw.JUMP, "inner")),
        fw.rule(fw.IP, "t", "inner", fw.verdict(fw.DROP)),
    )
    assert found()["nft ip t base"].rules == 1


def test_a_dormant_table_does_nothing(near: Side) -> None:
    nft_or_skip(fw.table(fw.IP, "off", dormant=True), fw.chain(fw.IP, "off", "in", fw.INPUT, fw.DROP))
    assert found() == {}


def test_a_chain_of_the_device_itself(near: Side) -> None:
    nft_or_skip(
        fw.table(fw.NETDEV, "t"),
        fw.chain(fw.NETDEV, "t", "mine", 0, device=INTERFACE),
        fw.chain(fw.NETDEV, "t", "others", 0, device="lo"),
        fw.rule(fw.NETDEV, "t", "mine", fw.verdict(fw.DROP)),
        fw.rule(fw.NETDEV, "t", "others", fw.verdict(fw.DROP)),
    )
    assert found() == {"nft netdev t mine": Chain("nft netdev t mine", "ingress", 1)}


def test_masquerading(near: Side) -> None:
    nft_or_skip(
        fw.table(fw.IP, "t"),
        fw.chain(fw.IP, "t", "post", fw.POSTROUTING, kind="nat"),
        fw.rule(fw.IP, "t", "post", *fw.interface_is(7, fw.name_of(INTERFACE)), fw.MASQUERADE),
    )
    assert found()["nft ip t post"].translates


def test_many_rules_come_in_several_messages(near: Side) -> None:
    nft_or_skip(fw.table(fw.IP, "t"), fw.chain(fw.IP, "t", "in", fw.INPUT))
    for _ in range(20):
        fw.nft(*[fw.rule(fw.IP, "t", "in", *fw.interface_is(6, b"ve"), fw.verdict(fw.DROP))] * 50)
    assert found()["nft ip t in"].rules == 1000


# ---- legacy iptables ----


def reading(made: tuple[list[int], list[int], int, bytes]) -> iptables.Read:
    """Return a kernel that has this table."""

    def read(table: str, option: int, size: int) -> bytes:
        first, last, count, data = made
        if option == 64:
            return struct.pack("=32sI5I5III", table.encode(), 0b1110, *first, *last, count, len(data))
        assert size == 40 + len(data)
        return bytes(40) + data

    return read


def legacy(rules: list[bytes], policy: int = fw.ACCEPTED, user: list[bytes] | None = None) -> list[Chain]:
    return iptables.chains(INTERFACE, ["filter"], reading(fw.legacy(rules, policy, user)))


def test_iptables_made_up() -> None:
    assert legacy([]) == []
    assert legacy([], fw.DROPPED) == [Chain("iptables -t filter INPUT", "input", 0, drops=True)]
    assert legacy([fw.entry(fw.DROPPED)])[0].rules == 1
    (tracked,) = legacy([fw.entry(fw.DROPPED, match="conntrack")])
    assert tracked.tracks


def test_iptables_jumps_are_followed() -> None:
    jump = len(fw.entry(0))
    to_user = fw.entry(fw.user_chain(jump))
    assert legacy([to_user], user=[fw.entry(fw.DROPPED), fw.entry(fw.DROPPED)])[0].rules == 2
    assert legacy([to_user], user=[]) == []
    itself = fw.entry(fw.user_chain(jump))
    assert legacy([to_user], user=[itself, fw.entry(fw.DROPPED)])[0].rules == 1


@pytest.mark.parametrize("cut", [0, 1, 50, 112, 140, 160, 300])
def test_iptables_that_make_no_sense_do_no_harm(cut: int) -> None:
    first, last, count, data = fw.legacy([fw.entry(fw.DROPPED, match="state")], fw.DROPPED)
    iptables.chains(INTERFACE, ["filter"], reading((first, last, count, data[:cut])))
    iptables.chains(INTERFACE, ["filter"], reading((first, last, count, b"\xff" * len(data))))
    iptables.chains(INTERFACE, ["filter"], reading((first, last, count, bytes(len(data)))))


def test_iptables_of_this_kernel(near: Side) -> None:
    rules = [
        fw.entry(fw.DROPPED, incoming="eth7"),
        fw.entry(fw.DROPPED, incoming=INTERFACE),
        fw.entry(fw.DROPPED, incoming="eth7", inverted=True),
        fw.entry(fw.DROPPED, incoming=INTERFACE, inverted=True),
    ]
    try:
        fw.load_legacy(fw.legacy(rules, fw.DROPPED))
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.ENOENT):
            raise
        pytest.skip("this kernel has no legacy iptables")
    machine = Machine(interface=INTERFACE)
    assert machine.read("/proc/net/ip_tables_names") == "filter"
    assert iptables.chains(INTERFACE, ["filter"]) == [Chain("iptables -t filter INPUT", "input", 2, drops=True)]
    assert by_check(machine)["firewall"].reason.startswith("iptables -t filter INPUT (2 rules, policy drop): ")


# ---- the findings ----


def by_check(machine: Machine) -> dict[str, Finding]:
    checks = (passed_by.check_rules, passed_by.check_reverse_path, passed_by.check_traffic_control)
    return {finding.check: finding for check in checks for finding in check(machine)}


def test_findings_in_a_namespace(near: Side) -> None:
    machine = Machine(interface=INTERFACE)
    for scope in ("all", INTERFACE):
        with open(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", "w") as setting:
            setting.write("0")
    assert {name: finding.status for name, finding in by_check(machine).items()} == dict.fromkeys(
        ("firewall", "nat", "conntrack", "rp-filter", "tc-ingress"), "pass"
    )
    with open(f"/proc/sys/net/ipv4/conf/{INTERFACE}/rp_filter", "w") as setting:
        setting.write("1")
    nft_or_skip(
        fw.table(fw.IP, "sft"),
        fw.chain(fw.IP, "sft", "in", fw.INPUT, fw.DROP),
        fw.chain(fw.IP, "sft", "post", fw.POSTROUTING, kind="nat"),
        fw.rule(fw.IP, "sft", "in", fw.TRACKED, fw.verdict(fw.ACCEPT)),
        fw.rule(fw.IP, "sft", "post", fw.MASQUERADE),
    )
    findings = by_check(machine)
    assert findings["firewall"].status == "warn"
    assert findings["firewall"].reason.startswith("nft ip sft in (1 rule, policy drop): the kernel applies this")
    assert "--stack kernel" in (findings["firewall"].command or "")
    assert findings["nat"].reason.startswith("nft ip sft post (1 rule): ")
    assert findings["conntrack"].reason.startswith("nft ip sft in (1 rule, policy drop) uses the state")
    assert findings["rp-filter"].reason.startswith("rp_filter=1 (strict")


def test_filters_and_programs_on_the_way_in(near: Side) -> None:
    tool = ["tc", "-n", near.namespace]
    every = ["u32", "match", "u32", "0", "0", "flowid", "1:1"]
    subprocess.run([*tool, "qdisc", "add", "dev", INTERFACE, "clsact"], check=True)
    assert tc.ingress(INTERFACE) == (0, 0)
    for priority in ("1", "2"):
        add = ["filter", "add", "dev", INTERFACE, "ingress", "prio", priority, "protocol", "ip"]
        subprocess.run([*tool, *add, *every], check=True)
        assert tc.ingress(INTERFACE) == (int(priority), 0)


def test_programs_of_tcx_are_counted(near: Side) -> None:
    """The packet driver attaches one."""
    loop = sfloop.Loop(sfloop.Options(driver="packet", interface=INTERFACE, fallback="error"))
    try:
        assert tc.ingress(INTERFACE)[1] >= 1
    finally:
        loop.close()
    assert tc.ingress(INTERFACE) == (0, 0)


@pytest.mark.parametrize(("error", "reason"), [(errno.EPERM, "run as root"), (errno.ETIMEDOUT, "did not return")])
def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch, error: int, reason: str) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(error, os.strerror(error))

    for module, name in ((nftables, "dump"), (tc, "dump")):
        monkeypatch.setattr(module, name, refuse)
    for ask in (lambda: nftables.chains("lo"), lambda: tc.ingress("lo")):
        with pytest.raises(UnseenError, match=reason):
            ask()
    with pytest.raises(UnseenError, match=reason):
        iptables.chains("lo", ["filter"], refuse)


def test_without_privileges(near: Side) -> None:
    with capabilities.none_effective():
        with pytest.raises(UnseenError, match="run as root"):
            nftables.chains(INTERFACE)
        with pytest.raises(UnseenError, match="run as root"):
            iptables.chains(INTERFACE, ["filter"])
        with pytest.raises(UnseenError, match="run as root"):
            tc.ingress(INTERFACE)


def test_a_kernel_without_nf_tables_and_tc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(nftables, "dump", refuse)
    monkeypatch.setattr(tc, "dump", refuse)
    assert nftables.chains("lo") == []
    assert tc.ingress("lo")[0] == 0
