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
