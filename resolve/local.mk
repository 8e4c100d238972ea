# resolve: DNS with DNSSEC. The engine is answer.[ch].
# dns.py is the tests' DNS server, play.py plays posternd and dispatch to one program; both lie in tests/.
EXTRA_DIST += tests/play.py
dist_check_SCRIPTS += resolve/t_resolve.py
TESTS += resolve/t_resolve.py

noinst_LIBRARIES += resolve/libresolve.a
resolve_libresolve_a_SOURCES = \
	resolve/answer.c \
	resolve/answer.h \
	resolve/names.c \
	resolve/names.h

pkglibexec_PROGRAMS += resolve/resolve
resolve_resolve_SOURCES = resolve/main.c
resolve_resolve_LDADD = resolve/libresolve.a $(COMMON_LIBS) $(UNBOUND_LIBS)

resolve_tests = \
	resolve/test_answer \
	resolve/test_names
check_PROGRAMS += $(resolve_tests)
TESTS += $(resolve_tests)
resolve_test_answer_LDADD = resolve/libresolve.a $(TEST_LIBS)
resolve_test_names_LDADD = resolve/libresolve.a $(TEST_LIBS)

dist_man_MANS += resolve/postern-resolve.8

if FUZZ
noinst_PROGRAMS += resolve/fuzz_answer resolve/fuzz_names
resolve_fuzz_answer_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
resolve_fuzz_names_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
resolve_fuzz_names_LDADD = resolve/libresolve.a $(COMMON_LIBS)
resolve_fuzz_answer_LDADD = resolve/libresolve.a $(COMMON_LIBS)
endif
