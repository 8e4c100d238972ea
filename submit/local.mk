# submit: sendmail(1), mailq(1), newaliases(1); the links are made in Makefile.am.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += submit/libsubmit.a
#submit_libsubmit_a_SOURCES = \
#	submit/NAME.c \
#	submit/NAME.h
#
#sbin_PROGRAMS += submit/sendmail
#submit_sendmail_SOURCES = submit/main.c
#submit_sendmail_LDADD = submit/libsubmit.a $(COMMON_LIBS) $(CDB_LIBS)
#dist_man_MANS += submit/sendmail.8
#
#submit_tests = \
#	submit/test_NAME
#check_PROGRAMS += $(submit_tests)
#TESTS += $(submit_tests)
#submit_test_NAME_LDADD = submit/libsubmit.a $(TEST_LIBS) $(CDB_LIBS)
