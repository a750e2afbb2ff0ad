# SPDX-License-Identifier: Apache-2.0
#
# One non-recursive make.  Each folder's module.mk only appends to variables:
#
#   LIB_SRC          objects of every program (lib/)
#   PIPES_SRC        the built-in middlepipes and their registry
#   PIPES_SHARED     filter.c files that are built as .so too
#   PIPES_HALVES     aggregator.c files likewise
#   SCHEDULER_SRC    mp-scheduler, without its main
#   CLI_SRC          middlepipe, without its main
#   CLIENT_SRC       libmiddlepipe
#   UNIT_TESTS       tests/unit/<folder>/test_<file>.c, one binary each
#   TESTS_SRC        objects that several of them share
#   TEST_PROGRAMS    programs that functional tests and benches run
#   TEST_FILTERS     filters that only tests load, built as .so
#   FUZZ_TARGETS     tests/fuzz/fuzz_<parser>.c
#   FUNCTIONAL_TESTS tests/functional/NN-topic.t
#   HOOKS            files to make below $(B)/lib/middlepipe/hooks
#   GENERATED_MAN    man pages made from option tables
#   PROTOS           .proto files of which protobuf-c makes code, below $(B)/gen
#
# Variables for users: CC CFLAGS LDFLAGS PREFIX DESTDIR V=1 WERROR=1 SAN=asan|tsan
# BENCH=part FUZZ_SECONDS=n TESTS="files" PYTHON RUBY NODE

.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
RUBY ?= ruby
NODE ?= node

# `make CC=clang` builds beside gcc's tree, and so do the sanitizers.
ifeq ($(origin CC),default)
CC := gcc
endif
VARIANT := $(if $(SAN),$(SAN),release)$(if $(findstring clang,$(CC)),-clang)
B := build/$(VARIANT)

SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# gcc warns of fences, which its TSan does not see; what they order is all atomic here.
SAN_tsan := -fsanitize=thread $(if $(findstring clang,$(CC)),,-Wno-tsan)
SAN_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
# For tools/fuzz: the replayers, built to tell which lines they reached.
SAN_cover := -fprofile-instr-generate -fcoverage-mapping
SANITIZE := $(SAN_$(SAN))

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wwrite-strings $(if $(WERROR),-Werror)
HARDENING := $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2) -fstack-protector-strong \
	-fstack-clash-protection -fPIC
PACKAGES := jansson libuv libmicrohttpd libcurl libprotobuf-c
PACKAGES_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
ALL_CFLAGS := -std=c17 -D_GNU_SOURCE -DMIDDLEPIPE_VERSION='"$(VERSION)"' -Iinclude -I. -isystem $(B)/gen \
	$(WARNINGS) $(HARDENING) -fvisibility=hidden $(SANITIZE) $(PACKAGES_CFLAGS) -MMD -MP
ALL_LDFLAGS := -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE)
LIBS_CORE := -ljansson -lcurl -lpthread -lm
LIBS_SCHEDULER := -luv -lmicrohttpd -ldl
LIBS_AGGREGATOR := -lgnutls -lisal -lxxhash -lsqlite3 -lprotobuf-c

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

LIB_SRC :=
PIPES_SRC :=
PIPES_SHARED :=
PIPES_HALVES :=
SCHEDULER_SRC :=
AGGREGATOR_SRC :=
CLI_SRC :=
CLIENT_SRC :=
UNIT_TESTS :=
TESTS_SRC :=
TEST_PROGRAMS :=
TEST_FILTERS :=
FUZZ_TARGETS :=
FUNCTIONAL_TESTS :=
HOOKS :=
GENERATED_MAN :=
PROTOS :=

