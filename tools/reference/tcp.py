"""Counters of the tcpip stack's TCP."""

from __future__ import annotations

from reference.model import Counter, Section

TCP = Section(
    "The tcpip stack: TCP",
    'loop.stats()["stacks"]["tcpip"]',
    "The limits named here are those of [`tcp=`](tcp.md#limits-and-timers). [tcp-operation.md](tcp-operation.md) explains the terms.",
    (
        Counter("tcp_connected", "Connections that the loop made.", "Normal work."),
        Counter("tcp_accepted", "Connections that listeners accepted.", "Normal work."),
        Counter("tcp_imported", "Connections that the kernel opened and the stack took over.", "Normal work."),
        Counter(
            "tcp_imports_undone",
            "Connections that the stack began to take over and left to the kernel.",
            "The connection's state cannot be carried on, or there was no memory.",
        ),
        Counter("tcp_exported", "Connections that the stack handed to another TCP.", "Normal work."),
        Counter(
            "tcp_ports_unreserved",
            "Ports of imported connections that the stack could not reserve.",
            "Another socket of the host has the same port. The connection works.",
        ),
        Counter(
            "tcp_resets_sent",
            "Resets sent.",
            "Connections were aborted or closed with data unread, or segments came for no connection.",
            "See `tcp_aborted` and `tcp_rx_no_socket`.",
        ),
        Counter(
            "tcp_resets_received",
            "Resets received and believed.",
            "Peers abort, or ports refuse connections.",
            "Look at the peer.",
        ),
        Counter(
            "tcp_aborted",
            "Connections that the program aborted: `abort()`, closed with data unread, or `SO_LINGER` of 0.",
            "The program closes before it has read everything.",
            "Read until the end before `close()`, if the peer is to see an orderly end.",
        ),
        Counter(
            "tcp_timed_out",
            "Connections ended because the peer did not answer.",
            "A peer or path has gone.",
            "Check the path; `user_timeout`, `retries`, keepalive decide how long it takes.",
        ),
        Counter(
            "tcp_orphans_ended",
            "Connections closed by the program whose peer did not end in time.",
            "Peers do not close their side.",
            "Lower `orphan_timeout` if they take up room.",
        ),
        Counter(
            "tcp_data_after_close",
            "Connections reset because data came after the program had closed.",
            "The program closes while the peer still sends.",
            "Shut down writing and read to the end first.",
        ),
        Counter(
            "tcp_syn_retransmits",
            "SYNs, and answers to SYNs, sent again.",
            "Handshakes lose segments, or the peer does not answer.",
            "Look at the path and its firewalls.",
        ),
        Counter(
            "tcp_half_open_timed_out",
            "SYNs whose handshake was never finished.",
            "A scan or SYN flood, or a path that carries one direction only.",
            "See `tcp_cookies_sent`.",
        ),
        Counter(
            "tcp_accept_full",
            "SYNs and handshakes dropped because the listener's queue was full.",
            "The program does not accept in time. Peers try again after a second.",
            "A larger `backlog=`, shorter callbacks.",
        ),
        Counter(
            "tcp_cookies_sent",
            "SYNs answered by a cookie, because `max_half_open` was reached.",
            "A SYN flood, or very many clients at once.",
            "Raise `max_half_open` if the clients are real; filter on the switch if not.",
        ),
        Counter("tcp_cookies_good", "Connections that a cookie opened.", "Real clients came during the flood."),
        Counter(
            "tcp_cookies_bad", "ACKs whose cookie was wrong.", "Someone guesses, or answers came later than a minute."
        ),
        Counter(
            "tcp_connections_full",
            "Connections refused because `max_connections` was reached.",
            "Connections accumulate, or someone opens them on purpose.",
            "Raise `max_connections`, or close idle ones.",
        ),
        Counter(
            "tcp_memory_full",
            "Times that a buffer could not grow because `memory` was used up.",
            "Unread or unacknowledged data fills the limit. Connections continue, slowly.",
            "Raise `memory`; find connections with large `unread` or `unsent`.",
        ),
        Counter(
            "tcp_no_memory",
            "Connections ended because the machine had no memory for acknowledged data.",
            "The process or its cgroup is out of memory.",
            "Lower `memory` below the cgroup's limit.",
        ),
        Counter(
            "tcp_rx_pruned",
            "Times that a connection's out-of-order data was dropped to make room for others.",
            "`memory` is short. The peer sends the data again.",
            "As `tcp_memory_full`.",
        ),
        Counter(
            "tcp_rx_refused",
            "Segments in order that were not accepted for lack of memory.",
            "The same. The peer sends them again.",
            "As `tcp_memory_full`.",
        ),
        Counter(
            "tcp_time_wait_evicted",
            "TIME_WAIT records that ended early to make room.",
            "Many short connections.",
            "Raise `max_time_wait`, or `ulimit -n` for connections that the loop makes.",
        ),
        Counter(
            "tcp_time_wait_reused",
            "TIME_WAIT records replaced by a new connection between the same ends.",
            "Normal with many short connections between two hosts.",
        ),
        Counter(
            "tcp_challenges",
            "ACKs sent to ask whether a reset, SYN or ACK was meant (RFC 5961).",
            "A few: connections that one end has forgotten. Many: someone sends forged segments.",
            "Capture with `pcap=` if many.",
        ),
        Counter(
            "tcp_challenge_limited",
            "Challenge ACKs not sent: a connection sends at most two a second. Also SYNs that came again and were not answered.",
            "Many segments that deserve one reach one connection.",
            "The same.",
        ),
        Counter(
            "tcp_rx_no_socket",
            "Segments for no connection and no listener.",
            "Segments were under way when their connection ended.",
            "If it keeps rising, a peer has a connection that the loop has forgotten.",
        ),
        Counter(
            "tcp_rx_bad_ack",
            "Segments that acknowledge nothing, or data that was not sent.",
            "An old connection's segments, or forged ones.",
        ),
        Counter(
            "tcp_rx_outside_window",
            "Segments wholly outside of the receive window.",
            "Retransmissions of received data, probes, or forged segments.",
        ),
        Counter(
            "tcp_rx_beyond_window",
            "Segments cut at the window's right edge.",
            "A peer sends more than the window.",
        ),
        Counter(
            "tcp_rx_paws",
            "Segments refused for an old timestamp (RFC 7323).",
            "Very late duplicates, or two peers behind one address (NAT).",
        ),
        Counter(
            "tcp_rx_no_timestamps",
            "Segments without timestamps on connections that have agreed on them. They are accepted.",
            "A middlebox strips TCP options.",
        ),
        Counter(
            "tcp_rx_duplicate",
            "Data that had been received already.",
            "The peer sends again for nothing: its RTO is too short, or our ACKs are lost.",
        ),
        Counter(
            "tcp_rx_out_of_order",
            "Segments that came before what precedes them; kept.",
            "Loss or reordering on the way to us.",
            "See `driver.rx_dropped`, the NIC and the switch.",
        ),
        Counter(
            "tcp_rx_ranges_full",
            "Out-of-order segments dropped because the list of 128 ranges was full.",
            "Every second segment or so is lost.",
            "The same.",
        ),
        Counter(
            "tcp_filters_full",
            "Connections for which the driver had no flow of their own.",
            "The driver's table is full, or memory is short. The kernel may get their segments once the listener has closed.",
            "Fewer connections on that interface.",
        ),
        Counter(
            "tcp_tx_no_way",
            "Segments not sent: no route, no neighbour, or the interface is down. TCP sends them again.",
            "The peer is not reachable.",
            "`ip route get`, `ip neigh`. CAP_NET_RAW lets segments wait for ARP.",
        ),
        Counter(
            "tcp_rx_other_way",
            "Segments that the kernel received for a connection of ours: fragments, or another interface.",
            "Asymmetric routes, or fragmentation.",
            "Nothing is lost; latency is the kernel's.",
        ),
        Counter(
            "tcp_resets_kept",
            "Resets of the kernel's that the reset guard held back, because the connection is ours.",
            "The first segment of a connection came another way.",
        ),
        Counter(
            "tcp_resets_let_go",
            "Resets that were held back and then sent, because no connection of ours was meant.",
            "Segments for closed connections come another way.",
        ),
        Counter(
            "tcp_rx_kernels",
            "Segments handed to the kernel, which has the connection, or has the port or had it a moment ago.",
            "Another program listens at the port, or has begun to; or a connection whose SYN came by another interface.",
            'See `loop.describe()["flows"]`.',
        ),
        Counter(
            "tcp_tx_other_way",
            "Segments sent by a raw socket: the route leads elsewhere, or ARP has yet to answer.",
            "Routes moved, or a neighbour's entry expired.",
            "Nothing is lost; latency is the kernel's.",
        ),
        Counter(
            "tcp_tx_lost",
            "Segments that the driver or the raw socket refused.",
            "The MTU became smaller, a queue is full, or the link is down. TCP sends again.",
        ),
        Counter(
            "tcp_icmp_ignored",
            "ICMP errors about segments that are not under way (RFC 5927).",
            "Late errors, or forged ones.",
        ),
        Counter(
            "tcp_black_holes",
            "Times that smaller segments were tried because large ones vanish.",
            "A router drops large packets and says nothing.",
            "Lower the route's MTU, or set `mss`.",
        ),
    ),
)
