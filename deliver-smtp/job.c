#include "deliver-smtp/job.h"

#include "common/addr.h"
#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARENA_BASE = 64 * 1024, ARENA_A_RCPT = 3600, ARENA_A_HOST = 2048 };

struct job *job_new(const struct wire_job *m, int fd) {
    const char *why;
    struct addr sender;
    struct job *j = xmalloc(sizeof *j);
    if (m->hosts > JOB_HOSTS_MAX || m->rcpts > JOB_RCPTS_MAX || m->rcpts == 0 || m->size < m->prefix.n) {
        close(fd);
        *j = (struct job){.number = m->job, .id = m->id, .rcpt_count = m->rcpts, .refused = true, .fd = -1};
        return j;
    }
    j->arena = arena_new(ARENA_BASE + m->rcpts * ARENA_A_RCPT + m->hosts * ARENA_A_HOST);
    j->fd = fd;
    j->number = m->job;
    j->id = m->id;
    j->destination = str_dup(j->arena, m->destination);
    j->data_size = m->size - m->prefix.n;
    j->host_count = m->hosts;
    j->rcpt_count = m->rcpts;
    j->hosts = arena_alloc(j->arena, m->hosts * sizeof *j->hosts);
    j->rcpts = arena_alloc(j->arena, m->rcpts * sizeof *j->rcpts);
    j->mail = (struct client_mail){.ret = m->ret,
                                   .envid = str_dup(j->arena, m->envid),
                                   .eight_bit = m->body & 1,
                                   .utf8 = m->body & 2,
                                   .require_tls = m->body & 4,
                                   .prefix = str_dup(j->arena, m->prefix),
                                   .size = m->size,
                                   .arena = j->arena,
                                   .rcpts = arena_alloc(j->arena, m->rcpts * sizeof(struct client_rcpt))};
    if (!addr_parse(m->sender, ADDR_NULL | ADDR_UTF8, j->arena, &sender, &why))
        j->bad = "the sender's address is not valid";
    else j->mail.sender = addr_text(j->arena, &sender);
    return j;
}

bool job_add_host(struct job *j, const struct wire_job_host *m) {
    if (j->hosts_told == j->host_count || m->ip.n != (m->family == 6 ? 16u : 4u) ||
        (m->family != 4 && m->family != 6))
        return false;
    struct job_target *t = &j->hosts[j->hosts_told++];
    *t = (struct job_target){.name = str_dup(j->arena, m->name), .port = m->port};
    t->ip.family = m->family;
    memcpy(t->ip.b, m->ip.p, m->ip.n);
    return true;
}

static size_t type_end(struct str orcpt) {
    ptrdiff_t semi = str_chr(orcpt, ';');
    return semi < 0 ? orcpt.n : (size_t)semi;
}

bool job_add_rcpt(struct job *j, const struct wire_job_rcpt *m) {
    const char *why;
    struct addr to;
    if (j->mail.count + 1 == j->rcpt_count && j->hosts_told < j->host_count) return false; /* hosts come first */
    struct client_rcpt *r = &j->mail.rcpts[j->mail.count];
    j->rcpts[j->mail.count++] = (struct job_rcpt){.index = m->index, .told = str_dup(j->arena, m->rcpt)};
    r->notify = m->notify;
    /* Its type goes into a command as it is; the rest as xtext. */
    if (str_is_print(m->orcpt) && str_chr(str_sub(m->orcpt, 0, type_end(m->orcpt)), ' ') < 0)
        r->orcpt = str_dup(j->arena, m->orcpt);
    if (addr_parse(m->rcpt, ADDR_UTF8, j->arena, &to, &why)) {
        r->address = addr_text(j->arena, &to);
        return true;
    }
    r->settled = true;
    r->status = status_make(553, "5.1.3", "the recipient's address is not valid");
    return true;
}

static void answer_later(struct job *j, struct channel *ch, uint32_t index) {
    struct status st = status_make(451, "4.3.0", "the job was told against the rules");
    SEND(ch, result, .job = j->number, .id = j->id, .index = index, WIRE_STATUS(st));
    j->answered++;
}

