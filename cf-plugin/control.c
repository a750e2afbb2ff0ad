/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See control.h.  Called by the subcommands.
 */
#include "cf-plugin/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cf-plugin/runtime_dir.h"
#include "cf-plugin/table.h"
#include "lib/http_client.h"
#include "lib/json.h"
#include "lib/json_text.h"

#define URL_MAX 16384            /* bytes of a request's URL */
#define REPLY_MAX ((size_t)64 << 20) /* bytes of a document */
#define DEPTH_MAX 32             /* nesting of one */

static int compare_runs(const void *one, const void *two)
{
	const struct runtime_run *a = one, *b = two;
	int order = strcmp(a->app, b->app);

	return order ? order : (a->pid > b->pid) - (a->pid < b->pid);
}

static void print_runs(const struct runtime_list *list)
{
	static const char *const head[] = { "APP", ">PID", "CONTROL SOCKET", NULL };
	struct table table;
	struct buf out;

	table_init(&table, head);
	buf_init(&out, 1 << 16);
	for (int i = 0; i < list->n; i++) {
		table_add(&table, "%s", list->run[i].app);
		table_add(&table, "%d", list->run[i].pid);
		table_add(&table, "%s", list->run[i].control);
	}
	table_print(&table, &out);
	fputs(buf_str(&out), stderr);
	buf_fini(&out);
	table_fini(&table);
}

/* The only run there is. */
static int search(const struct opt_command *command, const char *app, char *ret_path, size_t size)
{
	struct runtime_list *list = malloc(sizeof(*list));
	int code = CLI_OK;

	if (!list)
		return cli_fail(command, CLI_FAILED, "out of memory");
	runtime_dir_list(app, list);
	if (list->n == 1) {
		(void)snprintf(ret_path, size, "%s", list->run[0].control);
	} else if (list->n) {
		qsort(list->run, (size_t)list->n, sizeof(list->run[0]), compare_runs);
		code = cli_fail(command, CLI_FAILED,
				"there are several runs: choose one by --control PATH%s",
				app ? "" : " or --app NAME");
		print_runs(list);
	} else if (app) {
		code = cli_fail(command, CLI_FAILED, "no run of the app \"%s\" is to be found", app);
	} else {
		code = cli_fail(command, CLI_FAILED,
				"no run is to be found: start one with 'middlepipe run', or name "
				"its control socket by --control PATH");
	}
	free(list);
	return code;
}

int control_find(const struct opt_command *command, const struct control_options *options,
		 char *ret_path, size_t size)
{
	const char *path = options->path, *environment = getenv("MIDDLEPIPE_CONTROL");

	if (!path && !options->app && environment && environment[0])
		path = environment;
	if (!path)
		return search(command, options->app, ret_path, size);
	if (strlen(path) >= size)
		return cli_fail(command, CLI_FAILED, "a socket's path has at most %zu bytes: %s",
				size - 1, path);
	(void)snprintf(ret_path, size, "%s", path);
	return CLI_OK;
}

/* An answer other than 200: {"error": text, "errors": [text]}. */
static int refused(const struct opt_command *command, int status, const json_t *document)
{
	const char *error = json_string_value(json_object_get(document, "error"));
	const json_t *errors = json_object_get(document, "errors");

	cli_fail(command, CLI_FAILED, "%s (status %d)", error ? error : "the scheduler refuses",
		 status);
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const char *line = json_string_value(json_array_get(errors, i));

		fprintf(stderr, "  %s\n", line ? line : "?");
	}
	return CLI_FAILED;
}

static int read_reply(const struct opt_command *command, const struct http_reply *reply,
		      json_t **ret)
{
	struct err err = { 0 };
	json_t *document = NULL;

	if (json_load_text(buf_slice(&reply->body), REPLY_MAX, DEPTH_MAX, &document, &err))
		return cli_fail(command, CLI_FAILED, "the scheduler's answer (status %d): %s",
				reply->status, err.text);
	if (reply->status == 200) {
		*ret = document;
		return CLI_OK;
	}
	(void)refused(command, reply->status, document);
	json_decref(document);
	return CLI_FAILED;
}

int control_call(const struct opt_command *command, const char *path, const char *method,
		 const char *url, struct mp_str body, json_t **ret)
{
	char full[URL_MAX];
	struct http_request request = { .unix_socket = path, .method = method, .url = full,
					.body = body, .max_reply = REPLY_MAX };
	struct http_reply reply;
	struct err err = { 0 };
	int code;

	if ((size_t)snprintf(full, sizeof(full), "http://localhost%s", url) >= sizeof(full))
		return cli_fail(command, CLI_FAILED, "that is too long");
	if (http_call(&request, &reply, &err))
		return cli_fail(command, CLI_FAILED, "%s", err.text);
	code = read_reply(command, &reply, ret);
	http_reply_fini(&reply);
	return code;
}

int control_ask(const struct opt_command *command, const struct control_options *options,
		const char *method, const char *url, struct mp_str body, json_t **ret)
{
	char path[RUNTIME_PATH_MAX];
	int code = control_find(command, options, path, sizeof(path));

	return code ? code : control_call(command, path, method, url, body, ret);
}

void control_escape(struct buf *out, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (; *text; text++) {
		if (strchr(plain, *text))
			buf_add(out, text, 1);
		else
			buf_printf(out, "%%%02X", (unsigned char)*text);
	}
}

json_t *control_json_text(const char *text)
{
	struct buf quoted;
	json_t *out;

	buf_init(&quoted, SIZE_MAX);
	out = json_text_add(&quoted, slice_of(text)) ? NULL : json_loadb(quoted.ptr, quoted.len, JSON_DECODE_ANY, NULL);
	buf_fini(&quoted);
	return out;
}

void control_print_json(const json_t *document, bool one_line)
{
	json_dumpf(document, stdout, one_line ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
}
