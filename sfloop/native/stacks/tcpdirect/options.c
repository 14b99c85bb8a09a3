/*
 * The TCPDirect stack in the registry. Among its options are the vendor's functions by their names, and the objects that the library
 * has made for us. They are addresses in this process; libraries/tcpdirect.py finds them.
 */
#include "config.h"
#include "stacks/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OPTION(kind, member) SF_STACK_FIELD(kind, struct sf_tcpdirect_config, member, #member)
#define FUNCTION(result, name, arguments) SF_STACK_FIELD(SF_FIELD_ADDRESS, struct sf_tcpdirect_config, functions.name, #name),

static const struct sf_stack_field fields[] = {
    SF_ZF_FUNCTIONS(FUNCTION)
    OPTION(SF_FIELD_ADDRESS, stack),
    OPTION(SF_FIELD_ADDRESS, attr),
    OPTION(SF_FIELD_TEXT, interface),
    OPTION(SF_FIELD_NUMBER, address),
    OPTION(SF_FIELD_NUMBER, emulated_bits),
    OPTION(SF_FIELD_FLAG, timestamps),
    OPTION(SF_FIELD_FLAG, overflow),
    OPTION(SF_FIELD_NUMBER, max_destinations),
    OPTION(SF_FIELD_TIME, quiesce),
    {.name = NULL},
};

static const char *option(int i)
{
    return sf_stack_field_name(fields, i);
}

/* Checks that all addresses and the interface were given. */
static int check(const struct sf_tcpdirect_config *config, char *message)
{
    for (const struct sf_stack_field *field = fields; field->name; field++) {
        void *given;

        if (field->kind != SF_FIELD_ADDRESS && field->kind != SF_FIELD_TEXT)
            continue;
        memcpy(&given, (const char *)config + field->offset, sizeof(given));
        if (given)
            continue;
        snprintf(message, SF_STACK_ERROR_SIZE, "the tcpdirect stack needs the option %s", field->name);
        return -EINVAL;
    }
    return 0;
}

static struct sf_stack *create(struct sf_driver *driver, const struct sf_stack_option *options, int n, int *error, char *message)
{
    struct sf_tcpdirect_config config = {.interface = NULL};

    (void)driver;
    *error = sf_stack_read_options("tcpdirect", fields, options, n, &config, message);
    if (*error == 0)
        *error = check(&config, message);
    return *error < 0 ? NULL : sf_stack_tcpdirect_create(&config, error, message);
}

const struct sf_stack_entry sf_stack_tcpdirect = {
    .name = "tcpdirect",
    .description = "TCPDirect (libonload_zf) on a Solarflare NIC",
    .create = create,
    .option = option,
};
