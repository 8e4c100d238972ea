#!/usr/bin/env python3
"""Failures, expiry, aliases, the queue tool and the host capability table."""
import email
import json

from harness import *
from sink import Sink


def t_bounce():
    """A permanent failure comes back from the null reverse-path, with the other host's words; a bounce is never bounced."""
    sink = Sink(behave={"RCPT": lambda line: "550 5.1.1 there is no such person" if "gone" in line else None})
    on_cleanup(sink.close)
    mx = Postern()
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    same(mx.send("alice@mx.test", ["gone@far.test", "here@far.test"], message("to two", body="secret body\r\n"))[0], 250, "accepted")
    mails = mx.wait_mail("alice")
    same(len(mails), 1, "the sender gets one report")
    m = email.message_from_bytes(mails[0])
    same(m["Return-Path"], "<>", "from the null reverse-path")
    same((m.get_content_type(), m.get_param("report-type")), ("multipart/report", "delivery-status"), "a multipart/report")
    text = mails[0].decode()
    for word in ("gone@far.test", "there is no such person", "5.1.1", "Subject: to two"):
        ok(word in text, f"it holds: {word}", text)
    ok("here@far.test" not in text.partition("Subject: to two")[0], "and nothing of the recipient who was served")
    ok("secret body" not in text, "nor the body")
    same(len(sink.messages), 1, "the other recipient was served in the same transaction")
    same(mx.send("", "gone@far.test", message("null"))[0], 250, "a message from <> that fails")
    wait_for(lambda: mx.queue_count() == 0)
    time.sleep(0.5)
    same(len(mx.maildir("alice")), 1, "makes no bounce")


def t_expiry():
    """Mail that cannot be delivered in its lifetime comes back, and says what was tried."""
    mx = Postern(queue_lifetime="3s", retry_first="1s", retry_max="1s")
    port = free_port()
    mx.routes(f"down.test smtp:[127.0.0.1]:{port}\n")
    mx.send("alice@mx.test", "x@down.test", message("old"))
    mails = mx.wait_mail("alice", 1, 30)
    ok(mails and b"x@down.test" in mails[0] and b"refused" in mails[0].lower(), "the report names the recipient and the last reason",
       mails, mx.log()[-1500:])
    ok(wait_for(lambda: mx.queue_count() == 0), "the queue is empty")


def t_retry():
    """4xx is tried again, with growing pauses; 4xx for one recipient does not hold up the other."""
    state = {"n": 0}

    def rcpt(line):
        if "slow" in line:
            state["n"] += 1
            if state["n"] < 3:
                return "451 4.7.1 greylisted"
        return None
    sink = Sink(behave={"RCPT": rcpt})
    on_cleanup(sink.close)
    mx = Postern(retry_first="500ms", retry_max="1s")
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    mx.send("alice@mx.test", ["slow@far.test", "quick@far.test"], message())
    ok(wait_for(lambda: any(m[1] == ["quick@far.test"] for m in sink.messages)), "the quick one is served at once")
    ok(wait_for(lambda: any(m[1] == ["slow@far.test"] for m in sink.messages), 30), "the slow one at its third try", mx.log()[-1500:])
    same(len(sink.messages), 2, "each once")


