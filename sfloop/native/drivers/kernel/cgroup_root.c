#define _GNU_SOURCE 1
#include "cgroup_root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/mount.h, which older headers lack and which conflicts with sys/mount.h. */
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define OPEN_CLOEXEC 1   /* FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC */
#define CONFIG_CREATE 6  /* FSCONFIG_CMD_CREATE */

/* Replaces octal escapes of mount points, such as \040 for a space. */
static void unescape(char *path)
{
    char *to = path;

    while (*path) {
        if (path[0] == '\\' && path[1] >= '0' && path[1] <= '3' && path[2] >= '0' && path[2] <= '7' && path[3] >= '0' &&
            path[3] <= '7') {
            *to++ = (char)((path[1] - '0') * 64 + (path[2] - '0') * 8 + (path[3] - '0'));
            path += 4;
        } else {
            *to++ = *path++;
        }
    }
    *to = 0;
}

/* Parses a line "31 23 0:28 ROOT POINT OPTIONS ... - TYPE ...". Returns the mount point if the line is that of a cgroup2's
 * root, else NULL. */
static char *mount_point(char *line)
{
    char *rest = NULL, *root, *point, *type = strstr(line, " - ");

    if (!type || strncmp(type + 3, "cgroup2 ", 8) != 0)
        return NULL;
    *type = 0;
    for (int i = 0; i < 3; i++)
        if (!strtok_r(i ? NULL : line, " ", &rest))
            return NULL;
    root = strtok_r(NULL, " ", &rest);
    point = strtok_r(NULL, " ", &rest);
    if (!root || !point || strcmp(root, "/") != 0)
        return NULL;
    unescape(point);
    return point;
}

static int open_mounted(void)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    int fd = -ENOENT;

    if (!file)
        return -errno;
    while (fd < 0 && getline(&line, &room, file) >= 0) {
        const char *point = mount_point(line);

        if (point)
            fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (point && fd < 0)
            fd = -errno;
    }
    free(line);
    fclose(file);
    return fd;
}

static int open_unmounted(void)
{
    int context = (int)syscall(SYS_fsopen, "cgroup2", OPEN_CLOEXEC), fd = -1;

    if (context < 0)
        return -errno;
    if (syscall(SYS_fsconfig, context, CONFIG_CREATE, NULL, NULL, 0) == 0)
        fd = (int)syscall(SYS_fsmount, context, OPEN_CLOEXEC, 0);
    if (fd < 0)
        fd = -errno;
    close(context);
    return fd;
}

int sf_cgroup_open_root(void)
{
    int fd = open_mounted();

    return fd >= 0 ? fd : open_unmounted();
}
