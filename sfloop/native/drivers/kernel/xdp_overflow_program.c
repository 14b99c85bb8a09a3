#include "xdp_overflow.h"

#include "drivers/driver_util.h"

#include <netinet/in.h>

/* Records have fixed sizes, because the verifier requires constants. Each plus its header is a multiple of 8 bytes. */
static const int32_t record_sizes[] = {248, 504, 1016, 2040, 4088, 9336, 65560};
#define RECORD_SIZES (sizeof(record_sizes) / sizeof(record_sizes[0]))

#define HEADERS_SIZE (SF_ETHERNET_HEADER + SF_VLAN_TAG)
#define COUNTS_SHIFT 8

enum label { KEEP, TO_SOCKET, COUNTED, FILL, DISCARD, LOST, NEXT_SIZE, LABELS = NEXT_SIZE + RECORD_SIZES };

_Static_assert(LABELS <= SF_OVERFLOW_LABELS, "more labels than there are");
_Static_assert(sizeof(struct sf_overflow_counts) == 1 << COUNTS_SHIFT, "a queue's counts are found by a shift");

enum {
    RECORD = BPF_REG_7, /* registers that survive calls */
    LENGTH = BPF_REG_8,
    COUNTS = BPF_REG_9,
    FRAME_POINTER = BPF_REG_10,
};

struct writer {
    struct sf_bpf_code *code;
    const struct sf_overflow *overflow;
    const struct sf_overflow_program *program;
};

static int at(const struct writer *w, int label)
{
    return w->program->first_label + label;
}

static void load_count(const struct writer *w, int dst, size_t offset)
{
    sf_bpf_load(w->code, BPF_W, dst, COUNTS, (int)offset);
}

/* Increments a count. If only one CPU runs the program for a queue, a plain addition is four times as fast. */
static void count(const struct writer *w, size_t offset, bool atomically)
{
    if (atomically) {
        sf_bpf_alu_value(w->code, BPF_MOV, BPF_REG_1, 1);
        sf_bpf_atomic_add(w->code, COUNTS, (int)offset, BPF_REG_1);
        return;
    }
    load_count(w, BPF_REG_1, offset);
    sf_bpf_alu_value(w->code, BPF_ADD, BPF_REG_1, 1);
    sf_bpf_store(w->code, BPF_W, COUNTS, (int)offset, BPF_REG_1);
}

static void load_queue(const struct writer *w, int dst)
{
    if (w->program->is_filter)
        sf_bpf_alu_value(w->code, BPF_MOV, dst, 0);
    else
        sf_bpf_load(w->code, BPF_W, dst, w->program->context, offsetof(struct xdp_md, rx_queue_index));
}

static void load_length(const struct writer *w)
{
    if (w->program->is_filter) {
        sf_bpf_load(w->code, BPF_W, LENGTH, w->program->context, offsetof(struct __sk_buff, len));
        return;
    }
    sf_bpf_alu(w->code, BPF_MOV, BPF_REG_1, w->program->context);
    sf_bpf_call(w->code, BPF_FUNC_xdp_get_buff_len);
    sf_bpf_alu(w->code, BPF_MOV, LENGTH, BPF_REG_0);
}

static void store_time(const struct writer *w)
{
    if (w->program->is_filter)
        sf_bpf_call(w->code, BPF_FUNC_ktime_get_ns);
    else
        sf_bpf_alu_value(w->code, BPF_MOV, BPF_REG_0, 0);
    sf_bpf_store(w->code, BPF_DW, RECORD, offsetof(struct sf_overflow_record, time), BPF_REG_0);
}

/* Goes to KEEP, or to COUNTED if the frame is the socket's. */
static void choose(const struct writer *w)
{
    struct sf_bpf_code *code = w->code;

    load_queue(w, BPF_REG_1);
    sf_bpf_jump_if_value(code, BPF_JGT, BPF_REG_1, SF_OVERFLOW_QUEUES - 1, at(w, COUNTED));
    sf_bpf_alu_value(code, BPF_LSH, BPF_REG_1, COUNTS_SHIFT);
    sf_bpf_map_value(code, COUNTS, w->overflow->counts_map);
    sf_bpf_alu(code, BPF_ADD, COUNTS, BPF_REG_1);
    sf_bpf_load(code, BPF_W, BPF_REG_1, FRAME_POINTER, w->program->protocol_at);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, IPPROTO_UDP, at(w, TO_SOCKET));
    load_count(w, BPF_REG_1, offsetof(struct sf_overflow_counts, kept));
    load_count(w, BPF_REG_2, offsetof(struct sf_overflow_counts, read));
    sf_bpf_jump_if(code, BPF_JNE, BPF_REG_1, BPF_REG_2, at(w, KEEP));
    load_count(w, BPF_REG_1, offsetof(struct sf_overflow_counts, sent));
    load_count(w, BPF_REG_2, offsetof(struct sf_overflow_counts, taken));
    sf_bpf_alu(code, BPF_SUB, BPF_REG_1, BPF_REG_2);
    sf_bpf_jump_if_int(code, BPF_JSGT, BPF_REG_1, (int32_t)w->overflow->limit, at(w, KEEP));
    sf_bpf_label(code, at(w, TO_SOCKET));
    count(w, offsetof(struct sf_overflow_counts, sent), w->program->many_cpus);
    sf_bpf_jump(code, at(w, COUNTED));
}

