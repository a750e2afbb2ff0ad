/* SPDX-License-Identifier: Apache-2.0 */
/* See room.h. */
#include "aggregator/etcd/room.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

#define ROUND_MS 1000    /* in which each endpoint is asked once */
#define HURRY_MS 250     /* likewise, when a fifth of the quota is left to put, or a twentieth was put meanwhile */
#define SMALL_MS 100     /* likewise, of a quota that may be used up in a second */
#define SMALL (UINT64_C(1) << 30)
#define ANSWER_MS 1000   /* that an answer may take */
#define SILENT_MAX 10    /* rounds; then what it said counts no more, if another one answers */

struct place {
	char url[ETCD_URL_SIZE];
	struct cluster_sizes sizes; /* as it last said; 0: not known */
	unsigned silent;            /* rounds since it did */
};

struct etcd_room {
	struct etcd_room_options options;
	struct place place[ETCD_ROOM_ENDPOINTS];
	size_t n;                /* of them */
	size_t turn;             /* who is asked next */
	struct cluster_ask ask;  /* of the one before */
	uv_timer_t timer;
	struct etcd_room_state state;
	bool hurry;              /* see HURRY_MS */
	bool warned;             /* that somebody gives no sizes */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

uint64_t etcd_room_left(const struct cluster_sizes *sizes, uint64_t quota)
{
	uint64_t most = quota / 10 * 8;

	return sizes->size < most ? most - sizes->size : 0;
}

static void judge(struct etcd_room *room)
{
	struct etcd_room_state *s = &room->state;
	uint64_t before = s->left;

	s->known = false;
	s->left = UINT64_MAX;
	s->sizes = (struct cluster_sizes){ .size = 0 };
	for (size_t i = 0; i < room->n; i++) {
		const struct cluster_sizes *sizes = &room->place[i].sizes;
		uint64_t left = etcd_room_left(sizes, s->quota);

		if (!sizes->size || (s->known && sizes->size < s->sizes.size))
			continue;
		s->known = true;
		s->left = left;
		s->sizes = *sizes;
	}
	room->hurry = s->known && (s->left < s->quota / 5 || (s->left < before && before - s->left > s->quota / 20));
	(void)snprintf(s->text, sizeof(s->text),
		       "etcd's database is too full for cells (%" PRIu64 " bytes, %" PRIu64 " in use, quota %" PRIu64
		       "): delete or compact rows, compact etcd, defragment its members one at a time; after "
		       "NOSPACE disarm each alarm by its member id", s->sizes.size, s->sizes.in_use, s->quota);
}

/* It may be dead, and what it once said would be the group's for ever. */
static void tell_silent(struct etcd_room *room, struct place *place)
{
	bool others = false;

	for (size_t i = 0; i < room->n; i++)
		others |= &room->place[i] != place && room->place[i].sizes.size && !room->place[i].silent;
	if (place->silent < SILENT_MAX)
		place->silent++;
	if (place->silent < SILENT_MAX || !others || !place->sizes.size)
		return;
	place->sizes = (struct cluster_sizes){ .size = 0 };
	judge(room);
	room->options.learnt(room->options.ctx);
}

/* Of the place whose turn it is: when places change, what was asked is cancelled. */
static void on_answer(void *ctx, struct cluster_ask *ask)
{
	struct etcd_room *room = ctx;
	struct place *place = room->n ? &room->place[room->turn % room->n] : NULL;
	struct cluster_sizes sizes;
	struct err err = { 0 };

	room->turn++;
	if (!place)
		return;
	if (ask->status == 200 && cluster_sizes_read(buf_slice(&ask->answer), &sizes, &err) == 0) {
		place->sizes = sizes;
		place->silent = 0;
		judge(room);
		room->options.learnt(room->options.ctx);
		return;
	}
	tell_silent(room, place);
	if (ask->status && !room->warned) {
		room->warned = true;
		log_warn("etcd does not say how full it is", "url=%s status=%d why=%s", LOG_STR(place->url), ask->status,
			 LOG_STR(err.text[0] ? err.text : ask->why));
	}
}

static uint64_t pause_ms(const struct etcd_room *room)
{
	uint64_t round = room->hurry ? HURRY_MS : ROUND_MS;

	return (room->state.quota < SMALL ? SMALL_MS : round) / (room->n ? room->n : 1);
}

static void on_timer(uv_timer_t *timer)
{
	struct etcd_room *room = timer->data;

	uv_timer_start(timer, on_timer, pause_ms(room), 0);
	if (room->n && !cluster_is_busy(&room->ask) &&
	    !cluster_status(&room->ask, room->place[room->turn % room->n].url, ANSWER_MS))
		room->turn++;
}

struct etcd_room *etcd_room_new(const struct etcd_room_options *options)
{
	struct etcd_room *room = calloc(1, sizeof(*room));

	if (!room)
		return NULL;
	room->options = *options;
	room->state.quota = options->quota;
	room->state.left = UINT64_MAX;
	cluster_ask_init(&room->ask, options->http, on_answer, room);
	uv_timer_init(options->loop, &room->timer); /* cannot fail */
	room->timer.data = room;
	uv_timer_start(&room->timer, on_timer, 0, 0);
	return room;
}

static const struct place *find(const struct place *places, size_t n, const char *url)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(places[i].url, url) == 0)
			return &places[i];
	return NULL;
}

void etcd_room_set(struct etcd_room *room, const char *const *urls, size_t n)
{
	struct place before[ETCD_ROOM_ENDPOINTS];
	size_t n_before = room->n;

	memcpy(before, room->place, sizeof(before));
	http_task_cancel(room->ask.post);
	room->ask.post = NULL;
	room->n = 0;
	for (size_t i = 0; i < n && room->n < ETCD_ROOM_ENDPOINTS; i++) {
		const struct place *known = find(before, n_before, urls[i]);
		struct place *place = &room->place[room->n];

		if (strlen(urls[i]) >= sizeof(place->url))
			continue;
		(void)snprintf(place->url, sizeof(place->url), "%s", urls[i]);
		place->sizes = known ? known->sizes : (struct cluster_sizes){ .size = 0 };
		place->silent = known ? known->silent : 0;
		room->n++;
	}
	judge(room);
}

const struct etcd_room_state *etcd_room_state(const struct etcd_room *room)
{
	return &room->state;
}

static void on_closed(uv_handle_t *handle)
{
	struct etcd_room *room = handle->data;
	void (*closed)(void *) = room->closed;
	void *ctx = room->closed_ctx;

	free(room);
	closed(ctx);
}

void etcd_room_close(struct etcd_room *room, void (*closed)(void *ctx), void *ctx)
{
	room->closed = closed;
	room->closed_ctx = ctx;
	cluster_ask_fini(&room->ask);
	uv_close((uv_handle_t *)&room->timer, on_closed);
}
