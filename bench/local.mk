# bench: measurements. Nothing here is built or installed by make; make bench and make profile build what they need.
EXTRA_DIST += bench/callgrind bench/unfiltered.c bench/million bench/own bench/bench bench/profile bench/disk.py bench/scenarios.py bench/servers.py bench/strangers.py

# How fast the real store makes messages durable: bench/spool DIRECTORY direct|journal SENDERS MESSAGES
check_PROGRAMS += bench/spool
bench_spool_LDADD = queue/libqueue.a $(COMMON_LIBS)

# Mail by SMTP as fast as a server takes it, and a host that takes it all.
check_PROGRAMS += bench/load bench/sink
bench_load_SOURCES = bench/load.c bench/traffic.h
bench_load_LDADD = $(SSL_LIBS)
bench_sink_SOURCES = bench/sink.c bench/traffic.h

# Side by side with the peers, about 6 minutes; BENCH="--long" everything; BENCH="--scenarios relay-1k --reps 5" one.
BENCH =
bench: all bench/load bench/sink
	$(PYTHON3) $(srcdir)/bench/bench run --build . --out bench.json $(BENCH)
.PHONY: bench

# Flame graphs and a table of where the CPU time goes: profile/*.svg. Builds once more, with frame pointers.
PROFILE =
profile:
	$(MKDIR_P) profile-build && cd profile-build && { test -f Makefile || $(abs_top_srcdir)/configure -q CFLAGS='-O2 -g -fno-omit-frame-pointer'; }
	$(MAKE) -s -C profile-build all bench/load bench/sink
	$(PYTHON3) $(srcdir)/bench/profile --build profile-build --out profile $(PROFILE)
.PHONY: profile

# How many instructions a message costs in each program: valgrind counts. CALLGRIND="--size 65536 --messages 400" others.
CALLGRIND =
callgrind: all bench/load bench/sink
	$(PYTHON3) $(srcdir)/bench/callgrind --build . $(CALLGRIND)
.PHONY: callgrind

# A queue of a million messages, from the start until it is drained (docs/PERFORMANCE.md); N= others; then Postfix with PEER_N.
N = 1000000
PEER_N = 100000
million: all bench/load bench/sink tests/fillspool
	$(PYTHON3) $(srcdir)/bench/million --build . --n $(N) --out million.json
	$(PYTHON3) $(srcdir)/bench/million --build . --peer postfix --peer-n $(PEER_N) --out million-postfix.json
.PHONY: million
