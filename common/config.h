/* config.h: the settings as a struct, made from config.def.
 *
 * Grammar of the file: one setting a line, `name = value`; `#` starts a comment at the start of a line or
 * after white space; a line that begins with white space goes on with the one before. A value runs to the
 * end of the line, without the white space around it; lists are separated by white space. Setting a name
 * twice is an error, but for rules, which are a list in the order of the file.
 *
 * The caged parser of posternd and `postern check` read the file; other programs are sent name and value,
 * one message each, and only those that roles in config.def gives them. */
#ifndef POSTERN_COMMON_CONFIG_H
#define POSTERN_COMMON_CONFIG_H

#include "common/net.h"
#include "common/role.h"
#include "common/rule.h"
#include "common/str.h"

struct arena;

struct words {
    size_t n;
    struct str *v;
};

struct endpoint {
    struct ip ip;
    uint16_t port;
};

struct endpoints {
    size_t n;
    struct endpoint *v;
};

/* For one client (or for IPv4), and for its network (or for IPv6). */
struct number_pair {
    uint64_t client, network;
};

struct rate {
    uint32_t n; /* 0: no limit */
    uint64_t ms;
};

struct rates {
    struct rate client, network;
};

typedef const char *config_string; /* NUL-terminated, never NULL */
typedef const char *config_path;   /* absolute, or "" */
typedef bool config_flag;          /* yes | no */
typedef uint64_t config_number;
typedef uint64_t config_size;     /* octets; K, M, G suffixes */
typedef uint64_t config_duration; /* milliseconds; ms, s, m, h, d suffixes; a bare number is seconds */
typedef struct networks config_networks;
typedef struct words config_words;
typedef struct number_pair config_pair;           /* two numbers; the second may be left out: 0 */
typedef struct rates config_rates;         /* two of COUNT/TIME; the second may be left out: no limit */
typedef struct endpoints config_endpoints; /* "none" is the empty list */
typedef struct rules config_rules;         /* the setting may stand in the file any number of times */

struct config {
    struct arena *arena; /* owns all that the fields point to */
#define GROUP(title)
#define SETTING(field, name, type, def, min, max, roles, when, sentence) config_##type field;
#include "common/config.def"
#undef SETTING
#undef GROUP
};

struct config_error {
    char text[512]; /* "FILE:LINE: ..." one line: place, word, what is wrong, remedy */
};

enum config_when { CONFIG_LIVE, CONFIG_RESTART };

struct setting {
    const char *name, *type, *def, *sentence;
    uint64_t min, max;
    uint32_t roles; /* ROLE_BIT masks */
    enum config_when when;
};

extern const struct setting config_settings[];
extern const size_t config_setting_count;

struct config *config_new(void); /* all defaults */
void config_free(struct config *c);
/* Sets one setting from its text, or appends a rule. False: *why says what is wrong and what would be right (for an unknown
 * name, the nearest known one). The config is unchanged then. */
bool config_set(struct config *c, struct str name, struct str value, const char **why);
/* The text a setting was last set to, or its default; of rules, the last. NULL: no such name. */
const char *config_text(const struct config *c, const char *name);
/* The line of the file on which it was set; 0: not in a file. Settings that travel in CONF messages bring
 * theirs. */
unsigned config_line(const struct config *c, const char *name);
void config_set_line(struct config *c, const char *name, unsigned line);
/* Writes one line in the form of all errors about settings: "FILE:LINE: name = value: why". line 0 and an
 * empty name or value are left out; odd octets are escaped. */
void config_blame(struct config_error *err, const char *file, unsigned line, struct str name,
                  struct str value, const char *why);
/* Parses the text of a file into a new config; checks what needs more than one setting too. NULL: err says
 * why, with file name, line, word and remedy. No file is read: the caller has done so. */
struct config *config_parse(const char *file, struct str text, struct config_error *err);
/* Fills in what an empty default stands for (hostname, origin, program-directory), from the system. */
void config_complete(struct config *c);
/* Runs fn with the text of a setting (a row of config_settings) and its line (0: not in a file): once, or for each
 * rule. */
typedef void config_told(void *ctx, const char *name, struct str text, unsigned line);
void config_each_text(const struct config *c, size_t setting, config_told *fn, void *ctx);
/* The same for each setting that role is told: what goes into CONF messages. */
void config_each_for(const struct config *c, enum role role, config_told *fn, void *ctx);
/* What a change from a to b means for role: 0 nothing, 1 it is told, 2 it is started again. */
int config_change(const struct config *a, const struct config *b, enum role role);

#endif
