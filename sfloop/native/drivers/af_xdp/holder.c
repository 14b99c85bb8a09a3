#define _GNU_SOURCE 1
#include "holder.h"

#include "drivers/kernel/bpf.h"

#include <dirent.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- the program on an interface, by rtnetlink ---- */

/* Returns the attribute of that type among `length` bytes of attributes, or NULL. */
static struct rtattr *find(struct rtattr *attribute, int length, int type)
{
    while (RTA_OK(attribute, length)) {
        if ((attribute->rta_type & NLA_TYPE_MASK) == type)
            return attribute;
        length -= (int)RTA_ALIGN(attribute->rta_len);
        attribute = (struct rtattr *)(void *)((char *)attribute + RTA_ALIGN(attribute->rta_len));
    }
    return NULL;
}

static uint32_t program_in(struct nlmsghdr *message, ssize_t size)
{
    struct ifinfomsg *link = NLMSG_DATA(message);
    struct rtattr *xdp, *id;

    if (!NLMSG_OK(message, size) || message->nlmsg_type != RTM_NEWLINK)
        return 0;
    xdp = find(IFLA_RTA(link), (int)IFLA_PAYLOAD(message), IFLA_XDP);
    if (!xdp)
        return 0;
    id = find(RTA_DATA(xdp), (int)RTA_PAYLOAD(xdp), IFLA_XDP_PROG_ID);
    return id ? *(uint32_t *)RTA_DATA(id) : 0;
}

/* The id of the XDP program on the interface; 0: none. */
static uint32_t program_on(int ifindex)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = {
        .header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST},
        .link = {.ifi_index = ifindex},
    };
    /* For safety only: the kernel answers before send() returns. */
    struct timeval patience = {.tv_sec = 1};
    _Alignas(struct nlmsghdr) char answer[16384];
    uint32_t id = 0;
    ssize_t size;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, &request, sizeof(request), 0) == sizeof(request)) {
        size = recv(fd, answer, sizeof(answer), 0);
        if (size > 0)
            id = program_in((struct nlmsghdr *)answer, size);
    }
    close(fd);
    return id;
}

/* ---- its owner, by /proc: the process that has the program or its link open ---- */

static bool names_program(const char *path, uint32_t id)
{
    FILE *file = fopen(path, "re");
    unsigned found = 0;
    char line[128];

    if (!file)
        return false;
    while (found != id && fgets(line, sizeof(line), file))
        if (sscanf(line, "prog_id: %u", &found) != 1)
            found = 0;
    fclose(file);
    return found == id;
}

static bool has_open(const char *pid, uint32_t id)
{
    char path[96];
    struct dirent *entry;
    bool found = false;
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%.16s/fdinfo", pid);
    folder = opendir(path);
    if (!folder)
        return false;
    while (!found && (entry = readdir(folder))) {
        snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, entry->d_name);
        found = names_program(path, id);
    }
    closedir(folder);
    return found;
}

/* The pid of a process that has the program open. 0: none, or none that this process may inspect. */
static int owner_of(uint32_t id)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    int owner = 0;

    if (!processes)
        return 0;
    while (!owner && (entry = readdir(processes)))
        if (entry->d_name[0] > '0' && entry->d_name[0] <= '9' && has_open(entry->d_name, id))
            owner = atoi(entry->d_name);
    closedir(processes);
    return owner;
}

bool sf_xdp_find_holder(int ifindex, struct sf_xdp_holder *holder)
{
    holder->program_id = program_on(ifindex);
    holder->name[0] = 0;
    holder->pid = 0;
    if (!holder->program_id)
        return false;
    sf_bpf_program_name(holder->program_id, holder->name);
    holder->pid = owner_of(holder->program_id);
    return true;
}
