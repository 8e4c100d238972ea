# deliver-local: mailbox, pipe, forward, as the recipient.
noinst_LIBRARIES += deliver-local/libdeliver-local.a
deliver_local_libdeliver_local_a_SOURCES = \
	deliver-local/batch.c \
	deliver-local/batch.h \
	deliver-local/delivery.c \
	deliver-local/delivery.h \
	deliver-local/format.c \
	deliver-local/format.h \
	deliver-local/maildir.c \
	deliver-local/mbox.c \
	deliver-local/seen.c \
	deliver-local/seen.h

pkglibexec_PROGRAMS += deliver-local/deliver-local
deliver_local_deliver_local_SOURCES = \
	deliver-local/main.c \
	deliver-local/worker.c \
	deliver-local/worker.h
deliver_local_deliver_local_LDADD = deliver-local/libdeliver-local.a $(COMMON_LIBS)

deliver_local_tests = \
	deliver-local/test_batch \
	deliver-local/test_maildir \
	deliver-local/test_mbox
check_PROGRAMS += $(deliver_local_tests)
TESTS += $(deliver_local_tests)
deliver_local_test_batch_SOURCES = deliver-local/test_batch.c
deliver_local_test_batch_LDADD = deliver-local/libdeliver-local.a $(TEST_LIBS)
deliver_local_test_maildir_SOURCES = deliver-local/test_maildir.c deliver-local/testing.h
deliver_local_test_maildir_LDADD = deliver-local/libdeliver-local.a $(TEST_LIBS)
deliver_local_test_mbox_SOURCES = deliver-local/test_mbox.c deliver-local/testing.h
deliver_local_test_mbox_LDADD = deliver-local/libdeliver-local.a $(TEST_LIBS)

dist_man_MANS += deliver-local/postern-deliver-local.8
dist_check_SCRIPTS += deliver-local/t_deliver_local.py
TESTS += deliver-local/t_deliver_local.py
