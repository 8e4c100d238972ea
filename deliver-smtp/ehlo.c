#include "deliver-smtp/ehlo.h"

#include "common/smtpcaps.h"

static const struct {
    struct str keyword;
    uint32_t bit;
} caps_table[] = {
#define CAP_ROW(name, keyword, bit) {{keyword, sizeof(keyword) - 1}, CAP_##name},
    SMTP_CAPS(CAP_ROW)
#undef CAP_ROW
};

void client_ehlo_line(struct str line, uint32_t *caps, uint64_t *size_limit) {
    struct str word;
    if (!str_word(&line, '\0', &word)) return;
    for (size_t i = 0; i < sizeof caps_table / sizeof caps_table[0]; i++)
        if (caps_table[i].keyword.n && str_eq_nocase(word, caps_table[i].keyword)) *caps |= caps_table[i].bit;
    struct str number;
    if (str_eq_nocase(word, STR("SIZE")) && str_word(&line, '\0', &number))
        str_to_u64(number, UINT64_MAX, size_limit);
}
