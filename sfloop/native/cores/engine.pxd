"""The C core's declarations for Cython: engine.h, stack.h, driver.h."""

from libc.stdint cimport uint8_t, int64_t, uint16_t, uint32_t, uint64_t

cdef extern from "sf/base.h" nogil:
    ctypedef int64_t sf_ns
    sf_ns SF_NEVER
    cdef struct sf_stamp:
        uint64_t number
        sf_ns timestamp
    sf_ns sf_now()

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "sf/stack.h" nogil:
    uint32_t SF_READABLE
    uint32_t SF_WRITABLE

    cdef enum sf_sock_kind:
        SF_KIND_STREAM
        SF_KIND_DATAGRAM
        SF_KIND_LISTENER
        SF_KIND_WATCH

    cdef struct sf_event:
        uint32_t slot
        uint32_t generation
        uint32_t what

    cdef struct sf_stack_stats:
        uint64_t polls
        uint64_t empty_polls
        uint64_t events
        uint64_t stale_events
        uint64_t rx_bytes
        uint64_t rx_messages
        uint64_t tx_bytes
        uint64_t tx_messages
        uint64_t tx_would_block

    cdef struct sf_stack:
        const sf_stack_ops *ops
        sf_stack_stats stats

    cdef struct sf_sock:
        sf_stack *stack
        uint32_t slot
        uint32_t generation

    cdef struct sf_datagram:
        const void *data
        uint32_t len
        uint32_t addr_len
        int flags
        sf_ns timestamp
        const sockaddr *addr

    cdef struct sf_stream_info:
        const char *state
        const char *congestion
        sf_ns rtt
        sf_ns rtt_var
        sf_ns rtt_min
        sf_ns rto
        uint32_t mss
        uint32_t cwnd
        uint32_t ssthresh
        uint32_t snd_wnd
        uint32_t rcv_wnd
        uint32_t in_flight
        uint32_t unsent
        uint32_t unread
        uint64_t bytes_sent
        uint64_t bytes_received
        uint64_t segments_sent
        uint64_t segments_received
        uint64_t retransmits
        uint64_t timeouts
        uint64_t recoveries
        uint64_t probes
        uint64_t duplicate_acks
        uint64_t out_of_order

    cdef struct sf_counter:
        const char *name
        uint64_t value

    cdef struct sf_stack_flow:
        uint32_t addr
        uint16_t port
        uint32_t remote_addr
        uint16_t remote_port
        unsigned char protocol
        const char *why
        uint32_t holder
        int process

    cdef struct sf_stack_ops:
        const char *name
        sf_ns (*poll_at)(sf_stack *, sf_ns now)
        int (*arm)(sf_stack *, int *fd)
        void (*disarm)(sf_stack *)
        void (*destroy)(sf_stack *)
        int (*adopt)(sf_stack *, int fd, sf_sock_kind, uint32_t slot, uint32_t generation, sf_sock **out)
        void (*release)(sf_sock *)
        int (*interest)(sf_sock *, uint32_t what)
        ssize_t (*sendv)(sf_sock *, const iovec *, int n)
        ssize_t (*recv_borrow)(sf_sock *, const void **data)
        void (*recv_done)(sf_sock *, size_t used)
        ssize_t (*recv_into)(sf_sock *, void *buf, size_t len)
        ssize_t (*recv_from)(sf_sock *, const iovec *, int n, sockaddr *addr, socklen_t *len)
        int (*shutdown_tx)(sf_sock *)
        int (*accept)(sf_sock *, sockaddr *addr, socklen_t *len)
        int (*connect)(sf_stack *, int fd, const sockaddr *, socklen_t, uint32_t slot, uint32_t generation, sf_sock **out)
        int (*connect_result)(sf_sock *)
        int (*listen)(sf_stack *, int fd, int backlog, uint32_t slot, uint32_t generation, sf_sock **out)
        int (*accept_stream)(sf_sock *, sf_sock **out)
        int (*name_of)(sf_sock *, bint peer, sockaddr *, socklen_t *len)
        int (*set_option)(sf_sock *, int level, int name, const void *value, socklen_t len)
        int (*get_option)(sf_sock *, int level, int name, void *value, socklen_t *len)
        int (*stream_info)(sf_sock *, sf_stream_info *)
        uint32_t (*levels)(sf_sock *)
        int (*import_stream)(sf_stack *, int fd, uint32_t slot, uint32_t generation, sf_sock **out, const char **why)
        int (*export_stream)(sf_sock *, const char **why)
        int (*lingering)(sf_stack *)
        int (*recv_batch)(sf_sock *, sf_datagram *out, int max)
        ssize_t (*send_to)(sf_sock *, const void *data, size_t len, const sockaddr *addr, socklen_t addr_len)
        int (*want_timestamps)(sf_sock *, bint)
        void (*options_changed)(sf_sock *)
        int (*tx_stamps)(sf_sock *, sf_stamp *, int max)
        int (*counters)(sf_stack *, sf_counter *, int max)
        int (*flows)(sf_stack *, int first, sf_stack_flow *, int max)
        sf_driver *(*driver)(sf_stack *)
        void (*use_test_clock)(sf_stack *)

    cdef struct sf_stack_option:
        const char *name
        const char *text
        int64_t number

    cdef struct sf_stack_entry:
        const char *name
        const char *description
        bint over_driver
        sf_stack *(*create)(sf_driver *, const sf_stack_option *, int n, int *error, char *message)
        const char *(*option)(int i)

    enum:
        SF_STACK_ERROR_SIZE

    const sf_stack_entry *sf_stack_find(const char *name)
    const sf_stack_entry *sf_stack_at(int i)
    sf_stack *sf_stack_ethernet_create(sf_driver *, uint32_t slot, uint32_t generation, sf_sock **, int *error)

    void sf_test_clock_set(sf_ns now)
    void sf_test_clock_go()
    sf_ns sf_test_clock_now()