def t_aliases():
    """Aliases: several targets, chains, loops, \\user, continuation; owner of nothing; unknown ones refused."""
    mx = Postern(users=("alice", "bob", "carol"))
    mx.newaliases("# a comment\nteam: alice, bob,\n  carol\nchain: team\nloop1: loop2\nloop2: loop1, alice\nself: \\self, bob\n"
                  "alice-too: \\alice\nPostmaster: bob\n\"with space\": carol\n")
    same(mx.send("a@c.test", "team@mx.test", message("team"))[0], 250, "team is accepted")
    for user in ("alice", "bob", "carol"):
        same(len(mx.wait_mail(user)), 1, f"{user} has the team's mail")
    same(mx.send("a@c.test", ["chain@mx.test", "TEAM@mx.test"], message("chain"))[0], 250, "a chain and the same again")
    for user in ("alice", "bob", "carol"):
        mx.wait_mail(user, 2)
    wait_for(lambda: mx.queue_count() == 0)
    same([len(mx.maildir(u)) for u in ("alice", "bob", "carol")], [2, 2, 2], "each once, however often named")
    same(mx.send("a@c.test", "loop1@mx.test", message("loop"))[0], 250, "a loop")
    same(len(mx.wait_mail("alice", 3)), 3, "still reaches the one who is not in it")
    ok(wait_for(lambda: mx.queue_count() == 0), "and ends")
    same(mx.send("a@c.test", "postmaster", message("pm"))[0], 250, "postmaster without a domain")
    mx.wait_mail("bob", 3)
    ok(any(b"Subject: pm" in m for m in mx.maildir("bob")), "goes where the alias says")
    (mx.dir / "etc/aliases").write_text("good: alice\nbad line without colon\n")
    r = mx.tool("aliases")
    ok(r.returncode and f"{mx.dir}/etc/aliases:2" in r.stderr.decode(), "a broken file is refused with its line", r.stderr)
    same(mx.send("a@c.test", "team@mx.test", message("again"))[0], 250, "and the old table keeps working")


def t_queue_tool():
    """list, show, cat, flush, remove; an ordinary user sees and removes only his own."""
    port = free_port()
    mx = Postern(retry_first="1h", retry_max="1h")
    mx.routes(f"down.test smtp:[127.0.0.1]:{port}\n")
    same(mx.postern("queue", "list")[0], 0, "an empty queue")
    for user in ("alice", "bob"):
        mx.tool("-i", f"x-{user}@down.test", program="submit/sendmail", stdin=b"Subject: q\n\nbody\n", user=user)
    ok(mx.wait_event("deferred", count=2), "two messages wait", mx.log()[-1500:])
    code, out, err = mx.postern("queue", "list")
    ok(code == 0 and "x-alice@down.test" in out + mx.postern("queue", "show", mx.events("deferred")[0]["id"])[1] and "alice@mx.test" in out, "root sees both", out, err)
    code, out, err = mx.postern("queue", "list", "--json")
    rows = json.loads(out)
    same(len(rows), 2, "as JSON too")
    if ROOT:
        code, out, err = mx.postern("queue", "list", user="alice")
        ok("alice@mx.test" in out and "bob@mx.test" not in out, "alice sees hers only", out, err)
        bobs = next(e["id"] for e in mx.events("received") if "bob" in e["from"])
        code, out, err = mx.postern("queue", "remove", bobs, user="alice")
        ok(code != 0, "alice may not remove bob's", out, err)
        code, out, err = mx.postern("queue", "cat", bobs, user="alice")
        ok(code != 0 and "body" not in out, "nor read it", out, err)
        same(mx.postern("queue", "remove", bobs, user="bob")[0], 0, "bob may")
    mine = next(e["id"] for e in mx.events("received") if "alice" in e["from"])
    code, out, err = mx.postern("queue", "cat", mine)
    ok(code == 0 and "Subject: q" in out and "x-alice@down.test" in out, "cat prints control and data", out, err)
    sink = Sink(port=port)
    on_cleanup(sink.close)
    same(mx.postern("queue", "flush")[0], 0, "flush")
    ok(wait_for(lambda: len(sink.messages) == (1 if ROOT else 2), 20), "tries what waits at once", mx.log()[-1500:])
    code, out, err = mx.postern("hosts")
    ok(code == 0 and "PIPELINING" in out and str(port) in out, "postern hosts shows what was learned of the host", out, err)
    mx.stop()
    mx.start()
    ok("PIPELINING" in mx.postern("hosts")[1], "and it is remembered over a restart", mx.postern("hosts")[1])
    code, out, err = mx.postern("trace", mine)
    ok(code == 0 and all(p in out for p in ("smtpd", "queue", "dispatch", "deliver-smtp")), "trace tells the journey through the programs", out, err)
    same(mx.postern("queue", "remove", "00000000000000000000")[0] != 0, True, "an id that is not there is an error")


