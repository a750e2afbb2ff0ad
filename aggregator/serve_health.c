/* SPDX-License-Identifier: Apache-2.0 */
/* The log's lines of how the engine is: once when it is not well, once when it is again; see serve_priv.h. */
#include "aggregator/serve_priv.h"

#include "lib/log.h"

#define LOOK_MS 1000
#define LOOKS 2 /* that find it unwell, so that an election of etcd's is not told */

static void on_look(uv_timer_t *timer)
{
	struct program *p = timer->data;
	struct engine_health health = { 0 };
	const struct engine *engine = p->group ? group_engine(p->group) : NULL;

	if (!engine || p->stopping)
		return;
	engine->ops->health(engine, &health);
	if (health.serving && !health.text[0]) {
		if (p->unwell >= LOOKS)
			log_info("the engine is well again", "engine=%s", engine->ops->name);
		p->unwell = 0;
		return;
	}
	if (p->unwell < LOOKS && ++p->unwell == LOOKS)
		log_warn("the engine is not well", "engine=%s serving=%s why=%s", engine->ops->name,
			 health.serving ? "yes" : "no", LOG_STR(health.text));
}

void serve_health_open(struct program *p)
{
	uv_timer_init(&p->loop, &p->health_timer); /* cannot fail */
	p->health_timer.data = p;
	uv_timer_start(&p->health_timer, on_look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)&p->health_timer); /* no reason to go on */
}

void serve_health_close(struct program *p)
{
	if (p->health_timer.data)
		uv_close((uv_handle_t *)&p->health_timer, NULL);
	p->health_timer.data = NULL;
}
