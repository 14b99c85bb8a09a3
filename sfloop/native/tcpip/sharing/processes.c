#define _GNU_SOURCE
#include "processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_GENERATIONS 64
#define MOST_DESCRIPTORS 256

enum { FIELD_PARENT = 4, FIELD_STARTED = 22, FIELD_STACK_START = 28, FIELDS };

/* ---- what a process is ---- */

static bool read_stat(int pid, char *text, size_t size)
{
    char path[64];
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, text, size - 1);
    close(fd);
    if (got <= 0)
        return false;
    text[got] = 0;
    return true;
}

bool sf_process_read(int pid, struct sf_process_facts *facts)
{
    unsigned long long field[FIELDS] = {0};
    char text[1024], *at;
    long ticks = sysconf(_SC_CLK_TCK);

    if (!read_stat(pid, text, sizeof(text)))
        return false;
    at = strrchr(text, ')'); /* the name before it may have spaces, and brackets */
    if (!at || !at[1] || !at[2] || ticks <= 0)
        return false;
    at += 3; /* field 3 is a letter */
    for (int i = FIELD_PARENT; i < FIELDS; i++)
        field[i] = strtoull(at, &at, 10);
    facts->parent = (int)field[FIELD_PARENT];
    facts->started = (sf_ns)(field[FIELD_STARTED] * (unsigned long long)(SF_SEC / ticks));
    facts->stack_start = (unsigned long)field[FIELD_STACK_START];
    return true;
}

static bool descends(int pid, int from)
{
    struct sf_process_facts facts;

    for (int i = 0; i < MOST_GENERATIONS && pid > 0; i++) {
        if (pid == from)
            return true;
        if (!sf_process_read(pid, &facts))
            return false;
        pid = facts.parent;
    }
    return false;
}

bool sf_process_is_ancestor(int pid)
{
    return descends(getppid(), pid);
}

bool sf_process_is_ours(const struct sf_process_facts *facts, unsigned long stack_start)
{
    struct sf_process_facts parent;

    if (descends(facts->parent, getpid()))
        return true;
    return !sf_process_read(facts->parent, &parent) || parent.stack_start != stack_start;
}

/* ---- lists ---- */

static DIR *open_descriptors(int pid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
    return opendir(path);
}

void sf_processes_list(sf_process_visit visit, void *context)
{
    DIR *all = opendir("/proc");
    struct dirent *entry;

    if (!all)
        return;
    while ((entry = readdir(all))) {
        int pid = atoi(entry->d_name);

        if (pid > 0 && !visit(context, pid))
            break;
    }
    closedir(all);
}

/* Empty: it is closed by now. */
static void read_target(DIR *all, const char *name, char *target, size_t size)
{
    ssize_t length = readlinkat(dirfd(all), name, target, size - 1);

    target[length < 0 ? 0 : length] = 0;
}

void sf_process_sockets(int pid, sf_process_visit_socket visit, void *context)
{
    static const char socket_name[] = "socket:[";
    DIR *all = open_descriptors(pid, "fd");
    struct dirent *entry;

    if (!all)
        return;
    for (int i = 0; i < MOST_DESCRIPTORS && (entry = readdir(all)); i++) {
        char target[64];

        read_target(all, entry->d_name, target, sizeof(target));
        if (strncmp(target, socket_name, sizeof(socket_name) - 1) == 0 &&
            !visit(context, (uint32_t)strtoul(target + sizeof(socket_name) - 1, NULL, 10)))
            break;
    }
    closedir(all);
}

/* Lines of an epoll set: "tfd: 6 events: 19 data: 6 pos:0 ino:3ab sdev:8". */
static bool set_has(DIR *infos, const char *name, uint32_t inode)
{
    int fd = openat(dirfd(infos), name, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    char line[256];
    bool found = false;

    if (!file) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    while (!found && fgets(line, sizeof(line), file)) {
        const char *at = strncmp(line, "tfd:", 4) == 0 ? strstr(line, "ino:") : NULL;

        found = at && strtoul(at + 4, NULL, 16) == inode;
    }
    fclose(file);
    return found;
}

bool sf_process_waits_for(int pid, uint32_t inode)
{
    DIR *all = open_descriptors(pid, "fd"), *infos = all ? open_descriptors(pid, "fdinfo") : NULL;
    struct dirent *entry;
    bool found = false;

    for (int i = 0; infos && !found && i < MOST_DESCRIPTORS && (entry = readdir(all)); i++) {
        char target[64];

        read_target(all, entry->d_name, target, sizeof(target));
        found = strcmp(target, "anon_inode:[eventpoll]") == 0 && set_has(infos, entry->d_name, inode);
    }
    if (infos)
        closedir(infos);
    if (all)
        closedir(all);
    return found;
}
