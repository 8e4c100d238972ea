# tests/sim: the simulator: the four engines in one process. `make check` runs it for some seconds, `make sim` for as
# long as you like: make sim SIM_SEEDS=1-100000
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/sim
tests_sim_sim_SOURCES = \
	tests/sim/faults.c \
	tests/sim/host_in.c \
	tests/sim/host_out.c \
	tests/sim/link.c \
	tests/sim/net.c \
	tests/sim/oracle.c \
	tests/sim/p_dispatch.c \
	tests/sim/p_lookup.c \
	tests/sim/p_queue.c \
	tests/sim/p_remote.c \
	tests/sim/p_smtpd.c \
	tests/sim/sim.c \
	tests/sim/world.c \
	tests/sim/world.h
tests_sim_sim_LDADD = smtpd/libsmtpd.a deliver-smtp/libdeliver-smtp.a queue/libqueue.a dispatch/libdispatch.a $(COMMON_LIBS)

SIM_SEEDS = 1-10000
sim: tests/sim/sim
	tests/sim/sim --seeds $(SIM_SEEDS)
.PHONY: sim
