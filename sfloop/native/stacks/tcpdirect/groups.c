/*
 * Multicast groups. The program joins them with its kernel socket, before or after the endpoint is created, so the kernel is
 * asked for them: often at first, then once a second. The zfur is bound to groups joined on our interface. A filter on the kernel
 * socket drops the second copies. Fragments pass it, because the NIC does not bring them.
 */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_AT_FIRST (50 * SF_MS)
#define AT_FIRST (2 * SF_SEC)
#define AGAIN SF_SEC
#define SOURCES 32
#define MEMBERS 128

/* ---- the joined groups ---- */

/* Reads the groups that any program has joined on our interface from /proc/net/igmp, in host byte order. */
static int groups_of_interface(const struct td_stack *t, uint32_t *out, int max)
{
    FILE *file = fopen("/proc/net/igmp", "re");
    char line[256];
    bool ours = false;
    int n = 0;

    if (!file)
        return 0;
    while (n < max && fgets(line, sizeof(line), file)) {
        if (line[0] != '\t' && line[0] != ' ')
            ours = atoi(line) == t->ifindex;
        else if (ours)
            out[n++] = (uint32_t)strtoul(line, NULL, 16);
    }
    fclose(file);
    return n;
}

static void note(struct td_udp *u, uint32_t group, uint32_t source)
{
    for (int i = 0; i < u->n_groups; i++) {
        if (u->groups[i].group == group && u->groups[i].source == source) {
            u->groups[i].seen = true;
            return;
        }
    }
    if (u->n_groups < TD_GROUPS) /* the kernel receives a 17th */
        u->groups[u->n_groups++] = (struct td_group){.group = group, .source = source, .seen = true};
}

/* Notes the sources of a group. The kernel receives a group with excluded sources, because TCPDirect has no such filter. */
static void ask(struct td_stack *t, struct td_udp *u, uint32_t group, uint32_t interface)
{
    struct {
        struct ip_msfilter filter;
        struct in_addr more[SOURCES];
    } space = {.filter = {.imsf_multiaddr.s_addr = group, .imsf_interface.s_addr = interface, .imsf_numsrc = SOURCES}};
    struct ip_msfilter *filter = &space.filter;
    socklen_t len = IP_MSFILTER_SIZE(SOURCES);
    uint32_t source;

    (void)t;
    if (getsockopt(u->fd, IPPROTO_IP, IP_MSFILTER, filter, &len) < 0 || filter->imsf_numsrc > SOURCES)
        return;
    if (filter->imsf_fmode == MCAST_EXCLUDE) {
        if (!filter->imsf_numsrc)
            note(u, group, 0);
        return;
    }
    for (uint32_t i = 0; i < filter->imsf_numsrc; i++) {
        memcpy(&source, (char *)filter + IP_MSFILTER_SIZE(i), sizeof(source));
        note(u, group, source);
    }
}

/* ---- the zfur and the kernel's filter ---- */

static int change(struct td_stack *t, struct td_udp *u, const struct td_group *g, bool join)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = g->group, .sin_port = u->local_port};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = g->source};
    const struct sockaddr *from = g->source ? (const struct sockaddr *)&remote : NULL;
    socklen_t len = g->source ? sizeof(remote) : 0;
    int before = 0, rc;
    socklen_t option_len = sizeof(before);

    if (!join)
        return t->zf.zfur_addr_unbind(u->ur, (struct sockaddr *)&local, sizeof(local), from, len, 0);
    getsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &before, &option_len);
    setsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    rc = t->zf.zfur_addr_bind(u->ur, (struct sockaddr *)&local, sizeof(local), from, len, 0);
    setsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &before, sizeof(before));
    return rc;
}

/* Drops datagrams that arrive on our interface in one frame, to a group that the zfur has. The offsets are relative to the UDP
 * header. SKF_NET_OFF reaches the IP header. */
static void filter_kernel(struct td_stack *t, struct td_udp *u)
{
    struct sock_filter code[TD_GROUPS + 8];
    unsigned short n = 0;
    struct sock_fprog program = {.filter = code};

    if (!u->n_groups) {
        setsockopt(u->fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int));
        return;
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)t->ifindex, 0, (uint8_t)(u->n_groups + 3));
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, t->mtu - 20, (uint8_t)(u->n_groups + 1), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + 16));
    for (int i = 0; i < u->n_groups; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(u->groups[i].group),
                                                 (uint8_t)(u->n_groups - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    program.len = n;
    setsockopt(u->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

void td_groups_refresh(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    struct td_udp *u = &s->udp;
    uint32_t groups[MEMBERS];
    int known = u->n_groups, kept = 0, n;
    bool changed = false;

    if (!u->multicast || t->dead)
        return;
    if (!u->groups_busy_until)
        u->groups_busy_until = t->now + AT_FIRST;
    u->groups_due = t->now + (t->now < u->groups_busy_until ? AGAIN_AT_FIRST : AGAIN);
    for (int i = 0; i < u->n_groups; i++)
        u->groups[i].seen = false;
    n = groups_of_interface(t, groups, MEMBERS);
    for (int i = 0; i < n; i++) {
        if (td_is_multicast(u->local_addr) && groups[i] != u->local_addr)
            continue;
        for (int j = 0; j < t->n_addrs; j++)
            ask(t, u, groups[i], t->addrs[j]);
    }
    for (int i = 0; i < u->n_groups; i++) {
        struct td_group g = u->groups[i];

        if (i < known && !g.seen) {
            change(t, u, &g, false);
            changed = true;
        } else if (i < known || change(t, u, &g, true) == 0) {
            changed |= i >= known;
            u->groups[kept++] = g;
        }
    }
    u->n_groups = kept;
    if (changed)
        filter_kernel(t, u);
}
