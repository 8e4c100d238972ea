# deliver-local: mailbox, pipe, forward, as the recipient.
noinst_LIBRARIES += deliver-local/libdeliver-local.a
deliver_local_libdeliver_local_a_SOURCES = \
	deliver-local/delivery.c \
	deliver-local/delivery.h \
	deliver-local/format.c \
	deliver-local/format.h \
	deliver-local/maildir.c \
	deliver-local/mbox.c

pkglibexec_PROGRAMS += deliver-local/deliver-local
deliver_local_deliver_local_SOURCES = \
	deliver-local/main.c \
	deliver-local/worker.c \
	deliver-local/worker.h
deliver_local_deliver_local_LDADD = deliver-local/libdeliver-local.a $(COMMON_LIBS)
