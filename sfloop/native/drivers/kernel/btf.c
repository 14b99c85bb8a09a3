#define _GNU_SOURCE 1
#include "btf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KERNEL_BTF "/sys/kernel/btf/vmlinux"
#define SIZE_MAX_TAKEN (256u << 20)
#define MAGIC 0xeb9f

/* The layout of BTF: Documentation/bpf/btf.rst in the kernel's source. */
struct header {
    uint16_t magic;
    uint8_t version, flags;
    uint32_t size;
    uint32_t types_at, types_size, strings_at, strings_size; /* offsets from the end of the header */
};

struct type {
    uint32_t name, info, size_or_type;
};

enum kind { INT = 1, ARRAY = 3, STRUCT = 4, UNION = 5, ENUM = 6, FUNC = 12, FUNC_PROTO = 13, VAR = 14, DATASEC = 15, DECL_TAG = 17,
            ENUM64 = 19, KINDS = 20 };

/* Bytes after a type, and bytes of each of its members. */
static const uint8_t extra[KINDS] = {[INT] = 4, [ARRAY] = 12, [VAR] = 4, [DECL_TAG] = 4};
static const uint8_t member[KINDS] = {
    [STRUCT] = 12, [UNION] = 12, [ENUM] = 8, [FUNC_PROTO] = 8, [DATASEC] = 12, [ENUM64] = 12,
};

static uint32_t kind_of(const struct type *type)
{
    return type->info >> 24 & 31;
}

static bool is_named(const char *strings, uint32_t size, uint32_t at, const char *name)
{
    size_t length = strlen(name) + 1;

    return at < size && size - at >= length && memcmp(strings + at, name, length) == 0;
}

static int find(const uint8_t *types, size_t left, const char *strings, uint32_t strings_size, const char *name)
{
    struct type type;

    for (int id = 1; left >= sizeof(type); id++) {
        uint32_t kind;
        size_t size;

        memcpy(&type, types, sizeof(type));
        kind = kind_of(&type);
        if (kind >= KINDS) /* newer than this table, so the size of the type is unknown */
            return -ENOENT;
        if (kind == FUNC && is_named(strings, strings_size, type.name, name))
            return id;
        size = sizeof(type) + extra[kind] + (size_t)member[kind] * (type.info & 0xffff);
        if (size > left)
            return -EINVAL;
        types += size;
        left -= size;
    }
    return -ENOENT;
}

static bool is_inside(uint32_t at, uint32_t size, size_t all)
{
    return at <= all && size <= all - at;
}

int sf_btf_find_function_in(const void *data, size_t size, const char *name)
{
    struct header header;
    const uint8_t *body;

    if (size < sizeof(header))
        return -EINVAL;
    memcpy(&header, data, sizeof(header));
    if (header.magic != MAGIC || header.version != 1 || header.size < sizeof(header) || header.size > size)
        return -EINVAL;
    body = (const uint8_t *)data + header.size;
    size -= header.size;
    if (!is_inside(header.types_at, header.types_size, size) || !is_inside(header.strings_at, header.strings_size, size))
        return -EINVAL;
    return find(body + header.types_at, header.types_size, (const char *)body + header.strings_at, header.strings_size, name);
}

static int read_all(int fd, uint8_t *to, size_t size)
{
    while (size) {
        ssize_t got = read(fd, to, size);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EINVAL;
        to += got;
        size -= (size_t)got;
    }
    return 0;
}

static int find_in_file(int fd, const char *name)
{
    struct stat status;
    uint8_t *data;
    int result;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size <= 0 || status.st_size > SIZE_MAX_TAKEN)
        return -EINVAL;
    data = malloc((size_t)status.st_size);
    if (!data)
        return -ENOMEM;
    result = read_all(fd, data, (size_t)status.st_size);
    if (!result)
        result = sf_btf_find_function_in(data, (size_t)status.st_size, name);
    free(data);
    return result;
}

int sf_btf_find_function(const char *name)
{
    int fd = open(KERNEL_BTF, O_RDONLY | O_CLOEXEC), result;

    if (fd < 0)
        return -errno;
    result = find_in_file(fd, name);
    close(fd);
    return result;
}
