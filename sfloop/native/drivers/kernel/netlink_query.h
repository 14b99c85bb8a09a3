/* A netlink query to the kernel and its answers. Drivers use it while they are opened. Needs no privilege. */
#ifndef SF_DRIVERS_KERNEL_NETLINK_QUERY_H
#define SF_DRIVERS_KERNEL_NETLINK_QUERY_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

struct sf_query {
    struct nlmsghdr header;
    uint8_t body[96];
};

/* Called for each message of the answer. */
typedef void (*sf_query_answer)(void *context, const struct nlmsghdr *message);

/* `head` is the fixed part before the attributes. `flags`: NLM_F_DUMP, or 0 for a query with one answer. */
void sf_query_begin(struct sf_query *query, uint16_t type, uint16_t flags, const void *head, size_t size);
void sf_query_add(struct sf_query *query, uint16_t type, const void *value, size_t size);

/* `protocol`: NETLINK_ROUTE or NETLINK_GENERIC. Returns 0 or a negative errno. Waits one second at most. */
int sf_query_ask(int protocol, struct sf_query *query, sf_query_answer answer, void *context);

/* Finds an attribute after the message's head of `size` bytes, or inside another attribute. NULL: none. */
const struct rtattr *sf_query_find(const struct nlmsghdr *message, size_t size, uint16_t type);
const struct rtattr *sf_query_find_inside(const struct rtattr *attribute, uint16_t type);

/* Return 0 if the attribute is missing or has another size. */
uint32_t sf_query_u32(const struct rtattr *attribute);
uint64_t sf_query_u64(const struct rtattr *attribute);
/* Empty if the attribute is missing. */
void sf_query_text(const struct rtattr *attribute, char *text, size_t size);

/* ---- generic netlink: the kernel numbers families when they are registered ---- */

struct sf_query_family {
    uint16_t id;
    uint32_t group; /* id of the named multicast group; 0: none */
};

/* `group` may be NULL. -ENOENT: this kernel has no such family. */
int sf_query_find_family(const char *name, const char *group, struct sf_query_family *family);
/* Begins a query to the family. */
void sf_query_begin_generic(struct sf_query *query, const struct sf_query_family *family, uint8_t command, uint16_t flags);

#endif
