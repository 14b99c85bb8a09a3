/* The two XDP programs of the bulk source, and what they share. */
#ifndef SFB_REPLAY_H
#define SFB_REPLAY_H

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>

/* An MTU of 1500 without TCP options. MOST_UNDER_WAY: the source keeps to the peer's window, and to this many bytes: as
 * many frames have room in every queue on the way. RESEND_NS: without an ACK for so long, a frame is taken for lost. */
enum { REPLAY_PAYLOAD = 1460, MOST_UNDER_WAY = 256 * 1024, RESEND_NS = 20000000, SYN_OPTIONS = 8 };

struct sfb_segment {
    struct ethhdr eth;
    struct iphdr ip;
    struct tcphdr tcp;
    unsigned char payload[REPLAY_PAYLOAD];
} __attribute__((packed));

/* The programs' memory. Sequence numbers are in host byte order. */
struct sfb_replay {
    uint64_t sent, waited; /* frames sent; times that the window was full */
    uint64_t resent;       /* times that everything under way was sent again */
    uint64_t sum;          /* of the frame and its pseudo header, without the sequence number */
    uint64_t since;        /* ns; when `seen` was acknowledged */
    uint32_t next, acked, seen;
    uint32_t window, scale; /* in bytes; the peer's shift */
    uint32_t answered, reset;
    uint32_t peer_sequence, header_words; /* of the SYN-ACK */
    unsigned char options[SYN_OPTIONS];
};

/* Makes a frame, a copy of `s`, the next segment and sends it, or drops it when the window is full. */
int sfb_replay_sender(int map, int history, int shift, int ifindex, const struct sfb_segment *s);
/* Takes the peer's segments out of the kernel's sight, and notes what they acknowledge. Ports are in network byte order. */
int sfb_replay_receiver(int map, uint16_t own_port, uint16_t peer_port);

#endif