MODULES := lib middlepipes $(patsubst %/module.mk,%,$(wildcard middlepipes/*/module.mk)) \
	scheduler aggregator aggregator/etcd aggregator/http aggregator/rows aggregator/rows/api aggregator/rows/engine \
	cf-plugin buildpack-hooks/client buildpack-hooks/ruby buildpack-hooks/python buildpack-hooks/node tests
include $(wildcard $(addsuffix /module.mk,$(MODULES)))

PROTO_C := $(patsubst %.proto,$(B)/gen/%.pb-c.c,$(PROTOS))
PROTO_H := $(PROTO_C:.c=.h)

objects = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB_A := $(B)/obj/liblib.a
PIPES_A := $(B)/obj/libpipes.a
SCHEDULER_A := $(B)/obj/libscheduler.a
AGGREGATOR_A := $(B)/obj/libaggregator.a
CLI_A := $(B)/obj/libcli.a
CLIENT_A := $(B)/obj/libmiddlepipe.a
TESTS_A := $(B)/obj/libtests.a
CLIENT_SO := $(B)/lib/libmiddlepipe.so.1
PROGRAMS := $(B)/bin/mp-scheduler $(B)/bin/mp-aggregator $(B)/bin/middlepipe
FILTERS := $(patsubst middlepipes/%/filter.c,$(B)/lib/middlepipe/filters/%.so,$(PIPES_SHARED)) \
	$(patsubst middlepipes/%/aggregator.c,$(B)/lib/middlepipe/filters/%.so,$(PIPES_HALVES))
TEST_FILTER_SO := $(patsubst %.c,$(B)/%.so,$(TEST_FILTERS))
TEST_BINS := $(patsubst %.c,$(B)/%,$(TEST_PROGRAMS))
UNIT_BINS := $(patsubst %.c,$(B)/%,$(UNIT_TESTS))
FUZZ_BINS := $(patsubst %.c,$(B)/%,$(FUZZ_TARGETS))
HOOK_FILES := $(addprefix $(B)/lib/middlepipe/hooks/,$(HOOKS))

.PHONY: all programs client hooks tests
all: programs client hooks ## build everything (the default)
programs: $(PROGRAMS) $(FILTERS)
client: $(CLIENT_SO) $(B)/lib/libmiddlepipe.so
hooks: $(HOOK_FILES)
tests: all $(UNIT_BINS) $(TEST_BINS) $(TEST_FILTER_SO)

# ------------------------------------------------------------------- compile

$(B)/gen/%.pb-c.c: %.proto
	$(call say,PROTO,$@)
	@mkdir -p $(B)/gen
	$(Q)protoc-c --c_out=$(B)/gen $<
$(B)/gen/%.pb-c.h: $(B)/gen/%.pb-c.c ;
.PHONY: generated
generated: $(PROTO_H)

# What is generated is not ours to warn of.
$(B)/obj/gen/%.o: $(B)/gen/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -w $(CFLAGS) -c -o $@ $<

$(B)/obj/%.o: %.c Makefile | $(PROTO_H)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) -c -o $@ $<

$(LIB_A): $(call objects,$(LIB_SRC))
$(PIPES_A): $(call objects,$(PIPES_SRC))
$(SCHEDULER_A): $(call objects,$(SCHEDULER_SRC))
$(AGGREGATOR_A): $(call objects,$(AGGREGATOR_SRC)) $(PROTO_C:$(B)/%.c=$(B)/obj/%.o)
$(CLI_A): $(call objects,$(CLI_SRC))
$(CLIENT_A): $(call objects,$(CLIENT_SRC) $(CLIENT_LIB_SRC))
$(TESTS_A): $(call objects,$(TESTS_SRC))
$(LIB_A) $(PIPES_A) $(SCHEDULER_A) $(AGGREGATOR_A) $(CLI_A) $(CLIENT_A) $(TESTS_A):
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/bin/mp-aggregator: $(B)/obj/aggregator/main.o $(AGGREGATOR_A) $(PIPES_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -pie -o $@ $^ $(LIBS_SCHEDULER) $(LIBS_AGGREGATOR) $(LIBS_CORE)

$(B)/bin/mp-scheduler: $(B)/obj/scheduler/main.o $(SCHEDULER_A) $(PIPES_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -pie -o $@ $^ $(LIBS_SCHEDULER) $(LIBS_CORE)

$(B)/bin/middlepipe: $(B)/obj/cf-plugin/main.o $(CLI_A) $(PIPES_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -pie -o $@ $^ -ldl $(LIBS_CORE)

$(CLIENT_SO): $(call objects,$(CLIENT_SRC) $(CLIENT_LIB_SRC)) buildpack-hooks/client/libmiddlepipe.map
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -shared -Wl,-soname,libmiddlepipe.so.1 \
		-Wl,--version-script=buildpack-hooks/client/libmiddlepipe.map \
		-o $@ $(filter %.o,$^) -lpthread
$(B)/lib/libmiddlepipe.so: $(CLIENT_SO)
	$(Q)ln -sf libmiddlepipe.so.1 $@

$(B)/lib/middlepipe/filters/%.so: middlepipes/%/filter.c Makefile
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) -DMP_SHARED -shared $(ALL_LDFLAGS) -o $@ $<
# A half has what it uses of lib/ inside.
$(B)/lib/middlepipe/filters/%.so: middlepipes/%/aggregator.c $(LIB_A) Makefile
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) -DMP_SHARED -shared $(ALL_LDFLAGS) -o $@ $< $(LIB_A) $(LIBS_CORE)
$(B)/tests/%.so: tests/%.c Makefile
	$(call say,SO,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) -DMP_SHARED -shared $(ALL_LDFLAGS) -o $@ $<

# Tests link everything: an archive costs nothing when it is not used.
$(UNIT_BINS) $(TEST_BINS): $(B)/%: $(B)/obj/%.o $(TESTS_A) $(SCHEDULER_A) $(AGGREGATOR_A) $(CLI_A) $(PIPES_A) $(CLIENT_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS_SCHEDULER) $(LIBS_AGGREGATOR) $(LIBS_CORE)

# Programs of formats to come, for tests of what an older and a newer one do to each other.
NEXT_next := -DMETA_FORMAT=2 -DIDENTITY_FORMAT=2
NEXT_next-heads := -DHEAD_FORMAT=3
NEXT_SRC := aggregator/rows/meta.c aggregator/rows/head.c aggregator/rows/api/members.c \
	aggregator/etcd/identity.c aggregator/etcd/managed_do.c
NEXT_BINS := $(B)/tests/bin/mp-aggregator-next $(B)/tests/bin/mp-aggregator-next-heads
$(NEXT_BINS): $(B)/tests/bin/mp-aggregator-%: $(NEXT_SRC) $(B)/obj/aggregator/main.o $(AGGREGATOR_A) $(PIPES_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) $(NEXT_$*) $(ALL_LDFLAGS) $(LDFLAGS) -pie -MF $@.d -o $@ $(filter-out %.h,$^) \
		$(LIBS_SCHEDULER) $(LIBS_AGGREGATOR) $(LIBS_CORE)
tests: $(NEXT_BINS)

# The program on a disk that fails when it is told to.
FAULTY_BIN := $(B)/tests/bin/mp-aggregator-faulty
$(FAULTY_BIN): $(B)/obj/tests/functional/prog/faulty_vfs.o $(B)/obj/aggregator/main.o $(TESTS_A) $(AGGREGATOR_A) $(PIPES_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) -pie -o $@ $^ $(LIBS_SCHEDULER) $(LIBS_AGGREGATOR) $(LIBS_CORE)
tests: $(FAULTY_BIN)

$(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(SCHEDULER_A) $(AGGREGATOR_A) $(PIPES_A) $(CLIENT_A) $(LIB_A)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LDFLAGS) $(if $(filter fuzz,$(SAN)),-fsanitize=fuzzer) -o $@ $^ \
		$(LIBS_SCHEDULER) $(LIBS_AGGREGATOR) $(LIBS_CORE)

DEPS := $(shell test -d $(B) && find $(B) -name '*.d')
-include $(DEPS)

# ---------------------------------------------------------------- everything

.PHONY: deps demo test check unit functional asan tsan layers lint fuzz fuzz-corpus bench install uninstall clean help
deps: ## install the Debian packages that are missing
	@tools/install-deps

demo: ## install what is missing, build, and watch the main job end to end, then rows whose members die
	@tools/install-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@B=$(B) tools/demo
	@B=$(B) tools/demo-rows

test: ## install what is missing, build, run all tests
	@tools/install-deps --api
	@$(MAKE) --no-print-directory -j$$(nproc) tests
	@B=$(B) PYTHON=$(PYTHON) NODE=$(NODE) RUBY=$(RUBY) tools/run-tests $(or $(TESTS),$(UNIT_BINS) $(FUNCTIONAL_TESTS))

check unit: tests ## unit tests only
	@B=$(B) tools/run-tests $(UNIT_BINS)

functional: tests ## functional tests only
	@B=$(B) PYTHON=$(PYTHON) NODE=$(NODE) RUBY=$(RUBY) tools/run-tests $(FUNCTIONAL_TESTS)

.PHONY: soak
soak: tests ## rows under seeded faults for SOAK_SECONDS (600); what fails is kept in build/soak
	@B=$(B) tests/rows/soak

asan: ## unit tests and fuzz corpora under ASan and UBSan
	@$(MAKE) --no-print-directory SAN=asan -j$$(nproc) check
	@$(MAKE) --no-print-directory SAN=asan -j$$(nproc) fuzz-corpus

tsan: ## unit tests under ThreadSanitizer
	@$(MAKE) --no-print-directory SAN=tsan -j$$(nproc) check

layers: ## fail when an include points up or sideways
	@tools/layers

lint: ## clang-tidy and cppcheck
	@tools/lint

# Without SAN=fuzz a target is a plain program that replays files.
fuzz-corpus: $(FUZZ_BINS) ## replay the seed corpora
	@for bin in $(FUZZ_BINS); do \
		$$bin tests/fuzz/corpus/$$(basename $$bin)/* || exit 1; done

FUZZ_SECONDS ?= 60
fuzz: ## fuzz each target for FUZZ_SECONDS (clang, ASan, UBSan)
	@$(MAKE) --no-print-directory CC=clang SAN=fuzz -j$$(nproc) fuzz-targets
	@B=build/fuzz-clang SECONDS_EACH=$(FUZZ_SECONDS) tools/fuzz $(FUZZ_TARGETS)
.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_BINS)

bench: ## measure ourselves beside the peers; BENCH=request for one part
	@tools/install-deps --bench
	@$(MAKE) --no-print-directory -j$$(nproc) tests
	@B=$(B) PYTHON=$(PYTHON) NODE=$(NODE) RUBY=$(RUBY) tools/bench $(BENCH)

INSTALL := install -D
install: all man ## install below DESTDIR and PREFIX
	$(INSTALL) -m 755 -t $(DESTDIR)$(PREFIX)/bin $(PROGRAMS)
	$(INSTALL) -m 755 -t $(DESTDIR)$(PREFIX)/lib $(CLIENT_SO)
	ln -sf libmiddlepipe.so.1 $(DESTDIR)$(PREFIX)/lib/libmiddlepipe.so
	$(INSTALL) -m 644 -t $(DESTDIR)$(PREFIX)/include/middlepipe $(wildcard include/middlepipe/*.h)
	$(INSTALL) -m 755 -t $(DESTDIR)$(PREFIX)/lib/middlepipe/filters $(FILTERS)
	for f in $(HOOKS); do $(INSTALL) -m 755 $(B)/lib/middlepipe/hooks/$$f \
		$(DESTDIR)$(PREFIX)/lib/middlepipe/hooks/$$f || exit 1; done
	for f in $(patsubst $(B)/%,%,$(GENERATED_MAN)); do $(INSTALL) -m 644 $(B)/$$f \
		$(DESTDIR)$(PREFIX)/$$f || exit 1; done
	$(INSTALL) -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/middlepipe README.md NEWS.md LICENSE $(wildcard docs/*.md docs/*.yaml)

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(notdir $(PROGRAMS))) \
		$(DESTDIR)$(PREFIX)/lib/libmiddlepipe.so $(DESTDIR)$(PREFIX)/lib/libmiddlepipe.so.1 \
		$(addprefix $(DESTDIR)$(PREFIX)/,$(patsubst $(B)/%,%,$(GENERATED_MAN)))
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/middlepipe $(DESTDIR)$(PREFIX)/lib/middlepipe \
		$(DESTDIR)$(PREFIX)/include/middlepipe

.PHONY: man
man: $(GENERATED_MAN)

clean: ## remove build/
	rm -rf build

help: ## this list
	@echo 'make TARGET [VARIABLE=value]   (variables: see the head of the Makefile)'
	@sed -n 's/^\([a-z][a-z -]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20
