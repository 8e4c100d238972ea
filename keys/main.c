/* keys: holds the private keys of this host's certificates, and signs TLS handshakes with them for smtpd.
 *
 * posternd opens the files of certificates and hands the descriptors here; they are read and parsed in the cage, at the
 * start and whenever they change. smtpd gets the certificates and the secrets of session tickets, never a key.
 *
 * It may touch: its channels. Before its cage, as root, it makes the self-signed certificate in key-directory when
 * that is missing. Why it is safe: it hears only posternd and smtpd, parses no file but the administrator's, and signs
 * nothing but the handshake of a TLS server (content.h). Whoever takes it over has the keys: he can pretend to be this
 * host, until the certificates are revoked, and can do nothing on this machine. */
#include "common/arena.h"
#include "common/program.h"
#include "keys/selfsign.h"
#include "keys/shelf.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SMTPDS_MAX = 64,
    TICKET_SECRET = 80,
    FLUSH_NS = 300000,     /* do not let the first of many wait for the last */
    SECURE_HEAP = 4 << 20, /* locked, not in cores: OpenSSL keeps private numbers there */
    SECURE_MIN = 32,
    SELF_SIGNED_MAX = 16384,
};

static const char self_signed[] = "self-signed.pem", self_signed_new[] = "self-signed.pem.new";

struct keys {
    struct self *me;
    struct shelf shelf;
    uint32_t set;
    bool complete; /* there has been a set */
    struct channel *smtpds[SMTPDS_MAX];
    size_t smtpd_n;
    char ticket[2][TICKET_SECRET]; /* now, before */
    bool ticket_before;
    struct timer rotate;
    int64_t flushed_ns;
};

/* ---- The self-signed certificate, before the cage ---- */

