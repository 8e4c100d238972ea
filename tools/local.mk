# tools: postern(8).
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += tools/libtools.a
#tools_libtools_a_SOURCES = \
#	tools/NAME.c \
#	tools/NAME.h
#
#sbin_PROGRAMS += tools/postern
#tools_postern_SOURCES = tools/main.c
#tools_postern_LDADD = tools/libtools.a $(COMMON_LIBS) $(CDB_LIBS)
#dist_man_MANS += tools/postern.8
#
#tools_tests = \
#	tools/test_NAME
#check_PROGRAMS += $(tools_tests)
#TESTS += $(tools_tests)
#tools_test_NAME_LDADD = tools/libtools.a $(TEST_LIBS) $(CDB_LIBS)
