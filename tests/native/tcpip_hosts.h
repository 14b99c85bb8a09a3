/*
 * Two hosts in one process: two tcpip stacks at the two ends of a shared-memory wire, with a clock of the test's own. Their
 * addresses are loopback addresses, which every user may bind. The wire carries packets between the two; all else goes by the
 * kernel.
 */
#ifndef SF_TEST_TCPIP_HOSTS_H
#define SF_TEST_TCPIP_HOSTS_H

#include "sf/driver.h"
#include "stacks/tcpip/config.h"

#include "stack_seam.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define A_ADDR "127.77.0.1"
#define B_ADDR "127.77.0.2"

static sf_ns clock_now;
static struct sf_stack *a, *b;
static struct sf_driver *a_driver;

static inline sf_ns read_clock(void)
{
    return clock_now;
}

static inline struct sf_driver *open_side(const char *addr)
{
    static char name[64];
    char message[SF_DRIVER_ERROR_SIZE];
    struct sf_driver_config config = {.interface = name, .queue = -1, .addr = inet_addr(addr), .tx_frames = 128};
    struct sf_driver *driver;
    int error = 0;

    snprintf(name, sizeof(name), "test-tcpip-%d", (int)getpid());
    driver = sf_driver_find("shm")(&config, &error, message);
    if (!driver)
        fprintf(stderr, "%s\n", message);
    CHECK(driver);
    return driver;
}

static inline struct sf_stack *make_stack(struct sf_driver *driver, uint32_t backlog)
{
    struct sf_tcpip_config config = {.driver = driver, .now = read_clock, .rx_backlog_bytes = backlog};
    char message[256];
    int error = 0;
    struct sf_stack *stack = sf_stack_tcpip_create(&config, &error, message);

    CHECK(stack);
    return stack;
}

/* Polls after 2 ms of the test's clock, which is enough for the stack to poll the kernel, and to notice the peer on the wire. */
static inline int poll_late(struct sf_stack *stack, struct sf_event *events)
{
    clock_now += 2 * SF_MS;
    return stack->ops->poll(stack, clock_now, events, 16);
}

static inline int poll_now(struct sf_stack *stack, struct sf_event *events)
{
    clock_now += 1;
    return stack->ops->poll(stack, clock_now, events, 16);
}

static inline void begin(uint32_t backlog)
{
    struct sf_event events[16];

    a_driver = open_side(A_ADDR);
    a = make_stack(a_driver, backlog);
    b = make_stack(open_side(B_ADDR), backlog);
    CHECK(poll_late(a, events) == 0);
    CHECK(poll_late(b, events) == 0);
}

static inline void end(void)
{
    a->ops->destroy(a);
    b->ops->destroy(b);
}

/* Releases one socket of each host, closes the descriptors, and ends. */
static inline void end_pair(struct sf_sock *sa, int fd_a, struct sf_sock *sb, int fd_b)
{
    a->ops->release(sa);
    b->ops->release(sb);
    close(fd_a);
    close(fd_b);
    end();
}

static inline int udp_socket(const char *addr, int port)
{
    struct sockaddr_in name = address(addr, port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

    CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

static inline void connect_to(int fd, struct sockaddr_in to)
{
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
}

static inline struct sf_sock *adopt(struct sf_stack *stack, int fd, uint32_t slot)
{
    struct sf_sock *sock = NULL;

    CHECK(stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, slot, slot + 100, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

/* Begins with one socket of each host: slots 1 and 2. */
static inline void begin_pair(struct sf_sock **sa, int fd_a, struct sf_sock **sb, int fd_b)
{
    begin(0);
    *sa = adopt(a, fd_a, 1);
    *sb = adopt(b, fd_b, 2);
}

static inline ssize_t send_to(struct sf_sock *sock, const void *data, size_t len, struct sockaddr_in to)
{
    return sock->stack->ops->send_to(sock, data, len, (struct sockaddr *)&to, sizeof(to));
}

static inline int receive(struct sf_sock *sock, struct sf_datagram *out)
{
    return sock->stack->ops->recv_batch(sock, out, 64);
}

/* Waits for one datagram, which comes by the wire or by the kernel. */
static inline struct sf_datagram expect(struct sf_sock *sock)
{
    struct sf_datagram out[64];
    struct sf_event events[16];

    for (int i = 0; i < 100; i++) {
        int n = poll_late(sock->stack, events);

        for (int j = 0; j < n; j++) {
            if (events[j].slot != sock->slot)
                continue;
            CHECK(events[j].generation == sock->generation && events[j].what & SF_READABLE);
            n = receive(sock, out);
            if (n == -EAGAIN)
                continue;
            CHECK(n == 1);
            return out[0];
        }
    }
    CHECK(!"no datagram has come within 100 polls");
    return out[0];
}

static inline void expect_nothing(struct sf_sock *sock)
{
    struct sf_datagram out[64];
    struct sf_event events[16];

    poll_late(sock->stack, events);
    CHECK(receive(sock, out) == -EAGAIN);
}

#endif
