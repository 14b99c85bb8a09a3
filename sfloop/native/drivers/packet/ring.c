#define _GNU_SOURCE 1
#include "ring.h"

#include "drivers/driver_util.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* A slot begins with the kernel's header and the sender's sockaddr_ll. The IP header starts at the next multiple of 16 bytes
 * that leaves a gap of 16. The Ethernet header ends the gap (packet_mmap in the kernel's documentation). */
#define ALIGNED(n) (((n) + TPACKET_ALIGNMENT - 1u) & ~(size_t)(TPACKET_ALIGNMENT - 1u))
#define ADDRESS_OFFSET ALIGNED(sizeof(struct tpacket2_hdr))
#define FRAME_OFFSET ((uint32_t)ALIGNED(ADDRESS_OFFSET + sizeof(struct sockaddr_ll) + 16) - ETH_HLEN)
#define VLAN_TAG 4

#define SLOT_MIN 256u
#define SLOT_MAX 131072u
#define COUNT_MIN 16u
#define COUNT_MAX 65536u
#define BLOCK_SIZE 65536u /* one allocation of the kernel */

/* Our own status word for a lent slot. The kernel does not write to the slot, because the status is not TP_STATUS_KERNEL. A reader
 * that comes round to the slot does not take it for a new frame, because the status lacks TP_STATUS_USER. */
#define STATUS_LENT (1u << 27)

#define TOKEN_LARGE (1ull << 32) /* plus the number of the buffer */
#define LARGE_GAP 64u            /* before the frame, for a VLAN tag */

uint32_t sf_packet_ring_room(uint32_t slot_size)
{
    return slot_size > FRAME_OFFSET ? slot_size - FRAME_OFFSET : 0;
}

static uint32_t power_of_two(uint32_t value, uint32_t low, uint32_t high)
{
    uint32_t result = low;

    while (result < value && result < high)
        result <<= 1;
    return result;
}

uint32_t sf_packet_ring_slot_size(uint32_t frame)
{
    return power_of_two(frame + FRAME_OFFSET, SLOT_MIN, SLOT_MAX);
}

/* ---- receiving ---- */

static inline void set_status(struct tpacket2_hdr *slot, uint32_t status)
{
    __atomic_store_n(&slot->tp_status, status, __ATOMIC_RELEASE);
}

static bool is_own(const struct tpacket2_hdr *slot)
{
    const struct sockaddr_ll *from = (const void *)((const uint8_t *)slot + ADDRESS_OFFSET);

    return from->sll_pkttype == PACKET_OUTGOING;
}

/* The kernel takes the outer tag out of every frame and stores it in the slot's header. The gap before the frame has room to
 * put it back. */
static void restore_vlan_tag(const struct tpacket2_hdr *slot, uint32_t status, struct sf_frame *frame)
{
    uint16_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? slot->tp_vlan_tpid : (uint16_t)ETH_P_8021Q;
    uint8_t *tag;

    memmove(frame->data - VLAN_TAG, frame->data, 2 * ETH_ALEN);
    frame->data -= VLAN_TAG;
    frame->len += VLAN_TAG;
    tag = frame->data + 2 * ETH_ALEN;
    tag[0] = (uint8_t)(tpid >> 8);
    tag[1] = (uint8_t)tpid;
    tag[2] = (uint8_t)(slot->tp_vlan_tci >> 8);
    tag[3] = (uint8_t)slot->tp_vlan_tci;
}

static inline void read_flags(const struct tpacket2_hdr *slot, uint32_t status, struct sf_frame *frame)
{
    frame->flags = 0;
    if (status & TP_STATUS_CSUMNOTREADY)
        frame->flags = SF_FRAME_CHECKSUM_PARTIAL;
    else if (status & TP_STATUS_CSUM_VALID)
        frame->flags = SF_FRAME_CHECKSUM_GOOD;
    frame->timestamp = (sf_ns)slot->tp_sec * SF_SEC + slot->tp_nsec;
    if (SF_UNLIKELY(status & TP_STATUS_VLAN_VALID))
        restore_vlan_tag(slot, status, frame);
}

static struct sf_packet_large *free_large(struct sf_packet_ring *ring)
{
    for (int i = 0; i < SF_PACKET_LARGE; i++) {
        struct sf_packet_large *large = &ring->large[i];

        if (large->lent)
            continue;
        if (!large->bytes)
            large->bytes = malloc(SF_PACKET_LARGE_ROOM);
        return large->bytes ? large : NULL;
    }
    return NULL;
}

/* Takes the whole frame of a slot from the receive queue, which is in the order of the slots. An unwanted frame has to leave
 * the queue too. */
static bool describe_large(struct sf_packet_ring *ring, const struct tpacket2_hdr *slot, uint32_t status,
                           struct sf_frame *frame, bool wanted)
{
    struct sf_packet_large *large = wanted ? free_large(ring) : NULL;
    uint8_t none;
    ssize_t len = recv(ring->fd, large ? large->bytes + LARGE_GAP : &none, large ? SF_PACKET_LARGE_ROOM - LARGE_GAP : 0,
                       MSG_DONTWAIT | MSG_TRUNC);

    if (!wanted)
        return false;
    if (!large || len < ETH_HLEN || len > (ssize_t)(SF_PACKET_LARGE_ROOM - LARGE_GAP)) {
        ring->invalid++;
        return false;
    }
    large->lent = true;
    frame->data = large->bytes + LARGE_GAP;
    frame->len = (uint32_t)len;
    frame->token = TOKEN_LARGE | (uint64_t)(large - ring->large);
    read_flags(slot, status, frame);
    return true;
}

/* False: the frame is not for the caller. A frame longer than its slot that was not queued is incomplete, and invalid. */
static bool describe(struct sf_packet_ring *ring, struct tpacket2_hdr *slot, uint32_t status, struct sf_frame *frame)
{
    bool own = SF_UNLIKELY(ring->skip_own) && is_own(slot);

    if (SF_UNLIKELY(status & TP_STATUS_COPY))
        return describe_large(ring, slot, status, frame, !own);
    if (own)
        return false;
    if (SF_UNLIKELY(slot->tp_snaplen < slot->tp_len || slot->tp_snaplen < ETH_HLEN)) {
        ring->invalid++;
        return false;
    }
    frame->data = (uint8_t *)slot + slot->tp_mac;
    frame->len = slot->tp_snaplen;
    frame->token = ring->next & (ring->count - 1);
    read_flags(slot, status, frame);
    return true;
}

int sf_packet_ring_burst(struct sf_packet_ring *ring, struct sf_frame *frames, int n)
{
    int taken = 0;

    /* Count skipped frames against n too, because a flood of them would keep the caller here. */
    for (int looked = 0; looked < n; looked++) {
        struct tpacket2_hdr *slot = sf_packet_slot_at(ring, ring->next);
        uint32_t status = sf_packet_status_of(slot);

        if (!(status & TP_STATUS_USER))
            break;
        if (SF_LIKELY(describe(ring, slot, status, &frames[taken]))) {
            set_status(slot, SF_UNLIKELY(frames[taken].token & TOKEN_LARGE) ? TP_STATUS_KERNEL : STATUS_LENT);
            ring->bytes += frames[taken++].len;
        } else {
            set_status(slot, TP_STATUS_KERNEL);
        }
        ring->next++;
    }
    ring->frames += (uint64_t)taken;
    return taken;
}

void sf_packet_ring_release(struct sf_packet_ring *ring, const struct sf_frame *frames, int n)
{
    for (int i = 0; i < n; i++) {
        if (SF_UNLIKELY(frames[i].token & TOKEN_LARGE))
            ring->large[(uint32_t)frames[i].token].lent = false;
        else
            set_status(sf_packet_slot_at(ring, frames[i].token), TP_STATUS_KERNEL);
    }
}

uint32_t sf_packet_ring_waiting(const struct sf_packet_ring *ring)
{
    uint32_t waiting = 0;

    while (waiting < ring->count && sf_packet_status_of(sf_packet_slot_at(ring, ring->next + waiting)) & TP_STATUS_USER)
        waiting++;
    return waiting;
}

/* ---- setting up ---- */

static int request_ring(int fd, uint32_t count, uint32_t slot_size)
{
    uint32_t block = slot_size > BLOCK_SIZE ? slot_size : BLOCK_SIZE;
    struct tpacket_req request = {
        .tp_block_size = block,
        .tp_block_nr = (uint32_t)((uint64_t)count * slot_size / block),
        .tp_frame_size = slot_size,
        .tp_frame_nr = count,
    };
    int version = TPACKET_V2, threshold = (int)slot_size;

    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0)
        return -errno;
    if (setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &threshold, sizeof(threshold)) < 0)
        return -errno;
    if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0)
        return -errno;
    return 0;
}

