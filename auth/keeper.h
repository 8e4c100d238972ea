/* keeper.h: the one thing that auth may not do in its cage, done by a child that was forked before it.
 *
 * For auth-source = pam: a child in group shadow forks for each check; the grandchild speaks to PAM, which
 * loads modules, opens files and runs unix_chkpwd(8), and ends. For dovecot: a child that connects to one
 * socket, and hands the descriptor over. What they hear are records of a fixed size; they parse nothing.
 * Both have no_new_privs and cages of their own (cage_keeper); they end with auth. */
#ifndef POSTERN_AUTH_KEEPER_H
#define POSTERN_AUTH_KEEPER_H

#include "auth/verifier.h"
#include "common/config.h"

#include <sys/types.h>

enum { KEEPER_CHECKS_MAX = 16, KEEPER_CHECK_S = 30 };
enum keeper_verdict { KEEPER_GOOD, KEEPER_BAD, KEEPER_TROUBLE };

struct keeper_ask {
    uint32_t id;
    char login[LOGIN_MAX + 1], password[PASSWORD_MAX + 1], client[64]; /* NUL-terminated */
};

struct keeper_answer {
    uint32_t id; /* of a connection: 0, and the descriptor rides along when the verdict is good */
    uint32_t verdict;
    int32_t error; /* of a connection */
};

/* Forks; gives our end of its socket, -1 when that fails. */
int keeper_start(const struct config *c, bool pam, uid_t uid, gid_t gid);

#endif
