#!/usr/bin/env python3
"""Rules of policy (postern-rules(5)) from outside: what a client hears, what becomes of the mail, what the log and
postern explain say of it, and a reload."""
import re

from dns import DNS
from harness import *


def token(text):
    m = re.search(r"\[(P[0-9a-z]{6}(?:-\d+)?)\]", text)
    return m.group(1) if m else "none"


def line_of(mx, rule):
    return next(i + 1 for i, line in enumerate(mx.config.read_text().splitlines()) if line == f"rule = {rule}")


def t_refusals():
    """Each stage can refuse; each refusal has a token that explain leads back to its line."""
    rules = [
        "helo helo=bad.*,evil.* reject",
        "mail sender=*@spam.test reject 553 5.1.8 \"We know you\"",
        "rcpt recipient=closed@mx.test defer 450 4.2.1 \"Not today\"",
        "data recipient=nodata@* reject",
        "end size>4K reject 552 5.3.4 \"Too large for us\"",
        "end header!=From reject 550 5.7.1 \"No From field\"",
    ]
    mx = Postern(users=("alice", "nodata", "closed"), rule=rules)
    with mx.smtp() as s:
        code, text = s.cmd("EHLO evil.test")
        same((code, text.split(" [")[0]), (550, "5.7.1 Refused by our policy"), "HELO is refused")
        rc, out, _ = mx.postern("explain", token(text))
        same(rc, 0, "explain knows the token")
        ok(f"{mx.config}:{line_of(mx, rules[0])}:" in out, "and names file and line", out)
        ok("key:     evil.*" in out and "table:   rule" in out, "and the key", out)
        same(s.cmd("EHLO good.test")[0], 250, "another name is taken")
        code, text = s.cmd("MAIL FROM:<x@spam.test>")
        ok(code == 553 and text.startswith("5.1.8 We know you [P"), "MAIL is refused with our reply", text)
        s.cmd("MAIL FROM:<x@fine.test>")
        code, text = s.cmd("RCPT TO:<closed@mx.test>")
        ok(code == 450 and text.startswith("4.2.1 Not today [P"), "RCPT is deferred", text)
        same(s.cmd("RCPT TO:<nodata@mx.test>")[0], 250, "the next is taken")
        same(s.cmd("DATA")[0], 550, "DATA is refused")
        s.cmd("RSET")
        r = s.message("x@fine.test", ["alice@mx.test"], message(body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 70))
        ok(r[0] == 552 and "Too large for us [P" in r[1], "the end is refused by size", r)
        r = s.message("x@fine.test", ["alice@mx.test"], b"Subject: no from\r\n\r\nx\r\n")
        ok(r[0] == 550 and "No From field" in r[1], "and by a header that is missing", r)
        rc, out, _ = mx.postern("explain", "[" + token(r[1]).upper() + "]")
        ok(f":{line_of(mx, rules[5])}:" in out, "a token as people copy it", out)
        r = s.message("x@fine.test", ["alice@mx.test"], message())
        same(r[0], 250, "what no rule means passes")
    mx.wait_mail("alice")
    ok(any("[P" in e["reply"] for e in mx.events("reject", stage="helo")), "the log has the token too")
    rc, _, err = mx.postern("explain", "P000000")
    ok(rc == 65 and "has the token" in err, "a token of nobody", err)


