/* NICs, handles, protection domains, registered memory, capabilities. */
#define _GNU_SOURCE
#include "efsim.h"

#include "drivers/kernel/interface_info.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NICS 16
#define HANDLES 16
#define FIRST_PAGE 0x100u

/* From drivers/shm/driver.c. Declared here, because the shared object lacks the registry of drivers. */
struct sf_driver *sf_driver_shm_open(const struct sf_driver_config *, int *error, char *message);

static struct efsim_nic nics[NICS];

static struct {
    bool used;
    ef_driver_handle handle;
    int event_fd;
    pid_t owner;
} handles[HANDLES];

void efsim_misused(const char *function, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "efsim: %s: ", function);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

uint64_t efsim_sum(const void *data, size_t len)
{
    const uint8_t *at = data;
    uint64_t sum = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ at[i]) * 1099511628211u;
    return sum;
}

/* ---- NICs ---- */

static void set_arch(struct efsim_options *o, const char *name)
{
    static const struct {
        const char *name;
        enum ef_vi_arch arch;
    } archs[] = {
        {"ef10", EF_VI_ARCH_EF10},     {"ef100", EF_VI_ARCH_EF100},   {"efct", EF_VI_ARCH_EFCT},
        {"ef10ct", EF_VI_ARCH_EF10CT}, {"af_xdp", EF_VI_ARCH_AF_XDP},
    };

    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        if (strcmp(archs[i].name, name) == 0) {
            o->arch = archs[i].arch;
            return;
        }
    }
    EFSIM_MUST(false, "SFLOOP_TEST_EF_VI has arch=%s", name);
}

static void read_options(struct efsim_options *o)
{
    const char *given = getenv("SFLOOP_TEST_EF_VI");
    char *text = strdup(given ? given : ""), *rest = text, *word;
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"no-ctpio", &o->no_ctpio},       {"no-pio", &o->no_pio}, {"no-timestamps", &o->no_timestamps},
        {"force-merge", &o->force_merge}, {"shared", &o->shared}, {"strict", &o->strict},
    };

    o->arch = EF_VI_ARCH_EF10;
    while ((word = strsep(&rest, ","))) {
        size_t i = 0, n = sizeof(flags) / sizeof(flags[0]);

        while (i < n && strcmp(flags[i].name, word) != 0)
            i++;
        if (i < n)
            *flags[i].flag = true;
        else if (strncmp(word, "wire=", 5) == 0)
            snprintf(o->wire, sizeof(o->wire), "%s", word + 5);
        else if (strncmp(word, "arch=", 5) == 0)
            set_arch(o, word + 5);
        else
            EFSIM_MUST(!*word, "SFLOOP_TEST_EF_VI has %s", word);
    }
    free(text);
}

/* Makes the wire's address from the interface's MAC, because the two ends of a wire need different addresses. */
static uint32_t wire_address(int ifindex)
{
    char name[IF_NAMESIZE];
    struct sf_interface_info info;
    uint32_t addr;

    if (!if_indextoname((unsigned)ifindex, name) || sf_interface_read(name, &info) < 0)
        return (uint32_t)ifindex;
    memcpy(&addr, info.mac + 2, sizeof(addr));
    return addr;
}

struct efsim_nic *efsim_nic(int ifindex)
{
    struct efsim_nic *nic;

    for (nic = nics; nic < nics + NICS && nic->used; nic++)
        if (nic->ifindex == ifindex)
            return nic;
    if (nic == nics + NICS)
        return NULL;
    memset(nic, 0, sizeof(*nic));
    nic->used = true;
    nic->ifindex = ifindex;
    nic->wire_addr = wire_address(ifindex);
    read_options(&nic->options);
    return nic;
}

/* ---- handles ---- */

static int handle_index(ef_driver_handle handle)
{
    for (int i = 0; i < HANDLES; i++)
        if (handles[i].used && handles[i].handle == handle)
            return i;
    EFSIM_MUST(false, "%d is not an open handle", handle);
}

static int watch(ef_driver_handle handle, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};

    return epoll_ctl(handle, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST ? -errno : 0;
}

