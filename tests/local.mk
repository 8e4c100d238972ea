# tests: scenarios, cages, crash and fuzz drivers. Scripts speak TAP; they find the built programs below $builddir
# and the sources below $srcdir (both absolute, in the environment).
#
# Template:
#dist_check_SCRIPTS += tests/NAME.py
#TESTS += tests/NAME.py

check_PROGRAMS += tests/addrcheck
tests_addrcheck_LDADD = $(COMMON_LIBS)
dist_check_SCRIPTS += tests/addr_vectors.py
TESTS += tests/addr_vectors.py
