/* lease.c: queue ids that are never given twice, whatever happens to the clock.
 *
 * A lease is the time at which it was given, but always more than the one before. The file "lease" in the
 * spool says below which value leases may have been given: it is moved ahead (and synced) before that is
 * passed. It has two slots, written in turn, so that a torn write loses nothing; written in place, so that
 * a full disk does not matter. If the file is lost, the names of the spool say which leases were in use. */
#include "queue/inside.h"

#include "queue/crc32c.h"

#include <stdio.h>
#include <string.h>

enum { SLOT = 512, SLOTS = 2 };
#define LEASE_STEP ((uint64_t)60000 << 20) /* one minute ahead */
#define LEASE_SANE ((uint64_t)1 << 62)     /* the year 2109; more is no lease of ours */

static const char lease_file[] = "lease";

static void slot_write(char slot[SLOT], uint64_t lease) {
    char mem[64];
    struct buf b = BUF(mem);
    buf_addf(&b, "lease %020llu ", (unsigned long long)lease);
    buf_addf(&b, "%08x\n", crc32c(0, b.p, b.n));
    memset(slot, ' ', SLOT);
    memcpy(slot, b.p, b.n);
    slot[SLOT - 1] = '\n';
}

static bool slot_read(const char slot[SLOT], uint64_t *lease) {
    uint64_t crc;
    struct str s = {slot, 35};
    if (memcmp(slot, "lease ", 6) != 0 || !str_to_u64(str_sub(s, 6, 26), LEASE_SANE, lease)) return false;
    return str_hex_to_u64(str_sub(s, 27, 35), &crc) && crc == crc32c(0, slot, 27);
}

static int names_max(struct store *s, int dir, uint64_t *max) {
    char name[DISK_NAME_MAX + 1];
    struct disk_list *list;
    struct qid id;
    int error = DISK(s, list, dir, &list);
    if (error) return error == ENOENT ? 0 : error;
    while ((error = DISK(s, list_next, list, name)) == 0)
        if (qid_parse(str_sub(str_of(name), 0, QID_LEN), &id) && id.lease < LEASE_SANE && id.lease > *max)
            *max = id.lease;
    DISK(s, list_close, list);
    return error == ENOENT ? 0 : error;
}

static int create(struct store *s, uint64_t lease) {
    char slots[SLOT * SLOTS];
    int file, error;
    slot_write(slots, lease);
    slot_write(slots + SLOT, lease);
    error = DISK(s, open, DISK_ROOT, lease_file, DISK_CREATE, &file);
    if (error == EEXIST) error = DISK(s, open, DISK_ROOT, lease_file, DISK_WRITE, &file);
    if (error) return error;
    error = DISK(s, write, file, slots, sizeof slots, 0);
    if (!error) error = DISK(s, sync, file);
    DISK(s, close, file);
    return error ? error : DISK(s, sync_dir, DISK_ROOT);
}

/* False: no slot can be read. */
static int read_slots(struct store *s, bool *known) {
    char slots[SLOT * SLOTS];
    uint64_t lease;
    size_t got;
    int file, error = DISK(s, open, DISK_ROOT, lease_file, DISK_READ, &file);
    *known = false;
    if (error) return error == ENOENT ? 0 : error;
    error = DISK(s, read, file, slots, sizeof slots, 0, &got);
    DISK(s, close, file);
    if (error) return error;
    for (int i = 0; i < SLOTS; i++) {
        if (got < (size_t)(i + 1) * SLOT || !slot_read(slots + i * SLOT, &lease)) continue;
        if (*known && lease <= s->lease_reserved) continue;
        s->lease_reserved = lease;
        s->lease_slot = i;
        *known = true;
    }
    return 0;
}

int store_open(struct store *s) {
    bool known;
    if (s->opened) return 0;
    s->lease_reserved = 0;
    int error = journal_begin(s);
    if (!error) error = read_slots(s, &known);
    if (error) return error;
    if (!known) {
        for (int i = 0; i < DISK_DIRS && !error; i++)
            if (i != DISK_ROOT) error = names_max(s, i, &s->lease_reserved);
        s->lease_lost = s->lease_reserved > 0;
        s->lease_reserved += !error;
        if (!error) error = create(s, s->lease_reserved);
    } else if (s->disk != s->journal) {
        /* Its maker may have been killed before the name was durable. (The journal's start syncs all.) */
        error = DISK(s, sync_dir, DISK_ROOT);
    }
    if (error) return error;
    s->lease_last = s->lease_reserved;
    s->opened = true;
    return 0;
}

static int reserve(struct store *s, uint64_t lease) {
    char slot[SLOT];
    int to = !s->lease_slot, file, error;
    slot_write(slot, lease);
    error = DISK(s, open, DISK_ROOT, lease_file, DISK_WRITE, &file);
    if (error) return error;
    error = DISK(s, write, file, slot, sizeof slot, (uint64_t)to * SLOT);
    if (!error) error = DISK(s, sync, file);
    DISK(s, close, file);
    if (error) return error;
    s->lease_slot = to;
    s->lease_reserved = lease;
    return 0;
}

int store_lease(struct store *s, int64_t now_ms, uint64_t *lease) {
    uint64_t now = now_ms > 0 && now_ms < (int64_t)(LEASE_SANE >> 20) ? (uint64_t)now_ms << 20 : 0;
    uint64_t fresh = now > s->lease_last ? now : s->lease_last + 1;
    if (!s->opened) return EAGAIN;
    int error = fresh >= s->lease_reserved ? reserve(s, fresh + LEASE_STEP) : 0;
    if (error) return error;
    s->lease_last = *lease = fresh;
    s->given[s->given_n++ % LEASES_MAX] = (struct given){.lease = fresh};
    return 0;
}

static struct given *given_find(struct store *s, uint64_t lease) {
    size_t n = s->given_n < LEASES_MAX ? s->given_n : LEASES_MAX;
    if (s->given_last < n && s->given[s->given_last].lease == lease) return &s->given[s->given_last];
    for (size_t i = 0; i < n; i++) {
        if (s->given[i].lease != lease) continue;
        s->given_last = i;
        return &s->given[i];
    }
    return NULL;
}

bool lease_of_this_run(const struct store *s, uint64_t lease) {
    size_t n = s->given_n < LEASES_MAX ? s->given_n : LEASES_MAX;
    for (size_t i = 0; i < n; i++)
        if (s->given[i].lease == lease) return true;
    return false;
}

/* Serials come nearly in order; of one that is far behind nothing is known. */
bool lease_fresh(struct store *s, struct qid id) {
    enum { WINDOW = 64 };
    struct given *g = given_find(s, id.lease);
    if (!g) return false;
    if (id.serial > g->top) {
        uint32_t step = id.serial - g->top;
        g->seen = (step < WINDOW ? g->seen << step : 0) | 1;
        g->top = id.serial;
        return true;
    }
    uint32_t back = g->top - id.serial;
    if (back >= WINDOW || g->seen >> back & 1) return false;
    g->seen |= UINT64_C(1) << back;
    return true;
}

const char *lease_judge(struct store *s, uint64_t max, bool repair) {
    bool behind = max < LEASE_SANE && max >= s->lease_reserved;
    if (!max || (!behind && !s->lease_lost)) return NULL;
    if (behind && repair && reserve(s, max + LEASE_STEP) != 0)
        return "ids in the spool are above it, and it cannot be written";
    if (behind && repair && s->lease_last < max) s->lease_last = max;
    return behind ? "ids in the spool are above it: they could be given again" : "it could not be read";
}
