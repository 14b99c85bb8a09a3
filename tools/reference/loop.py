"""Counters of the loop, of every stack, of TCPDirect's stack, and values of single connections."""

from __future__ import annotations

from reference.model import Counter, Section

NORMAL = "Normal work."

LOOP = Section(
    "The loop",
    "loop.stats()",
    "`ready`, `timers` and `sockets` are levels, not counters. `stacks` and `connections` are described below, `imports` in [imports.md](imports.md).",
    (
        Counter("turns", "Polls of all stacks, empty ones included.", "The loop runs."),
        Counter(
            "empty_turns",
            "Polls that found nothing.",
            "The loop spins. Divided by `turns`, it is the share of idle polls.",
        ),
        Counter(
            "sleeps",
            "Times the thread blocked in the kernel.",
            'The loop is idle with `spin="never"`, or adaptive spinning gave way.',
            'If latency matters, see `contentions`; give the loop a CPU of its own and `spin="always"`.',
        ),
        Counter(
            "wakeups",
            "Writes to the wake-up descriptor by `call_soon_threadsafe`.",
            "Other threads wake a loop that sleeps.",
            "Nothing, unless `sleeps` should not rise.",
        ),
        Counter(
            "wakeups_without_syscall",
            "Calls of `call_soon_threadsafe` that a spinning loop saw in memory.",
            NORMAL,
        ),
        Counter(
            "contentions",
            "Times that adaptive spinning gave way to other work.",
            "Another thread or process wants the loop's CPU.",
            "Keep other work off that CPU: `cpu=`, `isolcpus`, interrupts elsewhere ([tuning](tuning.md)).",
        ),
        Counter(
            "ready",
            "Handles that wait for the next turn.",
            "Callbacks schedule more callbacks than a turn runs.",
            "If it grows without end, the program schedules more than it can run.",
        ),
        Counter(
            "timers",
            "Timers that are set, and cancelled timers that are not yet swept.",
            "The program sets timers faster than they fire or are cancelled.",
            "If it grows without end, look for timers that are never cancelled.",
        ),
        Counter(
            "sockets",
            "Sockets and watched descriptors that are open on the loop.",
            "Connections or descriptors accumulate.",
            "If it grows without end, look for transports that are never closed.",
        ),
    ),
)

STACK = Section(
    "Every stack",
    'loop.stats()["stacks"][NAME]',
    "Every loop has the kernel stack, as `kernel`. A loop with a bypass stack has `tcpip` or `tcpdirect` beside it. "
    "A message is one datagram, or one read or write of a stream.",
    (
        Counter("polls", "Times the stack was asked for events.", "The loop runs."),
        Counter("empty_polls", "Polls that found no event.", "The loop spins."),
        Counter("events", "Events given to the loop: a socket was readable, writable, or both.", NORMAL),
        Counter(
            "stale_events",
            "Events of the kernel stack that matched no socket.",
            "A few: sockets were closed in the turn that had an event for them. Many: a descriptor was closed without "
            "telling the loop while a duplicate of it lives on. After 16 in a row the stack makes a new epoll set.",
            "Close transports instead of descriptors, and call `remove_reader` before `close`.",
        ),
        Counter("rx_bytes", "Bytes of payload received.", NORMAL),
        Counter("rx_messages", "Messages received.", NORMAL),
        Counter("tx_bytes", "Bytes of payload sent.", NORMAL),
        Counter("tx_messages", "Messages sent.", NORMAL),
        Counter(
            "tx_would_block",
            "Sends that found no room: the socket's buffer, the peer's window or the driver's queue was full.",
            "The program writes faster than the peer reads or the path carries.",
            "Heed `pause_writing()`, or await `drain()`.",
        ),
    ),
)