static struct str read_file(int fd, char *mem, size_t max) {
    size_t n = 0;
    while (n < max) {
        ssize_t k = pread(fd, mem + n, max - n, (off_t)n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        n += (size_t)k;
    }
    return (struct str){mem, n};
}

static bool write_whole(int dir, struct str text) {
    int fd = openat(dir, self_signed_new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok && renameat(dir, self_signed_new, dir, self_signed) == 0 && fsync(dir) == 0;
}

static bool make_self_signed(int dir, struct str name) {
    static char old_mem[SELF_SIGNED_MAX], mem[SELF_SIGNED_MAX];
    struct buf fresh = BUF(mem);
    int fd = openat(dir, self_signed, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct str old = fd >= 0 ? read_file(fd, old_mem, sizeof old_mem) : STR_NONE;
    int64_t now = time(NULL);
    if (fd >= 0) close(fd);
    bool good = selfsign_good(name, old, now);
    bool ok = good || (selfsign(name, old, now, &fresh) && write_whole(dir, buf_str(&fresh)));
    if (ok && !good) LOG_NOTE("self-signed certificate made for %.*s", STR_ARGS(name));
    OPENSSL_cleanse(old_mem, sizeof old_mem);
    OPENSSL_cleanse(mem, sizeof mem);
    return ok;
}

static bool have_self_signed(const struct self *me) {
    const char *path = me->config->key_directory;
    if (me->instance != 0) return true;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    errno = 0;
    bool ok = dir >= 0 && make_self_signed(dir, str_of(me->config->hostname));
    if (!ok)
        LOG_TROUBLE("no self-signed certificate can be made in key-directory %s: %s", path,
                    errno ? strerror(errno) : "OpenSSL failed");
    if (dir >= 0) close(dir);
    return ok;
}

/* What OpenSSL would do late is done now: its settings file is not ours, its random numbers need a seed. */
static bool prepare(struct self *me) {
    struct keys *k = xmalloc(sizeof *k);
    k->me = me;
    me->state = k;
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 ||
        RAND_bytes((unsigned char *)k->ticket[0], TICKET_SECRET) != 1) {
        LOG_TROUBLE("OpenSSL cannot be used");
        return false;
    }
    if (CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_MIN) == 0)
        LOG_NOTE("OpenSSL gives no locked memory for keys");
    return have_self_signed(me);
}

/* ---- Certificates to smtpd ---- */

static void send_set(const struct keys *k, struct channel *ch) {
    const struct shelf *s = &k->shelf;
    SEND(ch, tls_begin, .set = k->set);
    for (size_t i = 0; i < s->now_n; i++)
        for (size_t n = 0; n < s->now[i].pair->chain_n; n++)
            SEND(ch, tls_cert, .set = k->set, .pair = (uint16_t)i, .key = s->now[i].pair->id,
                 .der = s->now[i].pair->chain[n]);
    for (size_t i = 0; i < s->cas_n; i++) SEND(ch, tls_ca, .set = k->set, .der = s->cas[i]);
    SEND(ch, tls_end, .set = k->set);
}

static void send_ticket(const struct keys *k, struct channel *ch, size_t which) {
    SEND(ch, ticket_key, .secret = {k->ticket[which], TICKET_SECRET},
         .lifetime_s = (uint32_t)(k->me->config->ticket_rotation / 1000));
}

static void on_rotate(void *ctx) {
    struct keys *k = ctx;
    char fresh[TICKET_SECRET];
    loop_timer_in(k->me->loop, &k->rotate, (int64_t)k->me->config->ticket_rotation);
    if (RAND_bytes((unsigned char *)fresh, sizeof fresh) != 1) return;
    memcpy(k->ticket[1], k->ticket[0], TICKET_SECRET);
    memcpy(k->ticket[0], fresh, TICKET_SECRET);
    OPENSSL_cleanse(fresh, sizeof fresh);
    k->ticket_before = true;
    for (size_t i = 0; i < k->smtpd_n; i++) send_ticket(k, k->smtpds[i], 0);
}

/* ---- From posternd ---- */

static void on_key_file(void *ctx, struct channel *ch, const struct wire_key_file *m, int fd) {
    static char mem[SHELF_FILE_MAX + 1];
    struct keys *k = ((struct self *)ctx)->state;
    struct str text = read_file(fd, mem, sizeof mem);
    close(fd);
    struct str why =
        text.n > SHELF_FILE_MAX ? STR("is too large for certificates: is it the right file?") : STR_NONE;
    shelf_file(&k->shelf, m->pair, (enum key_part)m->part, m->name, str_sub(text, 0, SHELF_FILE_MAX), why);
    OPENSSL_cleanse(mem, text.n);
}

static void on_key_absent(void *ctx, struct channel *ch, const struct wire_key_absent *m, int fd) {
    struct keys *k = ((struct self *)ctx)->state;
    shelf_file(&k->shelf, m->pair, (enum key_part)m->part, m->name, STR_NONE, m->why);
}

static void on_key_files(void *ctx, struct channel *ch, const struct wire_key_files *m, int fd) {
    struct keys *k = ((struct self *)ctx)->state;
    shelf_change(&k->shelf);
    k->set++;
    k->complete = true;
    for (size_t i = 0; i < k->smtpd_n && k->me->instance == 0; i++) send_set(k, k->smtpds[i]);
}

/* ---- From smtpd ---- */

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void on_sign(void *ctx, struct channel *ch, const struct wire_sign *m, int fd) {
    struct keys *k = ((struct self *)ctx)->state;
    unsigned char mem[1024];
    const struct pair *p = shelf_find(&k->shelf, m->key);
    size_t n = p ? pair_sign(p, m->scheme, m->content, mem, sizeof mem) : 0;
    SEND(ch, signature, .tag = m->tag, .octets = {(const char *)mem, n});
    int64_t now = clock_ns();
    if (now - k->flushed_ns < FLUSH_NS) return;
    channel_flush(ch);
    k->flushed_ns = now;
}

static void on_peer(struct self *me, struct channel *ch) {
    struct keys *k = me->state;
    if (k->smtpd_n == SMTPDS_MAX) return;
    k->smtpds[k->smtpd_n++] = ch;
    if (me->instance != 0) return; /* one is enough to tell; all sign */
    if (k->ticket_before) send_ticket(k, ch, 1);
    send_ticket(k, ch, 0);
    if (k->complete) send_set(k, ch);
}

static void on_peer_gone(struct self *me, struct channel *ch) {
    struct keys *k = me->state;
    for (size_t i = 0; i < k->smtpd_n; i++)
        if (k->smtpds[i] == ch) k->smtpds[i] = k->smtpds[--k->smtpd_n];
}

static void begin(struct self *me) {
    struct keys *k = me->state;
    k->rotate = (struct timer){.fn = on_rotate, .ctx = k};
    if (me->instance == 0) loop_timer_in(me->loop, &k->rotate, (int64_t)me->config->ticket_rotation);
}

static void on_reconfigured(struct self *me, const struct config *old) {
    if (old->ticket_rotation != me->config->ticket_rotation) begin(me);
}

static const struct wire_handlers handlers = {
    .sign = on_sign,
    .key_file = on_key_file,
    .key_absent = on_key_absent,
    .key_files = on_key_files,
};

static const struct program keys = {
    .role = ROLE_keys,
    .purpose = "Holds the private keys of TLS and signs handshakes for smtpd.",
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = on_peer,
    .peer_gone = on_peer_gone,
    .reconfigured = on_reconfigured,
};

int main(int argc, char **argv) {
    return program_main(&keys, argc, argv);
}
