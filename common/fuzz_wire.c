/* Fuzz twin of the wire codec: whatever decodes must encode to the same bytes again. */
#include "common/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 2) return 0;
    enum wire_type type = (enum wire_type)((data[0] | data[1] << 8) % WIRE_COUNT);
    struct str payload = {(const char *)data + 2, n - 2};
    static char mem[WIRE_PACKET_MAX], text[4 * WIRE_PACKET_MAX];
    struct buf b = BUF(mem), t = BUF(text);
    wire_print(&t, type, payload);
    switch (type) {
#define MSG(name, from, to, fds, sentence, ...) \
    case WIRE_##name: { \
        struct wire_##name m; \
        if (!wire_read_##name(payload, &m)) return 0; \
        if (!wire_encode(&b, type, &m)) abort(); \
        if (b.n != payload.n + WIRE_HEADER || memcmp(mem + WIRE_HEADER, payload.p, payload.n) != 0) abort(); \
        return 0; \
    }
#include "common/wire.def"
#undef MSG
    case WIRE_NONE:
    case WIRE_COUNT:
        break;
    }
    return 0;
}
