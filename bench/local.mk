# bench: measurements. Programs here are built but neither installed nor run by make check.
#
# Template:
#noinst_PROGRAMS += bench/NAME
#bench_NAME_LDADD = $(COMMON_LIBS)
