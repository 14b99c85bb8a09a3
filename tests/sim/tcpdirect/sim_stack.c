/* Stacks: opening and closing, the reactor, sleeping. */
#define _GNU_SOURCE
#include "sim.h"
#include "sf/driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS 64

SIM_API int zf_init(void);
SIM_API int zf_deinit(void);
SIM_API const char *zf_version(void);
SIM_API const char *zf_version_short(void);
SIM_API const char *onload_version_short(void);
SIM_API int zf_stack_alloc(struct zf_attr *, struct zf_stack **);
SIM_API int zf_stack_free(struct zf_stack *);
SIM_API int zf_stack_is_quiescent(struct zf_stack *);
SIM_API int zf_stack_has_pending_work(const struct zf_stack *);
SIM_API int zf_stack_query_feature(struct zf_stack *, int);
SIM_API int zf_reactor_perform(struct zf_stack *);
SIM_API int zf_waitable_fd_get(struct zf_stack *, int *);
SIM_API int zf_waitable_fd_prime(struct zf_stack *);
SIM_API int zft_free(struct zft *);
SIM_API int zftl_free(struct zftl *);
SIM_API int zfur_free(struct zfur *);
SIM_API int zfut_free(struct zfut *);
SIM_API int zf_attr_alloc(struct zf_attr **);
SIM_API void zf_attr_free(struct zf_attr *);

static bool initialised;

int zf_init(void)
{
    struct zf_attr *attr;
    int rc = zf_attr_alloc(&attr);

    if (rc < 0)
        return rc;
    sim_faults_set(sim_text(attr, "sim_fault"));
    zf_attr_free(attr);
    SIM_FAULT();
    SIM_MUST(!initialised, "called twice");
    initialised = true;
    return 0;
}

int zf_deinit(void)
{
    initialised = false;
    return 0;
}

const char *zf_version(void)
{
    return "sfloop's simulator of TCPDirect, version 0";
}

const char *zf_version_short(void)
{
    return "simulator";
}

const char *onload_version_short(void)
{
    return "none";
}

int zf_stack_query_feature(struct zf_stack *stack, int feature)
{
    (void)stack;
    return feature == 0 || feature == 1 ? 0 : -ENOENT;
}

/* ---- addresses ---- */

int sim_check_address(const struct sockaddr *addr, socklen_t len)
{
    if (!addr)
        return -EFAULT;
    if (len < sizeof(struct sockaddr_in))
        return -EINVAL;
    return addr->sa_family == AF_INET ? 0 : -EAFNOSUPPORT;
}

static int join(int fd, const struct sockaddr_in *local, uint32_t source, uint32_t interface)
{
    struct ip_mreq any = {.imr_multiaddr = local->sin_addr, .imr_interface.s_addr = interface};
    struct ip_mreq_source one = {
        .imr_multiaddr = local->sin_addr, .imr_interface.s_addr = interface, .imr_sourceaddr.s_addr = source};

    if (source)
        return setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof(one));
    return setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &any, sizeof(any));
}