bool job_refuse(struct job *j, struct channel *ch, const struct wire_job_rcpt *more) {
    while (j->answered < j->mail.count) answer_later(j, ch, j->rcpts[j->answered].index);
    if (more && j->answered < j->rcpt_count) answer_later(j, ch, more->index);
    if (j->answered < j->rcpt_count) return false;
    SEND(ch, job_done, .job = j->number);
    return true;
}

bool job_complete(const struct job *j) {
    return j->mail.count == j->rcpt_count && j->hosts_told == j->host_count;
}

/* Nobody may change the data while we read it: a memory file must be sealed, any other be open for reading
 * only and belong to queue, which never writes to a finished file. It is read with pread and never mapped, so
 * that a file cut short under our hands is an error and not a signal. */
static bool trusted(int fd, uint64_t size) {
    struct stat st;
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size != size)
        return false;
    int have = fcntl(fd, F_GET_SEALS);
    if (have >= 0 && (have & seals) == seals) return true;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
}

static bool read_all(int fd, char *to, uint64_t at, size_t n) {
    while (n) {
        ssize_t k = pread(fd, to, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        to += k;
        at += (uint64_t)k;
        n -= (size_t)k;
    }
    return true;
}

static bool take_data(struct job *j) {
    if (!trusted(j->fd, j->data_size)) return false;
    if (j->data_size > JOB_CACHE_MAX) return true;
    j->cache = malloc((size_t)j->data_size + 1);
    if (!j->cache || !read_all(j->fd, j->cache, 0, (size_t)j->data_size)) return false;
    close(j->fd);
    j->fd = -1;
    return true;
}

void job_prepare(struct job *j) {
    if (!j->bad && !take_data(j)) j->bad = "the data of the message is not what was announced";
    if (j->bad) job_settle(j, status_make(451, "4.3.0", j->bad), STR_NONE);
    else if (!j->host_count) job_settle(j, status_make(451, "4.4.3", "no host to send to"), STR_NONE);
}

bool job_settled(const struct job *j) {
    for (size_t i = 0; i < j->mail.count; i++)
        if (!j->mail.rcpts[i].settled) return false;
    return true;
}

void job_settle(struct job *j, struct status s, struct str said_by) {
    for (size_t i = 0; i < j->mail.count; i++) {
        if (j->mail.rcpts[i].settled) continue;
        j->mail.rcpts[i].settled = true;
        j->mail.rcpts[i].status = s;
        j->rcpts[i].said_by = said_by;
    }
}

void job_trouble(struct job *j, const struct status *s, struct str host) {
    /* "Later" of one host weighs more than "never" of another: the first may take it tomorrow. */
    if (j->trouble_host.n && j->trouble.kind == STATUS_LATER && s->kind != STATUS_LATER) return;
    j->trouble = *s;
    j->trouble.text = str_dup(j->arena, s->text);
    j->trouble_host = str_dup(j->arena, host);
}

ptrdiff_t job_read(struct job *j, uint64_t at, char *to, size_t n) {
    if (at > j->data_size) return -1;
    if (n > j->data_size - at) n = (size_t)(j->data_size - at);
    if (j->cache) memcpy(to, j->cache + at, n);
    else if (!read_all(j->fd, to, at, n)) return -1;
    return (ptrdiff_t)n;
}

void job_running(const struct job *j, struct channel *ch) {
    for (size_t i = 0; i < j->mail.count; i++)
        SEND(ch, running, .job = j->number, .id = j->id, .index = j->rcpts[i].index,
             .rcpt = j->rcpts[i].told);
}

void job_report(const struct job *j, struct channel *ch) {
    for (size_t i = 0; i < j->mail.count; i++)
        SEND(ch, result, .job = j->number, .id = j->id, .index = j->rcpts[i].index,
             .host = j->rcpts[i].said_by, .reports = j->mail.rcpts[i].reports,
             WIRE_STATUS(j->mail.rcpts[i].status));
    SEND(ch, job_done, .job = j->number, .connect_us = j->connect_us, .transmit_us = j->transmit_us,
         .reused = j->reused);
}

void job_free(struct job *j) {
    if (!j) return;
    if (j->fd >= 0) close(j->fd);
    free(j->cache);
    arena_free(j->arena);
    free(j);
}
