/* Shared by openssl.c and openssl_lend.c. */
#ifndef SF_LIBRARIES_OPENSSL_LEND_H
#define SF_LIBRARIES_OPENSSL_LEND_H

#include "openssl.h"

#include <stdbool.h>

/* The data of one of our BIOs, owned by the SSL through its BIO. `memory` is Python's BIO; this holds a reference to it. */
struct sf_openssl_lent {
    void *memory;
    bool used; /* `memory` may hold bytes; to ask it takes 100 instructions */
    const char *in;
    size_t in_len;
    char *out;
    size_t room, out_len;
    sf_openssl_send *send;
    void *to;
    int error; /* of `send` */
};

/* Looks up the functions in a library from dlopen(). If some are missing, memory is never lent. */
void sf_openssl_load_lending(void *library);

/* The number of bytes of received ciphertext in Python's BIO. */
size_t sf_openssl_received(const struct sf_openssl_connection *c);

#endif
