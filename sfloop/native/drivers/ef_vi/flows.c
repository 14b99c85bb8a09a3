/*
 * Flows: a hardware filter for each. A unicast flow is then ours alone. The kernel and others still get their copies of a
 * multicast group. Fragments match no filter and stay with the kernel.
 *
 * A filter has no wildcard. A flow to any local address has a filter for each address of the interface. The addresses are read
 * again at intervals.
 */
#define _GNU_SOURCE
#include "driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>

#define BUCKETS 1024u

static uint32_t bucket_of(uint8_t protocol, uint16_t local_port)
{
    return (ntohs(local_port) ^ (uint32_t)protocol << 4) % BUCKETS;
}

static bool same_flow(const struct sf_flow *a, const struct sf_flow *b)
{
    return a->local_port == b->local_port && a->local_addr == b->local_addr && a->remote_addr == b->remote_addr &&
           a->remote_port == b->remote_port && a->protocol == b->protocol;
}

static struct efvi_flow *find(struct efvi *d, const struct sf_flow *flow)
{
    int i = d->buckets[bucket_of(flow->protocol, flow->local_port)];

    while (i >= 0 && !same_flow(&d->flows[i].flow, flow))
        i = d->flows[i].next;
    return i < 0 ? NULL : &d->flows[i];
}

/* ---- filters in the NIC ---- */

static int set_spec(ef_filter_spec *spec, const struct sf_flow *flow, uint32_t local)
{
    if (flow->remote_addr)
        return ef_filter_spec_set_ip4_full(spec, flow->protocol, local, flow->local_port, flow->remote_addr,
                                           flow->remote_port);
    return ef_filter_spec_set_ip4_local(spec, flow->protocol, local, flow->local_port);
}

static enum ef_filter_flags filter_flags(const struct efvi *d)
{
    if (d->mode.exclusive)
        return EF_FILTER_FLAG_EXCLUSIVE_RXQ;
    /* The X4's queues send no wake-ups unless requested. */
    return d->vi.nic_type.arch == EF_VI_ARCH_EF10CT ? EFVI_FILTER_WAKEUPS : EF_FILTER_FLAG_NONE;
}

static int set_filter(struct efvi *d, struct efvi_flow *f, uint32_t local)
{
    ef_filter_spec spec;
    int rc;

    if (f->n == EFVI_FLOW_ADDRS)
        return -ENOSPC;
    ef_filter_spec_init(&spec, filter_flags(d));
    rc = set_spec(&spec, &f->flow, local);
    if (rc == 0)
        rc = ef_vi_filter_add(&d->vi, d->handle, &spec, &f->cookies[f->n]);
    if (rc < 0)
        return rc == -EBUSY || rc == -ENOMEM ? -ENOSPC : rc == -EPROTONOSUPPORT ? -EOPNOTSUPP : rc;
    f->addrs[f->n++] = local;
    return 0;
}

static void unset_filter(struct efvi *d, struct efvi_flow *f, int i)
{
    if (d->has_vi)
        ef_vi_filter_del(&d->vi, d->handle, &f->cookies[i]);
    f->n--;
    f->addrs[i] = f->addrs[f->n];
    f->cookies[i] = f->cookies[f->n];
}

static void unset_all(struct efvi *d, struct efvi_flow *f)
{
    while (f->n)
        unset_filter(d, f, f->n - 1);
}

static int read_addresses(const struct efvi *d, uint32_t *addrs)
{
    struct ifaddrs *all, *each;
    int n = 0;

    if (getifaddrs(&all) < 0)
        return -errno;
    for (each = all; each && n < EFVI_FLOW_ADDRS; each = each->ifa_next)
        if (each->ifa_addr && each->ifa_addr->sa_family == AF_INET && strcmp(each->ifa_name, d->name) == 0)
            addrs[n++] = ((struct sockaddr_in *)(void *)each->ifa_addr)->sin_addr.s_addr;
    freeifaddrs(all);
    return n;
}

static bool holds(const uint32_t *addrs, int n, uint32_t addr)
{
    for (int i = 0; i < n; i++)
        if (addrs[i] == addr)
            return true;
    return false;
}

static int match_addresses(struct efvi *d, struct efvi_flow *f)
{
    uint32_t addrs[EFVI_FLOW_ADDRS];
    int n = read_addresses(d, addrs), rc = 0;

    if (n < 0)
        return n;
    for (int i = f->n - 1; i >= 0; i--)
        if (!holds(addrs, n, f->addrs[i]))
            unset_filter(d, f, i);
    for (int i = 0; i < n && rc == 0; i++)
        if (!holds(f->addrs, f->n, addrs[i]))
            rc = set_filter(d, f, addrs[i]);
    return rc;
}

static int set_filters(struct efvi *d, struct efvi_flow *f)
{
    int rc = f->flow.local_addr ? set_filter(d, f, f->flow.local_addr) : match_addresses(d, f);

    if (rc < 0)
        unset_all(d, f);
    return rc;
}

/* ---- the table ---- */

static bool is_possible(const struct sf_flow *flow)
{
    return (flow->protocol == IPPROTO_UDP || flow->protocol == IPPROTO_TCP) && flow->local_port &&
           !flow->remote_addr == !flow->remote_port;
}

static struct efvi_flow *take_entry(struct efvi *d)
{
    for (int i = 0; i < EFVI_FLOWS; i++)
        if (!d->flows[i].used)
            return &d->flows[i];
    return NULL;
}

