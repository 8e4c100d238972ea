# tools: postern(8), and what sendmail(1) shares with it.
noinst_LIBRARIES += tools/libtools.a
tools_libtools_a_SOURCES = \
	tools/control.c \
	tools/control.h \
	tools/listing.c \
	tools/listing.h \
	tools/settings.c \
	tools/settings.h
