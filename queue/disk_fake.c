#include "queue/disk_fake.h"

#include "common/arena.h"
#include "common/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, PAGE = 4096 };

struct range {
    uint64_t at, n;
};

/* A file, apart from its names. */
struct node {
    unsigned refs; /* names (now, mid, kept) and open files */
    char *now, *kept;
    size_t now_n, now_cap, kept_n, kept_cap;
    struct range *dirty; /* written and not synced, in order */
    size_t dirty_n, dirty_cap;
    unsigned sync_kind;
    bool foreign;
};

/* A name in a directory: what it stands for now, for a moment since the last sync, and durably. */
struct name {
    struct name *hash_next, *dir_next, **dir_at;
    struct name *unsynced_next;
    bool unsynced;
    int dir;
    struct node *now, *mid, *kept;
    char text[DISK_NAME_MAX + 1];
};

struct open_file {
    struct node *node;
    unsigned sync_kind;
};

struct fake {
    struct disk disk;
    uint64_t random, ops, crash_at, fail_at, room;
    int fail_at_error;
    unsigned fail_kinds, often_kinds, often_one_in, short_one_in, ignore, crash_kinds, crash_in;
    int fail_error, often_error;
    bool dead, full;
    struct name **table;
    size_t buckets, names;
    struct name *dirs[DISK_DIRS];
    size_t dir_n[DISK_DIRS];
    struct name *unsynced[DISK_DIRS];
    struct node **dirty_nodes; /* every node with dirty ranges, each once; holds a reference */
    size_t dirty_nodes_n, dirty_nodes_cap;
    struct open_file *files;
    size_t files_n, files_cap;
    int *free_files;
    size_t free_n, free_cap;
    int open_count;
};

struct disk_list {
    char (*names)[DISK_NAME_MAX + 1];
    size_t n, at;
};

static struct fake *of(struct disk *d) {
    return (struct fake *)d; /* its first member */
}

/* ---- Chance -------------------------------------------------------------------------------------------- */

