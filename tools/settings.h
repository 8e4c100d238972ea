/* settings.h: the configuration as a tool of the caller reads it: -C or -c FILE, else the environment
 * variable POSTERN_CONFIG, else the installed file. Nothing here is set-user-ID, so naming a file gives
 * nobody any right. */
#ifndef POSTERN_TOOLS_SETTINGS_H
#define POSTERN_TOOLS_SETTINGS_H

#include "common/config.h"

struct settings {
    const char *file;      /* its name */
    bool chosen;           /* named by option or environment, not the installed default */
    bool missing;          /* there is no such file */
    struct config *config; /* complete; NULL when the file cannot be read or is wrong: error says why */
    struct config_error error;
};

/* named: the option's value or NULL. */
void settings_load(struct settings *s, const char *named);
/* Reads a file of at most max octets into the heap; NULL and errno when it fails (EFBIG: too long). */
char *settings_read_file(const char *name, size_t max, size_t *n);

#endif
