# etc: what an administrator installs or copies. The sample and the accounts are made by common/gen (common/local.mk).
dist_doc_DATA += etc/postern.logrotate
EXTRA_DIST += etc/postern.service.in
systemdsystemunitdir = $(prefix)/lib/systemd/system
nodist_systemdsystemunit_DATA = etc/postern.service
CLEANFILES += etc/postern.service
etc/postern.service: etc/postern.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) etc && sed -e 's,@sbindir[@],$(sbindir),g' -e 's,@bindir[@],$(bindir),g' \
	  -e 's,@conf[@],$(sysconfdir)/postern/postern.conf,g' $(srcdir)/etc/postern.service.in >$@.new && mv $@.new $@
