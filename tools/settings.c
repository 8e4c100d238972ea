#include "tools/settings.h"

#include "common/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 1024 * 1024 };

static char *read_all(int fd, size_t max, size_t *n) {
    char *p = NULL;
    size_t cap = 0;
    *n = 0;
    for (;;) {
        if (*n + 65536 > cap) p = xgrow(p, &cap, *n + 65536, 1);
        ssize_t got = read(fd, p + *n, cap - *n);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) *n += (size_t)got;
        if (got == 0 && *n <= max) return p;
        if (got <= 0 || *n > max) break;
    }
    if (*n > max) errno = EFBIG;
    free(p);
    return NULL;
}

char *settings_read_file(const char *name, size_t max, size_t *n) {
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return NULL;
    char *p = read_all(fd, max, n);
    int error = errno;
    close(fd);
    errno = error;
    return p;
}

void settings_load(struct settings *s, const char *named) {
    const char *env = getenv("POSTERN_CONFIG");
    *s = (struct settings){.file = named ? named : env && *env ? env : POSTERN_CONF};
    s->chosen = s->file != NULL && (named || (env && *env));
    size_t n;
    char *text = settings_read_file(s->file, CONFIG_FILE_MAX, &n);
    if (!text) {
        s->missing = errno == ENOENT;
        snprintf(s->error.text, sizeof s->error.text, "%s: cannot be read: %s%s", s->file, strerror(errno),
                 s->missing ? "; name another with -c FILE or POSTERN_CONFIG" : "");
        return;
    }
    s->config = config_parse(s->file, (struct str){text, n}, &s->error);
    free(text);
    if (s->config) config_complete(s->config);
}
