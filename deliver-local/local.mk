# deliver-local: mailbox, pipe, forward, as the recipient.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += deliver-local/libdeliver-local.a
#deliver_local_libdeliver_local_a_SOURCES = \
#	deliver-local/NAME.c \
#	deliver-local/NAME.h
#
#pkglibexec_PROGRAMS += deliver-local/deliver-local
#deliver_local_deliver_local_SOURCES = deliver-local/main.c
#deliver_local_deliver_local_LDADD = deliver-local/libdeliver-local.a $(COMMON_LIBS)
#dist_man_MANS += deliver-local/postern-deliver-local.8
#
#deliver_local_tests = \
#	deliver-local/test_NAME
#check_PROGRAMS += $(deliver_local_tests)
#TESTS += $(deliver_local_tests)
#deliver_local_test_NAME_LDADD = deliver-local/libdeliver-local.a $(TEST_LIBS)
