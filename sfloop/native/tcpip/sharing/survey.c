#define _GNU_SOURCE
#include "survey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void sf_survey_open(struct sf_survey *survey)
{
    survey->fd = sf_others_open();
    survey->state = SF_SURVEY_NONE;
}

void sf_survey_close(struct sf_survey *survey)
{
    if (survey->fd >= 0)
        close(survey->fd);
    survey->fd = -1;
    survey->state = SF_SURVEY_NONE;
}

void sf_survey_free(struct sf_survey *survey)
{
    sf_survey_close(survey);
    free(survey->found);
    survey->found = NULL;
    survey->n = survey->capacity = 0;
}

/* ---- the question ---- */

void sf_survey_begin(struct sf_survey *survey, uint32_t changes)
{
    survey->n = 0;
    survey->changes = changes;
    survey->stale = survey->short_of_memory = false;
    survey->family = AF_INET;
    survey->sequence = 0;
    survey->state = SF_SURVEY_RUNNING;
    memset(survey->ports, 0, sizeof(survey->ports));
}

void sf_survey_add_port(struct sf_survey *survey, uint16_t port)
{
    survey->ports[port / 64] |= (uint64_t)1 << port % 64;
}

bool sf_survey_has_port(const struct sf_survey *survey, uint16_t port)
{
    return survey->ports[port / 64] >> port % 64 & 1;
}

/* ---- the answer ---- */

static bool keep(void *context, const struct sf_other *other)
{
    struct sf_survey *survey = context;

    if (!sf_survey_has_port(survey, other->local_port))
        return true;
    if (survey->n == survey->capacity) {
        uint32_t capacity = survey->capacity ? survey->capacity * 2 : 16;
        struct sf_other *bigger = realloc(survey->found, capacity * sizeof(*bigger));

        survey->short_of_memory = !bigger;
        if (!bigger)
            return false;
        survey->found = bigger;
        survey->capacity = capacity;
    }
    survey->found[survey->n++] = *other;
    return true;
}

static bool end(struct sf_survey *survey, int rc)
{
    survey->state = rc < 0 || survey->short_of_memory ? SF_SURVEY_FAILED : SF_SURVEY_DONE;
    return false;
}

bool sf_survey_step(struct sf_survey *survey)
{
    int rc;

    if (survey->state != SF_SURVEY_RUNNING)
        return false;
    if (survey->fd < 0)
        return end(survey, survey->fd);
    if (!survey->sequence) {
        rc = sf_others_ask(survey->fd, SF_OTHERS_UDP, survey->family, &survey->sequence);
        return rc < 0 ? end(survey, rc) : true;
    }
    rc = sf_others_read_some(survey->fd, SF_OTHERS_UDP, survey->sequence, keep, survey);
    if (rc > 0)
        return true;
    if (rc < 0 && !(survey->family == AF_INET6 && rc == -ENOENT)) /* -ENOENT: this kernel lacks IPv6 */
        return end(survey, rc);
    if (survey->family == AF_INET6)
        return end(survey, 0);
    survey->family = AF_INET6;
    survey->sequence = 0;
    return true;
}
