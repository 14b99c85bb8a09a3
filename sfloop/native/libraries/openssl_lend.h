/* What openssl.c and openssl_lend.c share. */
#ifndef SF_LIBRARIES_OPENSSL_LEND_H
#define SF_LIBRARIES_OPENSSL_LEND_H

/* Look the functions up in the library that dlopen() gave. Where some are missing, nothing is ever lent. */
void sf_openssl_load_lending(void *library);

#endif
