"""Counters of the frame drivers."""

from __future__ import annotations

from reference.model import Counter, Section

DRIVER = Section(
    "The frame driver",
    'loop.stats()["stacks"]["tcpip"]["driver"]',
    "`stats()` of an Ethernet transport has the same, for its own driver. A wrapper (`pcap`, `trace`, `fault`) shows the "
    "counts of the driver below it, and `fault` adds its own.",
    (
        Counter("rx_frames", "Frames received and given to the stack.", "Normal work."),
        Counter("rx_bytes", "Their bytes, from the Ethernet header on.", "Normal work."),
        Counter(
            "rx_dropped",
            "Frames lost because the receive ring was full. By driver: see below.",
            "The program did not poll the network for too long.",
            "Shorter callbacks, a CPU of its own (`cpu=`), a larger [`ring`](configuration.md#ring).",
        ),
        Counter(
            "rx_no_frames",
            "`af_xdp`: times that the NIC or the kernel found no free frame to receive into.",
            "The same. In copy mode `rx_dropped` also counts these frames; with zero copy only `ethtool -S` shows them.",
            "The same.",
        ),
        Counter(
            "rx_invalid",
            "Frames that the driver refused: torn, longer than the MTU allows, in error.",
            "`ef_vi`: bad cables or a bad peer. `shm`: the other process writes nonsense. `af_xdp`, `packet`: larger "
            "merged frames than the driver takes.",
            "Look at the link (`ethtool -S`), or switch off receive offloads (`sfloop doctor`).",
        ),
        Counter("tx_frames", "Frames given to the NIC, the kernel or the other end of a wire.", "Normal work."),
        Counter("tx_bytes", "Their bytes.", "Normal work."),
        Counter(
            "tx_full",
            "Requests for a frame to send that found the queue full.",
            "The stack sends faster than the NIC, or the other end of a wire, takes frames. Nothing is lost.",
            "If it rises with latency, send less at a time.",
        ),
        Counter(
            "tx_errors",
            "Frames that could not be sent after all. By driver: see below.",
            "The interface is down or gone, the NIC was reset, or a wire has no other end.",
            "`ip link show`; start the other end.",
        ),
        Counter(
            "wakeups",
            "System calls that wake the kernel or the other end of a wire. By driver: see below.",
            "`shm`: the other end sleeps. `af_xdp` in copy mode and `packet`: one call for each burst that is sent.",
            "For `shm`, let the other end spin.",
        ),
    ),
    """| driver | `rx_dropped` | `tx_errors` | `wakeups` |
|---|---|---|---|
| `af_xdp` | the kernel's `rx_dropped` and `rx_ring_full` of all sockets, and datagrams for which the overflow buffer had no room | frames refused by the driver or the kernel (`tx_invalid_descs`) | `sendto` and `recvfrom` calls that drive the rings |
| `packet` | the kernel's `tp_drops`, and datagrams for which the overflow buffer had no room | frames of a wrong length, and frames that the kernel refused for good | system calls that send |
| `shm` | always 0: the sender is told that the ring is full | frames without a receiver, and frames that are too long | writes to the FIFO of the other end |
| `ef_vi` | the NIC's count "RX no descriptor errors", and packets truncated because no buffer was free | frames under way when the NIC was reset; sends that failed | times the event queue was primed for an interrupt |
| `fault` | adds frames that found no room among those it delays (512 in each direction) | adds frames that the driver below refused | those of the driver below |
""",
)
