/* test_store.c: the state table of store.c, row by row: a workload is cut by a crash at every one of its
 * operations, with many fates of what was not synced, or meets an error at every operation; then the spool
 * is recovered (and that is cut too), and compared with what was promised. Mutants that leave out one kind
 * of sync must be caught. */
#include "common/arena.h"
#include "queue/disk_fake.h"
#include "queue/inside.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MESSAGES_MAX = 64, RCPTS_MAX = 8, DATA_MAX = 6000 };

/* Segments so small that they are used again all the time, and messages that are large for them. */
static struct journal_config journal_setting;
static const struct journal_config small_journal = {.segments = 3, .segment_size = 16384, .large = 4000};

struct rcpt_model {
    bool maybe[128]; /* states that may be on the disk */
    char now;
};

struct message_model {
    struct qid id;
    uint32_t number, rcpts, rcpts_sure;
    size_t size;
    bool ended, answered, acked, retired, retired_sure, found;
    struct rcpt_model rcpt[RCPTS_MAX];
};

struct world {
    struct disk *disk;
    struct store *store;
    struct message_model m[MESSAGES_MAX];
    size_t n;
    uint64_t lease, lease_max;
    uint64_t random;
    unsigned stops, resumes, asides, troubles;
    char violation[256];
};

/* ---- The world ----------------------------------------------------------------------------------------- */

static void violated(struct world *w, const char *what, const struct message_model *m) {
    if (w->violation[0]) return;
    snprintf(w->violation, sizeof w->violation, "%s (message %u)", what, m ? m->number : 999);
}

static uint32_t roll(struct world *w, uint32_t n) {
    w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(w->random >> 33) % n;
}

static struct message_model *model_of(struct world *w, struct qid id) {
    for (size_t i = 0; i < w->n; i++)
        if (qid_eq(w->m[i].id, id)) return &w->m[i];
    return NULL;
}

static char octet(uint32_t number, size_t at) {
    return (char)(number * 31 + at * 7 + at / 251);
}

static void address(char out[64], uint32_t number, uint32_t index) {
    snprintf(out, 64, "r%u-%u@example.org", index, number);
}

static void answer(void *ctx, void *owner, const struct control *c, const struct status *s, unsigned batch) {
    struct world *w = ctx;
    struct message_model *m = model_of(w, c->id);
    (void)owner;
    assert_non_null(m);
    if (m->answered) violated(w, "answered twice", m);
    m->answered = true;
    m->acked = s->kind == STATUS_OK;
    if (m->acked && (batch == 0 || c->rcpt_count != m->rcpts || c->size != m->size))
        violated(w, "a wrong answer", m);
    if (m->acked && roll(w, 3) == 0) store_let_go(w->store, m->id); /* dispatch may be away */
}

static void retired(void *ctx, struct qid id, int64_t arrival) {
    struct world *w = ctx;
    struct message_model *m = model_of(w, id);
    assert_non_null(m);
    assert_int_equal(arrival, 1000 + m->number);
    m->retired = true;
}

static void aside(void *ctx, struct str file, struct str why) {
    struct world *w = ctx;
    (void)file, (void)why;
    w->asides++;
}

static void intake(void *ctx, bool open, struct str why) {
    struct world *w = ctx;
    (void)why;
    if (open) w->resumes++;
    else w->stops++;
}

static void trouble(void *ctx, struct str text) {
    struct world *w = ctx;
    (void)text;
    w->troubles++;
}

static void store_begins(struct world *w) {
    struct store_config config = {
        .free_space = 1000, .message_size = 1000000, .recipients = 100, .journal = journal_setting};
    struct store_user user = {
        .ctx = w, .answer = answer, .retired = retired, .aside = aside, .intake = intake, .trouble = trouble};
    w->store = store_new(w->disk, &config, &user);
}

static void world_new(struct world *w, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->random = seed;
    w->disk = disk_fake_new(seed);
    store_begins(w);
}

static void world_free(struct world *w) {
    store_free(w->store);
    assert_int_equal(disk_fake_open_files(w->disk), 0);
    disk_fake_free(w->disk);
}

static void leased(struct world *w, int64_t now) {
    uint64_t lease;
    if (store_open(w->store) != 0 || store_lease(w->store, now, &lease) != 0) return;
    if (lease <= w->lease_max) violated(w, "a lease was given twice", NULL);
    w->lease = w->lease_max = lease;
}

/* ---- The workload -------------------------------------------------------------------------------------- */

static void give_data(struct world *w, const struct message_model *m, size_t from, size_t to) {
    char data[DATA_MAX];
    for (size_t i = from; i < to; i++) data[i] = octet(m->number, i);
    store_data(w->store, m->id, (struct str){data + from, to - from});
}

/* All but the second half of its data. */
static struct message_model *begin(struct world *w) {
    struct message_model *m = &w->m[w->n];
    char text[64];
    *m = (struct message_model){.id = {w->lease, (uint32_t)w->n + 1}, .number = (uint32_t)w->n};
    w->n++;
    m->rcpts = m->rcpts_sure = 1 + roll(w, 3);
    m->size = roll(w, 4) ? roll(w, 400) : roll(w, DATA_MAX);
    struct control head = {.id = m->id,
                           .arrival = 1000 + m->number,
                           .body = 1,
                           .sender = STR("s@example.com"),
                           .origin = STR("client [192.0.2.1]")};
    store_begin(w->store, &head, w);
    for (uint32_t i = 0; i < m->rcpts; i++) {
        address(text, m->number, i);
        store_rcpt(w->store, m->id, i, &(struct control_rcpt){.rcpt = str_of(text), .notify = 3});
        m->rcpt[i].now = 'N';
        m->rcpt[i].maybe['N'] = true;
    }
    give_data(w, m, 0, m->size / 2);
    return m;
}

static void end(struct world *w, struct message_model *m, bool abort) {
    give_data(w, m, m->size / 2, m->size);
    if (abort) store_abort(w->store, m->id);
    else store_end(w->store, m->id, m->rcpts, m->size, STR("Received: by test\r\n"));
    m->ended = !abort;
}

static void receive(struct world *w, bool abort) {
    end(w, begin(w), abort);
}

static bool is_final(char state) {
    return strchr("DFS", state) != NULL;
}

static void marked(struct message_model *m, uint32_t index, char state) {
    m->rcpt[index].now = state;
    m->rcpt[index].maybe[(unsigned char)state] = true;
    for (uint32_t i = 0; i < m->rcpts; i++)
        if (!is_final(m->rcpt[i].now)) return;
    m->retired = true;
}

static void mark(struct world *w, struct message_model *m, uint32_t index, char state) {
    struct control_mark k = {.index = index,
                             .attempts = 1,
                             .next = 5000,
                             .state = state,
                             .status = status_make(450, "4.2.1", "not now")};
    if (is_final(m->rcpt[index].now)) return;
    /* UNKNOWN: it was not in hand, and cannot be read from a dead disk. */
    if (store_mark(w->store, m->id, &k) != STORE_UNKNOWN) marked(m, index, state);
}

static void split(struct world *w, struct message_model *m, uint32_t parent) {
    char text[64];
    if (m->rcpts == RCPTS_MAX || is_final(m->rcpt[parent].now)) return;
    address(text, m->number, m->rcpts);
    struct control_rcpt r = {.rcpt = str_of(text), .parent = parent};
    if (store_split(w->store, m->id, m->rcpts, &r) != STORE_OK) return;
    m->rcpt[m->rcpts].now = 'N';
    m->rcpt[m->rcpts].maybe['N'] = true;
    m->rcpts++;
}

static void deliver_some(struct world *w) {
    static const char states[] = "DLDLFD";
    for (size_t i = 0; i < w->n; i++) {
        struct message_model *m = &w->m[i];
        if (!m->acked || m->retired || roll(w, 2)) continue;
        uint32_t what = roll(w, 12), index = roll(w, m->rcpts);
        if (what == 0) {
            if (store_remove(w->store, m->id) == STORE_RETIRED) m->retired = true;
        } else if (what == 1) {
            split(w, m, index);
            mark(w, m, index, 'S');
        } else {
            mark(w, m, index, states[roll(w, 6)]);
        }
    }
}

