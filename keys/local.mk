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
