/*
 * A UDP echo on AF_XDP, which shows the best result of a program that takes frames from the interface's queue itself. It uses one
 * queue, in native mode if the NIC's driver supports it. It sends each frame from the memory in which it was received.
 */
#include "bpf.h"
#include "common.h"
#include "packet.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

enum { FRAMES = 1024, FRAME_SIZE = 4096, BURST = 64, BIND_ATTEMPTS = 50, BIND_PAUSE_US = 2000 };

struct ring {
    uint32_t *producer, *consumer;
    void *entries;
};

struct xsk {
    int fd;
    unsigned char *memory;
    struct ring rx, tx, fill, completion;
};

/* Returns the index of the interface that has the address. */
static int interface_of(const struct sfb_options *o, uint32_t address)
{
    struct ifaddrs *all, *found;
    int index = 0;

    if (getifaddrs(&all))
        sfb_die_errno("getifaddrs");
    for (found = all; found && !index; found = found->ifa_next) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)found->ifa_addr;

        if (in && in->sin_family == AF_INET && in->sin_addr.s_addr == address)
            index = (int)if_nametoindex(found->ifa_name);
    }
    freeifaddrs(all);
    if (!index)
        sfb_die(SFB_EXIT_USAGE, "no interface has the address %s", o->host);
    return index;
}

/* ---- the socket ---- */

static void set(int fd, int name, const void *value, socklen_t size)
{
    if (setsockopt(fd, SOL_XDP, name, value, size))
        sfb_die_errno("an option of the AF_XDP socket");
}

static struct ring map_ring(int fd, const struct xdp_ring_offset *at, uint64_t page, size_t entry_size)
{
    size_t size = at->desc + FRAMES * entry_size;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);

    if (map == MAP_FAILED)
        sfb_die_errno("mapping a ring");
    return (struct ring){(uint32_t *)(void *)(map + at->producer), (uint32_t *)(void *)(map + at->consumer), map + at->desc};
}

static void open_xsk(struct xsk *x)
{
    struct xdp_umem_reg umem = {.len = (uint64_t)FRAMES * FRAME_SIZE, .chunk_size = FRAME_SIZE};
    struct xdp_mmap_offsets offsets;
    socklen_t size = sizeof offsets;
    const uint32_t entries = FRAMES;

    x->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    x->memory = mmap(NULL, umem.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (x->fd < 0 || x->memory == MAP_FAILED)
        sfb_die_errno("AF_XDP socket");
    umem.addr = (uint64_t)(uintptr_t)x->memory;
    set(x->fd, XDP_UMEM_REG, &umem, sizeof umem);
    set(x->fd, XDP_UMEM_FILL_RING, &entries, sizeof entries);
    set(x->fd, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries);
    set(x->fd, XDP_RX_RING, &entries, sizeof entries);
    set(x->fd, XDP_TX_RING, &entries, sizeof entries);
    if (getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size))
        sfb_die_errno("XDP_MMAP_OFFSETS");
    x->rx = map_ring(x->fd, &offsets.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc));
    x->tx = map_ring(x->fd, &offsets.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc));
    x->fill = map_ring(x->fd, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t));
    x->completion = map_ring(x->fd, &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t));
    for (uint32_t i = 0; i < FRAMES; i++)
        ((uint64_t *)x->fill.entries)[i] = (uint64_t)i * FRAME_SIZE;
    __atomic_store_n(x->fill.producer, FRAMES, __ATOMIC_RELEASE);
}

static void bind_xsk(const struct xsk *x, int ifindex)
{
    struct sockaddr_xdp address = {.sxdp_family = AF_XDP, .sxdp_ifindex = (uint32_t)ifindex, .sxdp_flags = XDP_COPY};

    /* The kernel releases the queue of a program that has just ended a little later. */
    for (int i = 0; bind(x->fd, (struct sockaddr *)&address, sizeof address); i++) {
        if (errno != EBUSY || i == BIND_ATTEMPTS)
            sfb_die_errno("binding the AF_XDP socket");
        usleep(BIND_PAUSE_US);
    }
}