int ef_driver_open(ef_driver_handle *handle)
{
    int i = 0;

    for (struct efsim_nic *nic = nics; nic < nics + NICS && nic->used; nic++)
        if (nic->faults.absent > 0 && nic->faults.absent--)
            return -ENOENT; /* the character device is missing while the vendor's driver restarts */
    while (i < HANDLES && handles[i].used)
        i++;
    EFSIM_MUST(i < HANDLES, "%d handles are open: some were not closed", HANDLES);
    handles[i].handle = epoll_create1(0); /* without EPOLL_CLOEXEC, because programs inherit the real handle too */
    handles[i].event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (handles[i].handle < 0 || handles[i].event_fd < 0)
        return -EMFILE;
    handles[i].used = true;
    handles[i].owner = getpid();
    *handle = handles[i].handle;
    return watch(*handle, handles[i].event_fd);
}

/* Gives up the NICs in a forked child, because they are the parent's. The child's share of the real resources also ends with its
 * copy of the handle. */
static void leave_to_parent(void)
{
    for (struct efsim_nic *nic = nics; nic < nics + NICS && nic->used; nic++) {
        if (nic->wire)
            sf_driver_abandon(nic->wire);
        nic->used = false;
    }
}

int ef_driver_close(ef_driver_handle handle)
{
    int i = handle_index(handle);

    if (handles[i].owner != getpid())
        leave_to_parent();
    handles[i].used = false;
    close(handles[i].event_fd);
    close(handle);
    return 0;
}

void efsim_signal(ef_driver_handle handle)
{
    eventfd_write(handles[handle_index(handle)].event_fd, 1);
}

void efsim_quiet(ef_driver_handle handle)
{
    eventfd_t value;

    eventfd_read(handles[handle_index(handle)].event_fd, &value);
}

void efsim_watch(ef_driver_handle handle, int fd)
{
    watch(handle, fd);
}

/* ---- protection domains ---- */

int ef_pd_alloc(ef_pd *pd, ef_driver_handle handle, int ifindex, enum ef_pd_flags flags)
{
    struct efsim_nic *nic = efsim_nic(ifindex);
    struct sf_driver_config config = {0};
    char message[SF_DRIVER_ERROR_SIZE];
    int error = 0;

    handle_index(handle);
    if (!nic || nic->faults.gone || !nic->options.wire[0])
        return -ENODEV;
    if (flags & EF_PD_EXPRESS && nic->options.arch != EF_VI_ARCH_EF10CT)
        return -EOPNOTSUPP;
    EFSIM_MUST(!nic->domain, "the interface has a domain already, and the simulator supports one");
    config.interface = nic->options.wire;
    config.addr = nic->wire_addr;
    nic->wire = sf_driver_shm_open(&config, &error, message);
    if (!nic->wire) {
        fprintf(stderr, "efsim: %s\n", message);
        return error;
    }
    nic->filters = calloc(EFSIM_FILTERS, sizeof(*nic->filters));
    nic->n_filters = nic->sniffing = 0;
    nic->known.protocol = 0;
    nic->domain = true;
    nic->counts.opened++;
    pd->nic = nic;
    return nic->filters ? 0 : -ENOMEM;
}

int ef_pd_free(ef_pd *pd, ef_driver_handle handle)
{
    struct efsim_nic *nic = pd->nic;

    handle_index(handle);
    EFSIM_MUST(nic->domain, "the domain was freed already");
    EFSIM_MUST(!nic->vi, "free the virtual interface first");
    EFSIM_MUST(!nic->pages, "free the registered memory first");
    EFSIM_MUST(!nic->pio, "free the PIO buffer first");
    nic->wire->fast.control->close(nic->wire);
    nic->wire = NULL;
    free(nic->filters);
    nic->filters = NULL;
    nic->domain = false;
    return 0;
}

/* ---- memory: neighbouring pages are exchanged, so that a descriptor that crosses a page's end is found ---- */

int ef_memreg_alloc(ef_memreg *mr, ef_driver_handle handle, struct ef_pd *pd, ef_driver_handle pd_handle, void *memory,
                    size_t size)
{
    struct efsim_nic *nic = pd->nic;

    handle_index(handle);
    handle_index(pd_handle);
    if ((uintptr_t)memory % EFSIM_PAGE || size % 2048)
        return -EINVAL;
    EFSIM_MUST(!nic->pages, "the simulator registers one region");
    nic->n_pages = (unsigned)((size + EFSIM_PAGE - 1) / EFSIM_PAGE + 1) & ~1u;
    nic->pages = calloc(nic->n_pages, sizeof(*nic->pages));
    if (!nic->pages)
        return -ENOMEM;
    for (unsigned i = 0; i * (size_t)EFSIM_PAGE < size; i++)
        nic->pages[i ^ 1] = (uint8_t *)memory + (size_t)i * EFSIM_PAGE;
    mr->nic = nic;
    mr->first_page = FIRST_PAGE;
    return 0;
}