static uint64_t roll(struct fake *f) { /* splitmix64 */
    uint64_t z = f->random += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static uint64_t below(struct fake *f, uint64_t n) {
    return n ? roll(f) % n : 0;
}

/* Every changing operation comes through here: 0, or the errno it must fail with. */
static int gate(struct fake *f, unsigned kind) {
    if (f->dead) return EIO;
    if (kind & FAKE_CHANGES) {
        f->ops++;
        if (f->crash_in && (f->crash_kinds & kind) && --f->crash_in == 0) f->crash_at = f->ops;
        if (f->crash_at && f->ops >= f->crash_at) {
            f->dead = true;
            return EIO;
        }
        if (f->fail_at && f->ops == f->fail_at) return f->fail_at_error;
    }
    if (f->fail_kinds & kind) return f->fail_error;
    if ((f->often_kinds & kind) && f->often_one_in && below(f, f->often_one_in) == 0) return f->often_error;
    return 0;
}

/* ---- Nodes and names ----------------------------------------------------------------------------------- */

static void node_put(struct node *n) {
    if (!n || --n->refs) return;
    free(n->now);
    free(n->kept);
    free(n->dirty);
    free(n);
}

static struct node *node_get(struct node *n) {
    if (n) n->refs++;
    return n;
}

static void point(struct node **at, struct node *to) {
    node_get(to);
    node_put(*at);
    *at = to;
}

static uint64_t name_hash(int dir, const char *text) {
    return str_hash(str_of(text), (uint64_t)dir + 1);
}

static struct name *name_find(const struct fake *f, int dir, const char *text) {
    struct name *n = f->buckets ? f->table[name_hash(dir, text) & (f->buckets - 1)] : NULL;
    while (n && (n->dir != dir || strcmp(n->text, text) != 0)) n = n->hash_next;
    return n;
}

static void grow(struct fake *f) {
    size_t buckets = f->buckets ? f->buckets * 2 : 256;
    struct name **fresh = xmalloc(buckets * sizeof *fresh);
    for (size_t i = 0; i < f->buckets; i++) {
        for (struct name *n = f->table[i], *next; n; n = next) {
            next = n->hash_next;
            size_t at = name_hash(n->dir, n->text) & (buckets - 1);
            n->hash_next = fresh[at];
            fresh[at] = n;
        }
    }
    free(f->table);
    f->table = fresh;
    f->buckets = buckets;
}

static struct name *name_add(struct fake *f, int dir, const char *text) {
    if (f->names >= f->buckets) grow(f);
    struct name *n = xmalloc(sizeof *n);
    size_t at = name_hash(dir, text) & (f->buckets - 1);
    n->dir = dir;
    strncpy(n->text, text, DISK_NAME_MAX);
    n->hash_next = f->table[at];
    f->table[at] = n;
    n->dir_next = f->dirs[dir];
    n->dir_at = &f->dirs[dir];
    if (n->dir_next) n->dir_next->dir_at = &n->dir_next;
    f->dirs[dir] = n;
    f->names++;
    return n;
}

static void name_free(struct fake *f, struct name *n) {
    struct name **at = &f->table[name_hash(n->dir, n->text) & (f->buckets - 1)];
    while (*at != n) at = &(*at)->hash_next;
    *at = n->hash_next;
    *n->dir_at = n->dir_next;
    if (n->dir_next) n->dir_next->dir_at = n->dir_at;
    point(&n->now, NULL);
    point(&n->mid, NULL);
    point(&n->kept, NULL);
    f->names--;
    free(n);
}

/* The name stands for something else from now on; durable only after sync_dir. */
static void name_set(struct fake *f, struct name *n, struct node *node) {
    f->dir_n[n->dir] += (size_t)(node != NULL) - (size_t)(n->now != NULL);
    if (n->now && n->now != n->kept) point(&n->mid, n->now);
    point(&n->now, node);
    if (n->unsynced) return;
    n->unsynced = true;
    n->unsynced_next = f->unsynced[n->dir];
    f->unsynced[n->dir] = n;
}

static void settle_names(struct fake *f, int dir, bool crash) {
    for (struct name *n = f->unsynced[dir], *next; n; n = next) {
        next = n->unsynced_next;
        n->unsynced = false;
        struct node *outcome = n->now;
        if (crash) {
            uint64_t choice = below(f, n->mid ? 3 : 2);
            outcome = choice == 0 ? n->now : choice == 1 ? n->kept : n->mid;
            f->dir_n[dir] += (size_t)(outcome != NULL) - (size_t)(n->now != NULL);
        }
        node_get(outcome);
        point(&n->now, outcome);
        point(&n->kept, outcome);
        point(&n->mid, NULL);
        node_put(outcome);
        if (!n->now) name_free(f, n);
    }
    f->unsynced[dir] = NULL;
}

/* ---- Content ------------------------------------------------------------------------------------------- */

static void put_bytes(char **mem, size_t *n, size_t *cap, const char *bytes, size_t len, size_t at) {
    if (at + len > *n) {
        *mem = xgrow(*mem, cap, at + len, 1);
        if (at > *n) memset(*mem + *n, 0, at - *n);
        *n = at + len;
    }
    memcpy(*mem + at, bytes, len);
}

static void node_write(struct fake *f, struct node *n, const char *bytes, size_t len, uint64_t at) {
    if (!len) return;
    put_bytes(&n->now, &n->now_n, &n->now_cap, bytes, len, at);
    if (!n->dirty_n) {
        f->dirty_nodes =
            xgrow(f->dirty_nodes, &f->dirty_nodes_cap, f->dirty_nodes_n + 1, sizeof *f->dirty_nodes);
        f->dirty_nodes[f->dirty_nodes_n++] = node_get(n);
    }
    n->dirty = xgrow(n->dirty, &n->dirty_cap, n->dirty_n + 1, sizeof *n->dirty);
    n->dirty[n->dirty_n++] = (struct range){at, len};
}

static void keep_range(struct node *n, uint64_t at, uint64_t len) {
    if (len) put_bytes(&n->kept, &n->kept_n, &n->kept_cap, n->now + at, len, at);
}

/* Zeros where a write was lost but the length made it, as blocks that were never written read. */
static void zero_range(struct node *n, uint64_t at, uint64_t len) {
    uint64_t end = at + len, from = n->kept_n; /* what is durable stays */
    if (end <= from) return;
    char *zeros = xmalloc(end - from);
    put_bytes(&n->kept, &n->kept_n, &n->kept_cap, zeros, end - from, from);
    free(zeros);
}

/* Some sectors, or pages, are there and others are not, in any order. */
static void keep_some(struct fake *f, struct node *n, uint64_t at, uint64_t len, uint64_t unit) {
    uint64_t end = at + len, coins = roll(f);
    if (end > n->kept_n) zero_range(n, at, len);
    for (unsigned i = 0; at < end; i++) {
        uint64_t next = at - at % unit + unit, to = next < end ? next : end;
        if (i % 64 == 63) coins = roll(f);
        if (coins >> i % 64 & 1) keep_range(n, at, to - at);
        at = to;
    }
}

enum fate { FATE_KEEP, FATE_LOSE, FATE_CRASH };

/* A sync that fails may have written some. */
static enum fate fate_of_failure(struct fake *f) {
    return below(f, 2) ? FATE_LOSE : FATE_CRASH;
}

static void settle_node(struct fake *f, struct node *n, enum fate fate) {
    for (size_t i = 0; i < n->dirty_n; i++) {
        struct range r = n->dirty[i];
        uint64_t chance = fate == FATE_CRASH ? below(f, 6) : fate == FATE_KEEP ? 0 : 3;
        if (chance == 0) keep_range(n, r.at, r.n);
        if (chance == 1) keep_range(n, r.at, below(f, r.n + 1)); /* torn */
        if (chance == 2) {
            keep_range(n, r.at, below(f, r.n + 1));
            zero_range(n, r.at, r.n);
        }
        if (chance >= 4) keep_some(f, n, r.at, r.n, chance == 4 ? SECTOR : PAGE);
    }
    n->dirty_n = 0;
}

static void forget_dirty_node(struct fake *f, struct node *n) {
    for (size_t i = 0; i < f->dirty_nodes_n; i++) {
        if (f->dirty_nodes[i] != n) continue;
        f->dirty_nodes[i] = f->dirty_nodes[--f->dirty_nodes_n];
        node_put(n);
        return;
    }
}

/* All but the files of the kinds that spare names. */
static void settle_all(struct fake *f, enum fate fate, unsigned spare) {
    size_t kept = 0;
    for (size_t i = 0; i < f->dirty_nodes_n; i++) {
        struct node *n = f->dirty_nodes[i];
        if (n->sync_kind & spare) {
            f->dirty_nodes[kept++] = n;
            continue;
        }
        settle_node(f, n, fate);
        node_put(n);
    }
    f->dirty_nodes_n = kept;
}

/* ---- The table ----------------------------------------------------------------------------------------- */

static unsigned sync_kind(const char *name) {
    size_t n = strlen(name);
    if (strncmp(name, "journal.", 8) == 0) return FAKE_SYNC_JOURNAL;
    if (n < 2 || name[n - 2] != '.') return FAKE_SYNC_OTHER;
    return name[n - 1] == 'd' ? FAKE_SYNC_DATA : name[n - 1] == 'c' ? FAKE_SYNC_CONTROL : FAKE_SYNC_OTHER;
}

static int file_add(struct fake *f, struct node *n, const char *name) {
    int file;
    if (f->free_n) {
        file = f->free_files[--f->free_n];
    } else {
        f->files = xgrow(f->files, &f->files_cap, f->files_n + 1, sizeof *f->files);
        file = (int)f->files_n++;
    }
    f->files[file] = (struct open_file){node_get(n), sync_kind(name)};
    f->open_count++;
    return file;
}

static int fk_open(struct disk *d, int dir, const char *name, enum disk_mode mode, int *file) {
    struct fake *f = of(d);
    int error = gate(f, mode == DISK_CREATE ? FAKE_OPEN : FAKE_READ);
    struct name *n = name_find(f, dir, name);
    if (error) return error;
    if (mode != DISK_CREATE && (!n || !n->now)) return ENOENT;
    if (mode == DISK_CREATE) {
        if (n && n->now) return EEXIST;
        if (!n) n = name_add(f, dir, name);
        name_set(f, n, xmalloc(sizeof(struct node)));
        n->now->sync_kind = sync_kind(name);
    }
    *file = file_add(f, n->now, name);
    return 0;
}

static struct node *node_of(struct fake *f, int file) {
    return file >= 0 && (size_t)file < f->files_n ? f->files[file].node : NULL;
}

static void fk_close(struct disk *d, int file) {
    struct fake *f = of(d);
    struct node *n = node_of(f, file);
    if (!n) return;
    node_put(n);
    f->files[file].node = NULL;
    f->free_files = xgrow(f->free_files, &f->free_cap, f->free_n + 1, sizeof *f->free_files);
    f->free_files[f->free_n++] = file;
    f->open_count--;
}

static int write_run(struct fake *f, struct node *n, const char *bytes, size_t len, uint64_t at) {
    bool was_dead = f->dead;
    int error = gate(f, FAKE_WRITE);
    if (was_dead) return EIO;
    node_write(f, n, bytes, error ? below(f, len + 1) : len, at); /* what fails may have done a part */
    return error;
}

static int fk_write(struct disk *d, int file, const void *bytes, size_t len, uint64_t at) {
    struct fake *f = of(d);
    struct node *n = node_of(f, file);
    if (!n) return EBADF;
    if (f->full && at + len > n->now_n) return ENOSPC;
    /* A short write: whoever calls the kernel goes on with the rest, and the machine may stop in between. */
    size_t part = f->short_one_in && len > 1 && below(f, f->short_one_in) == 0 ? 1 + below(f, len - 1) : len;
    int error = write_run(f, n, bytes, part, at);
    return error || part == len ? error : write_run(f, n, (const char *)bytes + part, len - part, at + part);
}

static int fk_read(struct disk *d, int file, void *bytes, size_t len, uint64_t at, size_t *got) {
    struct fake *f = of(d);
    struct node *n = node_of(f, file);
    int error = gate(f, FAKE_READ);
    *got = 0;
    if (!n || error) return n ? error : EBADF;
    if (at < n->now_n) *got = n->now_n - at < len ? n->now_n - at : len;
    if (*got) memcpy(bytes, n->now + at, *got);
    return 0;
}

static int fk_sync(struct disk *d, int file) {
    struct fake *f = of(d);
    struct node *n = node_of(f, file);
    if (!n) return EBADF;
    unsigned kind = f->files[file].sync_kind;
    int error = gate(f, kind);
    if (f->dead) return EIO;
    if (!error && (f->ignore & kind)) return 0;
    settle_node(f, n, error ? fate_of_failure(f) : FATE_KEEP);
    forget_dirty_node(f, n);
    return error;
}

static int fk_sync_dir(struct disk *d, int dir) {
    struct fake *f = of(d);
    unsigned kind = dir == DISK_ROOT ? FAKE_SYNC_ROOT : FAKE_SYNC_DIR;
    int error = gate(f, kind);
    if (!error && !(f->ignore & kind)) settle_names(f, dir, false);
    return error;
}

static int fk_sync_all(struct disk *d) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_SYNC_ALL);
    if (f->dead) return EIO;
    if (!error && (f->ignore & FAKE_SYNC_ALL)) return 0;
    settle_all(f, error ? fate_of_failure(f) : FATE_KEEP, error ? 0 : f->ignore);
    for (int i = 0; !error && i < DISK_DIRS; i++)
        if (!(f->ignore & (i == DISK_ROOT ? FAKE_SYNC_ROOT : FAKE_SYNC_DIR))) settle_names(f, i, false);
    return error;
}

