#include "bpf.h"

#include "common.h"

#include <errno.h>
#include <linux/if_link.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* Some distributions' headers lack this. */
#define TEST_XDP_LIVE_FRAMES (1u << 1)
#define LIVE_BATCH 64

static long bpf(int command, union bpf_attr *attributes)
{
    return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

int sfb_bpf_map(uint32_t type, uint32_t value_size, uint32_t entries)
{
    union bpf_attr a;
    long fd;

    memset(&a, 0, sizeof a);
    a.map_type = type;
    a.key_size = sizeof(uint32_t);
    a.value_size = value_size;
    a.max_entries = entries;
    fd = bpf(BPF_MAP_CREATE, &a);
    if (fd < 0)
        sfb_die_errno("bpf(BPF_MAP_CREATE)");
    return (int)fd;
}

void sfb_bpf_put(int map, uint32_t key, const void *value)
{
    union bpf_attr a;

    memset(&a, 0, sizeof a);
    a.map_fd = (uint32_t)map;
    a.key = (uint64_t)(uintptr_t)&key;
    a.value = (uint64_t)(uintptr_t)value;
    if (bpf(BPF_MAP_UPDATE_ELEM, &a))
        sfb_die_errno("bpf(BPF_MAP_UPDATE_ELEM)");
}

void sfb_bpf_get(int map, uint32_t key, void *value)
{
    union bpf_attr a;

    memset(&a, 0, sizeof a);
    a.map_fd = (uint32_t)map;
    a.key = (uint64_t)(uintptr_t)&key;
    a.value = (uint64_t)(uintptr_t)value;
    if (bpf(BPF_MAP_LOOKUP_ELEM, &a))
        sfb_die_errno("bpf(BPF_MAP_LOOKUP_ELEM)");
}

int sfb_bpf_xdp_program(const struct bpf_insn *instructions, size_t count)
{
    static char log[16384];
    union bpf_attr a;
    long fd;

    memset(&a, 0, sizeof a);
    a.prog_type = BPF_PROG_TYPE_XDP;
    a.insns = (uint64_t)(uintptr_t)instructions;
    a.insn_cnt = (uint32_t)count;
    a.license = (uint64_t)(uintptr_t) "Dual MIT/GPL";
    a.log_buf = (uint64_t)(uintptr_t)log;
    a.log_size = sizeof log;
    a.log_level = 1;
    fd = bpf(BPF_PROG_LOAD, &a);
    if (fd < 0)
        sfb_die(SFB_EXIT_FAILED, "bpf(BPF_PROG_LOAD): %s %s", strerror(errno), log);
    return (int)fd;
}

size_t sfb_bpf_link(struct bpf_insn *instructions, size_t count)
{
    size_t labels[SFB_LABELS] = {0}, left = 0;

    for (size_t i = 0; i < count; i++)
        if (instructions[i].code == SFB_LABEL_CODE)
            labels[instructions[i].imm - SFB_FIRST_LABEL] = left;
        else
            instructions[left++] = instructions[i];
    for (size_t i = 0; i < left; i++)
        if (BPF_CLASS(instructions[i].code) == BPF_JMP && instructions[i].off >= SFB_FIRST_LABEL)
            instructions[i].off = (int16_t)(labels[instructions[i].off - SFB_FIRST_LABEL] - i - 1);
    return left;
}

int sfb_bpf_attach_xdp(int program, int ifindex)
{
    union bpf_attr a;
    long fd;

    memset(&a, 0, sizeof a);
    a.link_create.prog_fd = (uint32_t)program;
    a.link_create.target_ifindex = (uint32_t)ifindex;
    a.link_create.attach_type = BPF_XDP;
    a.link_create.flags = XDP_FLAGS_DRV_MODE;
    fd = bpf(BPF_LINK_CREATE, &a);
    if (fd < 0) {
        a.link_create.flags = XDP_FLAGS_SKB_MODE;
        fd = bpf(BPF_LINK_CREATE, &a);
    }
    if (fd < 0)
        sfb_die_errno("attaching the XDP program");
    return (int)fd;
}

static void on_alarm(int signal)
{
    (void)signal;
}

void sfb_bpf_run_for(double seconds, int program, const void *frame, uint32_t length)
{
    struct itimerval timer = {.it_value = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)}};
    struct sigaction action = {.sa_handler = on_alarm};
    union bpf_attr a;

    if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &timer, NULL))
        sfb_die_errno("setitimer");
    memset(&a, 0, sizeof a);
    a.test.prog_fd = (uint32_t)program;
    a.test.data_in = (uint64_t)(uintptr_t)frame;
    a.test.data_size_in = length;
    a.test.repeat = INT32_MAX;
    a.test.flags = TEST_XDP_LIVE_FRAMES;
    a.test.batch_size = LIVE_BATCH;
    if (bpf(BPF_PROG_TEST_RUN, &a) && errno != EINTR)
        sfb_die_errno("bpf(BPF_PROG_TEST_RUN) with live frames, which needs Linux 5.18");
}

int sfb_bpf_history(struct sfb_history *h, double seconds)
{
    h->shift = sfb_history_shift(seconds);
    return sfb_bpf_map(BPF_MAP_TYPE_ARRAY, sizeof(struct sfb_point), SFB_HISTORY_POINTS);
}

void sfb_bpf_get_history(int map, struct sfb_history *h)
{
    for (uint32_t i = 0; i < SFB_HISTORY_POINTS; i++)
        sfb_bpf_get(map, i, &h->points[i]);
}
