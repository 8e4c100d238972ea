# lookup: every table; which address means what.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += lookup/liblookup.a
#lookup_liblookup_a_SOURCES = \
#	lookup/NAME.c \
#	lookup/NAME.h
#
#pkglibexec_PROGRAMS += lookup/lookup
#lookup_lookup_SOURCES = lookup/main.c
#lookup_lookup_LDADD = lookup/liblookup.a $(COMMON_LIBS) $(CDB_LIBS)
#dist_man_MANS += lookup/postern-lookup.8
#
#lookup_tests = \
#	lookup/test_NAME
#check_PROGRAMS += $(lookup_tests)
#TESTS += $(lookup_tests)
#lookup_test_NAME_LDADD = lookup/liblookup.a $(TEST_LIBS) $(CDB_LIBS)
