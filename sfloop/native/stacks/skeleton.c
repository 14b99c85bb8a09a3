/*
 * A stack that compiles and sends each datagram back: the beginning of a new one. docs/writing-a-stack.md goes with it. A
 * datagram comes back from the address that it was sent to, and nothing leaves the process. Streams are the kernel's, because the
 * stack has no connect and no listen. In a copy, replace "skeleton" by the stack's name.
 */
#include "stacks/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE 16
#define LARGEST 2048

struct datagram {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    uint32_t len;
    uint8_t data[LARGEST];
};

struct skeleton_sock {
    struct sf_sock base; /* first: the part that the code above knows */
    struct skeleton_sock *next, **previous;
    uint32_t interest;
    unsigned first, count, lent; /* in the queue: index of the oldest, number of all, number lent by the last recv_batch() */
    struct datagram queue[QUEUE];
};

struct skeleton_stack {
    struct sf_stack base; /* first */
    struct skeleton_sock *socks;
    int event_fd; /* never readable: nothing arrives while the loop sleeps */
    uint64_t dropped;
};

static struct skeleton_stack *skeleton_of(struct sf_stack *stack)
{
    return (struct skeleton_stack *)stack;
}

/* ---- 1. the turn ---- */

/* Returns the conditions that hold now and that the socket's owner is interested in, because events are levels. */
static uint32_t what_holds(const struct skeleton_sock *s)
{
    return s->interest & (SF_WRITABLE | (s->count > s->lent ? SF_READABLE : 0));
}

/* Called every turn, mostly without result. A stack with more than a few sockets keeps a list of those that have events
 * (storage/ready_ring.h). If `max` leaves some out, the next poll must begin with them. */
static int skeleton_poll(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    int n = 0;

    (void)now;
    stack->stats.polls++;
    for (struct skeleton_sock *s = skeleton_of(stack)->socks; s; s = s->next) {
        if (what_holds(s) && n < max)
            out[n++] = (struct sf_event){.slot = s->base.slot, .generation = s->base.generation, .what = what_holds(s)};
    }
    stack->stats.empty_polls += !n;
    stack->stats.events += (uint64_t)n;
    return n;
}

/* The stack has no timers. */
static sf_ns skeleton_poll_at(struct sf_stack *stack, sf_ns now)
{
    (void)stack;
    (void)now;
    return SF_NEVER;
}

/* *fd is set in either case, because the loop learns the descriptor from the first call. */
static int skeleton_arm(struct sf_stack *stack, int *fd)
{
    *fd = skeleton_of(stack)->event_fd;
    for (const struct skeleton_sock *s = skeleton_of(stack)->socks; s; s = s->next)
        if (what_holds(s))
            return -EAGAIN;
    return 0;
}

static void skeleton_disarm(struct sf_stack *stack)
{
    (void)stack;
}

/* ---- 2. sockets ---- */

/* `fd` is a bound kernel socket of the program. A real stack checks its address. If it does not serve the address, it returns
 * -EOPNOTSUPP, and the kernel stack adopts the socket. */
static int skeleton_adopt(struct sf_stack *stack, int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation,
                          struct sf_sock **out)
{
    struct skeleton_stack *k = skeleton_of(stack);
    struct skeleton_sock *s;

    (void)fd;
    if (kind != SF_KIND_DATAGRAM)
        return -EOPNOTSUPP;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->base = (struct sf_sock){.stack = stack, .slot = slot, .generation = generation};
    s->next = k->socks;
    s->previous = &k->socks;
    if (s->next)
        s->next->previous = &s->next;
    k->socks = s;
    *out = &s->base;
    return 0;
}

static void skeleton_release(struct sf_sock *sock)
{
    struct skeleton_sock *s = (struct skeleton_sock *)sock;

    *s->previous = s->next;
    if (s->next)
        s->next->previous = s->previous;
    free(s);
}

static int skeleton_interest(struct sf_sock *sock, uint32_t what)
{
    ((struct skeleton_sock *)sock)->interest = what;
    sock->stack->touched = true;
    return 0;
}

/* ---- 3. datagrams ---- */

/* Frees the memory that the last recv_batch() lent. The next recv_batch() calls it, and nothing does earlier. */
static void take_back(struct skeleton_sock *s)
{
    s->first = (s->first + s->lent) % QUEUE;
    s->count -= s->lent;
    s->lent = 0;
}

