# lookup: every table; which address means what.
# libtables.a: text tables and their compiled form, for newaliases(1) and postern(8) too; needs $(CDB_LIBS).
noinst_LIBRARIES += lookup/libtables.a lookup/liblookup.a
lookup_libtables_a_SOURCES = \
	lookup/aliases.c \
	lookup/aliases.h \
	lookup/compile.c \
	lookup/compile.h \
	lookup/routes.c \
	lookup/routes.h \
	lookup/text.c \
	lookup/text.h \
	lookup/values.c \
	lookup/values.h
lookup_liblookup_a_SOURCES = \
	lookup/address.c \
	lookup/address.h \
	lookup/passwd.c \
	lookup/passwd.h \
	lookup/rules.c \
	lookup/senders.c \
	lookup/senders.h \
	lookup/tables.c \
	lookup/tables.h
LOOKUP_LIBS = lookup/liblookup.a lookup/libtables.a

pkglibexec_PROGRAMS += lookup/lookup
lookup_lookup_SOURCES = lookup/main.c
lookup_lookup_LDADD = $(LOOKUP_LIBS) $(COMMON_LIBS) $(CDB_LIBS)

lookup_tests = \
	lookup/test_address \
	lookup/test_aliases \
	lookup/test_routes \
	lookup/test_senders
check_PROGRAMS += $(lookup_tests)
TESTS += $(lookup_tests)
lookup_test_address_LDADD = $(LOOKUP_LIBS) $(TEST_LIBS) $(CDB_LIBS)
lookup_test_aliases_SOURCES = lookup/test_aliases.c lookup/testing.h
lookup_test_routes_SOURCES = lookup/test_routes.c lookup/testing.h
lookup_test_aliases_LDADD = $(LOOKUP_LIBS) $(TEST_LIBS) $(CDB_LIBS)
lookup_test_senders_LDADD = $(LOOKUP_LIBS) $(TEST_LIBS) $(CDB_LIBS)
lookup_test_routes_LDADD = $(LOOKUP_LIBS) $(TEST_LIBS) $(CDB_LIBS)

if FUZZ
noinst_PROGRAMS += lookup/fuzz_aliases lookup/fuzz_senders
lookup_fuzz_senders_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
lookup_fuzz_senders_LDADD = $(LOOKUP_LIBS) $(COMMON_LIBS) $(CDB_LIBS)
lookup_fuzz_aliases_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
lookup_fuzz_aliases_LDADD = $(LOOKUP_LIBS) $(COMMON_LIBS) $(CDB_LIBS)
endif

dist_man_MANS += \
	lookup/postern-aliases.5 \
	lookup/postern-lookup.8 \
	lookup/postern-routes.5
dist_check_SCRIPTS += lookup/t_lookup.py
TESTS += lookup/t_lookup.py
