#define _GNU_SOURCE
#include "processes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Entries with a name of up to 4 bytes take 24 bytes, others 32. */
#define PROCESSES_SIZE 512
#define DESCRIPTORS_SIZE 80
#define DOTS 2 /* "." and "..", the first entries of every list */

enum { FIELD_PARENT = 4, FIELD_STARTED = 22, FIELD_STACK_START = 28, FIELDS };

/* ---- facts of a process ---- */

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
    at = strrchr(text, ')'); /* the end of field 2, the name, which may contain spaces and brackets */
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

/* ---- lists ---- */

/* An entry as getdents64(2) writes it. */
struct entry {
    uint64_t inode;
    int64_t next; /* the position of the next entry */
    uint16_t size;
    uint8_t type;
    char name[];
};

/* Reads one buffer of entries from `at` on. */
static ssize_t read_entries(int fd, int64_t at, void *buffer, size_t size)
{
    return lseek(fd, at, SEEK_SET) < 0 ? -1 : (ssize_t)syscall(SYS_getdents64, fd, buffer, size);
}

static int open_folder(int pid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int sf_processes_list(int64_t *at, sf_process_visit visit, void *context)
{
    _Alignas(struct entry) char buffer[PROCESSES_SIZE];
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
    ssize_t got = fd < 0 ? -1 : read_entries(fd, *at, buffer, sizeof(buffer));

    for (ssize_t done = 0; done < got; n++) {
        const struct entry *entry = (const struct entry *)(const void *)(buffer + done);
        int pid = atoi(entry->name);

        if (pid > 0)
            visit(context, pid);
        *at = entry->next;
        done += entry->size;
    }
    if (fd >= 0)
        close(fd);
    return n;
}

static void read_target(int folder, const char *number, char *target, size_t size)
{
    ssize_t length = readlinkat(folder, number, target, size - 1);

    target[length < 0 ? 0 : length] = 0;
}

int sf_process_descriptors(int pid, int64_t *at, sf_process_visit_descriptor visit, void *context)
{
    _Alignas(struct entry) char buffer[DESCRIPTORS_SIZE];
    int fd = open_folder(pid, "fd"), n = 0;
    ssize_t got;

    if (*at < DOTS)
        *at = DOTS;
    got = fd < 0 ? -1 : read_entries(fd, *at, buffer, sizeof(buffer));
    for (ssize_t done = 0; done < got; n++) {
        const struct entry *entry = (const struct entry *)(const void *)(buffer + done);
        char target[64];

        read_target(fd, entry->name, target, sizeof(target));
        visit(context, entry->name, target);
        *at = entry->next;
        done += entry->size;
    }
    if (fd >= 0)
        close(fd);
    return n;
}

/* A line of an epoll set: "tfd: 6 events: 19 data: 6 pos:0 ino:3ab sdev:8". */
void sf_process_read_set(int pid, const char *number, sf_process_visit_inode visit, void *context)
{
    char path[64], line[256];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, number);
    file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        const char *at = strncmp(line, "tfd:", 4) == 0 ? strstr(line, "ino:") : NULL;

        if (at)
            visit(context, (uint32_t)strtoul(at + 4, NULL, 16));
    }
    fclose(file);
}
