/* Filters: the choice of frames that the NIC gives to the virtual interface. The kernel gets all others. */
#define _GNU_SOURCE
#include "efsim.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

enum { NOTHING, IP4_LOCAL, IP4_FULL, PORT_SNIFF };

void ef_filter_spec_init(ef_filter_spec *spec, enum ef_filter_flags flags)
{
    memset(spec, 0, sizeof(*spec));
    spec->flags = flags;
}

static int set(ef_filter_spec *spec, unsigned type, int protocol)
{
    if (spec->type != NOTHING || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
        return -EPROTONOSUPPORT;
    spec->type = type;
    spec->data[0] = (unsigned)protocol;
    return 0;
}

int ef_filter_spec_set_ip4_local(ef_filter_spec *spec, int protocol, unsigned host_be32, int port_be16)
{
    int rc = set(spec, IP4_LOCAL, protocol);

    EFSIM_MUST(host_be32 && port_be16, "a filter has no wildcards");
    spec->data[1] = host_be32;
    spec->data[2] = (unsigned)port_be16 & 0xffff;
    return rc;
}

int ef_filter_spec_set_ip4_full(ef_filter_spec *spec, int protocol, unsigned host_be32, int port_be16, unsigned remote_be32,
                                int remote_port_be16)
{
    int rc = set(spec, IP4_FULL, protocol);

    EFSIM_MUST(host_be32 && port_be16 && remote_be32 && remote_port_be16, "a filter has no wildcards");
    spec->data[1] = host_be32;
    spec->data[2] = (unsigned)port_be16 & 0xffff;
    spec->data[3] = remote_be32;
    spec->data[4] = (unsigned)remote_port_be16 & 0xffff;
    return rc;
}

int ef_filter_spec_set_port_sniff(ef_filter_spec *spec, int promiscuous)
{
    if (spec->type != NOTHING)
        return -EPROTONOSUPPORT;
    spec->type = PORT_SNIFF;
    spec->data[0] = promiscuous != 0;
    return 0;
}

int ef_vi_filter_add(ef_vi *vi, ef_driver_handle handle, const ef_filter_spec *spec, ef_filter_cookie *cookie)
{
    struct efsim_nic *nic = vi->sim->nic;
    int place = -1;

    (void)handle;
    EFSIM_MUST(spec->type != NOTHING, "the filter has no criteria");
    EFSIM_MUST(nic->options.arch != EF_VI_ARCH_EF10CT || spec->type == PORT_SNIFF || spec->flags & EF_FILTER_FLAG_REQUEST_WAKEUPS,
               "the queue of an X4 wakes no sleeper without EF_FILTER_FLAG_REQUEST_WAKEUPS");
    if (vi->sim->halted)
        return -ENETDOWN;
    if (spec->type == PORT_SNIFF && nic->faults.unprivileged)
        return -EPERM;
    if (nic->faults.no_filters)
        return -EBUSY;
    for (int i = EFSIM_FILTERS - 1; i >= 0; i--) {
        struct efsim_filter *f = &nic->filters[i];

        if (!f->used)
            place = i;
        else if (f->type == spec->type && memcmp(f->data, spec->data, sizeof(f->data)) == 0)
            return -EEXIST;
    }
    if (place < 0)
        return -EBUSY;
    nic->filters[place] = (struct efsim_filter){.used = true, .type = spec->type};
    memcpy(nic->filters[place].data, spec->data, sizeof(spec->data));
    nic->n_filters++;
    nic->sniffing += spec->type == PORT_SNIFF;
    *cookie = (ef_filter_cookie){.filter_id = place, .filter_type = (int)spec->type};
    return 0;
}

int ef_vi_filter_del(ef_vi *vi, ef_driver_handle handle, ef_filter_cookie *cookie)
{
    struct efsim_nic *nic = vi->sim->nic;
    struct efsim_filter *f = &nic->filters[cookie->filter_id];

    (void)handle;
    EFSIM_MUST(cookie->filter_id >= 0 && cookie->filter_id < EFSIM_FILTERS && f->used && f->type == (unsigned)cookie->filter_type,
               "filter %d is not set", cookie->filter_id);
    f->used = false;
    nic->n_filters--;
    nic->known.protocol = 0;
    nic->sniffing -= f->type == PORT_SNIFF;
    return 0;
}

/* ---- matching: IPv4, at most one VLAN tag, no fragments ---- */

static bool matches(const struct efsim_filter *f, const uint8_t *ip, const uint8_t *ports)
{
    if (!f->used || f->type == PORT_SNIFF || f->data[0] != ip[9] || f->data[1] != sf_load32(ip + 16) ||
        f->data[2] != sf_load16(ports + 2))
        return false;
    return f->type == IP4_LOCAL || (f->data[3] == sf_load32(ip + 12) && f->data[4] == sf_load16(ports));
}

bool efsim_wants(struct efsim_nic *nic, const uint8_t *frame, uint32_t len)
{
    uint32_t at = len >= 18 && frame[12] == 0x81 && frame[13] == 0 ? 18 : 14, header;

    if (nic->sniffing)
        return true;
    if (len < at + 24 || frame[at - 2] != 8 || frame[at - 1] != 0 || frame[at] >> 4 != 4)
        return false;
    header = (frame[at] & 15u) * 4;
    if (header < 20 || len < at + header + 4 || (frame[at + 6] & 0x3f) || frame[at + 7])
        return false;
    for (int i = 0, seen = 0; i < EFSIM_FILTERS && seen < nic->n_filters; i++) {
        seen += nic->filters[i].used;
        if (!matches(&nic->filters[i], frame + at, frame + at + header))
            continue;
        nic->known = (struct efsim_known){sf_load64(frame + at + 12), sf_load32(frame + at + header), frame[at + 9]};
        return true;
    }
    return false;
}