int sf_packet_ring_open(struct sf_packet_ring *ring, int fd, uint32_t count, uint32_t slot_size)
{
    uint32_t block_slots = slot_size < BLOCK_SIZE ? BLOCK_SIZE / slot_size : 1;
    void *slots;
    int error;

    count = power_of_two(count, block_slots > COUNT_MIN ? block_slots : COUNT_MIN, COUNT_MAX);
    error = request_ring(fd, count, slot_size);
    if (error)
        return error;
    slots = mmap(NULL, (size_t)count * slot_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (slots == MAP_FAILED) {
        error = -errno;
        (void)setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &(struct tpacket_req){0}, sizeof(struct tpacket_req));
        return error;
    }
    memset(ring, 0, sizeof(*ring));
    ring->fd = fd;
    ring->slots = slots;
    ring->count = count;
    ring->slot_size = slot_size;
    ring->shift = (uint32_t)__builtin_ctz(slot_size);
    return 0;
}

void sf_packet_ring_close(struct sf_packet_ring *ring)
{
    if (ring->slots)
        munmap(ring->slots, (size_t)ring->count * ring->slot_size);
    ring->slots = NULL;
    for (int i = 0; i < SF_PACKET_LARGE; i++)
        free(ring->large[i].bytes);
    memset(ring->large, 0, sizeof(ring->large));
}

/* The mapping holds the socket, so it is replaced. Large frames stay in memory, because they may be lent. */
void sf_packet_ring_abandon(struct sf_packet_ring *ring)
{
    sf_leave_mapping(ring->slots, (size_t)ring->count * ring->slot_size);
}
