# queue: the only owner of the spool. libqueue.a is the store with its real disk and the fake one.
noinst_LIBRARIES += queue/libqueue.a
queue_libqueue_a_SOURCES = \
	queue/commit.c \
	queue/control.c \
	queue/control.h \
	queue/crc32c.c \
	queue/crc32c.h \
	queue/disk.h \
	queue/disk_fake.c \
	queue/disk_fake.h \
	queue/disk_over.c \
	queue/disk_over.h \
	queue/disk_posix.c \
	queue/finding.h \
	queue/findings.def \
	queue/inside.h \
	queue/intake.c \
	queue/journal.c \
	queue/journal.h \
	queue/journal_inside.h \
	queue/journal_log.c \
	queue/journal_replay.c \
	queue/journal_rest.c \
	queue/lease.c \
	queue/load.c \
	queue/marks.c \
	queue/pace.c \
	queue/pace.h \
	queue/select.c \
	queue/select.h \
	queue/store.c \
	queue/store.h \
	queue/walk.c

pkglibexec_PROGRAMS += queue/queue
queue_queue_SOURCES = \
	queue/ctl.c \
	queue/etrn.c \
	queue/feed.c \
	queue/main.c \
	queue/receive.c \
	queue/shell.h
queue_queue_LDADD = queue/libqueue.a $(COMMON_LIBS)

# The state table is proved here: a crash at every operation, a fault at every operation, and mutants without syncs.
queue_tests = \
	queue/test_control \
	queue/test_over \
	queue/test_pace \
	queue/test_program \
	queue/test_select \
	queue/test_store
check_PROGRAMS += $(queue_tests)
TESTS += $(queue_tests)
queue_test_control_LDADD = queue/libqueue.a $(TEST_LIBS)
queue_test_over_LDADD = queue/libqueue.a $(TEST_LIBS)
queue_test_pace_LDADD = queue/libqueue.a $(TEST_LIBS)
queue_test_program_LDADD = $(TEST_LIBS)
queue_test_select_LDADD = queue/libqueue.a $(TEST_LIBS)
queue_test_store_LDADD = queue/libqueue.a $(TEST_LIBS)

dist_man_MANS += \
	queue/postern-queue.5 \
	queue/postern-queue.8

# The fuzz twin: ./configure CC=clang --enable-fuzz; queue/fuzz_control -max_total_time=60
if FUZZ
noinst_PROGRAMS += queue/fuzz_control
queue_fuzz_control_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
queue_fuzz_control_LDADD = queue/libqueue.a $(COMMON_LIBS)
endif