static int fk_info(struct disk *d, int dir, const char *name, struct disk_info *info) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_READ);
    const struct name *n = name_find(f, dir, name);
    if (error) return error;
    if (!n || !n->now) return ENOENT;
    *info = (struct disk_info){
        .size = n->now->now_n, .regular = true, .owned = !n->now->foreign, .ours = !n->now->foreign};
    return 0;
}

static int fk_unlink(struct disk *d, int dir, const char *name) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_UNLINK);
    struct name *n = name_find(f, dir, name);
    if (error) return error;
    if (!n || !n->now) return ENOENT;
    name_set(f, n, NULL);
    return 0;
}

static int fk_rename(struct disk *d, int dir, const char *name, int to_dir, const char *to_name) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_RENAME);
    struct name *n = name_find(f, dir, name), *to = name_find(f, to_dir, to_name);
    if (error) return error;
    if (!n || !n->now) return ENOENT;
    if (to && to->now) return EEXIST;
    if (!to) to = name_add(f, to_dir, to_name);
    name_set(f, to, n->now);
    name_set(f, n, NULL);
    return 0;
}

static int fk_list(struct disk *d, int dir, struct disk_list **list) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_READ);
    if (error) return error;
    struct disk_list *l = xmalloc(sizeof *l);
    l->names = xmalloc((f->dir_n[dir] + 1) * sizeof *l->names);
    for (const struct name *n = f->dirs[dir]; n; n = n->dir_next)
        if (n->now) memcpy(l->names[l->n++], n->text, sizeof n->text);
    *list = l;
    return 0;
}

