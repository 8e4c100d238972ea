/* host_in.c: the clients that bring mail. They remember what got 250, and bring again what did not. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum step { GREETING, HELLO, ENVELOPE, DATA, DOT, QUIT };

struct sender {
    struct world *w;
    unsigned number;
    struct end *e;
    enum step step;
    bool have, pipeline, skip;
    uint32_t message; /* the one to be handed over */
    uint32_t sub;
    uint32_t reply, replies; /* of the envelope: got and expected (MAIL, RCPTs) */
    uint32_t left;           /* messages before it hangs up */
    uint32_t life;
    int64_t heard;
};

struct clients {
    struct sender v[CLIENTS];
    uint32_t next, done;
};

static void connect_soon(struct sender *s);

static void say(struct sender *s, struct str line) {
    end_send(s->e, line);
}

static void saysz(struct sender *s, const char *line) {
    say(s, str_of(line));
}

static bool next_message(struct sender *s) {
    struct clients *c = s->w->clients;
    if (s->have) return true;
    if (c->next >= s->w->o.messages) return false;
    s->message = c->next++;
    s->have = true;
    return true;
}

static void hang_up(struct sender *s) {
    if (s->e) end_close(s->e);
    s->e = NULL;
    s->life++;
    connect_soon(s);
}

/* ---- Saying -------------------------------------------------------------------------------------------- */

static void say_rcpt(struct sender *s, struct buf *b, uint32_t rcpt) {
    buf_adds(b, "RCPT TO:<");
    if (rcpt == sub_of(s->w, s->sub)->rcpts) buf_addf(b, "x%u@src.example", s->sub); /* nobody */
    else address_of_rcpt(s->w, b, s->sub, rcpt);
    buf_adds(b, ">\r\n");
}

static void begin(struct sender *s) {
    char mem[2000];
    struct buf b = BUF(mem);
    if (!s->left || !next_message(s)) {
        s->step = QUIT;
        saysz(s, "QUIT\r\n");
        return;
    }
    s->left--;
    s->sub = oracle_sub(s->w, s->message);
    s->pipeline = !once_in(s->w, 4);
    s->step = ENVELOPE;
    s->reply = 0;
    s->replies = 1 + sub_of(s->w, s->sub)->rcpts + once_in(s->w, 30);
    buf_addf(&b, "MAIL FROM:<s%u@src.example>%s\r\n", s->sub, once_in(s->w, 2) ? " BODY=8BITMIME" : "");
    for (uint32_t i = 0; s->pipeline && i < s->replies - 1; i++) say_rcpt(s, &b, i);
    if (s->pipeline) buf_adds(&b, "DATA\r\n");
    say(s, buf_str(&b));
}

/* The text with its dots doubled (RFC 5321 4.5.2). */
static void say_text(struct sender *s, bool whole) {
    struct world *w = s->w;
    struct str text = sub_text(w, s->sub);
    if (w->scratch_cap < 2 * text.n + 8) {
        w->scratch_cap = 2 * text.n + 8;
        w->scratch = xrealloc(w->scratch, w->scratch_cap);
    }
    size_t n = 0;
    if (!whole) text = str_sub(text, 0, 1 + chance(w, (uint32_t)text.n - 1));
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '.' && (i == 0 || text.p[i - 1] == '\n')) w->scratch[n++] = '.';
        w->scratch[n++] = text.p[i];
    }
    if (whole) {
        memcpy(w->scratch + n, ".\r\n", 3);
        n += 3;
    }
    say(s, (struct str){w->scratch, n});
}

static void data(struct sender *s) {
    if (faults_on(s->w) &&
        once_in(s->w, 100)) { /* it goes away in the middle: nothing of this may arrive anywhere */
        say_text(s, false);
        hang_up(s);
        return;
    }
    s->step = DOT;
    oracle_answer(s->w, s->sub, SUB_DOT);
    say_text(s, true);
}

/* ---- Hearing ------------------------------------------------------------------------------------------- */

