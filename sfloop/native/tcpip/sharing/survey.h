/*
 * A list of the UDP sockets that this network namespace has at the stack's ports, from sock_diag(7). For one answer the kernel goes
 * over all its sockets, which takes 0.4 ms with 5,000 sockets. So each slice reads one datagram of the answer, in about 20 us.
 */
#ifndef SF_TCPIP_SHARING_SURVEY_H
#define SF_TCPIP_SHARING_SURVEY_H

#include "others.h"

enum sf_survey_state { SF_SURVEY_NONE, SF_SURVEY_RUNNING, SF_SURVEY_DONE, SF_SURVEY_FAILED };

struct sf_survey {
    int fd;        /* the survey's own, because an answer may be under way; -1: refused */
    uint8_t state; /* enum sf_survey_state */
    bool stale;    /* a program has bound a socket to a watched port since the survey began */
    bool short_of_memory;
    uint8_t family; /* of the question under way: AF_INET, then AF_INET6 */
    uint32_t sequence;
    uint32_t changes; /* the driver's port_changes() before the question */
    struct sf_other *found; /* includes this stack's own sockets */
    uint32_t n, capacity;
    uint64_t ports[65536 / 64]; /* a bit for each port in network byte order: keep its sockets */
};

void sf_survey_open(struct sf_survey *);
void sf_survey_close(struct sf_survey *);
void sf_survey_free(struct sf_survey *);
/* Forgets the last answer. Add ports before the first slice. No answer may be under way, because the kernel refuses a
 * second question then. */
void sf_survey_begin(struct sf_survey *, uint32_t changes);
void sf_survey_add_port(struct sf_survey *, uint16_t port);
bool sf_survey_has_port(const struct sf_survey *, uint16_t port);
/* Does one slice. False: the survey is done or has failed. */
bool sf_survey_step(struct sf_survey *);

#endif
