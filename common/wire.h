/* wire.h: the messages of wire.def as C types, and their codec.
 *
 * For each row there is a struct wire_NAME, WIRE_NAME in the enum, a member NAME of struct wire_handlers, and
 * channel_send_NAME (channel.h). Decoding takes exactly the bytes of the message: one octet less or more, or a
 * bytes field above its maximum, is malformed. Decoded bytes are views into the buffer. */
#ifndef POSTERN_COMMON_WIRE_H
#define POSTERN_COMMON_WIRE_H

#include "common/qid.h"
#include "common/role.h"
#include "common/status.h"
#include "common/str.h"

struct channel;

typedef uint8_t wire_type_u8;
typedef uint16_t wire_type_u16;
typedef uint32_t wire_type_u32;
typedef uint64_t wire_type_u64;
typedef int64_t wire_type_i64;
typedef struct qid wire_type_qid;
typedef struct str wire_type_bytes;

enum wire_type {
    WIRE_NONE,
#define MSG(name, from, to, fds, sentence, ...) WIRE_##name,
#include "common/wire.def"
#undef MSG
    WIRE_COUNT
};

#define FIELD(type, name, max) wire_type_##type name;
#define MSG(name, from, to, fds, sentence, ...) \
    struct wire_##name {                        \
        __VA_ARGS__                             \
    };
#include "common/wire.def"
#undef MSG
#undef FIELD

/* What a program does with each message; ctx and ch are those of the channel. fd is -1 for messages without one;
 * otherwise it belongs to the handler, which must close it. A NULL member: this program does not take the message. */
struct wire_handlers {
#define MSG(name, from, to, fds, sentence, ...) \
    void (*name)(void *ctx, struct channel *ch, const struct wire_##name *m, int fd);
#include "common/wire.def"
#undef MSG
};

struct wire_info {
    const char *name, *sentence, *fields; /* fields: their text, for docs */
    uint32_t from, to;                    /* ROLE_BIT masks */
    int fds;
};

extern const struct wire_info wire_table[WIRE_COUNT];

/* part, of key_file: a chain of certificates, its key, the self-signed pair (both in one file), authorities. */
enum key_part { KEY_CHAIN = 1, KEY_PRIVATE = 2, KEY_SPARE = 3, KEY_AUTHORITIES = 4 };
enum { CTL_ONE = 1, CTL_FITTING = 2 }; /* which, of ctl_queue */

enum { WIRE_PACKET_MAX = 65536, WIRE_HEADER = 4 /* u16 type, u16 length */ };

uint64_t wire_schema(void); /* hash of wire.def: both ends must have the same */

/* Appends header and payload of one message; false when it does not fit into b (nothing is appended then).
 * m is the struct of that type. A bytes field above its maximum is a bug of the caller: it aborts. */
bool wire_encode(struct buf *b, enum wire_type type, const void *m);

/* Exact decoders of single messages, for whoever reads without handlers (channel.c's own two, tests, fuzzers). */
#define MSG(name, from, to, fds, sentence, ...) bool wire_read_##name(struct str payload, struct wire_##name *m);
#include "common/wire.def"
#undef MSG

enum wire_verdict { WIRE_OK, WIRE_MALFORMED, WIRE_UNHANDLED };
/* Decodes one payload and calls its handler. fd is passed on only when WIRE_OK. */
enum wire_verdict wire_deliver(enum wire_type type, struct str payload, int fd, const struct wire_handlers *h, void *ctx,
                              struct channel *ch);
/* Readable one-line form of a payload, for traces: name field=value ... */
void wire_print(struct buf *b, enum wire_type type, struct str payload);

/* Initialisers for the fields that STATUS_FIELDS declares, from a struct status; a text that is too long is cut. */
#define WIRE_STATUS(s)                                                                                        \
    .kind = (uint8_t)(s).kind, .code = (s).code,                                                              \
    .detail = (uint32_t)(s).detail[0] * 1000000 + (uint32_t)(s).detail[1] * 1000 + (s).detail[2],            \
    .remote = (s).remote, .text = str_sub((s).text, 0, 1000)
/* The way back; the text is a view into the message. An impossible kind reads as LATER. */
struct status wire_status_of(uint8_t kind, uint16_t code, uint32_t detail, uint8_t remote, struct str text);
#define STATUS_OF(m) wire_status_of((m)->kind, (m)->code, (m)->detail, (m)->remote, (m)->text)

#endif
