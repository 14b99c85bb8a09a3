/*
 * A source of bulk TCP that is faster than its receiver. It makes frames of full size once. The kernel sends them again and again by
 * running an XDP program (BPF_F_TEST_XDP_LIVE_FRAMES), which sets only the sequence number and the checksum. Another XDP program takes
 * the receiver's ACKs, so the source keeps to the receiver's window. The source uses no socket, no copy and no congestion control.
 */
#include "bpf.h"
#include "common.h"
#include "packet.h"
#include "replay.h"

#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ISN: the initial sequence number, which may be constant on a link of two hosts. */
enum { SYN_EVERY_US = 100000, ARP_EVERY_US = 10000, ISN = 1000000 };

/* Finds the receiver's hardware address. A datagram makes the kernel ask for it. */
static void find_neighbour(const struct sfb_options *o, unsigned char *mac)
{
    struct sockaddr_in peer = sfb_address(o);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t deadline = sfb_now() + (uint64_t)(o->timeout * 1e9);
    struct arpreq request = {0};

    peer.sin_port = htons(9);
    memcpy(&request.arp_pa, &peer, sizeof peer);
    snprintf(request.arp_dev, sizeof request.arp_dev, "%s", o->interface);
    while (ioctl(fd, SIOCGARP, &request) || !(request.arp_flags & ATF_COM)) {
        if (sfb_now() > deadline)
            sfb_die(SFB_EXIT_FAILED, "%s does not answer ARP on %s", o->host, o->interface);
        (void)sendto(fd, "", 0, MSG_DONTWAIT, (struct sockaddr *)&peer, sizeof peer);
        usleep(ARP_EVERY_US);
    }
    memcpy(mac, request.arp_ha.sa_data, ETH_ALEN);
    close(fd);
}

/* Returns the sum of the pseudo header and of the `length` bytes after the IP header. */
static uint64_t tcp_sum(const struct sfb_segment *s, size_t length)
{
    uint64_t pseudo = (uint64_t)s->ip.saddr + s->ip.daddr + htons(IPPROTO_TCP) + htons((uint16_t)length);

    return sfb_sum(&s->tcp, length, pseudo);
}

static void set_length(struct sfb_segment *s, size_t after_tcp)
{
    s->ip.tot_len = htons((uint16_t)(sizeof s->ip + sizeof s->tcp + after_tcp));
    s->ip.check = 0;
    s->ip.check = sfb_fold(sfb_sum(&s->ip, sizeof s->ip, 0));
    s->tcp.check = 0;
}

static void send_alone(struct sfb_segment *s, size_t after_tcp, int ifindex)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = ETH_ALEN};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

    set_length(s, after_tcp);
    s->tcp.check = sfb_fold(tcp_sum(s, sizeof s->tcp + after_tcp));
    if (fd < 0 || sendto(fd, s, offsetof(struct sfb_segment, payload) + after_tcp, 0, (struct sockaddr *)&to, sizeof to) < 0)
        sfb_die_errno("sending a frame");
    close(fd);
}

static uint32_t window_scale(const struct sfb_replay *state)
{
    int length = (int)state->header_words * 4 - (int)sizeof(struct tcphdr);

    length = length < SYN_OPTIONS ? length : SYN_OPTIONS;
    for (int i = 0; i < length && state->options[i] != TCPOPT_EOL;) {
        if (state->options[i] == TCPOPT_NOP) {
            i++;
            continue;
        }
        if (i + 2 < length && state->options[i] == TCPOPT_WINDOW)
            return state->options[i + 2];
        i += i + 1 < length && state->options[i + 1] > 1 ? state->options[i + 1] : length;
    }
    return 0;
}

