#!/usr/bin/env python3
"""A message goes in and comes out: exact bytes, in Maildir and mbox, one session or pipelined, here or one host on."""
import random

from harness import *

BODY = (b"From a line like an envelope\r\n.leading dot\r\n..two\r\n\r\n.\r\n\ttab \xe4\xf6\xfc 8bit\r\n"
        b">From quoted\r\nlast\r\n")


def delivered(mail):
    """The message as it was sent: what follows the fields that Postern puts in front."""
    text = mail.replace(b"\r\n", b"\n")
    return text[text.index(b"Subject: "):]


def t_maildir():
    """swaks-like session to a Maildir: exact bytes, trace fields in front, the file is the user's."""
    mx = Postern()
    data = b"Subject: one\r\nFrom: <a@client.test>\r\n\r\n" + BODY
    code, text = mx.send("a@client.test", "alice@mx.test", data, params=" BODY=8BITMIME")
    same(code, 250, "the dot is answered with 250")
    mails = mx.wait_mail("alice")
    same(len(mails), 1, "one file in the Maildir")
    same(delivered(mails[0]), data.replace(b"\r\n", b"\n"), "its bytes are exact")
    head = mails[0].partition(b"\n\n")[0].decode("latin1")
    ok(head.startswith("Return-Path: <a@client.test>\n"), "Return-Path comes first", head)
    ok("\nDelivered-To: alice@mx.test\n" in head, "Delivered-To is there", head)
    ok(re.search(r"\nReceived: from client\.test \(.*\[127\.0\.0\.1\]\)\s+by mx\.test ", head), "Received names both", head)
    qid = re.search(r"\bid ([0-9A-Z]{20})", head)
    ok(qid and mx.events("received", id=qid.group(1)), "the id in Received is the one in the log", head)
    f = next((mx.dir / "home/alice/Maildir/new").iterdir())
    if ROOT:
        same(f.stat().st_uid, mx.user_uid["alice"], "the file belongs to the recipient")
    same(f.stat().st_mode & 0o077, 0, "and nobody else may read it")
    wait_for(lambda: mx.queue_count() == 0)
    same(mx.queue_count(), 0, "the queue is empty again")
    same(mx.stop(), 0, "the suite stops cleanly")


def t_mbox():
    """The same into an mbox: From_ line, quoting, blank line at the end."""
    mx = Postern(mailbox="mbox:%m/%u")
    data = b"Subject: one\r\n\r\n" + BODY
    for _ in range(2):
        same(mx.send("a@client.test", "alice@mx.test", data)[0], 250, "accepted")
    mx.wait_event("delivered", count=2)
    text = (mx.dir / "mail/alice").read_bytes()
    want = data.replace(b"\r\n", b"\n").replace(b"\nFrom a", b"\n>From a")
    parts = re.split(rb"(?m)^From (?=a@client\.test )", text)[1:]
    same(len(parts), 2, "two From_ lines, none forged by the body")
    for p in parts:
        same(p[p.index(b"Subject: "):].replace(b"\n>>From q", b"\n>From q"), want + b"\n", "bytes, quoting and the blank line")
    if ROOT:
        same((mx.dir / "mail/alice").stat().st_uid, mx.user_uid["alice"], "the mailbox belongs to the user")


def t_pipelined():
    """A whole session in one write, and byte by byte: the same replies, the same mail."""
    mx = Postern()
    session = (b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@mx.test>\r\nRCPT TO:<nobody@mx.test>\r\n"
               b"RCPT TO:<bob@mx.test>\r\nDATA\r\n")
    replies = []
    for step in (len(session), 1, 7):
        with mx.smtp() as s:
            for i in range(0, len(session), step):
                s.raw(session[i:i + step])
            got = [s.reply() for _ in range(6)]
            s.raw(b"Subject: p\r\n\r\nbody\r\n.\r\nQUIT\r\n")
            got += [s.reply(), s.reply(), s.reply()]
            replies.append([(c, re.sub(r"[0-9A-Z]{20}", "ID", t)) for c, t in got])
    same([c for c, _ in replies[0]], [250, 250, 250, 550, 250, 354, 250, 221, 0], "the replies are right")
    ok(replies[0] == replies[1] == replies[2], "and the same however the bytes were cut", *replies)
    same(len(mx.wait_mail("alice", 3)), 3, "alice has three")
    same(len(mx.wait_mail("bob", 3)), 3, "bob has three")
    caps = replies[0][0][1].split("\n")
    for word in ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"):
        ok(word in caps, f"EHLO lists {word}", caps)


