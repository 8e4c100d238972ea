#include "common/role.h"

const struct role_info role_table[ROLE_COUNT] = {
#define ROLE(name, program, user, root, paths, calls, files, memory, sentence) \
    [ROLE_##name] = {#name, program, user, ROOT_##root, paths, calls, files, memory, sentence},
#include "common/roles.def"
#undef ROLE
};

bool role_linked(enum role a, enum role b) {
    static const struct {
        enum role a, b;
    } rows[] = {
#define LINK(x, y, sentence) {ROLE_##x, ROLE_##y},
#include "common/links.def"
#undef LINK
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((rows[i].a == a && rows[i].b == b) || (rows[i].a == b && rows[i].b == a)) return true;
    return false;
}