/* Leaves the smallest record that holds the frame in register 0, or 0. */
static void reserve(const struct writer *w)
{
    struct sf_bpf_code *code = w->code;
    const int32_t longest = (int32_t)w->program->mtu + HEADERS_SIZE;
    bool last = false;

    sf_bpf_label(code, at(w, KEEP));
    load_length(w);
    sf_bpf_jump_if_value(code, BPF_JLT, LENGTH, HEADERS_SIZE, at(w, LOST)); /* never happens, but the verifier does not know */
    for (int i = 0; i < (int)RECORD_SIZES && !last; i++) {
        int32_t room = record_sizes[i] - (int32_t)sizeof(struct sf_overflow_record);

        last = room >= longest || i + 1 == (int)RECORD_SIZES;
        sf_bpf_jump_if_value(code, BPF_JGT, LENGTH, room, at(w, last ? LOST : NEXT_SIZE + i));
        sf_bpf_map(code, BPF_REG_1, w->overflow->ring.fd);
        sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, record_sizes[i]);
        sf_bpf_alu_value(code, BPF_MOV, BPF_REG_3, 0);
        sf_bpf_call(code, BPF_FUNC_ringbuf_reserve);
        sf_bpf_jump(code, at(w, FILL));
        if (!last)
            sf_bpf_label(code, at(w, NEXT_SIZE + i));
    }
}

static void fill(const struct writer *w)
{
    struct sf_bpf_code *code = w->code;

    sf_bpf_label(code, at(w, FILL));
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, at(w, LOST));
    sf_bpf_alu(code, BPF_MOV, RECORD, BPF_REG_0);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, w->program->context);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, 0);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, RECORD);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_3, offsetof(struct sf_overflow_record, frame));
    sf_bpf_alu(code, BPF_MOV, BPF_REG_4, LENGTH);
    sf_bpf_call(code, w->program->is_filter ? BPF_FUNC_skb_load_bytes : BPF_FUNC_xdp_load_bytes);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, at(w, DISCARD));
    sf_bpf_store(code, BPF_W, RECORD, offsetof(struct sf_overflow_record, len), LENGTH);
    load_queue(w, BPF_REG_1);
    sf_bpf_store(code, BPF_W, RECORD, offsetof(struct sf_overflow_record, queue), BPF_REG_1);
    load_count(w, BPF_REG_1, offsetof(struct sf_overflow_counts, sent));
    sf_bpf_store(code, BPF_W, RECORD, offsetof(struct sf_overflow_record, sent), BPF_REG_1);
    store_time(w);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, RECORD);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, 0); /* wakes the loop if it sleeps */
    sf_bpf_call(code, BPF_FUNC_ringbuf_submit);
    count(w, offsetof(struct sf_overflow_counts, kept), true);
}

static void drop(const struct writer *w)
{
    sf_bpf_alu_value(w->code, BPF_MOV, BPF_REG_0, w->program->is_filter ? 0 : XDP_DROP);
    sf_bpf_exit(w->code);
}

void sf_overflow_write(struct sf_bpf_code *code, const struct sf_overflow *overflow, const struct sf_overflow_program *program)
{
    const struct writer w = {code, overflow, program};

    choose(&w);
    reserve(&w);
    fill(&w);
    drop(&w);
    sf_bpf_label(code, at(&w, DISCARD));
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, RECORD);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, 0);
    sf_bpf_call(code, BPF_FUNC_ringbuf_discard);
    sf_bpf_label(code, at(&w, LOST));
    count(&w, offsetof(struct sf_overflow_counts, lost), true);
    drop(&w);
    sf_bpf_label(code, at(&w, COUNTED));
}
