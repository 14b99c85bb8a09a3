/* Declarations that all parts of the load generator and the reference servers share. */
#ifndef SFB_COMMON_H
#define SFB_COMMON_H

#include "histogram.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

enum {
    SFB_EXIT_FAILED = 1,  /* a system call failed, or the server did not answer in time */
    SFB_EXIT_USAGE = 2,
    SFB_EXIT_CORRUPT = 3, /* the server answered with wrong bytes */
};

struct sfb_options {
    const char *host;
    int port;
    int connections;
    int size;         /* bytes of one message */
    int burst;        /* datagrams to send before waiting for the answers */
    double seconds;   /* length of the measurement, after the warm-up */
    double warmup;    /* seconds */
    long messages;    /* stop after this number of messages instead of after `seconds`; 0: no limit */
    double rate;      /* datagrams per second of the flood; 0: as many as possible */
    double timeout;   /* seconds without an answer after which the run has failed */
    int cpu;          /* -1: not pinned */
    bool spin;        /* reference servers: poll instead of blocking */
    const char *path; /* of the HTTP request */
    const char *ca;   /* file of the certificate authority that signed the TLS server's certificate */
    const char *certificate; /* file of the TLS server's certificate and key */
    const char *interface; /* by which the feed leaves */
    const char *second;    /* the relay's second interface */
    double delay, loss;    /* the relay's, in ms and percent */
    const char *group;     /* multicast group that the flood's reference server receives; NULL: none */
};

/* A run: a warm-up, then the measurement until the end. */
struct sfb_run {
    uint64_t begin, end; /* of the measurement, ns of CLOCK_MONOTONIC */
    uint64_t length;     /* ns */
    bool measuring;
    uint64_t count, lost;
    long messages_left;
    struct rusage usage;
    struct sfb_histogram histogram;
};

static inline uint64_t sfb_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

_Noreturn void sfb_die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Dies with the text of errno. */
_Noreturn void sfb_die_errno(const char *what);

void sfb_pin(int cpu);
void sfb_raise_file_limit(void);
struct sockaddr_in sfb_address(const struct sfb_options *o);
/* Returns a connected TCP socket with TCP_NODELAY, non-blocking if `nonblocking`. */
int sfb_connect_tcp(const struct sfb_options *o, bool nonblocking);
/* A non-blocking socket that listens at the address. */
int sfb_listen_tcp(const struct sfb_options *o);
void sfb_set_nonblocking(int fd);
/* Both die with the reason if the kernel refuses. The descriptor's events carry `pointer`. */
int sfb_epoll_new(void);
void sfb_epoll_add(int epoll, int fd, uint32_t events, void *pointer);
void sfb_epoll_change(int epoll, int fd, uint32_t events, void *pointer);
/* Reads the IPv4 address and the hardware address of an interface. `fd` is any socket. */
struct sockaddr_in sfb_interface_address(int fd, const char *interface, unsigned char *mac);
/* Writes the address of a bound socket as the line from which the bench reads where to connect. */
void sfb_announce(int fd);

void sfb_run_start(struct sfb_run *run, const struct sfb_options *o);
/* Counts one answered message; false when the run is over. */
bool sfb_run_count(struct sfb_run *run, uint64_t sent_at, uint64_t answered_at);
/* Moves the run from warm-up to measurement and to its end as time passes; false when it is over. */
bool sfb_run_tick(struct sfb_run *run, uint64_t now);
/* Writes the result to standard output, as one JSON object. */
void sfb_run_report(struct sfb_run *run);

/* Fills a message with bytes that differ from message to message and from connection to connection. */
void sfb_fill(unsigned char *message, int size, uint64_t connection, uint64_t sequence);
/* Turns a filled message into the next one. A large message changes only at both ends, because filling 64 KiB takes longer than the
 * echo. */
void sfb_renew(unsigned char *message, int size, uint64_t connection, uint64_t sequence);
/* Dies with SFB_EXIT_CORRUPT and the position of the first difference, unless both are equal. */
void sfb_verify(const unsigned char *sent, const unsigned char *received, int size, uint64_t connection,
                uint64_t sequence);

int sfb_load_tcp(const struct sfb_options *o);
int sfb_load_udp(const struct sfb_options *o);
int sfb_load_http(const struct sfb_options *o);
int sfb_load_tls(const struct sfb_options *o);
int sfb_load_tls_handshakes(const struct sfb_options *o);
int sfb_load_tls_idle(const struct sfb_options *o);
int sfb_load_tls_source(const struct sfb_options *o);
int sfb_load_ws(const struct sfb_options *o);
int sfb_serve_tls(const struct sfb_options *o);
int sfb_tls_records(const struct sfb_options *o);
int sfb_load_flood(const struct sfb_options *o);
int sfb_load_feed(const struct sfb_options *o);
int sfb_load_replay(const struct sfb_options *o);
int sfb_load_idle(const struct sfb_options *o);
int sfb_relay(const struct sfb_options *o);
int sfb_serve_tcp(const struct sfb_options *o);
int sfb_serve_udp(const struct sfb_options *o);
int sfb_serve_flood(const struct sfb_options *o);
int sfb_spin_tcp(const struct sfb_options *o);
int sfb_spin_udp(const struct sfb_options *o);
int sfb_spin_sink(const struct sfb_options *o);
int sfb_serve_xdp(const struct sfb_options *o);
int sfb_zf_udp(const struct sfb_options *o);
int sfb_zf_tcp(const struct sfb_options *o);
int sfb_zf_idle(const struct sfb_options *o);

#endif
