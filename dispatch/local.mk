# dispatch: what goes where and when; the host capability table.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += dispatch/libdispatch.a
#dispatch_libdispatch_a_SOURCES = \
#	dispatch/NAME.c \
#	dispatch/NAME.h
#
#pkglibexec_PROGRAMS += dispatch/dispatch
#dispatch_dispatch_SOURCES = dispatch/main.c
#dispatch_dispatch_LDADD = dispatch/libdispatch.a $(COMMON_LIBS) $(DB_LIBS)
#dist_man_MANS += dispatch/postern-dispatch.8
#
#dispatch_tests = \
#	dispatch/test_NAME
#check_PROGRAMS += $(dispatch_tests)
#TESTS += $(dispatch_tests)
#dispatch_test_NAME_LDADD = dispatch/libdispatch.a $(TEST_LIBS) $(DB_LIBS)
