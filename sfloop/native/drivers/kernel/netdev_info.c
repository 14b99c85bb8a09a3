#define _GNU_SOURCE 1
#include "netdev_info.h"

#include "netlink_query.h"

#include <linux/genetlink.h>

/* From linux/netdev.h, which Debian 12's headers lack. */
enum {
    DEV_GET = 1,
    DEV_IFINDEX = 1,
    DEV_XDP_FEATURES = 3,
    XDP_FEATURE_ZERO_COPY = 1 << 3,
    QUEUE_GET = 10,
    QUEUE_ID = 1,
    QUEUE_IFINDEX = 2,
    QUEUE_TYPE = 3,
    QUEUE_RECEIVES = 0,
};

/* ---- XDP ---- */

static void read_features(void *context, const struct nlmsghdr *message)
{
    const struct rtattr *features = sf_query_find(message, GENL_HDRLEN, DEV_XDP_FEATURES);

    if (features)
        *(enum sf_zero_copy *)context = sf_query_u64(features) & XDP_FEATURE_ZERO_COPY ? SF_ZERO_COPY_POSSIBLE : SF_ZERO_COPY_NONE;
}

enum sf_zero_copy sf_netdev_zero_copy(int ifindex)
{
    enum sf_zero_copy found = SF_ZERO_COPY_UNKNOWN;
    const uint32_t index = (uint32_t)ifindex;
    struct sf_query_family family;
    struct sf_query query;

    if (sf_query_find_family("netdev", NULL, &family))
        return found;
    sf_query_begin_generic(&query, &family, DEV_GET, 0);
    sf_query_add(&query, DEV_IFINDEX, &index, sizeof(index));
    return sf_query_ask(NETLINK_GENERIC, &query, read_features, &found) ? SF_ZERO_COPY_UNKNOWN : found;
}

/* ---- queues ---- */

static void count_queue(void *context, const struct nlmsghdr *message)
{
    const struct rtattr *type = sf_query_find(message, GENL_HDRLEN, QUEUE_TYPE);
    const struct rtattr *id = sf_query_find(message, GENL_HDRLEN, QUEUE_ID);
    uint32_t *count = context;

    if (type && id && sf_query_u32(type) == QUEUE_RECEIVES && sf_query_u32(id) >= *count)
        *count = sf_query_u32(id) + 1;
}

uint32_t sf_netdev_rx_queues(int ifindex)
{
    const uint32_t index = (uint32_t)ifindex;
    struct sf_query_family family;
    struct sf_query query;
    uint32_t count = 0;

    if (sf_query_find_family("netdev", NULL, &family))
        return 0;
    sf_query_begin_generic(&query, &family, QUEUE_GET, NLM_F_DUMP);
    sf_query_add(&query, QUEUE_IFINDEX, &index, sizeof(index));
    return sf_query_ask(NETLINK_GENERIC, &query, count_queue, &count) ? 0 : count;
}
