/* header.h: looks at the field names of a message while its data passes by. It decides about loops (hop
 * count, Delivered-To) and what a local submission lacks. It never changes a byte and keeps none but the
 * field at hand. */
#ifndef POSTERN_SMTPD_HEADER_H
#define POSTERN_SMTPD_HEADER_H

#include "common/addr.h"

enum header_place {
    HEADER_LINE,
    HEADER_NAME,
    HEADER_NAME_END,
    HEADER_VALUE,
    HEADER_SKIP,
    HEADER_BLANK,
    HEADER_DONE
};

struct header_scan {
    enum header_place place;
    bool started;  /* a field has been seen */
    bool headless; /* the data does not begin with a header field */
    bool date, message_id, from;
    uint32_t received;
    uint8_t name_n;
    char name[64]; /* longer names are none that we look for */
    uint16_t value_n;
    char value[ADDR_TEXT_MAX + 16];
    const struct str *wanted; /* further names to look for, at most 32 */
    size_t wanted_n;
    uint32_t seen; /* bits of those that were there */
    /* Each Delivered-To, each TLS-Required, without white space around it. */
    void (*delivered_to)(void *ctx, struct str value);
    void (*tls_required)(void *ctx, struct str value);
    void (*value_to)(void *ctx, struct str value); /* the one of the field at hand */
    void *ctx;
};

/* The next content, as line.h hands it on; start with a zeroed scan but for the callback. */
void header_take(struct header_scan *h, struct str run);

#endif
