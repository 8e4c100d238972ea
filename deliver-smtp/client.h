/* client.h: one connection to another host's SMTP server, as a pure state machine (RFC 5321, 2920, 1870,
 * 6152).
 *
 * It makes no system call and knows no clock: octets of the server go in by client_input, octets for the
 * server come out of client_output, the text of the message is pulled through client_ops.read, and a deadline
 * is asked for through client_ops.timer. So the shell (pool.c), the tests, the fuzzer and the simulator drive
 * the same code.
 *
 *     client_new -> (greeting, EHLO) -> ready -> client_begin -> ... -> end -> client_begin -> ... ->
 * client_quit -> over
 *
 * What it promises:
 * - Nothing but whole lines ending in CRLF ever leaves; a message that holds a bare CR, a bare LF or a NUL is
 * not sent at all (RFC 5321 2.3.8; the smuggling of 2023 needs a sender that passes these on).
 * - The final dot is sent only when every octet of the message was sent before it.
 * - A reply counts only when the command it answers has left: a server that speaks too early is cut off.
 * - What it keeps of a server is bounded: 1024 octets a line, 100 lines and 64 KiB a reply, 1000 octets of
 * text.
 *
 * Callbacks come from inside client_input, client_output, client_expired, client_lost and client_begin. ready
 * and end may call client_begin or client_quit; none of them may call client_free. */
#ifndef POSTERN_DELIVER_SMTP_CLIENT_H
#define POSTERN_DELIVER_SMTP_CLIENT_H

#include "common/status.h"

struct arena;
struct client;

struct client_config {
    struct str hostname;      /* our name for EHLO */
    int64_t reply_timeout_ms; /* the 5 minutes of RFC 5321 4.5.3.2.1 to .3; the others are scaled from it */
};

/* What the server showed; views are valid as long as the client. */
struct client_server {
    uint32_t caps;       /* CAP_* of common/smtpcaps.h */
    uint64_t size_limit; /* of SIZE; 0: none told */
    struct str name;     /* from its EHLO or HELO reply, printable */
    struct str greeting; /* text of its greeting, printable */
};

struct client_rcpt {
    struct str address;   /* as addr_format writes it: goes between < and > */
    struct str orcpt;     /* RFC 3461: type;address, plain; or empty */
    uint8_t notify;       /* bits as in wire.def */
    bool reports;         /* out: the server offers DSN, so what notify asks for is its duty now */
    bool settled;         /* in: true leaves this recipient out. out: status is final */
    bool accepted;        /* for the engine: RCPT was taken */
    struct status status; /* text in the arena of the mail */
};

/* One transaction. All of it is the caller's and must stay until end was called. */
struct client_mail {
    struct str sender; /* as addr_format writes it; empty is the null reverse-path */
    uint8_t ret;       /* RFC 3461: 0 not given, 1 FULL, 2 HDRS */
    struct str envid;  /* plain; or empty */
    bool eight_bit;    /* declared BODY=8BITMIME by whoever gave it */
    bool utf8;         /* SMTPUTF8 (RFC 6531) was declared: header and envelope may go beyond ASCII */
    bool require_tls;  /* REQUIRETLS (RFC 8689) was asked for */
    struct str prefix; /* header fields in front of the data, CRLF lines */
    uint64_t size;     /* octets of prefix and data together */
    struct client_rcpt *rcpts;
    size_t count;
    struct arena *arena; /* for the texts of statuses; when it is full, texts stay empty */
};

enum client_outcome {
    CLIENT_SETTLED,   /* every recipient has its status */
    CLIENT_ELSEWHERE, /* recipients that are not settled may be tried at another host; else they get .status.
                         Certain: this server has not accepted the message for them */
};

struct client_end {
    enum client_outcome outcome;
    struct status status; /* of CLIENT_ELSEWHERE; the text is valid during the call */
    bool alive;           /* the connection can take the next mail; if not, over follows */
    bool untouched; /* the server has answered nothing since client_begin: if the connection was an old one,
                       it was dead already, and a new one to the same host is worth a try */
};

struct client_ops {
    /* Copies up to n octets of the data (without prefix) from offset at. Fewer than n only at its end; -1:
     * cannot. */
    ptrdiff_t (*read)(void *ctx, uint64_t at, char *to, size_t n);
    /* Call client_expired after ms from now, instead of any time asked for before; 0: never. */
    void (*timer)(void *ctx, int64_t ms);
    void (*ready)(
        void *ctx,
        const struct client_server *server); /* greeting and EHLO are done: client_begin may follow */
    void (*end)(void *ctx, const struct client_end *end); /* of the transaction begun last */
    /* The connection is done for: send what client_output still has if that is possible at once, then close.
     * why is NULL after client_quit; otherwise what happened, for a connection that never was ready the
     * reason to try the next host. Called once; the text is valid during the call. */
    void (*over)(void *ctx, const struct status *why);
};

/* config and ops must outlive it; hostname is not copied. It begins by waiting for the greeting. */
struct client *client_new(const struct client_config *config, const struct client_ops *ops, void *ctx);
void client_free(struct client *c);

void client_input(struct client *c, struct str octets); /* the server sent these */
struct str client_output(struct client *c);             /* to be sent next; empty: nothing now */
void client_sent(struct client *c, size_t n);           /* the first n octets of client_output have left */
void client_lost(struct client *c, const char *how);    /* EOF or error: "closed by the other side" */
void client_expired(struct client *c);                  /* the time asked for has passed */

void client_begin(struct client *c, struct client_mail *m); /* only when ready or after an end with alive */
void client_quit(struct client *c);                         /* when idle: says QUIT, over follows */
/* Some of the replies to what was said have come, others have not: the server may be waiting for our ACK. */
bool client_halfway(const struct client *c);
const struct client_server *client_server(const struct client *c);

#endif
