/* caller.h: who runs sendmail(1): login and full name by the real user id. */
#ifndef POSTERN_SUBMIT_CALLER_H
#define POSTERN_SUBMIT_CALLER_H

#include "common/config.h"

struct caller {
    char login[64];
    char name[200]; /* of the GECOS field or the environment variable NAME; may be empty */
};

/* Reads passwd-file of the configuration, or asks the system. A user without an account is "uid1000". */
void caller_find(struct caller *who, const struct config *c);

#endif
