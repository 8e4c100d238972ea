/* mailq, sendmail -bp and sendmail -q: the queue, by way of its control socket. */
#include "submit/modes.h"
#include "tools/listing.h"

int mode_queue(const struct options *o, const struct config *c) {
    (void)o;
    return listing_print("mailq", c, QID_NONE, LISTING_MAILQ);
}

int mode_flush(const struct options *o, const struct config *c) {
    (void)o;
    return listing_flush("sendmail", c, QID_NONE);
}
