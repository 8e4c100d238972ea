#!/usr/bin/env python3
"""RFC 5321 from outside: every command, every sequence, every limit of 4.5.3.1, with the reply that it asks for."""
from harness import *

E, M, R = "EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<alice@mx.test>"

# (section, what is said, the code of the last reply, its enhanced code or None)
DIALOGUES = (
    ("4.1.1.1", ["EHLO"], 501, "5.5.4"),
    ("4.1.1.1", ["EHLO client.test"], 250, None),
    ("4.1.1.1", ["HELO client.test"], 250, None),
    ("4.1.1.1", ["EHLO [192.0.2.1]"], 250, None),
    ("4.1.1.1", ["EHLO [IPv6:2001:db8::1]"], 250, None),
    ("4.1.1.1", ["EHLO [192.0.2.256]"], 501, "5.5.4"),
    ("4.1.1.1", ["EHLO a b"], 501, "5.5.4"),
    ("4.1.4 MAIL before EHLO", [M], 503, "5.5.1"),
    ("4.1.4 RCPT before MAIL", [E, R], 503, "5.5.1"),
    ("4.1.4 DATA before MAIL", [E, "DATA"], 503, "5.5.1"),
    ("3.3 DATA before RCPT", [E, M, "DATA"], 503, "5.5.1"),
    ("3.3 DATA, all recipients refused", [E, M, "RCPT TO:<nobody@mx.test>", "DATA"], 554, "5.5.1"),
    ("4.1.4 MAIL twice", [E, M, M], 503, "5.5.1"),
    ("4.1.4 EHLO as RSET", [E, M, R, E, "DATA"], 503, "5.5.1"),
    ("4.1.1.5 RSET", [E, M, R, "RSET", M], 250, "2.1.0"),
    ("4.1.1.5 RSET before EHLO", ["RSET"], 250, "2.0.0"),
    ("4.1.1.5", ["RSET x"], 501, "5.5.4"),
    ("4.1.1.4", [E, M, R, "DATA x"], 501, "5.5.4"),
    ("4.1.1.9 NOOP", ["NOOP whatever"], 250, "2.0.0"),
    ("4.1.1.10 QUIT", ["QUIT"], 221, "2.0.0"),
    ("4.1.1.10", ["QUIT x"], 501, "5.5.4"),
    ("3.5.3 VRFY", [E, "VRFY alice"], 252, "2.5.0"),
    ("3.5.3 VRFY says nothing", [E, "VRFY nobody"], 252, "2.5.0"),
    ("4.1.1.6", [E, "VRFY"], 501, "5.5.4"),
    ("3.5.2 EXPN", [E, "EXPN list"], 502, "5.5.1"),
    ("4.1.1.8 HELP", ["HELP"], 214, "2.0.0"),
    ("4.2.4", ["NOSUCH"], 500, "5.5.1"),
    ("2.4 case", ["ehlo client.test", "mail from:<a@client.test>", "rcpt to:<alice@MX.Test>"], 250, "2.1.5"),
    ("4.5.5 null reverse-path", [E, "MAIL FROM:<>", R], 250, "2.1.5"),
    ("4.1.1.3 no null forward-path", [E, M, "RCPT TO:<>"], 501, "5.1.3"),
    ("4.5.1 postmaster", [E, M, "RCPT TO:<Postmaster>"], 250, "2.1.5"),
    ("4.5.1 postmaster", [E, M, "RCPT TO:<pOSTMASTER@mx.test>"], 250, "2.1.5"),
    ("4.1.2 only postmaster", [E, M, "RCPT TO:<alice>"], 501, "5.1.3"),
    ("4.1.3 literal of ours", [E, M, "RCPT TO:<alice@[192.0.2.1]>"], 250, "2.1.5"),
    ("4.1.3", [E, M, "RCPT TO:<alice@[IPv6:2001:db8::1]>"], 250, "2.1.5"),
    ("4.1.3", [E, "MAIL FROM:<a@[300.0.2.1]>"], 501, "5.1.7"),
    ("4.1.3", [E, "MAIL FROM:<a@[2001:db8::1]>"], 501, "5.1.7"),
    ("4.1.2 quoted", [E, 'MAIL FROM:<"a b"@client.test>'], 250, "2.1.0"),
    ("4.1.2 quoted pair", [E, 'MAIL FROM:<"a\\"b\\\\"@client.test>'], 250, "2.1.0"),
    ("4.1.2 quoted spelling", [E, M, 'RCPT TO:<"alice"@mx.test>'], 250, "2.1.5"),
    ("4.1.2 quoted spelling", [E, M, 'RCPT TO:<"al\\ice"@mx.test>'], 250, "2.1.5"),
    ("4.1.2", [E, "MAIL FROM:<a..b@client.test>"], 501, "5.1.7"),
    ("4.1.2", [E, "MAIL FROM:<a@client_.test.>"], 501, "5.1.7"),
    ("4.1.2", [E, "MAIL FROM:<a@-client.test>"], 501, "5.1.7"),
    ("4.1.2", [E, "MAIL FROM:a@client.test"], 501, "5.1.7"),
    ("4.1.2", [E, "MAIL FROM:<a@client.test"], 501, "5.1.7"),
    ("4.1.2", [E, "MAIL TO:<a@client.test>"], 501, "5.5.4"),
    ("C source route", [E, M, "RCPT TO:<@one.test,@two.test:alice@mx.test>"], 250, "2.1.5"),
    ("C source route", [E, "MAIL FROM:<@one.test:a@client.test>"], 250, "2.1.0"),
    ("C source route", [E, M, "RCPT TO:<@one.test,alice@mx.test>"], 501, "5.1.3"),
    ("4.1.1.11 unknown parameter", [E, M + " FOO=1"], 555, "5.5.4"),
    ("4.1.1.11 unknown parameter", [E, M, R + " FOO"], 555, "5.5.4"),
    ("4.1.1.11 syntax", [E, M + " F*O=1"], 501, "5.5.4"),
    ("4.1.1.11 twice", [E, M + " SIZE=1 SIZE=1"], 501, "5.5.4"),
    ("RFC 1870 6.1", [E, M + " SIZE=2000000"], 552, "5.3.4"),
    ("RFC 1870 4", [E, M + " SIZE=x"], 501, "5.5.4"),
    ("RFC 1870 4", [E, M + " SIZE=123456789012345678901"], 501, "5.5.4"),
    ("RFC 6152", [E, M + " BODY=8BITMIME"], 250, "2.1.0"),
    ("RFC 3030", [E, M + " BODY=BINARYMIME"], 501, "5.5.4"),
    ("4.5.3.1.1 local part", [E, "MAIL FROM:<" + "a" * 64 + "@client.test>"], 250, "2.1.0"),
    ("4.5.3.1.1", [E, "MAIL FROM:<" + "a" * 65 + "@client.test>"], 501, "5.1.7"),
    ("4.5.3.1.2 domain", [E, "MAIL FROM:<a@" + ("d" * 60 + ".") * 3 + "d" * 60 + ".test>"], 250, "2.1.0"),
    ("4.5.3.1.2", [E, "MAIL FROM:<a@" + ("d" * 60 + ".") * 4 + "d" * 60 + ">"], 501, "5.1.7"),
    ("1034 3.1 label", [E, "MAIL FROM:<a@" + "d" * 64 + ".test>"], 501, "5.1.7"),
    ("4.5.3.1.4 command line", [E, "NOOP " + "x" * 505], 250, "2.0.0"),
    ("4.5.3.1.4 with what extensions add", [E, "NOOP " + "x" * 1219], 250, "2.0.0"),
    ("4.5.3.1.4", [E, "NOOP " + "x" * 1220], 500, "5.5.2"),
)