def t_truncated():
    """A session that ends before the final dot delivers nothing and leaves nothing."""
    mx = Postern()
    with mx.smtp() as s:
        s.raw("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\n")
        for _ in range(4):
            s.reply()
        s.raw(b"Subject: cut\r\n\r\nthe end is missing\r\n")
    with mx.smtp() as s:
        s.raw("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\n")
        for _ in range(4):
            s.reply()
        s.raw(b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 998 + b"\r\n") * 3000)
    mx.send("a@c.test", "bob@mx.test", message("whole"))
    mx.wait_mail("bob")
    wait_for(lambda: mx.queue_count() == 0)
    same(len(mx.maildir("alice")), 0, "nothing was delivered")
    same(mx.queue_count(), 0, "nothing is queued")
    wait_for(lambda: not list((mx.dir / "queue").rglob("*.d")))
    left = [f for f in (mx.dir / "queue").rglob("*.d")]
    same(left, [], "no data file is left")


def t_sizes():
    """From nothing to 5 MiB: every size arrives as it was sent."""
    mx = Postern()
    rng = random.Random(5)
    sent = []
    for size in (0, 1, 1000, 65535, 65536, 262144, 1048575, 1048576, 1048577, 5000000):
        lines = b"".join(bytes(rng.choices(b"abc. \xff", k=70)) + b"\r\n" for _ in range(size // 72))
        data = f"Subject: {size}\r\n\r\n".encode() + lines + b"z" * (size % 72)
        data += b"" if data.endswith(b"\r\n") else b"\r\n"
        same(mx.send("a@c.test", "alice@mx.test", data)[0], 250, f"{size} octets are accepted")
        sent.append(data.replace(b"\r\n", b"\n"))
    got = [delivered(m) for m in mx.wait_mail("alice", len(sent), 60)]
    ok(sorted(got) == sorted(sent), "all arrived with exact bytes", [len(g) for g in got], [len(s) for s in sent])


def t_relay():
    """By SMTP to a second instance and from there into a mailbox."""
    far = Postern("far", users=("carol",))
    near = Postern("near")
    near.routes(f"far.test smtp:[127.0.0.1]:{far.port}\n")
    data = b"Subject: two hops\r\n\r\n" + BODY
    same(near.send("alice@near.test", "carol@far.test", data)[0], 250, "the first hop takes it")
    mails = far.wait_mail("carol")
    same(len(mails), 1, "the second delivers it")
    same(delivered(mails[0]), data.replace(b"\r\n", b"\n"), "with exact bytes")
    same(mails[0].count(b"Received: "), 2, "and two Received fields")
    e = near.events("delivered")
    ok(e and e[0]["relay"].endswith(f":{far.port}") and e[0]["dsn"] == "2.0.0" or e and e[0]["dsn"].startswith("2."),
       "the first hop's log names the relay and the status", e)


def t_refusals():
    """Unknown users, strangers' relaying, forms of address: refused at RCPT."""
    mx = Postern(relay_networks="192.0.2.0/24")
    with mx.smtp() as s:
        s.cmd("EHLO c.test")
        s.cmd("MAIL FROM:<a@c.test>")
        for rcpt, want in (("alice@mx.test", 250), ("ALICE@MX.TEST", 250), ("alice+tag@mx.test", 250), ("nobody@mx.test", 550),
                           ("x@elsewhere.test", 554), ("x%elsewhere.test@mx.test", 550), ('"x@elsewhere.test"@mx.test', 550),
                           ("elsewhere.test!x@mx.test", 550), ("@mx.test:x@elsewhere.test", 554), ("postmaster", 250)):
            code, text = s.cmd(f"RCPT TO:<{rcpt}>")
            ok(code == want and re.match(r"[245]\.\d+\.\d+ ", text), f"<{rcpt}> gets {want}", code, text)
    rejects = mx.wait_event("reject") and mx.events("reject")
    ok(rejects and all("127.0.0.1" in e["client"] and e.get("to") for e in rejects), "each refusal is logged with client and recipient", rejects)


if __name__ == "__main__":
    main(t_maildir, t_mbox, t_pipelined, t_truncated, t_sizes, t_relay, t_refusals)
