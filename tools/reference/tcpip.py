"""Counters of the tcpip stack except TCP's: received frames, datagrams, the kernel beside it, refusals."""

from __future__ import annotations

from reference.model import Counter, Section

WHERE = 'loop.stats()["stacks"]["tcpip"]'

FRAMES = Section(
    "The tcpip stack: frames and datagrams",
    WHERE,
    "In addition to those of every stack. “By the side socket” means that the kernel carries the datagram. "
    "It is not lost, and not faster than on the kernel stack.",
    (
        Counter("rx_own", "Frames that this stack has sent.", "Normal on drivers that see both directions."),
        Counter(
            "rx_other_mac",
            "Frames for another station.",
            "The interface is promiscuous, or a switch floods.",
            "Find the program that sniffs (`ip -d link show`).",
        ),
        Counter(
            "rx_other_vlan",
            "Frames of a VLAN, which belong to another interface.",
            "Normal on a trunk port.",
            "To receive a VLAN, name its interface.",
        ),
        Counter(
            "rx_other_addr", "Packets for an address that is not the interface's.", "A neighbour has an outdated route."
        ),
        Counter(
            "rx_pieces",
            "Frames lost because their pieces were too many for an IP packet.",
            "A driver or NIC merges more than it may.",
            "Switch receive offloads off (`sfloop doctor` has the command).",
        ),
        Counter(
            "rx_no_socket",
            "Datagrams for a port that no socket of the loop has.",
            "Datagrams were under way when their socket closed.",
            "If it keeps rising, a sender has the wrong port.",
        ),
        Counter(
            "rx_not_joined",
            "Multicast datagrams to a socket that has not joined their group or source.",
            "The feed's port carries other groups too.",
            "Bind to the group's address (`multicast.open_socket`).",
        ),
        Counter(
            "rx_backlog_full",
            "Datagrams lost because their socket had as much unread as its buffer allows.",
            "The program does not read one socket in time.",
            "A larger `SO_RCVBUF`, shorter callbacks.",
        ),
        Counter(
            "rx_backlog_copies",
            "Datagrams and segments copied because the program had not read them by the next poll.",
            "`pause_reading()`, or more input than one turn reads. Nothing is lost.",
        ),
        Counter(
            "others_unknown",
            "Times that the kernel did not say which other sockets have a port.",
            "`sock_diag` is missing or refused; flows stay with the kernel.",
            "Load the modules `udp_diag` and `tcp_diag`.",
        ),
        Counter(
            "port_changes",
            "Times that another program bound a socket to a watched port, so that all flows were looked at again.",
            "Programs start and stop on ports that the loop has.",
            'See `loop.describe()["flows"]` and [beside.md](beside.md).',
        ),
        Counter(
            "rx_side",
            "Datagrams received by the side socket.",
            "Fragments, loopback, other interfaces, or a flow that was left to the kernel.",
            "See `flows_left_to_kernel`; send datagrams that fit the MTU.",
        ),
        Counter(
            "rx_side_repeated", "Copies of the kernel's of datagrams that the driver has brought; left out.", "Normal."
        ),
        Counter(
            "tx_side_unresolved",
            "Datagrams sent by the side socket because route or neighbour was not known yet.",
            "The first datagrams to a host.",
            "If it keeps rising, the host does not answer ARP (`ip neigh`).",
        ),
        Counter(
            "tx_side_route",
            "… because the route leads past the interface.",
            "The program sends to another network.",
            "Check `ip route get ADDRESS`.",
        ),
        Counter(
            "tx_side_size", "… because they exceed the path MTU.", "Datagrams are fragmented.", "Send smaller ones."
        ),
        Counter(
            "tx_side_multicast",
            "… because of a group with loopback, or without an interface of ours.",
            "`IP_MULTICAST_LOOP` is on, or `IP_MULTICAST_IF` is not the interface.",
            "Set both on the socket.",
        ),
        Counter(
            "tx_side_down",
            "… because the interface or the driver does not work.",
            "The link is down, or the interface is gone.",
            "`ip link show`.",
        ),
        Counter(
            "tx_side_ipv6",
            "… because the peer's address is IPv6.",
            "The program sends to IPv6 peers from a socket of both families.",
            "Use the IPv4 address.",
        ),
        Counter(
            "tx_full",
            "Datagrams and segments that found the driver's queue full.",
            "The program sends faster than the NIC. Nothing is lost: the sender was told, TCP tries again.",
            "If latency rises with it, send less at a time.",
        ),
        Counter(
            "icmp_errors",
            "ICMP errors that were believed, about datagrams or segments of ours.",
            "A host, port or network is not reachable, or a path MTU is smaller.",
            "See `path_mtu_learned`; check the peer.",
        ),
        Counter(
            "path_mtu_learned",
            "Times that an ICMP error told of a smaller path MTU.",
            "A tunnel on the path.",
            "Lower the route's MTU (`ip route … mtu`).",
        ),
        Counter(
            "path_evicted",
            "Destinations forgotten to make room in the table of 1,024.",
            "The loop talks to more hosts than the table holds.",
            "Nothing; each costs a question to the kernel.",
        ),
        Counter(
            "neighbour_full",
            "Neighbours that found no room in the table (16,384).",
            "A very large link, or a scan.",
            "Their datagrams go by the side socket.",
        ),
        Counter(
            "netlink_overrun",
            "Times that notifications of the kernel were lost, so that everything was read again.",
            "Routes, addresses or neighbours change very often, or the loop stood still.",
            "Keep callbacks short.",
        ),
        Counter(
            "netlink_errors",
            "Requests that rtnetlink refused.",
            "The program may not change neighbours, or an interface has gone.",
            "Give CAP_NET_ADMIN if neighbours time out.",
        ),
        Counter(
            "side_stale",
            "Events of a side socket that was closed without telling the loop.",
            "As `stale_events`.",
            "Close the transport, not the descriptor.",
        ),
    ),
)

