#include "submit/caller.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct passwd *from_file(const char *file, uid_t uid) {
    FILE *f = fopen(file, "re");
    struct passwd *pw = NULL;
    while (f && (pw = fgetpwent(f)) && pw->pw_uid != uid) {
    }
    if (f) fclose(f);
    return pw; /* static memory of the C library */
}

/* passwd(5), GECOS: the name ends at a comma, and "&" stands for the capitalized login. */
static void full_name(struct caller *who, const char *gecos) {
    struct buf b = BUF(who->name);
    for (; gecos && *gecos && *gecos != ','; gecos++) {
        if (*gecos == '&') {
            buf_addc(&b, (char)toupper((unsigned char)who->login[0]));
            buf_adds(&b, who->login[0] ? who->login + 1 : "");
        } else {
            buf_addc(&b, *gecos);
        }
    }
    buf_cstr(&b);
}

void caller_find(struct caller *who, const struct config *c) {
    uid_t uid = getuid();
    struct passwd *pw = *c->passwd_file ? from_file(c->passwd_file, uid) : getpwuid(uid);
    const char *name = getenv("NAME");
    *who = (struct caller){0};
    if (pw) snprintf(who->login, sizeof who->login, "%s", pw->pw_name);
    else snprintf(who->login, sizeof who->login, "uid%lu", (unsigned long)uid);
    if (name && *name) snprintf(who->name, sizeof who->name, "%s", name);
    else if (pw) full_name(who, pw->pw_gecos);
}
