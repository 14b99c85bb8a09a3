/* One question to the kernel by netlink, and its answers. Drivers ask while they are opened; no privilege is needed. */
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

/* `head` is what stands before the attributes. `flags`: NLM_F_DUMP, or 0 for a question with one answer. */
void sf_query_begin(struct sf_query *query, uint16_t type, uint16_t flags, const void *head, size_t size);
void sf_query_add(struct sf_query *query, uint16_t type, const void *value, size_t size);

/* `protocol`: NETLINK_ROUTE, NETLINK_GENERIC. Returns 0 or a negative errno; waits for a second at most. */
int sf_query_ask(int protocol, struct sf_query *query, sf_query_answer answer, void *context);

/* The attribute of that type behind the message's head of `size` bytes, or inside another attribute; NULL: there is none. */
const struct rtattr *sf_query_find(const struct nlmsghdr *message, size_t size, uint16_t type);
const struct rtattr *sf_query_find_inside(const struct rtattr *attribute, uint16_t type);

/* 0 if the attribute is not there, or of another size. */
uint32_t sf_query_u32(const struct rtattr *attribute);
uint64_t sf_query_u64(const struct rtattr *attribute);
/* Empty if the attribute is not there. */
void sf_query_text(const struct rtattr *attribute, char *text, size_t size);

/* ---- generic netlink: families are numbered when the kernel starts ---- */

struct sf_query_family {
    uint16_t id;
    uint32_t group; /* of the multicast group that was asked for; 0: there is none */
};

/* `group` may be NULL. -ENOENT: this kernel has no such family. */
int sf_query_find_family(const char *name, const char *group, struct sf_query_family *family);
/* A question to the family. */
void sf_query_begin_generic(struct sf_query *query, const struct sf_query_family *family, uint8_t command, uint16_t flags);

#endif
