#!/usr/bin/env python3
"""FUTURERELEASE (RFC 4865) from outside: mail that is handed in now and leaves later, over a restart too."""
from harness import *
from t_auth import client, login, submission


def t_future_release():
    """HOLDFOR and HOLDUNTIL; the queue lists such mail as deferred; it comes at its time, or when it is flushed."""
    mx = submission(queue_lifetime="2s")
    with client(mx) as s:
        ok("FUTURERELEASE 2592000 20" in s.offer, "is offered", s.offer)
        login(s)
        same(s.message("alice@mx.test", ["bob@mx.test"], message(subject="in a while"), " HOLDFOR=4")[0], 250, "a message for later")
        same(s.message("alice@mx.test", ["bob@mx.test"], message(subject="next year"),
                       " HOLDUNTIL=" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600000)))[0], 250, "another")
        same(s.cmd("MAIL FROM:<alice@mx.test> HOLDFOR=99999999")[0], 501, "but not for so long")
    begun = time.monotonic()
    listed = mx.postern("queue", "list", "--state", "deferred")[1]
    ok(listed.count("alice@mx.test") == 2, "both stand in the queue as deferred", listed)
    same(mx.maildir("bob"), [], "nothing has come")
    mx.stop()
    mx.start()
    got = mx.wait_mail("bob")
    ok(len(got) == 1 and b"in a while" in got[0], "after a restart the first comes at its time, although queue-lifetime is shorter", got)
    ok(time.monotonic() - begun > 2, "and not before")
    mx.postern("queue", "flush", "--all")
    got = mx.wait_mail("bob", 2)
    ok(any(b"next year" in m for m in got), "what is flushed goes at once")
    with mx.smtp() as s:
        ok("FUTURERELEASE" not in s.cmd("EHLO a.test")[1], "not offered where other hosts send")
        same(s.cmd("MAIL FROM:<a@b.test> HOLDFOR=4")[0], 555, "nor taken")


main(t_future_release)
