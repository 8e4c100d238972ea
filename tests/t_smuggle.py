#!/usr/bin/env python3
"""Nobody smuggles: whatever is neither a line nor a message as RFC 5321 has them is refused as a whole, and nothing a
client sends is read as something else, echoed, or able to forge a line of the log or of a header."""
import random

from harness import *

ENDS = (b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n.\r\r\n", b"\n\n.\r\r\n")
EVIL = b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"


def begin(s, rcpt="alice@mx.test"):
    s.cmd("EHLO client.test")
    s.cmd("MAIL FROM:<a@client.test>")
    s.cmd(f"RCPT TO:<{rcpt}>")


def t_ends():
    """No false end of a message is one: not by DATA, and a message that holds it is refused."""
    mx = Postern(smtpd_processes=1)
    for end in ENDS:
        with mx.smtp() as s:
            begin(s)
            s.cmd("DATA")
            s.raw(b"Subject: outer\r\n\r\nx" + end + EVIL + b"NOOP\r\n")
            same((s.reply()[0], s.reply()[0]), (554, 250), f"{end!r}: refused as a whole at the next true end")
    time.sleep(0.2)
    same(mx.events("received"), [], "nothing was accepted")
    same(mx.maildir("alice"), [], "nothing was delivered")


def t_ends_quiet():
    """The same, with nothing but the true end behind it."""
    mx = Postern(smtpd_processes=1)
    with mx.smtp() as s:
        for end in ENDS:
            begin(s)
            s.cmd("DATA")
            s.raw(b"Subject: x\r\n\r\nx" + end + b"more\r\n.\r\n")
            r = s.reply()
            ok(r[0] == 554 and "5.6.0" in r[1], f"{end!r}: 554 5.6.0", r)
            s.cmd("RSET")
            begin(s)
            body = b"Subject: x\r\n\r\nx" + end + b"more\r\n"
            s.raw(b"BDAT %d LAST\r\n" % len(body) + body)
            same(s.reply()[0], 554, f"{end!r}: by BDAT too")
    same(mx.events("received"), [], "nothing was accepted")


def t_swallowed():
    """What follows a refused chunk or a line that is too long is thrown away, never run."""
    mx = Postern(smtpd_processes=1, error_delay=0)
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        s.raw(b"BDAT %d LAST\r\n" % len(EVIL) + EVIL + b"NOOP\r\n")
        same((s.reply()[0], s.reply()[0]), (503, 250), "a chunk without a transaction")
        begin(s, "alice@elsewhere.example")
        s.cmd("RSET")
        s.raw(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<nobody@mx.test>\r\nBDAT %d\r\n" % len(EVIL) + EVIL + b"NOOP\r\n")
        same([s.reply()[0] for _ in range(4)], [250, 550, 554, 250], "a chunk without a recipient")
        s.cmd("RSET")
        s.raw(b"NOOP " + b"x" * 2000 + b"\rMAIL FROM:<evil@client.test>\n" + b"y" * 500 + b"\r\nNOOP\r\n")
        same((s.reply()[0], s.reply()[0]), (500, 250), "a line that is too long")
        s.raw(b"NOOP\nMAIL FROM:<evil@client.test>\r\nNOOP\rRSET\r\nNO\0OP\r\nNOOP\r\n")
        same([s.reply()[0] for _ in range(4)], [500, 500, 500, 250], "LF, CR and NUL within commands")
        s.raw(b"BDAT 99999999999999999999\r\nMAIL FROM:<evil@client.test>\r\n")
        same((s.reply()[0], s.reply()[0]), (421, 0), "a size that is none: nobody knows where commands begin")
    for line in (b"BDAT %d LAST " + b"x" * 1300, b"BDAT %d\0", b"BDAT\t%d", b" BDAT %d", b"BDAT %d\rLAST"):
        with mx.smtp() as s:
            begin(s)
            s.raw(line.replace(b"%d", b"%d" % len(EVIL)) + b"\r\n" + EVIL + b"NOOP\r\n")
            same((s.reply()[0], s.reply()[0]), (421, 0), f"nor when its line cannot be read: {line[:12]!r}")
    for verb in ("GET / HTTP/1.1", "PROPFIND / HTTP/1.1", "POST /" + "x" * 1300 + " HTTP/1.1", "POST / HTTP/1.1", "PUT / HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT x:25 HTTP/1.1"):
        with mx.smtp() as s:
            s.raw(verb.encode() + b"\r\nHost: mx\r\n\r\n" + EVIL)
            same((s.reply()[0], s.reply()[0]), (421, 0), f"{verb.split()[0]} ends the session")
    same(mx.events("received"), [], "nothing was accepted")


def t_envelope():
    """No control character, DEL, or octet beyond ASCII without SMTPUTF8; with it, only valid UTF-8."""
    mx = Postern(smtpd_processes=1, error_limit=1000, error_delay=0)
    bad = [bytes([c]) for c in range(1, 32) if c not in (10, 13)] + [b"\x7f", b"\x80", b"\xff", b"\xc3\xa9"]
    utf8 = [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x28\xa1", b"\xc2\x85", b"\xc2\x9b"]
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        for c in bad:
            for text in (b"a%sb@client.test" % c, b'"a%sb"@client.test' % c, b"a@cli%sent.test" % c):
                s.raw(b"MAIL FROM:<" + text + b">\r\n")
                if not ok(s.reply()[0] // 100 == 5, f"MAIL with {c!r}"):
                    s.cmd("RSET")
            s.raw(b"EHLO client%s.test\r\n" % c)
            same(s.reply()[0], 501, f"EHLO with {c!r}")
        s.cmd("MAIL FROM:<a@client.test> SMTPUTF8")
        for c in utf8:
            s.raw(b"RCPT TO:<a%sb@mx.test>\r\n" % c)
            same(s.reply()[0] // 100, 5, f"RCPT with {c!r} under SMTPUTF8")
        s.cmd("RSET")
        for p in ("ENVID=a+0D+0Ab", "ENVID=a+00", "ENVID=+7F", "ENVID=+", "ENVID=+g0", "ENVID=a=b"):
            same(s.cmd(f"MAIL FROM:<a@client.test> {p}")[0], 501, f"{p}: xtext is looked at again after decoding")
        s.cmd("MAIL FROM:<a@client.test>")
        for p in ("ORCPT=rfc822;a+0D+0Ab@x", "ORCPT=rfc822;+00", "ORCPT=rf c;x", "ORCPT=;x", "ORCPT=rfc822;"):
            same(s.cmd(f"RCPT TO:<alice@mx.test> {p}")[0], 501, p)


def t_no_echo():
    """Replies are of at most 512 octets and say nothing that the client chose; log lines and headers cannot be forged."""
    mx = Postern(smtpd_processes=1, error_limit=1000, error_delay=0, relay_networks="none")
    mark = "zqxzqx"
    asked = [f"{mark} x", f"NOOP {mark}", f"VRFY {mark}", f"EXPN {mark}", f"HELP {mark}", f"MAIL FROM:<{mark}@{mark}.test> {mark}=1",
             f"MAIL FROM:<{mark}", f"RCPT TO:<{mark}@x>", f"BDAT 0 LAST {mark}" if False else f"DATA {mark}", "EHLO " + mark * 40 + "\x7f"]
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        for line in asked:
            s.raw(line.encode() + b"\r\n")
            while True:
                got = s.file.readline()
                ok(len(got) <= 512 and mark.encode() not in got and got.endswith(b"\r\n"), f"{line[:30]!r}: {got!r}")
                if got[3:4] != b"-":
                    break
        s.cmd("MAIL FROM:<a@client.test>")
        for rcpt in ('"x\\\\ reply=250"', '"x reject session=1"', '"\\" helo=evil"'):
            s.raw(f"RCPT TO:<{rcpt}@elsewhere.test>\r\n")
            s.reply()
        s.cmd("RSET")
        s.cmd('MAIL FROM:<"a\\" to=evil"@client.test>')
        s.cmd("RCPT TO:<alice@mx.test>")
        s.cmd("DATA")
        s.raw(b"x\r\n.\r\n")
        s.reply()
    lines = mx.log().splitlines()
    ok(all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \S+ postern/[a-z-]+\[\d+\]: ", l) for l in lines), "every line of the log is one of ours",
       [l for l in lines if not re.match(r"\d{4}", l)])
    ok(all(e["helo"] in ("", "client.test") for e in mx.events("reject")), "no field was forged", mx.events("reject"))
    head = mx.wait_mail("alice")[0]
    same(len(re.findall(rb"(?m)^Received:", head)), 1, "one Received field")


def t_old_machines():
    """normalise-networks: their lines are mended; still nothing hides in a message."""
    mx = Postern(smtpd_processes=1, normalise_networks="127.0.0.1", error_delay=0)
    with mx.smtp() as s:
        s.raw("EHLO old.test\nMAIL FROM:<a@client.test>\nRCPT TO:<alice@mx.test>\nDATA\n")
        same([s.reply()[0] for _ in range(4)], [250, 250, 250, 354], "LF alone ends commands")
        s.raw("Subject: old\n\nline\rtwo\n..dot\n.\nNOOP\n")
        same((s.reply()[0], s.reply()[0]), (250, 250), "and LF dot LF the message of who never says CR")
        got = mx.wait_mail("alice")[0]
        ok(got.replace(b"\r\n", b"\n").endswith(b"Subject: old\n\nline two\n.dot\n"), "which is mended", got)
        begin(s)
        s.cmd("DATA")
        s.raw(b"Subject: new\r\n\r\nx\n.\n" + EVIL[:-5] + b"\n.\r\nNOOP\r\n.\r\nNOOP\r\n")
        same([s.reply()[0] for _ in range(2)], [250, 250], "who says DATA with CR LF ends with CR LF dot CR LF only")
        mails = mx.wait_mail("alice", 2)
        same(len(mails), 2, "one message more")
        ok(any(b"\n.\nMAIL FROM:<evil" in m.replace(b"\r\n", b"\n") for m in mails), "which holds the other as text", mails)


def t_segments():
    """One session over a real socket in three cuts: the same octets come back."""
    session = (b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<nobody@mx.test>\r\n"
               b"RCPT TO:<bob@mx.test>\r\nDATA\r\nSubject: x\r\n\r\n..x\r\n.\r\nWHAT\r\nMAIL FROM:<>\r\nRCPT TO:<bob@mx.test>\r\n"
               b"BDAT 10\r\nSubject: yBDAT 5 LAST\r\n\r\n\r\nzBDAT 4\r\nQUITNOOP\r\nNO\nOP\r\nDATA\r\nVRFY x\r\nQUIT\r\n")
    mx = Postern(smtpd_processes=1, error_delay=0)
    heard = []
    for cut in (len(session), 1, 7, 0):
        with mx.smtp() as s:
            chance, at = random.Random(4), 0
            s.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while at < len(session):
                n = cut or chance.randint(1, 60)
                s.raw(session[at:at + n])
                at += n
                time.sleep(0.0005)
            heard.append(re.sub(rb"as [0-9A-Z]{20}", b"as ID", s.file.read()))
    same([heard.count(h) for h in heard], [4] * 4, "all cuts sound the same")
    ok(heard[0].count(b"Accepted as ID") == 2 and heard[0].endswith(b"Goodbye\r\n"), "and right", heard[0])


if __name__ == "__main__":
    main(t_ends_quiet, t_ends, t_swallowed, t_envelope, t_no_echo, t_old_machines, t_segments)
