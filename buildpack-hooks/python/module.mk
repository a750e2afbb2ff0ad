# SPDX-License-Identifier: Apache-2.0
#
# The Python hook: sources are copied, the extension is built once against the
# stable ABI, so that it loads into every CPython from 3.8 on.  Without
# Debian's python3-dev there is no Python hook, and everything else is built.

PYTHON_HOOK := buildpack-hooks/python
PYTHON_HOOK_DIR := $(B)/lib/middlepipe/hooks/python
PYTHON_HOOK_PY := sitecustomize.py $(addprefix middlepipe_hook/,\
	__init__.py errors.py bodies.py exchange.py edits.py stdlib.py pool.py adapter.py)
PYTHON_HOOK_C := $(addprefix $(PYTHON_HOOK)/ext/,call.c convert.c)
PYTHON_HOOK_SO := $(PYTHON_HOOK_DIR)/middlepipe_hook/_middlepipe.abi3.so
PYTHON_INCLUDE := $(shell $(PYTHON) -c 'import os, sysconfig as s; \
	p = s.get_paths()["include"]; os.path.exists(p + "/Python.h") and print(p)' 2>/dev/null)

ifneq ($(PYTHON_INCLUDE),)
HOOKS += $(addprefix python/,$(PYTHON_HOOK_PY) middlepipe_hook/_middlepipe.abi3.so)
TEST_FILTERS += tests/functional/python/scripted.c

$(PYTHON_HOOK_DIR)/%.py: $(PYTHON_HOOK)/%.py
	$(call say,COPY,$<)
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(PYTHON_HOOK_C:%.c=$(B)/obj/%.o): ALL_CFLAGS += -isystem $(PYTHON_INCLUDE)
$(PYTHON_HOOK_SO): $(PYTHON_HOOK_C:%.c=$(B)/obj/%.o) $(B)/lib/libmiddlepipe.so.1
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -shared -Wl,-rpath,'$$ORIGIN/../../../..' -o $@ $^
endif
