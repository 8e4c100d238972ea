#include "queue/disk_over.h"

#include "common/arena.h"
#include "common/str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384, CHUNK = 65536 };

struct node { /* a file whose content is here */
    unsigned refs;
    char *bytes;
    size_t n, cap;
};

struct change { /* what a name stands for, other than below */
    struct change *next;
    int dir;
    struct node *node; /* NULL: it is gone */
    char name[DISK_NAME_MAX + 1];
};

struct handle {
    bool used;
    struct node *node; /* or */
    int below;
};

struct over {
    struct disk disk;
    struct disk *below;
    struct change *table[BUCKETS];
    struct handle *handles;
    size_t n, cap;
};

struct disk_list {
    struct disk_list *below;
    bool below_over;
    size_t bucket; /* of the next change to look at, once that is over */
    const struct change *next;
    int dir;
};

#define BELOW(o, call, ...) ((o)->below->ops->call((o)->below, __VA_ARGS__))

static struct over *of(struct disk *d) {
    return (struct over *)(void *)d; /* its first member */
}

/* ---- Nodes and names ----------------------------------------------------------------------------------- */

static void node_drop(struct node *n) {
    if (!n || --n->refs) return;
    free(n->bytes);
    free(n);
}

static struct change **change_at(struct over *o, int dir, const char *name) {
    struct change **at = &o->table[str_hash(str_of(name), (uint64_t)dir + 1) % BUCKETS];
    while (*at && ((*at)->dir != dir || strcmp((*at)->name, name) != 0)) at = &(*at)->next;
    return at;
}

/* Takes a reference of the node over. */
static void change_set(struct over *o, int dir, const char *name, struct node *node) {
    struct change **at = change_at(o, dir, name);
    if (!*at) {
        *at = xmalloc(sizeof **at);
        (*at)->dir = dir;
        memcpy((*at)->name, name, strlen(name) + 1);
    }
    node_drop((*at)->node);
    (*at)->node = node;
}

static int exists(struct over *o, int dir, const char *name, struct change **change) {
    struct disk_info info;
    *change = *change_at(o, dir, name);
    if (*change) return (*change)->node ? 0 : ENOENT;
    return BELOW(o, info, dir, name, &info);
}

static int copy_up(struct over *o, int dir, const char *name, struct node **out) {
    size_t got = CHUNK;
    int file, error = BELOW(o, open, dir, name, DISK_READ, &file);
    if (error) return error;
    struct node *n = xmalloc(sizeof *n);
    n->refs = 1;
    while (!error && got == CHUNK) {
        n->bytes = xgrow(n->bytes, &n->cap, n->n + CHUNK, 1);
        error = BELOW(o, read, file, n->bytes + n->n, CHUNK, n->n, &got);
        if (!error) n->n += got;
    }
    BELOW(o, close, file);
    if (error) node_drop(n);
    else *out = n;
    return error;
}

/* ---- Files --------------------------------------------------------------------------------------------- */

static int handle_new(struct over *o, struct node *node, int below) {
    size_t i = 0;
    while (i < o->n && o->handles[i].used) i++;
    if (i == o->n) o->handles = xgrow(o->handles, &o->cap, ++o->n, sizeof *o->handles);
    if (node) node->refs++;
    o->handles[i] = (struct handle){true, node, below};
    return (int)i;
}

static int ov_open(struct disk *d, int dir, const char *name, enum disk_mode mode, int *file) {
    struct over *o = of(d);
    struct change *c;
    int below = -1, error = exists(o, dir, name, &c);
    struct node *node = c ? c->node : NULL;
    if (mode == DISK_CREATE) {
        if (error != ENOENT) return error ? error : EEXIST;
        node = xmalloc(sizeof *node);
        node->refs = 1;
        change_set(o, dir, name, node);
    } else if (error) {
        return error;
    } else if (mode == DISK_WRITE && !node) {
        error = copy_up(o, dir, name, &node);
        if (error) return error;
        change_set(o, dir, name, node);
    } else if (!node) {
        error = BELOW(o, open, dir, name, DISK_READ, &below);
        if (error) return error;
    }
    *file = handle_new(o, node, below);
    return 0;
}

static void ov_close(struct disk *d, int file) {
    struct over *o = of(d);
    struct handle *h = &o->handles[file];
    if (!h->node) BELOW(o, close, h->below);
    node_drop(h->node);
    *h = (struct handle){0};
}

static int ov_write(struct disk *d, int file, const void *bytes, size_t n, uint64_t at) {
    struct node *node = of(d)->handles[file].node;
    if (!node) return EBADF;
    if (at + n > node->n) {
        size_t had = node->n;
        node->bytes = xgrow(node->bytes, &node->cap, at + n, 1);
        node->n = at + n;
        memset(node->bytes + had, 0, node->n - had);
    }
    if (n) memcpy(node->bytes + at, bytes, n);
    return 0;
}