static void all_durable(struct world *w) {
    for (size_t i = 0; i < w->n; i++) {
        struct message_model *m = &w->m[i];
        m->retired_sure = m->retired;
        m->rcpts_sure = m->rcpts;
        for (uint32_t r = 0; r < m->rcpts; r++) {
            memset(m->rcpt[r].maybe, 0, sizeof m->rcpt[r].maybe);
            m->rcpt[r].maybe[(unsigned char)m->rcpt[r].now] = true;
        }
    }
}

static void commit_all(struct world *w) {
    store_commit(w->store, true);
    if (!store_unsynced(w->store)) all_durable(w);
}

static void none(void *ctx, const struct control *c) {
    (void)ctx, (void)c;
}

static void work(struct world *w) {
    struct message_model *slow = NULL; /* one whose data takes as long as others need for their commit */
    leased(w, 1700000000000);
    for (int round = 0; round < 6; round++) {
        if (slow) end(w, slow, false);
        slow = NULL;
        for (uint32_t i = roll(w, 5) + 1; i && w->n < MESSAGES_MAX; i--) receive(w, roll(w, 8) == 0);
        if (round < 5 && roll(w, 2)) slow = begin(w);
        if (roll(w, 3) == 0) store_commit_some(w->store, COMMIT_MARKS); /* delivery is behind: they wait */
        if (roll(w, 3) == 0) deliver_some(w); /* marks that a commit with few messages leaves out */
        store_commit(w->store, false);
        deliver_some(w);
        deliver_some(w);
        if (roll(w, 2)) commit_all(w);
        if (store_stopped(w->store)) store_heal(w->store);
        if (round % 2) store_rest(w->store, 1 + roll(w, 20));
        if (round == 3) leased(w, 1700000000000 + 3600000);
        if (round == 4) { /* a walk of dispatch's restart changes nothing */
            struct store_walk *walk = store_walk_new(w->store, false);
            store_let_go_all(w->store);
            while (store_walk_step(walk, 10, none, w)) {
            }
            store_walk_free(walk);
        }
    }
}

/* ---- What must be true after a restart ----------------------------------------------------------------- */

static void check_data(struct world *w, const struct message_model *m, const struct control *c) {
    char data[DATA_MAX + 1];
    size_t got;
    int file;
    if (c->size != m->size || store_open_part(w->store, m->id, 'd', &file) != 0) {
        violated(w, "its data are not as they were", m);
        return;
    }
    if (w->disk->ops->read(w->disk, file, data, sizeof data, 0, &got) != 0 || got != m->size)
        violated(w, "its data are cut", m);
    for (size_t i = 0; i < got && i < m->size; i++)
        if (data[i] != octet(m->number, i)) violated(w, "its data differ", m);
    w->disk->ops->close(w->disk, file);
}

static void found(void *ctx, const struct control *c) {
    struct world *w = ctx;
    struct message_model *m = model_of(w, c->id);
    char text[64];
    if (!m || !m->ended) {
        violated(w, "a message that was never sent", m);
        return;
    }
    if (m->found) violated(w, "found twice", m);
    m->found = true;
    if (!str_eq(c->sender, STR("s@example.com")) || !str_eq(c->prefix, STR("Received: by test\r\n")) ||
        c->body != 1)
        violated(w, "its envelope differs", m);
    if (c->rcpt_count < m->rcpts_sure || c->rcpt_count > m->rcpts) violated(w, "its recipients differ", m);
    for (uint32_t i = 0; i < c->rcpt_count && i < m->rcpts; i++) {
        address(text, m->number, i);
        if (!str_eq(c->rcpts[i].rcpt, str_of(text))) violated(w, "a recipient differs", m);
        if (!m->rcpt[i].maybe[(unsigned char)c->rcpts[i].state]) violated(w, "a mark was lost", m);
    }
    check_data(w, m, c);
}

static bool recover(struct world *w) {
    struct store_walk *walk;
    /* The clock was set back by an hour: leases must grow all the same. */
    leased(w, 1700000000000 - 3600000);
    walk = store_walk_new(w->store, true);
    while (store_walk_step(walk, 3, found, w)) {
    }
    store_walk_free(walk);
    store_commit(w->store, true);
    return store_unsynced(w->store) == 0;
}

/* Only the program dies: what it wrote is in the page cache. */
static void killed(struct world *w) {
    store_free(w->store);
    disk_fake_reopen(w->disk);
    store_begins(w);
    for (size_t i = 0; i < w->n; i++) w->m[i].found = false;
}

static void restart(struct world *w) {
    store_free(w->store);
    disk_fake_restart(w->disk);
    store_begins(w);
    for (size_t i = 0; i < w->n; i++) w->m[i].found = false;
}

static void check(struct world *w) {
    restart(w);
    for (int i = 0; i < 3; i++) { /* recovery may be cut as well */
        disk_fake_crash_at(w->disk, disk_fake_ops(w->disk) + 1 + roll(w, 12));
        recover(w);
        restart(w);
    }
    if (!recover(w)) violated(w, "recovery does not end", NULL);
    for (size_t i = 0; i < w->n; i++) {
        const struct message_model *m = &w->m[i];
        if (m->acked && !m->retired && !m->found) violated(w, "an accepted message is lost", m);
        if (m->retired_sure && m->found) violated(w, "a retired message is back", m);
    }
    if (w->asides) violated(w, "something was set aside", NULL);
}

static uint64_t ops_of_workload(uint64_t seed) {
    struct world w;
    world_new(&w, seed);
    work(&w);
    uint64_t n = disk_fake_ops(w.disk);
    assert_int_equal(w.stops, 0);
    assert_string_equal(w.violation, "");
    check(&w);
    assert_string_equal(w.violation, "");
    world_free(&w);
    return n;
}

/* What an interrupted write leaves may look like damage when its length made it and its content did not:
 * those files are set aside, which is no loss, since only messages that were not accepted can be in that
 * state. */
static void forgive_asides(struct world *w) {
    w->asides = 0;
}

/* That check has found nothing worse than a thing set aside is no violation either. */
static void overlook_asides(struct world *w) {
    if (strncmp(w->violation, "something was set aside", 23) == 0) w->violation[0] = '\0';
}

/* Says what does not hold, if anything does not. It is the end of the world. */
static bool ends_badly(struct world *w, uint64_t seed, uint64_t op, char out[256]) {
    bool bad = w->violation[0] != '\0';
    if (bad) snprintf(out, 256, "seed %u op %u: %.200s", (unsigned)seed, (unsigned)op, w->violation);
    world_free(w);
    return bad;
}

static bool crash_violates(uint64_t seed, uint64_t op, unsigned ignore, char out[256]) {
    struct world w;
    world_new(&w, seed);
    disk_fake_ignore(w.disk, ignore);
    disk_fake_crash_at(w.disk, op);
    work(&w);
    w.random ^= op * 77777; /* another fate at each operation */
    bool bad = false;
    check(&w);
    forgive_asides(&w);
    overlook_asides(&w);
    if (w.violation[0]) {
        snprintf(out, 256, "seed %llu op %llu: %.200s", (unsigned long long)seed, (unsigned long long)op,
                 w.violation);
        bad = true;
    }
    world_free(&w);
    return bad;
}

static void crash_at_every_operation(void **state) {
    char what[256] = "";
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        uint64_t n = ops_of_workload(seed);
        assert_true(n > (journal_setting.segments ? 20 : 100));
        for (uint64_t op = 1; op <= n + 1; op++)
            if (crash_violates(seed, op, 0, what)) fail_msg("%s", what);
    }
}

struct mutant {
    unsigned kind, skip;
    const char *name;
};

static void catch_mutant(const struct mutant *m) {
    char what[256] = "";
    struct journal_config was = journal_setting;
    bool caught = false;
    for (uint64_t seed = 1; seed <= 40 && !caught; seed++) {
        journal_setting = was;
        uint64_t n = ops_of_workload(seed);
        journal_setting.skip = m->skip;
        for (uint64_t op = 1; op <= n + 1 && !caught; op++) caught = crash_violates(seed, op, m->kind, what);
    }
    journal_setting = was;
    if (!caught) fail_msg("the mutant %s was not caught", m->name);
    print_message("# the mutant %s is caught: %s\n", m->name, what);
}

