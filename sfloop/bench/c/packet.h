/* Frames of the bench's XDP programs: Ethernet, IPv4 without options, UDP. */
#ifndef SFB_PACKET_H
#define SFB_PACKET_H

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>

struct sfb_packet {
    struct ethhdr eth;
    struct iphdr ip;
    struct udphdr udp;
    unsigned char payload[];
} __attribute__((packed));

/* Returns the sum of RFC 1071, not folded. An odd last byte counts as if a zero followed. */
static inline uint64_t sfb_sum(const void *data, size_t length, uint64_t sum)
{
    const unsigned char *at = data;

    for (; length >= 4; at += 4, length -= 4) {
        uint32_t word;

        memcpy(&word, at, 4);
        sum += word;
    }
    if (length) {
        uint32_t word = 0;

        memcpy(&word, at, length);
        sum += word;
    }
    return sum;
}

static inline uint16_t sfb_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Sets both checksums, for the lengths in the headers. */
static inline void sfb_set_checksums(struct sfb_packet *p)
{
    uint64_t pseudo = (uint64_t)p->ip.saddr + p->ip.daddr + htons(IPPROTO_UDP) + p->udp.len;

    p->ip.check = 0;
    p->ip.check = sfb_fold(sfb_sum(&p->ip, sizeof p->ip, 0));
    p->udp.check = 0;
    p->udp.check = sfb_fold(sfb_sum(&p->udp, ntohs(p->udp.len), pseudo));
    if (!p->udp.check)
        p->udp.check = 0xffff; /* 0 means "no checksum" (RFC 768) */
}

#endif
