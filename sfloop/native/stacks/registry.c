/* The stacks of this build. Each stack's folder defines its entry, sf_stack_NAME, and the entry has one line here. */
#include "sf/stack.h"

#include <string.h>

#define STACKS(X) \
    X(kernel)     \
    X(tcpip)      \
    X(tcpdirect)

#define DECLARE(name) extern const struct sf_stack_entry sf_stack_##name;
STACKS(DECLARE)

#define LIST(name) &sf_stack_##name,
static const struct sf_stack_entry *const stacks[] = {STACKS(LIST)};

const struct sf_stack_entry *sf_stack_at(int i)
{
    return i >= 0 && i < (int)(sizeof(stacks) / sizeof(stacks[0])) ? stacks[i] : NULL;
}

const struct sf_stack_entry *sf_stack_find(const char *name)
{
    for (int i = 0; sf_stack_at(i); i++)
        if (strcmp(sf_stack_at(i)->name, name) == 0)
            return sf_stack_at(i);
    return NULL;
}
