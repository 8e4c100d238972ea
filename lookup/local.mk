# lookup: every table; which address means what.
# libtables.a: text tables and their compiled form, for newaliases(1) and postern(8) too; needs $(CDB_LIBS).
noinst_LIBRARIES += lookup/libtables.a lookup/liblookup.a
lookup_libtables_a_SOURCES = \
	lookup/aliases.c \
	lookup/aliases.h \
	lookup/compile.c \
	lookup/compile.h \
	lookup/routes.c \
	lookup/routes.h \
	lookup/text.c \
	lookup/text.h \
	lookup/values.c \
	lookup/values.h
lookup_liblookup_a_SOURCES = \
	lookup/address.c \
	lookup/address.h \
	lookup/passwd.c \
	lookup/passwd.h \
	lookup/rules.c \
	lookup/tables.c \
	lookup/tables.h
LOOKUP_LIBS = lookup/liblookup.a lookup/libtables.a

pkglibexec_PROGRAMS += lookup/lookup
lookup_lookup_SOURCES = lookup/main.c
lookup_lookup_LDADD = $(LOOKUP_LIBS) $(COMMON_LIBS) $(CDB_LIBS)
