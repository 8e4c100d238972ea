# deliver-smtp: speaks SMTP to others. The engine is client.[ch] and what it stands on.
noinst_LIBRARIES += deliver-smtp/libdeliver-smtp.a
deliver_smtp_libdeliver_smtp_a_SOURCES = \
	deliver-smtp/body.c \
	deliver-smtp/body.h \
	deliver-smtp/client.c \
	deliver-smtp/client.h \
	deliver-smtp/ehlo.c \
	deliver-smtp/ehlo.h \
	deliver-smtp/reply.c \
	deliver-smtp/reply.h
