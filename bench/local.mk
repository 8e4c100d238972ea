# bench: measurements. Nothing here is built or installed.
EXTRA_DIST += bench/own