/* Sets SO_REUSEADDR for UDP only. Joins the group if the address is one. Stores the address with its port in `local`. */
int sim_backing(int type, struct sockaddr_in *local, uint32_t source)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;
    socklen_t len = sizeof(*local);

    if (fd < 0)
        return -errno;
    if (type == SOCK_DGRAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (type == SOCK_DGRAM && (ntohl(local->sin_addr.s_addr) >> 28) == 14)
        rc = join(fd, local, source, htonl(INADDR_LOOPBACK));
    if (rc < 0 || bind(fd, (struct sockaddr *)local, sizeof(*local)) < 0 ||
        getsockname(fd, (struct sockaddr *)local, &len) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* ---- slots of the inner stack ---- */

uint32_t sim_slot_take(struct zf_stack *stack, enum sim_kind kind, void *owner)
{
    uint32_t n = sizeof(stack->slots) / sizeof(stack->slots[0]);

    for (uint32_t i = 0; i < n; i++) {
        if (stack->slots[i].kind != SIM_NONE)
            continue;
        stack->slots[i].kind = kind;
        stack->slots[i].owner = owner;
        return i;
    }
    SIM_MUST(false, "too many sockets");
    return 0;
}

void sim_slot_give(struct zf_stack *stack, uint32_t slot)
{
    stack->slots[slot].kind = SIM_NONE;
    stack->slots[slot].generation++;
}

/* ---- the reactor ---- */

static int dispatch(struct zf_stack *stack, const struct sf_event *event)
{
    struct sim_slot *slot = &stack->slots[event->slot];

    if (event->slot >= sizeof(stack->slots) / sizeof(stack->slots[0]) || slot->generation != event->generation)
        return 0;
    switch (slot->kind) {
    case SIM_TCP:
        return sim_tcp_event(slot->owner, event->what);
    case SIM_LISTENER:
        return sim_listener_event(slot->owner);
    case SIM_UDP:
        return sim_udp_event(slot->owner);
    default:
        return 0;
    }
}

/* The real library reads the CPU's counter, which takes almost no time. This one reads the clock in every eighth pass, and in a pass
 * in which the kernel's coarse clock has moved on. */
static sf_ns now_of(struct zf_stack *stack)
{
    struct timespec coarse;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
    if (SF_UNLIKELY(stack->passes++ % 8 == 0 || coarse.tv_nsec != stack->tick)) {
        stack->tick = coarse.tv_nsec;
        stack->now = sf_now();
    }
    return stack->now;
}

int zf_reactor_perform(struct zf_stack *stack)
{
    struct sf_event events[EVENTS];
    int visible = 0, n;

    if (stack->armed) {
        stack->inner->ops->disarm(stack->inner);
        stack->armed = false;
    }
    n = stack->inner->ops->poll(stack->inner, now_of(stack), events, EVENTS);
    stack->more = n == EVENTS;
    for (int i = 0; i < n; i++)
        visible |= dispatch(stack, &events[i]);
    if (stack->waiting)
        visible |= sim_tcp_look(stack) | sim_udp_look(stack);
    return visible;
}

int zf_stack_has_pending_work(const struct zf_stack *stack)
{
    return stack->armed ? stack->pending : stack->more;
}

/* Connections in TIME_WAIT do not count, as with tcp_wait_for_time_wait=0. */
int zf_stack_is_quiescent(struct zf_stack *stack)
{
    for (int i = 0; i < SIM_ZOCKETS; i++)
        if (stack->tcp[i].used && !stack->tcp[i].freed)
            return 0;
    return !stack->inner->ops->lingering || stack->inner->ops->lingering(stack->inner) == 0;
}

/* ---- sleeping ---- */

int zf_waitable_fd_get(struct zf_stack *stack, int *fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int inner = -1;

    SIM_FAULT();
    if (stack->epoll_fd < 0) {
        if (stack->inner->ops->arm(stack->inner, &inner) == 0)
            stack->inner->ops->disarm(stack->inner);
        stack->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        stack->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        epoll_ctl(stack->epoll_fd, EPOLL_CTL_ADD, inner, &event);
        epoll_ctl(stack->epoll_fd, EPOLL_CTL_ADD, stack->timer_fd, &event);
    }
    *fd = stack->epoll_fd;
    return 0;
}

/* Sets a timer of 10 ms. Nothing reads it after it has expired, so the descriptor stays readable until the next call. */
int zf_waitable_fd_prime(struct zf_stack *stack)
{
    struct itimerspec in = {.it_value.tv_nsec = 10000000};
    int fd;

    SIM_FAULT();
    SIM_MUST(stack->epoll_fd >= 0, "before zf_waitable_fd_get()");
    timerfd_settime(stack->timer_fd, 0, &in, NULL);
    stack->pending = stack->inner->ops->arm(stack->inner, &fd) < 0;
    stack->armed = true;
    return 0;
}

/* ---- life ---- */

int zf_stack_alloc(struct zf_attr *attr, struct zf_stack **out)
{
    struct sf_tcpip_config config = {.interface = "sim"};
    char message[512];
    struct zf_stack *stack;
    int error = 0;

    SIM_FAULT();
    SIM_MUST(initialised, "before zf_init()");
    if (!sim_text(attr, "interface"))
        return -ENODEV;
    config.driver = sim_wire_open(sim_text(attr, "sim_wire"), inet_addr(sim_text(attr, "sim_address")), &error, message);
    if (!config.driver)
        return error;
    stack = calloc(1, sizeof(*stack));
    config.tcp.time_wait = sim_number(attr, "tcp_timewait_ms") * SF_MS;
    stack->inner = sf_stack_tcpip_create(&config, &error, message);
    if (!stack->inner) {
        config.driver->fast.control->close(config.driver);
        free(stack);
        return error;
    }
    sim_waitable_init(&stack->w, stack);
    stack->epoll_fd = stack->timer_fd = -1;
    stack->max_tcp = (int)sim_number(attr, "max_tcp_endpoints");
    stack->max_listen = (int)sim_number(attr, "max_tcp_listen_endpoints");
    stack->max_rx = (int)sim_number(attr, "max_udp_rx_endpoints");
    stack->max_tx = (int)sim_number(attr, "max_udp_tx_endpoints");
    stack->time_wait = config.tcp.time_wait;
    stack->timestamps = sim_number(attr, "rx_timestamping") != 0;
    *out = stack;
    return 0;
}

int zf_stack_free(struct zf_stack *stack)
{
    for (int i = 0; i < SIM_ZOCKETS; i++) {
        if (stack->listener[i].used && !stack->listener[i].freed)
            zftl_free(&stack->listener[i]);
        if (stack->tcp[i].used && !stack->tcp[i].freed)
            zft_free(&stack->tcp[i]);
        if (stack->tcp[i].used)
            sim_tcp_drop(&stack->tcp[i]);
        if (stack->udp_tx[i].used)
            zfut_free(&stack->udp_tx[i]);
        if (stack->udp_rx[i].used)
            zfur_free(&stack->udp_rx[i]);
    }
    for (int i = 0; i < SIM_ZOCKETS * SIM_QUEUE; i++)
        free(stack->buffers[i]);
    stack->inner->ops->destroy(stack->inner);
    if (stack->epoll_fd >= 0) {
        close(stack->epoll_fd);
        close(stack->timer_fd);
    }
    free(stack);
    return 0;
}
