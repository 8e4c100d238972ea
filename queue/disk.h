/* disk.h: all that the store asks of a disk, as a table of functions.
 *
 * disk_posix.c is the real one, disk_fake.c one in memory that forgets at a crash what was not synced and
 * fails when it is told to: for tests and for the simulator. Every call is synchronous and gives 0 or an
 * errno. A file lies in one of a fixed set of directories and is named by (directory, name): the store
 * knows no paths, so none can lead astray. The rule for durability is the strict one of POSIX: sync makes
 * the bytes of a file durable but not its name, sync_dir makes the names of a directory durable but no
 * bytes, sync_all makes everything durable. */
#ifndef POSTERN_QUEUE_DISK_H
#define POSTERN_QUEUE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DISK_FOLDERS = 256,       /* directories 0..255 hold messages, named "00" to "ff" */
    DISK_ROOT = DISK_FOLDERS, /* the spool directory itself */
    DISK_ASIDE,               /* "aside": what could not be understood */
    DISK_DIRS,
    DISK_NAME_MAX = 255,
};

enum disk_mode {
    DISK_CREATE, /* for reading and writing; the name must not exist (EEXIST) */
    DISK_FRESH,  /* the same, of a disk with batches only: the name is known not to exist */
    DISK_READ,
    DISK_WRITE, /* an existing file, for reading and writing */
};

struct disk_info {
    uint64_t size;
    bool regular; /* a plain file with one name, not a link, directory or device */
    bool owned;   /* by us */
    bool ours;    /* owned by us, and nobody else may read or write it */
    uint32_t uid, mode;
};

struct disk_space {
    uint64_t bytes;  /* free for us */
    uint64_t inodes; /* free; UINT64_MAX when the file system does not count */
};

struct disk;
struct disk_list;

struct disk_ops {
    /* The file is an int that is only good for this table; of disk_posix.c it is the descriptor. */
    int (*open)(struct disk *d, int dir, const char *name, enum disk_mode mode, int *file);
    void (*close)(struct disk *d, int file);
    /* Writes all n octets at the offset, or fails; after a failure some of them may have been written. */
    int (*write)(struct disk *d, int file, const void *bytes, size_t n, uint64_t at);
    /* Reads up to n octets; *got less than n means the end of the file. */
    int (*read)(struct disk *d, int file, void *bytes, size_t n, uint64_t at, size_t *got);
    int (*sync)(struct disk *d, int file);
    int (*sync_dir)(struct disk *d, int dir);
    int (*sync_all)(struct disk *d);
    int (*info)(struct disk *d, int dir, const char *name,
                struct disk_info *info); /* does not follow links */
    int (*unlink)(struct disk *d, int dir, const char *name);
    int (*rename)(struct disk *d, int dir, const char *name, int to_dir,
                  const char *to_name); /* EEXIST if taken */
    /* Lists a directory; order, and names that come or go meanwhile, are not promised. list_next gives
     * ENOENT at the end; a name that is too long for the buffer cannot occur (DISK_NAME_MAX + 1). */
    int (*list)(struct disk *d, int dir, struct disk_list **list);
    int (*list_next)(struct disk *d, struct disk_list *list, char name[DISK_NAME_MAX + 1]);
    void (*list_close)(struct disk *d, struct disk_list *list);
    int (*space)(struct disk *d, struct disk_space *space);
    /* Descriptors for others to read from: they are the lowest disk's own, even when this one lies on
     * another. lend: of a file as it is now; memory: of a nameless file with this content. */
    int (*lend)(struct disk *d, int dir, const char *name, int *file);
    int (*memory)(struct disk *d, const void *bytes, size_t n, int *file);
};

/* The first member of every disk. */
struct disk {
    const struct disk_ops *ops;
    bool batches; /* sync_all costs one sync: never sync anything else one by one (journal.h) */
};

/* "3f", "aside", "." for the root */
const char *disk_dir_name(int dir, char mem[8]);

/* The real disk beneath a directory descriptor, which it takes over. Makes the directories that are
 * missing, and refuses one that is not ours. NULL: *error is the errno, *where the directory's name in
 * mem. */
struct disk *disk_posix_new(int root_fd, int *error, const char **where, char mem[8]);
/* Makes nothing: of what is missing or cannot be opened nothing is seen. For whoever only looks. */
struct disk *disk_posix_look(int root_fd);
void disk_posix_free(struct disk *d);

#endif