static void mutants_are_caught(void **state) {
    static const struct mutant rows[] = {
        {FAKE_SYNC_DATA, 0, "without fdatasync of data"},
        {FAKE_SYNC_CONTROL, 0, "without fdatasync of control files"},
        {FAKE_SYNC_OTHER, 0, "without fdatasync of the lease file"},
        {FAKE_SYNC_DIR, 0, "without fsync of folders"},
        {FAKE_SYNC_ROOT, 0, "without fsync of the spool directory"},
        {FAKE_SYNC_ALL, 0, "without syncfs"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) catch_mutant(&rows[i]);
}

static void mutants_of_the_journal_are_caught(void **state) {
    static const struct mutant rows[] = {
        {FAKE_SYNC_JOURNAL, 0, "without fdatasync of segments"},
        {FAKE_SYNC_DATA, 0, "without fdatasync of large data"},
        {FAKE_SYNC_DIR, 0, "without fsync of the folders of large data"},
        {FAKE_SYNC_ROOT, 0, "without fsync of the spool directory"},
        {FAKE_SYNC_ALL, 0, "without syncfs when messages come to rest"},
        {0, JOURNAL_SKIP_CHECKSUM, "without checksums"},
        {0, JOURNAL_SKIP_CREATE, "without replay of CREATE"},
        {0, JOURNAL_SKIP_WRITE, "without replay of WRITE"},
        {0, JOURNAL_SKIP_UNLINK, "without replay of UNLINK"},
        {0, JOURNAL_SKIP_FORGET, "without replay of FORGET"},
        {0, JOURNAL_SKIP_REST, "which uses segments again too early"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) catch_mutant(&rows[i]);
}

/* An error at one operation, then the disk is well again: intake resumes, what was accepted stays, marks
 * arrive. */
static bool fault_violates(uint64_t seed, uint64_t op, char out[256]) {
    static const int errors[] = {EIO, ENOSPC};
    struct world w;
    world_new(&w, seed);
    disk_fake_fail_at(w.disk, op, errors[op % 2]);
    work(&w);
    for (int i = 0; i < 3; i++) {
        store_heal(w.store);
        commit_all(&w);
        store_rest(w.store, 1000);
    }
    assert_false(store_stopped(w.store));
    assert_int_equal(w.stops, w.resumes);
    assert_int_equal(store_unsynced(w.store), 0);
    leased(&w, 1700000000000); /* one more batch, after which the journal needs the older ones no more */
    receive(&w, false);
    commit_all(&w);
    check(&w);
    overlook_asides(&w);
    return ends_badly(&w, seed, op, out);
}

static void fault_at_every_operation(void **state) {
    char what[256] = "";
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint64_t n = ops_of_workload(seed);
        for (uint64_t op = 1; op <= n; op++)
            if (fault_violates(seed, op, what)) fail_msg("%s", what);
    }
}

/* A sync of the files below that failed is believed when it is tried again. */
static void mutant_without_redo_is_caught(void **state) {
    char what[256] = "";
    bool caught = false;
    (void)state;
    for (uint64_t seed = 1; seed <= 60 && !caught; seed++) {
        uint64_t n = ops_of_workload(seed);
        journal_setting.skip = JOURNAL_SKIP_REDO;
        for (uint64_t op = 1; op <= n && !caught; op++) caught = fault_violates(seed, op, what);
        journal_setting.skip = 0;
    }
    if (!caught) fail_msg("the mutant that believes a second sync was not caught");
    print_message("# the mutant that believes a second sync is caught: %s\n", what);
}

/* ---- Rows of their own --------------------------------------------------------------------------------- */

static void stops_and_heals(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 5);
    leased(&w, 1700000000000);
    receive(&w, false);
    store_commit(w.store, false);
    assert_true(w.m[0].acked);
    disk_fake_fail_kinds(w.disk, FAKE_SYNCS, EIO);
    receive(&w, false);
    store_commit(w.store, false);
    assert_true(w.m[1].answered && !w.m[1].acked);
    receive(&w, false); /* refused at once */
    assert_true(w.m[2].answered && !w.m[2].acked);
    assert_int_equal(w.stops, 1);
    store_heal(w.store);
    assert_true(store_stopped(w.store));
    disk_fake_fail_kinds(w.disk, 0, 0);
    store_heal(w.store);
    assert_false(store_stopped(w.store));
    assert_int_equal(w.resumes, 1);
    receive(&w, false);
    store_commit(w.store, false);
    assert_true(w.m[3].acked);
    world_free(&w);
}

static enum store_outcome make_split(struct world *w, struct qid id, uint32_t index, uint32_t parent,
                                     const char *to) {
    struct control_rcpt r = {.rcpt = str_of(to), .parent = parent};
    return store_split(w->store, id, index, &r);
}

/* A dispatch that does not know what was read says it again: what stands on record just so is fine, anything
 * else is not taken. */
static void a_split_comes_twice(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 7);
    leased(&w, 1700000000000);
    receive(&w, false);
    store_commit(w.store, false);
    struct qid id = w.m[0].id;
    uint32_t n = w.m[0].rcpts;
    for (int life = 0; life < 2; life++) {
        assert_int_equal(make_split(&w, id, n, 0, "a@example.org"), STORE_OK);
        assert_int_equal(make_split(&w, id, n + 1, 0, "b@example.org"), STORE_OK);
        assert_int_equal(make_split(&w, id, n, 0, "c@example.org"), STORE_REFUSED);
        assert_int_equal(make_split(&w, id, n, n + 1, "a@example.org"), STORE_REFUSED);
        assert_int_equal(make_split(&w, id, 0, UINT32_MAX, "a@example.org"), STORE_REFUSED);
        assert_int_equal(make_split(&w, id, n + 3, 0, "d@example.org"), STORE_REFUSED);
        store_mark(w.store, id, &(struct control_mark){.index = 0, .state = 'S'}); /* the parent is through */
        commit_all(&w);
        store_let_go(w.store, id);
    }
    struct store_message m;
    assert_int_equal(store_load(w.store, id, &m), 0);
    assert_int_equal(m.c.rcpt_count, n + 2);
    store_message_done(&m);
    world_free(&w);
}

/* While the disk refuses to sync: what dispatch has said itself it need not wait for; but what a dispatch said that is gone, or
 * queue itself (a redirection), nobody says again should queue be killed. */
static void whose_words(void **state) {
    (void)state;
    for (int whose = 0; whose < 3; whose++) {
        struct world w;
        world_new(&w, 8);
        leased(&w, 1700000000000);
        receive(&w, false);
        store_commit(w.store, false);
        struct qid id = w.m[0].id;
        disk_fake_fail_kinds(w.disk, FAKE_SYNCS, EIO);
        assert_int_equal(make_split(&w, id, w.m[0].rcpts, 0, "a@example.org"), STORE_OK);
        store_mark(w.store, id, &(struct control_mark){.index = 0, .state = 'S'});
        if (whose == 1) store_let_go_all(w.store);
        if (whose == 2) store_orphan(w.store, id);
        store_commit(w.store, true);
        assert_int_equal(store_on_record(w.store, id), whose == 0);
        disk_fake_fail_kinds(w.disk, 0, 0);
        commit_all(&w);
        assert_true(store_on_record(w.store, id));
        world_free(&w);
    }
}

/* As long as a mark is in memory only, queue must not say that it is on record. */
static void marks_are_kept_or_not(void **state) {
    static const unsigned kinds[] = {FAKE_WRITE, FAKE_SYNCS};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        world_new(&w, 8);
        leased(&w, 1700000000000);
        receive(&w, false);
        store_commit(w.store, false);
        assert_true(store_marks_kept(w.store));
        disk_fake_fail_kinds(w.disk, kinds[i], EIO);
        assert_int_equal(make_split(&w, w.m[0].id, w.m[0].rcpts, 0, "a@example.org"), STORE_OK);
        store_commit(w.store, true);
        assert_false(store_marks_kept(w.store));
        disk_fake_fail_kinds(w.disk, 0, 0);
        store_heal(w.store);
        assert_true(store_marks_kept(w.store));
        world_free(&w);
    }
}

static void none_is_found(void *ctx, const struct control *c) {
    (void)ctx, (void)c;
    fail_msg("a message that was refused is told");
}

