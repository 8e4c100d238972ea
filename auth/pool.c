#include "auth/pool.h"

#include "common/arena.h"
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
    struct job *next;
    uint32_t id;
    bool good;
    struct verifier verifier;
    size_t n;
    char password[PASSWORD_MAX];
};

struct list {
    struct job *first, **last;
};

struct pool {
    pthread_mutex_t lock; /* over what follows, up to done */
    pthread_cond_t work;
    struct list waiting, ready;
    size_t count;
    void (*done)(void *ctx, uint32_t id, bool good);
    void *ctx;
    int event;
    bool started;
};

static void append(struct list *l, struct job *j) {
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

static struct job *take(struct list *l) {
    struct job *j = l->first;
    if (!j) return NULL;
    l->first = j->next;
    if (!l->first) l->last = &l->first;
    return j;
}

static void *worker(void *arg) {
    struct pool *p = arg;
    uint64_t one = 1;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (!p->waiting.first) pthread_cond_wait(&p->work, &p->lock);
        struct job *j = take(&p->waiting);
        pthread_mutex_unlock(&p->lock);
        j->good = verifier_check(&j->verifier, (struct str){j->password, j->n});
        explicit_bzero(j->password, sizeof j->password);
        explicit_bzero(&j->verifier, sizeof j->verifier);
        pthread_mutex_lock(&p->lock);
        append(&p->ready, j);
        pthread_mutex_unlock(&p->lock);
        while (write(p->event, &one, sizeof one) < 0 && errno == EINTR) {
        }
    }
    return NULL;
}

static void on_event(void *ctx, uint32_t ready) {
    struct pool *p = ctx;
    uint64_t n;
    (void)ready;
    if (read(p->event, &n, sizeof n) < 0 && errno != EAGAIN) return;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct job *j = take(&p->ready);
        if (j) p->count--;
        pthread_mutex_unlock(&p->lock);
        if (!j) return;
        p->done(p->ctx, j->id, j->good);
        free(j);
    }
}

static unsigned processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > POOL_THREADS_MAX ? POOL_THREADS_MAX : (unsigned)n;
}

/* Signals are the loop's. */
static bool start_threads(struct pool *p) {
    sigset_t all, before;
    pthread_t t;
    unsigned started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < processors(); i++) started += pthread_create(&t, NULL, worker, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started > 0;
}

struct pool *pool_new(struct loop *l, void (*done)(void *ctx, uint32_t id, bool good), void *ctx) {
    struct pool *p = xmalloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->waiting.last = &p->waiting.first;
    p->ready.last = &p->ready.first;
    p->done = done;
    p->ctx = ctx;
    p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->event >= 0 && loop_watch(l, p->event, EPOLLIN, on_event, p)) return p;
    if (p->event >= 0) close(p->event);
    free(p);
    return NULL;
}

bool pool_check(struct pool *p, uint32_t id, const struct verifier *v, struct str password) {
    struct job *j;
    if (!p || password.n > PASSWORD_MAX) return false;
    if (!p->started && !(p->started = start_threads(p))) {
        LOG_TROUBLE("auth cannot start its threads; the next login tries again");
        return false;
    }
    pthread_mutex_lock(&p->lock);
    bool full = p->count >= POOL_WAITING_MAX;
    if (!full) p->count++;
    pthread_mutex_unlock(&p->lock);
    if (full) return false;
    j = xmalloc(sizeof *j);
    j->id = id;
    j->verifier = *v;
    j->n = password.n;
    memcpy(j->password, password.p, password.n);
    pthread_mutex_lock(&p->lock);
    append(&p->waiting, j);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return true;
}
