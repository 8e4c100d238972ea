/* handin.h: hands messages to smtpd as a local client: SMTP over a stream that is already open (RFC 5321,
 * pipelined as RFC 2920 allows). Used by sendmail(1) and by pickup. Pure: reply octets in, command octets
 * out.
 *
 * A shell gives it a mail, moves octets both ways, and in the end every recipient has a status:
 *   OK     smtpd has answered 250: it is durable
 *   LATER  refused for now, or the connection was lost before an answer: the mail is still ours
 *   NEVER  refused for good
 * The final dot is only sent when the whole message has been read without an error. */
#ifndef POSTERN_SUBMIT_HANDIN_H
#define POSTERN_SUBMIT_HANDIN_H

#include "common/status.h"
#include "common/str.h"

struct arena;

enum { HANDIN_OUT = 65536, HANDIN_LINE = 2048 };

struct handin_rcpt {
    struct str text; /* local@domain */
    bool decided;
    struct status status;
};

struct handin_mail {
    struct str sender;             /* "" is the null reverse-path */
    struct str notify, ret, envid; /* RFC 3461 parameters, or empty; used when smtpd offers DSN */
    bool eight_bit;
    bool verify;   /* only ask for the recipients, send nothing */
    uint64_t size; /* octets of the data */
    struct handin_rcpt *rcpts;
    size_t rcpt_count;
    /* The data, CRLF lines: the next octets into mem, their number; 0 at the end; -1: cannot be read,
     * give up. */
    ptrdiff_t (*read)(void *ctx, char *mem, size_t n);
    void *ctx;
};

enum handin_state {
    HANDIN_GREETING,
    HANDIN_EHLO,
    HANDIN_IDLE, /* ready for a mail */
    HANDIN_ENVELOPE,
    HANDIN_DATA,  /* DATA is sent */
    HANDIN_BODY,  /* the message goes out */
    HANDIN_FINAL, /* the dot is sent */
    HANDIN_RESET,
    HANDIN_GONE, /* no more use; why says why */
};

struct handin {
    enum handin_state state;
    struct arena *arena; /* owner of reply texts */
    struct str helo;
    struct handin_mail *mail;
    bool pipelining, dsn, eight_bit, size;
    size_t sent, answered; /* commands of the envelope: 0 is MAIL */
    bool mail_ok;
    bool line_start;       /* of the data that went out last */
    struct status trouble; /* why GONE, or how DATA was answered */
    unsigned code;         /* of the reply that is coming in */
    char line[HANDIN_LINE];
    size_t line_n;
    char out[HANDIN_OUT];
    size_t out_from, out_n;                              /* what waits to be written: [out_from, out_n) */
    void (*trace)(void *ctx, char who, struct str line); /* 'C' client, 'S' server; or NULL */
    void *trace_ctx;
};

/* arena: gives memory for reply texts, lives as long as the statuses. helo: the name to say in EHLO. */
void handin_init(struct handin *h, struct arena *a, struct str helo);
/* Begins with the next mail; in any state before GONE while no other is under way. */
void handin_mail(struct handin *h, struct handin_mail *m);
/* Makes output, as much as fits. Call it before asking for output and after input. */
void handin_pump(struct handin *h);
struct str handin_output(const struct handin *h);
void handin_written(struct handin *h, size_t n);
void handin_input(struct handin *h, struct str bytes);
/* The stream ended or broke; what was not answered is LATER. */
void handin_lost(struct handin *h, const char *why);
/* The mail's recipients all have their status, and the session waits for the next mail or is gone. */
bool handin_done(const struct handin *h);
/* Ends the session politely: the QUIT is output; no reply is awaited. */
void handin_quit(struct handin *h);

#endif