/* What was refused is no message, also when the disk did not let its files go at first. */
static void refused_is_gone(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 6);
    leased(&w, 1700000000000);
    disk_fake_fail_kinds(w.disk, FAKE_SYNCS | FAKE_UNLINK, EIO);
    receive(&w, false);
    store_commit(w.store, false);
    assert_true(w.m[0].answered && !w.m[0].acked);
    int folder = folder_of(w.m[0].id);
    assert_int_equal(disk_fake_files(w.disk, folder), 2);
    struct store_message m;
    assert_int_equal(store_load(w.store, w.m[0].id, &m), ENOENT);
    store_message_done(&m);
    struct store_walk *walk = store_walk_new(w.store, false); /* dispatch came anew meanwhile */
    while (store_walk_step(walk, 1, none_is_found, NULL)) {
    }
    store_walk_free(walk);
    store_heal(w.store);
    assert_true(store_stopped(w.store));
    disk_fake_fail_kinds(w.disk, 0, 0);
    store_heal(w.store);
    assert_false(store_stopped(w.store));
    commit_all(&w);
    assert_int_equal(disk_fake_files(w.disk, folder), 0);
    world_free(&w);
}

/* A mark whose sync failed reads well from memory after the program was killed, and is gone when the power
 * fails: the next life must not build on it. */
static void marks_of_an_earlier_life(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        struct store_message m;
        world_new(&w, seed);
        leased(&w, 1700000000000);
        do receive(&w, false);
        while (w.m[w.n - 1].rcpts < 2);
        struct message_model *it = &w.m[w.n - 1];
        store_commit(w.store, true);
        mark(&w, it, 0, 'D');
        disk_fake_fail_kinds(w.disk, FAKE_SYNCS, EIO);
        store_commit(w.store, true);
        disk_fake_fail_kinds(w.disk, 0, 0);
        killed(&w); /* killed before it could heal */
        assert_true(recover(&w));
        mark(&w, it, 1, 'L');
        store_commit(w.store, true);
        restart(&w);
        assert_true(recover(&w));
        assert_int_equal(store_load(w.store, it->id, &m), 0);
        assert_int_equal(m.c.rcpts[0].state, 'D');
        assert_int_equal(m.c.rcpts[1].state, 'L');
        store_message_done(&m);
        world_free(&w);
    }
}

/* The same of a whole message, which the next life finds, and tells dispatch, though it was refused. */
static bool message_of_an_earlier_life_goes(uint64_t seed) {
    struct world w;
    struct store_message m;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    receive(&w, false);
    store_commit(w.store, true);
    disk_fake_fail_kinds(w.disk, FAKE_SYNCS, EIO);
    receive(&w, false);
    store_commit(w.store, true);
    struct message_model *it = &w.m[1];
    assert_false(it->acked);
    disk_fake_fail_kinds(w.disk, 0, 0);
    killed(&w);
    assert_true(recover(&w));
    bool found_it = it->found, good = true;
    mark(&w, it, 0, 'L');
    store_commit(w.store, true);
    restart(&w);
    assert_true(recover(&w));
    if (found_it) good = store_load(w.store, it->id, &m) == 0 && m.c.rcpts[0].state == 'L';
    if (found_it) store_message_done(&m);
    world_free(&w);
    return !good;
}

static void messages_of_an_earlier_life(void **state) {
    bool caught = false;
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) assert_false(message_of_an_earlier_life_goes(seed));
    journal_setting.skip = JOURNAL_SKIP_AGAIN;
    for (uint64_t seed = 1; seed <= 40 && !caught; seed++) caught = message_of_an_earlier_life_goes(seed);
    journal_setting.skip = 0;
    if (!caught) fail_msg("the mutant that does not write the last batches again was not caught");
}

/* The last recipient has ended, but the control file could not be unlinked, nor the mark of that be synced; then the
 * program was killed. The next one reads the mark well, and cannot unlink either. As long as that is so it must not say
 * that it is on record; when it says so, it is. */
static void ended_in_an_earlier_life(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        world_new(&w, seed);
        leased(&w, 1700000000000);
        receive(&w, false);
        store_commit(w.store, true);
        struct message_model *it = &w.m[0];
        disk_fake_fail_kinds(w.disk, FAKE_SYNCS | FAKE_UNLINK, EIO);
        for (uint32_t i = 0; i < it->rcpts; i++) mark(&w, it, i, 'D');
        store_commit(w.store, true);
        store_free(w.store);
        disk_fake_reopen(w.disk);
        disk_fake_fail_kinds(w.disk, FAKE_UNLINK, EIO);
        store_begins(&w);
        recover(&w);
        store_commit(w.store, true);
        bool kept = store_marks_kept(w.store);
        if (seed % 2) { /* the disk is well again */
            disk_fake_fail_kinds(w.disk, 0, 0);
            recover(&w); /* if it could not begin */
            store_heal(w.store);
            store_commit(w.store, true);
            assert_false(store_stopped(w.store));
            kept = store_marks_kept(w.store);
            assert_true(kept);
        }
        restart(&w);
        assert_true(recover(&w));
        if (kept && it->found) fail_msg("seed %u: a message that has ended is back", (unsigned)seed);
        world_free(&w);
    }
}

/* ---- A full disk --------------------------------------------------------------------------------------- */

enum { DEFERRED = 3, ENDING = 30, FULL_ROUNDS = 120, RETURNED = 60, LONG_MARKS = 300 };

static void full(struct world *w, unsigned what) {
    disk_fake_full(w->disk, what & 1);
    disk_fake_fail_kinds(w->disk, what & 2 ? FAKE_OPEN : 0, ENOSPC);
}

/* The first messages are deferred again and again, the others end one after the other. All of it has to be durable,
 * with not one block (1) or inode (2) to be had. False: it was not. */
static bool marks_go_on(struct world *w, unsigned what) {
    bool good = true;
    for (unsigned round = 0; round < FULL_ROUNDS; round++) {
        if (round == FULL_ROUNDS / 2) {
            restart(w);
            full(w, what);
            if (!recover(w)) return false;
        }
        mark(w, &w->m[round % DEFERRED], 0, 'L');
        struct message_model *m = &w->m[round < ENDING ? DEFERRED + round : 0];
        for (uint32_t i = 0; round < ENDING && i < m->rcpts && m->acked; i++) mark(w, m, i, 'D');
        commit_all(w);
        good &= !store_unsynced(w->store) && store_marks_kept(w->store);
        if (round == 7) store_rest(w->store, 1000);
        store_heal(w->store);
    }
    return good;
}

static bool full_disk_stops_marks(uint64_t seed, unsigned what) {
    struct world w;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    for (unsigned i = 0; i < DEFERRED + ENDING; i++) {
        receive(&w, false);
        if (i % 3 == 0) commit_all(&w);
        if (i == 20) store_rest(w.store, 1000); /* those of the round before lie in files */
        if (i == 25) store_rest(w.store, 1000);
    }
    commit_all(&w);
    full(&w, what);
    bool good = marks_go_on(&w, what);
    full(&w, 0);
    store_heal(w.store);
    commit_all(&w);
    good &= !store_stopped(w.store) && !store_unsynced(w.store);
    receive(&w, false);
    commit_all(&w);
    good &= w.m[w.n - 1].acked;
    check(&w);
    if (w.violation[0]) print_message("# seed %u, full %u: %s\n", (unsigned)seed, what, w.violation);
    good &= !w.violation[0];
    world_free(&w);
    return !good;
}

static void full_disk_does_not_stop_marks(void **state) {
    struct journal_config was = journal_setting;
    bool caught = false;
    (void)state;
    journal_setting.segments = 5; /* enough for one to spare */
    journal_setting.segment_size = 131072;
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (unsigned what = 1; what <= 3; what++)
            if (full_disk_stops_marks(seed, what)) fail_msg("seed %u, full %u", (unsigned)seed, what);
    journal_setting.skip = JOURNAL_SKIP_MOVE;
    for (uint64_t seed = 1; seed <= 20 && !caught; seed++) caught = full_disk_stops_marks(seed, 3);
    journal_setting = was;
    if (!caught) fail_msg("the mutant that does not move what is alive was not caught");
}

/* On a full disk what is alive moves to another segment; the sync of that fails (at operation fails), queue is killed, and
 * the next start finds the moved batch in the page cache only; it is cut at operation op. Both count from the full disk,
 * and from the start; their numbers come back. */
