#!/usr/bin/env python3
"""The extensions of SMTP, from outside: what the receiver offers, takes, refuses, and what becomes of it."""
import email
import select

from harness import *
from sink import Sink


def report_of(box, user, what, count=1):
    """The newest report in the user's mailbox that says what: (all of it, its machine-readable part)."""
    wait_for(lambda: len([m for m in box.maildir(user) if what in m]) >= count, what="report with %r" % what)
    found = [m for m in box.maildir(user) if what in m]
    whole = email.message_from_bytes(found[-1]) if found else None
    parts = whole.get_payload() if whole and whole.is_multipart() else []
    return whole, next((p.as_string() for p in parts if p.get_content_type().endswith("delivery-status")), "")


def mail(s, sender, rcpts, data, params=""):
    """One message; rcpts as whole arguments of RCPT."""
    r = s.cmd(f"MAIL FROM:<{sender}>{params}")
    if r[0] != 250:
        return r
    for rcpt in rcpts:
        r = s.cmd(f"RCPT TO:{rcpt}")
        if r[0] != 250:
            return r
    r = s.cmd("DATA")
    if r[0] != 354:
        return r
    s.raw(dot_stuff(data) + b".\r\n")
    return s.reply()


def hosts(mx, *sinks):
    mx.routes("".join(f"{name}.test smtp:[127.0.0.1]:{sink.port}\n" for name, sink in sinks))


def t_dsn_local():
    """NOTIFY=SUCCESS for a mailbox here; RET=FULL, ENVID and ORCPT in a failure report; NEVER is never."""
    mx = Postern()
    with mx.smtp() as s:
        ok("DSN" in s.cmd("EHLO client.test")[1].split("\n"), "DSN is offered")
        r = mail(s, "bob@mx.test", ["<alice@mx.test> NOTIFY=SUCCESS ORCPT=rfc822;al+2Bice@o.test"],
                 message(subject="told"), " ENVID=id+2B7 RET=HDRS")
        same(r[0], 250, "accepted")
        whole, status = report_of(mx, "bob", b"Action: delivered")
        ok("Original-Envelope-Id: id+7\n" in status, "the envelope id comes back, decoded", status)
        ok("Original-Recipient: rfc822;al+ice@o.test\n" in status, "and the original recipient", status)
        ok(whole and "Mail was delivered" in whole["Subject"], "it is no failure report")
        same(len(mx.wait_mail("alice")), 1, "the mail itself came once")
        mx.wait_event("reported", action="delivered")

    dead = Sink(behave={"RCPT": "550 5.1.1 nobody"})
    hosts(mx, ("far", dead))
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        body = message(subject="full", body="the very body\r\n")
        same(mail(s, "bob@mx.test", ["<x@far.test> NOTIFY=FAILURE,DELAY"], body, " RET=FULL ENVID=e1")[0], 250, "accepted")
        whole, status = report_of(mx, "bob", b"Action: failed")
        ok("Original-Envelope-Id: e1\n" in status, "the failure report names the envelope", status)
        ok(whole and whole.get_payload()[2].get_content_type() == "message/rfc822"
           and "the very body" in whole.get_payload()[2].as_string(), "RET=FULL: all of the message comes back")
        same(mail(s, "bob@mx.test", ["<y@far.test> NOTIFY=FAILURE"], body, " RET=HDRS")[0], 250, "accepted")
        whole, status = report_of(mx, "bob", b"y@far.test")
        ok(whole and "the very body" not in whole.as_string(), "RET=HDRS: only the header")
        before = len(mx.maildir("bob"))
        same(mail(s, "bob@mx.test", ["<z@far.test> NOTIFY=NEVER"], body)[0], 250, "accepted")
        same(mail(s, "bob@mx.test", ["<w@far.test> NOTIFY=SUCCESS"], body)[0], 250, "accepted")
        mx.wait_event("bounced", to="z@far.test")
        mx.wait_event("bounced", to="w@far.test")
        wait_for(lambda: mx.queue_count() == 0)
        same(len(mx.maildir("bob")), before, "NOTIFY=NEVER, and SUCCESS alone: no report of the failure")


