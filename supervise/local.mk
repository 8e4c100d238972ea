# supervise: posternd: starts, cages, wires and restarts the others.
noinst_LIBRARIES += supervise/libsupervise.a
supervise_libsupervise_a_SOURCES = \
	supervise/child.c \
	supervise/child.h \
	supervise/configure.c \
	supervise/configure.h \
	supervise/dirs.c \
	supervise/dirs.h \
	supervise/listen.c \
	supervise/listen.h \
	supervise/notify.c \
	supervise/notify.h \
	supervise/suite.c \
	supervise/suite.h

sbin_PROGRAMS += supervise/posternd
supervise_posternd_SOURCES = supervise/main.c
supervise_posternd_LDADD = supervise/libsupervise.a $(COMMON_LIBS)

supervise_tests = \
	supervise/test_supervise
check_PROGRAMS += $(supervise_tests)
TESTS += $(supervise_tests)
supervise_test_supervise_LDADD = supervise/libsupervise.a $(TEST_LIBS)
