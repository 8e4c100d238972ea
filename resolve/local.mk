# resolve: DNS with DNSSEC. The engine is answer.[ch].
# dns.py is the tests' DNS server, play.py plays posternd and dispatch to one program; both lie in tests/.
EXTRA_DIST += tests/play.py
dist_check_SCRIPTS += resolve/t_resolve.py
TESTS += resolve/t_resolve.py

noinst_LIBRARIES += resolve/libresolve.a
resolve_libresolve_a_SOURCES = \
	resolve/answer.c \
	resolve/answer.h

pkglibexec_PROGRAMS += resolve/resolve
resolve_resolve_SOURCES = resolve/main.c
resolve_resolve_LDADD = resolve/libresolve.a $(COMMON_LIBS) $(UNBOUND_LIBS)