def t_reuse():
    """Connections are kept for the next message; recipients share a transaction; pipelining is used."""
    sink = Sink()
    on_cleanup(sink.close)
    mx = Postern(connection_idle="10s", remote_processes="1")
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    for i in range(10):
        mx.send("a@mx.test", [f"r{j}@far.test" for j in range(3)], message(str(i)))
        wait_for(lambda: len(sink.messages) == i + 1)
    same(len(sink.messages), 10, "ten transactions of three recipients")
    same({len(m[1]) for m in sink.messages}, {3}, "each with all three")
    same(sink.sessions, 1, "over one connection")


def t_hostile_host():
    """Hosts that hang, close, talk nonsense or never stop: the mail waits, others are served."""
    bad = [Sink(behave={"connect": "hang"}), Sink(behave={"dot": "close"}), Sink(behave={"EHLO": "close"}),
           Sink(behave={"MAIL": "x" * 5000}), Sink(behave={"connect": "554 5.3.2 go away"})]
    good = Sink()
    for s in bad + [good]:
        on_cleanup(s.close)
    mx = Postern(reply_timeout="2s", connect_timeout="1s", retry_first="1h", retry_max="1h")
    mx.routes("".join(f"bad{i}.test smtp:[127.0.0.1]:{s.port}\n" for i, s in enumerate(bad)) + f"good.test smtp:[127.0.0.1]:{good.port}\n")
    for i in range(len(bad)):
        mx.send("alice@mx.test", f"x@bad{i}.test", message(str(i)))
    mx.send("alice@mx.test", "x@good.test", message("good"))
    ok(wait_for(lambda: len(good.messages) == 1, 5), "the good host is served meanwhile")
    ok(wait_for(lambda: len({e["to"] for e in mx.events("deferred")}) >= 4, 30), "the bad ones are deferred", mx.log()[-3000:])
    same(len(mx.pids("deliver-smtp")), 2, "deliver-smtp lives")
    same([e for e in mx.events("ended")], [], "nothing died")


def t_idle_smtp_clients():
    """HTTP, bare line feeds, smuggling forms and garbage are refused; the next client is served."""
    mx = Postern()
    with mx.smtp() as s:
        s.raw("GET / HTTP/1.1\r\n\r\n")
        ok(s.reply()[0] in (421, 500, 502, 554, 0), "HTTP ends the session")
    for end in (b"\n.\r\n", b"\r\n.\n", b"\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"):
        with mx.smtp() as s:
            s.cmd("EHLO c.test")
            s.cmd("MAIL FROM:<a@c.test>")
            s.cmd("RCPT TO:<alice@mx.test>")
            s.cmd("DATA")
            s.raw(b"Subject: a\r\n\r\nx" + end + b"MAIL FROM:<evil@c.test>\r\nRCPT TO:<bob@mx.test>\r\nDATA\r\nSubject: b\r\n\r\ny\r\n.\r\n")
            code, _ = s.reply()
            ok(500 <= code <= 599, f"{end!r} does not end the data and is refused", code)
    with mx.smtp() as s:
        s.raw(os.urandom(5000) + b"\r\n")
        s.raw(b"QUIT\r\n")
        while s.reply()[0]:
            pass
    same(mx.send("a@c.test", "alice@mx.test", message("fine"))[0], 250, "the next client is served")
    same(len(mx.wait_mail("alice")), 1, "one mail arrived")
    same(len(mx.maildir("bob")), 0, "none was smuggled")


if __name__ == "__main__":
    main(t_bounce, t_expiry, t_retry, t_aliases, t_queue_tool, t_reuse, t_hostile_host, t_idle_smtp_clients)
