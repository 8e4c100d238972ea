/* configure.h: reads the configuration file. Root opens it and nothing more: its bytes are parsed by a
 * child that is nobody, in a cage without files, network or new processes, and that tells what it found in
 * messages of wire.def. */
#ifndef POSTERN_SUPERVISE_CONFIGURE_H
#define POSTERN_SUPERVISE_CONFIGURE_H

#include "common/config.h"

/* A new, complete config; or NULL, and err says why in one line with file, line, word and remedy. Blocks
 * until the child has ended (at most some seconds). The child opens nothing and keeps no descriptor. */
struct config *configure_read(const char *file, struct config_error *err);

#endif
