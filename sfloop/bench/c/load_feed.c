/*
 * A multicast feed at the rate of a fast NIC. The kernel makes the frames by running an XDP program, and sends them directly
 * (BPF_F_TEST_XDP_LIVE_FRAMES), without a socket or a buffer for each. A sender with sockets is slower than a good receiver, so
 * the bench would measure the sender. Payloads have 64 to 512 bytes, with another length for each datagram in turn.
 */
#include "bpf.h"
#include "common.h"
#include "history.h"
#include "packet.h"

#include <inttypes.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

/* NOTED_EVERY: the program notes the time of one frame in this number, a power of two. */
enum { LENGTHS = 8, LONGEST = 512, NOTED_EVERY = 256 };

/* The mix of a typical feed: mostly short. The average is 200. */
static const int payloads[LENGTHS] = {64, 512, 128, 96, 256, 80, 384, 80};

/* The fields that the program sets in the longest frame to give it another length. */
struct variant {
    int32_t grow; /* bytes; 0 or negative */
    uint16_t ip_length, ip_check, udp_length, udp_check;
};

struct state {
    uint64_t next, waited; /* waited: always 0, because the feed never waits */
    struct variant variants[LENGTHS];
};

static struct sfb_packet *make_packet(const struct sfb_options *o, int fd)
{
    static unsigned char memory[sizeof(struct sfb_packet) + LONGEST];
    struct sfb_packet *p = (struct sfb_packet *)(void *)memory;
    struct sockaddr_in group = sfb_address(o), from = sfb_interface_address(fd, o->interface, p->eth.h_source);

    /* The address has the lower 23 bits of the group (RFC 1112, section 6.4). */
    memcpy(p->eth.h_dest, (unsigned char[]){1, 0, 0x5e}, 3);
    memcpy(p->eth.h_dest + 3, (unsigned char *)&group.sin_addr + 1, 3);
    p->eth.h_dest[3] &= 0x7f;
    p->eth.h_proto = htons(ETH_P_IP);
    p->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 1, .protocol = IPPROTO_UDP, .frag_off = htons(IP_DF)};
    p->ip.saddr = from.sin_addr.s_addr;
    p->ip.daddr = group.sin_addr.s_addr;
    /* The source port is arbitrary, because nobody answers to a group. It must differ from the receiver's. */
    p->udp.source = htons(9);
    p->udp.dest = group.sin_port;
    sfb_fill(p->payload, LONGEST, 0, 0);
    return p;
}

static void set_length(struct sfb_packet *p, int payload)
{
    p->udp.len = htons((uint16_t)(sizeof p->udp + (size_t)payload));
    p->ip.tot_len = htons((uint16_t)(sizeof p->ip + sizeof p->udp + (size_t)payload));
    sfb_set_checksums(p);
}

static int make_state(struct sfb_packet *p)
{
    struct state state = {0};
    int map = sfb_bpf_map(BPF_MAP_TYPE_ARRAY, sizeof state, 1);

    for (int i = 0; i < LENGTHS; i++) {
        set_length(p, payloads[i]);
        state.variants[i] =
            (struct variant){payloads[i] - LONGEST, p->ip.tot_len, p->ip.check, p->udp.len, p->udp.check};
    }
    set_length(p, LONGEST);
    sfb_bpf_put(map, 0, &state);
    return map;
}

/* Turns the frame into the next variant, and sends it by the interface. Register 6 is the context, 8 the state. 7 is the frame's
 * number, then its variant. */
static int make_program(int map, int history, int shift, int ifindex)
{
#define COPY(variant_field, packet_field)                                                                              \
    SFB_LOAD(BPF_H, 4, 7, offsetof(struct variant, variant_field)),                                                    \
        SFB_STORE(BPF_H, 2, 4, offsetof(struct sfb_packet, packet_field))
    const struct bpf_insn program[] = {
        SFB_MOV(6, 1),
        SFB_STORE_VALUE(BPF_W, 10, -4, 0),
        SFB_MAP(1, map),
        SFB_MOV(2, 10),
        SFB_ALU(BPF_ADD, 2, -4),
        SFB_CALL(map_lookup_elem),
        SFB_JUMP_IF(BPF_JEQ, 0, 0, 29 + SFB_NOTE_LENGTH + 3),
        SFB_MOV(8, 0),
        SFB_LOAD(BPF_DW, 7, 8, offsetof(struct state, next)),
        SFB_MOV(2, 7),
        SFB_ALU(BPF_ADD, 2, 1),
        SFB_STORE(BPF_DW, 8, 2, offsetof(struct state, next)),
        SFB_MOV(1, 7),
        SFB_ALU(BPF_AND, 1, NOTED_EVERY - 1),
        SFB_JUMP_IF(BPF_JNE, 1, 0, SFB_NOTE_LENGTH),
        SFB_NOTE(history, shift, 8, offsetof(struct state, next), offsetof(struct state, waited)),
        SFB_ALU(BPF_AND, 7, LENGTHS - 1),
        SFB_ALU(BPF_MUL, 7, sizeof(struct variant)),
        SFB_ALU_REG(BPF_ADD, 7, 8),
        SFB_ALU(BPF_ADD, 7, offsetof(struct state, variants)),
        SFB_MOV(1, 6),
        SFB_LOAD(BPF_W, 2, 7, offsetof(struct variant, grow)),
        SFB_CALL(xdp_adjust_tail),
        SFB_JUMP_IF(BPF_JNE, 0, 0, 17),
        SFB_LOAD(BPF_W, 2, 6, offsetof(struct xdp_md, data)),
        SFB_LOAD(BPF_W, 3, 6, offsetof(struct xdp_md, data_end)),
        SFB_MOV(4, 2),
        SFB_ALU(BPF_ADD, 4, sizeof(struct sfb_packet)),
        SFB_JUMP_IF_REG(BPF_JGT, 4, 3, 12),
        COPY(ip_length, ip.tot_len),
        COPY(ip_check, ip.check),
        COPY(udp_length, udp.len),
        COPY(udp_check, udp.check),
        SFB_SET(1, ifindex),
        SFB_SET(2, 0),
        SFB_CALL(redirect),
        SFB_EXIT,
        /* The jumps above lead here. */
        SFB_SET(0, XDP_DROP),
        SFB_EXIT,
    };
#undef COPY

    return sfb_bpf_xdp_program(program, sizeof program / sizeof *program);
}

int sfb_load_feed(const struct sfb_options *o)
{
    static struct sfb_history history;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ifindex = (int)if_nametoindex(o->interface), map, noted;
    struct sfb_packet *packet;
    struct state state;
    struct rusage usage;
    uint64_t begin;

    if (fd < 0 || !ifindex)
        sfb_die(SFB_EXIT_USAGE, "--interface is \"%s\"; the name of an interface is needed", o->interface);
    packet = make_packet(o, fd);
    map = make_state(packet);
    noted = sfb_bpf_history(&history, o->seconds);
    begin = sfb_now();
    sfb_bpf_run_for(o->seconds, make_program(map, noted, history.shift, ifindex), packet, sizeof *packet + LONGEST);
    sfb_bpf_get(map, 0, &state);
    sfb_bpf_get_history(noted, &history);
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"sent\": %" PRIu64 ", \"refused\": 0, \"involuntary_switches\": %ld, \"seconds\": %.9f, ", state.next,
           usage.ru_nivcsw, (double)(sfb_now() - begin) / 1e9);
    printf("\"history\": ");
    sfb_history_write(&history, stdout);
    printf("}\n");
    close(fd);
    return 0;
}
