#!/usr/bin/env python3
"""sendmail(1) as cron, mailx, mutt and scripts call it; mail given while the suite is down."""
import email

from harness import *


def sendmail(mx, *args, stdin=b"Subject: s\n\nbody\n", user="alice", program="submit/sendmail", **kw):
    return mx.tool(*args, program=program, stdin=stdin, user=user, **kw)


def only(mails):
    return email.message_from_bytes(mails[-1]) if mails else email.message_from_string("")


def t_callers():
    """The argument vectors of ecosystem.md, each delivers what it should."""
    mx = Postern()
    n = 0
    calls = [
        ("cron", ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "bob"], b"From: root (Cron Daemon)\nTo: bob\nSubject: Cron\n\nx\n"),
        ("at", ["-i", "bob"], b"Subject: at\n\nx\n"),
        ("bsd-mailx", ["-i", "-t"], b"To: bob@mx.test\nSubject: m\n\nx\n"),
        ("s-nail", ["-i", "-f", "alice@mx.test", "--", "bob@mx.test"], b"Subject: s\n\nx\n"),
        ("mailutils", ["-oi", "-f", "alice@mx.test", "-t"], b"To: Bob <bob@mx.test>\nSubject: u\n\nx\n"),
        ("mutt", ["-oem", "-oi", "--", "bob@mx.test"], b"Subject: mutt\n\nx\n"),
        ("php", ["-t", "-i", "-fbounce@mx.test"], b"To: bob@mx.test\r\nSubject: php\r\n\r\nmixed\nline\r\nends\n"),
        ("unattended-upgrades", ["-oi", "-t"], b"To: bob\nSubject: uu\n\nx\n"),
        ("procmail", ["-oi", "bob@mx.test"], b"Subject: p\n\nx\n"),
    ]
    for who, args, text in calls:
        r = sendmail(mx, *args, stdin=text)
        n += 1
        same((r.returncode, r.stderr), (0, b""), f"{who}: exit 0, silent")
        same(len(mx.wait_mail("bob", n)), n, f"{who}: delivered")
        m = only(mx.maildir("bob"))
        for field in ("From", "Date", "Message-ID", "Received", "Return-Path"):
            same(len(m.get_all(field, [])), 1, f"{who}: one {field}")
    m = next(x for x in map(email.message_from_bytes, mx.maildir("bob")) if x["Subject"] == "php")
    same(m.get_payload(), "mixed\nline\nends\n", "mixed line ends become one kind")
    same(m["Return-Path"], "<bounce@mx.test>", "-fbounce@... is the envelope sender")
    m = next(x for x in map(email.message_from_bytes, mx.maildir("bob")) if x["Subject"] == "at")
    ok("alice@mx.test" in m["From"], "a missing From is the caller", m["From"])


def t_bcc():
    """Bcc gets the mail and nobody sees it, folded or not, in any case."""
    mx = Postern(users=("alice", "bob", "carol", "dave"))
    r = sendmail(mx, "-t", stdin=b"To: bob@mx.test\nbCC: carol@mx.test,\n  \"Dave, D.\" <dave@mx.test>\nSubject: hidden\n\nx\n")
    same(r.returncode, 0, "taken")
    for user in ("bob", "carol", "dave"):
        mails = mx.wait_mail(user)
        same(len(mails), 1, f"{user} has it")
        head = mails[0].partition(b"\n\n")[0].lower()
        ok(b"bcc" not in head and (user == "dave" or b"dave" not in head), f"{user} sees no Bcc", head)


def t_exit_codes():
    """sysexits: usage, no recipients, unknown user, lone dot."""
    mx = Postern()
    same(sendmail(mx, "-i").returncode, 64, "no recipient: 64")
    same(sendmail(mx, "-X", "/tmp/x", "bob").returncode, 64, "unknown flag: 64")
    r = sendmail(mx, "-oep", "nobody@mx.test")
    same(r.returncode, 67, "unknown user: 67")
    ok(b"nobody@mx.test" in r.stderr, "and it is named", r.stderr)
    same(sendmail(mx, "bob", stdin=b"Subject: dot\n\none\n.\ntwo\n").returncode, 0, "a lone dot")
    mails = mx.wait_mail("bob")
    same(body_of(mails[-1]), b"one\n", "ends the message without -i")
    same(sendmail(mx, "-oi", "bob", stdin=b"Subject: dot\n\none\n.\ntwo\n").returncode, 0, "a lone dot with -oi")
    mails = mx.wait_mail("bob", 2)
    same(body_of(mails[-1]), b"one\n.\ntwo\n", "is kept")
    same(sendmail(mx, "-bp", user=None).returncode, 0, "-bp")
    wait_for(lambda: mx.queue_count() == 0)
    r = sendmail(mx, program="submit/mailq") if (BUILD / "submit/mailq").exists() else sendmail(mx, "-bp", user=None)
    ok(b"empty" in r.stdout, "an empty queue is said in words", r.stdout)