/* Directs datagrams to one port to the socket, and leaves all other frames to the kernel. */
static void steer(const struct xsk *x, int ifindex, uint16_t port)
{
    int map = sfb_bpf_map(BPF_MAP_TYPE_XSKMAP, sizeof(uint32_t), 1);
    const struct bpf_insn program[] = {
        SFB_LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data)),
        SFB_LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data_end)),
        SFB_MOV(4, 2),
        SFB_ALU(BPF_ADD, 4, sizeof(struct sfb_packet)),
        SFB_JUMP_IF_REG(BPF_JGT, 4, 3, 14),
        SFB_LOAD(BPF_H, 5, 2, offsetof(struct sfb_packet, eth.h_proto)),
        SFB_JUMP_IF(BPF_JNE, 5, htons(ETH_P_IP), 12),
        SFB_LOAD(BPF_B, 5, 2, offsetof(struct sfb_packet, ip)),
        SFB_JUMP_IF(BPF_JNE, 5, 0x45, 10),
        SFB_LOAD(BPF_B, 5, 2, offsetof(struct sfb_packet, ip.protocol)),
        SFB_JUMP_IF(BPF_JNE, 5, IPPROTO_UDP, 8),
        SFB_LOAD(BPF_H, 5, 2, offsetof(struct sfb_packet, udp.dest)),
        SFB_JUMP_IF(BPF_JNE, 5, port, 6),
        SFB_LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, rx_queue_index)),
        SFB_MAP(1, map),
        SFB_SET(3, XDP_PASS),
        SFB_CALL(redirect_map),
        SFB_EXIT,
        SFB_SET(0, XDP_PASS),
        SFB_EXIT,
    };

    sfb_bpf_put(map, 0, &x->fd);
    /* The link's descriptor stays open, because the program is attached only while it is. */
    sfb_bpf_attach_xdp(sfb_bpf_xdp_program(program, sizeof program / sizeof *program), ifindex);
}

/* ---- the echo ---- */

static void turn_around(struct sfb_packet *p)
{
    unsigned char mac[ETH_ALEN];
    uint32_t address = p->ip.saddr;
    uint16_t port = p->udp.source;

    memcpy(mac, p->eth.h_source, ETH_ALEN);
    memcpy(p->eth.h_source, p->eth.h_dest, ETH_ALEN);
    memcpy(p->eth.h_dest, mac, ETH_ALEN);
    p->ip.saddr = p->ip.daddr;
    p->ip.daddr = address;
    p->udp.source = p->udp.dest;
    p->udp.dest = port;
    /* Makes the checksums anew. A sender on this machine leaves them to hardware, and there is none. */
    sfb_set_checksums(p);
}

/* Gives the memory of sent frames back for receiving. */
static void recycle(struct xsk *x)
{
    uint32_t at = *x->completion.consumer, end = __atomic_load_n(x->completion.producer, __ATOMIC_ACQUIRE);
    uint32_t fill = *x->fill.producer;

    if (at == end)
        return;
    for (; at != end; at++)
        ((uint64_t *)x->fill.entries)[fill++ % FRAMES] =
            ((uint64_t *)x->completion.entries)[at % FRAMES] & ~(uint64_t)(FRAME_SIZE - 1);
    __atomic_store_n(x->completion.consumer, at, __ATOMIC_RELEASE);
    __atomic_store_n(x->fill.producer, fill, __ATOMIC_RELEASE);
}

static void echo(struct xsk *x)
{
    uint32_t at = *x->rx.consumer, end = __atomic_load_n(x->rx.producer, __ATOMIC_ACQUIRE), tx = *x->tx.producer;

    if (at == end)
        return;
    for (int i = 0; at != end && i < BURST; i++, at++, tx++) {
        const struct xdp_desc *in = &((struct xdp_desc *)x->rx.entries)[at % FRAMES];

        turn_around((struct sfb_packet *)(void *)(x->memory + in->addr));
        ((struct xdp_desc *)x->tx.entries)[tx % FRAMES] = *in;
    }
    __atomic_store_n(x->rx.consumer, at, __ATOMIC_RELEASE);
    __atomic_store_n(x->tx.producer, tx, __ATOMIC_RELEASE);
    /* A call sends as many frames as its budget allows. Repeats the call if the interface's queue is full. */
    while (__atomic_load_n(x->tx.consumer, __ATOMIC_ACQUIRE) != tx)
        if (sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY && errno != ENOBUFS)
            sfb_die_errno("sending on the AF_XDP socket");
}

int sfb_serve_xdp(const struct sfb_options *o)
{
    struct sockaddr_in address = sfb_address(o);
    socklen_t length = sizeof address;
    int ifindex = interface_of(o, address.sin_addr.s_addr), port_holder = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct xsk x;

    if (port_holder < 0 || bind(port_holder, (struct sockaddr *)&address, sizeof address) ||
        getsockname(port_holder, (struct sockaddr *)&address, &length))
        sfb_die_errno("UDP socket");
    open_xsk(&x);
    bind_xsk(&x, ifindex);
    steer(&x, ifindex, address.sin_port);
    sfb_announce(port_holder);
    for (;;) {
        echo(&x);
        recycle(&x);
    }
}
