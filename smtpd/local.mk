# smtpd: turns a stranger's bytes into one envelope and one sealed message.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += smtpd/libsmtpd.a
#smtpd_libsmtpd_a_SOURCES = \
#	smtpd/NAME.c \
#	smtpd/NAME.h
#
#pkglibexec_PROGRAMS += smtpd/smtpd
#smtpd_smtpd_SOURCES = smtpd/main.c
#smtpd_smtpd_LDADD = smtpd/libsmtpd.a $(COMMON_LIBS)
#dist_man_MANS += smtpd/postern-smtpd.8
#
#smtpd_tests = \
#	smtpd/test_NAME
#check_PROGRAMS += $(smtpd_tests)
#TESTS += $(smtpd_tests)
#smtpd_test_NAME_LDADD = smtpd/libsmtpd.a $(TEST_LIBS)