struct moved_again {
    uint64_t fails, op;
};

static bool moved_again_violates(uint64_t seed, struct moved_again at, struct moved_again *ops,
                                 char out[256]) {
    struct world w;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    for (unsigned i = 0; i < 24; i++) {
        receive(&w, false);
        if (i % 2) commit_all(&w);
    }
    full(&w, 1);
    uint64_t before = disk_fake_ops(w.disk);
    if (at.fails) disk_fake_fail_at(w.disk, before + at.fails, EIO);
    for (unsigned round = 0; round < 24 && !store_stopped(w.store); round++) {
        mark(&w, &w.m[round % 12], 0, 'L');
        commit_all(&w);
    }
    ops->fails = disk_fake_ops(w.disk) - before;
    store_free(w.store);
    disk_fake_reopen(w.disk);
    before = disk_fake_ops(w.disk);
    if (at.op) disk_fake_crash_at(w.disk, before + at.op);
    store_begins(&w);
    recover(&w);
    ops->op = disk_fake_ops(w.disk) - before;
    full(&w, 0);
    check(&w);
    bool bad = w.violation[0] && strncmp(w.violation, "something was set aside", 23) != 0;
    if (bad)
        snprintf(out, 256, "seed %u, error at %u, cut at %u: %.200s", (unsigned)seed, (unsigned)at.fails,
                 (unsigned)at.op, w.violation);
    world_free(&w);
    return bad;
}

static void moved_again_keeps_all(void **state) {
    struct journal_config was = journal_setting;
    char what[256];
    (void)state;
    journal_setting.segments = 5;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct moved_again n, ops, after, at = {0};
        if (moved_again_violates(seed, at, &n, what)) fail_msg("%s", what);
        for (at.fails = 1; at.fails <= n.fails; at.fails++) {
            at.op = 0;
            if (moved_again_violates(seed, at, &ops, what)) fail_msg("%s", what);
            for (at.op = 1; at.op <= ops.op; at.op++)
                if (moved_again_violates(seed, at, &after, what)) fail_msg("%s", what);
        }
    }
    journal_setting = was;
}

/* Marks of a file that rests are in the journal; a power cut takes them from the file, and a start finds no room to write
 * them there again: the file returns to the journal, with all that is durable. */
static bool returned_file_violates(uint64_t seed, char out[256]) {
    struct world w;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    do receive(&w, false);
    while (w.m[w.n - 1].rcpts < 3);
    struct message_model *m = &w.m[w.n - 1];
    commit_all(&w);
    for (int i = 0; i < 2; i++) store_rest(w.store, 1000);
    for (uint32_t i = 0; i + 1 < m->rcpts; i++) mark(&w, m, i, 'D');
    commit_all(&w);
    receive(&w, false);
    commit_all(&w); /* a batch that says that the marks are durable: they are not written again */
    for (int i = 0; i < 2; i++) {
        restart(&w);
        full(&w, 1);
        if (!recover(&w)) violated(&w, "a start on a full disk does not end", NULL);
    }
    check(&w);
    return ends_badly(&w, seed, 0, out);
}

/* Marks that a power cut took from files lie in the journal, and the disk is full at the start: the files come back. */
static void files_come_back(struct world *w) {
    leased(w, 1700000000000);
    for (unsigned i = 0; i < RETURNED; i++) receive(w, false);
    commit_all(w);
    for (int i = 0; i < 2; i++) store_rest(w->store, 1000);
    for (unsigned i = 0; i < RETURNED; i++) mark(w, &w->m[i], 0, 'L');
    commit_all(w);
    receive(w, false);
    commit_all(w);
    restart(w);
    full(w, 1);
}

/* Many at once, more than a segment takes; the start on the full disk is cut at one operation (0: at none). */
static bool returned_files_violate(uint64_t seed, uint64_t op, uint64_t *ops, char out[256]) {
    struct world w;
    world_new(&w, seed);
    files_come_back(&w);
    uint64_t before = disk_fake_ops(w.disk);
    if (op) disk_fake_crash_at(w.disk, before + op);
    recover(&w);
    *ops = disk_fake_ops(w.disk) - before;
    restart(&w);
    full(&w, 1);
    recover(&w);
    check(&w);
    return ends_badly(&w, seed, op, out);
}

/* When the disk has room again intake resumes, at the latest after the start that store_stuck asks for. */
static void returned_files_heal(void **state) {
    unsigned stuck = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w;
        world_new(&w, seed);
        files_come_back(&w);
        recover(&w);
        full(&w, 0);
        store_heal(w.store);
        store_commit(w.store, true);
        if (store_stuck(w.store)) {
            stuck++;
            killed(&w);
            recover(&w);
        }
        store_heal(w.store);
        if (store_stopped(w.store) || store_unsynced(w.store))
            fail_msg("seed %u: it does not heal", (unsigned)seed);
        check(&w);
        if (w.violation[0]) fail_msg("seed %u: %s", (unsigned)seed, w.violation);
        world_free(&w);
    }
    print_message("# stuck: %u\n", stuck);
    assert_true(stuck > 0);
}

/* One whose control file is longer than a segment, so its way back takes several batches. */
static bool long_file_violates(uint64_t seed, uint64_t op, uint64_t *ops, char out[256]) {
    struct world w;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    do receive(&w, false);
    while (w.m[w.n - 1].rcpts < 2);
    struct message_model *m = &w.m[w.n - 1];
    commit_all(&w);
    for (unsigned i = 0; i < LONG_MARKS; i++) {
        mark(&w, m, 0, 'L');
        if (i % 16 == 0) commit_all(&w);
    }
    mark(&w, m, 1, 'D'); /* at its end */
    commit_all(&w);
    for (int i = 0; i < 2; i++) store_rest(w.store, 1000);
    for (int i = 0; i < 3; i++) mark(&w, m, 0, 'L');
    commit_all(&w);
    receive(&w, false);
    commit_all(&w);
    restart(&w);
    full(&w, 1);
    uint64_t before = disk_fake_ops(w.disk);
    if (op) disk_fake_crash_at(w.disk, before + op);
    recover(&w);
    mark(&w, m, 0, 'L');
    store_push(w.store);
    *ops = disk_fake_ops(w.disk) - before;
    restart(&w);
    full(&w, 1);
    recover(&w);
    full(&w, 0);
    check(&w);
    /* A segment's first block that was torn while it was taken again looks like damage. */
    overlook_asides(&w);
    return ends_badly(&w, seed, op, out);
}

static void returned_long_file_keeps_all(void **state) {
    struct journal_config was = journal_setting;
    char what[256] = "";
    (void)state;
    journal_setting.segment_size = 16384;
    journal_setting.segments = 16;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t ops, n;
        if (long_file_violates(seed, 0, &n, what)) fail_msg("%s", what);
        for (uint64_t op = 1; op <= n; op++)
            if (long_file_violates(seed, op, &ops, what)) fail_msg("%s", what);
    }
    journal_setting = was;
}

static void returned_files_keep_all(void **state) {
    struct journal_config was = journal_setting;
    char what[256] = "";
    (void)state;
    journal_setting.segments = 5;
    journal_setting.segment_size = 131072;
    for (uint64_t seed = 1; seed <= 60; seed++)
        if (returned_file_violates(seed, what)) fail_msg("%s", what);
    journal_setting.segment_size = 16384;
    journal_setting.segments = 16;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t ops, n;
        if (returned_files_violate(seed, 0, &n, what)) fail_msg("%s", what);
        for (uint64_t op = 1; op <= n; op++)
            if (returned_files_violate(seed, op, &ops, what)) fail_msg("%s", what);
    }
    journal_setting = was;
}

/* ---- Many changes of what rests in files ------------------------------------------------------------------ */

