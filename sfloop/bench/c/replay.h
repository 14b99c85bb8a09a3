/* The two XDP programs of the bulk source, and the memory that they share. */
#ifndef SFB_REPLAY_H
#define SFB_REPLAY_H

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>

/* REPLAY_PAYLOAD: for an MTU of 1500 without TCP options. MOST_UNDER_WAY: bytes under way, besides the bound of the peer's window,
 * because every queue on the way has room for these frames. RESEND_NS: a frame counts as lost after this time without an ACK. */
enum { REPLAY_PAYLOAD = 1460, MOST_UNDER_WAY = 256 * 1024, RESEND_NS = 20000000, SYN_OPTIONS = 8 };

struct sfb_segment {
    struct ethhdr eth;
    struct iphdr ip;
    struct tcphdr tcp;
    unsigned char payload[REPLAY_PAYLOAD];
} __attribute__((packed));

/* The programs' memory. Sequence numbers are in host byte order. */
struct sfb_replay {
    uint64_t sent, waited; /* number of frames sent; of frames for which the window was full */
    uint64_t resent;       /* number of retransmissions of everything under way */
    uint64_t sum;          /* checksum of the frame and its pseudo header, without the sequence number */
    uint64_t since;        /* ns; time of the ACK of `seen`, or of the last retransmission */
    uint32_t next, acked, seen;
    uint32_t window, scale; /* the peer's window in bytes; the shift of its window scale */
    uint32_t answered, reset;
    uint32_t peer_sequence, header_words; /* of the SYN-ACK */
    unsigned char options[SYN_OPTIONS];
};

/* Makes the program that turns a copy of the frame `s` into the next segment and sends it. It drops the frame if the window is full. */
int sfb_replay_sender(int map, int history, int shift, int ifindex, const struct sfb_segment *s);
/* Makes the program that keeps the peer's segments from the kernel and stores their ACKs. Ports are in network byte order. */
int sfb_replay_receiver(int map, uint16_t own_port, uint16_t peer_port);

#endif
