# SPDX-License-Identifier: Apache-2.0
#
# The Node.js hook: the sources are copied, the addon is built once against
# Node-API 8, which every Node.js from 18 on has.  Its headers come with Node.js
# itself or with Debian's libnode-dev; without them there is no Node.js hook,
# and everything else is built.

NODE_HOOK := buildpack-hooks/node
NODE_HOOK_DIR := $(B)/lib/middlepipe/hooks/node
NODE_HOOK_JS := middlepipe.cjs calls.cjs errors.cjs http.cjs request.cjs response.cjs \
	reply.cjs fetch.cjs exchange.cjs taps.cjs edits.cjs
NODE_HOOK_C := $(addprefix $(NODE_HOOK)/,addon.c heads.c slots.c)
NODE_HOOK_ADDON := $(NODE_HOOK_DIR)/middlepipe.node
NODE_INCLUDE := $(patsubst %/node_api.h,%,$(firstword $(wildcard $(addsuffix /node_api.h,\
	$(dir $(realpath $(shell command -v $(NODE) 2>/dev/null)))../include/node \
	/usr/include/node /usr/local/include/node))))

ifneq ($(NODE_INCLUDE),)
HOOKS += $(addprefix node/,$(NODE_HOOK_JS) middlepipe.node)
UNIT_TESTS += tests/unit/node/test_heads.c
$(B)/tests/unit/node/test_heads: $(B)/obj/buildpack-hooks/node/heads.o

$(NODE_HOOK_DIR)/%.cjs: $(NODE_HOOK)/%.cjs
	$(call say,COPY,$<)
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(NODE_HOOK_C:%.c=$(B)/obj/%.o): ALL_CFLAGS += -isystem $(NODE_INCLUDE)
$(NODE_HOOK_ADDON): $(NODE_HOOK_C:%.c=$(B)/obj/%.o) $(B)/lib/libmiddlepipe.so.1
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -shared -Wl,-rpath,'$$ORIGIN/../../..' -o $@ $^
endif
