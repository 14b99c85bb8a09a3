/* Attributes (the vendor's that sfloop or its tests set, and the simulator's own), and faults. */
#define _GNU_SOURCE
#include "sim.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

SIM_API int zf_attr_alloc(struct zf_attr **);
SIM_API void zf_attr_free(struct zf_attr *);
SIM_API int zf_attr_set_int(struct zf_attr *, const char *, int64_t);
SIM_API int zf_attr_get_int(struct zf_attr *, const char *, int64_t *);
SIM_API int zf_attr_get_str(struct zf_attr *, const char *, char **);
SIM_API int zf_attr_set_from_str(struct zf_attr *, const char *, const char *);
SIM_API int zf_attr_doc(const char *, const char ***, int *);

static const struct {
    const char *name, *type, *by_default;
    int64_t number, least, most;
} known[] = {
    {"interface", "str", "none", 0, 0, 0},
    {"n_bufs", "int", "0", 0, 0, 32768},
    {"max_tcp_endpoints", "int", "64", 64, 1, 64},
    {"max_tcp_listen_endpoints", "int", "16", 16, 1, 64},
    {"max_udp_rx_endpoints", "int", "64", 64, 0, 64},
    {"max_udp_tx_endpoints", "int", "64", 64, 0, 64},
    {"reactor_spin_count", "int", "128", 128, 1, 1 << 30},
    {"pio", "int", "3", 3, 0, 3},
    {"ctpio", "int", "1", 1, 0, 2},
    {"ctpio_mode", "str", "sf-np", 0, 0, 0},
    {"rx_timestamping", "int", "0", 0, 0, 1},
    {"tx_timestamping", "int", "0", 0, 0, 1},
    {"tcp_timewait_ms", "int", "120000", 120000, 0, 1 << 30},
    {"tcp_finwait_ms", "int", "60000", 60000, 0, 1 << 30},
    {"tcp_delayed_ack", "int", "1", 1, 0, 1},
    {"tcp_syn_retries", "int", "6", 6, 0, 127},
    {"tcp_retries", "int", "15", 15, 0, 127},
    {"udp_ttl", "int", "64", 64, 1, 255},
    {"arp_reply_timeout", "int", "1000", 1000, 0, 1 << 30},
    {"sim_wire", "str", "none", 0, 0, 0},
    {"sim_address", "str", "127.0.0.1", 0, 0, 0},
    {"sim_fault", "str", "none", 0, 0, 0},
};

enum { KNOWN = sizeof(known) / sizeof(known[0]) };

int sim_attr_index(const char *name)
{
    for (int i = 0; i < KNOWN; i++)
        if (!strcasecmp(known[i].name, name))
            return i;
    return -ENOENT;
}

static bool is_text(int i)
{
    return known[i].type[0] == 's';
}

int64_t sim_number(const struct zf_attr *attr, const char *name)
{
    return attr->number[sim_attr_index(name)];
}

const char *sim_text(const struct zf_attr *attr, const char *name)
{
    const char *text = attr->text[sim_attr_index(name)];

    return text[0] ? text : NULL;
}

int zf_attr_set_int(struct zf_attr *attr, const char *name, int64_t value)
{
    int i = sim_attr_index(name);

    if (i < 0)
        return i;
    if (is_text(i))
        return -EINVAL;
    if (value < known[i].least || value > known[i].most)
        return -EOVERFLOW;
    attr->number[i] = value;
    return 0;
}

int zf_attr_set_from_str(struct zf_attr *attr, const char *name, const char *value)
{
    int i = sim_attr_index(name);
    char *end;

    if (i < 0)
        return i;
    if (is_text(i)) {
        snprintf(attr->text[i], SIM_TEXT, "%s", value);
        return 0;
    }
    return *value && (attr->number[i] = strtoll(value, &end, 0), !*end) ? zf_attr_set_int(attr, name, attr->number[i]) : -EINVAL;
}

int zf_attr_get_int(struct zf_attr *attr, const char *name, int64_t *value)
{
    int i = sim_attr_index(name);

    if (i < 0 || is_text(i))
        return i < 0 ? i : -EINVAL;
    *value = attr->number[i];
    return 0;
}

int zf_attr_get_str(struct zf_attr *attr, const char *name, char **value)
{
    int i = sim_attr_index(name);

    if (i < 0 || !is_text(i))
        return i < 0 ? i : -EINVAL;
    *value = attr->text[i][0] ? strdup(attr->text[i]) : NULL;
    return 0;
}

static int from_environment(struct zf_attr *attr)
{
    char *all = strdup(getenv("ZF_ATTR") ? getenv("ZF_ATTR") : ""), *rest = all, *item;
    int rc = 0;

    while (rc == 0 && (item = strsep(&rest, ";"))) {
        char *value = strchr(item, '=');

        if (!*item)
            continue;
        if (!value) {
            rc = -EINVAL;
            break;
        }
        *value++ = 0;
        rc = zf_attr_set_from_str(attr, item, value) < 0 ? -EINVAL : 0;
    }
    free(all);
    return rc;
}

int zf_attr_alloc(struct zf_attr **out)
{
    struct zf_attr *attr = calloc(1, sizeof(*attr));
    int rc;

    _Static_assert(KNOWN <= 64, "struct zf_attr");
    for (int i = 0; i < KNOWN; i++)
        attr->number[i] = known[i].number;
    strcpy(attr->text[sim_attr_index("sim_address")], "127.0.0.1");
    rc = from_environment(attr);
    if (rc < 0) {
        free(attr);
        return rc;
    }
    *out = attr;
    return 0;
}

void zf_attr_free(struct zf_attr *attr)
{
    free(attr);
}

int zf_attr_doc(const char *name, const char ***out, int *n)
{
    int i;

    if (!name || !*name) {
        *out = malloc(KNOWN * sizeof(char *));
        for (i = 0; i < KNOWN; i++)
            (*out)[i] = known[i].name;
        *n = KNOWN;
        return 0;
    }
    i = sim_attr_index(name);
    if (i < 0)
        return i;
    *n = 6;
    *out = malloc(6 * sizeof(char *));
    memcpy(*out, (const char *[]){known[i].name, known[i].type, "stable", known[i].by_default, "zf_stack", "of the simulator."},
           6 * sizeof(char *));
    return 0;
}

/* ---- faults ---- */

static struct {
    char function[48];
    int error, times;
} faults[16];
bool sim_any_faults;

void sim_faults_set(const char *description)
{
    char *all = strdup(description ? description : ""), *rest = all, *item;
    int n = 0;

    memset(faults, 0, sizeof(faults));
    while (n < 16 && (item = strsep(&rest, ",")))
        if (sscanf(item, "%47[a-z_]:%d:%d", faults[n].function, &faults[n].error, &faults[n].times) == 3)
            n++;
    sim_any_faults = n > 0;
    free(all);
}

int sim_fault(const char *function)
{
    for (int i = 0; i < 16 && faults[i].function[0]; i++) {
        if (strcmp(faults[i].function, function) || !faults[i].times)
            continue;
        faults[i].times--;
        return -faults[i].error;
    }
    return 0;
}
