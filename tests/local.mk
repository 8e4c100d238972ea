# tests: scenarios, cages, crash and fuzz drivers. Scripts speak TAP; they find the built programs below $builddir
# and the sources below $srcdir (both absolute, in the environment).
check_PROGRAMS += tests/addrcheck
tests_addrcheck_LDADD = $(COMMON_LIBS)
dist_check_SCRIPTS += tests/addr_vectors.py
TESTS += tests/addr_vectors.py

# Makes a running program execute one system call, for t_cages.py.
check_PROGRAMS += tests/inject

EXTRA_DIST += tests/harness.py tests/sink.py tests/dns.py tests/demo.py tests/prepare demo check .ci/run
scenarios = \
	tests/t_cages.py \
	tests/t_config.py \
	tests/t_attack.py \
	tests/t_crash.py \
	tests/t_deliver.py \
	tests/t_netns.py \
	tests/t_pickup.py \
	tests/t_posternd.py \
	tests/t_queue.py \
	tests/t_sendmail.py \
	tests/t_submit.py \
	tests/t_tools.py
dist_check_SCRIPTS += $(scenarios)
TESTS += $(scenarios)
