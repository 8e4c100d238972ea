# pickup: hands mail from the drop directory to smtpd.
#
# Template; take out the first column when the sources are there.
#noinst_LIBRARIES += pickup/libpickup.a
#pickup_libpickup_a_SOURCES = \
#	pickup/NAME.c \
#	pickup/NAME.h
#
#pkglibexec_PROGRAMS += pickup/pickup
#pickup_pickup_SOURCES = pickup/main.c
#pickup_pickup_LDADD = pickup/libpickup.a $(COMMON_LIBS)
#dist_man_MANS += pickup/postern-pickup.8
#
#pickup_tests = \
#	pickup/test_NAME
#check_PROGRAMS += $(pickup_tests)
#TESTS += $(pickup_tests)
#pickup_test_NAME_LDADD = pickup/libpickup.a $(TEST_LIBS)