REFUSALS = Section(
    "The tcpip stack: refused packets",
    WHERE,
    "Each is one check of a parser. A packet that fails is dropped, as the kernel would drop it. A few come with any "
    "network; a rate that keeps pace with the traffic is a fault of a sender, a cable, or an offload.",
    (
        Counter("rx_refused_eth_short", "The frame ends within its Ethernet header or a VLAN tag.", "A broken sender."),
        Counter("rx_refused_eth_tags", "More than two VLAN tags.", "Provider bridging on this port."),
        Counter(
            "rx_refused_eth_type",
            "Not IPv4.",
            "ARP, IPv6 and others, on drivers that bring every frame.",
        ),
        Counter("rx_refused_ip_short", "The frame ends within its IP header.", "A broken sender."),
        Counter("rx_refused_ip_version", "Ethernet says IPv4, the IP header does not.", "A broken sender."),
        Counter("rx_refused_ip_header", "A header length below 20 bytes or beyond the packet.", "A broken sender."),
        Counter("rx_refused_ip_length", "The frame is shorter than the packet.", "Truncation on the way."),
        Counter(
            "rx_refused_ip_checksum", "A wrong IP checksum.", "Damage on the way.", "Look at the cable and the NIC."
        ),
        Counter("rx_refused_ip_options", "Malformed IP options, or a source route.", "A scan, or an attack."),
        Counter(
            "rx_refused_ip_source",
            "A source that no host can have: multicast, broadcast, loopback, or an address of this host's.",
            "Spoofed packets, or two hosts with one address.",
            "`arping` the address.",
        ),
        Counter(
            "rx_refused_ip_fragment",
            "A fragment. The kernel puts fragments together where it sees them.",
            "A peer sends more than the MTU.",
            "Send datagrams that fit.",
        ),
        Counter("rx_refused_ip_protocol", "Neither UDP nor TCP.", "Normal on drivers that bring every frame."),
        Counter("rx_refused_udp_short", "The packet ends within its UDP header.", "A broken sender."),
        Counter("rx_refused_udp_length", "A UDP length below 8 or beyond the packet.", "A broken sender."),
        Counter(
            "rx_refused_udp_checksum",
            "A wrong UDP checksum.",
            "Damage on the way, or an offload that left the sum unfinished.",
            "`ethtool -K … tx off` at a virtual peer.",
        ),
        Counter("rx_refused_tcp_short", "The packet ends within its TCP header or options.", "A broken sender."),
        Counter("rx_refused_tcp_header", "A TCP header length below 20 bytes.", "A broken sender."),
        Counter("rx_refused_tcp_checksum", "A wrong TCP checksum.", "As `rx_refused_udp_checksum`.", "The same."),
        Counter("rx_refused_icmp_short", "The packet ends within its ICMP header.", "A broken sender."),
        Counter("rx_refused_icmp_checksum", "A wrong ICMP checksum.", "Damage on the way."),
        Counter("rx_refused_icmp_type", "ICMP that is neither an error about a packet nor echo.", "Normal."),
        Counter(
            "rx_refused_icmp_quote",
            "An ICMP error that quotes no ports.",
            "A router that quotes too little; errors about other protocols.",
        ),
    ),
)

FLOWS = Section(
    "The tcpip stack: flows",
    WHERE,
    'These are levels. `loop.describe()["flows"]` lists the flows, with the reason for those that the kernel keeps.',
    (
        Counter("flows", "Addresses and ports at which the stack receives.", "The program opens sockets."),
        Counter(
            "flows_left_to_kernel",
            "Flows whose frames the kernel keeps, because another program also receives there, or the driver has no room.",
            "Datagrams and connections there have the kernel's latency.",
            'Read `why` in `loop.describe()["flows"]`, then [beside.md](beside.md).',
        ),
    ),
)