int ef_memreg_free(ef_memreg *mr, ef_driver_handle handle)
{
    handle_index(handle);
    free(mr->nic->pages);
    mr->nic->pages = NULL;
    return 0;
}

ef_addr ef_memreg_dma_addr(ef_memreg *mr, size_t offset)
{
    size_t page = offset / EFSIM_PAGE;

    EFSIM_MUST(mr->nic->pages && page < mr->nic->n_pages, "offset %zu is beyond the registered memory", offset);
    return (ef_addr)((page ^ 1) + mr->first_page) * EFSIM_PAGE + offset % EFSIM_PAGE;
}

uint8_t *efsim_dma(struct efsim_nic *nic, ef_addr addr, size_t len)
{
    uint64_t page = addr / EFSIM_PAGE - FIRST_PAGE;

    EFSIM_MUST(nic->pages, "no memory is registered");
    EFSIM_MUST(page < nic->n_pages && nic->pages[page], "%#llx is no DMA address", (unsigned long long)addr);
    EFSIM_MUST(addr % EFSIM_PAGE + len <= EFSIM_PAGE, "%zu bytes at %#llx cross the end of a page", len, (unsigned long long)addr);
    return nic->pages[page] + addr % EFSIM_PAGE;
}

/* ---- capabilities ---- */

int ef_pd_capabilities_get(ef_driver_handle handle, ef_pd *pd, ef_driver_handle pd_handle, enum ef_vi_capability which,
                           unsigned long *value)
{
    const struct efsim_options *o = &pd->nic->options;
    bool refers = efsim_refers(pd->nic), has;

    handle_index(handle);
    handle_index(pd_handle);
    switch (which) {
    case EF_VI_CAP_PIO:
        has = !refers && !o->no_pio;
        break;
    case EF_VI_CAP_CTPIO:
        has = refers || !o->no_ctpio;
        break;
    case EF_VI_CAP_HW_RX_TIMESTAMPING:
    case EF_VI_CAP_HW_TX_TIMESTAMPING:
        has = !o->no_timestamps;
        break;
    case EF_VI_CAP_RX_MERGE:
        has = !refers;
        break;
    case EF_VI_CAP_RX_FORCE_EVENT_MERGING:
        has = o->force_merge;
        break;
    case EF_VI_CAP_CTPIO_ONLY:
    case EF_VI_CAP_RX_REF:
        has = refers;
        break;
    case EF_VI_CAP_RX_SHARED:
        has = o->shared;
        break;
    default:
        return -ENOSYS;
    }
    *value = has;
    return has ? 0 : -EOPNOTSUPP;
}

/* ---- PIO ---- */

int ef_pio_alloc(ef_pio *pio, ef_driver_handle handle, struct ef_pd *pd, unsigned size, ef_driver_handle pd_handle)
{
    (void)size;
    handle_index(handle);
    handle_index(pd_handle);
    if (efsim_refers(pd->nic) || pd->nic->options.no_pio)
        return -EOPNOTSUPP;
    if (pd->nic->faults.pio_taken)
        return -ENOSPC;
    pio->nic = pd->nic;
    pio->nic->pio = true;
    return 0;
}

int ef_pio_free(ef_pio *pio, ef_driver_handle handle)
{
    handle_index(handle);
    EFSIM_MUST(!pio->nic->pio_linked, "unlink the PIO buffer first");
    pio->nic->pio = false;
    return 0;
}

int ef_pio_link_vi(ef_pio *pio, ef_driver_handle handle, struct ef_vi *vi, ef_driver_handle vi_handle)
{
    (void)vi;
    handle_index(handle);
    handle_index(vi_handle);
    pio->nic->pio_linked = true;
    return 0;
}

int ef_pio_unlink_vi(ef_pio *pio, ef_driver_handle handle, struct ef_vi *vi, ef_driver_handle vi_handle)
{
    (void)vi;
    handle_index(handle);
    handle_index(vi_handle);
    EFSIM_MUST(pio->nic->pio_linked, "the PIO buffer is not linked");
    pio->nic->pio_linked = false;
    return 0;
}

int ef_vi_get_pio_size(ef_vi *vi)
{
    return vi->sim->nic->pio ? EFSIM_PIO_BYTES : -EINVAL;
}
