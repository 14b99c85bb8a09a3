/* The virtual interface: opening, the event queue, sleeping. */
#define _GNU_SOURCE
#include "efsim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RING 512

/* ---- opening ---- */

static void *take(size_t n, size_t size)
{
    void *memory = calloc(n, size);

    EFSIM_MUST(memory, "out of memory");
    return memory;
}

static uint32_t ring(int asked)
{
    uint32_t n = asked < 0 ? DEFAULT_RING : (uint32_t)asked;

    EFSIM_MUST((n & (n - 1)) == 0, "a ring of %u entries is not a power of two", n);
    return n;
}

static void check_flags(const struct efsim_nic *nic, enum ef_vi_flags flags)
{
    const struct efsim_options *o = &nic->options;

    EFSIM_MUST(!(flags & EF_VI_TX_CTPIO) || efsim_refers(nic) || !o->no_ctpio, "CTPIO was asked for, but the NIC lacks it");
    EFSIM_MUST(!(flags & (EF_VI_RX_TIMESTAMPS | EF_VI_TX_TIMESTAMPS)) || !o->no_timestamps,
               "timestamps were asked for, but the NIC lacks them");
    EFSIM_MUST(!o->force_merge || flags & EF_VI_RX_EVENT_MERGE, "the NIC merges receive events, but EF_VI_RX_EVENT_MERGE was not set");
}

static void make_superbufs(struct efsim_vi *v)
{
    for (int i = 0; i < EFSIM_SUPERBUFS; i++)
        v->superbuf[i].memory = take(1, EFSIM_SUPERBUF);
    v->superbuf[0].filling = true;
}

int ef_vi_alloc_from_pd(ef_vi *vi, ef_driver_handle handle, struct ef_pd *pd, ef_driver_handle pd_handle, int evq, int rxq,
                        int txq, ef_vi *evq_of, ef_driver_handle evq_handle, enum ef_vi_flags flags)
{
    struct efsim_nic *nic = pd->nic;
    struct efsim_vi *v;
    uint32_t events;

    (void)pd_handle;
    (void)evq_handle;
    EFSIM_MUST(nic->domain && !nic->vi && !evq_of && evq == -1,
               "the simulator supports one virtual interface in each domain, with its own event queue");
    check_flags(nic, flags);
    v = take(1, sizeof(*v));
    v->nic = nic;
    v->handle = handle;
    v->rx_mask = ring(efsim_refers(nic) ? DEFAULT_RING : rxq) - 1;
    v->tx_mask = ring(txq) - 1;
    v->rx = take(v->rx_mask + 1, sizeof(*v->rx));
    v->tx = take(v->tx_mask + 1, sizeof(*v->tx));
    /* "rxq_capacity + txq_capacity + extra if timestamps are enabled" */
    for (events = 512; events < v->rx_mask + v->tx_mask + 64; events *= 2)
        ;
    v->events_mask = events - 1;
    v->events = take(events, sizeof(*v->events));
    v->discards = EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_ETH_FCS_ERR |
                  EF_VI_DISCARD_RX_ETH_LEN_ERR;
    if (efsim_refers(nic))
        make_superbufs(v);
    v->plain = nic->options.arch == EF_VI_ARCH_EF10 && !efsim_merges(v, flags) && !nic->options.strict;
    nic->vi = v;
    vi->sim = v;
    vi->nic_type.arch = nic->options.arch;
    vi->vi_flags = flags;
    return 0;
}

int ef_vi_free(ef_vi *vi, ef_driver_handle handle)
{
    struct efsim_vi *v = vi->sim;

    (void)handle;
    EFSIM_MUST(v, "the virtual interface was freed already");
    for (int i = 0; i < EFSIM_SUPERBUFS; i++)
        free(v->superbuf[i].memory);
    for (uint32_t i = 0; i <= v->tx_mask; i++)
        free(v->tx[i].copy);
    free(v->rx);
    free(v->tx);
    free(v->events);
    v->nic->vi = NULL;
    free(v);
    vi->sim = NULL;
    return 0;
}

/* ---- events ---- */

void efsim_put_event(struct efsim_vi *v, const ef_event *event)
{
    if (v->halted)
        return;
    if (v->events_last - v->events_first > v->events_mask) {
        v->events_first = v->events_last - 1; /* drops the other events in the queue */
        v->events[v->events_first & v->events_mask].generic.type = EF_EVENT_TYPE_OFLOW;
        v->halted = true;
        return;
    }
    efsim_move_event(&v->events[v->events_last++ & v->events_mask], event);
}

