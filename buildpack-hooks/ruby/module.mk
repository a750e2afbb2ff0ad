# SPDX-License-Identifier: Apache-2.0
#
# The Ruby hook: the same layout below $(B)/lib as below PREFIX/lib.
#
#   hooks/ruby/middlepipe.rb                  what RUBYOPT=-r names
#   hooks/ruby/middlepipe/*.rb                loaded when the application loads the library
#   hooks/ruby/<ruby_version>/middlepipe_ext.so   one for each ABI, named as Ruby names its own folders
#
# RUBIES="ruby /opt/ruby3.3/bin/ruby" builds for each of them that has headers;
# one that is not there, or has none, is left out.  The extension is not linked
# with libruby: some rubies have it inside the executable.

RUBIES ?= $(RUBY)
RUBY_HOOK := buildpack-hooks/ruby
RUBY_FILES := middlepipe.rb middlepipe/common.rb middlepipe/net_http.rb \
	middlepipe/net_http_response.rb middlepipe/httpclient.rb
RUBY_EXT_SRC := $(addprefix $(RUBY_HOOK)/,middlepipe_ext.c connection.c message.c)
RUBY_HOOKS := $(B)/lib/middlepipe/hooks/ruby

# ABI:header folder:header folder of the architecture, or nothing.
RUBY_ASK := c = RbConfig::CONFIG; \
	print c.values_at(%q(ruby_version), %q(rubyhdrdir), %q(rubyarchhdrdir)).join(%q(:)) \
	if File.file?(c[%q(rubyhdrdir)].to_s + %q(/ruby.h)) && RUBY_ENGINE == %q(ruby)
RUBY_BUILDS := $(foreach ruby,$(RUBIES),$(shell \
	env -u RUBYOPT -u RUBYLIB $(ruby) --disable=gems -rrbconfig -e '$(RUBY_ASK)' 2>/dev/null))
RUBY_ABIS :=

# $(1) ABI, $(2) and $(3) the header folders
define RUBY_EXT
ifeq ($$(filter $(1),$$(RUBY_ABIS)),)
RUBY_ABIS += $(1)
HOOKS += ruby/$(1)/middlepipe_ext.so
$$(RUBY_HOOKS)/$(1)/middlepipe_ext.so: $$(RUBY_EXT_SRC) $$(wildcard $(RUBY_HOOK)/*.h) \
		$$(wildcard include/middlepipe/*.h) $$(B)/lib/libmiddlepipe.so.1 Makefile
	$$(call say,RUBY,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(filter-out -MMD -MP,$$(ALL_CFLAGS)) $$(CFLAGS) -isystem $(2) -isystem $(3) -shared \
		$$(ALL_LDFLAGS) $$(LDFLAGS) -Wl,--no-as-needed '-Wl,-rpath,$$$$ORIGIN/../../../..' -o $$@ $$(RUBY_EXT_SRC) \
		$$(B)/lib/libmiddlepipe.so.1
endif
endef
$(foreach build,$(RUBY_BUILDS),$(eval $(call RUBY_EXT,$(word 1,$(subst :, ,$(build))),$(word \
	2,$(subst :, ,$(build))),$(word 3,$(subst :, ,$(build))))))

HOOKS += $(addprefix ruby/,$(RUBY_FILES))
$(addprefix $(RUBY_HOOKS)/,$(RUBY_FILES)): $(RUBY_HOOKS)/%: $(RUBY_HOOK)/%
	$(call say,COPY,$@)
	$(Q)install -D -m 644 $< $@