def t_dsn_relayed():
    """A next host with DSN gets the parameters and the duty; one without: we tell that we passed it on."""
    mx = Postern()
    new = Sink(caps=("PIPELINING", "DSN", "8BITMIME"))
    old = Sink()
    hosts(mx, ("new", new), ("old", old))
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        r = mail(s, "bob@mx.test", ["<a@new.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@o.test"], message(),
                 " RET=FULL ENVID=en+3Dv")
        same(r[0], 250, "accepted")
        wait_for(lambda: new.messages)
        ok(any(l.startswith("MAIL ") and l.endswith(" RET=FULL ENVID=en+3Dv") for l in new.lines), "MAIL is passed on", new.lines)
        ok("RCPT TO:<a@new.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@o.test" in new.lines, "RCPT too", new.lines)
        same(mail(s, "bob@mx.test", ["<b@old.test> NOTIFY=SUCCESS"], message(), " ENVID=e2")[0], 250, "accepted")
        whole, status = report_of(mx, "bob", b"Action: relayed")
        ok("b@old.test" in status and "Original-Envelope-Id: e2" in status, "relayed is told for the old host", status)
        ok(all("NOTIFY" not in l and "ENVID" not in l for l in old.lines), "which hears nothing of it", old.lines)
        same(len([m for m in mx.maildir("bob") if b"a@new.test" in m]), 0, "and nothing is told for the new one")


def t_dsn_survives():
    """What was asked for is in the spool: it outlives the whole suite."""
    mx = Postern()
    sink = Sink(behave={"connect": "421 4.3.2 later"})
    hosts(mx, ("far", sink))
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        same(mail(s, "bob@mx.test", ["<a@far.test> NOTIFY=SUCCESS ORCPT=rfc822;o@o.test"], message(), " ENVID=kept RET=HDRS")[0],
             250, "accepted")
    mx.wait_event("deferred")
    mx.kill()
    sink.behave, sink.caps = {}, ("DSN",)
    mx.start()
    wait_for(lambda: sink.messages, 30)
    ok(any(l.endswith(" RET=HDRS ENVID=kept") for l in sink.lines), "RET and ENVID after a crash", sink.lines)
    ok("RCPT TO:<a@far.test> NOTIFY=SUCCESS ORCPT=rfc822;o@o.test" in sink.lines, "NOTIFY and ORCPT after a crash", sink.lines)


def t_dsn_sendmail():
    """sendmail -N -R -V uses it."""
    mx = Postern()
    sink = Sink(caps=("DSN",))
    hosts(mx, ("far", sink))
    r = mx.tool("-f", "bob@mx.test", "-N", "success,failure", "-R", "hdrs", "-V", "v+1", "a@far.test", program="submit/sendmail",
                stdin=b"Subject: x\n\nx\n")
    same(r.returncode, 0, "sendmail takes it")
    wait_for(lambda: sink.messages)
    ok(any("RET=HDRS" in l.upper() and "ENVID=v+2B1" in l for l in sink.lines), "MAIL as asked", sink.lines)
    ok(any("NOTIFY=SUCCESS,FAILURE" in l for l in sink.lines), "RCPT as asked", sink.lines)


def t_smtputf8():
    """Addresses beyond ASCII: taken with the parameter, passed on to hosts that know it, returned from others."""
    mx = Postern()
    new = Sink(caps=("PIPELINING", "8BITMIME", "SMTPUTF8"))
    old = Sink()
    hosts(mx, ("new", new), ("old", old))
    body = message(subject="gr\u00fc\u00dfe")
    with mx.smtp() as s:
        ok("SMTPUTF8" in s.cmd("EHLO client.test")[1].split("\n"), "SMTPUTF8 is offered")
        same(s.cmd("MAIL FROM:<j\u00f6rg@mx.test>")[0], 553, "not without the parameter")
        same(mail(s, "bob@mx.test", ["<alice@mx.test>"], body, " SMTPUTF8 BODY=8BITMIME")[0], 250, "to a mailbox here")
        head = mx.wait_mail("alice")[0].partition(b"\n\n")[0]
        ok(b"with UTF8SMTP\n" in head.replace(b"\r", b""), "Received says UTF8SMTP", head)
        same(mail(s, "bob@mx.test", ["<j\u00f6rg@new.test> ORCPT=utf-8;\u00e4@o.test"], body, " SMTPUTF8 BODY=8BITMIME")[0], 250, "to a host that knows it")
        wait_for(lambda: new.messages)
        ok(any(l.startswith("MAIL ") and "SMTPUTF8" in l for l in new.lines), "the parameter is passed on", new.lines)
        ok("RCPT TO:<j\u00f6rg@new.test>".encode().decode("latin1") in new.lines, "the address byte for byte", new.lines)
        same(mail(s, "bob@mx.test", ["<j\u00f6rg@old.test> ORCPT=utf-8;\u00e4@o.test"], message(), " SMTPUTF8")[0], 250, "to a host that does not")
        whole, status = report_of(mx, "bob", b"Action: failed")
        ok("Status: 5.6.7" in status and "utf-8; j" in status, "returned with 5.6.7", status)
        ok("Original-Recipient: utf-8;\\x{E4}@o.test" in status, "and the original recipient, in ASCII (RFC 6533 3)", status)
        ok(not any(l.startswith("MAIL") for l in old.lines), "the host hears nothing of it", old.lines)
        same(mail(s, "bob@mx.test", ["<plain@old.test>"], message(), " SMTPUTF8")[0], 250, "declared, but all ASCII")
        ok(wait_for(lambda: old.messages), "is passed on even so")


