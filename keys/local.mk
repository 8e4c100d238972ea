# keys: holds private keys, signs TLS handshakes.
noinst_LIBRARIES += keys/libkeys.a
keys_libkeys_a_SOURCES = \
	keys/content.c \
	keys/content.h \
	keys/pair.c \
	keys/pair.h \
	keys/selfsign.c \
	keys/selfsign.h \
	keys/shelf.c \
	keys/shelf.h

pkglibexec_PROGRAMS += keys/keys
keys_keys_SOURCES = keys/main.c
keys_keys_LDADD = keys/libkeys.a $(COMMON_LIBS) $(SSL_LIBS)

dist_man_MANS += keys/postern-keys.8

keys_tests = keys/test_keys
check_PROGRAMS += $(keys_tests)
TESTS += $(keys_tests)
keys_test_keys_LDADD = keys/libkeys.a $(TEST_LIBS) $(SSL_LIBS)

# The fuzz twin: ./configure CC=clang --enable-fuzz; keys/fuzz_content -max_total_time=60
if FUZZ
noinst_PROGRAMS += keys/fuzz_content
keys_fuzz_content_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
keys_fuzz_content_LDADD = keys/libkeys.a $(COMMON_LIBS) $(SSL_LIBS)
endif
