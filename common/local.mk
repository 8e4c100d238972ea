# common: what two programs need, no mail policy. One file a line, so that branches merge.
noinst_LIBRARIES += common/libcommon.a
common_libcommon_a_SOURCES = \
	common/addr.c \
	common/addr.h \
	common/addrlist.c \
	common/addrlist.h \
	common/arena.c \
	common/arena.h \
	common/cage.c \
	common/cage.h \
	common/channel.c \
	common/channel.h \
	common/config.c \
	common/config.def \
	common/config.h \
	common/counters.c \
	common/counters.h \
	common/crowd.h \
	common/events.def \
	common/links.def \
	common/log.c \
	common/log.h \
	common/loop.c \
	common/loop.h \
	common/net.c \
	common/net.h \
	common/program.c \
	common/program.h \
	common/qid.c \
	common/qid.h \
	common/role.c \
	common/role.h \
	common/roles.def \
	common/rule.c \
	common/rule.h \
	common/sigscheme.c \
	common/sigscheme.def \
	common/sigscheme.h \
	common/smtpcaps.h \
	common/status.c \
	common/status.h \
	common/str.c \
	common/str.h \
	common/tally.c \
	common/tally.h \
	common/tidy.c \
	common/tidy.h \
	common/warm.h \
	common/timers.c \
	common/timers.h \
	common/token.c \
	common/token.h \
	common/wire.c \
	common/wire.def \
	common/wire.h \
	common/xtext.c \
	common/xtext.h

# The unit tests: cmocka programs, TAP on standard output.
common_tests = \
	common/test_addr \
	common/test_channel \
	common/test_cage \
	common/test_config \
	common/test_net \
	common/test_rule \
	common/test_str \
	common/test_tally \
	common/test_values \
	common/test_xtext
check_PROGRAMS += $(common_tests)
TESTS += $(common_tests)
common_test_addr_LDADD = $(TEST_LIBS)
common_test_channel_LDADD = $(TEST_LIBS)
common_test_cage_LDADD = $(TEST_LIBS)
common_test_config_LDADD = $(TEST_LIBS)
common_test_net_LDADD = $(TEST_LIBS)
common_test_rule_LDADD = $(TEST_LIBS)
common_test_str_LDADD = $(TEST_LIBS)
common_test_tally_LDADD = $(TEST_LIBS)
common_test_values_LDADD = $(TEST_LIBS)
common_test_xtext_LDADD = $(TEST_LIBS)

# The fuzz twins: ./configure CC=clang --enable-fuzz; common/fuzz_addr -max_total_time=60
if FUZZ
noinst_PROGRAMS += common/fuzz_addr common/fuzz_rule common/fuzz_wire common/fuzz_xtext
common_fuzz_addr_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
common_fuzz_addr_LDADD = $(COMMON_LIBS)
common_fuzz_rule_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
common_fuzz_rule_LDADD = $(COMMON_LIBS)
common_fuzz_wire_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
common_fuzz_wire_LDADD = $(COMMON_LIBS)
common_fuzz_xtext_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
common_fuzz_xtext_LDADD = $(COMMON_LIBS)
endif

# What people read, made from the .def files: common/gen says how.
noinst_PROGRAMS += common/gen
common_gen_LDADD = $(COMMON_LIBS)
sysusersdir = $(prefix)/lib/sysusers.d
nodist_sysusers_DATA = etc/sysusers.d/postern.conf
nodist_doc_DATA = etc/postern.conf.sample docs/PROTOCOL.md docs/EVENTS.md
GENERATED = $(nodist_sysusers_DATA) $(nodist_doc_DATA)
CLEANFILES += $(GENERATED)
etc/sysusers.d/postern.conf: common/gen$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) etc/sysusers.d && common/gen sysusers >$@.new && mv $@.new $@
etc/postern.conf.sample: common/gen$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) etc && common/gen sample >$@.new && mv $@.new $@
docs/PROTOCOL.md: common/gen$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) docs && common/gen protocol >$@.new && mv $@.new $@
docs/EVENTS.md: common/gen$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) docs && common/gen events >$@.new && mv $@.new $@
