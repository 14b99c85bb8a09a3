/*
 * The test clock for tcpip stacks: retransmissions and TIME_WAIT then take no time. Stacks that use it have their own table of
 * functions, so it costs the others nothing.
 */
#include "socket.h"

#include <stdatomic.h>

static _Atomic sf_ns test_time; /* the time while the clock stands still, otherwise its lead over sf_now() */
static atomic_bool stands;
static const struct sf_stack_ops *real_ops;
static struct sf_stack_ops clocked_ops;

void sf_test_clock_set(sf_ns now)
{
    atomic_store(&test_time, now);
    atomic_store(&stands, true);
}

void sf_test_clock_go(void)
{
    if (!atomic_load(&stands))
        return;
    atomic_store(&test_time, atomic_load(&test_time) - sf_now());
    atomic_store(&stands, false);
}

sf_ns sf_test_clock_now(void)
{
    return atomic_load(&stands) ? atomic_load(&test_time) : sf_now() + atomic_load(&test_time);
}

static int poll_by_test(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    (void)now;
    return real_ops->poll(stack, sf_test_clock_now(), out, max);
}

/* Converts the stack's next time from the test clock to the clock of `now`. */
static sf_ns poll_at_by_test(struct sf_stack *stack, sf_ns now)
{
    sf_ns time = sf_test_clock_now(), at = real_ops->poll_at(stack, time);

    if (at == SF_NEVER)
        return SF_NEVER;
    return at > time ? now + (at - time) : now;
}

void tcpip_use_test_clock(struct sf_stack *stack)
{
    if (stack->ops == &clocked_ops)
        return;
    real_ops = stack->ops;
    clocked_ops = *real_ops;
    clocked_ops.poll = poll_by_test;
    clocked_ops.poll_at = poll_at_by_test;
    stack->ops = &clocked_ops;
}
