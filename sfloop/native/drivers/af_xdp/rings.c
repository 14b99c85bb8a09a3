#define _GNU_SOURCE 1
#include "rings.h"

#include "drivers/driver_util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

/* Frames given back to the NIC by one system call. A large batch needs fewer calls. A small batch keeps memory with the NIC. */
#define RECYCLE_BATCH 32

static int option(int fd, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, SOL_XDP, name, value, size) < 0 ? -errno : 0;
}

/* ---- memory ---- */

static int register_memory(const struct sf_xsk *xsk)
{
    struct xdp_umem_reg umem = {
        .addr = (uint64_t)(uintptr_t)xsk->memory,
        .len = xsk->memory_size,
        .chunk_size = xsk->sizes.frame_size,
    };

    return option(xsk->fd, XDP_UMEM_REG, &umem, sizeof(umem));
}

/* Without CAP_IPC_LOCK the memory counts against RLIMIT_MEMLOCK, with all other memory that this user has locked. */
static bool raise_memory_limit(size_t size)
{
    struct rlimit limit, wanted;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    wanted.rlim_cur = limit.rlim_cur + size;
    wanted.rlim_max = limit.rlim_max > wanted.rlim_cur ? limit.rlim_max : wanted.rlim_cur;
    return setrlimit(RLIMIT_MEMLOCK, &wanted) == 0;
}

