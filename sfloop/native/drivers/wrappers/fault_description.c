#define _GNU_SOURCE
#include "fault_description.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LONGEST_WORD 64
#define LONGEST_DELAY (10 * SF_SEC)
#define ALLOWED "loss, duplicate, corrupt, reorder (1%%), delay (50us..2ms), rate (100mbit), each also as rx. or tx., and seed"

struct unit {
    const char *name;
    double factor;
};

static const struct unit share_units[] = {{"%", 4294967296.0 / 100}, {NULL, 0}};
static const struct unit time_units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {NULL, 0}};
static const struct unit rate_units[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};

/* Reads digits, with at most one point, and a unit. strtod() is not used, because its decimal point depends on the locale.
 * *end is set to the end of the number. */
static bool parse_number(const char *text, const struct unit *units, const char **end, double *value)
{
    double scale = 0, number = 0;
    const char *at = text;

    for (; (*at >= '0' && *at <= '9') || (*at == '.' && scale == 0 && at[1] != '.'); at++) {
        if (*at == '.') {
            scale = 1;
            continue;
        }
        number = number * 10 + (*at - '0');
        scale *= 10;
    }
    if (at == text || at - text > 15)
        return false;
    if (scale > 1)
        number /= scale;
    for (; units->name; units++) {
        size_t len = strlen(units->name);

        if (strncmp(at, units->name, len) == 0 && (at[len] == 0 || at[len] == '.')) {
            *value = number * units->factor;
            *end = at + len;
            return true;
        }
    }
    return false;
}

static bool parse_share(const char *text, uint64_t *share)
{
    const char *end;
    double value;

    if (!parse_number(text, share_units, &end, &value) || *end || value > 4294967296.0)
        return false;
    *share = (uint64_t)value;
    return true;
}

static bool parse_delay(const char *text, struct fault_direction *d)
{
    const char *end;
    double low, high;

    if (!parse_number(text, time_units, &end, &low))
        return false;
    high = low;
    if (strncmp(end, "..", 2) == 0 && !parse_number(end + 2, time_units, &end, &high))
        return false;
    if (*end || high < low || high > (double)LONGEST_DELAY)
        return false;
    d->delay_min = (sf_ns)low;
    d->delay_max = (sf_ns)high;
    return true;
}

static bool parse_rate(const char *text, uint64_t *rate)
{
    const char *end;
    double value;

    if (!parse_number(text, rate_units, &end, &value) || *end || value < 1 || value > 1e12)
        return false;
    *rate = (uint64_t)value;
    return true;
}

static bool parse_seed(const char *text, uint64_t *seed)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 19; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    *seed = value;
    return at != text && *at == 0;
}

/* Returns 1 on success, 0 for an unknown name, -1 for a bad value. */
static int set_direction(struct fault_direction *d, const char *name, const char *value)
{
    struct {
        const char *name;
        uint64_t *share;
    } shares[] = {
        {"loss", &d->loss}, {"duplicate", &d->duplicate}, {"corrupt", &d->corrupt}, {"reorder", &d->reorder}};

    d->active = true;
    for (int i = 0; i < 4; i++)
        if (strcmp(name, shares[i].name) == 0)
            return parse_share(value, shares[i].share) ? 1 : -1;
    if (strcmp(name, "delay") == 0)
        return parse_delay(value, d) ? 1 : -1;
    if (strcmp(name, "rate") == 0)
        return parse_rate(value, &d->rate) ? 1 : -1;
    return 0;
}

static int set_word(struct fault_description *description, const char *name, const char *value)
{
    int rc;

    if (strcmp(name, "seed") == 0)
        return parse_seed(value, &description->seed) ? 1 : -1;
    if (strncmp(name, "rx.", 3) == 0)
        return set_direction(&description->rx, name + 3, value);
    if (strncmp(name, "tx.", 3) == 0)
        return set_direction(&description->tx, name + 3, value);
    rc = set_direction(&description->rx, name, value);
    return rc == 1 ? set_direction(&description->tx, name, value) : rc;
}

static int describe_word(struct fault_description *description, const char *word, char *message)
{
    char name[LONGEST_WORD];
    const char *equals = strchr(word, '=');
    int rc = 0;

    if (equals) {
        snprintf(name, sizeof(name), "%.*s", (int)(equals - word), word);
        rc = set_word(description, name, equals + 1);
    }
    if (rc == 1)
        return 0;
    if (rc == 0)
        snprintf(message, SF_DRIVER_ERROR_SIZE, "fault: \"%s\" is unknown; allowed are " ALLOWED, word);
    else
        snprintf(message, SF_DRIVER_ERROR_SIZE,
                 "fault: \"%s\" has a value that is not allowed; examples of allowed ones are loss=0.5%%, delay=50us..2ms "
                 "(at most 10s), rate=100mbit, seed=7", word);
    return -EINVAL;
}

int sf_fault_describe(const char *text, struct fault_description *description, char *message)
{
    memset(description, 0, sizeof(*description));
    while (text && *text) {
        size_t len = strcspn(text, ",");
        char word[LONGEST_WORD];
        int rc;

        snprintf(word, sizeof(word), "%.*s", (int)(len < LONGEST_WORD ? len : LONGEST_WORD - 1), text);
        rc = describe_word(description, word, message);
        if (rc)
            return rc;
        text += len;
        text += *text == ',';
    }
    return 0;
}
