/* certified.c: what keys tells and is asked: certificates, ticket keys, signatures. */
#include "smtpd/shell.h"

#include <stdlib.h>

enum { SIGN_CONTENT_MAX = 512, PATIENCE_MS = 10000 };

/* The next process of keys in turn that can take it. */
static int ask_keys(void *ctx, uint32_t tag, uint64_t key, uint16_t scheme, struct str content) {
    struct shell *sh = ctx;
    if (content.n > SIGN_CONTENT_MAX) return -1;
    for (size_t i = 0; i < sh->keys_n; i++) {
        struct channel *ch = sh->keys[sh->keys_next++ % sh->keys_n];
        if (channel_full(ch)) continue;
        SEND(ch, sign, .tag = tag, .key = key, .scheme = scheme, .content = content);
        return (int)channel_instance(ch);
    }
    return -1;
}

/* Mail matters more than its protection on the way: without keys it is taken in the clear. */
static void give_up(void *ctx) {
    struct shell *sh = ctx;
    if (sh->certified) return;
    LOG_TROUBLE("keys has told no certificates for %d seconds: mail is taken without TLS until it does",
                PATIENCE_MS / 1000);
    sh->certified = true;
    shell_accepting(sh);
}

void certified_wait(struct shell *sh) {
    sh->uncertified = (struct timer){.fn = give_up, .ctx = sh};
    loop_timer_in(sh->me->loop, &sh->uncertified, PATIENCE_MS);
}

bool certified_prepare(struct shell *sh) {
    if (tls_prepare(ask_keys, sh)) return true;
    LOG_TROUBLE("OpenSSL cannot be used");
    return false;
}

static void offer(struct shell *sh) {
    sh->host.tls = tls_possible() && sh->keys_n > 0;
}

void certified_settings(struct shell *sh) {
    const struct words *w = &sh->me->config->client_fingerprints;
    tls_fingerprints(w->v, w->n);
}

bool certified_peer(struct shell *sh, struct channel *ch) {
    if (channel_peer(ch) != ROLE_keys) return false;
    if (sh->keys_n < KEYS_MAX) sh->keys[sh->keys_n++] = ch;
    offer(sh);
    return true;
}

static void go_on(struct conn *c) {
    conn_secure(c);
    conn_settle(c);
}

/* Handshakes that had to wait for room go on, as many as may have found some: each needs a job, or waits again. */
static void feed(size_t n) {
    struct conn *c;
    while (n-- && (c = tls_starved())) go_on(c);
}

bool certified_peer_gone(struct shell *sh, struct channel *ch) {
    size_t i = 0;
    while (i < sh->keys_n && sh->keys[i] != ch) i++;
    if (i == sh->keys_n) return false;
    sh->keys[i] = sh->keys[--sh->keys_n];
    offer(sh);
    size_t failed = 0;
    for (struct conn *c; (c = tls_orphan((int)channel_instance(ch))); failed++) go_on(c);
    feed(failed);
    return true;
}

/* Only the first process tells, so that the certificates of one moment are not mixed with those of another. */
static struct shell *teller(void *ctx, const struct channel *ch) {
    return channel_instance(ch) == 0 ? ((struct self *)ctx)->state : NULL;
}

void certified_begin(void *ctx, struct channel *ch, const struct wire_tls_begin *m, int fd) {
    if (teller(ctx, ch)) tls_set_begin();
}

void certified_cert(void *ctx, struct channel *ch, const struct wire_tls_cert *m, int fd) {
    if (teller(ctx, ch)) tls_set_cert(m->pair, m->key, m->der);
}

void certified_ca(void *ctx, struct channel *ch, const struct wire_tls_ca *m, int fd) {
    if (teller(ctx, ch)) tls_set_authority(m->der);
}

void certified_end(void *ctx, struct channel *ch, const struct wire_tls_end *m, int fd) {
    struct shell *sh = teller(ctx, ch);
    if (!sh) return;
    tls_set_end();
    offer(sh);
    if (sh->certified) return;
    sh->certified = true;
    shell_accepting(sh);
}

void certified_ticket(void *ctx, struct channel *ch, const struct wire_ticket_key *m, int fd) {
    if (teller(ctx, ch)) tls_ticket_key(m->secret, m->lifetime_s);
}

void certified_signature(void *ctx, struct channel *ch, const struct wire_signature *m, int fd) {
    struct conn *c = tls_signed((int)channel_instance(ch), m->tag, m->octets);
    if (c) go_on(c);
    feed(1); /* also when who asked is gone: his job ended with him */
}