cdef extern from "sf/driver.h" nogil:
    int SF_DRIVER_ERROR_SIZE

    uint32_t SF_DRIVER_STAMPS_TX

    cdef struct sf_flow:
        uint32_t local_addr
        uint32_t remote_addr
        uint16_t local_port
        uint16_t remote_port
        unsigned char protocol

    cdef struct sf_driver_caps:
        uint32_t flags
        uint32_t mtu
        uint32_t addr
        uint32_t peer_addr
        unsigned char mac[6]
        int queue
        char mode[160]

    cdef struct sf_driver_stats:
        uint64_t rx_frames
        uint64_t rx_bytes
        uint64_t tx_frames
        uint64_t tx_bytes
        uint64_t rx_dropped
        uint64_t rx_no_frames
        uint64_t rx_invalid
        uint64_t tx_full
        uint64_t tx_errors
        uint64_t wakeups

    cdef struct sf_driver_control:
        const char *name
        void (*close)(sf_driver *)
        void (*caps)(sf_driver *, sf_driver_caps *)
        void (*stats)(sf_driver *, sf_driver_stats *)
        int (*filter_add)(sf_driver *, const sf_flow *)
        int (*filter_del)(sf_driver *, const sf_flow *)
        int (*sniff)(sf_driver *, bint)

    cdef struct sf_driver_fast:
        const sf_driver_control *control

    cdef struct sf_driver:
        sf_driver_fast fast

    cdef struct sf_driver_config:
        const char *interface
        int queue
        uint32_t addr
        uint32_t rx_frames
        const char *mode
        const char *file
        const char *faults
        uint64_t seed
        bint stamp_tx

    ctypedef sf_driver *(*sf_driver_open)(const sf_driver_config *, int *error, char *message)
    ctypedef sf_driver *(*sf_driver_wrap)(sf_driver *below, const sf_driver_config *, int *error, char *message)
    cdef struct sf_driver_entry:
        const char *name
        const char *description
        sf_driver_open open
        sf_driver_wrap wrap

    const sf_driver_entry *sf_driver_at(int i)
    sf_driver_open sf_driver_find(const char *name)
    int sf_driver_load(const char *name, const char *path, char *message)
    sf_driver_wrap sf_driver_find_wrapper(const char *name)
    sf_ns (*sf_fault_now)()

