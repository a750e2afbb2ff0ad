/* SPDX-License-Identifier: Apache-2.0 */
/* See reload.h. */
#include "aggregator/http/reload.h"

#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/log.h"

static struct file_mark mark_of(const char *path)
{
	struct file_mark mark;
	struct stat st;

	memset(&mark, 0, sizeof(mark)); /* padding, too: marks are compared as bytes */
	if (!path || stat(path, &st))
		return mark;
	mark.dev = st.st_dev;
	mark.ino = st.st_ino;
	mark.size = st.st_size;
	mark.mtime = st.st_mtim;
	mark.ctime = st.st_ctim;
	return mark;
}

/* Takes the marks before the files are read: what comes later is seen the next time. */
static bool marks_differ(struct reload_part *part, const char *const *paths, size_t n)
{
	bool differ = false;

	for (size_t i = 0; i < n; i++) {
		struct file_mark mark = mark_of(paths[i]);

		differ |= memcmp(&mark, &part->marks[i], sizeof(mark)) != 0;
		part->marks[i] = mark;
	}
	return differ;
}

static int read_tokens(const char *path, struct access **ret, struct err *err)
{
	struct buf text;
	int rc = file_read(path, ACCESS_FILE_MAX, &text, err);

	if (rc)
		return rc;
	rc = access_parse(buf_slice(&text), ret, err);
	buf_fini(&text);
	return rc ? err_wrap(err, rc, "%s", path) : 0;
}

static void look_at_tls(struct reload *r)
{
	const char *const paths[] = { r->cert, r->key, r->ca };

	r->tls.changed = marks_differ(&r->tls, paths, 3);
	if (!r->cert || (!r->tls.changed && !r->tls.failed))
		return;
	r->tls.err.text[0] = '\0';
	r->tls.rc = tls_load(r->cert, r->key, r->ca, &r->set, &r->tls.err);
}

static void look_at_access(struct reload *r)
{
	const char *const paths[] = { r->tokens };

	r->access.changed = marks_differ(&r->access, paths, 1);
	if (!r->tokens || (!r->access.changed && !r->access.failed))
		return;
	r->access.err.text[0] = '\0';
	r->access.rc = read_tokens(r->tokens, &r->table, &r->access.err);
}

/* In the helper. */
static void on_work(uv_work_t *work)
{
	struct reload *r = work->data;

	look_at_tls(r);
	look_at_access(r);
}

/* It is used all the same: clients decide, and the clock may be wrong. */
static void look_at_time(const struct reload *r, const struct tls_set *set)
{
	struct err err = { 0 };

	if (set && tls_set_check(set, r->cert, NULL, &err) < 0)
		log_warn("clients will not take the certificate", "why=%s", LOG_STR(err.text));
}

static void tell(struct reload_part *part, bool fresh, const char *what)
{
	if (fresh)
		log_info("files reloaded", "what=%s", what);
	else if (part->changed && part->rc)
		log_warn("files not reloaded, keeping what was there", "what=%s error=%s", what,
			 LOG_STR(part->err.text));
	part->failed = part->rc != 0;
}

static void on_done(uv_work_t *work, int status)
{
	struct reload *r = work->data;
	struct tls_set *set = r->set;
	struct access *table = r->table;

	r->busy = false;
	if (status)
		return;
	r->set = NULL;
	r->table = NULL;
	tell(&r->tls, set != NULL, "certificates");
	tell(&r->access, table != NULL, "tokens");
	look_at_time(r, set);
	if (set || table)
		r->changed(r->ctx, set, table);
}

void reload_look(struct reload *r, uv_loop_t *loop)
{
	if (r->busy || (!r->cert && !r->tokens))
		return;
	r->work.data = r;
	r->busy = !uv_queue_work(loop, &r->work, on_work, on_done);
}

static bool keep(const char *path, char **ret)
{
	*ret = path ? strdup(path) : NULL;
	return !path || *ret;
}

int reload_init(struct reload *r, const char *cert, const char *key, const char *ca,
		const char *tokens, struct tls_set **ret_set, struct access **ret_table,
		struct err *err)
{
	memset(r, 0, sizeof(*r));
	*ret_set = NULL;
	*ret_table = NULL;
	if (!cert != !key || (ca && !cert))
		return err_set(err, -EINVAL, "TLS needs a certificate and its key, and a CA for clients "
					     "needs both");
	if (!keep(cert, &r->cert) || !keep(key, &r->key) || !keep(ca, &r->ca) ||
	    !keep(tokens, &r->tokens))
		return err_sys(err, ENOMEM, "paths");
	r->tls.failed = r->access.failed = true; /* read them even if they are not there */
	look_at_tls(r);
	look_at_access(r);
	r->tls.failed = r->access.failed = false;
	*ret_set = r->set;
	*ret_table = r->table;
	r->set = NULL;
	r->table = NULL;
	look_at_time(r, *ret_set);
	if (r->tls.rc || r->access.rc)
		return err_set(err, r->tls.rc ? r->tls.rc : r->access.rc, "%s",
			       r->tls.rc ? r->tls.err.text : r->access.err.text);
	return 0;
}

void reload_fini(struct reload *r)
{
	free(r->cert);
	free(r->key);
	free(r->ca);
	free(r->tokens);
	tls_set_free(r->set);
	access_unref(r->table);
}
