#include "common/sigscheme.h"

#include <string.h>

static const struct sig_scheme schemes[] = {
#define SCHEME(number, name, type, digest, padding) {number, name, SIG_##type, digest, SIG_##padding},
#include "common/sigscheme.def"
#undef SCHEME
};
enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

const struct sig_scheme *sig_scheme_numbered(uint16_t number) {
    for (size_t i = 0; i < SCHEMES; i++)
        if (schemes[i].number == number) return &schemes[i];
    return NULL;
}

static int same_digest(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

const struct sig_scheme *sig_scheme_of(enum sig_type type, const char *digest, enum sig_padding padding) {
    for (size_t i = 0; i < SCHEMES; i++)
        if (schemes[i].type == type && schemes[i].padding == padding &&
            same_digest(schemes[i].digest, digest))
            return &schemes[i];
    return NULL;
}

const char *sig_type_name(enum sig_type type) {
    static const char *const names[] = {[SIG_RSA] = "RSA", [SIG_EC] = "EC", [SIG_ED25519] = "ED25519"};
    return names[type];
}
