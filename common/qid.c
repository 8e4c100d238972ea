#include "common/qid.h"

static const char alphabet[33] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

struct qid_text qid_format(struct qid id) {
    struct qid_text t;
    for (int i = 12; i >= 0; i--, id.lease >>= 5) t.c[i] = alphabet[id.lease & 31];    /* 13 * 5 = 65 bits */
    for (int i = 19; i >= 13; i--, id.serial >>= 5) t.c[i] = alphabet[id.serial & 31]; /* 7 * 5 = 35 bits */
    t.c[QID_LEN] = '\0';
    return t;
}

static bool digits(struct str s, uint64_t max, uint64_t *out) {
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        ptrdiff_t d = str_chr((struct str){alphabet, 32}, s.p[i]);
        if (d < 0 || v > max >> 5) return false;
        v = v << 5 | (uint64_t)d;
    }
    *out = v;
    return v <= max;
}

bool qid_parse(struct str text, struct qid *out) {
    uint64_t lease, serial;
    if (text.n != QID_LEN || !digits(str_sub(text, 0, 13), UINT64_MAX, &lease) ||
        !digits(str_sub(text, 13, 20), UINT32_MAX, &serial))
        return false;
    *out = (struct qid){lease, (uint32_t)serial};
    return true;
}

bool qid_eq(struct qid a, struct qid b) {
    return a.lease == b.lease && a.serial == b.serial;
}

int qid_cmp(struct qid a, struct qid b) {
    if (a.lease != b.lease) return a.lease < b.lease ? -1 : 1;
    return (a.serial > b.serial) - (a.serial < b.serial);
}

uint64_t qid_hash(struct qid id) {
    uint64_t h = id.lease * 0x9e3779b97f4a7c15ULL ^ (uint64_t)id.serial * 0xff51afd7ed558ccdULL;
    return h ^ h >> 32;
}
