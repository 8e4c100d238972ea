#!/usr/bin/env python3
"""Tables in force: what a running suite does with aliases, routes and accounts that come, change and break."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("srcdir", "."), "tests"))
from harness import Postern, main, message, ok, same, wait_for  # noqa: E402


def rcpt(mx, address):
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@client.test>")
        return s.cmd(f"RCPT TO:<{address}>")


def becomes(mx, address, code):
    """The answer to RCPT, once lookup has seen a change (it looks once a second)."""
    return wait_for(lambda: rcpt(mx, address)[0] == code, 8, step=0.2)


def t_aliases():
    """Text without map, map, broken text, new map: nobody is refused for good by mistake."""
    mx = Postern()
    aliases = mx.dir / "etc/aliases"
    same(rcpt(mx, "team@mx.test")[0], 550, "no table: no such user")
    aliases.write_text("team: alice, bob\n")
    ok(becomes(mx, "team@mx.test", 451), "a text that was never compiled: try later")
    reply = rcpt(mx, "alice@mx.test")
    same(reply[0], 451, "for all names of this host")
    ok("4.3.5" in reply[1] and "newaliases" in reply[1], "and the reply says what to do", reply)
    same(rcpt(mx, "x@elsewhere.test")[0], 250, "other domains are not touched by it")
    mx.newaliases("team: alice, bob,\n  \\alice\nalice: \\alice, bob\nloop: pool\npool: loop\nTo.bob: bob\n")
    ok(becomes(mx, "team@mx.test", 250), "compiled: accepted, without a restart")
    same(mx.send("a@client.test", ["TEAM@mx.test", "to.BOB@mx.test"], message("t1"))[0], 250, "mail to a list")
    same((len(mx.wait_mail("alice")), len(mx.wait_mail("bob"))), (1, 1), "one copy for each member, by whatever ways")
    ok(b"Delivered-To: alice@mx.test\n" in mx.maildir("alice")[0], "Delivered-To shows no mark", mx.maildir("alice")[0][:300])
    aliases.write_text("team: bob\nthis is wrong\n")
    r = mx.tool("aliases")
    ok(r.returncode != 0 and b":2:" in r.stderr, "a broken text is refused with its line", r.stderr)
    time.sleep(1.2)
    same(rcpt(mx, "to.bob@mx.test")[0], 250, "and the old map stays in force")
    ok(wait_for(lambda: any("newer" in e.get("text", "") for e in mx.events("note")), 5), "the log says that the text is newer")
    same(mx.send("alice@mx.test", "loop@mx.test", message("t2"))[0], 250, "a loop of aliases is accepted")
    ok(wait_for(lambda: mx.queue_count() == 0, 20), "and comes to an end", mx.log()[-2000:])


def t_routes():
    """Routes: refusals, discard, local, and to another host without MX."""
    there = Postern("there")
    mx = Postern()
    mx.routes(f"there.test smtp:[127.0.0.1]:{there.port}\nold@mx.test error:5.1.6 moved to new@there.test\n"
              "void.test discard\nhosted.test local\n")
    ok(becomes(mx, "old@mx.test", 550), "an error route refuses")
    ok("5.1.6 moved to new@there.test" in rcpt(mx, "old@mx.test")[1], "with its own code and text")
    same(rcpt(mx, "alice@hosted.test")[0], 250, "a local route takes users")
    same(rcpt(mx, "nosuch@hosted.test")[0], 550, "but only those there are")
    same(mx.send("a@client.test", ["alice@there.test", "x@void.test", "bob@hosted.test"], message("r1"))[0], 250, "three ways")
    same(len(there.wait_mail("alice")), 1, "the host of the route has it")
    same(len(mx.wait_mail("bob")), 1, "the local one too")
    ok(wait_for(lambda: mx.queue_count() == 0), "and nothing waits for the discarded one")


def t_accounts():
    """passwd is replaced by rename: a new user has mail within a second or two."""
    mx = Postern()
    same(rcpt(mx, "carol@mx.test")[0], 550, "not yet there")
    text = (mx.dir / "etc/passwd").read_text()
    (mx.dir / "etc/passwd+").write_text(text + f"carol:x:{mx.uid_base + 70}:{mx.uid_base + 70}::/nonexistent:/bin/false\n")
    os.rename(mx.dir / "etc/passwd+", mx.dir / "etc/passwd")
    ok(becomes(mx, "carol@mx.test", 250), "there after the rename")


main(t_aliases, t_routes, t_accounts)