static int make_memory(struct sf_xsk *xsk)
{
    size_t frames = (size_t)xsk->sizes.rx_frames + xsk->sizes.tx_frames;
    void *memory;
    int error;

    xsk->memory_size = frames * xsk->sizes.frame_size;
    memory = mmap(NULL, xsk->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    xsk->memory = memory;
    sf_keep_from_children(memory, xsk->memory_size);
    xsk->frame_mask = ~(uint64_t)(xsk->sizes.frame_size - 1);
    error = register_memory(xsk);
    if (error == -ENOBUFS && raise_memory_limit(xsk->memory_size))
        error = register_memory(xsk);
    return error;
}

/* ---- rings ---- */

static int map_ring(int fd, struct sf_xsk_ring *ring, const struct xdp_ring_offset *offset, uint64_t page, uint32_t entries,
                    size_t entry_size)
{
    char *map;

    ring->map_size = offset->desc + entries * entry_size;
    map = mmap(NULL, ring->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
    if (map == MAP_FAILED)
        return -errno;
    madvise(map, ring->map_size, MADV_DONTFORK); /* a child with a mapped ring would keep the queue bound */
    ring->map = map;
    ring->producer = (uint32_t *)(void *)(map + offset->producer);
    ring->consumer = (uint32_t *)(void *)(map + offset->consumer);
    ring->flags = (uint32_t *)(void *)(map + offset->flags);
    ring->entries = map + offset->desc;
    ring->mask = entries - 1;
    return 0;
}

/* The kernel requires a completion ring even for a socket that never sends. */
static uint32_t completion_entries(const struct sf_xsk *xsk)
{
    return xsk->sizes.tx_frames ? xsk->sizes.tx_frames : 2;
}

static int size_rings(const struct sf_xsk *xsk)
{
    uint32_t completion = completion_entries(xsk);
    int error;

    if ((error = option(xsk->fd, XDP_UMEM_FILL_RING, &xsk->sizes.rx_frames, sizeof(uint32_t))))
        return error;
    if ((error = option(xsk->fd, XDP_UMEM_COMPLETION_RING, &completion, sizeof(completion))))
        return error;
    if ((error = option(xsk->fd, XDP_RX_RING, &xsk->sizes.rx_frames, sizeof(uint32_t))))
        return error;
    if (xsk->sizes.tx_frames)
        return option(xsk->fd, XDP_TX_RING, &xsk->sizes.tx_frames, sizeof(uint32_t));
    return 0;
}

static int make_rings(struct sf_xsk *xsk)
{
    uint32_t rx = xsk->sizes.rx_frames, tx = xsk->sizes.tx_frames;
    struct xdp_mmap_offsets offsets;
    socklen_t size = sizeof(offsets);
    int error = size_rings(xsk);

    if (error)
        return error;
    if (getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) < 0)
        return -errno;
    if (size != sizeof(offsets)) /* before Linux 5.4 the rings had no flags */
        return -EPROTONOSUPPORT;
    if ((error = map_ring(xsk->fd, &xsk->fill, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING, rx, sizeof(uint64_t))))
        return error;
    if ((error = map_ring(xsk->fd, &xsk->completion, &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING, completion_entries(xsk),
                          sizeof(uint64_t))))
        return error;
    if ((error = map_ring(xsk->fd, &xsk->rx, &offsets.rx, XDP_PGOFF_RX_RING, rx, sizeof(struct xdp_desc))))
        return error;
    return tx ? map_ring(xsk->fd, &xsk->tx, &offsets.tx, XDP_PGOFF_TX_RING, tx, sizeof(struct xdp_desc)) : 0;
}

bool sf_xsk_refill(struct sf_xsk *xsk)
{
    struct sf_xsk_ring *fill = &xsk->fill;
    uint64_t *entries = fill->entries;

    /* No overflow: the ring has a place for every frame. */
    for (uint32_t i = 0; i < xsk->recycled_count; i++)
        entries[fill->position++ & fill->mask] = xsk->recycled[i];
    xsk->recycled_count = 0;
    sf_xsk_publish(fill->producer, fill->position);
    return sf_xsk_needs_wakeup(fill);
}

/* ---- the socket ---- */

static void fill_first_time(struct sf_xsk *xsk)
{
    for (uint32_t i = 0; i < xsk->sizes.rx_frames; i++)
        xsk->recycled[xsk->recycled_count++] = (uint64_t)i * xsk->sizes.frame_size;
    sf_xsk_refill(xsk);
}

int sf_xsk_open(struct sf_xsk *xsk, const struct sf_xsk_sizes *sizes)
{
    int error;

    memset(xsk, 0, sizeof(*xsk));
    xsk->sizes = *sizes;
    xsk->recycle_batch = sizes->rx_frames / 4 < RECYCLE_BATCH ? sizes->rx_frames / 4 : RECYCLE_BATCH;
    xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (xsk->fd < 0)
        return -errno;
    xsk->recycled = calloc(sizes->rx_frames, sizeof(*xsk->recycled));
    error = xsk->recycled ? make_memory(xsk) : -ENOMEM;
    if (!error)
        error = make_rings(xsk);
    if (error)
        sf_xsk_close(xsk);
    else
        fill_first_time(xsk);
    return error;
}

int sf_xsk_bind(const struct sf_xsk *xsk, int ifindex, uint32_t queue, uint16_t flags)
{
    struct sockaddr_xdp address = {
        .sxdp_family = AF_XDP,
        .sxdp_flags = flags,
        .sxdp_ifindex = (uint32_t)ifindex,
        .sxdp_queue_id = queue,
    };

    return bind(xsk->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static void unmap_ring(struct sf_xsk_ring *ring)
{
    if (ring->map)
        munmap(ring->map, ring->map_size);
}

void sf_xsk_abandon(struct sf_xsk *xsk)
{
    sf_close_descriptor(xsk->fd);
    free(xsk->recycled);
}

/* Unmaps the rings first, because a socket with mapped rings stays bound after its descriptor is closed. */
void sf_xsk_close(struct sf_xsk *xsk)
{
    unmap_ring(&xsk->rx);
    unmap_ring(&xsk->tx);
    unmap_ring(&xsk->fill);
    unmap_ring(&xsk->completion);
    if (xsk->fd >= 0)
        close(xsk->fd);
    if (xsk->memory)
        munmap(xsk->memory, xsk->memory_size);
    free(xsk->recycled);
    memset(xsk, 0, sizeof(*xsk));
    xsk->fd = -1;
}
