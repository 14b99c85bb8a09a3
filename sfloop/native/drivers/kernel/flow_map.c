#define _GNU_SOURCE 1
#include "flow_program.h"

#include "bpf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FLOWS_MAX 65536

/* ---- the maps ---- */

static int make_flows(void)
{
    const struct sf_bpf_map_kind kind = {
        SF_FLOW_PROGRAM_NAME, BPF_MAP_TYPE_HASH, sizeof(struct sf_flow_map_key), sizeof(struct sf_flow_value), FLOWS_MAX, 0,
    };

    return sf_bpf_create_map(&kind);
}

static int make_config(struct sf_flow_program *program)
{
    const struct sf_bpf_map_kind kind = {
        "sfloop_config", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct sf_flow_config), 1, BPF_F_MMAPABLE,
    };
    void *shared;

    program->config = sf_bpf_create_map(&kind);
    if (program->config < 0)
        return program->config;
    shared = mmap(NULL, sizeof(struct sf_flow_config), PROT_READ | PROT_WRITE, MAP_SHARED, program->config, 0);
    if (shared == MAP_FAILED)
        return -errno;
    program->shared = shared;
    return 0;
}

int sf_flow_program_make_maps(struct sf_flow_program *program)
{
    int error;

    *program = SF_FLOW_PROGRAM_NONE;
    program->flows = make_flows();
    error = program->flows < 0 ? program->flows : make_config(program);
    if (error)
        sf_flow_program_close(program);
    else
        (void)sf_port_watch_open(&program->ports, program->config); /* optional: without it, no ports are watched */
    return error;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void sf_flow_program_close(struct sf_flow_program *program)
{
    close_descriptor(&program->link);
    close_descriptor(&program->program);
    close_descriptor(&program->sockets);
    close_descriptor(&program->flows);
    sf_port_watch_close(&program->ports);
    if (program->shared)
        munmap(program->shared, sizeof(*program->shared));
    program->shared = NULL;
    close_descriptor(&program->config);
}

void sf_flow_program_set_mac(struct sf_flow_program *program, const uint8_t mac[6])
{
    memcpy(program->shared->mac, mac, sizeof(program->shared->mac));
}

/* ---- flows ---- */

static int key_of(const struct sf_flow *flow, struct sf_flow_map_key *key)
{
    bool connected = flow->remote_addr && flow->remote_port;

    if (flow->protocol != IPPROTO_UDP && flow->protocol != IPPROTO_TCP)
        return -EOPNOTSUPP;
    if (!flow->local_port || (!connected && (flow->remote_addr || flow->remote_port)))
        return -EINVAL;
    if (connected && !flow->local_addr)
        return -EOPNOTSUPP;
    *key = (struct sf_flow_map_key){
        .local_addr = flow->local_addr,
        .remote_addr = flow->remote_addr,
        .local_port = flow->local_port,
        .remote_port = flow->remote_port,
        .protocol = flow->protocol,
    };
    return 0;
}

static struct sf_flow_value value_of(const struct sf_flow *flow)
{
    uint32_t addr = ntohl(flow->local_addr);
    struct sf_flow_value value = {0, 0};

    if (flow->flags & SF_FLOW_KERNEL)
        return (struct sf_flow_value){SF_FLOW_KIND_KERNEL, 0};
    if (IN_MULTICAST(addr) || addr == INADDR_BROADCAST || (flow->flags & SF_FLOW_BROADCAST))
        value.kind |= SF_FLOW_KIND_GROUP;
    if (flow->flags & SF_FLOW_WATCHED) {
        value.kind |= SF_FLOW_KIND_WATCHED;
        value.changes = flow->changes;
    }
    return value;
}

/* Counts the flows of each kind, because the program looks only for kinds that exist. */
static void count_kinds(struct sf_flow_program *program, const struct sf_flow_map_key *key, int by)
{
    if (!key->local_addr) {
        program->any_address += (uint32_t)by;
        __atomic_store_n(&program->shared->any_address, program->any_address ? 1 : 0, __ATOMIC_RELEASE);
    }
    if (key->remote_addr && key->protocol == IPPROTO_UDP) {
        program->connected += (uint32_t)by;
        __atomic_store_n(&program->shared->connected, program->connected, __ATOMIC_RELEASE);
    }
}

int sf_flow_program_add(struct sf_flow_program *program, const struct sf_flow *flow)
{
    struct sf_flow_value value = value_of(flow);
    struct sf_flow_map_key key;
    int error = key_of(flow, &key);

    if (error)
        return error;
    error = sf_bpf_update(program->flows, &key, &value, BPF_NOEXIST);
    if (!error)
        count_kinds(program, &key, 1);
    return error == -E2BIG ? -ENOSPC : error;
}

int sf_flow_program_del(struct sf_flow_program *program, const struct sf_flow *flow)
{
    struct sf_flow_map_key key;
    int error = key_of(flow, &key);

    if (error)
        return error;
    error = sf_bpf_delete(program->flows, &key);
    if (!error)
        count_kinds(program, &key, -1);
    return error;
}

int sf_flow_program_renew(const struct sf_flow_program *program, const struct sf_flow *flow)
{
    struct sf_flow_value value = value_of(flow);
    struct sf_flow_map_key key;
    int error = key_of(flow, &key);

    return error ? error : sf_bpf_update(program->flows, &key, &value, BPF_EXIST);
}

/* ---- watched ports ---- */

bool sf_flow_program_sees_ports(const struct sf_flow_program *program)
{
    return program->ports.ports >= 0;
}

int sf_flow_program_watch(const struct sf_flow_program *program, uint8_t protocol, uint16_t port, bool on)
{
    if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP)
        return -EOPNOTSUPP;
    if (!sf_flow_program_sees_ports(program))
        return -EOPNOTSUPP;
    return port ? sf_port_watch_set(&program->ports, protocol, port, on) : -EINVAL;
}

uint32_t sf_flow_program_changes(const struct sf_flow_program *program, uint8_t protocol)
{
    return __atomic_load_n(&program->shared->changes[SF_FLOW_CHANGES(protocol)], __ATOMIC_ACQUIRE);
}
