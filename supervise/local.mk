# supervise: posternd: starts, cages, wires and restarts the others.
noinst_LIBRARIES += supervise/libsupervise.a
supervise_libsupervise_a_SOURCES = \
	supervise/child.c \
	supervise/child.h \
	supervise/configure.c \
	supervise/configure.h \
	supervise/crowd.c \
	supervise/crowd.h \
	supervise/dirs.c \
	supervise/dirs.h \
	supervise/files.c \
	supervise/files.h \
	supervise/harden.c \
	supervise/harden.h \
	supervise/listen.c \
	supervise/listen.h \
	supervise/notify.c \
	supervise/notify.h \
	supervise/suite.c \
	supervise/suite.h

sbin_PROGRAMS += supervise/posternd
supervise_posternd_SOURCES = supervise/main.c
supervise_posternd_LDADD = supervise/libsupervise.a $(COMMON_LIBS)
dist_man_MANS += supervise/posternd.8

# The settings in postern.conf(5) come from config.def.
nodist_man_MANS = supervise/postern.conf.5
EXTRA_DIST += supervise/postern.conf.5.in
CLEANFILES += supervise/postern.conf.5 supervise/settings.mdoc
supervise/postern.conf.5: supervise/postern.conf.5.in common/gen$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) supervise && common/gen settings >supervise/settings.mdoc && \
	  sed -e '/@SETTINGS@/r supervise/settings.mdoc' -e '/@SETTINGS@/d' \
	  $(srcdir)/supervise/postern.conf.5.in >$@.new && mv $@.new $@

supervise_tests = \
	supervise/test_supervise
check_PROGRAMS += $(supervise_tests)
TESTS += $(supervise_tests)
supervise_test_supervise_LDADD = supervise/libsupervise.a $(TEST_LIBS)
