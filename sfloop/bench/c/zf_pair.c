/*
 * Measures TCPDirect without a loop. Both ends of a ping-pong are in one stack and one thread; the vendor's zfudppingpong and
 * zftcppingpong do the same with two processes. The difference between a loop's time and this one is the loop's own time.
 * SFLOOP_TCPDIRECT_LIBRARY names the library, which is opened at run time. ZF_ATTR names its interface, which must return the sent
 * packets to the stack.
 */
#include "common.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct message { /* struct zft_msg and zfur_msg of zf/zf_tcp.h and zf/zf_udp.h, with one iovec */
    int reserved[4], left, flags, iovcnt;
    struct iovec iov[1];
};

#define FUNCTIONS(X)                                                                                                   \
    X(int, zf_init, (void))                                                                                            \
    X(int, zf_attr_alloc, (void **))                                                                                   \
    X(int, zf_attr_set_int, (void *, const char *, int64_t))                                                           \
    X(int, zf_stack_alloc, (void *, void **))                                                                          \
    X(int, zf_stack_free, (void *))                                                                                    \
    X(int, zf_reactor_perform, (void *))                                                                               \
    X(int, zfur_alloc, (void **, void *, void *))                                                                      \
    X(int, zfur_addr_bind, (void *, struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int))            \
    X(void, zfur_zc_recv, (void *, struct message *, int))                                                             \
    X(void, zfur_zc_recv_done, (void *, struct message *))                                                             \
    X(int, zfut_alloc, (void **, void *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int,  \
                        void *))                                                                                       \
    X(int, zfut_send_single, (void *, const void *, size_t))                                                           \
    X(int, zftl_listen, (void *, const struct sockaddr *, socklen_t, void *, void **))                                 \
    X(int, zftl_accept, (void *, void **))                                                                             \
    X(void, zftl_getname, (void *, struct sockaddr *, socklen_t *))                                                    \
    X(int, zft_alloc, (void *, void *, void **))                                                                       \
    X(int, zft_addr_bind, (void *, const struct sockaddr *, socklen_t, int))                                           \
    X(int, zft_connect, (void *, const struct sockaddr *, socklen_t, void **))                                         \
    X(int, zft_state, (void *))                                                                                        \
    X(void, zft_zc_recv, (void *, struct message *, int))                                                              \
    X(int, zft_zc_recv_done, (void *, struct message *))                                                               \
    X(ssize_t, zft_send_single, (void *, const void *, size_t, int))

#define MEMBER(result, name, arguments) result(*name) arguments;
static struct {
    FUNCTIONS(MEMBER)
} zf;
static void *attr, *stack;

static void check(int rc, const char *what)
{
    if (rc < 0)
        sfb_die(SFB_EXIT_FAILED, "%s says %s", what, strerror(-rc));
}

static void open_library(void)
{
    const char *path = getenv("SFLOOP_TCPDIRECT_LIBRARY");
    void *library = dlopen(path ? path : "libonload_zf.so.1", RTLD_NOW);

    if (!library)
        sfb_die(SFB_EXIT_FAILED, "%s", dlerror());
#define LOAD(result, name, arguments)                                                                                  \
    if (!(zf.name = (result(*) arguments)dlsym(library, #name)))                                                       \
        sfb_die(SFB_EXIT_FAILED, "%s", dlerror());
    FUNCTIONS(LOAD)
    check(zf.zf_init(), "zf_init()");
    check(zf.zf_attr_alloc(&attr), "zf_attr_alloc()");
    zf.zf_attr_set_int(attr, "reactor_spin_count", 1);
    zf.zf_attr_set_int(attr, "pio", 1);
    check(zf.zf_stack_alloc(attr, &stack), "zf_stack_alloc()");
}

/* ---- UDP ---- */

static void *receiver(const struct sfb_options *o, struct sockaddr_in *at)
{
    void *us;

    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(o->host)};
    check(zf.zfur_alloc(&us, stack, attr), "zfur_alloc()");
    check(zf.zfur_addr_bind(us, (struct sockaddr *)at, sizeof *at, NULL, 0, 0), "zfur_addr_bind()");
    return us;
}

static void *sender(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
    void *us;

    check(zf.zfut_alloc(&us, stack, (const struct sockaddr *)from, sizeof *from, (const struct sockaddr *)to, sizeof *to, 0,
                        attr), "zfut_alloc()");
    return us;
}

static void udp_hop(void *out, void *in, const unsigned char *data, unsigned char *got, int size)
{
    struct message m;

    while (zf.zfut_send_single(out, data, (size_t)size) < 0)
        zf.zf_reactor_perform(stack);
    for (;;) {
        while (!zf.zf_reactor_perform(stack))
            ;
        m.iovcnt = 1;
        zf.zfur_zc_recv(in, &m, 0);
        if (m.iovcnt)
            break;
    }
    memcpy(got, m.iov[0].iov_base, (size_t)size);
    zf.zfur_zc_recv_done(in, &m);
}

/* ---- TCP ---- */

static void tcp_pair(const struct sfb_options *o, void **client, void **server)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(o->host)}, from = at;
    socklen_t len = sizeof at;
    void *listener, *handle;

    check(zf.zftl_listen(stack, (struct sockaddr *)&at, sizeof at, attr, &listener), "zftl_listen()");
    zf.zftl_getname(listener, (struct sockaddr *)&at, &len);
    check(zf.zft_alloc(stack, attr, &handle), "zft_alloc()");
    check(zf.zft_addr_bind(handle, (struct sockaddr *)&from, sizeof from, 0), "zft_addr_bind()");
    check(zf.zft_connect(handle, (struct sockaddr *)&at, sizeof at, client), "zft_connect()");
    while (zf.zft_state(*client) == TCP_SYN_SENT)
        zf.zf_reactor_perform(stack);
    while (zf.zftl_accept(listener, server) < 0)
        zf.zf_reactor_perform(stack);
}

