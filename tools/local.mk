# tools: postern(8), and what sendmail(1) shares with it.
noinst_LIBRARIES += tools/libtools.a
tools_libtools_a_SOURCES = \
	tools/control.c \
	tools/control.h \
	tools/journey.c \
	tools/journey.h \
	tools/listing.c \
	tools/listing.h \
	tools/settings.c \
	tools/settings.h \
	tools/summary.c

sbin_PROGRAMS += tools/postern
tools_postern_SOURCES = \
	tools/cmd_addr.c \
	tools/cmd_check.c \
	tools/cmd_config.c \
	tools/cmd_counters.c \
	tools/cmd_explain.c \
	tools/cmd_hosts.c \
	tools/cmd_passwd.c \
	tools/cmd_queue.c \
	tools/cmd_queue_check.c \
	tools/cmd_status.c \
	tools/cmd_tables.c \
	tools/cmd_trace.c \
	tools/command.h \
	tools/main.c \
	tools/spool.c \
	tools/spool.h
tools_postern_LDADD = tools/libtools.a queue/libqueue.a lookup/liblookup.a lookup/libtables.a supervise/libsupervise.a auth/libauth.a keys/libkeys.a $(COMMON_LIBS) \
	$(CRYPTO_LIBS) $(CRYPT_LIBS) $(UNISTRING_LIBS) $(CDB_LIBS) $(JANSSON_LIBS)
dist_man_MANS += tools/postern.8

tools_tests = \
	tools/test_journey
check_PROGRAMS += $(tools_tests)
TESTS += $(tools_tests)
tools_test_journey_LDADD = tools/libtools.a $(TEST_LIBS)
