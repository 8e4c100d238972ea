/* pace.c: see pace.h. */
#include "queue/pace.h"

static void window_turn(struct pace *p, int64_t now) {
    int64_t passed = now - p->window;
    if (passed >= 0 && passed < PACE_WINDOW) return;
    p->rate = passed > 0 ? p->left * 1000 / (uint64_t)passed : 0;
    p->left = 0;
    p->window = now;
}

void pace_left(struct pace *p, int64_t now) {
    window_turn(p, now);
    p->left++;
}

void pace_took(struct pace *p, int64_t now, unsigned n, size_t behind) {
    p->served = n >= p->served ? n : p->served - (p->served - n + 3) / 4;
    p->took = now;
    window_turn(p, now);
    if (behind < p->limit) return;
    /* A little more than leaves, so that it can grow again; but not when that does not help. */
    uint64_t rate = behind < 2 * p->limit ? p->rate + p->rate / 8 : p->rate;
    if (rate < PACE_SLOWEST) rate = PACE_SLOWEST;
    uint64_t pause = n * (uint64_t)1000 / rate;
    p->until = now + (int64_t)(pause < PACE_PAUSE_MAX ? pause : PACE_PAUSE_MAX);
}

int64_t pace_wait(const struct pace *p, int64_t now, size_t behind) {
    if (behind < p->limit || p->until <= now) return 0;
    int64_t wait = p->until - now;
    return wait < PACE_PAUSE_MAX ? wait : PACE_PAUSE_MAX; /* whatever the clock did */
}

bool pace_company(const struct pace *p, int64_t now, unsigned n) {
    bool lately = now >= p->took && now - p->took < COMPANY_FADE;
    return lately && p->served >= COMPANY_LEAST && n < p->served;
}
