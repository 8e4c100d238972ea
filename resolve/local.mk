# resolve: DNS with DNSSEC.
# The small DNS server of the tests lies in tests/ because all scenarios use it.
EXTRA_DIST += tests/dns.py
#
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += resolve/libresolve.a
#resolve_libresolve_a_SOURCES = \
#	resolve/NAME.c \
#	resolve/NAME.h
#
#pkglibexec_PROGRAMS += resolve/resolve
#resolve_resolve_SOURCES = resolve/main.c
#resolve_resolve_LDADD = resolve/libresolve.a $(COMMON_LIBS) $(UNBOUND_LIBS)
#dist_man_MANS += resolve/postern-resolve.8
#
#resolve_tests = \
#	resolve/test_NAME
#check_PROGRAMS += $(resolve_tests)
#TESTS += $(resolve_tests)
#resolve_test_NAME_LDADD = resolve/libresolve.a $(TEST_LIBS) $(UNBOUND_LIBS)
