# queue: the only owner of the spool.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += queue/libqueue.a
#queue_libqueue_a_SOURCES = \
#	queue/NAME.c \
#	queue/NAME.h
#
#pkglibexec_PROGRAMS += queue/queue
#queue_queue_SOURCES = queue/main.c
#queue_queue_LDADD = queue/libqueue.a $(COMMON_LIBS)
#dist_man_MANS += queue/postern-queue.8
#
#queue_tests = \
#	queue/test_NAME
#check_PROGRAMS += $(queue_tests)
#TESTS += $(queue_tests)
#queue_test_NAME_LDADD = queue/libqueue.a $(TEST_LIBS)
