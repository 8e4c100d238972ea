# pickup: hands mail from the drop directory to smtpd.
noinst_LIBRARIES += pickup/libpickup.a
pickup_libpickup_a_SOURCES = \
	pickup/names.c \
	pickup/names.h

pkglibexec_PROGRAMS += pickup/pickup
pickup_pickup_SOURCES = \
	pickup/job.c \
	pickup/main.c \
	pickup/pickup.h
pickup_pickup_LDADD = pickup/libpickup.a submit/libsubmit.a $(COMMON_LIBS)

pickup_tests = \
	pickup/test_dropfile
check_PROGRAMS += $(pickup_tests)
TESTS += $(pickup_tests)
pickup_test_dropfile_LDADD = pickup/libpickup.a submit/libsubmit.a $(TEST_LIBS)

dist_man_MANS += pickup/postern-pickup.8

# The fuzz twin: ./configure CC=clang --enable-fuzz; pickup/fuzz_dropfile -max_total_time=60
if FUZZ
noinst_PROGRAMS += pickup/fuzz_dropfile
pickup_fuzz_dropfile_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
pickup_fuzz_dropfile_LDADD = pickup/libpickup.a submit/libsubmit.a $(COMMON_LIBS)
endif