/* They are synced a few at a time, not all of a long command at once. A sync that fails is not believed the next time. */
static void changes_are_synced_in_portions(void **state) {
    enum { EACH = 5, MARKS = 43, HELD = 12 };
    struct journal_config was = journal_setting;
    (void)state;
    journal_setting.changes = EACH;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        world_new(&w, seed);
        leased(&w, 1700000000000);
        for (int i = 0; i < HELD; i++) receive(&w, false);
        commit_all(&w);
        for (int i = 0; i < 2; i++) store_rest(w.store, 1000);
        uint64_t before = store_journal_counts(w.store).rests;
        for (int i = 0; i < MARKS; i++) {
            mark(&w, &w.m[i % HELD], 0, 'L');
            assert_true(store_push(w.store));
        }
        assert_int_equal(store_journal_counts(w.store).rests - before, MARKS / EACH);
        commit_all(&w);
        disk_fake_fail_kinds(w.disk, FAKE_SYNC_ALL, EIO);
        for (int i = 0; i < 2 * EACH; i++) {
            mark(&w, &w.m[i], 0, 'L');
            store_push(w.store);
        }
        assert_true(store_stopped(w.store));
        disk_fake_fail_kinds(w.disk, 0, 0);
        store_heal(w.store);
        assert_false(store_stopped(w.store));
        commit_all(&w);
        if (seed % 2) store_rest(w.store, 1000);
        receive(&w, false);
        commit_all(&w); /* the journal needs the older batches no more */
        check(&w);
        if (w.violation[0]) fail_msg("seed %u: %s", (unsigned)seed, w.violation);
        world_free(&w);
    }
    journal_setting = was;
}

/* ---- Starts that fail in the middle --------------------------------------------------------------------- */

static int sound_sync_all(struct disk *d) {
    (void)d;
    return 0; /* nothing was changed below */
}

static int failing_sync_all(struct disk *d);
static struct disk_ops two_syncs, failing_syncs;

/* The first sync of all works, the others do not. */
static int sync_all_once(struct disk *d) {
    d->ops = &failing_syncs;
    return sound_sync_all(d);
}

static int failing_sync_all(struct disk *d) {
    (void)d;
    return EIO;
}

/* A start that has no room for its batch writes all into files instead, and the sync of that fails too: the batch waits
 * in memory, and what comes later is durable when it is synced and not before. */
static void start_without_room_or_sync(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        world_new(&w, seed);
        leased(&w, 1700000000000);
        receive(&w, false);
        commit_all(&w); /* one batch, that no other says to be durable: its segment is not gone on with */
        store_free(w.store);
        disk_fake_reopen(w.disk);
        const struct disk_ops *ops = w.disk->ops;
        two_syncs = failing_syncs = *ops;
        two_syncs.sync_all = sync_all_once;
        failing_syncs.sync_all = failing_sync_all;
        w.disk->ops = &two_syncs;
        disk_fake_fail_at(w.disk, disk_fake_ops(w.disk) + 1, ENOSPC); /* another segment cannot be made */
        store_begins(&w);
        leased(&w, 1700000000000);
        assert_ptr_equal(w.disk->ops, &failing_syncs);
        w.disk->ops = ops;
        for (int i = 0; i < 3; i++) {
            receive(&w, false);
            commit_all(&w);
            assert_true(w.m[w.n - 1].acked);
        }
        check(&w);
        if (w.violation[0]) fail_msg("seed %u: %s", (unsigned)seed, w.violation);
        world_free(&w);
    }
}

/* What was not durable may be there or not. */
static void learn(void *ctx, const struct control *c) {
    struct world *w = ctx;
    struct message_model *m = model_of(w, c->id);
    assert_non_null(m);
    m->rcpts = c->rcpt_count;
    for (uint32_t i = 0; i < m->rcpts; i++) m->rcpt[i].now = c->rcpts[i].state;
    m->retired = false;
}

/* An error at one operation of a start, on a full disk or not (0: none); then life goes on, in this program or, if it
 * could not open the spool, in the next; then the power. */
static bool start_error_violates(uint64_t seed, uint64_t op, unsigned what, uint64_t *ops, char out[256]) {
    static const int errors[] = {EIO, ENOSPC};
    struct world w;
    world_new(&w, seed);
    work(&w);
    if (seed % 2) restart(&w);
    else store_free(w.store), disk_fake_reopen(w.disk), store_begins(&w);
    full(&w, what);
    uint64_t before = disk_fake_ops(w.disk);
    if (op) disk_fake_fail_at(w.disk, before + op, errors[(op + seed / 2) % 2]);
    leased(&w, 1700000000000);
    if (!store_begun(w.store)) { /* as main.c does */
        killed(&w);
    }
    recover(&w);
    *ops = disk_fake_ops(w.disk) - before;
    for (size_t i = 0; i < w.n; i++) w.m[i].found = false;
    struct store_walk *walk = store_walk_new(w.store, false);
    while (store_walk_step(walk, 3, learn, &w)) {
    }
    store_walk_free(walk);
    deliver_some(&w);
    store_push(w.store);
    full(&w, 0);
    for (int i = 0; i < 3; i++) {
        store_heal(w.store);
        deliver_some(&w);
        if (w.n < MESSAGES_MAX) receive(&w, false);
        commit_all(&w);
        store_rest(w.store, 1 + roll(&w, 20));
    }
    check(&w);
    overlook_asides(&w);
    bool bad = w.violation[0] != '\0';
    if (bad)
        snprintf(out, 256, "seed %u, full %u, op %u: %.200s", (unsigned)seed, what, (unsigned)op,
                 w.violation);
    world_free(&w);
    return bad;
}

static void errors_in_a_start(void **state) {
    struct journal_config was = journal_setting;
    char what[256];
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        journal_setting.segments = seed % 3 ? 3 : 5;
        for (unsigned how = 0; how <= 3; how++) {
            uint64_t n, ops;
            if (start_error_violates(seed, 0, how, &n, what)) fail_msg("%s", what);
            for (uint64_t op = 1; op <= n; op++)
                if (start_error_violates(seed, op, how, &ops, what)) fail_msg("%s", what);
        }
    }
    journal_setting = was;
}

/* ---- What a power cut leaves of segments ---------------------------------------------------------------- */

/* Octets of a segment are changed, durably: as when the write of that block had not reached the disk. */
static void spoil(struct world *w, const char *name, size_t at) {
    static char bytes[65536];
    size_t got;
    int file;
    assert_int_equal(w->disk->ops->open(w->disk, DISK_ROOT, name, DISK_READ, &file), 0);
    assert_int_equal(w->disk->ops->read(w->disk, file, bytes, sizeof bytes, 0, &got), 0);
    w->disk->ops->close(w->disk, file);
    assert_true(at < got);
    bytes[at] ^= 1;
    disk_fake_plant(w->disk, DISK_ROOT, name, bytes, got);
}

/* The program ends, not the machine. */
static void another_life(struct world *w) {
    killed(w);
    assert_true(recover(w));
}

static void receive_small(struct world *w) {
    do receive(w, false);
    while (w->m[w->n - 1].size > 400 && w->n--);
}

/* Of two batches without a sync the second is there and the first is not. Neither counts; nor later, when newer batches
 * have made all before them durable, does the second. */
static void given_up_stays_so(void **state) {
    struct journal_config was = journal_setting;
    struct world w;
    (void)state;
    journal_setting.segment_size = 65536;
    world_new(&w, 3);
    leased(&w, 1700000000000);
    for (int i = 0; i < 3; i++) { /* each is a batch of one block */
        receive_small(&w);
        commit_all(&w);
    }
    mark(&w, &w.m[0], 0, 'L');
    store_push(w.store);
    mark(&w, &w.m[1], 0, 'L');
    store_push(w.store);
    store_free(w.store);
    disk_fake_reopen(w.disk);
    spoil(&w, "journal.00", 3 * JOURNAL_BLOCK + 80);
    store_begins(&w);
    assert_true(recover(&w));
    for (int i = 0; i < 2; i++) {
        w.m[i].rcpt[0].now = 'N'; /* so they are not told as marked */
        receive_small(&w);
        commit_all(&w);
    }
    another_life(&w);
    assert_int_equal(w.troubles, 0);
    assert_int_equal(w.asides, 0);
    check(&w);
    assert_string_equal(w.violation, "");
    world_free(&w);
    journal_setting = was;
}

/* Segments that are not needed are made anew one after the other while their syncs fail; then the power. Whichever
 * names come back, no older one does without the newer, whose marks are of the same files. */
