# tests/sim: the simulator: the four engines, and the real shells of queue and dispatch, in one process. `make check` runs it for a minute (SIM_SECONDS=5 in the
# environment: for five seconds), and with it the mutants.
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/sim
tests_sim_sim_SOURCES = \
	tests/sim/disk.c \
	tests/sim/faults.c \
	tests/sim/host_in.c \
	tests/sim/host_out.c \
	tests/sim/link.c \
	tests/sim/many.c \
	tests/sim/many.h \
	tests/sim/mem.c \
	tests/sim/mutants.c \
	tests/sim/net.c \
	tests/sim/oracle.c \
	tests/sim/p_dispatch.c \
	tests/sim/p_local.c \
	tests/sim/p_lookup.c \
	tests/sim/p_queue.c \
	tests/sim/p_remote.c \
	tests/sim/p_smtpd.c \
	tests/sim/run.c \
	tests/sim/shell.c \
	tests/sim/shell.h \
	tests/sim/sim.c \
	tests/sim/world.c \
	tests/sim/world.h
# The real shells, whose mains are called by another name, and whose calls to the outside end in shell.c and p_*.c.
check_LIBRARIES += tests/sim/libqueueshell.a tests/sim/libdispatchshell.a
tests_sim_libqueueshell_a_SOURCES = $(queue_queue_SOURCES)
tests_sim_libqueueshell_a_CPPFLAGS = $(AM_CPPFLAGS) -Dmain=queue_main
tests_sim_libqueueshell_a_CFLAGS = $(AM_CFLAGS) -Wno-missing-prototypes
tests_sim_libdispatchshell_a_SOURCES = $(dispatch_dispatch_SOURCES)
tests_sim_libdispatchshell_a_CPPFLAGS = $(AM_CPPFLAGS) -Dmain=dispatch_main
tests_sim_libdispatchshell_a_CFLAGS = $(AM_CFLAGS) -Wno-missing-prototypes
tests_sim_sim_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free \
	-Wl,--wrap=open,--wrap=close,--wrap=fcntl,--wrap=fstat,--wrap=pread,--wrap=__pread_chk,--wrap=clock_gettime,--wrap=getrandom \
	-Wl,--wrap=stat,--wrap=socketpair,--wrap=getifaddrs,--wrap=memfd_create,--wrap=write,--wrap=bounce_build \
	-Wl,--wrap=disk_posix_new,--wrap=store_new,--wrap=store_commit_some,--wrap=store_rest,--wrap=store_push \
	-Wl,--wrap=store_marks_kept,--wrap=store_mark
tests_sim_sim_LDADD = tests/sim/libqueueshell.a tests/sim/libdispatchshell.a smtpd/libsmtpd.a deliver-smtp/libdeliver-smtp.a queue/libqueue.a \
	dispatch/libdispatch.a deliver-local/libdeliver-local.a $(COMMON_LIBS)

# As long as you like: make sim SIM_FLAGS='--seconds 3600', or SIM_FLAGS='--seeds 1-100000'.
SIM_FLAGS = --seconds 600
sim: tests/sim/sim
	tests/sim/sim --both $(SIM_FLAGS)
# As many runs as make a billion steps, both modes, from a seed of your choice: make billion SEED=5000001.
SEED = 1
billion: tests/sim/sim
	tests/sim/sim --both --seed $(SEED) --until-steps 1000000000
# Each safeguard left out, one at a time: the table of docs/RELIABILITY.md.
mutants: tests/sim/sim
	tests/sim/sim --mutants
.PHONY: sim billion mutants
