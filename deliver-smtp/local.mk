# deliver-smtp: speaks SMTP and LMTP to others.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += deliver-smtp/libdeliver-smtp.a
#deliver_smtp_libdeliver_smtp_a_SOURCES = \
#	deliver-smtp/NAME.c \
#	deliver-smtp/NAME.h
#
#pkglibexec_PROGRAMS += deliver-smtp/deliver-smtp
#deliver_smtp_deliver_smtp_SOURCES = deliver-smtp/main.c
#deliver_smtp_deliver_smtp_LDADD = deliver-smtp/libdeliver-smtp.a $(COMMON_LIBS)
#dist_man_MANS += deliver-smtp/postern-deliver-smtp.8
#
#deliver_smtp_tests = \
#	deliver-smtp/test_NAME
#check_PROGRAMS += $(deliver_smtp_tests)
#TESTS += $(deliver_smtp_tests)
#deliver_smtp_test_NAME_LDADD = deliver-smtp/libdeliver-smtp.a $(TEST_LIBS)