def t_chunking():
    """BDAT: exact bytes in a mailbox, a refused chunk that looks like commands, chunks cut anywhere."""
    mx = Postern()
    data = b"Subject: chunks\r\n\r\n.\r\n..two\r\nlast\r\n"
    with mx.smtp() as s:
        ok("CHUNKING" in s.cmd("EHLO client.test")[1].split("\n"), "CHUNKING is offered")
        ok("BINARYMIME" not in s.cmd("EHLO client.test")[1], "BINARYMIME is not")
        s.cmd("MAIL FROM:<bob@mx.test>")
        s.cmd("RCPT TO:<alice@mx.test>")
        s.raw(b"BDAT 20\r\n" + data[:20] + b"BDAT %d LAST\r\n" % (len(data) - 20) + data[20:])
        same((s.reply()[0], s.reply()[0]), (250, 250), "two chunks in one write")
        got = mx.wait_mail("alice")[0].replace(b"\r\n", b"\n")
        ok(got.endswith(data.replace(b"\r\n", b"\n")), "the bytes are exact, dots and all", got)
        evil = b"MAIL FROM:<evil@mx.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\nx\r\n.\r\n"
        s.raw(b"BDAT %d LAST\r\n" % len(evil) + evil + b"NOOP\r\n")
        same((s.reply()[0], s.reply()[0]), (503, 250), "a refused chunk is swallowed, the next command answered")
        big = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 150000
        s.cmd("MAIL FROM:<bob@mx.test>")
        s.cmd("RCPT TO:<alice@mx.test>")
        s.raw(b"BDAT %d LAST\r\n" % len(big) + big)
        same(s.reply()[0], 250, "a chunk of megabytes")
        mails = mx.wait_mail("alice", 2)
        same(len(mails), 2, "two mails in all")
        ok(any(m.replace(b"\r\n", b"\n").endswith(big.replace(b"\r\n", b"\n")) for m in mails), "it too is exact")
        s.raw(b"BDAT none\r\nQUIT\r\n")
        same((s.reply()[0], s.reply()[0]), (421, 0), "no size: the end")


def t_limits():
    """RCPTMAX is told; data that drips is cut although no octet comes late."""
    mx = Postern(recipient_limit=150, data_timeout="1s", data_rate=1000)
    with mx.smtp() as s:
        ok("LIMITS RCPTMAX=150" in s.cmd("EHLO client.test")[1].split("\n"), "RCPTMAX is announced")
        s.cmd("MAIL FROM:<bob@mx.test>")
        s.cmd("RCPT TO:<alice@mx.test>")
        s.cmd("DATA")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 10:
                s.raw(b"x\r\n")
                time.sleep(0.3)
                if select.select([s.sock], [], [], 0)[0]:
                    break
        except OSError:
            pass
        ok(time.monotonic() - began < 5, "it is cut", time.monotonic() - began)
        same(s.reply()[0], 421, "with 421")
    ok(mx.wait_event("disconnect", why="data too slow"), "the log says why")


if __name__ == "__main__":
    main(t_limits, t_chunking, t_smtputf8, t_dsn_local, t_dsn_relayed, t_dsn_survives, t_dsn_sendmail)