def t_lookup_tokens():
    """What lookup refuses can be explained too: relaying, an unknown user, an error route."""
    mx = Postern(relay_networks="none")
    mx.routes("gone.mx.test error:550 5.1.2 closed\n")
    with mx.smtp() as s:
        s.cmd("EHLO a.test")
        s.cmd("MAIL FROM:<x@fine.test>")
        _, text = s.cmd("RCPT TO:<x@far.test>")
        out = mx.postern("explain", token(text))[1]
        ok("relay-networks = none" in out and "relay-domains" in out, "relaying: the settings that decided", text, out)
        _, text = s.cmd("RCPT TO:<nobody@mx.test>")
        out = mx.postern("explain", token(text))[1]
        ok("alias-file" in out and "passwd-file" in out, "unknown user: where was looked", text, out)
    mx.write_config(relay_networks="127.0.0.0/8")
    mx.proc.send_signal(signal.SIGHUP)
    ok(mx.wait_event("config_loaded", generation=2), "reloaded")
    with mx.smtp() as s:
        s.cmd("EHLO a.test")
        s.cmd("MAIL FROM:<x@fine.test>")
        code, text = wait_for(lambda: (lambda r: r if "closed" in r[1] else None)(s.cmd("RCPT TO:<x@gone.mx.test>"))) or (0, "")
        out = mx.postern("explain", token(text))[1]
        ok(f"{mx.dir}/etc/routes:1:" in out and "key:     gone.mx.test" in out, "error route: file, line, key", text, out)


