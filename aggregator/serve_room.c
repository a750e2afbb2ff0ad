/* SPDX-License-Identifier: Apache-2.0 */
/* How much room the group's etcd has: who asks it, and who is told; see serve_priv.h and etcd/room.h. */
#include "aggregator/serve_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "aggregator/etcd/room.h"
#include "lib/log.h"

#define CONNECT_MS 500
#define KEPT ETCD_ROOM_ENDPOINTS

static void on_learnt(void *ctx)
{
	struct program *p = ctx;
	const struct etcd_room_state *room = etcd_room_state(p->room);

	if (p->group && !p->stopping)
		group_set_room(p->group, room->known ? room->left : OWNER_ROOM_ANY, room->text);
	if (!room->left == p->told_full)
		return;
	p->told_full = !room->left;
	if (p->told_full)
		log_warn("no room for cells", "why=%s", LOG_STR(room->text));
	else
		log_info("there is room for cells again", "left=%" PRIu64, room->left);
}

void serve_room_endpoints(struct program *p)
{
	const char *urls[ETCD_ROOM_ENDPOINTS];
	char text[ETCD_TEXT_SIZE], *save = NULL;
	size_t n = 0;

	if (p->managed) {
		n = managed_endpoints(p->managed, text, urls, ETCD_ROOM_ENDPOINTS);
		etcd_room_set(p->room, urls, n);
		return;
	}
	if (strlen(p->options->group) >= sizeof(text))
		return; /* longer than any etcd's: nothing is known of its room */
	memcpy(text, p->options->group, strlen(p->options->group) + 1);
	for (char *url = strtok_r(text, ",", &save); url && n < ETCD_ROOM_ENDPOINTS; url = strtok_r(NULL, ",", &save))
		urls[n++] = url;
	etcd_room_set(p->room, urls, n);
}

int64_t serve_quota(const struct serve_options *options)
{
	if (options->etcd_quota)
		return options->etcd_quota;
	return strcmp(options->group, "managed") == 0 ? ETCD_QUOTA_OURS : ETCD_QUOTA_USUAL;
}

/* Its members may be asked by the certificates of the engine. */
static int open_http(struct program *p, struct err *err)
{
	const struct serve_options *o = p->options;
	const struct http_multi_options http = { .ca = o->etcd_ca, .cert = o->etcd_cert, .key = o->etcd_key,
						 .connect_ms = CONNECT_MS, .kept = KEPT };

	return http_multi_open(&p->loop, &http, &p->room_http, err);
}

int serve_room_open(struct program *p, struct err *err)
{
	int r = open_http(p, err);

	if (r < 0)
		return r;
	p->room = etcd_room_new(&(struct etcd_room_options){ .loop = &p->loop, .http = p->room_http,
							     .quota = (uint64_t)serve_quota(p->options),
							     .learnt = on_learnt, .ctx = p });
	if (!p->room)
		return err_set(err, -ENOMEM, "out of memory");
	p->http.room = p->room;
	serve_room_endpoints(p);
	return 0;
}

static void on_http_closed(void *ctx)
{
	struct program *p = ctx;

	p->room_http = NULL;
	serve_end(p);
}

static void on_room_closed(void *ctx)
{
	struct program *p = ctx;

	p->room = NULL;
	p->http.room = NULL;
	serve_room_close(p);
}

void serve_room_close(struct program *p)
{
	if (p->room)
		etcd_room_close(p->room, on_room_closed, p);
	else if (p->room_http)
		http_multi_close(p->room_http, on_http_closed, p);
	else
		serve_end(p);
}