static bool removed_segments_violate(uint64_t seed, char out[256]) {
    struct world w;
    world_new(&w, seed);
    leased(&w, 1700000000000);
    for (int i = 0; i < 4; i++) receive(&w, false);
    commit_all(&w);
    for (int round = 0; round < 30; round++) { /* marks of the same files in all segments */
        mark(&w, &w.m[round % 4], 0, 'L');
        commit_all(&w);
    }
    for (int i = 0; i < 2; i++) store_rest(w.store, 1000); /* all is in files, and no batch says so */
    disk_fake_fail_kinds(w.disk, FAKE_SYNC_JOURNAL | FAKE_SYNC_ROOT, EIO);
    for (int i = 0; i < 12; i++) {
        mark(&w, &w.m[i % 4], 0, 'L');
        commit_all(&w);
        store_heal(w.store);
    }
    check(&w);
    return ends_badly(&w, seed, 0, out);
}

static void segments_go_in_order(void **state) {
    struct journal_config was = journal_setting;
    char what[256];
    (void)state;
    journal_setting.segments = 6;
    for (uint64_t seed = 1; seed <= 300; seed++)
        if (removed_segments_violate(seed, what)) fail_msg("%s", what);
    journal_setting = was;
}

/* A queue that is killed at any operation of its first start leaves names that are not durable: what the next one accepts
 * must not lie behind such a name. */
static void killed_in_its_first_start(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t op = 1; op <= 40; op++) {
            struct world w;
            world_new(&w, seed);
            disk_fake_crash_at(w.disk, op);
            leased(&w, 1700000000000);
            receive(&w, false);
            store_commit(w.store, true);
            killed(&w);
            recover(&w);
            receive(&w, false);
            store_commit(w.store, true);
            check(&w);
            if (w.violation[0]) fail_msg("seed %u, op %u: %s", (unsigned)seed, (unsigned)op, w.violation);
            world_free(&w);
        }
    }
}

/* The lease file that such a start has left has a name that is not durable: no lease is given behind it. */
static void leases_of_a_life_that_was_short(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t op = 1; op <= 40; op++) {
            struct world w;
            world_new(&w, seed);
            disk_fake_crash_at(w.disk, op);
            leased(&w, 1700000000000);
            killed(&w);
            leased(&w, 1700000000000);
            restart(&w);
            leased(&w, 1700000000000 - 3600000);
            if (w.violation[0]) fail_msg("seed %u, op %u: %s", (unsigned)seed, (unsigned)op, w.violation);
            world_free(&w);
        }
    }
}

/* A start after which segments are fewer, or none: whatever of them is still there after a power cut in the middle, no
 * older one puts back what newer ones had changed. */
static bool fewer_segments_violate(uint64_t seed, unsigned segments, uint64_t op, uint64_t *ops,
                                   char out[256]) {
    struct journal_config was = journal_setting;
    struct world w;
    world_new(&w, seed);
    work(&w);
    for (int round = 0; round < 12; round++) {
        deliver_some(&w);
        commit_all(&w);
    }
    store_free(w.store);
    disk_fake_reopen(w.disk);
    journal_setting.segments = segments;
    uint64_t before = disk_fake_ops(w.disk);
    if (op) disk_fake_crash_at(w.disk, before + op);
    store_begins(&w);
    recover(&w);
    *ops = disk_fake_ops(w.disk) - before;
    check(&w);
    bool bad = w.violation[0] != '\0';
    if (bad)
        snprintf(out, 256, "seed %u, to %u, op %u: %.200s", (unsigned)seed, segments, (unsigned)op,
                 w.violation);
    world_free(&w);
    journal_setting = was;
    return bad;
}

static void segments_become_fewer(void **state) {
    struct journal_config was = journal_setting;
    char what[256];
    (void)state;
    journal_setting.segments = 8;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        for (unsigned to = 0; to <= 3; to += 3) {
            uint64_t n, ops;
            if (fewer_segments_violate(seed, to, 0, &n, what)) fail_msg("%s", what);
            for (uint64_t op = 1; op <= n; op++)
                if (fewer_segments_violate(seed, to, op, &ops, what)) fail_msg("%s", what);
        }
    }
    journal_setting = was;
}

/* ---- A damaged journal --------------------------------------------------------------------------------- */

/* Each message is a batch of its own. */
static void damage_is_set_aside(void **state) {
    struct journal_config was = journal_setting;
    struct world w;
    (void)state;
    journal_setting.segment_size = 65536;
    world_new(&w, 3);
    leased(&w, 1700000000000);
    for (int i = 0; i < 6; i++) {
        do receive(&w, false);
        while (w.m[w.n - 1].size > 400 && w.n--);
        store_commit(w.store, true);
    }
    store_free(w.store);
    disk_fake_reopen(w.disk);
    spoil(&w, "journal.00", 2 * JOURNAL_BLOCK + 200);
    store_begins(&w);
    assert_true(recover(&w));
    assert_int_equal(w.troubles, 1);
    assert_int_equal(w.asides, 1);
    assert_int_equal(disk_fake_files(w.disk, DISK_ASIDE), 1);
    for (int i = 0; i < 6; i++) assert_int_equal(w.m[i].found, i != 2);
    w.m[2].acked = false;
    w.asides = 0;
    check(&w);
    assert_string_equal(w.violation, "");
    world_free(&w);
    journal_setting = was;
}

struct sum {
    uint64_t all;
    unsigned n;
};

static void add_to_sum(void *ctx, const struct control *c) {
    struct sum *sum = ctx;
    uint64_t h = c->id.serial;
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        h = str_hash((struct str){(const char *)&c->rcpts[i].state, 1}, h);
    sum->all += h; /* in any order */
    sum->n++;
}

static struct sum sum_of(struct world *w) {
    struct sum sum = {0};
    struct store_walk *walk = store_walk_new(w->store, false);
    while (store_walk_step(walk, 3, add_to_sum, &sum)) {
    }
    store_walk_free(walk);
    return sum;
}

/* One of the batches is damaged, whichever; the start that finds it is cut at an operation (0: at none). */
static struct sum after_damage(uint64_t seed, uint64_t op, uint64_t *ops, unsigned *troubles) {
    struct world w;
    world_new(&w, seed);
    work(&w);
    store_free(w.store);
    disk_fake_reopen(w.disk);
    spoil(&w, seed % 2 ? "journal.00" : "journal.01", seed % 4 * JOURNAL_BLOCK + 80);
    uint64_t before = disk_fake_ops(w.disk);
    if (op) disk_fake_crash_at(w.disk, before + op);
    w.troubles = 0;
    store_begins(&w);
    leased(&w, 1700000000000);
    *ops = disk_fake_ops(w.disk) - before;
    *troubles = w.troubles;
    restart(&w);
    assert_true(recover(&w));
    struct sum sum = sum_of(&w);
    world_free(&w);
    return sum;
}

/* A power cut then leaves what there was, neither more nor less. */
static void damage_and_a_power_cut(void **state) {
    unsigned damages = 0, troubles, more;
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t n, ops;
        struct sum whole = after_damage(seed, 0, &n, &troubles);
        damages += troubles > 0;
        for (uint64_t op = 1; troubles && op <= n; op++) {
            struct sum cut = after_damage(seed, op, &ops, &more);
            if (cut.all != whole.all || cut.n != whole.n)
                fail_msg("seed %u op %u: %u messages instead of %u", (unsigned)seed, (unsigned)op, cut.n,
                         whole.n);
        }
    }
    assert_true(damages >= 5);
}

static void foreign_segments_are_set_aside(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 4);
    leased(&w, 1700000000000);
    receive(&w, false);
    store_commit(w.store, true);
    disk_fake_plant(w.disk, DISK_ROOT, "journal.99", "what", 4);
    disk_fake_plant(w.disk, DISK_ROOT, "journal.bak", "ever", 4);
    disk_fake_plant(w.disk, DISK_ROOT, "journal.02", "this is no segment", 18);
    disk_fake_plant(w.disk, DISK_ROOT, "notes", "stays", 5);
    restart(&w);
    assert_true(recover(&w));
    assert_int_equal(w.asides, 3);
    assert_int_equal(disk_fake_files(w.disk, DISK_ASIDE), 3);
    assert_true(w.m[0].found);
    world_free(&w);
}

