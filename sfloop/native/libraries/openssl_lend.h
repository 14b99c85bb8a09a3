/* Shared by openssl.c and openssl_lend.c. */
#ifndef SF_LIBRARIES_OPENSSL_LEND_H
#define SF_LIBRARIES_OPENSSL_LEND_H

/* Looks up the functions in a library from dlopen(). If some are missing, memory is never lent. */
void sf_openssl_load_lending(void *library);

#endif
