/* mailq, sendmail -bp and sendmail -q: the queue, by way of its control socket. */
#include "submit/modes.h"
#include "tools/listing.h"

int mode_queue(const struct options *o, const struct config *c) {
    (void)o;
    return listing_print("mailq", c, &(struct wire_ctl_queue){.which = CTL_FITTING, .op = 'l', .detail = 1}, LISTING_MAILQ);
}

int mode_flush(const struct options *o, const struct config *c) {
    (void)o;
    uint32_t count;
    return listing_order("sendmail", c, &(struct wire_ctl_queue){.which = CTL_FITTING, .op = 'f'}, NULL, &count);
}
