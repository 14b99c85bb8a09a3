#define _GNU_SOURCE 1
#include "netlink_query.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SIZE 32768

/* ---- the question ---- */

void sf_query_begin(struct sf_query *query, uint16_t type, uint16_t flags, const void *head, size_t size)
{
    memset(query, 0, sizeof(*query));
    query->header.nlmsg_type = type;
    query->header.nlmsg_flags = NLM_F_REQUEST | flags;
    memcpy(query->body, head, size);
    query->header.nlmsg_len = (uint32_t)NLMSG_SPACE(size);
}

void sf_query_add(struct sf_query *query, uint16_t type, const void *value, size_t size)
{
    struct rtattr attribute = {.rta_len = (uint16_t)RTA_LENGTH(size), .rta_type = type};
    size_t at = query->header.nlmsg_len - sizeof(query->header);

    if (at + RTA_SPACE(size) > sizeof(query->body))
        return; /* a caller's mistake, because queries have a known length */
    memcpy(query->body + at, &attribute, sizeof(attribute));
    memcpy(query->body + at + sizeof(attribute), value, size);
    query->header.nlmsg_len += (uint32_t)RTA_SPACE(size);
}

/* ---- the answer ---- */

static int error_of(const struct nlmsghdr *message)
{
    const struct nlmsgerr *body = (const struct nlmsgerr *)((const char *)message + NLMSG_HDRLEN);

    return message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) ? -EBADMSG : body->error;
}

/* Reads one packet of messages. Returns 1 if more follow, 0 at the end, or a negative errno. */
static int read_answer(int fd, bool dump, sf_query_answer answer, void *context)
{
    _Alignas(struct nlmsghdr) static _Thread_local char buffer[ANSWER_SIZE];
    ssize_t size = recv(fd, buffer, sizeof(buffer), MSG_TRUNC);
    const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
    int left;

    if (size < 0)
        return -errno;
    if (size > ANSWER_SIZE)
        return -EMSGSIZE;
    left = (int)size;
    for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_type == NLMSG_DONE)
            return 0;
        if (message->nlmsg_type == NLMSG_ERROR)
            return error_of(message);
        answer(context, message);
    }
    return dump;
}

int sf_query_ask(int protocol, struct sf_query *query, sf_query_answer answer, void *context)
{
    /* For safety only: the kernel answers before send() returns. */
    struct timeval patience = {.tv_sec = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), result = 1;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, query, query->header.nlmsg_len, 0) < 0)
        result = -errno;
    while (result > 0)
        result = read_answer(fd, query->header.nlmsg_flags & NLM_F_DUMP, answer, context);
    close(fd);
    return result;
}

static const struct rtattr *find(const void *attributes, int length, uint16_t type)
{
    const struct rtattr *attribute = attributes;

    for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length))
        if ((attribute->rta_type & NLA_TYPE_MASK) == type)
            return attribute;
    return NULL;
}

const struct rtattr *sf_query_find(const struct nlmsghdr *message, size_t size, uint16_t type)
{
    size_t head = NLMSG_SPACE(size);

    return message->nlmsg_len < head ? NULL : find((const char *)message + head, (int)(message->nlmsg_len - head), type);
}

const struct rtattr *sf_query_find_inside(const struct rtattr *attribute, uint16_t type)
{
    return attribute ? find(RTA_DATA(attribute), (int)RTA_PAYLOAD(attribute), type) : NULL;
}

uint32_t sf_query_u32(const struct rtattr *attribute)
{
    uint32_t value = 0;

    if (attribute && RTA_PAYLOAD(attribute) == sizeof(value))
        memcpy(&value, RTA_DATA(attribute), sizeof(value));
    return value;
}

uint64_t sf_query_u64(const struct rtattr *attribute)
{
    uint64_t value = 0;

    if (attribute && RTA_PAYLOAD(attribute) == sizeof(value))
        memcpy(&value, RTA_DATA(attribute), sizeof(value));
    return value;
}

void sf_query_text(const struct rtattr *attribute, char *text, size_t size)
{
    size_t length = attribute ? RTA_PAYLOAD(attribute) : 0;

    if (length > size - 1)
        length = size - 1;
    memset(text, 0, size);
    if (length)
        memcpy(text, RTA_DATA(attribute), length);
}

/* ---- generic netlink ---- */

struct family_wanted {
    const char *group;
    struct sf_query_family *found;
};

static void read_groups(const struct family_wanted *wanted, const struct rtattr *groups)
{
    const struct rtattr *group = RTA_DATA(groups);
    int left = (int)RTA_PAYLOAD(groups);
    char name[GENL_NAMSIZ];

    for (; RTA_OK(group, left); group = RTA_NEXT(group, left)) {
        sf_query_text(sf_query_find_inside(group, CTRL_ATTR_MCAST_GRP_NAME), name, sizeof(name));
        if (strcmp(name, wanted->group) == 0)
            wanted->found->group = sf_query_u32(sf_query_find_inside(group, CTRL_ATTR_MCAST_GRP_ID));
    }
}

static void read_family(void *context, const struct nlmsghdr *message)
{
    const struct family_wanted *wanted = context;
    const struct rtattr *id = sf_query_find(message, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID);
    const struct rtattr *groups = sf_query_find(message, GENL_HDRLEN, CTRL_ATTR_MCAST_GROUPS);

    if (id && RTA_PAYLOAD(id) == sizeof(wanted->found->id))
        memcpy(&wanted->found->id, RTA_DATA(id), sizeof(wanted->found->id));
    if (wanted->group && groups)
        read_groups(wanted, groups);
}

int sf_query_find_family(const char *name, const char *group, struct sf_query_family *family)
{
    const struct sf_query_family control = {.id = GENL_ID_CTRL};
    struct family_wanted wanted = {.group = group, .found = family};
    struct sf_query query;
    int error;

    memset(family, 0, sizeof(*family));
    sf_query_begin_generic(&query, &control, CTRL_CMD_GETFAMILY, 0);
    sf_query_add(&query, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
    error = sf_query_ask(NETLINK_GENERIC, &query, read_family, &wanted);
    return error ? error : family->id ? 0 : -ENOENT;
}

void sf_query_begin_generic(struct sf_query *query, const struct sf_query_family *family, uint8_t command, uint16_t flags)
{
    const struct genlmsghdr head = {.cmd = command, .version = 1};

    sf_query_begin(query, family->id, flags, &head, sizeof(head));
}