static void full_disk_stops_intake_and_not_marks(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 6);
    leased(&w, 1700000000000);
    receive(&w, false);
    store_commit(w.store, false);
    disk_fake_room(w.disk, 999);
    store_check(w.store);
    assert_true(store_stopped(w.store));
    receive(&w, false);
    assert_true(w.m[1].answered && !w.m[1].acked);
    mark(&w, &w.m[0], 0, 'L');
    store_commit(w.store, true);
    all_durable(&w);
    store_heal(w.store);
    assert_true(store_stopped(w.store));
    disk_fake_room(w.disk, 1000);
    store_heal(w.store);
    assert_false(store_stopped(w.store));
    check(&w);
    assert_string_equal(w.violation, "");
    world_free(&w);
}

static void foreign_things_are_set_aside(void **state) {
    struct world w;
    struct qid gone = {7, 7};
    (void)state;
    world_new(&w, 8);
    leased(&w, 1700000000000);
    for (int i = 0; i < 4; i++) receive(&w, false);
    store_commit(w.store, true);
    store_rest(w.store, 1000);
    store_rest(w.store, 1000);
    receive(&w, false);
    store_commit(w.store, true); /* says that the journal's records of the others do not count any more */
    all_durable(&w);
    disk_fake_plant(w.disk, 3, "README", "?", 1);
    disk_fake_plant(w.disk, 3, ".c", "?", 1);
    disk_fake_plant(w.disk, folder_of(gone), part_name(gone, 'c').c, "garbage\n", 8);
    disk_fake_plant(w.disk, folder_of((struct qid){9, 9}), part_name((struct qid){9, 9}, 'd').c, "orphan", 6);
    disk_fake_plant(w.disk, DISK_ASIDE, "README", "older", 5);
    disk_fake_foreign(w.disk, folder_of(w.m[0].id), part_name(w.m[0].id, 'c').c);
    /* One flipped octet in data of message 1, and in the control file of message 2. */
    disk_fake_plant(w.disk, folder_of(w.m[1].id), part_name(w.m[1].id, 'd').c, "x", 1);
    for (int i = 0; i < 3; i++) w.m[i].acked = false; /* they are not to be found any more */
    char junk[2000];
    memset(junk, 'x', sizeof junk);
    disk_fake_plant(w.disk, folder_of(w.m[2].id), part_name(w.m[2].id, 'c').c, junk, sizeof junk);
    restart(&w);
    assert_true(recover(&w));
    assert_true(w.m[3].found);
    assert_false(w.m[0].found || w.m[2].found);
    assert_true(w.asides >= 5);
    assert_true(disk_fake_files(w.disk, DISK_ASIDE) > w.asides - 1);
    world_free(&w);
}

/* The record that a name is over may reach the disk before the rename does: then there would be neither. */
static void what_is_set_aside_stays(void **state) {
    static const char text[] = "garbage\n";
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        struct qid odd = {7, 7};
        world_new(&w, seed);
        leased(&w, 1700000000000);
        receive(&w, false);
        commit_all(&w);
        int folder = folder_of(odd);
        size_t before = disk_fake_files(w.disk, folder);
        disk_fake_plant(w.disk, folder, part_name(odd, 'c').c, text, sizeof text - 1);
        restart(&w);
        leased(&w, 1700000000000);
        struct store_walk *walk = store_walk_new(w.store, true);
        while (store_walk_step(walk, 64, none, NULL)) store_push(w.store);
        store_walk_free(walk);
        store_push(w.store);
        assert_int_equal(w.asides, 1);
        restart(&w);
        leased(&w, 1700000000000);
        assert_int_equal(disk_fake_files(w.disk, folder) + disk_fake_files(w.disk, DISK_ASIDE), before + 1);
        world_free(&w);
    }
}

static void ids_are_guarded(void **state) {
    struct world w;
    (void)state;
    world_new(&w, 9);
    leased(&w, 1700000000000);
    receive(&w, false);
    struct control_mark k = {.index = 0, .state = 'D'};
    assert_int_equal(store_mark(w.store, w.m[0].id, &k), STORE_UNKNOWN); /* a draft is nobody's to mark */
    assert_int_equal(store_remove(w.store, w.m[0].id), STORE_UNKNOWN);
    store_commit(w.store, false);
    k.index = 77;
    assert_int_equal(store_mark(w.store, w.m[0].id, &k), STORE_REFUSED);
    k = (struct control_mark){.index = 0, .state = 'X'};
    assert_int_equal(store_mark(w.store, w.m[0].id, &k), STORE_REFUSED);
    k.state = '\0';
    assert_int_equal(store_mark(w.store, w.m[0].id, &k), STORE_REFUSED);
    struct control_rcpt r = {.rcpt = STR("a@b"), .parent = 99};
    assert_int_equal(store_split(w.store, w.m[0].id, w.m[0].rcpts, &r), STORE_REFUSED);
    r.parent = 0;
    assert_int_equal(store_split(w.store, w.m[0].id, 0, &r), STORE_REFUSED);
    assert_int_equal(store_split(w.store, (struct qid){1, 2}, 1, &r), STORE_UNKNOWN);
    store_let_go(w.store, w.m[0].id);
    assert_int_equal(store_hands(w.store), 0);
    for (uint32_t i = 0; i < w.m[0].rcpts; i++) { /* marks find a message that is not in hand */
        k = (struct control_mark){.index = i, .state = 'D'};
        assert_int_equal(store_mark(w.store, w.m[0].id, &k),
                         i + 1 == w.m[0].rcpts ? STORE_RETIRED : STORE_OK);
    }
    assert_true(w.m[0].retired);
    assert_int_equal(store_mark(w.store, w.m[0].id, &k), STORE_UNKNOWN);
    world_free(&w);
}

static int with_journal(void **state) {
    (void)state;
    journal_setting = small_journal;
    return 0;
}

#define IN_JOURNAL(f) \
    { "journal: " #f, f, with_journal, NULL, NULL }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_at_every_operation),
        cmocka_unit_test(mutants_are_caught),
        cmocka_unit_test(fault_at_every_operation),
        cmocka_unit_test(stops_and_heals),
        cmocka_unit_test(a_split_comes_twice),
        cmocka_unit_test(whose_words),
        cmocka_unit_test(marks_are_kept_or_not),
        cmocka_unit_test(refused_is_gone),
        cmocka_unit_test(killed_in_its_first_start),
        cmocka_unit_test(leases_of_a_life_that_was_short),
        cmocka_unit_test(marks_of_an_earlier_life),
        cmocka_unit_test(ended_in_an_earlier_life),
        cmocka_unit_test(full_disk_stops_intake_and_not_marks),
        cmocka_unit_test(foreign_things_are_set_aside),
        cmocka_unit_test(ids_are_guarded),
        /* The same again with a journal beneath; with_journal holds from here on. */
        IN_JOURNAL(crash_at_every_operation),
        IN_JOURNAL(mutants_of_the_journal_are_caught),
        IN_JOURNAL(mutant_without_redo_is_caught),
        IN_JOURNAL(fault_at_every_operation),
        IN_JOURNAL(stops_and_heals),
        IN_JOURNAL(a_split_comes_twice),
        IN_JOURNAL(killed_in_its_first_start),
        IN_JOURNAL(leases_of_a_life_that_was_short),
        IN_JOURNAL(marks_of_an_earlier_life),
        IN_JOURNAL(ended_in_an_earlier_life),
        IN_JOURNAL(messages_of_an_earlier_life),
        IN_JOURNAL(full_disk_does_not_stop_marks),
        IN_JOURNAL(moved_again_keeps_all),
        IN_JOURNAL(returned_files_keep_all),
        IN_JOURNAL(returned_files_heal),
        IN_JOURNAL(changes_are_synced_in_portions),
        IN_JOURNAL(start_without_room_or_sync),
        IN_JOURNAL(errors_in_a_start),
        IN_JOURNAL(given_up_stays_so),
        IN_JOURNAL(segments_go_in_order),
        IN_JOURNAL(segments_become_fewer),
        IN_JOURNAL(returned_long_file_keeps_all),
        IN_JOURNAL(damage_is_set_aside),
        IN_JOURNAL(damage_and_a_power_cut),
        IN_JOURNAL(foreign_segments_are_set_aside),
        IN_JOURNAL(full_disk_stops_intake_and_not_marks),
        IN_JOURNAL(foreign_things_are_set_aside),
        IN_JOURNAL(what_is_set_aside_stays),
        IN_JOURNAL(ids_are_guarded),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
