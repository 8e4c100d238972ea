# bench: measurements. Nothing here is built or installed.
EXTRA_DIST += bench/own

# How fast the real store makes messages durable: bench/spool DIRECTORY direct|journal SENDERS MESSAGES
check_PROGRAMS += bench/spool
bench_spool_LDADD = queue/libqueue.a $(COMMON_LIBS)
