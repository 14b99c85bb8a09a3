/*
 * A bad link between two interfaces. It takes each frame from one of them, and loses it or passes it to the other one after a delay.
 * A generator with a fixed seed draws the lost frames. Both contenders of a case use the same relay.
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUEUE = 8192, FRAME = 2048, BURST = 64 };

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

struct held {
    uint64_t due;
    uint32_t len;
    unsigned char bytes[FRAME];
};

struct direction {
    int from, to;
    uint32_t head, count;
    struct held queue[QUEUE];
};

static struct direction directions[2];
static uint64_t passed, lost, overflowed, state = UINT64_C(0x9e3779b97f4a7c15);

/* Returns a random number from 0 up to 1, by xorshift64* (Vigna). */
static double draw(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)((state * UINT64_C(0x2545f4914f6cdd1d)) >> 11) / 9007199254740992.0;
}

static int open_interface(const char *name)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL)), on = 1, room = 4 << 20;

    address.sll_ifindex = (int)if_nametoindex(name);
    if (fd < 0 || !address.sll_ifindex || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        sfb_die_errno(name);
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) < 0)
        sfb_die_errno("PACKET_IGNORE_OUTGOING");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    return fd;
}

static void take(struct direction *d, const struct sfb_options *o)
{
    for (int i = 0; i < BURST; i++) {
        struct held *held = &d->queue[(d->head + d->count) % QUEUE];
        ssize_t len = recv(d->from, held->bytes, sizeof held->bytes, MSG_TRUNC);

        if (len < 0)
            return;
        if (draw() < o->loss / 100) {
            lost++;
            continue;
        }
        if (d->count == QUEUE || len > FRAME) {
            overflowed++;
            continue;
        }
        held->len = (uint32_t)len;
        held->due = sfb_now() + (uint64_t)(o->delay * 1e6);
        d->count++;
    }
}

static void give(struct direction *d, uint64_t now)
{
    while (d->count && d->queue[d->head].due <= now) {
        struct held *held = &d->queue[d->head];

        if (send(d->to, held->bytes, held->len, 0) < 0 && (errno == ENOBUFS || errno == EAGAIN))
            return;
        passed++;
        d->head = (d->head + 1) % QUEUE;
        d->count--;
    }
}

static struct timespec until_next(uint64_t now)
{
    uint64_t wait = 100 * UINT64_C(1000000);

    for (int i = 0; i < 2; i++) {
        const struct direction *d = &directions[i];
        uint64_t due = d->count ? d->queue[d->head].due : UINT64_MAX;

        if (d->count && due - now < wait)
            wait = due > now ? due - now : 20000; /* retries a frame that could not be sent */
    }
    return (struct timespec){.tv_sec = 0, .tv_nsec = (long)wait};
}

int sfb_relay(const struct sfb_options *o)
{
    struct pollfd polled[2];
    uint64_t end = sfb_now() + (uint64_t)(o->seconds * 1e9);

    directions[0].from = directions[1].to = open_interface(o->interface);
    directions[1].from = directions[0].to = open_interface(o->second);
    printf("{\"relay\": true}\n");
    fflush(stdout);
    for (uint64_t now = sfb_now(); now < end; now = sfb_now()) {
        struct timespec wait;

        for (int i = 0; i < 2; i++) {
            take(&directions[i], o);
            give(&directions[i], sfb_now());
            polled[i] = (struct pollfd){.fd = directions[i].from, .events = POLLIN};
        }
        wait = until_next(sfb_now());
        if (ppoll(polled, 2, &wait, NULL) < 0 && errno != EINTR)
            sfb_die_errno("ppoll");
    }
    printf("{\"passed\": %llu, \"lost\": %llu, \"overflowed\": %llu}\n", (unsigned long long)passed,
           (unsigned long long)lost, (unsigned long long)overflowed);
    return 0;
}