def t_what_becomes_of_mail():
    """hold, discard, redirect, add, warn; for one recipient and for all."""
    mx = Postern(users=("alice", "bob", "carol"), rule=[
        "mail sender=hold@* hold",
        "mail sender=drop@* discard",
        "mail sender=copy@* redirect carol@mx.test",
        "rcpt recipient=trap@mx.test discard",
        "rcpt recipient=old@mx.test redirect bob@mx.test",
        "mail add X-Policy: checked here",
        "end header=X-Look warn \"somebody looks\"",
        "end header=X-All redirect carol@mx.test",
    ])
    r = mx.send("hold@a.test", ["alice@mx.test"], message(subject="held"))
    same(r[0], 250, "a message that is held is accepted")
    listed = mx.postern("queue", "list", "--state", "held")[1]
    ok("hold@a.test" in listed, "and stands in the queue as held", listed)
    r = mx.send("drop@a.test", ["alice@mx.test"], message(subject="dropped"))
    same(r[0], 250, "a message that is thrown away is accepted")
    ok(mx.wait_event("discarded", **{"from": "drop@a.test"}), "and logged")
    same(mx.send("copy@a.test", ["alice@mx.test", "bob@mx.test"], message(subject="copied"))[0], 250, "redirected")
    got = mx.wait_mail("carol")
    ok(len(got) == 1 and b"copied" in got[0], "to one, once")
    same(mx.send("x@a.test", ["trap@mx.test", "old@mx.test"], message(subject="both"))[0], 250, "a trap and an old address")
    got = mx.wait_mail("bob")
    ok(len(got) == 1 and b"\r\nX-Policy: checked here\r\n" in got[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
       "the new address has it, with the field that was added", got)
    same(mx.send("x@a.test", ["trap@mx.test"], message(subject="only the trap"))[0], 250, "a trap alone")
    ok(mx.wait_event("discarded", **{"from": "x@a.test"}), "is thrown away")
    # large, so that its envelope and first chunks are with queue before the end decides
    big = message(subject="big", body=("z" * 78 + "\r\n") * 30000, **{"X-All": "1", "X-Look": "1"})
    same(mx.send("x@a.test", ["alice@mx.test", "bob@mx.test"], big)[0], 250, "a large one, redirected at its end")
    got = mx.wait_mail("carol", 2)
    ok(len(got) == 2 and any(len(m) > 2000000 for m in got), "comes whole to the new address only", [len(m) for m in got])
    same((len(mx.maildir("alice")), len(mx.maildir("bob"))), (0, 1), "and nobody else has it")
    e = mx.events("policy", action="warn")
    ok(e and e[0]["text"] == "somebody looks" and int(e[0]["line"]) > 0, "warn is only a line of the log", e)


def t_names():
    """The names of clients: confirmed, claimed, none, and DNS that does not answer."""
    zone = """1.0.0.127.in-addr.arpa PTR client.good.test
client.good.test A 127.0.0.1
2.0.0.127.in-addr.arpa PTR liar.good.test
liar.good.test A 192.0.2.1
4.0.0.127.in-addr.arpa TIMEOUT
"""
    with DNS(zone) as dns:
        mx = Postern(smtpd_processes=1, resolver=f"127.0.0.1:{dns.port}", rule=[
            "connect name=*.good.test accept",
            "connect reverse=*.good.test reject \"You only say so\"",
            "connect name=unknown defer \"Get a name\"",
        ])

        def greeting(host):
            s = Smtp.__new__(Smtp)
            s.sock = socket.create_connection((mx.address, mx.port), 30, source_address=(host, 0))
            s.file = s.sock.makefile("rb")
            s.greeting = s.reply()
            return s

        s = wait_for(lambda: (lambda s: s if s.greeting[0] == 220 and "good" in mx.log() else s.close())(greeting("127.0.0.1")))
        ok(s, "a confirmed name")
        same(s.send("a@b.test", ["alice@mx.test"], message())[0], 250, "gives mail")
        got = mx.wait_mail("alice")
        ok(got and b"(client.good.test [127.0.0.1])" in got[0], "its name is in Received", got)
        ok(mx.events("connect", client="127.0.0.1", host="client.good.test"), "and in the log")
        ok(greeting("127.0.0.2").greeting[1].startswith("You only say so"), "a name that is only claimed")
        same(greeting("127.0.0.3").greeting[0], 421, "none")
        same(greeting("127.0.0.4").greeting[0], 220, "and when DNS is silent no rule about names holds")
        mx.write_config(rule=["mail sender=x@* reject"])
        mx.proc.send_signal(signal.SIGHUP)
        ok(mx.wait_event("config_loaded", generation=2), "reloaded")
        before = wait_for(lambda: (lambda n: n if greeting("127.0.0.3").greeting[0] == 220 else None)(len(dns.queries)))
        greeting("127.0.0.1"), greeting("127.0.0.1")
        ok(not any("in-addr" in str(q) for q in dns.queries[before or 0:]), "without such a rule DNS is not asked", dns.queries)


def t_reload():
    """New rules count at once, wrong ones never; connect refuses in the greeting, local users are not meant."""
    mx = Postern()
    same(mx.send("a@b.test", ["alice@mx.test"], message())[0], 250, "no rules")
    with mx.smtp() as s:
        s.cmd("EHLO a.test")
        mx.write_config(rule=["connect client=127.0.0.0/8 reject \"Not from here\"", "mail sender=late@* reject"])
        mx.proc.send_signal(signal.SIGHUP)
        ok(mx.wait_event("config_loaded", generation=2), "reloaded")
        wait_for(lambda: s.cmd("MAIL FROM:<late@b.test>")[0] == 550 or s.cmd("RSET")[0] != 250)
        same(s.cmd("MAIL FROM:<late@b.test>")[0], 550, "a session that was there hears the new rules")
    # another smtpd process may be a moment later
    s = wait_for(lambda: (lambda s: s if s.greeting[0] == 554 else s.close())(mx.smtp()))
    ok(s and s.greeting[1].startswith("Not from here [P"), "554 in the greeting (RFC 5321 3.1)", s and s.greeting)
    same(s.cmd("EHLO a.test")[0], 503, "then only QUIT")
    same(s.cmd("QUIT")[0], 221, "is heard")
    same(mx.tool("alice", program="submit/sendmail", stdin=b"Subject: local\n\nx\n", user="bob").returncode, 0,
         "sendmail of a local user")
    mx.wait_mail("alice", 2)
    mx.write_config(rule=["connect clinet=127.0.0.0/8 reject"])
    rc, _, err = mx.postern("check")
    ok(rc == 78 and "did you mean \"client\"?" in err and f"{mx.config}:" in err, "check finds a wrong word", err)
    mx.proc.send_signal(signal.SIGHUP)
    ok(mx.wait_event("config_kept"), "and posternd keeps the old rules")
    ok("clinet" in mx.events("config_kept")[0]["why"], "and says why")
    same(mx.smtp().greeting[0], 554, "which still count")


main(t_refusals, t_lookup_tokens, t_what_becomes_of_mail, t_names, t_reload)
