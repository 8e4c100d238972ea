/* passwd.h: the accounts of this host, from the text of passwd(5). Pure: no file is read.
 *
 * Not getpwnam(3): it would load NSS modules, speak to their daemons and open what they like, inside of a
 * cage that forbids that. Price: accounts that live only in LDAP or the like are not seen. */
#ifndef POSTERN_LOOKUP_PASSWD_H
#define POSTERN_LOOKUP_PASSWD_H

#include "lookup/address.h"

struct passwd_table;

enum { PASSWD_NAME_MAX = 63 };

/* Copies the text. Lines that are no account, and names that are unsafe as a file's name, are passed over; of
 * two accounts with the same name or UID the first counts, as in getpwnam(3). */
struct passwd_table *passwd_parse(struct str text);
void passwd_free(struct passwd_table *p); /* NULL is allowed */
size_t passwd_count(const struct passwd_table *p);
bool passwd_by_name(const struct passwd_table *p, struct str name, struct lookup_user *out);
bool passwd_by_uid(const struct passwd_table *p, uint32_t uid, struct lookup_user *out);

#endif
