/* compile.h: text tables made into cdb files, for newaliases(1) and `postern routes`. Link lookup/libtables.a
 * and $(CDB_LIBS).
 *
 * Each compiler reads the text, writes a temporary file in the directory of cdb_file, syncs it, and renames
 * it into place: a broken text or a full disk leaves the old map as it was, and lookup sees either the old or
 * the new one, whole. lookup notices the new file by itself; nothing needs to be told or restarted. */
#ifndef POSTERN_LOOKUP_COMPILE_H
#define POSTERN_LOOKUP_COMPILE_H

#include <stdbool.h>
#include <stddef.h>

struct compile_report {
    /* One line without LF. Success: "/etc/aliases: 14 aliases, longest 10 bytes, 152 bytes total". Failure:
     * "FILE:LINE: word: what is wrong; remedy" (or without LINE when the file itself is the trouble). */
    char text[512];
    char warning[512]; /* with success: one line about what was passed over (a name twice), or empty */
    size_t entries;    /* how many went into the map */
    size_t warnings;   /* how many there were; only the first is in the text */
    int error;         /* errno when a file could not be read or written, 0 when its content is wrong */
};

/* cdb_file NULL: text_file with ".cdb" after it. False: nothing was changed, r->text says why. */
bool aliases_compile(const char *text_file, const char *cdb_file, struct compile_report *r);
bool routes_compile(const char *text_file, const char *cdb_file, struct compile_report *r);

#endif