static int fk_list_next(struct disk *d, struct disk_list *list, char name[DISK_NAME_MAX + 1]) {
    int error = gate(of(d), FAKE_READ);
    if (error) return error;
    if (list->at == list->n) return ENOENT;
    memcpy(name, list->names[list->at++], DISK_NAME_MAX + 1);
    return 0;
}

static void fk_list_close(struct disk *d, struct disk_list *list) {
    (void)d;
    free(list->names);
    free(list);
}

static int fk_space(struct disk *d, struct disk_space *space) {
    *space = (struct disk_space){.bytes = of(d)->room, .inodes = UINT64_MAX};
    return gate(of(d), FAKE_READ);
}

static int fk_lend(struct disk *d, int dir, const char *name, int *file) {
    return fk_open(d, dir, name, DISK_READ, file);
}

static int fk_memory(struct disk *d, const void *bytes, size_t n, int *file) {
    struct fake *f = of(d);
    int error = gate(f, FAKE_READ); /* it is memory and no disk, but the machine may be dead */
    if (error) return error;
    struct node *node = xmalloc(sizeof *node);
    if (n) put_bytes(&node->now, &node->now_n, &node->now_cap, bytes, n, 0);
    *file = file_add(f, node, "");
    return 0;
}

static const struct disk_ops fake_ops = {
    .open = fk_open,
    .close = fk_close,
    .write = fk_write,
    .read = fk_read,
    .sync = fk_sync,
    .sync_dir = fk_sync_dir,
    .sync_all = fk_sync_all,
    .info = fk_info,
    .unlink = fk_unlink,
    .rename = fk_rename,
    .list = fk_list,
    .list_next = fk_list_next,
    .list_close = fk_list_close,
    .space = fk_space,
    .lend = fk_lend,
    .memory = fk_memory,
};

