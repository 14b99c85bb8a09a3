#define _GNU_SOURCE
#include "wire.h"

#include "drivers/driver_util.h"
#include "storage/epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x5f6c7332u
#define DEFAULT_FRAMES 1024
#define MIN_FRAMES 2
#define MAX_FRAMES 65536
/* An MTU of 9000, and the Ethernet header with a VLAN tag. */
#define DEFAULT_FRAME 9018
#define MIN_FRAME 86 /* IPv4 requires an MTU of 68 at least */
#define MAX_FRAME 65553
#define MAX_SIZE ((size_t)1 << 30)
#define GATE 2 /* the byte that is locked while a side arrives or leaves */
#define GATE_PATIENCE_MS 500

/* ---- locks: they belong to the open file, so two sides in one process exclude each other too ---- */

static int lock_byte(int fd, int byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static bool byte_is_free(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

/* Locks the gate. A side holds it for a few milliseconds while it arrives or leaves, and longer only if it is stopped
 * meanwhile. */
static int enter_gate(int fd)
{
    const struct timespec nap = {.tv_nsec = SF_MS};
    int rc = -EAGAIN;

    for (int ms = 0; ms < GATE_PATIENCE_MS; ms++) {
        rc = lock_byte(fd, GATE, F_WRLCK);
        if (rc != -EAGAIN && rc != -EACCES)
            return rc;
        nanosleep(&nap, NULL);
    }
    return rc;
}

/* ---- files ---- */

static int choose_path(struct shm_wire *wire, const char *name, char *message)
{
    int n;

    if (!name || !*name)
        return sf_driver_refuse(message, -EINVAL, "shm: the wire has no name: give one as the interface, \"feed\" for example");
    if (name[0] == '/')
        n = snprintf(wire->path, sizeof(wire->path) - 2, "%s", name);
    else if (strchr(name, '/'))
        return sf_driver_refuse(message, -EINVAL,
                                "shm: the wire's name \"%.80s\" holds a '/': a name has none, a path begins with it", name);
    else
        n = snprintf(wire->path, sizeof(wire->path) - 2, "/dev/shm/sfloop-%u-%s", (unsigned)geteuid(), name);
    if (n < 0 || (size_t)n >= sizeof(wire->path) - 2)
        return sf_driver_refuse(message, -ENAMETOOLONG, "shm: the wire's name \"%.60s…\" is too long: at most %d bytes of path",
                                name, (int)sizeof(wire->path) - 3);
    return 0;
}

/* Checks that the file belongs to this user alone, because any user can create files in /dev/shm. */
static int check_owner(const struct shm_wire *wire, int fd, mode_t kind, char *message)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return sf_driver_refuse(message, -errno, "shm: %s: %s", wire->path, strerror(errno));
    if ((st.st_mode & S_IFMT) != kind || st.st_uid != geteuid() || st.st_mode & 022)
        return sf_driver_refuse(message, -EPERM,
                                "shm: %s is not this user's alone: a wire belongs to one user, and others may not write to it; "
                                "remove it, or take another name",
                                wire->path);
    return 0;
}

static bool is_current(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

/* Opens the file and enters the gate. Repeats this if the last side has removed the file in between. */
static int open_file(struct shm_wire *wire, char *message)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        int rc;

        wire->file = open(wire->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (wire->file < 0)
            return sf_driver_refuse(message, -errno, "shm: cannot open the wire %s: %s", wire->path, strerror(errno));
        rc = check_owner(wire, wire->file, S_IFREG, message);
        if (rc)
            return rc;
        rc = enter_gate(wire->file);
        if (rc)
            return sf_driver_refuse(message, -EBUSY, "shm: %s is held by a process that does not go on: %s", wire->path,
                                    strerror(-rc));
        if (is_current(wire->file, wire->path))
            return 0;
        close(wire->file);
        wire->file = -1;
    }
    return sf_driver_refuse(message, -EBUSY, "shm: %s is made and removed all the time by others: try again", wire->path);
}

static int open_fifo(struct shm_wire *wire, int side, int flags, char *message)
{
    char path[SHM_WIRE_PATH + 2];
    int fd, rc;

    snprintf(path, sizeof(path), "%s.%c", wire->path, side ? '1' : '0');
    if (mkfifo(path, 0600) < 0 && errno != EEXIST)
        return sf_driver_refuse(message, -errno, "shm: cannot make the FIFO %s: %s", path, strerror(errno));
    fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return sf_driver_refuse(message, -errno, "shm: cannot open the FIFO %s: %s", path, strerror(errno));
    rc = check_owner(wire, fd, S_IFIFO, message);
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

static void remove_files(const struct shm_wire *wire)
{
    char path[SHM_WIRE_PATH + 2];

    for (int side = 0; side < 2; side++) {
        snprintf(path, sizeof(path), "%s.%c", wire->path, side ? '1' : '0');
        unlink(path);
    }
    unlink(wire->path);
}

/* ---- the mapping ---- */

static bool is_ring_size(uint32_t frames)
{
    return frames >= MIN_FRAMES && frames <= MAX_FRAMES && (frames & (frames - 1)) == 0;
}

/* Uses an odd number of cache lines, so that the slots' first lines spread over all sets of the cache. */
static void set_frame_size(struct shm_wire *wire, uint32_t frame_size)
{
    uint32_t lines = (frame_size + (uint32_t)sizeof(struct shm_slot) + SF_CACHE_LINE - 1) / SF_CACHE_LINE;

    wire->frame_size = frame_size;
    wire->slot_size = (lines | 1) * SF_CACHE_LINE;
}

static size_t wire_size(const struct shm_wire *wire)
{
    return sizeof(struct shm_file) + ((size_t)wire->frames[0] + wire->frames[1]) * wire->slot_size;
}

static int choose_geometry(struct shm_wire *wire, const struct sf_driver_config *config, char *message)
{
    uint32_t sent = config->tx_frames ? config->tx_frames : DEFAULT_FRAMES;
    uint32_t received = config->rx_frames ? config->rx_frames : DEFAULT_FRAMES;
    uint32_t frame = config->frame_size ? config->frame_size : DEFAULT_FRAME;

    if (!is_ring_size(sent) || !is_ring_size(received))
        return sf_driver_refuse(message, -EINVAL, "shm: rings of %u and %u frames: powers of two from %d to %d are allowed",
                                received, sent, MIN_FRAMES, MAX_FRAMES);
    if (frame < MIN_FRAME || frame > MAX_FRAME)
        return sf_driver_refuse(message, -EINVAL, "shm: a frame size of %u bytes: %d to %d are allowed", frame, MIN_FRAME,
                                MAX_FRAME);
    set_frame_size(wire, frame);
    wire->frames[wire->side] = sent;
    wire->frames[1 - wire->side] = received;
    if (wire_size(wire) > MAX_SIZE)
        return sf_driver_refuse(message, -EINVAL,
                                "shm: the rings would take %zu MiB of at most %zu: ask for fewer or smaller frames",
                                wire_size(wire) >> 20, MAX_SIZE >> 20);
    return 0;
}

static int map_file(struct shm_wire *wire, char *message)
{
    void *map;

    wire->size = wire_size(wire);
    map = mmap(NULL, wire->size, PROT_READ | PROT_WRITE, MAP_SHARED, wire->file, 0);
    if (map == MAP_FAILED)
        return sf_driver_refuse(message, -errno, "shm: cannot map %zu bytes of %s: %s", wire->size, wire->path, strerror(errno));
    wire->map = map;
    return 0;
}

/* Creates the rings. No peer uses the file, so its contents are dropped. Allocates the memory now, because a full
 * /dev/shm would otherwise kill us with SIGBUS at the first frame without a page. */
static int create_rings(struct shm_wire *wire, const struct sf_driver_config *config, char *message)
{
    int rc = choose_geometry(wire, config, message);

    if (rc)
        return rc;
    rc = ftruncate(wire->file, 0) < 0 ? errno : posix_fallocate(wire->file, 0, (off_t)wire_size(wire));
    if (rc)
        return sf_driver_refuse(message, -rc, "shm: %s needs %zu MiB: %s; make room, or ask for fewer or smaller frames",
                                wire->path,
                                (wire_size(wire) + (1 << 20) - 1) >> 20, strerror(rc));
    rc = map_file(wire, message);
    if (rc)
        return rc;
    wire->map->frame_size = wire->frame_size;
    wire->map->frames[0] = wire->frames[0];
    wire->map->frames[1] = wire->frames[1];
    wire->map->magic = MAGIC;
    return 0;
}

static int join_rings(struct shm_wire *wire, char *message)
{
    struct shm_file header;
    struct stat st;

    if (pread(wire->file, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || header.magic != MAGIC)
        return sf_driver_refuse(message, -EPROTO, "shm: the peer of %s is another version of sfloop", wire->path);
    wire->frames[0] = header.frames[0];
    wire->frames[1] = header.frames[1];
    if (is_ring_size(wire->frames[0]) && is_ring_size(wire->frames[1]) && header.frame_size >= MIN_FRAME &&
        header.frame_size <= MAX_FRAME) {
        set_frame_size(wire, header.frame_size);
        if (fstat(wire->file, &st) == 0 && (size_t)st.st_size == wire_size(wire))
            return map_file(wire, message);
    }
    return sf_driver_refuse(message, -EPROTO, "shm: the peer of %s has written impossible sizes of its rings",
                            wire->path);
}

/* ---- arriving and leaving ---- */

static int take_side(struct shm_wire *wire, char *message)
{
    for (wire->side = 0; wire->side < 2; wire->side++)
        if (lock_byte(wire->file, wire->side, F_WRLCK) == 0)
            return 0;
    return sf_driver_refuse(message, -EBUSY, "shm: both sides of the wire %s are taken: close one of them, or take another name",
                            wire->path);
}

static int check_address(struct shm_wire *wire, uint32_t addr, char *message)
{
    const uint8_t *byte = (const uint8_t *)&addr;

    if (atomic_load(&wire->map->side[1 - wire->side].addr) != addr)
        return 0;
    return sf_driver_refuse(message, -EADDRINUSE,
                            "shm: the peer of %s has the address %u.%u.%u.%u; each side needs its own",
                            wire->path, byte[0], byte[1], byte[2], byte[3]);
}

/* Writes the address first, because a peer that sees our FIFO's writer may read it. Increments the generation last, because a
 * peer that sees it looks for the writer once. */
static int open_wakeups(struct shm_wire *wire, uint32_t addr, char *message)
{
    struct shm_side *side = &wire->map->side[wire->side];

    wire->wake_own = open_fifo(wire, wire->side, O_RDONLY, message);
    if (wire->wake_own < 0)
        return wire->wake_own;
    wire->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (wire->epoll < 0 || sf_epoll_add(wire->epoll, wire->wake_own, EPOLLIN, 0) < 0)
        return sf_driver_refuse(message, -errno, "shm: epoll: %s", strerror(errno));
    atomic_store(&side->addr, addr);
    atomic_store(&side->pid, (uint32_t)wire->owner);
    /* Also for reading, so that the open succeeds without the peer. */
    wire->wake_peer = open_fifo(wire, 1 - wire->side, O_RDWR, message);
    if (wire->wake_peer < 0)
        return wire->wake_peer;
    atomic_fetch_add(&side->generation, 1);
    return 0;
}

static int share_file(struct shm_wire *wire, const struct sf_driver_config *config, char *message)
{
    int rc = take_side(wire, message);

    if (rc)
        return rc;
    if (byte_is_free(wire->file, 1 - wire->side))
        return create_rings(wire, config, message);
    rc = join_rings(wire, message);
    return rc ? rc : check_address(wire, config->addr, message);
}

int sf_shm_attach(struct shm_wire *wire, const struct sf_driver_config *config, char *message)
{
    int rc;

    memset(wire, 0, sizeof(*wire));
    wire->owner = getpid();
    wire->file = wire->wake_own = wire->wake_peer = wire->epoll = -1;
    if (!config->addr)
        return sf_driver_refuse(message, -EINVAL,
                                "shm: this side of the wire has no address; give it an IPv4 address of its own");
    rc = choose_path(wire, config->interface, message);
    if (rc == 0)
        rc = open_file(wire, message);
    if (rc == 0)
        rc = share_file(wire, config, message);
    if (rc)
        sf_shm_detach(wire);
    return rc;
}

int sf_shm_announce(struct shm_wire *wire, uint32_t addr, char *message)
{
    int rc = open_wakeups(wire, addr, message);

    lock_byte(wire->file, GATE, F_UNLCK);
    return rc;
}

static void close_files(const struct shm_wire *wire)
{
    sf_close_descriptor(wire->wake_peer);
    sf_close_descriptor(wire->wake_own);
    sf_close_descriptor(wire->epoll);
    sf_close_descriptor(wire->file);
}

/*
 * Also cleans up after a failed attach, because closing the file releases its locks. A forked child that calls this must not
 * touch the locks, because they are its parent's too.
 */
void sf_shm_detach(struct shm_wire *wire)
{
    if (wire->map) {
        if (wire->owner == getpid() && enter_gate(wire->file) == 0 && byte_is_free(wire->file, 1 - wire->side) &&
            is_current(wire->file, wire->path))
            remove_files(wire);
        munmap(wire->map, wire->size);
    }
    close_files(wire);
}

/* Leaves the locks alone: they are the parent's too, and stay with its open files. */
void sf_shm_abandon(struct shm_wire *wire)
{
    sf_leave_mapping(wire->map, wire->size);
    close_files(wire);
}

/* ---- waking ---- */

/* A FIFO that has lost its writer stays readable until it is opened again. */
static void rearm_after_hangup(struct shm_wire *wire)
{
    struct pollfd state = {.fd = wire->wake_own};
    char message[SF_DRIVER_ERROR_SIZE];
    int fd;

    if (poll(&state, 1, 0) <= 0 || !(state.revents & POLLHUP))
        return;
    fd = open_fifo(wire, wire->side, O_RDONLY, message);
    if (fd < 0)
        return; /* out of descriptors: the old one still works, but wakes us too often */
    close(wire->wake_own);
    wire->wake_own = fd;
    sf_epoll_add(wire->epoll, wire->wake_own, EPOLLIN, 0);
}

bool sf_shm_peer_lives(struct shm_wire *wire)
{
    char bytes[4096];
    ssize_t n = sizeof(bytes);

    /* One read is usually enough. The limit keeps a peer that writes without end from holding us here; a FIFO has 64 KiB. */
    for (int i = 0; i < 32 && n == (ssize_t)sizeof(bytes); i++)
        n = read(wire->wake_own, bytes, sizeof(bytes));
    if (n > 0)
        n = read(wire->wake_own, bytes, sizeof(bytes));
    if (n != 0)
        return true;
    rearm_after_hangup(wire);
    return false;
}

void sf_shm_wake_peer(struct shm_wire *wire)
{
    /* If the FIFO is full, the peer has enough to wake up. */
    ssize_t ignored = write(wire->wake_peer, "", 1);

    (void)ignored;
}
