/* load.c: reads what the disk holds of a message, and judges it by the state table. */
#include "queue/inside.h"

#include "queue/crc32c.h"

#include <stdlib.h>
#include <string.h>

enum { CHECK_CHUNK = 256 * 1024 };

/* Fills m->bytes with the control file. When its last marks could not be written, what the disk has behind
 * the durable part is not to be believed: our own copy takes its place. */
static int read_control(struct store *s, struct qid id, uint64_t size, struct store_message *m, size_t *got) {
    const struct entry *e = entry_find(s, id);
    bool overlay = e && e->suspect;
    int file, error = DISK(s, open, folder_of(id), part_name(id, 'c').c, DISK_READ, &file);
    if (error) return error;
    if (overlay && size > e->synced) size = e->synced;
    m->bytes = xmalloc(size + (overlay ? e->tail_n : 0) + 1);
    error = DISK(s, read, file, m->bytes, size, 0, got);
    DISK(s, close, file);
    if (!error && overlay) {
        memcpy(m->bytes + *got, e->tail, e->tail_n);
        *got += e->tail_n;
    }
    return error;
}

static const char *unfit(const struct disk_info *info) {
    if (!info->regular) return "it is no plain file with one name";
    if (!info->ours) return "its owner or mode is not ours";
    return NULL;
}

static int data_differs(struct store *s, const struct control *c, bool *differs) {
    int file, error = DISK(s, open, folder_of(c->id), part_name(c->id, 'd').c, DISK_READ, &file);
    if (error) return error;
    size_t most = c->size < CHECK_CHUNK ? c->size + 1 : CHECK_CHUNK; /* it is cleared, for each message */
    char *chunk = xmalloc(most);
    uint32_t crc = 0;
    size_t got = 0;
    for (uint64_t at = 0; !error && at < c->size; at += got) {
        error = DISK(s, read, file, chunk, most, at, &got);
        if (!got) break;
        crc = crc32c(crc, chunk, got);
    }
    free(chunk);
    DISK(s, close, file);
    *differs = crc != c->data_crc;
    return error;
}

/* A message with a mark was committed (S4): then missing data is damage. Without one it may be S2. */
static enum judgement judge_data(struct store *s, enum care care, const struct control *c, const char **why,
                                 int *error) {
    struct disk_info info;
    bool differs = false;
    *error = DISK(s, info, folder_of(c->id), part_name(c->id, 'd').c, &info);
    if (*error && *error != ENOENT) return JUDGED_ERROR;
    if (*error) info = (struct disk_info){.regular = true, .ours = true};
    *why = "its data are missing or cut off";
    if (*error || info.size < c->size) return c->marks ? JUDGED_BAD : JUDGED_INCOMPLETE;
    *why = "its data are longer than they were";
    if (info.size > c->size) return JUDGED_BAD;
    *why = unfit(&info);
    if (*why) return JUDGED_BAD;
    if (care == CARE_LOAD || (care == CARE_RECOVER && c->marks)) return JUDGED_WHOLE;
    *error = data_differs(s, c, &differs);
    *why = "its data do not match their checksum";
    return *error ? JUDGED_ERROR : differs ? JUDGED_BAD : JUDGED_WHOLE;
}

/* Tests only. */
static void forget_marks(const struct store *s, struct control *c) {
    if (!c->marks || lease_of_this_run(s, c->id.lease)) return;
    for (uint32_t i = 0; i < c->rcpt_count; i++) c->rcpts[i].state = 'N';
    c->pending = c->rcpt_count;
}

enum judgement message_judge(struct store *s, struct qid id, enum care care, struct store_message *m,
                             const char **why, int *error) {
    struct disk_info info;
    size_t got = 0;
    *m = (struct store_message){.c.id = id};
    *why = "";
    *error = 0;
    if (trash_has(s, id)) return JUDGED_NONE; /* it reads well, and is none: its sender was told no */
    *error = DISK(s, info, folder_of(id), part_name(id, 'c').c, &info);
    if (*error) return *error == ENOENT ? JUDGED_NONE : JUDGED_ERROR;
    *why = unfit(&info);
    if (!*why && info.size > CONTROL_FILE_MAX) *why = "it is longer than any control file";
    if (*why) return JUDGED_BAD;
    *error = read_control(s, id, info.size, m, &got);
    if (*error) return JUDGED_ERROR;
    /* A recipient takes more octets in the file than in memory a quarter of this. */
    m->arena = arena_new(65536 + 4 * got);
    switch (control_read((struct str){m->bytes, got}, id, m->arena, &m->c, why)) {
    case CONTROL_TORN:
        return JUDGED_INCOMPLETE;
    case CONTROL_CORRUPT:
        return JUDGED_BAD;
    case CONTROL_NO_ROOM:
        *error = ENOMEM;
        return JUDGED_ERROR;
    case CONTROL_COMPLETE:
        break;
    }
    if (s->config.skip & STORE_SKIP_MARKED) forget_marks(s, &m->c);
    return m->c.pending ? judge_data(s, care, &m->c, why, error) : JUDGED_ENDED;
}

int store_load(struct store *s, struct qid id, struct store_message *m) {
    const char *why;
    int error = 0;
    *m = (struct store_message){.c.id = id};
    if (!s->begun) return EAGAIN;
    if (store_is_draft(s, id)) return ENOENT;
    switch (message_judge(s, id, CARE_LOAD, m, &why, &error)) {
    case JUDGED_WHOLE:
        return 0;
    case JUDGED_BAD:
        return EBADMSG;
    case JUDGED_ERROR:
        return error;
    case JUDGED_ENDED:
    case JUDGED_INCOMPLETE:
    case JUDGED_NONE:
        break;
    }
    return ENOENT;
}

void store_message_done(struct store_message *m) {
    arena_free(m->arena);
    free(m->bytes);
    *m = (struct store_message){.c.id = m->c.id};
}

int store_open_part(struct store *s, struct qid id, char part, int *file) {
    if (!s->begun) return EAGAIN;
    return DISK(s, lend, folder_of(id), part_name(id, part).c, file);
}