static void halt(struct efsim_vi *v, unsigned type)
{
    ef_event event = {.generic.type = type};

    efsim_put_event(v, &event);
    v->halted = true;
}

static void run_hardware(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v, "the virtual interface was freed");
    if (v->halted)
        return;
    if (v->nic->faults.reset || v->nic->faults.overflow) {
        halt(v, v->nic->faults.reset ? EF_EVENT_TYPE_RESET : EF_EVENT_TYPE_OFLOW);
        v->nic->faults.reset = v->nic->faults.overflow = false;
        return;
    }
    if (v->tx_done != v->tx_pushed)
        efsim_transmit(vi);
    if (v->tx_reported != v->tx_done)
        efsim_report_sent(vi);
    efsim_receive(vi);
}

int ef_eventq_has_event(const ef_vi *vi)
{
    ef_vi *writable = (ef_vi *)(uintptr_t)vi;
    struct efsim_vi *v = vi->sim;

    run_hardware(writable);
    if (v->rest.data)
        efsim_receive_rest(v, &v->events[(v->events_last - 1) & v->events_mask]);
    return v->events_first != v->events_last;
}

/* Frees the descriptor of an event that has only one. The descriptors of a merged event are freed when the program unbundles it. */
static void read_event(struct efsim_vi *v, const ef_event *event)
{
    switch (EF_EVENT_TYPE(*event)) {
    case EF_EVENT_TYPE_TX_WITH_TIMESTAMP:
        v->tx_removed += v->tx[v->tx_removed & v->tx_mask].pages;
        break;
    case EF_EVENT_TYPE_TX_ERROR:
        v->tx_error_seen = true;
        break;
    default:
        efsim_read_received(v, event);
        break;
    }
}

int ef_eventq_poll(ef_vi *vi, ef_event *events, int n)
{
    struct efsim_vi *v = vi->sim;
    int taken = 0;

    EFSIM_MUST(n >= EF_VI_EVENT_POLL_MIN_EVS, "there is room for %d events, but at least %d are needed", n, EF_VI_EVENT_POLL_MIN_EVS);
    v->turn++;
    run_hardware(vi);
    v->merging = 0;
    while (taken < n && v->events_first != v->events_last) {
        efsim_move_event(&events[taken], &v->events[v->events_first++ & v->events_mask]);
        read_event(v, &events[taken++]);
    }
    if (v->rest.data)
        efsim_receive_rest(v, v->events_first == v->events_last ? &events[taken - 1]
                                                                : &v->events[(v->events_last - 1) & v->events_mask]);
    return taken;
}

unsigned ef_eventq_current(ef_vi *vi)
{
    return vi->sim->events_first;
}

/* Tries three times, because the wire's arm() also fails once if its peer has news other than frames. */
int ef_vi_prime(ef_vi *vi, ef_driver_handle handle, unsigned current)
{
    struct efsim_vi *v = vi->sim;
    struct sf_driver *wire = v->nic->wire;
    int fd;

    EFSIM_MUST(handle == v->handle, "handle %d is not that of the virtual interface, %d", handle, v->handle);
    v->nic->counts.primed++;
    efsim_quiet(handle);
    wire->fast.control->disarm(wire);
    for (int look = 0; look < 3; look++) {
        if (current != v->events_last || ef_eventq_has_event(vi)) {
            efsim_signal(handle);
            return 0;
        }
        if (wire->fast.control->arm(wire, &fd) == 0) {
            efsim_watch(handle, fd);
            return 0;
        }
    }
    efsim_signal(handle);
    return 0;
}

/* ---- statistics ---- */

int ef_vi_stats_query_layout(ef_vi *vi, const ef_vi_stats_layout **const layout)
{
    static ef_vi_stats_layout one = {
        .evsl_data_size = 8,
        .evsl_fields_num = 1,
        .evsl_fields = {{.evsfl_name = (char *)(uintptr_t)"RX no descriptor errors", .evsfl_offset = 4, .evsfl_size = 4}},
    };

    if (vi->nic_type.arch != EF_VI_ARCH_EF10)
        return -EINVAL;
    *layout = &one;
    return 0;
}

int ef_vi_stats_query(ef_vi *vi, ef_driver_handle handle, void *data, int reset)
{
    uint32_t value = (uint32_t)vi->sim->nic->counts.no_descriptor;

    (void)handle;
    EFSIM_MUST(!reset, "the simulator does not reset its counters");
    memset(data, 0xff, 4);
    memcpy((uint8_t *)data + 4, &value, sizeof(value));
    return 0;
}