def t_suite_down():
    """Mail given while the suite is down is kept, survives, and is delivered when it is up, as its sender."""
    mx = Postern()
    mx.stop()
    for i in range(3):
        r = sendmail(mx, "-oi", "bob@mx.test", stdin=f"Subject: down {i}\n\nbody\n".encode())
        same((r.returncode, r.stderr), (0, b""), f"mail {i}: exit 0")
    kept = list((mx.dir / "drop").iterdir())
    same(len(kept), 3, "three files in the drop directory")
    if ROOT:
        same({f.stat().st_uid for f in kept}, {mx.user_uid["alice"]}, "they are the caller's")
        same({f.stat().st_mode & 0o007 for f in kept}, {0}, "and nobody else may read them")
        r = subprocess.run(["ls", str(mx.dir / "drop")], capture_output=True, user=mx.user_uid["bob"], group=mx.user_uid["bob"], extra_groups=[])
        ok(r.returncode != 0, "no user may list the directory", r.stdout)
        r = subprocess.run(["rm", "-f", str(kept[0])], capture_output=True, user=mx.user_uid["bob"], group=mx.user_uid["bob"], extra_groups=[])
        ok(kept[0].exists(), "nor remove another's mail")
        # links and garbage of a hostile user: skipped, never read
        os.link(mx.dir / "etc/passwd", mx.dir / "drop/m-hardlink")
        os.symlink("/etc/passwd", mx.dir / "drop/m-symlink")
        (mx.dir / "drop/m-garbage").write_bytes(os.urandom(500))
        os.chown(mx.dir / "drop/m-garbage", mx.user_uid["bob"], mx.uid_of("pickup"))
        os.mkfifo(mx.dir / "drop/m-fifo", 0o666)
    mx.start()
    same(len(mx.wait_mail("bob", 3, 40)), 3, "all three are delivered")
    same({email.message_from_bytes(m)["Return-Path"] for m in mx.maildir("bob")}, {"<alice@mx.test>"}, "as mail of the caller")
    wait_for(lambda: not [f for f in (mx.dir / "drop").iterdir() if f in kept], 10)
    same([f for f in kept if f.exists()], [], "and removed from the drop directory")
    same(len(mx.pids("pickup")), 1, "pickup lives on")


def t_refused_when_picked_up():
    """Mail to nobody, given while the suite is down, comes back to its sender."""
    mx = Postern()
    mx.stop()
    same(sendmail(mx, "nobody@mx.test", stdin=b"Subject: lost?\n\nbody\n").returncode, 0, "kept")
    mx.start()
    mails = mx.wait_mail("alice", 1, 40)
    ok(mails and b"nobody@mx.test" in mails[0], "the sender is told", mails, mx.log()[-1500:])


def t_partial():
    """A sendmail that is killed in the middle delivers nothing, up or down."""
    mx = Postern()
    env = dict(os.environ, POSTERN_CONFIG=str(mx.config))
    for state in ("up", "down"):
        if state == "down":
            mx.stop()
        p = subprocess.Popen([BUILD / "submit/sendmail", "-oi", "bob@mx.test"], stdin=subprocess.PIPE, env=env)
        p.stdin.write(b"Subject: partial\n\nhalf a")
        p.stdin.flush()
        time.sleep(0.3)
        p.kill()
        p.wait()
    mx.start()
    mx.send("a@c.test", "bob@mx.test", message("whole"))
    mx.wait_mail("bob")
    time.sleep(1)
    same(len(mx.maildir("bob")), 1, "only the whole message is there")


if __name__ == "__main__":
    main(t_callers, t_bcc, t_exit_codes, t_suite_down, t_refused_when_picked_up, t_partial)
