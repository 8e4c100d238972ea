/* disk.c: the disk as the programs reach it: the fake one, whose memory is the world's and not theirs. */
#include "queue/disk.h"

#include "tests/sim/world.h"

#include <errno.h>
#include <string.h>

struct shim {
    struct disk disk;
    struct disk *below;
    struct world *w;
};

static struct disk *below(struct disk *d) {
    return ((struct shim *)(void *)d)->below;
}

#define SHIM(name, params, ...) \
    static int sh_##name params { \
        AS(MEM_WORLD); \
        struct disk *b = below(d); \
        return b->ops->name(b, __VA_ARGS__); \
    }

SHIM(open, (struct disk * d, int dir, const char *name, enum disk_mode mode, int *file), dir, name, mode,
     file)
SHIM(write, (struct disk * d, int file, const void *bytes, size_t n, uint64_t at), file, bytes, n, at)
SHIM(read, (struct disk * d, int file, void *bytes, size_t n, uint64_t at, size_t *got), file, bytes, n, at,
     got)
SHIM(sync_dir, (struct disk * d, int dir), dir)
SHIM(info, (struct disk * d, int dir, const char *name, struct disk_info *info), dir, name, info)
SHIM(unlink, (struct disk * d, int dir, const char *name), dir, name)
SHIM(rename, (struct disk * d, int dir, const char *name, int to_dir, const char *to_name), dir, name, to_dir,
     to_name)
SHIM(list, (struct disk * d, int dir, struct disk_list **list), dir, list)
SHIM(list_next, (struct disk * d, struct disk_list *list, char name[DISK_NAME_MAX + 1]), list, name)
SHIM(space, (struct disk * d, struct disk_space *space), space)

/* What is given to others is a descriptor, which here is a blob. */
static int sh_memory(struct disk *d, const void *bytes, size_t n, int *file) {
    int below_file, error = below(d)->ops->memory(below(d), "", 0, &below_file);
    char *to;
    if (error) return error;
    below(d)->ops->close(below(d), below_file);
    *file = blob_new(((struct shim *)(void *)d)->w, n, &to);
    if (n) memcpy(to, bytes, n);
    return 0;
}

static int sh_lend(struct disk *d, int dir, const char *name, int *file) {
    AS(MEM_WORLD);
    struct disk *b = below(d);
    struct disk_info info;
    int from, error = b->ops->info(b, dir, name, &info);
    size_t got = 0;
    char *to;
    if (!error) error = b->ops->lend(b, dir, name, &from);
    if (error) return error;
    *file = blob_new(((struct shim *)(void *)d)->w, info.size, &to);
    error = b->ops->read(b, from, to, info.size, 0, &got);
    b->ops->close(b, from);
    if (error || got != info.size) blob_put(((struct shim *)(void *)d)->w, *file);
    return error ? error : got != info.size ? EIO : 0;
}

static int synced(struct disk *d, int error) {
    ((struct shim *)(void *)d)->w->syncs_failed += error != 0;
    return error;
}

static int sh_sync(struct disk *d, int file) {
    AS(MEM_WORLD);
    return synced(d, below(d)->ops->sync(below(d), file));
}

static int sh_sync_all(struct disk *d) {
    AS(MEM_WORLD);
    return synced(d, below(d)->ops->sync_all(below(d)));
}

static void sh_close(struct disk *d, int file) {
    AS(MEM_WORLD);
    below(d)->ops->close(below(d), file);
}

static void sh_list_close(struct disk *d, struct disk_list *list) {
    AS(MEM_WORLD);
    below(d)->ops->list_close(below(d), list);
}

static const struct disk_ops ops = {
    .open = sh_open,
    .close = sh_close,
    .write = sh_write,
    .read = sh_read,
    .sync = sh_sync,
    .sync_dir = sh_sync_dir,
    .sync_all = sh_sync_all,
    .info = sh_info,
    .unlink = sh_unlink,
    .rename = sh_rename,
    .list = sh_list,
    .list_next = sh_list_next,
    .list_close = sh_list_close,
    .space = sh_space,
    .lend = sh_lend,
    .memory = sh_memory,
};

struct disk *disk_of_programs(struct world *w) {
    struct shim *s = xmalloc(sizeof *s);
    *s = (struct shim){{.ops = &ops}, (struct disk *)(void *)w->disk, w};
    return &s->disk;
}
