/* Options of a stack: from the key/value pairs of sf/stack.h into the members of a struct. */
#ifndef SF_STACKS_OPTIONS_H
#define SF_STACKS_OPTIONS_H

#include "sf/stack.h"

#include <stddef.h>

enum sf_field_kind {
    SF_FIELD_NUMBER,  /* an unsigned integer of any size: 0 to what the member holds */
    SF_FIELD_FLAG,    /* bool: 0 or 1 */
    SF_FIELD_TIME,    /* sf_ns, not negative */
    SF_FIELD_TEXT,    /* const char *, which points to the option's own text */
    SF_FIELD_ADDRESS, /* a pointer to an object or a function, not NULL */
};

/* The member of a configuration that an option sets. */
struct sf_stack_field {
    const char *name;
    enum sf_field_kind kind;
    size_t offset, size;
};

#define SF_STACK_FIELD(kind, type, member, name) {name, kind, offsetof(type, member), sizeof(((type *)0)->member)}

/* Writes each option into the member that its field names. A table of fields ends with a name of NULL. Returns 0, or -EINVAL and a
 * sentence in `message` (SF_STACK_ERROR_SIZE bytes). `stack` is the name for the sentence. */
int sf_stack_read_options(const char *stack, const struct sf_stack_field *, const struct sf_stack_option *, int n, void *out,
                          char *message);
/* The name of the i-th field; NULL beyond the last. */
const char *sf_stack_field_name(const struct sf_stack_field *, int i);

#endif
