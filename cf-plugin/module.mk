# SPDX-License-Identifier: Apache-2.0
CLI_SRC += cf-plugin/chain_file.c cf-plugin/chain_try.c cf-plugin/cli.c cf-plugin/cmd_check.c \
	cf-plugin/cmd_events.c cf-plugin/cmd_explain.c cf-plugin/cmd_filters.c \
	cf-plugin/cmd_operate.c cf-plugin/cmd_run.c cf-plugin/cmd_status.c cf-plugin/control.c \
	cf-plugin/explain_text.c cf-plugin/filter_text.c cf-plugin/foreground.c \
	cf-plugin/run_env.c cf-plugin/runtime_dir.c cf-plugin/scheduler_process.c \
	cf-plugin/status_text.c cf-plugin/table.c
CLI_SRC += cf-plugin/background.c cf-plugin/cli_group.c cf-plugin/cmd_aggregator.c cf-plugin/cmd_rows.c cf-plugin/doctor.c cf-plugin/progress.c cf-plugin/rows_api.c \
	cf-plugin/rows_change.c cf-plugin/rows_check.c cf-plugin/rows_doctor.c cf-plugin/rows_export.c cf-plugin/rows_get.c \
	cf-plugin/rows_import.c cf-plugin/rows_list.c cf-plugin/rows_put.c cf-plugin/rows_tail.c cf-plugin/sse.c

UNIT_TESTS += tests/unit/cf-plugin/test_background.c tests/unit/cf-plugin/test_doctor.c tests/unit/cf-plugin/test_filter_text.c tests/unit/cf-plugin/test_run_env.c \
	tests/unit/cf-plugin/test_runtime_dir.c tests/unit/cf-plugin/test_status_text.c \
	tests/unit/cf-plugin/test_sse.c tests/unit/cf-plugin/test_table.c

# A page for the program and one for each of its commands.
CLI_MAN := $(addprefix $(B)/share/man/man1/middlepipe-,$(addsuffix .1,check events explain \
	filters override reload reset run status rows rows-list rows-show rows-put rows-get rows-tail \
	rows-policies rows-compact rows-delete rows-members rows-owners rows-export rows-import rows-check rows-doctor \
	aggregator aggregator-start aggregator-stop aggregator-status))
GENERATED_MAN += $(B)/share/man/man1/middlepipe.1 $(CLI_MAN)
$(B)/share/man/man1/middlepipe.1: $(B)/bin/middlepipe
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)$< --man >$@
$(CLI_MAN): $(B)/share/man/man1/middlepipe-%.1: $(B)/bin/middlepipe
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)$< $(subst -, ,$*) --man >$@
