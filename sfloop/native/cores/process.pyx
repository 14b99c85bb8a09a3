# cython: language_level=3
"""Symbols of the libraries that are loaded into this process."""

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <dlfcn.h>
    static int sf_has_symbol(const char *name)
    {
        return dlsym(RTLD_DEFAULT, name) != NULL;
    }
    """
    bint sf_has_symbol(const char *name) noexcept


def has_symbol(str name):
    """Whether the program or a library in its global scope, such as a preloaded one, has a symbol of this name."""
    return sf_has_symbol(name.encode())
