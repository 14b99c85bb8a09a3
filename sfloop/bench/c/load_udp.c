/* UDP ping-pong. It sends a burst of datagrams, waits for all of them to come back, and sends the next burst. It counts lost
 * datagrams and continues. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_BURST = 64, SEQUENCE_SIZE = 8 };

static const uint64_t LOST_AFTER = UINT64_C(100000000); /* ns */

struct flow {
    int fd, size, burst;
    uint64_t sequence; /* number of the current burst's first datagram */
    unsigned char *sent[MAX_BURST], *received;
};

static void send_burst(struct flow *f)
{
    for (int i = 0; i < f->burst; i++) {
        uint64_t sequence = f->sequence + (uint64_t)i;

        sfb_fill(f->sent[i], f->size, 0, sequence);
        memcpy(f->sent[i], &sequence, SEQUENCE_SIZE);
    }
    for (int i = 0; i < f->burst; i++)
        /* ECONNREFUSED belongs to an earlier datagram, which will be counted as lost. */
        if (send(f->fd, f->sent[i], (size_t)f->size, 0) < 0 && errno != ECONNREFUSED)
            sfb_die_errno("send");
}

/* Returns 1 for an answer to this burst. Returns 0 if there is none, or for the late answer to an earlier burst. */
static int receive_one(struct flow *f)
{
    ssize_t n = recv(f->fd, f->received, (size_t)f->size + 1, MSG_TRUNC);
    uint64_t sequence;

    if (n < 0 && (errno == EAGAIN || errno == ECONNREFUSED))
        return 0;
    if (n < 0)
        sfb_die_errno("recv");
    if (n != f->size)
        sfb_die(SFB_EXIT_CORRUPT, "the answer has %zd bytes, but %d were sent", n, f->size);
    memcpy(&sequence, f->received, SEQUENCE_SIZE);
    if (sequence < f->sequence)
        return 0;
    if (sequence >= f->sequence + (uint64_t)f->burst)
        sfb_die(SFB_EXIT_CORRUPT, "the echo is wrong: an answer to datagram %llu, which was never sent",
                (unsigned long long)sequence);
    sfb_verify(f->sent[sequence - f->sequence], f->received, f->size, 0, sequence);
    return 1;
}

static void run_flow(struct flow *f, struct sfb_run *run, const struct sfb_options *o)
{
    uint64_t last_answer = sfb_now();

    for (;;) {
        uint64_t now, sent_at = sfb_now();
        int answered = 0;
        unsigned spins = 0;

        send_burst(f);
        while (answered < f->burst) {
            answered += receive_one(f);
            if (++spins % 1024 == 0 && sfb_now() - sent_at > LOST_AFTER)
                break;
        }
        now = sfb_now();
        f->sequence += (uint64_t)f->burst;
        if (answered)
            last_answer = now;
        else if (now - last_answer > (uint64_t)(o->timeout * 1e9))
            sfb_die(SFB_EXIT_FAILED, "no answer in %.1f s from %s:%d", o->timeout, o->host, o->port);
        run->lost += run->measuring ? (uint64_t)(f->burst - answered) : 0;
        if (answered == f->burst ? !sfb_run_count(run, sent_at, now) : !sfb_run_tick(run, now))
            return;
    }
}

int sfb_load_udp(const struct sfb_options *o)
{
    struct flow f = {.size = o->size, .burst = o->burst};
    struct sfb_run *run = malloc(sizeof *run);
    struct sockaddr_in address = sfb_address(o);

    if (o->size < SEQUENCE_SIZE || o->size > 65507)
        sfb_die(SFB_EXIT_USAGE, "--size is %d; a datagram of 8 to 65507 bytes is needed", o->size);
    if (o->burst < 1 || o->burst > MAX_BURST)
        sfb_die(SFB_EXIT_USAGE, "--burst is %d; 1 to %d is allowed", o->burst, MAX_BURST);
    f.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (f.fd < 0 || connect(f.fd, (struct sockaddr *)&address, sizeof address))
        sfb_die_errno("UDP socket");
    f.received = malloc((size_t)f.size + 1);
    if (!run || !f.received)
        sfb_die_errno("malloc");
    for (int i = 0; i < f.burst; i++)
        if (!(f.sent[i] = malloc((size_t)f.size)))
            sfb_die_errno("malloc");
    sfb_run_start(run, o);
    run_flow(&f, run, o);
    sfb_run_report(run);
    for (int i = 0; i < f.burst; i++)
        free(f.sent[i]);
    free(f.received);
    free(run);
    close(f.fd);
    return 0;
}