static void open_connection(const struct sfb_options *o, struct sfb_segment *s, int map, int ifindex)
{
    /* MSS 1460, no operation, window scale 0. */
    static const unsigned char options[SYN_OPTIONS] = {TCPOPT_MAXSEG, 4, REPLAY_PAYLOAD >> 8, REPLAY_PAYLOAD & 0xff,
                                                       TCPOPT_NOP, TCPOPT_WINDOW, 3, 0};
    uint64_t deadline = sfb_now() + (uint64_t)(o->timeout * 1e9);
    struct sfb_replay state = {.next = ISN + 1, .acked = ISN + 1, .seen = ISN + 1};

    sfb_bpf_put(map, 0, &state);
    memcpy(s->payload, options, sizeof options);
    s->tcp.seq = htonl(ISN);
    s->tcp.doff = (sizeof s->tcp + SYN_OPTIONS) / 4;
    s->tcp.syn = 1;
    for (sfb_bpf_get(map, 0, &state); !state.answered; sfb_bpf_get(map, 0, &state)) {
        if (state.reset || sfb_now() > deadline)
            sfb_die(SFB_EXIT_FAILED, "connect to %s:%d: %s", o->host, o->port, state.reset ? "refused" : "no answer");
        send_alone(s, SYN_OPTIONS, ifindex);
        usleep(SYN_EVERY_US);
    }
    s->tcp.seq = htonl(ISN + 1);
    s->tcp.ack_seq = htonl(state.peer_sequence + 1);
    s->tcp.doff = sizeof s->tcp / 4;
    s->tcp.syn = 0;
    s->tcp.ack = 1;
    send_alone(s, 0, ifindex);
    memset(s->payload, 0, SYN_OPTIONS);
    set_length(s, REPLAY_PAYLOAD);
    s->tcp.seq = 0;
    state.sum = tcp_sum(s, sizeof s->tcp + REPLAY_PAYLOAD);
    state.sum = (state.sum & 0xffff) + (state.sum >> 16 & 0xffff) + (state.sum >> 32);
    state.scale = window_scale(&state);
    sfb_bpf_put(map, 0, &state);
}

static void fill_headers(const struct sfb_options *o, struct sfb_segment *s, int port_holder)
{
    struct sockaddr_in to = sfb_address(o), from = sfb_interface_address(port_holder, o->interface, s->eth.h_source);
    socklen_t length = sizeof from;

    from.sin_port = 0;
    if (bind(port_holder, (struct sockaddr *)&from, sizeof from) ||
        getsockname(port_holder, (struct sockaddr *)&from, &length))
        sfb_die_errno("bind");
    find_neighbour(o, s->eth.h_dest);
    s->eth.h_proto = htons(ETH_P_IP);
    s->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .frag_off = htons(IP_DF)};
    s->ip.saddr = from.sin_addr.s_addr;
    s->ip.daddr = to.sin_addr.s_addr;
    s->tcp.source = from.sin_port;
    s->tcp.dest = to.sin_port;
    s->tcp.window = htons(65535);
}

int sfb_load_replay(const struct sfb_options *o)
{
    static struct sfb_segment segment;
    static struct sfb_history history;
    int ifindex = (int)if_nametoindex(o->interface), holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int map = sfb_bpf_map(BPF_MAP_TYPE_ARRAY, sizeof(struct sfb_replay), 1), noted;
    struct sfb_replay state;

    if (holder < 0 || !ifindex)
        sfb_die(SFB_EXIT_USAGE, "--interface is \"%s\"; the name of an interface is needed", o->interface);
    fill_headers(o, &segment, holder);
    sfb_bpf_attach_xdp(sfb_replay_receiver(map, segment.tcp.source, segment.tcp.dest), ifindex);
    open_connection(o, &segment, map, ifindex);
    printf("{\"connections\": 1}\n");
    fflush(stdout);
    noted = sfb_bpf_history(&history, o->seconds);
    sfb_bpf_run_for(o->seconds, sfb_replay_sender(map, noted, history.shift, ifindex, &segment), &segment,
                    sizeof segment);
    sfb_bpf_get(map, 0, &state);
    sfb_bpf_get_history(noted, &history);
    printf("{\"sent\": %" PRIu64 ", \"waited\": %" PRIu64 ", \"resent\": %" PRIu64 ", \"reset\": %s, \"history\": ",
           state.sent, state.waited, state.resent, state.reset ? "true" : "false");
    sfb_history_write(&history, stdout);
    printf("}\n");
    return 0;
}
