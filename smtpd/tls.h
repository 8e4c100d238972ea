/* tls.h: TLS beneath a connection of smtpd: OpenSSL on a socket that does not block, its private keys in keys.
 *
 * A handshake that needs a signature asks keys and is put aside (OpenSSL's ASYNC jobs), so one process can have many
 * in flight. One program a process, so what its connections share is not passed around. */
#ifndef POSTERN_SMTPD_TLS_H
#define POSTERN_SMTPD_TLS_H

#include "smtpd/session.h"

#include <sys/types.h>

struct tls;

/* Asks a process of keys for a signature, and says which; the answer comes by tls_signed with this tag. -1: nobody to
 * ask. */
typedef int tls_asker(void *ctx, uint32_t tag, uint64_t key, uint16_t scheme, struct str content);

/* ---- The process ---- */
bool tls_prepare(tls_asker *ask, void *ctx); /* once, before the cage */
/* The messages of wire.def about certificates, in their order. */
void tls_set_begin(void);
void tls_set_cert(unsigned pair, uint64_t key, struct str der);
void tls_set_authority(struct str der);
bool tls_set_end(void); /* false: nothing of it can be used, the set before stays */
void tls_ticket_key(struct str secret, uint32_t lifetime_s);
void tls_fingerprints(const struct str *v,
                      size_t n); /* of client certificates that are believed; kept by the caller */
bool tls_possible(void);         /* there is a certificate */
/* An answer of keys: gives the owner of the handshake that can go on, or NULL. */
void *tls_signed(int who, uint32_t tag, struct str octets);
void *tls_starved(void); /* the owner of a handshake that had to wait for room, and can go on; or NULL */
/* A process of keys is gone: all that it was asked has failed; call it until it gives NULL, let each owner go on. */
void *tls_orphan(int who);

/* ---- A connection ---- */
struct tls *tls_new(int fd, void *owner);
void tls_free(struct tls *t); /* NULL is allowed; the socket stays */

enum tls_step { TLS_DONE, TLS_READ, TLS_WRITE, TLS_WAIT, TLS_FAILED };
enum tls_step tls_handshake(struct tls *t); /* what it waits for */
bool tls_done(const struct tls *t);
const char *tls_why(const struct tls *t); /* after TLS_FAILED or -1 */
/* Octets read; 0: not now; -1: the end. */
ssize_t tls_read(struct tls *t, char *mem, size_t max);
bool tls_stuck(
    const struct tls *t); /* to read on it must first write (RFC 8446 4.6.3): the socket has to take that */
bool tls_closed(const struct tls *t); /* after -1: the client has only said that it will say no more */
bool tls_more(const struct tls *t); /* there may be more to read already, without the socket being ready */
ssize_t tls_write(struct tls *t, struct str bytes); /* octets taken; 0: not now; -1: the end */
void tls_bye(struct tls *t);                        /* our close_notify */
bool tls_resumed(const struct tls *t);
/* The texts lie in mem. */
enum { TLS_TEXTS = 1024 };
struct session_tls tls_describe(const struct tls *t, char mem[static TLS_TEXTS]);
/* What binds an authentication to this connection (RFC 9266; RFC 5929 4), into out. False: there is none of this kind. */
enum tls_binding { TLS_EXPORTER, TLS_SERVER_END_POINT };
bool tls_bind(const struct tls *t, enum tls_binding kind, struct buf *out);

#endif
