/* SPDX-License-Identifier: Apache-2.0 */
/* See http_curl.h. */
#include "lib/http_curl.h"

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT); /* curl_easy_init() and curl_multi_init() tell */
}

void http_curl_begin(void)
{
	(void)pthread_once(&once, begin); /* cannot fail */
}

bool http_curl_tls(CURL *curl, const char *ca, const char *cert, const char *key)
{
	bool bad = false;

	if (ca)
		bad |= curl_easy_setopt(curl, CURLOPT_CAINFO, ca) != CURLE_OK;
	if (cert) {
		bad |= curl_easy_setopt(curl, CURLOPT_SSLCERT, cert) != CURLE_OK;
		bad |= curl_easy_setopt(curl, CURLOPT_SSLKEY, key ? key : cert) != CURLE_OK;
	}
	return !bad;
}
