/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `middlepipe rows`, for its table in cmd_rows.c. */
#ifndef CF_PLUGIN_ROWS_COMMANDS_H
#define CF_PLUGIN_ROWS_COMMANDS_H

#include "cf-plugin/cli_group.h"
#include "cf-plugin/rows_api.h"

extern const struct cli_command rows_list, rows_show, rows_put, rows_get, rows_tail, rows_policies, rows_compact,
	rows_delete, rows_members, rows_owners, rows_export, rows_import, rows_check,
	rows_doctor;

#endif
