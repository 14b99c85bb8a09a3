/* A TCP connection's life between two stacks on a wire: made, used, ended, in every way there is. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

#include <poll.h>
#include <sys/wait.h>

static const struct sf_tcp_limits defaults;

static void test_echo(void)
{
    struct sf_sock *listener, *client, *server;
    struct sockaddr_in name, other;
    socklen_t len = sizeof(other);

    begin_with(&defaults, &defaults);
    listener = listen_on(b, B_ADDR, 16, &name);
    CHECK(events_of(listener) == 0);
    client = connect_from(a, name, 2);
    CHECK(a->ops->interest(client, SF_WRITABLE) == 0);
    CHECK(a->ops->connect_result(client) == -EINPROGRESS && is_in(client, "SYN-SENT"));
    CHECK(put(client, "early", 5) == -EAGAIN);
    CHECK(events_of(client) == 0);
    CHECK(events_of(listener) == 0); /* SYN, answered */
    CHECK(events_of(client) == SF_WRITABLE && a->ops->connect_result(client) == 0);
    CHECK(is_in(client, "ESTABLISHED"));
    CHECK(a->ops->interest(client, SF_READABLE) == 0);
    CHECK(put(client, "hello", 5) == 5); /* carries the handshake's last ACK */
    CHECK(info_of(client).segments_sent == 2);
    CHECK(events_of(listener) == SF_READABLE);
    server = accept_from(listener, 3);
    CHECK(b->ops->accept_stream(listener, &client) == -EAGAIN);
    CHECK(b->ops->interest(server, SF_READABLE) == 0);
    expect_bytes(server, "hello");
    CHECK(put(server, "world", 5) == 5);
    CHECK(info_of(server).segments_sent == 1); /* which carries the ACK, too */
    CHECK(events_of(client) == SF_READABLE);
    expect_bytes(client, "world");
    CHECK(a->ops->name_of(client, true, (struct sockaddr *)&other, &len) == 0);
    CHECK(other.sin_port == name.sin_port && other.sin_addr.s_addr == name.sin_addr.s_addr);
    a->ops->release(client);
    exchange(3);
    CHECK(take(server, &other, 1) == 0 && is_in(server, "CLOSE-WAIT"));
    b->ops->release(server);
    exchange(3);
    b->ops->release(listener);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_echo();
    return 0;
}
