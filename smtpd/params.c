#include "smtpd/state.h"

bool session_address_argument(struct str *arg, struct str keyword) {
    if (!str_starts_nocase(*arg, keyword)) return false;
    /* 3.3 has no space behind the colon, but many clients put one there; it hides nothing. */
    *arg = str_trim(str_sub(*arg, keyword.n, arg->n));
    return arg->n > 0;
}

/* RFC 6531 3.5: internationalized addresses only in a transaction that was declared as such. That they are
 * UTF-8 at all, and the shortest form of it, the parser has seen to. */
bool session_may_utf8(const struct transaction *tx, struct str address, struct status *st) {
    if ((tx->mail.body & SESSION_SMTPUTF8) || str_is_print(address)) return true;
    *st = status_make(553, "5.6.7", "Non-ASCII address without SMTPUTF8");
    return false;
}

static bool is_keyword(struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && (c != '-' || i == 0)) return false;
    }
    return s.n > 0;
}

bool session_params(struct session *s, struct transaction *tx, struct str rest,
                    const struct session_param *table, size_t n, struct status *st) {
    unsigned seen = 0;
    struct str word;
    while (str_word(&rest, '\0', &word)) {
        ptrdiff_t eq = str_chr(word, '=');
        struct str name = eq < 0 ? word : str_sub(word, 0, (size_t)eq);
        struct str value = eq < 0 ? STR_NONE : str_sub(word, (size_t)eq + 1, word.n);
        size_t i = 0;
        while (i < n && !str_eq_nocase(name, table[i].name)) i++;
        /* 4.1.1.11: 555 for what is not known; what is not even a keyword is a syntax error. */
        if (i == n) {
            *st = is_keyword(name) ? status_make(555, "5.5.4", "Parameter not known")
                                   : status_make(501, "5.5.4", "Parameter syntax");
            return false;
        }
        if (seen & 1u << i) {
            *st = status_make(501, "5.5.4", "Parameter given twice");
            return false;
        }
        seen |= 1u << i;
        if (!table[i].take(s, tx, value, st)) return false;
    }
    return true;
}
