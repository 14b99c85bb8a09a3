/* Settings of the kernel under /proc/sys that are on or off. */
#ifndef SF_STORAGE_KERNEL_SETTING_H
#define SF_STORAGE_KERNEL_SETTING_H

#include <stdbool.h>
#include <stdio.h>

/* False if the kernel does not have the setting, or it is 0. */
static inline bool sf_setting_is_on(const char *path)
{
    FILE *file = fopen(path, "re");
    int value = 0;

    if (!file)
        return false;
    if (fscanf(file, "%d", &value) != 1)
        value = 0;
    fclose(file);
    return value != 0;
}

#endif
