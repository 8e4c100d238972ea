/* sendmail(1), mailq(1), newaliases(1): how programs and people on this host hand in mail.
 *
 * It runs with the rights of its caller and has no others: nothing is set-user-ID or set-group-ID, so its
 * command line, its environment and its input can take nobody's rights. It may connect to smtpd's submit
 * socket, where the kernel (SO_PEERCRED) tells smtpd who is there, and create files in the drop
 * directory, which it cannot list. A mail that it reported as taken (exit status 0) is durable: smtpd has
 * answered 250, or the file is synced. */
#include "build-config.h"

#include "submit/modes.h"
#include "tools/settings.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const char usage[] =
    "usage: sendmail [-t] [-i] [-f SENDER] [-F NAME] [-v] [-oep|-oeq|-oem|-oee|-oew] [-B7BIT|-B8BITMIME]\n"
    "                [-N NOTIFY] [-R full|hdrs] [-V ENVID] [-C FILE] [--] [RECIPIENT...]   submit a message\n"
    "       sendmail -bv RECIPIENT...    ask whether mail to them would be accepted\n"
    "       sendmail -bs                 speak SMTP on standard input and output\n"
    "       sendmail -bp    or  mailq        list the queue\n"
    "       sendmail -q                  try all queued mail now\n"
    "       sendmail -bi    or  newaliases   compile the alias file\n"
    "See sendmail(1).\n";

static int (*const modes[])(const struct options *, const struct config *) = {
    [MODE_SEND] = mode_send,       [MODE_SMTP] = mode_smtp,     [MODE_QUEUE] = mode_queue,
    [MODE_ALIASES] = mode_aliases, [MODE_VERIFY] = mode_verify, [MODE_FLUSH] = mode_flush,
};

/* The installed file may be unreadable or half-edited: a cron job's mail must not fail for that, and the
 * defaults find the suite where it is by default. A file that the caller named must be right. */
static bool load(struct settings *s, const char *named) {
    settings_load(s, named);
    if (s->config) return true;
    if (s->chosen) {
        fprintf(stderr, "sendmail: %s\n", s->error.text);
        return false;
    }
    if (!s->missing) fprintf(stderr, "sendmail: %s (using the defaults)\n", s->error.text);
    s->config = config_new();
    config_complete(s->config);
    return true;
}

int main(int argc, char **argv) {
    struct options o;
    struct settings s;
    if (!options_parse(&o, argc, argv)) {
        fprintf(stderr, "sendmail: %s; see sendmail --help\n", o.why);
        return EX_USAGE;
    }
    if (o.mode == MODE_HELP) return fputs(usage, stdout) < 0;
    if (o.mode == MODE_VERSION) return puts("sendmail of Postern " PACKAGE_VERSION) < 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond RLIMIT_FSIZE then fails, and is reported */
    if (!load(&s, o.config)) return EX_CONFIG;
    int status = modes[o.mode](&o, s.config);
    if (fflush(stdout) != 0 && status == EX_OK) status = EX_IOERR;
    config_free(s.config);
    return status;
}
