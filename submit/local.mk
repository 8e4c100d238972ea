# submit: sendmail(1), mailq(1), newaliases(1); the links are made in Makefile.am.
# libsubmit.a has no system call in it; pickup links it too.
noinst_LIBRARIES += submit/libsubmit.a
submit_libsubmit_a_SOURCES = \
	submit/drop.c \
	submit/drop.h \
	submit/dropfile.c \
	submit/dropfile.h \
	submit/handin.c \
	submit/handin.h \
	submit/header.c \
	submit/header.h \
	submit/intake.c \
	submit/intake.h \
	submit/options.c \
	submit/options.h \
	submit/rcptlist.c \
	submit/rcptlist.h \
	submit/report.c \
	submit/report.h \
	submit/source.c \
	submit/source.h

sbin_PROGRAMS += submit/sendmail
submit_sendmail_SOURCES = \
	submit/caller.c \
	submit/caller.h \
	submit/line.c \
	submit/line.h \
	submit/main.c \
	submit/mode_aliases.c \
	submit/mode_queue.c \
	submit/mode_send.c \
	submit/mode_smtp.c \
	submit/mode_verify.c \
	submit/modes.h \
	submit/session.c \
	submit/session.h
submit_sendmail_LDADD = submit/libsubmit.a tools/libtools.a lookup/libtables.a $(COMMON_LIBS) $(CDB_LIBS) $(JANSSON_LIBS)

submit_tests = \
	submit/test_handin \
	submit/test_headers \
	submit/test_options
check_PROGRAMS += $(submit_tests)
TESTS += $(submit_tests)
submit_test_handin_LDADD = submit/libsubmit.a $(TEST_LIBS)
submit_test_headers_LDADD = submit/libsubmit.a $(TEST_LIBS)
submit_test_options_LDADD = submit/libsubmit.a $(TEST_LIBS)

dist_man_MANS += \
	submit/mailq.1 \
	submit/newaliases.1 \
	submit/sendmail.1

# The fuzz twin: ./configure CC=clang --enable-fuzz; submit/fuzz_header -max_total_time=60
if FUZZ
noinst_PROGRAMS += submit/fuzz_header
submit_fuzz_header_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
submit_fuzz_header_LDADD = submit/libsubmit.a $(COMMON_LIBS)
endif
