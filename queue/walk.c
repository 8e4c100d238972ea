/* walk.c: goes through the spool in small steps: recovery at start, telling dispatch, listing. */
#include "queue/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum aim { AIM_LOOK, AIM_RECOVER, AIM_CHECK };

struct store_walk {
    struct store *store;
    enum aim aim;
    enum care care;
    struct findings to;     /* found may be NULL */
    int dir;                /* 0 .. DISK_FOLDERS - 1, perhaps DISK_ROOT before them; DISK_DIRS: over */
    struct disk_list *list; /* of dir; NULL: not open yet */
    uint64_t lease_max;     /* of the names seen */
    struct store_counts counts;
};

const struct finding_row finding_table[FINDINGS] = {
#define FINDING(name, remedy, repaired) {#name, remedy, repaired},
#include "queue/findings.def"
#undef FINDING
};

static void tell_torn(struct store_walk *w, enum finding what, const char *name, const char *why,
                      uint64_t end) {
    if (w->to.found) w->to.found(w->to.ctx, &(struct found){what, w->dir, name, why, end});
}

static void tell(struct store_walk *w, enum finding what, const char *name, const char *why) {
    tell_torn(w, what, name, why, 0);
}

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
    *w = (struct store_walk){
        .store = s, .aim = recover ? AIM_RECOVER : AIM_LOOK, .care = recover ? CARE_RECOVER : CARE_LOAD};
    return w;
}

void store_walk_tell(struct store_walk *w, const struct findings *to) {
    w->to = *to;
    w->care = CARE_CHECK; /* somebody wants to know */
    w->dir = DISK_ROOT;
}

struct store_walk *store_check_new(struct store *s, const struct findings *to) {
    struct store_walk *w = store_walk_new(s, false);
    w->aim = AIM_CHECK;
    store_walk_tell(w, to);
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

/* What came in this run has been judged when it came, and is not what a crash has left; while others work on it, what
 * is on its way to be removed is in order. */
static bool judges(const struct store_walk *w, struct qid id) {
    return w->aim == AIM_CHECK || (w->aim == AIM_RECOVER && !lease_of_this_run(w->store, id.lease));
}

static bool skips(const struct store_walk *w, enum store_skip what) {
    return (w->store->config.skip & (unsigned)what) != 0;
}

/* S1 or S6: data without a control file, from before this run. */
static void look_at_data(struct store_walk *w, struct qid id) {
    struct store *s = w->store;
    struct disk_info info;
    struct file_name data = part_name(id, 'd');
    if (!judges(w, id) || entry_find(s, id) || skips(w, STORE_SKIP_ORPHANS)) return;
    if (DISK(s, info, folder_of(id), part_name(id, 'c').c, &info) != ENOENT) return;
    if (w->aim == AIM_CHECK) {
        bool there =
            DISK(s, info, folder_of(id), data.c, &info) == 0 && !limbo_has(s, id) && !trash_has(s, id);
        if (there) tell(w, FOUND_orphan, data.c, "data without a control file");
        w->counts.orphans += there;
        return;
    }
    if (DISK(s, info, folder_of(id), data.c, &info) != 0) return; /* it was set aside with its pair */
    tell(w, FOUND_orphan, data.c, "data without a control file");
    w->counts.orphans++;
    /* That the control file is gone may be in the page cache only. */
    dir_soil(s, folder_of(id));
    limbo_add(s, id);
}

static bool only_rights(struct store_walk *w, const char *name) {
    struct disk_info info;
    if (DISK(w->store, info, w->dir, name, &info) != 0 || !info.regular || info.ours) return false;
    tell(w, FOUND_rights, name, "its owner or mode is not ours");
    return true;
}

/* Names the file that is to blame. */
static void tell_damage(struct store_walk *w, struct qid id, const char *why) {
    struct file_name control = part_name(id, 'c');
    bool rights = only_rights(w, control.c);
    rights |= only_rights(w, part_name(id, 'd').c);
    if (!rights) tell(w, FOUND_damaged, control.c, why);
}

static void pair_aside(struct store_walk *w, struct qid id, const char *why) {
    struct store *s = w->store;
    struct disk_info info;
    struct file_name data = part_name(id, 'd');
    w->counts.aside += aside_move(s, folder_of(id), part_name(id, 'c').c, why);
    if (DISK(s, info, folder_of(id), data.c, &info) == 0)
        aside_move(s, folder_of(id), data.c, "it belongs to the control file");
}

static void clean_up(struct store_walk *w, const struct control *c, enum judgement j, const char *why) {
    struct store *s = w->store;
    struct qid id = c->id;
    if (skips(w, j == JUDGED_ENDED ? STORE_SKIP_ENDED : j == JUDGED_INCOMPLETE ? STORE_SKIP_INCOMPLETE : 0))
        return;
    if (j == JUDGED_ENDED) ended_goes(s, c);
    if (j == JUDGED_BAD) pair_aside(w, id, why);
    if (j != JUDGED_INCOMPLETE) return;
    part_unlink(s, id, 'c');
    part_unlink(s, id, 'd');
    w->counts.incomplete++;
}

static void tell_judgement(struct store_walk *w, struct qid id, enum judgement j, const char *why) {
    struct file_name name = part_name(id, 'c');
    if (j == JUDGED_BAD) tell_damage(w, id, why);
    if (j == JUDGED_INCOMPLETE)
        tell(w, FOUND_incomplete, name.c, why && *why ? why : "its control file is cut off");
    if (j == JUDGED_ENDED) tell(w, FOUND_ended, name.c, "all its recipients have ended");
}

static void look_at_control(struct store_walk *w, struct qid id,
                            void (*found)(void *ctx, const struct control *c), void *ctx) {
    struct store *s = w->store;
    struct store_message m;
    const char *why;
    int error;
    if (store_is_draft(s, id)) return;
    bool strict = judges(w, id);
    enum judgement j = message_judge(s, id, strict ? w->care : CARE_LOAD, &m, &why, &error);
    if (skips(w, STORE_SKIP_QUEUED) && strict && j == JUDGED_WHOLE && !m.c.marks) j = JUDGED_INCOMPLETE;
    if (j == JUDGED_WHOLE) {
        w->counts.messages += strict || w->aim == AIM_LOOK;
        if (strict && m.c.torn_tail)
            tell_torn(w, FOUND_torn, part_name(id, 'c').c, "its last record is cut off", m.c.end);
        found(ctx, &m.c);
    } else if (j == JUDGED_ERROR) {
        told_trouble(s, "cannot read", str_of(qid_format(id).c), error);
        if (strict) tell(w, FOUND_unreadable, part_name(id, 'c').c, strerror(error));
    } else if (strict) {
        tell_judgement(w, id, j, why);
        if (w->aim == AIM_RECOVER) clean_up(w, &m.c, j, why);
    }
    store_message_done(&m);
}

/* ---- What else lies there ------------------------------------------------------------------------------ */

/* Of the spool directory itself: what the queue makes, and what a file system makes at its top. */
static bool root_name(const char *name) {
    static const char *const fixed[] = {"aside", "lease", "probe", "lost+found"};
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strcmp(name, fixed[i]) == 0) return true;
    bool two = strlen(name) == 2 && strchr(hex, name[0]) && strchr(hex, name[1]);
    return two || (strlen(name) == 10 && strncmp(name, "journal.", 8) == 0);
}