/* While the NIC is away, only notes the flow. Its filter is set with the others when the NIC is back. */
int efvi_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    struct efvi *d = efvi_of(driver);
    struct efvi_flow *f;
    uint32_t bucket = bucket_of(flow->protocol, flow->local_port);
    int rc;

    if (!is_possible(flow) || flow->flags & SF_FLOW_KERNEL) /* a NIC's filter has no exceptions */
        return -EOPNOTSUPP;
    if (find(d, flow))
        return -EEXIST;
    f = take_entry(d);
    if (!f)
        return -ENOSPC;
    *f = (struct efvi_flow){.flow = *flow, .next = d->buckets[bucket]};
    rc = d->state == EFVI_UP ? set_filters(d, f) : 0;
    if (rc < 0)
        return rc;
    f->used = true;
    d->buckets[bucket] = (int)(f - d->flows);
    d->n_any += !flow->local_addr;
    return 0;
}

int efvi_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    struct efvi *d = efvi_of(driver);
    struct efvi_flow *f = find(d, flow);
    int *link;

    if (!f)
        return -ENOENT;
    for (link = &d->buckets[bucket_of(flow->protocol, flow->local_port)]; &d->flows[*link] != f;)
        link = &d->flows[*link].next;
    *link = f->next;
    unset_all(d, f);
    f->used = false;
    d->n_any -= !flow->local_addr;
    return 0;
}

void efvi_flows_follow_addresses(struct efvi *d)
{
    for (int i = 0; d->n_any && i < EFVI_FLOWS; i++)
        if (d->flows[i].used && !d->flows[i].flow.local_addr)
            match_addresses(d, &d->flows[i]); /* a refused filter is tried again the next time */
}

int efvi_flows_open(struct efvi *d)
{
    d->flows = calloc(EFVI_FLOWS, sizeof(*d->flows));
    d->buckets = malloc(BUCKETS * sizeof(*d->buckets));
    if (!d->flows || !d->buckets)
        return -ENOMEM;
    for (uint32_t i = 0; i < BUCKETS; i++)
        d->buckets[i] = -1;
    return 0;
}

void efvi_flows_close(struct efvi *d)
{
    free(d->flows);
    free(d->buckets);
}

void efvi_flows_remove(struct efvi *d)
{
    if (d->rx.sniffing && d->has_vi)
        ef_vi_filter_del(&d->vi, d->handle, &d->sniff);
    for (int i = 0; d->flows && i < EFVI_FLOWS; i++)
        if (d->flows[i].used)
            unset_all(d, &d->flows[i]);
}

/* ---- sniffing ---- */

static int set_sniff(struct efvi *d)
{
    ef_filter_spec spec;
    int rc;

    ef_filter_spec_init(&spec, EF_FILTER_FLAG_NONE);
    rc = ef_filter_spec_set_port_sniff(&spec, 1);
    if (rc == 0)
        rc = ef_vi_filter_add(&d->vi, d->handle, &spec, &d->sniff);
    return rc == -EPROTONOSUPPORT ? -EOPNOTSUPP : rc;
}

int efvi_sniff(struct sf_driver *driver, bool on)
{
    struct efvi *d = efvi_of(driver);
    int rc = 0;

    if (d->rx.sniffing == on)
        return 0;
    if (d->state == EFVI_UP)
        rc = on ? set_sniff(d) : ef_vi_filter_del(&d->vi, d->handle, &d->sniff);
    if (rc < 0)
        return rc;
    d->rx.sniffing = on;
    return 0;
}

int efvi_flows_restore(struct efvi *d)
{
    int rc = d->rx.sniffing ? set_sniff(d) : 0;

    for (int i = 0; i < EFVI_FLOWS && rc == 0; i++)
        if (d->flows[i].used)
            rc = set_filters(d, &d->flows[i]);
    return rc;
}

/* ---- in software ---- */

struct headers {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint8_t protocol;
};

/* Accepts the frames that the hardware matches: IPv4 with at most one VLAN tag, TCP or UDP, no fragment. */
static bool read_headers(const uint8_t *frame, uint32_t len, struct headers *h)
{
    uint32_t at = SF_ETHERNET_HEADER, header;

    if (len >= at + SF_VLAN_TAG && frame[12] == 0x81 && frame[13] == 0)
        at += SF_VLAN_TAG;
    if (len < at + 20 || frame[at - 2] != 0x08 || frame[at - 1] != 0 || frame[at] >> 4 != 4)
        return false;
    header = (frame[at] & 15u) * 4;
    if (header < 20 || len < at + header + 4 || (frame[at + 6] & 0x3f) || frame[at + 7])
        return false;
    h->protocol = frame[at + 9];
    memcpy(&h->src, frame + at + 12, 4);
    memcpy(&h->dst, frame + at + 16, 4);
    memcpy(&h->src_port, frame + at + header, 2);
    memcpy(&h->dst_port, frame + at + header + 2, 2);
    return h->protocol == IPPROTO_UDP || h->protocol == IPPROTO_TCP;
}

bool efvi_flows_match(const struct efvi *d, const uint8_t *frame, uint32_t len)
{
    struct headers h;

    if (d->rx.sniffing)
        return true;
    if (!read_headers(frame, len, &h))
        return false;
    for (int i = d->buckets[bucket_of(h.protocol, h.dst_port)]; i >= 0; i = d->flows[i].next) {
        const struct efvi_flow *f = &d->flows[i];

        if (f->flow.protocol == h.protocol && f->flow.local_port == h.dst_port && holds(f->addrs, f->n, h.dst) &&
            (!f->flow.remote_addr || (f->flow.remote_addr == h.src && f->flow.remote_port == h.src_port)))
            return true;
    }
    return false;
}