/* ---- What tests do with it ----------------------------------------------------------------------------- */

struct disk *disk_fake_new(uint64_t seed) {
    struct fake *f = xmalloc(sizeof *f);
    *f = (struct fake){.disk.ops = &fake_ops, .random = seed, .room = UINT64_MAX / 2};
    grow(f);
    return &f->disk;
}

void disk_fake_reopen(struct disk *d) {
    struct fake *f = of(d);
    for (size_t i = 0; i < f->files_n; i++)
        if (f->files[i].node) fk_close(d, (int)i);
    f->dead = false;
    f->crash_at = f->crash_in = 0;
}

void disk_fake_free(struct disk *d) {
    struct fake *f = of(d);
    if (!d) return;
    disk_fake_reopen(d);
    settle_all(f, FATE_LOSE, 0);
    for (int i = 0; i < DISK_DIRS; i++)
        while (f->dirs[i]) name_free(f, f->dirs[i]);
    free(f->table);
    free(f->dirty_nodes);
    free(f->files);
    free(f->free_files);
    free(f);
}

uint64_t disk_fake_ops(const struct disk *d) {
    return ((const struct fake *)d)->ops;
}

void disk_fake_crash_at(struct disk *d, uint64_t op) {
    of(d)->crash_at = op;
}

void disk_fake_crash_in(struct disk *d, unsigned kinds, unsigned n) {
    of(d)->crash_kinds = kinds;
    of(d)->crash_in = n;
}

