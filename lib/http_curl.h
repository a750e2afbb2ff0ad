/* SPDX-License-Identifier: Apache-2.0 */
/* What http_client.c and http_multi.c both ask of libcurl. */
#ifndef LIB_HTTP_CURL_H
#define LIB_HTTP_CURL_H

#include <curl/curl.h>
#include <stdbool.h>

/* Before any other call; any number of times, from any thread.  curl_easy_init() would do it, but not safely in several. */
void http_curl_begin(void);

/* Whom it believes and who it is: PEM files, NULL for the system's, none, and that of `cert`.  False: out of memory. */
bool http_curl_tls(CURL *curl, const char *ca, const char *cert, const char *key);

#endif
