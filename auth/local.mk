# auth: checks passwords. libauth.a: mechanisms, verifiers, tables and protocols as pure code, for postern passwd too.
AUTH_LIBS = auth/libauth.a $(COMMON_LIBS) $(CRYPTO_LIBS) $(CRYPT_LIBS) $(UNISTRING_LIBS) $(JANSSON_LIBS)

noinst_LIBRARIES += auth/libauth.a
auth_libauth_a_SOURCES = \
	auth/base64.c \
	auth/base64.h \
	auth/dovecot.c \
	auth/dovecot.h \
	auth/jwt.c \
	auth/jwt.h \
	auth/sasl.c \
	auth/sasl.h \
	auth/saslprep.c \
	auth/saslprep.h \
	auth/scram.c \
	auth/scram.h \
	auth/table.c \
	auth/table.h \
	auth/verifier.c \
	auth/verifier.h

pkglibexec_PROGRAMS += auth/auth
auth_auth_SOURCES = \
	auth/file.c \
	auth/keeper.c \
	auth/keeper.h \
	auth/main.c \
	auth/pool.c \
	auth/pool.h \
	auth/remote.c \
	auth/shell.h
auth_auth_LDADD = $(AUTH_LIBS) $(PAM_LIBS) -lpthread

auth_tests = \
	auth/test_dovecot \
	auth/test_sasl \
	auth/test_saslprep \
	auth/test_verifier
check_PROGRAMS += $(auth_tests)
TESTS += $(auth_tests)
auth_test_dovecot_LDADD = $(AUTH_LIBS) $(CMOCKA_LIBS)
auth_test_sasl_LDADD = $(AUTH_LIBS) $(CMOCKA_LIBS)
auth_test_saslprep_LDADD = $(AUTH_LIBS) $(CMOCKA_LIBS)
auth_test_verifier_LDADD = $(AUTH_LIBS) $(CMOCKA_LIBS)

dist_man_MANS += auth/postern-auth.8

if FUZZ
noinst_PROGRAMS += auth/fuzz_dovecot auth/fuzz_sasl auth/fuzz_table
auth_fuzz_dovecot_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
auth_fuzz_dovecot_LDADD = $(AUTH_LIBS)
auth_fuzz_sasl_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
auth_fuzz_sasl_LDADD = $(AUTH_LIBS)
auth_fuzz_table_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
auth_fuzz_table_LDADD = $(AUTH_LIBS)
endif
