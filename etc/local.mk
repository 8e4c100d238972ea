# etc: what an administrator installs or copies. The sample and the accounts are made by common/gen (common/local.mk).
dist_doc_DATA += etc/postern.logrotate
EXTRA_DIST += etc/postern.service.in
systemdsystemunitdir = $(prefix)/lib/systemd/system
nodist_systemdsystemunit_DATA = etc/postern.service
CLEANFILES += etc/postern.service
etc/postern.service: etc/postern.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) etc && sed -e 's,@sbindir[@],$(sbindir),g' -e 's,@bindir[@],$(bindir),g' \
	  -e 's,@conf[@],$(sysconfdir)/postern/postern.conf,g' $(srcdir)/etc/postern.service.in >$@.new && mv $@.new $@
# What other software wants to know of us: who failed to log in; and by which modules system accounts are checked.
fail2bandir = $(sysconfdir)/fail2ban/filter.d
pamdir = $(sysconfdir)/pam.d
EXTRA_DIST += etc/fail2ban-filter.conf etc/postern.pam
install-data-local:
	$(MKDIR_P) $(DESTDIR)$(fail2bandir) $(DESTDIR)$(pamdir)
	$(INSTALL_DATA) $(srcdir)/etc/fail2ban-filter.conf $(DESTDIR)$(fail2bandir)/postern.conf
	$(INSTALL_DATA) $(srcdir)/etc/postern.pam $(DESTDIR)$(pamdir)/postern
uninstall-local:
	rm -f $(DESTDIR)$(fail2bandir)/postern.conf $(DESTDIR)$(pamdir)/postern
