/*
 * libcrypto's plain SHA256 functions, which OpenSSL 3 calls deprecated: its EVP interface brings the same code along with 3.6 MB
 * of providers, and has every worker touch 2.7 MB more.
 */
#ifndef BERTH_DIGEST_H
#define BERTH_DIGEST_H

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "unpack.h"

/* Ends the sum. */
void digest_hex(SHA256_CTX *sha, char hex[DIGEST_HEX]);

#endif
