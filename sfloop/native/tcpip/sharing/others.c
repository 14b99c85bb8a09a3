#define _GNU_SOURCE
#include "others.h"

#include "tcpip/net/netlink.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SIZE 32768
#define SLICE_SIZE 4096 /* about 30 sockets. The kernel makes its datagrams as large as the largest buffer it was given */
#define EXACT_SIZE 16384 /* an answer about one socket, with all keys of TCP-MD5 */
#define PATIENCE_MS 500

/* Two comparisons, each with its operand in a second word: sport >= port, sport <= port. */
struct port_filter {
    struct inet_diag_bc_op op[4];
};

struct request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
    struct rtattr filter_header;
    struct port_filter filter;
};

static uint32_t next_sequence(void)
{
    static uint32_t last;

    return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

int sf_others_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

uint32_t sf_others_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? (uint32_t)st.st_ino : 0;
}

/* ---- the query ---- */

static uint32_t states_of(enum sf_others_which which)
{
    switch (which) {
    case SF_OTHERS_LISTENERS:
        return 1u << TCP_LISTEN;
    case SF_OTHERS_CONNECTIONS:
        return 1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_SYN_RECV | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT |
               1u << TCP_LAST_ACK | 1u << TCP_CLOSING;
    default:
        return UINT32_MAX;
    }
}

/* A jump to 4 bytes beyond the end means "no match" to the kernel (inet_diag_bc_run()). */
static void filter_port(struct request *request, uint16_t port)
{
    uint16_t host = ntohs(port);

    request->filter.op[0] = (struct inet_diag_bc_op){.code = INET_DIAG_BC_S_GE, .yes = 8, .no = 20};
    request->filter.op[1] = (struct inet_diag_bc_op){.no = host};
    request->filter.op[2] = (struct inet_diag_bc_op){.code = INET_DIAG_BC_S_LE, .yes = 8, .no = 12};
    request->filter.op[3] = (struct inet_diag_bc_op){.no = host};
    request->filter_header.rta_type = INET_DIAG_REQ_BYTECODE;
    request->filter_header.rta_len = RTA_LENGTH(sizeof(request->filter));
    request->header.nlmsg_len = sizeof(*request);
}

static int ask(int fd, enum sf_others_which which, uint8_t family, uint16_t port, uint32_t sequence)
{
    struct request request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = sequence,
                   .nlmsg_len = NLMSG_LENGTH(sizeof(request.body))},
        .body = {.sdiag_family = family,
                 .sdiag_protocol = which == SF_OTHERS_UDP ? IPPROTO_UDP : IPPROTO_TCP,
                 .idiag_states = states_of(which)},
    };

    if (port)
        filter_port(&request, port);
    return send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* ---- the answer ---- */

static bool is_mapped(const uint32_t addr[4])
{
    return !addr[0] && !addr[1] && addr[2] == htonl(0xffff);
}

/* NULL: the message has no attribute of this type. */
static const struct rtattr *find_attribute(const struct nlmsghdr *message, unsigned type)
{
    const struct inet_diag_msg *body = NLMSG_DATA(message);
    const struct rtattr *attribute = (const struct rtattr *)(const void *)(body + 1);
    int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*body));

    while (RTA_OK(attribute, left)) {
        if (attribute->rta_type == type)
            return attribute;
        attribute = sf_netlink_next(attribute, &left);
    }
    return NULL;
}

static bool is_ipv6_only(const struct nlmsghdr *message)
{
    const struct rtattr *attribute = find_attribute(message, INET_DIAG_SKV6ONLY);

    return attribute && RTA_PAYLOAD(attribute) >= 1 && *(const uint8_t *)RTA_DATA(attribute);
}

/* False: the socket does not receive IPv4. */
static bool read_addresses(const struct nlmsghdr *message, const struct inet_diag_msg *body, struct sf_other *other)
{
    const struct inet_diag_sockid *id = &body->id;

    if (body->idiag_family == AF_INET) {
        other->local_addr = id->idiag_src[0];
        other->remote_addr = id->idiag_dst[0];
        return true;
    }
    if (is_ipv6_only(message))
        return false;
    other->ipv6 = true;
    if (is_mapped(id->idiag_src)) {
        other->local_addr = id->idiag_src[3];
        other->remote_addr = is_mapped(id->idiag_dst) ? id->idiag_dst[3] : 0;
        return true;
    }
    return !id->idiag_src[0] && !id->idiag_src[1] && !id->idiag_src[2] && !id->idiag_src[3];
}

static bool visit_message(const struct nlmsghdr *message, uint8_t protocol, uint16_t port, sf_others_visit visit, void *context)
{
    const struct inet_diag_msg *body = NLMSG_DATA(message);
    struct sf_other other = {.protocol = protocol};

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || (port && body->id.idiag_sport != port) ||
        !read_addresses(message, body, &other))
        return true;
    other.local_port = body->id.idiag_sport;
    other.remote_port = body->id.idiag_dport;
    other.state = body->idiag_state;
    other.ifindex = (int)body->id.idiag_if;
    other.inode = body->idiag_inode;
    return visit(context, &other);
}

