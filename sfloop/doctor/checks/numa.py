"""Checks whether the loop runs on the NIC's NUMA node."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.common.machine import cpu_list, listed
from sfloop.doctor.finding import Cost, Finding
from sfloop.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    nodes = [name for name in machine.names("/sys/devices/system/node") if name[4:].isdecimal() and name[:4] == "node"]
    if len(nodes) < 2:
        yield Finding("numa", machine.interface or "", "pass", "one NUMA node")
        return
    name = machine.interface
    if name is None:
        yield Finding("numa", "", "unseen", f"{len(nodes)} NUMA nodes, but no interface was named")
        return
    node = machine.find(f"/sys/class/net/{name}/device/numa_node") or "-1"
    if not node.isdecimal():
        yield Finding("numa", name, "unseen", "the kernel does not know the NIC's node")
        return
    near = cpu_list(machine.read(f"/sys/devices/system/node/node{node}/cpulist"))
    far = [cpu for cpu in machine.cpus if cpu not in near]
    if not far:
        yield Finding("numa", name, "pass", f"the loop's CPUs are on the NIC's node, {node}")
        return
    yield Finding(
        "numa",
        name,
        "warn",
        f"the NIC is on node {node} (CPU {listed(near)}), and the loop may run on CPU {listed(far)}",
        Cost(0.2, 1, "message", "typical"),
        f"sfloop run --cpu {near[-1] if near else 'N'} …",
    )