cdef extern from "sf/engine.h" nogil:
    cdef struct sf_ready_queue:
        void **ring
        size_t head
        size_t count
        size_t capacity

    cdef struct sf_timer:
        sf_ns when
        uint64_t sequence
        void *handle

    cdef struct sf_timers:
        sf_timer *heap
        size_t count
        uint64_t sequence

    cdef struct sf_slots:
        uint32_t used

    cdef enum sf_spin_mode:
        SF_SPIN_ADAPTIVE
        SF_SPIN_ALWAYS
        SF_SPIN_NEVER
        SF_SPIN_FOR

    cdef struct sf_spin:
        bint contended
        uint64_t contentions

    cdef struct sf_engine_stats:
        uint64_t turns
        uint64_t empty_turns
        uint64_t sleeps
        uint64_t signals

    ctypedef struct atomic_int:
        pass
    ctypedef struct atomic_ullong:
        pass
    int atomic_load(atomic_int *)
    unsigned long long atomic_load_ull "atomic_load" (atomic_ullong *)
    void atomic_store(atomic_int *, int)

    cdef struct sf_busy:
        unsigned doublings

    cdef struct sf_engine:
        atomic_int wake
        atomic_ullong wake_writes
        sf_stack *kernel
        sf_stack **stacks
        int n_stacks
        sf_ns now
        sf_event *events
        int event_next
        int event_count
        sf_ready_queue ready
        sf_ready_queue due
        sf_timers timers
        sf_slots slots
        sf_spin spin
        sf_busy busy
        sf_engine_stats stats
        uint32_t stale_in_a_row
        sf_ns kernel_polled

    int sf_ready_queue_push(sf_ready_queue *, void *handle)
    void *sf_ready_queue_pop(sf_ready_queue *)
    int sf_timers_push(sf_timers *, sf_ns when, void *handle)
    void *sf_timers_pop(sf_timers *)
    void sf_timers_rebuild(sf_timers *)
    sf_ns sf_timers_next(const sf_timers *)
    int sf_slots_take(sf_slots *, uint32_t *slot, uint32_t *generation)
    void sf_slots_give(sf_slots *, uint32_t slot)

    sf_engine *sf_engine_create(sf_spin_mode, sf_ns spin_limit, int *error)
    void sf_engine_destroy(sf_engine *)
    int sf_engine_after_fork(sf_engine *)
    enum:
        SF_MAX_STACKS
    int sf_engine_add_stack(sf_engine *, sf_stack *)
    void sf_engine_remove_stack(sf_engine *, sf_stack *)
    void sf_engine_enter(sf_engine *)
    void sf_engine_leave(sf_engine *)
    void sf_engine_stale(sf_engine *)
    int sf_engine_poll(sf_engine *)
    bint sf_engine_may_skip_poll(sf_engine *)
    int sf_engine_poll_busy(sf_engine *)
    void sf_engine_note_own(sf_engine *)
    struct sf_linger:
        sf_sock *sock
        sf_datagram *datagram
        void *buf
        size_t len
        const void *lent
        ssize_t got

    int sf_engine_wait(sf_engine *, sf_ns deadline, sf_ns patience, sf_linger *)

    int sf_engine_linger(sf_engine *, sf_linger *, sf_ns deadline, sf_ns patience)
    int sf_engine_quiesce(sf_engine *, sf_ns patience)
    void sf_engine_wake(sf_engine *)
    bint sf_engine_current(const sf_engine *, const sf_event *)

cdef extern from "engine/stack_cost.h" nogil:
    cdef struct sf_datagram_cost:
        double send_ns
        double receive_ns

    int sf_measure_datagrams(sf_sock *sender, sf_sock *to, uint32_t size, sf_ns span, sf_datagram_cost *out)
    cdef struct sf_segment_cost:
        double send_ns
        double receive_ns

    int sf_measure_segments(sf_sock *sender, sf_sock *to, uint32_t size, sf_ns span, sf_segment_cost *out)
    double sf_measure_idle(sf_stack *, sf_ns span)
