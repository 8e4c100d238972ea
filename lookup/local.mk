# lookup: every table; which address means what.
# libtables.a: text tables and their compiled form, for newaliases(1) and postern(8) too; needs $(CDB_LIBS).
noinst_LIBRARIES += lookup/libtables.a
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