TCPDIRECT = Section(
    "TCPDirect",
    'loop.stats()["stacks"]["tcpdirect"]',
    "In addition to those of every stack. The limits are TCPDirect's own: [solarflare.md](solarflare.md#limits).",
    (
        Counter(
            "stale", "Events of the muxer for a zocket that is gone.", "Zockets were closed with events pending.", ""
        ),
        Counter(
            "zockets_full",
            "Connections, listeners or endpoints for which the library had no zocket.",
            "The loop has reached the library's 64 zockets.",
            "Close connections sooner, lower `tcp_timewait_ms`, or use a second loop.",
        ),
        Counter(
            "to_kernel_full",
            "Outgoing connections that the kernel made because there was no zocket.",
            "The same; these connections have the kernel's latency.",
            'The same. `fallback="error"` makes them fail instead.',
        ),
        Counter(
            "connect_retried",
            "Connection attempts repeated while the neighbour was not known.",
            "The kernel is resolving the peer's or the gateway's address.",
            "If `connect` then fails, look at `ip neigh`.",
        ),
        Counter(
            "send_retried",
            "Streams that became writable again without an event.",
            "The send queue was full, and the library tells nobody when it has room.",
            "Heed `pause_writing()`.",
        ),
        Counter(
            "abort_as_fin",
            "Aborted connections that ended with FIN instead of RST.",
            "`abort()` was called with unsent data or a closed window, which TCPDirect cannot take back.",
            "Nothing; the peer sees an orderly end.",
        ),
        Counter(
            "rx_copied",
            "Reads of several packets that were put together by a copy.",
            "Packets arrive faster than the loop reads them.",
            "Keep callbacks short.",
        ),
        Counter(
            "rx_by_kernel",
            "Datagrams received by the kernel's socket beside the zocket.",
            "Fragments, or datagrams from this machine.",
            "Send datagrams that fit the MTU.",
        ),
        Counter(
            "tx_by_kernel_route",
            "Times that a destination was given to the kernel because its route leads past the interface.",
            "The endpoint sends to another network.",
            "Check `ip route get ADDRESS`.",
        ),
        Counter(
            "tx_by_kernel_unresolved",
            "Times that a destination was given to the kernel because its neighbour was not known.",
            "The first datagrams to a host.",
            "If it keeps rising, the host does not answer ARP.",
        ),
        Counter(
            "tx_by_kernel_multicast",
            "Times that a group was given to the kernel.",
            "`IP_MULTICAST_IF` does not name the interface's address, or `IP_MULTICAST_LOOP` is on.",
            "Set the first and switch off the second.",
        ),
        Counter(
            "tx_by_kernel_full",
            "Times that a destination was given to the kernel because no zfut could be made.",
            "The library has no room for another destination.",
            "Send to fewer destinations, or raise `max_udp_tx_endpoints`.",
        ),
        Counter(
            "tx_destinations_evicted",
            "Destinations forgotten to make room for others.",
            "The loop sends to more destinations in turn than there is room for (64).",
            "Send to fewer destinations from one loop.",
        ),
        Counter(
            "not_quiescent",
            "Stacks that were closed before the library had delivered everything.",
            "The peer did not acknowledge in time.",
            "Raise `linger`.",
        ),
    ),
)

CONNECTION = Section(
    "A connection",
    'loop.stats()["connections"][i]',
    "The list has one entry for each TCP connection on a bypass stack. `local` and `remote` are its addresses. Times are "
    "seconds, windows are bytes. Most of these are levels.",
    (
        Counter("state", "The state, as RFC 9293 names it ([tcp-operation.md](tcp-operation.md)).", "", ""),
        Counter("congestion", "The congestion control: `cubic` or `newreno`.", "", ""),
        Counter(
            "rtt", "Smoothed round-trip time.", "A queue on the path, or a busy peer.", "Compare it with `rtt_min`."
        ),
        Counter("rtt_var", "Mean deviation of the round-trip time.", "Jitter on the path or at the peer.", ""),
        Counter("rtt_min", "Least round-trip time of the last 10 to 20 seconds.", "The path has become longer.", ""),
        Counter("rto", "Retransmission timeout.", "`rtt` or `rtt_var` has risen.", ""),
        Counter("mss", "Payload of a full segment, in bytes.", "", "If small, look for a low path MTU."),
        Counter("cwnd", "Congestion window.", "The path carries the sent data.", ""),
        Counter("ssthresh", "Slow-start threshold. It falls with each loss.", "", ""),
        Counter("snd_wnd", "The window that the peer has advertised.", "", "If 0, the peer does not read."),
        Counter(
            "rcv_wnd",
            "The window that we have advertised.",
            "",
            "If small, the program does not read, or memory is short.",
        ),
        Counter("in_flight", "Bytes sent and not acknowledged.", "", ""),
        Counter("unsent", "Bytes written and not sent.", "The peer's window or the congestion window is full.", ""),
        Counter("unread", "Bytes received and not read.", "The program does not read.", "Look for `pause_reading()`."),
        Counter("bytes_sent", "Payload sent, each byte once.", NORMAL),
        Counter("bytes_received", "Payload received, each byte once.", NORMAL),
        Counter("segments_sent", "Segments sent, all kinds.", NORMAL),
        Counter("segments_received", "Segments received, all kinds.", NORMAL),
        Counter(
            "retransmits",
            "Segments sent again.",
            "Loss or reordering on the path.",
            "Look at `timeouts` and at the NICs.",
        ),
        Counter(
            "timeouts",
            "Retransmission timeouts.",
            "Losses that neither SACK nor a tail loss probe found, or a peer that stopped answering.",
            "Look for a peer or a path that pauses for longer than `rto`.",
        ),
        Counter(
            "recoveries", "Entries into loss recovery.", "Loss or heavy reordering.", "Look at the NICs and the switch."
        ),
        Counter(
            "probes",
            "Tail loss probes, probes of a closed window, and keepalives.",
            "The peer's window is closed, or the last segments of bursts are lost.",
            "If `snd_wnd` is 0, the peer does not read.",
        ),
        Counter("duplicate_acks", "Duplicate ACKs received.", "Segments of ours arrive out of order, or are lost.", ""),
        Counter(
            "out_of_order", "Segments received before what precedes them.", "Loss or reordering on the way to us.", ""
        ),
    ),
)
