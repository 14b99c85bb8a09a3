/* BTF: a function's id is found behind types of every kind. Truncated data is refused, and damaged data does no harm. */
#include "drivers/kernel/btf.h"

#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 24
#define KINDS 19

static uint8_t blob[4096];
static uint32_t filled;

static void put(uint32_t value)
{
    memcpy(blob + filled, &value, 4);
    filled += 4;
}

static void put_type(uint32_t name, uint32_t kind, uint32_t members)
{
    put(name);
    put(kind << 24 | members);
    put(0);
}

/* The number of bytes that follow a type of this kind with this many members (Documentation/bpf/btf.rst of the kernel). */
static uint32_t behind(uint32_t kind, uint32_t members)
{
    switch (kind) {
    case 1: /* INT */
    case 14: /* VAR */
    case 17: /* DECL_TAG */
        return 4;
    case 3: /* ARRAY */
        return 12;
    case 4: /* STRUCT */
    case 5: /* UNION */
    case 15: /* DATASEC */
    case 19: /* ENUM64 */
        return 12 * members;
    case 6: /* ENUM */
    case 13: /* FUNC_PROTO */
        return 8 * members;
    default:
        return 0;
    }
}

static bool has_members(uint32_t kind)
{
    return behind(kind, 1) != behind(kind, 2);
}

/* Builds one type of each kind, named "other", and then the function "wanted". Returns the function's id. */
static int build(void)
{
    static const char strings[] = "\0other\0wanted";
    uint32_t types;

    memset(blob, 0, sizeof(blob));
    filled = HEADER;
    for (uint32_t kind = 1; kind <= KINDS; kind++) {
        uint32_t members = has_members(kind) ? 3 : 0;

        put_type(1, kind, members);
        filled += behind(kind, members);
    }
    put_type(7, 12, 0);
    types = filled - HEADER;
    memcpy(blob + filled, strings, sizeof(strings));
    filled += sizeof(strings);
    memcpy(blob, (const uint32_t[]){0x0001eb9f, HEADER, 0, types, types, sizeof(strings)}, HEADER);
    return KINDS + 1;
}

static int find_in(uint32_t size, const char *name)
{
    uint8_t *copy = malloc(size ? size : 1); /* of exactly that size, so that ASan reports a read past its end */
    int id;

    CHECK(copy);
    memcpy(copy, blob, size);
    id = sf_btf_find_function_in(copy, size, name);
    free(copy);
    return id;
}

static void check_damage(void)
{
    uint32_t whole = filled;
    uint64_t seed = 7;

    for (uint32_t size = 0; size < whole; size++)
        CHECK(find_in(size, "wanted") < 0);
    for (int i = 0; i < 200000; i++) {
        uint8_t kept[sizeof(blob)];
        int id;

        memcpy(kept, blob, whole);
        for (int bytes = 1 + i % 3; bytes > 0; bytes--) {
            uint64_t random = next_random(&seed);

            blob[(random >> 8) % whole] = (uint8_t)random;
        }
        id = find_in(whole, "wanted");
        CHECK(id < 0 || id <= (int)whole / 12);
        memcpy(blob, kept, whole);
    }
}

int main(void)
{
    int id = build();

    CHECK(find_in(filled, "wanted") == id);
    CHECK(find_in(filled, "other") == 12); /* the first type of kind FUNC */
    CHECK(find_in(filled, "want") == -ENOENT && find_in(filled, "wanted more") == -ENOENT);
    check_damage();
    CHECK(sf_btf_find_function("no function has this name") < 0);
    return 0;
}