static void tcp_hop(void *out, void *in, const unsigned char *data, unsigned char *got, int size)
{
    struct message m;
    int have = 0;

    while (zf.zft_send_single(out, data, (size_t)size, 0) < 0)
        zf.zf_reactor_perform(stack);
    while (have < size) {
        while (!zf.zf_reactor_perform(stack))
            ;
        m.iovcnt = 1;
        zf.zft_zc_recv(in, &m, 0);
        if (!m.iovcnt)
            continue;
        memcpy(got + have, m.iov[0].iov_base, m.iov[0].iov_len);
        have += (int)m.iov[0].iov_len;
        zf.zft_zc_recv_done(in, &m);
    }
}

/* ---- commands ---- */

typedef void (*hop)(void *out, void *in, const unsigned char *data, unsigned char *got, int size);

static int ping_pong(const struct sfb_options *o, hop hop, void *a_out, void *b_in, void *b_out, void *a_in)
{
    struct sfb_run *run = malloc(sizeof *run);
    unsigned char sent[1472], there[1472], back[1472];
    uint64_t sequence = 0, begin;

    if (o->size > (int)sizeof sent)
        sfb_die(SFB_EXIT_USAGE, "--size is %d; 1 to %d is allowed", o->size, (int)sizeof sent);
    sfb_run_start(run, o);
    do {
        sfb_fill(sent, o->size, 0, sequence);
        begin = sfb_now();
        hop(a_out, b_in, sent, there, o->size);
        hop(b_out, a_in, there, back, o->size);
        sfb_verify(sent, back, o->size, 0, sequence++);
    } while (sfb_run_count(run, begin, sfb_now()));
    sfb_run_report(run);
    free(run);
    zf.zf_stack_free(stack);
    return 0;
}

int sfb_zf_udp(const struct sfb_options *o)
{
    struct sockaddr_in a, b;
    void *a_in, *b_in;

    open_library();
    a_in = receiver(o, &a);
    b_in = receiver(o, &b);
    return ping_pong(o, udp_hop, sender(&a, &b), b_in, sender(&b, &a), a_in);
}

int sfb_zf_tcp(const struct sfb_options *o)
{
    void *client, *server;

    open_library();
    tcp_pair(o, &client, &server);
    return ping_pong(o, tcp_hop, client, server, server, client);
}

/* Measures the time, in ns, of a zf_reactor_perform() that finds nothing. */
int sfb_zf_idle(const struct sfb_options *o)
{
    uint64_t begin, n = 0, until;
    struct sockaddr_in a;
    struct rusage usage;

    open_library();
    receiver(o, &a);
    begin = sfb_now();
    until = begin + (uint64_t)(o->seconds * 1e9);
    do {
        for (int i = 0; i < 256; i++, n++)
            zf.zf_reactor_perform(stack);
    } while (sfb_now() < until);
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"idle\": %.2f, \"seconds\": %.3f, \"involuntary_switches\": %ld}\n", (double)(sfb_now() - begin) / (double)n,
           (double)(sfb_now() - begin) / 1e9, usage.ru_nivcsw);
    zf.zf_stack_free(stack);
    return 0;
}
