#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct sf_stack_field *find(const struct sf_stack_field *fields, const char *name)
{
    for (; fields->name; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
}

/* Little endian or big: the member's own type decides where its bytes are. */
static void store(void *member, size_t size, uint64_t value)
{
    uint8_t one = (uint8_t)value;
    uint16_t two = (uint16_t)value;
    uint32_t four = (uint32_t)value;

    memcpy(member, size == 1 ? (void *)&one : size == 2 ? (void *)&two : size == 4 ? (void *)&four : (void *)&value, size);
}

static uint64_t most(const struct sf_stack_field *field)
{
    if (field->kind == SF_FIELD_FLAG)
        return 1;
    if (field->kind != SF_FIELD_NUMBER || field->size >= sizeof(uint64_t))
        return INT64_MAX;
    return (UINT64_C(1) << 8 * field->size) - 1;
}

static int store_number(const char *stack, const struct sf_stack_field *field, const struct sf_stack_option *option, void *out,
                        char *message)
{
    int64_t least = field->kind == SF_FIELD_ADDRESS;

    if (option->text) {
        snprintf(message, SF_STACK_ERROR_SIZE, "the option %s of the %s stack is a number, not %.64s", field->name, stack,
                 option->text);
        return -EINVAL;
    }
    if (option->number < least || (uint64_t)option->number > most(field)) {
        snprintf(message, SF_STACK_ERROR_SIZE, "the option %s of the %s stack must be from %" PRId64 " to %" PRIu64 ", not %" PRId64,
                 field->name, stack, least, most(field), option->number);
        return -EINVAL;
    }
    store((char *)out + field->offset, field->size, (uint64_t)option->number);
    return 0;
}

int sf_stack_read_options(const char *stack, const struct sf_stack_field *fields, const struct sf_stack_option *options, int n,
                          void *out, char *message)
{
    for (int i = 0; i < n; i++) {
        const struct sf_stack_field *field = find(fields, options[i].name);
        int rc = 0;

        if (!field) {
            snprintf(message, SF_STACK_ERROR_SIZE, "the %s stack has no option %.64s", stack, options[i].name);
            return -EINVAL;
        }
        if (field->kind != SF_FIELD_TEXT) {
            rc = store_number(stack, field, &options[i], out, message);
        } else if (options[i].text) {
            memcpy((char *)out + field->offset, &options[i].text, sizeof(options[i].text));
        } else {
            snprintf(message, SF_STACK_ERROR_SIZE, "the option %s of the %s stack is a text, not a number", field->name, stack);
            rc = -EINVAL;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

const char *sf_stack_field_name(const struct sf_stack_field *fields, int i)
{
    for (; fields->name && i > 0; i--)
        fields++;
    return fields->name;
}
