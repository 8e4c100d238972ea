/* walk.c: goes through the spool in small steps: recovery at start, telling dispatch, listing. */
#include "queue/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_walk {
    struct store *store;
    bool recover;
    int dir;                /* 0 .. DISK_FOLDERS */
    struct disk_list *list; /* of dir; NULL: not open yet */
    struct store_counts counts;
};

/* Moves a file out of the way, under a name that is free. */
bool aside_move(struct store *s, int dir, const char *name, const char *why) {
    char to[DISK_NAME_MAX + 1], file[DISK_NAME_MAX + 16], mem[8];
    int error = EEXIST;
    for (unsigned i = 0; error == EEXIST && i < 1000; i++) {
        int n = i ? snprintf(to, sizeof to, "%.240s.%u", name, i) : snprintf(to, sizeof to, "%.250s", name);
        if (n < 0) return false;
        error = DISK(s, rename, dir, name, DISK_ASIDE, to);
    }
    snprintf(file, sizeof file, "%s/%s", disk_dir_name(dir, mem), name);
    if (error) {
        told_trouble(s, "cannot set aside", str_of(file), error);
        return false;
    }
    dir_soil(s, dir);
    dir_soil(s, DISK_ASIDE);
    s->user.aside(s->user.ctx, str_of(file), str_of(why));
    return true;
}

struct store_walk *store_walk_new(struct store *s, bool recover) {
    struct store_walk *w = xmalloc(sizeof *w);
    *w = (struct store_walk){.store = s, .recover = recover};
    return w;
}

const struct store_counts *store_walk_counts(const struct store_walk *w) {
    return &w->counts;
}

static void close_list(struct store_walk *w) {
    if (w->list) DISK(w->store, list_close, w->list);
    w->list = NULL;
}

void store_walk_free(struct store_walk *w) {
    if (!w) return;
    close_list(w);
    free(w);
}

static bool name_read(const char *name, int dir, struct qid *id, char *part) {
    struct str s = str_of(name);
    if (s.n != QID_LEN + 2 || !qid_parse(str_sub(s, 0, QID_LEN), id) || s.p[QID_LEN] != '.') return false;
    *part = s.p[QID_LEN + 1];
    return (*part == 'c' || *part == 'd') && folder_of(*id) == dir;
}

/* S1 or S6: data without a control file, from before this run. */
static void look_at_data(struct store_walk *w, struct qid id) {
    struct store *s = w->store;
    struct disk_info info;
    if (!w->recover || entry_find(s, id) || lease_of_this_run(s, id.lease)) return;
    if (DISK(s, info, folder_of(id), part_name(id, 'c').c, &info) != ENOENT) return;
    int error = part_unlink(s, id, 'd');
    if (error && error != ENOENT)
        told_trouble(s, "cannot remove orphaned data of", str_of(qid_format(id).c), error);
    w->counts.orphans += !error;
}

static void pair_aside(struct store_walk *w, struct qid id, const char *why) {
    struct store *s = w->store;
    struct disk_info info;
    struct file_name data = part_name(id, 'd');
    w->counts.aside += aside_move(s, folder_of(id), part_name(id, 'c').c, why);
    if (DISK(s, info, folder_of(id), data.c, &info) == 0)
        aside_move(s, folder_of(id), data.c, "it belongs to the control file");
}

static void clean_up(struct store_walk *w, struct qid id, enum judgement j, const char *why) {
    struct store *s = w->store;
    if (j == JUDGED_ENDED && part_unlink(s, id, 'c') == 0) limbo_add(s, id);
    if (j == JUDGED_BAD) pair_aside(w, id, why);
    if (j != JUDGED_INCOMPLETE) return;
    part_unlink(s, id, 'c');
    part_unlink(s, id, 'd');
    w->counts.incomplete++;
}

static void look_at_control(struct store_walk *w, struct qid id,
                            void (*found)(void *ctx, const struct control *c), void *ctx) {
    struct store *s = w->store;
    struct store_message m;
    const char *why;
    int error;
    if (store_is_draft(s, id)) return;
    /* What came in this run has been judged when it came, and is not what a crash has left. */
    bool recover = w->recover && !lease_of_this_run(s, id.lease);
    enum judgement j = message_judge(s, id, recover, &m, &why, &error);
    if (j == JUDGED_WHOLE) {
        w->counts.messages += recover || !w->recover;
        found(ctx, &m.c);
    } else if (j == JUDGED_ERROR) {
        told_trouble(s, "cannot read", str_of(qid_format(id).c), error);
    } else if (recover) {
        clean_up(w, id, j, why);
    }
    store_message_done(&m);
}

static bool next_name(struct store_walk *w, char name[DISK_NAME_MAX + 1]) {
    struct store *s = w->store;
    char mem[8];
    for (; w->dir < DISK_FOLDERS; w->dir++) {
        int error = w->list ? 0 : DISK(s, list, w->dir, &w->list);
        if (!error) error = DISK(s, list_next, w->list, name);
        if (!error) return true;
        if (error != ENOENT) told_trouble(s, "cannot list", str_of(disk_dir_name(w->dir, mem)), error);
        close_list(w);
    }
    return false;
}

bool store_walk_step(struct store_walk *w, unsigned files, void (*found)(void *ctx, const struct control *c),
                     void *ctx) {
    char name[DISK_NAME_MAX + 1], part;
    struct qid id;
    for (; files; files--) {
        if (!next_name(w, name)) {
            /* What we read may still be in the page cache only, when a program was killed and not the
             * machine. */
            w->store->sync_everything |= w->recover;
            return false;
        }
        if (!name_read(name, w->dir, &id, &part)) {
            if (w->recover)
                w->counts.aside +=
                    aside_move(w->store, w->dir, name, "its name is no queue file's, or not of this folder");
        } else if (part == 'd') {
            look_at_data(w, id);
        } else {
            look_at_control(w, id, found, ctx);
        }
    }
    return true;
}
