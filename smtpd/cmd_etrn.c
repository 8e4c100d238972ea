/* ETRN (RFC 1985): a host that was away asks for the mail that waits for it. Only listed networks may ask,
 * only for listed domains; what is sent goes where it would go anyway, not to whoever asks (9). */
#include "common/arena.h"
#include "smtpd/state.h"

bool session_may_etrn(const struct session *s) {
    const struct networks *n = s->host->etrn_networks;
    return n && s->host->etrn && s->client.ip.family && networks_have(n, &s->client.ip);
}

/* "example.org" in the list stands for itself, ".example.org" for all below it. */
static bool listed(const struct words *list, struct str domain, bool below) {
    for (size_t i = 0; list && i < list->n; i++) {
        struct str w = list->v[i];
        bool dot = w.n > 1 && w.p[0] == '.';
        if (below ? dot && str_eq_nocase(str_sub(w, 1, w.n), domain) : str_eq_nocase(w, domain)) return true;
        if (dot && str_ends_nocase(domain, w)) return true;
    }
    return false;
}

static void answer(struct session *s, struct str domain, bool below) {
    char mem[ADDR_DOMAIN_MAX + 64];
    struct buf b = BUF(mem);
    if (!listed(s->host->etrn_domains, domain, below)) {
        session_wrong(s, "etrn", 459, "4.7.1", "Mail for this node is not yours to ask for");
    } else if (!s->host->etrn(s->ctx, domain, below)) {
        session_wrong(s, "etrn", 458, "4.3.0", "Not now; it was asked for too often, or the queue is away");
    } else {
        buf_adds(&b, "Queuing for node ");
        buf_add(&b, domain);
        buf_adds(&b, " started");
        session_say(s, 250, "2.0.0", buf_cstr(&b));
    }
}

void cmd_etrn(struct session *s, struct str arg) {
    struct arena *a = arena_new(4096);
    bool below = arg.n && arg.p[0] == '@';
    struct str domain;
    const char *why;
    if (!session_may_etrn(s))
        session_wrong(s, "etrn", 459, "4.7.1", "Mail for this node is not yours to ask for");
    else if (arg.n && arg.p[0] == '#')
        session_wrong(s, "etrn", 459, "4.7.1", "There are no named queues here"); /* 5.3 */
    else if (!domain_parse(below ? str_sub(arg, 1, arg.n) : arg, 0, a, &domain, &why))
        session_wrong(s, "etrn", 501, "5.5.4", "ETRN needs a domain, or @ and a domain");
    else answer(s, domain, below);
    arena_free(a);
}
