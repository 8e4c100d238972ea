# dispatch: what goes where and when; the host capability table.
noinst_LIBRARIES += dispatch/libdispatch.a
dispatch_libdispatch_a_SOURCES = \
	dispatch/bounce.c \
	dispatch/bounce.h \
	dispatch/hosttable.c \
	dispatch/hosttable.h \
	dispatch/sched.c \
	dispatch/sched.h \
	dispatch/sched_dest.c \
	dispatch/sched_host.c \
	dispatch/sched_impl.h \
	dispatch/sched_job.c \
	dispatch/sched_mark.c \
	dispatch/sched_msg.c \
	dispatch/sched_route.c \
	dispatch/table.c \
	dispatch/table.h

# Berkeley DB is linked by the program and the test that write hosts.db, not by what uses the engines.
noinst_LIBRARIES += dispatch/libhosts.a
dispatch_libhosts_a_SOURCES = \
	dispatch/hostdb.c \
	dispatch/hostdb.h

pkglibexec_PROGRAMS += dispatch/dispatch
dispatch_dispatch_SOURCES = \
	dispatch/events.c \
	dispatch/main.c \
	dispatch/orders.c \
	dispatch/report.c \
	dispatch/shell.h
dispatch_dispatch_LDADD = dispatch/libhosts.a dispatch/libdispatch.a $(COMMON_LIBS) $(DB_LIBS)
dist_man_MANS += dispatch/postern-dispatch.8

dispatch_tests = \
	dispatch/test_bounce \
	dispatch/test_hosttable \
	dispatch/test_sched
check_PROGRAMS += $(dispatch_tests)
TESTS += $(dispatch_tests)
dispatch_test_sched_LDADD = dispatch/libdispatch.a $(TEST_LIBS)
dispatch_test_bounce_LDADD = dispatch/libdispatch.a $(TEST_LIBS)
dispatch_test_hosttable_LDADD = dispatch/libhosts.a dispatch/libdispatch.a $(TEST_LIBS) $(DB_LIBS)
