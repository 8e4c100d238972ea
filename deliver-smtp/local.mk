# deliver-smtp: speaks SMTP to others. The engine is client.[ch] and what it stands on.
noinst_LIBRARIES += deliver-smtp/libdeliver-smtp.a
deliver_smtp_libdeliver_smtp_a_SOURCES = \
	deliver-smtp/body.c \
	deliver-smtp/body.h \
	deliver-smtp/client.c \
	deliver-smtp/client.h \
	deliver-smtp/ehlo.c \
	deliver-smtp/ehlo.h \
	deliver-smtp/reply.c \
	deliver-smtp/reply.h

pkglibexec_PROGRAMS += deliver-smtp/deliver-smtp
deliver_smtp_deliver_smtp_SOURCES = \
	deliver-smtp/job.c \
	deliver-smtp/job.h \
	deliver-smtp/main.c \
	deliver-smtp/pool.c \
	deliver-smtp/pool.h
deliver_smtp_deliver_smtp_LDADD = deliver-smtp/libdeliver-smtp.a $(COMMON_LIBS)

dist_check_SCRIPTS += deliver-smtp/t_deliver_smtp.py
TESTS += deliver-smtp/t_deliver_smtp.py

deliver_smtp_tests = \
	deliver-smtp/test_client
check_PROGRAMS += $(deliver_smtp_tests)
TESTS += $(deliver_smtp_tests)
deliver_smtp_test_client_LDADD = deliver-smtp/libdeliver-smtp.a $(TEST_LIBS)

dist_man_MANS += deliver-smtp/postern-deliver-smtp.8

if FUZZ
noinst_PROGRAMS += deliver-smtp/fuzz_client
deliver_smtp_fuzz_client_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
deliver_smtp_fuzz_client_LDADD = deliver-smtp/libdeliver-smtp.a $(COMMON_LIBS)
endif
