/* Asks the kernel by netlink (sock_diag(7)) whether a connection has keys of TCP-MD5 (RFC 2385), because no socket option tells it. */
#define _GNU_SOURCE
#include "repair.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_SIZE 16384

struct question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 about;
};

/* The answer has the keys only if it also has INET_DIAG_INFO. */
static struct question question_about(const struct sf_tcp_image *image)
{
    struct question q = {
        .header = {.nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .about =
            {
                .sdiag_family = AF_INET,
                .sdiag_protocol = IPPROTO_TCP,
                .idiag_ext = 1 << (INET_DIAG_INFO - 1),
                .idiag_states = UINT32_MAX,
            },
    };

    q.about.id.idiag_src[0] = image->local_addr;
    q.about.id.idiag_sport = image->local_port;
    q.about.id.idiag_dst[0] = image->remote_addr;
    q.about.id.idiag_dport = image->remote_port;
    q.about.id.idiag_cookie[0] = q.about.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    return q;
}

static int keys_in(struct nlmsghdr *header, size_t n)
{
    struct inet_diag_msg *message = NLMSG_DATA(header);
    struct rtattr *attribute = (struct rtattr *)(message + 1);
    int len;

    if (!NLMSG_OK(header, n) || header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(*message)))
        return -EIO;
    len = (int)(header->nlmsg_len - NLMSG_LENGTH(sizeof(*message)));
    for (; RTA_OK(attribute, len); attribute = RTA_NEXT(attribute, len))
        if (attribute->rta_type == INET_DIAG_MD5SIG)
            return 1;
    return 0;
}

int sf_repair_has_keys(const struct sf_tcp_image *image)
{
    struct question q = question_about(image);
    union {
        struct nlmsghdr header;
        char bytes[ANSWER_SIZE];
    } answer;
    ssize_t n = -1;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), rc;

    if (fd < 0)
        return -errno;
    if (send(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q))
        n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT); /* the kernel answers while it is asked */
    rc = n < 0 ? -errno : keys_in(&answer.header, (size_t)n);
    close(fd);
    return rc;
}
