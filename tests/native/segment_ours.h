/* Our stack as the host of a script, on a wire in memory. The runner has the wire's other end. The clock is the test's. */
#ifndef SF_TEST_SEGMENT_OURS_H
#define SF_TEST_SEGMENT_OURS_H

#include "memory_wire.h"
#include "segment_runner.h"
#include "stacks/tcpip/socket.h"

static struct wire wire;
static struct sf_sock *our_listener, *our_sock;
static int our_fd = -1; /* the kernel socket for the next connect(), with the options that the script has set */
static uint16_t our_local_port;

static inline void our_begin(uint32_t mtu)
{
    struct sf_tcp_limits limits = {.min_rto = 200 * SF_MS, .delayed_ack = 40 * SF_MS};
    struct sf_event events[16];

    wire_begin(&wire, mtu);
    a = make_stack_with(&wire.end[0].driver, &limits);
    poll_late(a, events);
    our_listener = our_sock = NULL;
}

static inline void our_end(void)
{
    if (our_sock)
        a->ops->release(our_sock);
    if (our_listener)
        a->ops->release(our_listener);
    if (our_fd >= 0)
        close(our_fd);
    our_fd = -1;
    a->ops->destroy(a);
    wire_end(&wire);
}

static inline void our_inject(const uint8_t *packet, size_t len)
{
    static const uint8_t eth[SF_ETH_HEADER] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
    uint8_t frame[PACKET_MAX + SF_ETH_HEADER];

    memcpy(frame, eth, sizeof eth);
    memcpy(frame + sizeof eth, packet, len);
    wire_put(&wire, 1, frame, len + sizeof eth);
}

static inline size_t our_next(uint8_t *packet, sf_ns until)
{
    static uint8_t frame[WIRE_FRAME_MAX];
    struct sf_event events[16];

    for (;;) {
        size_t len;
        sf_ns next;

        a->ops->poll(a, clock_now, events, 16);
        a->ops->poll(a, clock_now, events, 16); /* the ACKs that the first poll owes leave now */
        len = wire_take(&wire, 1, frame);
        if (len) {
            memcpy(packet, frame + SF_ETH_HEADER, len - SF_ETH_HEADER);
            return len - SF_ETH_HEADER;
        }
        if (clock_now >= until)
            return 0;
        next = a->ops->poll_at(a, clock_now);
        clock_now = next <= clock_now ? clock_now + 1 : next < until ? next : until;
    }
}

static inline int our_listen(void)
{
    struct sockaddr_in name;

    our_listener = listen_on(a, A_ADDR, 16, &name);
    our_local_port = ntohs(name.sin_port);
    return 0;
}

static inline int our_connect(void)
{
    struct sockaddr_in to = address(B_ADDR, PEER_PORT);
    int fd = our_fd >= 0 ? our_fd : tcp_socket(NULL, 0), rc;

    rc = a->ops->connect(a, fd, (struct sockaddr *)&to, sizeof(to), 2, 102, &our_sock);
    if (rc == 0)
        our_local_port = ntohs(name_of(fd).sin_port);
    close(fd);
    our_fd = -1;
    return rc;
}

static inline int our_import(const struct sf_tcp_image *image)
{
    struct sf_flow_key key = {image->local_addr, image->remote_addr, image->local_port, image->remote_port};
    int fd = our_fd >= 0 ? our_fd : tcp_socket(NULL, 0), rc;
    struct sf_tcp_conn *conn;

    rc = sf_tcp_import_begin(tcpip_of(a), fd, &key, &conn);
    if (rc == 0 && (rc = sf_tcp_import_finish(conn, image)) < 0)
        sf_tcp_import_undo(conn);
    close(fd);
    our_fd = -1;
    if (rc < 0)
        return rc;
    sf_tcp_import_closed(conn);
    our_local_port = sf_be16(image->local_port);
    return tcpip_stream_around(a, conn, 2, 102, &our_sock);
}

static inline int our_connected(void)
{
    return a->ops->connect_result(our_sock);
}

static inline int our_accept(void)
{
    struct sf_sock *sock;
    int rc = a->ops->accept_stream(our_listener, &sock);

    if (rc < 0)
        return rc;
    if (our_sock)
        a->ops->release(our_sock);
    our_sock = sock;
    our_sock->slot = 2;
    our_sock->generation = 102;
    return 0;
}

static inline ssize_t our_send(const uint8_t *data, size_t len)
{
    return put(our_sock, data, len);
}

static inline ssize_t our_recv(uint8_t *data, size_t len)
{
    return take(our_sock, data, len);
}

static inline int our_shutdown(void)
{
    return a->ops->shutdown_tx(our_sock);
}

static inline int our_close(void)
{
    a->ops->release(our_sock);
    our_sock = NULL;
    return 0;
}

static inline int our_set(int level, int name, const void *value, socklen_t len)
{
    if (our_sock || our_listener)
        return a->ops->set_option(our_sock ? our_sock : our_listener, level, name, value, len);
    if (our_fd < 0)
        our_fd = tcp_socket(NULL, 0);
    return setsockopt(our_fd, level, name, value, len) < 0 ? -errno : 0;
}

static inline uint16_t our_port(void)
{
    return our_local_port;
}

static inline struct segment_host our_host(void)
{
    return (struct segment_host){
        .name = "ours", .early = 1, .late = 2, .begin = our_begin, .end = our_end, .now = read_clock,
        .inject = our_inject, .next = our_next, .host_addr = inet_addr(A_ADDR), .peer_addr = inet_addr(B_ADDR),
        .listen = our_listen, .connect = our_connect, .import = our_import, .connected = our_connected, .accept = our_accept,
        .send = our_send, .recv = our_recv, .shutdown = our_shutdown, .close = our_close, .set = our_set,
        .local_port = our_port,
    };
}

#endif