/* Returns 1 if more follows, and 0 at the end. */
static int read_into(char *answer, size_t size, int fd, uint8_t protocol, uint16_t port, uint32_t sequence, bool *wanted,
                     sf_others_visit visit, void *context)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)answer;
    ssize_t got = recv(fd, answer, size, 0);

    if (got < 0)
        return errno == EINTR ? 1 : -errno;
    for (; NLMSG_OK(message, got); message = NLMSG_NEXT(message, got)) {
        if (message->nlmsg_seq != sequence)
            continue;
        if (message->nlmsg_type == NLMSG_DONE)
            return 0;
        if (message->nlmsg_type == NLMSG_ERROR)
            return ((const struct nlmsgerr *)NLMSG_DATA(message))->error;
        if (*wanted)
            *wanted = visit_message(message, protocol, port, visit, context);
    }
    return 1;
}

static int read_answer(int fd, uint8_t protocol, uint16_t port, uint32_t sequence, bool *wanted, sf_others_visit visit,
                       void *context)
{
    _Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];

    return read_into(answer, sizeof(answer), fd, protocol, port, sequence, wanted, visit, context);
}

int sf_others_ask(int fd, enum sf_others_which which, uint8_t family, uint32_t *sequence)
{
    *sequence = next_sequence();
    if (!*sequence)
        *sequence = next_sequence();
    return ask(fd, which, family, 0, *sequence);
}

int sf_others_read_some(int fd, enum sf_others_which which, uint32_t sequence, sf_others_visit visit, void *context)
{
    _Alignas(struct nlmsghdr) char answer[SLICE_SIZE];
    bool wanted = true;

    return read_into(answer, sizeof(answer), fd, which == SF_OTHERS_UDP ? IPPROTO_UDP : IPPROTO_TCP, 0, sequence, &wanted, visit,
                     context);
}

/* Reads an answer that is not a list into EXACT_SIZE bytes. 0: the kernel has no such socket. 1: *out is the answer. */
static int read_exact(int fd, uint32_t sequence, char *answer, const struct nlmsghdr **out)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)answer;
    ssize_t got;

    do
        got = recv(fd, answer, EXACT_SIZE, 0);
    while ((got < 0 && errno == EINTR) || (got >= 0 && NLMSG_OK(message, got) && message->nlmsg_seq != sequence));
    if (got < 0)
        return -errno;
    if (!NLMSG_OK(message, got))
        return -EPROTO;
    if (message->nlmsg_type == NLMSG_ERROR) {
        int rc = ((const struct nlmsgerr *)NLMSG_DATA(message))->error;

        return rc == -ENOENT ? 0 : rc;
    }
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
        return -EPROTO;
    *out = message;
    return 1;
}

/* Asks about one TCP connection, with an extension (1 << (INET_DIAG_… - 1)) or 0. Returns as read_exact(). */
static int ask_exact(int fd, const struct sf_other *connection, uint8_t extension, char *answer, const struct nlmsghdr **out)
{
    uint32_t sequence = next_sequence();
    struct request request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = sequence,
                   .nlmsg_len = NLMSG_LENGTH(sizeof(request.body))},
        .body = {.sdiag_family = AF_INET,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_ext = extension,
                 .idiag_states = UINT32_MAX,
                 .id = {.idiag_sport = connection->local_port,
                        .idiag_dport = connection->remote_port,
                        .idiag_src = {connection->local_addr},
                        .idiag_dst = {connection->remote_addr},
                        .idiag_if = (uint32_t)connection->ifindex,
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };

    if (fd < 0)
        return fd;
    return send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -errno : read_exact(fd, sequence, answer, out);
}

/* The kernel returns a listener if there is no connection. */
int sf_others_has(int fd, const struct sf_other *connection)
{
    _Alignas(struct nlmsghdr) char answer[EXACT_SIZE];
    const struct nlmsghdr *message;
    int rc = ask_exact(fd, connection, 0, answer, &message);

    int state = rc > 0 ? ((const struct inet_diag_msg *)NLMSG_DATA(message))->idiag_state : rc;

    return state == TCP_LISTEN ? 0 : state;
}

/* The answer has the keys only if it also has INET_DIAG_INFO. */
int sf_others_has_keys(int fd, const struct sf_other *connection)
{
    _Alignas(struct nlmsghdr) char answer[EXACT_SIZE];
    const struct nlmsghdr *message;
    int rc = ask_exact(fd, connection, 1 << (INET_DIAG_INFO - 1), answer, &message);

    return rc < 0 ? rc : rc == 0 ? -ENOENT : find_attribute(message, INET_DIAG_MD5SIG) != NULL;
}

int sf_others_list(int fd, enum sf_others_which which, uint16_t port, sf_others_visit visit, void *context)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    uint8_t protocol = which == SF_OTHERS_UDP ? IPPROTO_UDP : IPPROTO_TCP;
    bool wanted = true;

    for (size_t i = 0; i < sizeof(families); i++) {
        uint32_t sequence = next_sequence();
        int rc = ask(fd, which, families[i], port, sequence);

        if (rc == 0)
            do
                rc = read_answer(fd, protocol, port, sequence, &wanted, visit, context);
            while (rc > 0);
        if (rc < 0 && !(families[i] == AF_INET6 && rc == -ENOENT)) /* -ENOENT: this kernel lacks IPv6 */
            return rc;
    }
    return 0;
}