static int skeleton_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct skeleton_sock *s = (struct skeleton_sock *)sock;
    int n = 0;

    take_back(s);
    for (; n < max && s->lent < s->count; n++) {
        const struct datagram *d = &s->queue[(s->first + s->lent++) % QUEUE];

        out[n] = (struct sf_datagram){
            .data = d->data, .len = d->len, .addr = (const struct sockaddr *)&d->addr, .addr_len = d->addr_len};
        sock->stack->stats.rx_bytes += d->len;
    }
    sock->stack->stats.rx_messages += (uint64_t)n;
    return n ? n : -EAGAIN;
}

static ssize_t skeleton_send_to(struct sf_sock *sock, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    struct skeleton_sock *s = (struct skeleton_sock *)sock;
    struct datagram *d = &s->queue[(s->first + s->count) % QUEUE];

    if (len > LARGEST)
        return -EMSGSIZE;
    if (addr_len > sizeof(d->addr))
        return -EINVAL;
    sock->stack->stats.tx_messages++;
    sock->stack->stats.tx_bytes += len;
    if (s->count == QUEUE) {
        skeleton_of(sock->stack)->dropped++;
        return (ssize_t)len;
    }
    memcpy(d->data, data, len);
    d->len = (uint32_t)len;
    d->addr_len = addr ? addr_len : 0;
    memcpy(&d->addr, addr ? (const void *)addr : "", d->addr_len);
    s->count++;
    sock->stack->touched = true;
    return (ssize_t)len;
}

static int no_accept(struct sf_sock *sock, struct sockaddr *addr, socklen_t *len)
{
    (void)sock;
    (void)addr;
    (void)len;
    return -EOPNOTSUPP;
}

/* ---- 4. life ---- */

/* Called in a forked child. It must not share the descriptor on which the parent sleeps. The sockets stay. */
static int skeleton_rebuild(struct sf_stack *stack)
{
    close(skeleton_of(stack)->event_fd);
    skeleton_of(stack)->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return skeleton_of(stack)->event_fd < 0 ? -errno : 0;
}

/* Releases the sockets that are still open, too. */
static void skeleton_destroy(struct sf_stack *stack)
{
    while (skeleton_of(stack)->socks)
        skeleton_release(&skeleton_of(stack)->socks->base);
    close(skeleton_of(stack)->event_fd);
    free(stack);
}

/* ---- 5. count ---- */

static int skeleton_counters(struct sf_stack *stack, struct sf_counter *out, int max)
{
    if (max < 1)
        return 0;
    out[0] = (struct sf_counter){.name = "dropped", .value = skeleton_of(stack)->dropped};
    return 1;
}

/* ---- 6. the table ---- */

static const struct sf_stack_ops skeleton_ops = {
    .name = "skeleton",
    .poll = skeleton_poll,
    .poll_at = skeleton_poll_at,
    .arm = skeleton_arm,
    .disarm = skeleton_disarm,
    .rebuild = skeleton_rebuild,
    .destroy = skeleton_destroy,
    .adopt = skeleton_adopt,
    .release = skeleton_release,
    .interest = skeleton_interest,
    .accept = no_accept,
    .recv_batch = skeleton_recv_batch,
    .send_to = skeleton_send_to,
    .counters = skeleton_counters,
};

/* ---- 7. the entry, which registry.c knows ---- */

/* The table of options, with the member of a struct for each. There are none here. */
static const struct sf_stack_field fields[] = {{.name = NULL}};

static const char *option(int i)
{
    return sf_stack_field_name(fields, i);
}

/* On failure undoes everything, and writes a sentence with the given option, the missing condition and a remedy. */
static struct sf_stack *create(struct sf_driver *driver, const struct sf_stack_option *options, int n, int *error, char *message)
{
    struct skeleton_stack *k;

    (void)driver;
    *error = sf_stack_read_options("skeleton", fields, options, n, NULL, message);
    if (*error < 0)
        return NULL;
    k = calloc(1, sizeof(*k));
    if (!k) {
        *error = -ENOMEM;
        strcpy(message, "the skeleton stack cannot be made: no memory");
        return NULL;
    }
    k->base.ops = &skeleton_ops;
    k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (k->event_fd < 0) {
        *error = -errno;
        snprintf(message, SF_STACK_ERROR_SIZE, "the skeleton stack cannot be made: no descriptor: %s", strerror(errno));
        free(k);
        return NULL;
    }
    return &k->base;
}

const struct sf_stack_entry sf_stack_skeleton = {
    .name = "skeleton",
    .description = "sends each datagram back",
    .create = create,
    .option = option,
};
