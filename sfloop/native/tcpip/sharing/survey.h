/*
 * The UDP sockets that this network namespace has on the stack's ports, by sock_diag(7), read in slices: the kernel goes over all its
 * sockets for one answer, 0.4 ms with 5,000 of them, so one datagram of the answer is read at a time, which is 20 us.
 */
#ifndef SF_TCPIP_SHARING_SURVEY_H
#define SF_TCPIP_SHARING_SURVEY_H

#include "others.h"

enum sf_survey_state { SF_SURVEY_NONE, SF_SURVEY_RUNNING, SF_SURVEY_DONE, SF_SURVEY_FAILED };

struct sf_survey {
    int fd;        /* to ask by; -1: refused. Nothing else asks by it, since an answer may be under way */
    uint8_t state; /* enum sf_survey_state */
    bool stale;    /* something has changed since it began */
    bool short_of_memory;
    uint8_t family; /* that is asked about */
    uint32_t sequence;
    uint32_t changes; /* the driver's port_changes() before the question */
    struct sf_other *found; /* this stack's own sockets, too */
    uint32_t n, capacity;
    uint64_t ports[65536 / 64]; /* those asked about, by network byte order */
};

void sf_survey_open(struct sf_survey *);
void sf_survey_close(struct sf_survey *);
void sf_survey_free(struct sf_survey *);
/* Forgets the last answer. Add ports before the first slice. No answer may be under way, because the kernel refuses a
 * second question then. */
void sf_survey_begin(struct sf_survey *, uint32_t changes);
void sf_survey_add_port(struct sf_survey *, uint16_t port);
bool sf_survey_has_port(const struct sf_survey *, uint16_t port);
/* One slice. False: the answer is complete, or there is none. */
bool sf_survey_step(struct sf_survey *);

#endif
