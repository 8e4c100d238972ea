# resolve: DNS with DNSSEC. The engine is answer.[ch].
# The small DNS server of the tests lies in tests/ because all scenarios use it.
EXTRA_DIST += tests/dns.py

noinst_LIBRARIES += resolve/libresolve.a
resolve_libresolve_a_SOURCES = \
	resolve/answer.c \
	resolve/answer.h

pkglibexec_PROGRAMS += resolve/resolve
resolve_resolve_SOURCES = resolve/main.c
resolve_resolve_LDADD = resolve/libresolve.a $(COMMON_LIBS) $(UNBOUND_LIBS)
