/* Differences between releases of Onload since 9.0. The build checks for each (sfloop/meson.build); this header replaces the
 * missing ones. */
#ifndef SF_DRIVERS_EF_VI_RELEASES_H
#define SF_DRIVERS_EF_VI_RELEASES_H

#include <etherfabric/capabilities.h>
#include <etherfabric/ef_vi.h>
#include <etherfabric/pd.h>
#include <etherfabric/vi.h>

/* In 9.0, the NICs that send by CTPIO only are those whose events refer to frames. */
#ifdef SF_EF_VI_CAP_RX_REF
#define EFVI_CAP_RX_REF EF_VI_CAP_RX_REF
#else
#define EFVI_CAP_RX_REF EF_VI_CAP_CTPIO_ONLY
#endif

#ifdef SF_EF_PD_EXPRESS
#define EFVI_HAS_EXPRESS true
#define EFVI_PD_EXPRESS EF_PD_EXPRESS
#else
#define EFVI_HAS_EXPRESS false /* 9.0 has no X4 */
#define EFVI_PD_EXPRESS EF_PD_DEFAULT
#endif

#ifdef SF_EF_FILTER_FLAG_REQUEST_WAKEUPS
#define EFVI_FILTER_WAKEUPS EF_FILTER_FLAG_REQUEST_WAKEUPS
#else
#define EFVI_FILTER_WAKEUPS EF_FILTER_FLAG_NONE
#endif

/* Reads a capability of the domain, which may be on another datapath than the interface's usual one, or else of the interface. */
static inline int efvi_ask(ef_driver_handle handle, ef_pd *pd, int ifindex, enum ef_vi_capability which, unsigned long *value)
{
#ifdef SF_ef_pd_capabilities_get
    (void)ifindex;
    return ef_pd_capabilities_get(handle, pd, handle, which, value);
#else
    (void)pd;
    return ef_vi_capabilities_get(handle, ifindex, which, value);
#endif
}

/* Releases that cannot restart a stopped queue need a new VI. */
#ifndef ef_vi_reinit_txq_post_error
#define EFVI_NO_RESTART
#endif

#endif
