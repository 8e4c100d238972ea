/* The fuzz twin of the session: any bytes, cut anywhere, answered in any order. The same bytes are told
 * twice, whole and in pieces: the client must hear the same, and nothing that is accepted may hold a bare
 * CR, a bare LF or NUL. */
#include "common/arena.h"
#include "common/rule.h"
#include "smtpd/testing.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : abort())

static void check_data(const struct world *w) {
    for (size_t i = 0; i < w->data_n; i++) {
        CHECK(w->data[i] != '\0');
        if (w->data[i] == '\r') CHECK(i + 1 < w->data_n && w->data[i + 1] == '\n');
        if (w->data[i] == '\n') CHECK(i > 0 && w->data[i - 1] == '\r');
    }
    CHECK(w->data_n == 0 || w->data[w->data_n - 1] == '\n');
    CHECK(w->data_n <= w->host.size_limit);
}

static void check_replies(struct str said) {
    while (said.n) {
        ptrdiff_t end = str_chr(said, '\n');
        CHECK(end > 4 && end < 512 && said.p[end - 1] == '\r');
        CHECK(str_is_print(str_sub(said, 0, (size_t)end - 1)));
        CHECK(said.p[0] >= '2' && said.p[0] <= '5');
        said = str_sub(said, (size_t)end + 1, said.n);
    }
}

/* Rules of every stage and action, and a client that may use XCLIENT. */
static const struct rules *rules(void) {
    static const char *const texts[] = {"connect client=198.51.100.0/24 reject",
                                        "helo helo=bad* reject",
                                        "mail sender=bad@* defer",
                                        "mail sender=h*@* hold",
                                        "rcpt recipient=trap@* discard",
                                        "rcpt recipient=old@* redirect new@mx.test",
                                        "data recipient=nodata@* reject",
                                        "end header=X-Bad reject",
                                        "end header=X-Drop discard",
                                        "end size>1000 warn large",
                                        "end header=X-Add add X-Added: yes"};
    static struct rules r;
    char mem[400];
    struct buf why = BUF(mem);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && r.n <= i; i++) {
        static struct arena *a;
        if (!a) a = arena_new(1 << 20);
        CHECK(rules_add(&r, str_of(texts[i]), a, &why));
    }
    return &r;
}

static bool on_etrn(void *ctx, struct str domain, bool below) {
    (void)ctx, (void)below;
    CHECK(domain.n && str_is_print(domain));
    return true;
}

static bool says_xclient(struct str in) {
    while (in.n && !str_starts_nocase(in, STR("XCLIENT"))) in = str_sub(in, 1, in.n);
    return in.n > 0;
}

static void tell(struct world *w, struct str in, size_t piece, unsigned how, bool mended) {
    static struct network near = {.ip = {4, {192, 0, 2}}, .bits = 24};
    static struct networks listed = {1, &near};
    struct session_client client = {
        .ip = {4, {192, 0, 2, 7}}, .mended = mended, .service = how & 4 ? SERVICE_SUBMISSION : SERVICE_SMTP};
    if (how & 16) client = (struct session_client){.service = SERVICE_LMTP, .local = true, .mended = mended};
    world_open(w, "mx.test", &client, rules());
    w->host.cleartext = listed;
    w->host.xclient = w->host.xforward = w->host.etrn_networks = &listed;
    w->host.etrn = on_etrn;
    w->host.release_ms = 86400000;
    w->host.rcpt_limit = 5;
    w->host.hop_limit = 3;
    w->host.tls = w->tls_answers = how & 8;
    w->host.size_limit = 2000;
    w->answer_backwards = how & 1;
    w->on_commit = check_data;
    for (size_t at = 0; at < in.n && !session_over(w->session); at += piece) {
        if (how & 2) w->send_fails = 1;
        world_feed(w, str_sub(in, at, at + piece));
    }
    check_replies(world_said(w));
    /* An XCLIENT brings a greeting again, which may be a refusal without a code. */
    if (!says_xclient(in)) CHECK(!world_without_code(world_said(w), STR("mx.test"), true).n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct world a, b;
    if (size < 2 || size > 16000) return 0;
    size_t piece = 1 + data[0] % 64;
    struct str in = {(const char *)data + 2, size - 2};
    if (data[1] & 8) { /* what may stand behind STARTTLS is the only thing that pieces decide */
        tell(&a, in, piece, data[1], data[0] & 128);
        CHECK(a.tls_starts <= 1);
        world_end(&a);
        return 0;
    }
    tell(&a, in, in.n ? in.n : 1, data[1] & 20u, data[0] & 128);
    tell(&b, in, piece, data[1], data[0] & 128);
    CHECK(str_eq(world_said(&a), world_said(&b)));
    CHECK(a.received == b.received && a.rejects == b.rejects && a.closed == b.closed);
    session_lost(a.session, a.now, "gone");
    CHECK(!a.mail_open && !a.auth_open);
    world_end(&a);
    world_end(&b);
    return 0;
}