static int ov_read(struct disk *d, int file, void *bytes, size_t n, uint64_t at, size_t *got) {
    struct over *o = of(d);
    const struct node *node = o->handles[file].node;
    if (!node) return BELOW(o, read, o->handles[file].below, bytes, n, at, got);
    *got = at >= node->n ? 0 : node->n - at < n ? node->n - at : n;
    if (*got) memcpy(bytes, node->bytes + at, *got);
    return 0;
}

static int ov_sync(struct disk *d, int file) {
    (void)d, (void)file;
    return 0;
}

static int ov_sync_all(struct disk *d) {
    (void)d;
    return 0;
}

static int ov_lend(struct disk *d, int dir, const char *name, int *file) {
    struct over *o = of(d);
    struct change *c;
    int error = exists(o, dir, name, &c);
    if (error || !c) return error ? error : BELOW(o, lend, dir, name, file);
    return BELOW(o, memory, c->node->bytes, c->node->n, file);
}

static int ov_memory(struct disk *d, const void *bytes, size_t n, int *file) {
    return BELOW(of(d), memory, bytes, n, file);
}

/* ---- Names --------------------------------------------------------------------------------------------- */

static int ov_info(struct disk *d, int dir, const char *name, struct disk_info *info) {
    struct over *o = of(d);
    struct change *c;
    int error = exists(o, dir, name, &c);
    if (error || !c) return error ? error : BELOW(o, info, dir, name, info);
    *info = (struct disk_info){.size = c->node->n, .regular = true, .ours = true, .mode = 0600};
    return 0;
}

static int ov_unlink(struct disk *d, int dir, const char *name) {
    struct change *c;
    int error = exists(of(d), dir, name, &c);
    if (!error) change_set(of(d), dir, name, NULL);
    return error;
}

/* What cannot be read (a link, another's file) is gone from there, and that is enough to know. */
static int ov_rename(struct disk *d, int dir, const char *name, int to_dir, const char *to_name) {
    struct over *o = of(d);
    struct change *c, *to;
    struct node *node = NULL;
    int error = exists(o, dir, name, &c);
    if (error) return error;
    error = exists(o, to_dir, to_name, &to);
    if (error != ENOENT) return error ? error : EEXIST;
    if (c) {
        node = c->node;
        node->refs++;
    } else if (copy_up(o, dir, name, &node) != 0) {
        node = NULL;
    }
    change_set(o, dir, name, NULL);
    if (node) change_set(o, to_dir, to_name, node);
    return 0;
}

static int ov_list(struct disk *d, int dir, struct disk_list **list) {
    struct disk_list *below;
    int error = BELOW(of(d), list, dir, &below);
    if (error) return error;
    *list = xmalloc(sizeof **list);
    **list = (struct disk_list){.below = below, .dir = dir};
    return 0;
}

/* The names below, but for those that are changed; then those that are made here. */
static int ov_list_next(struct disk *d, struct disk_list *l, char name[DISK_NAME_MAX + 1]) {
    struct over *o = of(d);
    while (!l->below_over) {
        int error = BELOW(o, list_next, l->below, name);
        if (error && error != ENOENT) return error;
        l->below_over = error == ENOENT;
        if (!error && !*change_at(o, l->dir, name)) return 0;
    }
    for (;;) {
        while (!l->next && l->bucket < BUCKETS) l->next = o->table[l->bucket++];
        if (!l->next) return ENOENT;
        const struct change *c = l->next;
        l->next = c->next;
        if (c->dir != l->dir || !c->node) continue;
        memcpy(name, c->name, strlen(c->name) + 1);
        return 0;
    }
}

static void ov_list_close(struct disk *d, struct disk_list *list) {
    BELOW(of(d), list_close, list->below);
    free(list);
}

static int ov_space(struct disk *d, struct disk_space *space) {
    return BELOW(of(d), space, space);
}

static const struct disk_ops over_ops = {
    .open = ov_open,
    .close = ov_close,
    .write = ov_write,
    .read = ov_read,
    .sync = ov_sync,
    .sync_dir = ov_sync,
    .sync_all = ov_sync_all,
    .info = ov_info,
    .unlink = ov_unlink,
    .rename = ov_rename,
    .list = ov_list,
    .list_next = ov_list_next,
    .list_close = ov_list_close,
    .space = ov_space,
    .lend = ov_lend,
    .memory = ov_memory,
};

struct disk *disk_over_new(struct disk *below) {
    struct over *o = xmalloc(sizeof *o);
    o->disk.ops = &over_ops;
    o->below = below;
    return &o->disk;
}

void disk_over_free(struct disk *d) {
    struct over *o = of(d);
    if (!d) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct change *c = o->table[i], *next; c; c = next) {
            next = c->next;
            node_drop(c->node);
            free(c);
        }
    }
    free(o->handles);
    free(o);
}
