#define _GNU_SOURCE 1
#include "port_watch.h"

#include "bpf.h"
#include "cgroup_root.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define PORTS_MAX 131072 /* all ports of both protocols */
#define KEY_AT (-4)

enum label { UDP, ALLOW };

enum {
    SCRATCH = BPF_REG_2,
    CONTEXT = BPF_REG_6, /* registers from here on survive calls */
    PROTOCOL = BPF_REG_7,
    FRAME_POINTER = BPF_REG_10,
};

/* The map's key. The value counts how many times the port is watched. */
static uint32_t key_of(uint8_t protocol, uint16_t port)
{
    return (uint32_t)protocol << 16 | ntohs(port);
}

/* The cookie of our network namespace. 0: the kernel does not tell. */
static uint64_t own_namespace(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);

    if (fd < 0)
        return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
        cookie = 0;
    close(fd);
    return cookie;
}

/* Writes a program that increments the protocol's counter if the port is watched. It always permits the bind. */
static void write_program(struct sf_bpf_code *code, int ports, int counters, uint64_t namespace)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    sf_bpf_load(code, BPF_W, PROTOCOL, CONTEXT, offsetof(struct bpf_sock, protocol));
    sf_bpf_load(code, BPF_W, SCRATCH, CONTEXT, offsetof(struct bpf_sock, src_port)); /* in host byte order */
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, PROTOCOL);
    sf_bpf_alu_value(code, BPF_LSH, BPF_REG_1, 16);
    sf_bpf_alu(code, BPF_OR, BPF_REG_1, SCRATCH);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY_AT, BPF_REG_1);
    sf_bpf_map(code, BPF_REG_1, ports);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, KEY_AT);
    sf_bpf_call(code, BPF_FUNC_map_lookup_elem);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, ALLOW);
    if (namespace) {
        sf_bpf_alu(code, BPF_MOV, BPF_REG_1, CONTEXT);
        sf_bpf_call(code, BPF_FUNC_get_netns_cookie);
        sf_bpf_wide_value(code, SCRATCH, namespace);
        sf_bpf_jump_if(code, BPF_JNE, BPF_REG_0, SCRATCH, ALLOW);
    }
    sf_bpf_map_value(code, BPF_REG_1, counters);
    sf_bpf_jump_if_value(code, BPF_JNE, PROTOCOL, IPPROTO_TCP, UDP);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_1, 4);
    sf_bpf_label(code, UDP);
    sf_bpf_alu_value(code, BPF_MOV, SCRATCH, 1);
    sf_bpf_atomic_add(code, BPF_REG_1, 0, SCRATCH);
    sf_bpf_label(code, ALLOW);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, 1);
    sf_bpf_exit(code);
}

static int attach(const struct sf_port_watch *watch, int counters, uint32_t where, int root)
{
    const struct sf_bpf_program_kind kind = {"sfloop_ports", BPF_PROG_TYPE_CGROUP_SOCK, 0, where, 0};
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;
    int program, link;

    write_program(&code, watch->ports, counters, own_namespace());
    program = sf_bpf_load_program(&code, &kind, log);
    if (program < 0)
        return program;
    link = sf_bpf_attach_cgroup(program, root, where);
    close(program);
    return link;
}

static int attach_all(struct sf_port_watch *watch, int counters)
{
    static const uint32_t places[SF_PORT_WATCH_LINKS] = {BPF_CGROUP_INET4_POST_BIND, BPF_CGROUP_INET6_POST_BIND};
    int root = sf_cgroup_open_root(), error = 0;

    if (root < 0)
        return root;
    for (int i = 0; i < SF_PORT_WATCH_LINKS && !error; i++) {
        watch->links[i] = attach(watch, counters, places[i], root);
        error = watch->links[i] < 0 ? watch->links[i] : 0;
    }
    close(root);
    return error;
}

int sf_port_watch_open(struct sf_port_watch *watch, int counters)
{
    const struct sf_bpf_map_kind kind = {
        "sfloop_ports", BPF_MAP_TYPE_HASH, sizeof(uint32_t), sizeof(uint32_t), PORTS_MAX, BPF_F_NO_PREALLOC,
    };
    int error;

    *watch = (struct sf_port_watch)SF_PORT_WATCH_NONE;
    watch->ports = sf_bpf_create_map(&kind);
    error = watch->ports < 0 ? watch->ports : attach_all(watch, counters);
    if (error)
        sf_port_watch_close(watch);
    return error;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void sf_port_watch_close(struct sf_port_watch *watch)
{
    for (int i = 0; i < SF_PORT_WATCH_LINKS; i++)
        close_descriptor(&watch->links[i]);
    close_descriptor(&watch->ports);
}

int sf_port_watch_set(const struct sf_port_watch *watch, uint8_t protocol, uint16_t port, bool on)
{
    uint32_t key = key_of(protocol, port), count = 0;
    int error = sf_bpf_lookup(watch->ports, &key, &count);

    if (error && (error != -ENOENT || !on))
        return error;
    count = on ? count + 1 : count - 1;
    if (!count)
        return sf_bpf_delete(watch->ports, &key);
    error = sf_bpf_update(watch->ports, &key, &count, BPF_ANY);
    return error == -E2BIG ? -ENOSPC : error;
}
