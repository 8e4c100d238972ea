# supervise: posternd: starts, cages, wires and restarts the others.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += supervise/libsupervise.a
#supervise_libsupervise_a_SOURCES = \
#	supervise/NAME.c \
#	supervise/NAME.h
#
#sbin_PROGRAMS += supervise/posternd
#supervise_posternd_SOURCES = supervise/main.c
#supervise_posternd_LDADD = supervise/libsupervise.a $(COMMON_LIBS)
#dist_man_MANS += supervise/posternd.8
#
#supervise_tests = \
#	supervise/test_NAME
#check_PROGRAMS += $(supervise_tests)
#TESTS += $(supervise_tests)
#supervise_test_NAME_LDADD = supervise/libsupervise.a $(TEST_LIBS)