def t_dialogues():
    """Each dialogue in a session of its own."""
    mx = Postern(smtpd_processes=1, local_domains="[192.0.2.1] [IPv6:2001:db8::1]", message_size_limit="1M")
    for section, lines, code, detail in DIALOGUES:
        with mx.smtp() as s:
            for line in lines:
                r = s.cmd(line)
            last = r[1].split("\n")[-1]
            ok(r[0] == code and (detail is None or last.startswith(detail + " ")), f"{section}: {lines[-1][:60]}: {code} {detail or ''}", r)


def t_limits():
    """4.5.3.1: 100 recipients and more, long text lines, 64K of content; 4.5.2 transparency."""
    mx = Postern(smtpd_processes=1, recipient_limit=100, message_size_limit="1M", mailbox="maildir:%h/Maildir")
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@client.test>")
        codes = [s.cmd(f"RCPT TO:<alice+{i}@mx.test>") for i in range(101)]
        same([c[0] for c in codes], [250] * 100 + [452], "4.5.3.1.8: a hundred recipients, and 452 for one more")
        s.cmd("RSET")
        body = "".join(f"{'.' * (i % 4)}{'x' * 996}\r\n" for i in range(100))
        data = message("long", body)
        same(s.message("a@client.test", ["bob@mx.test"], data)[0], 250, "4.5.3.1.6, .7: lines of 1,000 octets, 100,000 in all")
        got = mx.wait_mail("bob")[0].replace(b"\r\n", b"\n")
        ok(got.endswith(body.encode().replace(b"\r\n", b"\n")), "4.5.2: every dot is where it was")
        same(s.message("a@client.test", ["bob@mx.test"], message("big", "y" * 70 + "\r\n" + ("z" * 70 + "\r\n") * 20000))[0], 552,
             "RFC 1870 6.3: larger than SIZE, told at the end")
        same(s.cmd("NOOP")[0], 250, "and the session goes on")


