#!/usr/bin/env python3
"""LMTP as a server, from outside: who may connect, one reply for each recipient, relaying, Python's own client."""
import os
import smtplib
import stat

from harness import *


def lmtp(mx):
    s = Smtp.__new__(Smtp)
    s.sock = socket.socket(socket.AF_UNIX)
    s.sock.settimeout(30)
    s.sock.connect(str(mx.dir / "run/lmtp"))
    s.file = s.sock.makefile("rb")
    s.greeting = s.reply()
    return s


def t_lmtp():
    """Replies after the dot and after BDAT LAST, refusals, relaying."""
    mx = Postern(listen_lmtp="PLACE", start=False)
    mx.write_config(listen_lmtp=mx.dir / "run/lmtp")
    mx.start()
    with lmtp(mx) as s:
        same(s.greeting, (220, "mx.test LMTP Postern"), "greets as LMTP")
        same(s.cmd("EHLO app.test")[0], 500, "EHLO is not known")
        text = s.cmd("LHLO app.test")[1]
        ok("PIPELINING" in text and "ENHANCEDSTATUSCODES" in text, "LHLO offers what RFC 2033 demands", text)
        s.cmd("MAIL FROM:<a@b.test>")
        got = [s.cmd(f"RCPT TO:<{r}>")[0] for r in ("alice@mx.test", "nobody@mx.test", "bob@mx.test", "x@far.test")]
        same(got, [250, 550, 250, 554], "each recipient has its answer; no relaying")
        s.cmd("DATA")
        s.raw(message(subject="by lmtp") + b".\r\n")
        replies = [s.reply(), s.reply()]
        ok(all(r[0] == 250 and "Accepted as" in r[1] for r in replies), "one reply for each that was accepted", replies)
        same(s.cmd("NOOP")[0], 250, "and no more")
        got = mx.wait_mail("alice")
        ok(got and b"with LMTP" in got[0] and b"from app.test (userid " in got[0], "Received says so", got)
        same(len(mx.wait_mail("bob")), 1, "both have it")
        s.cmd("MAIL FROM:<a@b.test>"), s.cmd("RCPT TO:<alice@mx.test>"), s.cmd("RCPT TO:<bob@mx.test>")
        s.raw(b"BDAT 5\r\na\r\n\r\nBDAT 5 LAST\r\nxyz\r\n")
        same([s.reply()[0] for _ in range(3)], [250, 250, 250], "BDAT: one for the chunk, two for the last")
        mx.wait_mail("bob", 2)
        s.cmd("MAIL FROM:<a@b.test>"), s.cmd("RCPT TO:<nobody@mx.test>")
        same(s.cmd("DATA")[0], 503, "no recipient: 503")
    mx.write_config(lmtp_relay="yes")
    mx.proc.send_signal(signal.SIGHUP)
    mx.wait_event("config_loaded", generation=2)
    with lmtp(mx) as s:
        s.cmd("LHLO app.test"), s.cmd("MAIL FROM:<a@b.test>")
        same(wait_for(lambda: (lambda c: c if c == 250 else None)(s.cmd("RCPT TO:<x@far.test>")[0])), 250, "relaying, when it is allowed")
    with smtplib.LMTP(str(mx.dir / "run/lmtp")) as client:
        refused = client.sendmail("a@b.test", ["alice@mx.test", "nobody@mx.test"], "Subject: smtplib\r\n\r\nx\r\n")
        same(list(refused), ["nobody@mx.test"], "smtplib.LMTP hands in mail")
    mx.wait_mail("alice", 3)


def t_who_may():
    """The socket's rights: root, a group, anybody; a reload changes them."""
    mx = Postern(start=False)
    path = mx.dir / "run/lmtp"
    mx.write_config(listen_lmtp=path)
    mx.start()
    if not ROOT:
        return same(stat.S_IMODE(path.stat().st_mode), 0o600, "only its owner")

    def bob_may():
        uid = mx.user_uid["bob"]
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                with lmtp(mx) as s:
                    os._exit(0 if s.greeting[0] == 220 else 1)
            except OSError:
                os._exit(2)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    ok(not bob_may(), "a user may not")
    for generation, group, may in ((2, str(mx.user_uid["bob"]), True), (3, str(mx.user_uid["alice"]), False), (4, "any", True)):
        mx.write_config(lmtp_group=group)
        mx.proc.send_signal(signal.SIGHUP)
        ok(mx.wait_event("config_loaded", generation=generation), f"lmtp-group = {group}")
        same(bob_may(), may, f"bob {'may' if may else 'may not'}")
    ok(any(e["client"].startswith(f"uid:{mx.user_uid['bob']}") for e in mx.events("connect")), "the log knows the user", mx.events("connect"))
    mx.write_config(lmtp_group="no-such-group")
    mx.proc.send_signal(signal.SIGHUP)
    ok(mx.wait_event("config_kept") and "no such group" in mx.events("config_kept")[0]["why"], "a group that is not there is refused")


main(t_lmtp, t_who_may)
