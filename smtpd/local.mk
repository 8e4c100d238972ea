# smtpd: turns a stranger's bytes into one envelope and one sealed message.
noinst_LIBRARIES += smtpd/libsmtpd.a
smtpd_libsmtpd_a_SOURCES = \
	smtpd/cmd_auth.c \
	smtpd/cmd_bdat.c \
	smtpd/cmd_data.c \
	smtpd/cmd_ehlo.c \
	smtpd/cmd_etrn.c \
	smtpd/cmd_expn.c \
	smtpd/cmd_help.c \
	smtpd/cmd_http.c \
	smtpd/cmd_lhlo.c \
	smtpd/cmd_mail.c \
	smtpd/cmd_noop.c \
	smtpd/cmd_quit.c \
	smtpd/cmd_rcpt.c \
	smtpd/cmd_rset.c \
	smtpd/cmd_starttls.c \
	smtpd/cmd_vrfy.c \
	smtpd/cmd_xclient.c \
	smtpd/commands.def \
	smtpd/data.c \
	smtpd/fixup.c \
	smtpd/fixup.h \
	smtpd/date.c \
	smtpd/date.h \
	smtpd/header.c \
	smtpd/header.h \
	smtpd/limits.c \
	smtpd/limits.h \
	smtpd/line.c \
	smtpd/line.h \
	smtpd/mend.c \
	smtpd/mend.h \
	smtpd/params.c \
	smtpd/params_dsn.c \
	smtpd/params_release.c \
	smtpd/peer.c \
	smtpd/peer.h \
	smtpd/policy.c \
	smtpd/policy.h \
	smtpd/prefix.c \
	smtpd/proxy.c \
	smtpd/proxy.h \
	smtpd/reply.c \
	smtpd/session.c \
	smtpd/session.h \
	smtpd/session_policy.c \
	smtpd/state.h

pkglibexec_PROGRAMS += smtpd/smtpd
smtpd_smtpd_SOURCES = \
	smtpd/ask.c \
	smtpd/auth.c \
	smtpd/body.c \
	smtpd/body.h \
	smtpd/certified.c \
	smtpd/conn.c \
	smtpd/guest.c \
	smtpd/mail.c \
	smtpd/main.c \
	smtpd/names.c \
	smtpd/shell.h
smtpd_smtpd_LDADD = smtpd/libsmtpd.a smtpd/libsmtpdtls.a $(COMMON_LIBS) $(SSL_LIBS)

# Apart from the engine, which knows nothing of OpenSSL.
noinst_LIBRARIES += smtpd/libsmtpdtls.a
smtpd_libsmtpdtls_a_SOURCES = \
	smtpd/certs.c \
	smtpd/certs.h \
	smtpd/provider.c \
	smtpd/provider.h \
	smtpd/tls.c \
	smtpd/tls.h

# The world around a session for its tests, its fuzz twin and nothing else.
check_LIBRARIES += smtpd/libtesting.a
smtpd_libtesting_a_SOURCES = \
	smtpd/testing.c \
	smtpd/testing.h

smtpd_tests = \
	smtpd/test_limits \
	smtpd/test_line \
	smtpd/test_peer \
	smtpd/test_policy \
	smtpd/test_mend \
	smtpd/test_patience \
	smtpd/test_proxy \
	smtpd/test_session \
	smtpd/test_shell \
	smtpd/test_splits \
	smtpd/test_submission \
	smtpd/test_tls
check_PROGRAMS += $(smtpd_tests)
TESTS += $(smtpd_tests)
smtpd_test_limits_LDADD = smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_line_LDADD = smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_peer_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_policy_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_mend_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_splits_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_patience_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_proxy_LDADD = smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_session_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_submission_LDADD = smtpd/libtesting.a smtpd/libsmtpd.a $(TEST_LIBS)
smtpd_test_shell_LDADD = $(TEST_LIBS)
smtpd_test_tls_LDADD = smtpd/libsmtpdtls.a keys/libkeys.a $(TEST_LIBS) $(SSL_LIBS)

# The fuzz twin: ./configure CC=clang --enable-fuzz; smtpd/fuzz_session -dict=smtpd/fuzz_session.dict -max_total_time=60
EXTRA_DIST += smtpd/fuzz_line.dict smtpd/fuzz_proxy.dict smtpd/fuzz_session.dict
if FUZZ
noinst_PROGRAMS += smtpd/fuzz_line smtpd/fuzz_proxy smtpd/fuzz_session
smtpd_fuzz_line_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
smtpd_fuzz_line_LDADD = smtpd/libsmtpd.a $(COMMON_LIBS)
smtpd_fuzz_proxy_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
smtpd_fuzz_proxy_LDADD = smtpd/libsmtpd.a $(COMMON_LIBS)
smtpd_fuzz_session_SOURCES = smtpd/fuzz_session.c smtpd/testing.c
smtpd_fuzz_session_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
smtpd_fuzz_session_LDADD = smtpd/libsmtpd.a $(COMMON_LIBS)
endif
dist_man_MANS += \
	smtpd/postern-rules.5 \
	smtpd/postern-smtpd.8
