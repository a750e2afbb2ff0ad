# SPDX-License-Identifier: Apache-2.0
SCHEDULER_SRC += \
	scheduler/api.c \
	scheduler/blame.c \
	scheduler/board.c \
	scheduler/chainset.c \
	scheduler/config.c \
	scheduler/control.c \
	scheduler/data.c \
	scheduler/doorway.c \
	scheduler/drain.c \
	scheduler/events.c \
	scheduler/explain.c \
	scheduler/host.c \
	scheduler/install.c \
	scheduler/keep.c \
	scheduler/lane.c \
	scheduler/look.c \
	scheduler/memfd.c \
	scheduler/operate.c \
	scheduler/run.c \
	scheduler/run_edit.c \
	scheduler/serve.c \
	scheduler/state.c \
	scheduler/status.c \
	scheduler/supervisor.c \
	scheduler/unit.c

UNIT_TESTS += \
	tests/unit/scheduler/test_blame.c \
	tests/unit/scheduler/test_board.c \
	tests/unit/scheduler/test_chainset.c \
	tests/unit/scheduler/test_keep.c \
	tests/unit/scheduler/test_lane.c \
	tests/unit/scheduler/test_look.c \
	tests/unit/scheduler/test_run.c

GENERATED_MAN += $(B)/share/man/man1/mp-scheduler.1
$(B)/share/man/man1/mp-scheduler.1: $(B)/bin/mp-scheduler
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)$< --man >$@
