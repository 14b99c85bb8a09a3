/* The skeleton, from which a new stack is copied, works as it is. */
#include "stacks/skeleton.c"

#include "check.h"

#include <netinet/in.h>

static void test_a_datagram_comes_back(struct sf_stack *stack)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sf_datagram out[64];
    struct sf_event events[4];
    struct sf_sock *sock = NULL;
    int fd = -1;

    CHECK(stack->ops->adopt(stack, -1, SF_KIND_STREAM, 1, 101, &sock) == -EOPNOTSUPP);
    CHECK(stack->ops->adopt(stack, -1, SF_KIND_DATAGRAM, 1, 101, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    CHECK(stack->ops->poll(stack, 0, events, 4) == 0 && stack->ops->arm(stack, &fd) == 0 && fd >= 0);
    CHECK(stack->ops->send_to(sock, "hello", 5, (const struct sockaddr *)&to, sizeof(to)) == 5);
    CHECK(stack->ops->arm(stack, &fd) == -EAGAIN);
    CHECK(stack->ops->poll(stack, 0, events, 4) == 1);
    CHECK(events[0].slot == 1 && events[0].generation == 101 && events[0].what == SF_READABLE);
    CHECK(stack->ops->recv_batch(sock, out, 64) == 1);
    CHECK(out[0].len == 5 && memcmp(out[0].data, "hello", 5) == 0 && memcmp(out[0].addr, &to, sizeof(to)) == 0);
    CHECK(stack->ops->recv_batch(sock, out, 64) == -EAGAIN && stack->ops->poll(stack, 0, events, 4) == 0);
}

static void test_a_full_queue_drops(struct sf_stack *stack)
{
    struct sf_counter counter = {.value = 99};
    struct sf_sock *sock = NULL;
    struct sf_datagram out[64];

    CHECK(stack->ops->adopt(stack, -1, SF_KIND_DATAGRAM, 2, 102, &sock) == 0);
    CHECK(stack->ops->counters(stack, &counter, 0) == 0);
    for (int i = 0; i < QUEUE + 3; i++)
        CHECK(stack->ops->send_to(sock, "x", 1, NULL, 0) == 1);
    CHECK(stack->ops->send_to(sock, "", LARGEST + 1, NULL, 0) == -EMSGSIZE);
    CHECK(stack->ops->counters(stack, &counter, 1) == 1 && counter.value == 3);
    CHECK(stack->ops->recv_batch(sock, out, 5) == 5 && stack->ops->recv_batch(sock, out, 64) == QUEUE - 5);
    stack->ops->release(sock);
}

int main(void)
{
    const struct sf_stack_option unknown = {.name = "nothing"};
    char message[SF_STACK_ERROR_SIZE];
    struct sf_stack *stack;
    int error = 0;

    CHECK(!sf_stack_skeleton.create(NULL, &unknown, 1, &error, message) && error == -EINVAL);
    CHECK(strcmp(message, "the skeleton stack has no option nothing") == 0);
    CHECK(!sf_stack_skeleton.option(0));
    stack = sf_stack_skeleton.create(NULL, NULL, 0, &error, message);
    CHECK(stack && error == 0);
    test_a_datagram_comes_back(stack);
    test_a_full_queue_drops(stack);
    CHECK(stack->ops->rebuild(stack) == 0);
    stack->ops->destroy(stack); /* with the first socket open */
    return 0;
}