bool disk_fake_dead(const struct disk *d) {
    return ((const struct fake *)d)->dead;
}

void disk_fake_restart(struct disk *d) {
    struct fake *f = of(d);
    disk_fake_reopen(d);
    settle_all(f, FATE_CRASH, 0);
    for (int i = 0; i < DISK_DIRS; i++) settle_names(f, i, true);
    /* From now on what is read is what is durable. */
    for (int i = 0; i < DISK_DIRS; i++) {
        for (struct name *n = f->dirs[i]; n; n = n->dir_next) {
            struct node *node = n->now;
            if (!node) continue;
            if (node->kept_n)
                memcpy(node->now, node->kept, node->kept_n); /* kept is never longer than now was */
            node->now_n = node->kept_n;
        }
    }
    f->dead = false;
    f->fail_at = 0;
    f->fail_kinds = f->often_kinds = f->ignore = 0;
}

void disk_fake_fail_at(struct disk *d, uint64_t op, int error) {
    of(d)->fail_at = op;
    of(d)->fail_at_error = error;
}

void disk_fake_fail_kinds(struct disk *d, unsigned kinds, int error) {
    of(d)->fail_kinds = error ? kinds : 0;
    of(d)->fail_error = error;
}

void disk_fake_fail_often(struct disk *d, unsigned kinds, unsigned one_in, int error) {
    of(d)->often_kinds = one_in ? kinds : 0;
    of(d)->often_one_in = one_in;
    of(d)->often_error = error;
}

void disk_fake_short(struct disk *d, unsigned one_in) {
    of(d)->short_one_in = one_in;
}

void disk_fake_ignore(struct disk *d, unsigned kinds) {
    of(d)->ignore = kinds;
}

void disk_fake_full(struct disk *d, bool full) {
    of(d)->full = full;
}

void disk_fake_room(struct disk *d, uint64_t bytes) {
    of(d)->room = bytes;
}

void disk_fake_plant(struct disk *d, int dir, const char *name, const void *bytes, size_t n) {
    struct fake *f = of(d);
    struct name *at = name_find(f, dir, name);
    if (!at) at = name_add(f, dir, name);
    struct node *node = xmalloc(sizeof *node);
    put_bytes(&node->now, &node->now_n, &node->now_cap, bytes, n, 0);
    put_bytes(&node->kept, &node->kept_n, &node->kept_cap, bytes, n, 0);
    f->dir_n[dir] += at->now == NULL;
    point(&at->now, node);
    point(&at->kept, node);
}

void disk_fake_foreign(struct disk *d, int dir, const char *name) {
    struct name *n = name_find(of(d), dir, name);
    if (n && n->now) n->now->foreign = true;
}

size_t disk_fake_files(struct disk *d, int dir) {
    return of(d)->dir_n[dir];
}

int disk_fake_open_files(const struct disk *d) {
    return ((const struct fake *)d)->open_count;
}
