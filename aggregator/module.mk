# SPDX-License-Identifier: Apache-2.0
AGGREGATOR_SRC += aggregator/serve.c aggregator/serve_health.c aggregator/serve_managed.c aggregator/serve_room.c
GENERATED_MAN += $(B)/share/man/man8/mp-aggregator.8
$(B)/share/man/man8/mp-aggregator.8: $(B)/bin/mp-aggregator
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)$< --man >$@
