# tests: scenarios, cages, crash and fuzz drivers. Scripts speak TAP; they find the built programs below $builddir
# and the sources below $srcdir (both absolute, in the environment).
check_PROGRAMS += tests/addrcheck
tests_addrcheck_LDADD = $(COMMON_LIBS)
dist_check_SCRIPTS += tests/addr_vectors.py
TESTS += tests/addr_vectors.py

# Makes a running program execute one system call, for t_cages.py.
check_PROGRAMS += tests/inject

# Fills a spool with many messages, for t_operations.py.
check_PROGRAMS += tests/fillspool
tests_fillspool_LDADD = queue/libqueue.a $(COMMON_LIBS)

EXTRA_DIST += tests/corpus
EXTRA_DIST += tests/harness.py tests/tlstools.py tests/sink.py tests/dns.py tests/demo.py tests/prepare demo .ci/run
scenarios = \
	tests/t_cages.py \
	tests/t_check.py \
	tests/t_clients.py \
	tests/t_config.py \
	tests/t_attack.py \
	tests/t_auth.py \
	tests/t_crash.py \
	tests/t_deliver.py \
	tests/t_direct.py \
	tests/t_install.py \
	tests/t_esmtp.py \
	tests/t_etrn.py \
	tests/t_limits.py \
	tests/t_lmtp.py \
	tests/t_netns.py \
	tests/t_operations.py \
	tests/t_pickup.py \
	tests/t_posternd.py \
	tests/t_proxy.py \
	tests/t_power.py \
	tests/t_pressure.py \
	tests/t_queue.py \
	tests/t_release.py \
	tests/t_requiretls.py \
	tests/t_rules.py \
	tests/t_rfc5321.py \
	tests/t_scale.py \
	tests/t_sendmail.py \
	tests/t_smuggle.py \
	tests/t_submit.py \
	tests/t_tls.py \
	tests/t_tools.py \
	tests/t_xclient.py
dist_check_SCRIPTS += $(scenarios)
TESTS += $(scenarios)

# The proof on the real disk (tests/power.py; docs/RELIABILITY.md has the results). t_power.py is the short form.
check_PROGRAMS += tests/fault
EXTRA_DIST += tests/load.py tests/power.py
CUTS = 500
MINUTES = 10
FS = ext4
PROOF = srcdir='$(abs_top_srcdir)' builddir='$(abs_top_builddir)' PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON3) $(abs_top_srcdir)/tests/power.py
power: all $(check_PROGRAMS)
	$(PROOF) cuts --count $(CUTS) --fs $(FS) $(POWER_FLAGS)
storm: all
	$(PROOF) storm --minutes $(MINUTES)
diskfull: all $(check_PROGRAMS)
	$(PROOF) full
diskerrors: all $(check_PROGRAMS)
	$(PROOF) errors
.PHONY: power storm diskfull diskerrors