def t_same_mailbox():
    """Quoted and unquoted spellings of a mailbox are one mailbox: one copy."""
    mx = Postern(smtpd_processes=1)
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@client.test>")
        same([s.cmd(f"RCPT TO:<{r}@{d}>")[0] for r, d in (("alice", "mx.test"), ('"alice"', "mx.test"), ('"al\\ice"', "MX.test"))],
             [250] * 3, "three spellings")
        s.cmd("DATA")
        s.raw("Subject: once\r\n\r\nx\r\n.\r\n")
        same(s.reply()[0], 250, "accepted")
    wait_for(lambda: mx.queue_count() == 0 and mx.maildir("alice"))
    same(len(mx.maildir("alice")), 1, "one copy")


def t_loops():
    """6.3: too many Received fields, or Delivered-To of a recipient: refused in the session."""
    mx = Postern(smtpd_processes=1, hop_limit=10)
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        hops = "".join(f"Received: from a by b{i}; Sat, 21 Nov 2026 09:30:00 +0000\r\n" for i in range(11))
        r = s.message("a@client.test", ["alice@mx.test"], hops + "\r\nx\r\n")
        ok(r[0] == 554 and r[1].startswith("5.4.6"), "hops", r)
        r = s.message("a@client.test", ["alice@mx.test"], "Delivered-To: alice@mx.test\r\nSubject: x\r\n\r\nx\r\n")
        ok(r[0] == 554 and r[1].startswith("5.4.6"), "Delivered-To", r)
        same(s.message("a@client.test", ["alice@mx.test"], "Delivered-To: bob@mx.test\r\nSubject: x\r\n\r\nx\r\n")[0], 250, "of another one is none")
        same(s.message("a@client.test", ["alice@mx.test"], "Subject: x\r\n\r\n" + hops)[0], 250, "text is no header")


if __name__ == "__main__":
    main(t_dialogues, t_limits, t_same_mailbox, t_loops)