static void look_at_foreign(struct store_walk *w, const char *name) {
    const char *why = w->dir == DISK_ROOT ? "nothing of the queue has this name"
                                          : "its name is no queue file's, or not of this folder";
    tell(w, FOUND_foreign, name, why);
    if (w->aim == AIM_RECOVER) w->counts.aside += aside_move(w->store, w->dir, name, why);
}

static void look_at_lease(struct store_walk *w) {
    const char *why = lease_judge(w->store, w->lease_max, w->aim == AIM_RECOVER);
    w->dir = DISK_ROOT;
    if (why) tell(w, FOUND_lease, "lease", why);
    w->dir = DISK_DIRS;
}

/* ---- Steps --------------------------------------------------------------------------------------------- */

static void next_dir(struct store_walk *w) {
    close_list(w);
    w->dir = w->dir == DISK_ROOT ? 0 : w->dir + 1 < DISK_FOLDERS ? w->dir + 1 : DISK_DIRS;
}

static bool next_name(struct store_walk *w, char name[DISK_NAME_MAX + 1]) {
    struct store *s = w->store;
    char mem[8];
    for (; w->dir != DISK_DIRS; next_dir(w)) {
        int error = w->list ? 0 : DISK(s, list, w->dir, &w->list);
        if (!error) error = DISK(s, list_next, w->list, name);
        if (!error) return true;
        if (error == ENOENT) continue;
        told_trouble(s, "cannot list", str_of(disk_dir_name(w->dir, mem)), error);
        tell(w, FOUND_unreadable, ".", strerror(error));
    }
    return false;
}

/* What we read may still be in the page cache only, when a program was killed and not the machine. */
static void all_seen(struct store_walk *w) {
    w->store->sync_everything |= w->aim == AIM_RECOVER && !skips(w, STORE_SKIP_RECOVERED);
    if (w->aim != AIM_LOOK) look_at_lease(w);
}

bool store_walk_step(struct store_walk *w, unsigned files, void (*found)(void *ctx, const struct control *c),
                     void *ctx) {
    char name[DISK_NAME_MAX + 1], part;
    struct qid id;
    for (; files; files--) {
        if (!next_name(w, name)) {
            all_seen(w);
            return false;
        }
        bool root = w->dir == DISK_ROOT, ours = !root && name_read(name, w->dir, &id, &part);
        if (!ours && !(root && root_name(name))) look_at_foreign(w, name);
        if (!ours) continue;
        if (id.lease > w->lease_max) w->lease_max = id.lease;
        if (part == 'd') look_at_data(w, id);
        else look_at_control(w, id, found, ctx);
    }
    return true;
}