static void envelope_reply(struct sender *s, char class) {
    char mem[200];
    struct buf b = BUF(mem);
    struct sub *sub = sub_of(s->w, s->sub);
    if (s->reply < s->replies && s->reply > 0 && class == '2') {
        if (s->reply > sub->rcpts)
            world_fail(s->w, "an unknown recipient of submission %u was taken", s->sub);
        sub->accepted |= (uint16_t)(1u << (s->reply - 1));
    }
    s->reply++;
    if (s->pipeline) {
        if (s->reply <= s->replies) return;
    } else if (s->reply < s->replies) {
        say_rcpt(s, &b, s->reply - 1);
        say(s, buf_str(&b));
        return;
    } else if (s->reply == s->replies) {
        saysz(s, "DATA\r\n");
        return;
    }
    if (class == '3') {
        data(s);
        return;
    }
    oracle_answer(s->w, s->sub, SUB_REFUSED);
    saysz(s, "RSET\r\n");
    s->step = HELLO; /* its answer begins the next try */
}

static void dot_reply(struct sender *s, char class) {
    struct world *w = s->w;
    if (class == '2') {
        oracle_answer(w, s->sub, SUB_ACKED);
        s->have = false;
        w->clients->done++;
    } else {
        oracle_answer(w, s->sub, SUB_REFUSED);
        s->left = 0; /* a pause */
    }
    if (once_in(w, 30)) hang_up(s); /* without a word */
    else begin(s);
}

static void reply(struct sender *s, struct str line) {
    char class = line.n ? line.p[0] : '4';
    s->heard = s->w->now;
    switch (s->step) {
    case GREETING:
        if (class != '2') {
            hang_up(s);
            return;
        }
        s->step = HELLO;
        saysz(s, "EHLO client.example\r\n");
        return;
    case HELLO:
        begin(s);
        return;
    case ENVELOPE:
        if (line.n >= 3 && memcmp(line.p, "421", 3) == 0) hang_up(s);
        else envelope_reply(s, class);
        return;
    case DATA:
        return;
    case DOT:
        dot_reply(s, class);
        return;
    case QUIT:
        hang_up(s);
        return;
    }
}

static void readable(struct end *e) {
    struct sender *s = e->ctx;
    while (s->e == e) {
        struct str in = end_bytes(e);
        ptrdiff_t end = str_chr(in, '\n');
        if (end < 0) return;
        char mem[600];
        struct buf b = BUF(mem);
        buf_add(&b, str_sub(in, 0, (size_t)end < sizeof mem ? (size_t)end : sizeof mem));
        end_take(e, (size_t)end + 1);
        if (b.n > 3 && mem[3] == '-') continue;
        reply(s, buf_str(&b));
    }
}

static void lost(struct sender *s) {
    if (s->step == DOT) oracle_answer(s->w, s->sub, SUB_DOUBT);
    hang_up(s);
}

static void closed(struct end *e, const char *how) {
    (void)how;
    lost(e->ctx);
}

static void connected(struct end *e) {
    ((struct sender *)e->ctx)->heard = end_world(e)->now;
}

static const struct net_user net = {connected, readable, NULL, closed};

/* ---- Time ---------------------------------------------------------------------------------------------- */

static void on_patience(struct world *w, void *ctx, uint64_t life) {
    struct sender *s = ctx;
    if (w->ending || s->life != life || !s->e) return;
    if (w->now - s->heard > 100 * NS_S) lost(s); /* something has forgotten us */
    else world_at(w, w->now + 20 * NS_S, on_patience, s, life);
}

static void on_connect(struct world *w, void *ctx, uint64_t life) {
    struct sender *s = ctx;
    if (w->ending || s->life != life || !next_message(s)) return;
    s->step = GREETING;
    s->left = 1 + chance(w, w->profile->clients ? 3 : 20);
    s->heard = w->now;
    s->e = net_connect(w, &net, s, smtpd_accept, chance(w, SMTPDS));
    world_at(w, w->now + 20 * NS_S, on_patience, s, life);
}

static void connect_soon(struct sender *s) {
    struct world *w = s->w;
    int64_t pause =
        w->profile->clients || once_in(w, 4) ? between(w, 0, 2 * NS_S) : between(w, 0, 50 * NS_MS);
    world_at(w, w->now + pause, on_connect, s, s->life);
}

void clients_new(struct world *w) {
    struct clients *c = xmalloc(sizeof *c);
    w->clients = c;
    for (unsigned i = 0; i < CLIENTS; i++) {
        c->v[i] = (struct sender){.w = w, .number = i};
        if (!w->profile->clients || i < w->profile->clients) connect_soon(&c->v[i]);
    }
}

bool clients_done(const struct world *w) {
    for (unsigned i = 0; i < CLIENTS; i++)
        if (w->clients->v[i].e) return false;
    return w->clients->done >= w->o.messages;
}

void clients_free(struct world *w) {
    free(w->clients);
}
