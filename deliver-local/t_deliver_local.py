#!/usr/bin/env python3
"""Mailboxes of a running suite, and the spawner alone, asked by a dispatch that has gone bad."""
import os
import pathlib
import re
import signal
import socket
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("srcdir", "."), "tests"))
from harness import ROOT, Postern, main, message, ok, same, wait_for  # noqa: E402
from load import Load, Verdict, of_maildir  # noqa: E402
from play import Program, sealed  # noqa: E402

MAIL = 8  # UID and GID of mail, in the harness's passwd file and in Debian


def t_spool():
    """A directory like /var/mail: root:mail 2775. New mailboxes are the user's, 0600, locked and unlocked."""
    if not ROOT:
        return ok(True, "needs root # SKIP")
    mx = Postern(mailbox="mbox:%m/%u", start=False)
    spool = mx.dir / "mail"
    os.chown(spool, 0, MAIL)
    spool.chmod(0o2775)
    mx.start()
    for user in ("alice", "root", "postmaster"):
        same(mx.send("a@client.test", f"{user}@mx.test", message("s1"))[0], 250, f"mail to {user} is accepted")
    ok(mx.wait_event("delivered", count=3), "all three are delivered", mx.log()[-2000:])
    for user, uid in (("alice", mx.user_uid["alice"]), ("root", MAIL), ("postmaster", MAIL)):
        st = (spool / user).stat()
        same((st.st_uid, stat.S_IMODE(st.st_mode)), (uid, 0o600), f"the mailbox of {user} has the right owner and mode")
    same(sorted(p.name for p in spool.iterdir()), ["alice", "postmaster", "root"], "no lock is left")


def t_unfit():
    """A mailbox that is not the user's: deferred, with a text that says why, and delivered when it was put right."""
    mx = Postern(mailbox="mbox:%m/%u", start=False)
    target = mx.dir / "mail/target"
    target.write_text("")
    (mx.dir / "mail/alice").symlink_to(target)
    mx.start()
    same(mx.send("a@client.test", "alice@mx.test", message("u1"))[0], 250, "accepted")
    ok(mx.wait_event("deferred"), "deferred")
    ok("symbolic link" in mx.events("deferred")[0]["status"], "the status says why", mx.events("deferred"))
    same(target.read_text(), "", "nothing went through the link")
    (mx.dir / "mail/alice").unlink()
    ok(mx.wait_event("delivered", seconds=30), "delivered after the link was removed")


def t_backlog():
    """Thousands come while no worker can be had; most are put aside until it is their turn. When one works, that is soon."""
    mx = Postern(retry_first="5m", retry_max="1h", behind_limit=20000)
    spawner = mx.pids("deliver-local")[0]
    os.kill(spawner, signal.SIGSTOP)
    load = Load(mx, [["alice@mx.test"]], senders=8, sizes=(100, 200))
    ok(wait_for(lambda: len(load.acked) > 2600, 60), "2,600 messages are taken", len(load.acked), load.replies)
    load.end()
    os.kill(spawner, signal.SIGCONT)
    new = mx.dir / "home/alice/Maildir/new"
    want = len(load.acked)
    wait_for(lambda: new.is_dir() and len(os.listdir(new)) >= want, 40, step=0.1)
    v = Verdict(load.sent, load.acked, of_maildir(new.parent, "alice@mx.test"))
    ok(v and not v.twice, f"{v}", v.story()[:2000])


def t_replaced():
    """Home, Maildir and new/ are moved away and come anew, again and again, under a load: all mail is in one of them, once, and soon."""
    mx = Postern(retry_first="5m", retry_max="1h", users=("alice",))
    home, uid = mx.dir / "home/alice", mx.user_uid["alice"]
    fresh, away = mx.dir / "fresh", []

    def replace(i):
        what = (home, home / "Maildir", home / "Maildir/new")[i % 3]
        fresh.mkdir(mode=0o700)
        if ROOT:
            os.chown(fresh, uid, uid)
        away.append(mx.dir / f"away{i}")
        what.rename(away[-1])
        if what == home:
            fresh.rename(home)
        else:
            fresh.rmdir()  # Postern makes it

    def found():
        folders = [home / "Maildir"] + away + [d / "Maildir" for d in away]
        return [m for d in folders for m in of_maildir(d, "alice@mx.test")] + [("alice@mx.test", f.read_bytes()) for d in away for f in d.glob("*.postern")]

    load = Load(mx, [["alice@mx.test"]], senders=4, sizes=(100, 200))
    for i in range(12):
        had = len(load.acked)
        wait_for(lambda: len(load.acked) > had + 30 and (home / "Maildir/cur").is_dir(), 20)
        replace(i)
    load.end()
    wait_for(lambda: len(found()) >= len(load.acked), 40, step=0.1)
    v = Verdict(load.sent, load.acked, found())
    ok(v and not v.twice, f"{v}", v.story()[:2000], mx.log()[-2000:])
    refused = [e for e in mx.events("deferred") if "cannot be written" in e["status"] or "a file in" in e["status"]]
    ok(not refused, "and none was refused because its Maildir had just been moved", refused[:3])
    home.rename(mx.dir / "gone")
    same(mx.send("a@client.test", "alice@mx.test", message("r1"))[0], 250, "accepted when there is no home at all")
    ok(wait_for(lambda: any("cannot be opened" in e["status"] for e in mx.events("deferred")), 20), "deferred: there is nowhere to put it",
       mx.events("deferred")[-3:])
    same(len({e["pid"] for e in mx.events("worker")}) < 20, True, "and not by starting worker after worker")
    (mx.dir / "gone").rename(home)
    want = len(load.acked) + 1
    ok(wait_for(lambda: len(found()) == want, 40, step=0.1), "delivered soon after the home has come back", mx.log()[-2000:])
    mx.stop()
    ok("Sanitizer" not in mx.output(), "no worker ended badly", mx.output()[:3000])


def t_one_uid():
    """Users who share a UID, each with a home of his own, as virtual users have them: a worker can enter one home only, and mail for the others
    does not wait for a time."""
    users = ["alice"] + [f"v{i}" for i in range(4)]
    mx = Postern(users=("alice",), retry_first="5m", retry_max="1h", start=False)
    uid, passwd = mx.user_uid["alice"], mx.dir / "etc/passwd"
    for u in users[1:]:
        home = mx.dir / "home" / u
        home.mkdir(mode=0o700)
        if ROOT:
            os.chown(home, uid, uid)
        passwd.write_text(passwd.read_text() + f"{u}:x:{uid}:{uid}::{home}:/bin/sh\n")
    mx.start()
    load = Load(mx, [[f"{u}@mx.test"] for u in users], senders=4, sizes=(100, 200))
    ok(wait_for(lambda: len(load.acked) > 200, 60), "200 messages are taken", len(load.acked), load.replies)
    load.end()

    def found():
        return [m for u in users for m in of_maildir(mx.dir / "home" / u / "Maildir", f"{u}@mx.test")]

    wait_for(lambda: len(found()) >= len(load.acked), 40, step=0.1)
    v = Verdict(load.sent, load.acked, found())
    ok(v and not v.twice, f"{v}", v.story()[:2000], mx.log()[-2000:])
    same(mx.events("deferred"), [], "and none was put off for it")


class Spawner:
    def __init__(self, **settings):
        self.program = Program("deliver-local", "local", dict({"hostname": "me.test", "uid-base": "61000"}, **settings), root=False,
                               uid=0)
        self.dispatch = self.program.wire("dispatch")

    def spawn(self, uid, gid, tag=1):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.dispatch.send("spawn", fd=theirs.fileno(), tag=tag, uid=uid, gid=gid)
        theirs.close()
        answer = self.dispatch.until("spawned")[-1][1]
        return answer, ours

    def end_worker(self):
        """kill -9, to the one that was started last."""
        wait_for(lambda: "worker uid=" in self.program.lines(), 5)
        os.kill(int(re.findall(r"worker uid=\d+ pid=(\d+)", self.program.lines())[-1]), signal.SIGKILL)


def t_refusals():
    """The spawner starts workers for recipients only, whatever dispatch asks."""
    if not ROOT:
        return ok(True, "needs root # SKIP")
    s = Spawner()
    with s.program:
        for what, uid, gid, want in (
                ("root", 0, 0, 0), ("root's group", 4711, 0, 0), ("a system account", 1, 1, 0), ("UID -1", 0xffffffff, 1000, 0),
                ("GID -1", 4711, 0xffffffff, 0), ("the group shadow", 4711, 42, 0), ("queue's UID", 61003, 61003, 0),
                ("lookup's UID", 61002, 4711, 0), ("system-mailbox-user", MAIL, MAIL, 1), ("a user", 4711, 4711, 1),
                ("a user with the group mail", 4711, MAIL, 1)):
            answer, channel = s.spawn(uid, gid)
            same(answer["ok"], want, f"{what}: {'started' if want else 'refused'}")
            if not want:
                same(answer["error"], 1, f"{what}: EPERM")
            channel.close()


def t_worker():
    """A worker alone: jobs, a second delivery, a wrong wall, and nonsense."""
    if not ROOT:
        return ok(True, "needs root # SKIP")
    from play import Channel
    s = Spawner()
    with s.program:
        home = pathlib.Path(s.program.dir.name) / "home"
        home.mkdir()
        os.chown(home, 4711, 4711)
        data = b"Subject: w\r\n\r\nbody\r\n"
        arrival = int(time.time() * 1000)  # of a message, whenever it is delivered: its name in the Maildir follows from it

        def begin():
            answer, sock = s.spawn(4711, 4711)
            same(answer["ok"], 1, "a worker")
            c = Channel(sock, "dispatch")
            c.expect("synced")
            return c

        def job(c, number, mailbox, rcpts=("alice@me.test",), **fields):
            values = dict(job=number, id=(9, number), arrival=arrival, sender="a@there.test", size=len(data),
                          prefix="Received: x\r\n", user="alice", home=str(home), mailbox=mailbox, rcpts=len(rcpts))
            c.send("local_job", fd=sealed(data), **dict(values, **fields))
            try:
                for i, r in enumerate(rcpts):
                    c.send("job_rcpt", job=number, index=i, rcpt=r)
            except BrokenPipeError:
                pass  # the job itself was enough to end the worker

        c = begin()
        job(c, 1, f"maildir:{home}/Maildir", ("alice@me.test", "alice+x@me.test"))
        results = c.until("job_done")
        same([r[1].get("kind") for r in results[:-1]], [0, 0], "two recipients, two results, both ok")
        files = list((home / "Maildir/new").iterdir())
        same(len(files), 1, "one copy of the message")
        ok(b"\nDelivered-To: alice@me.test\nDelivered-To: alice+x@me.test\n" in files[0].read_bytes(), "with both recipients")
        job(c, 1, f"maildir:{home}/Maildir", ("alice@me.test", "alice+x@me.test"))
        c.until("job_done")
        same(len(list((home / "Maildir/new").iterdir())), 1, "the same again: still one")
        job(c, 2, "mbox:/var/mail/alice")
        same(c.next(5), ("job_back", {"job": 2}), "another directory is not for this worker: it gives the job back, undone")
        job(c, 3, f"maildir:{home}/Maildir", ("alice@me.test",))
        same([r[0] for r in c.until("job_done")], ["result", "job_done"], "what is for it, it goes on with")
        c.close()
        for what, fields in (("no recipients", dict(rcpts=())), ("a sender that is none", dict(sender="a b")),
                             ("a recipient that is none", dict(rcpts=("@",)))):
            c = begin()
            job(c, 3, f"maildir:{home}/Maildir", **fields)
            same(c.next(5)[0], None, f"{what}: the worker ends")
        c = begin()
        job(c, 4, "maildir:relative")
        same(c.until("result")[-1][1]["kind"], 1, "a mailbox that is no path: later")
        # Many at once: stored, then told after one sync. The worker is killed somewhere in between; whatever it has told, the next
        # one is asked for all of them again, as dispatch does with what was not told.
        c = begin()
        for n in range(20, 50):
            job(c, n, f"maildir:{home}/Many")
        new = home / "Many/new"
        ok(wait_for(lambda: new.is_dir() and len(list(new.iterdir())) >= 10, 10), "a reader sees mail before or after the sync")
        s.end_worker()
        while c.next(5)[0]:
            pass
        read = next(new.iterdir())
        read.rename(home / "Many/cur" / (read.name + ":2,S"))  # and the user reads one of them meanwhile
        c = begin()
        for n in range(20, 50):
            job(c, n, f"maildir:{home}/Many")
        kinds = [m[1]["kind"] for _ in range(30) for m in c.until("job_done") if "kind" in m[1]]
        same(kinds, [0] * 30, "all are told as delivered")
        files = list(new.iterdir()) + list((home / "Many/cur").iterdir())
        same(len(files), 30, "and there once")
        ok(all(f.read_bytes().endswith(b"\nSubject: w\n\nbody\n") for f in files), "whole")
        answer, _ = s.spawn(4711, 4711)
        same(answer["ok"], 1, "and the spawner goes on")
        ok(wait_for(lambda: "makes no sense" in s.program.lines(), 5), "the log says that dispatch is wrong")


main(t_spool, t_unfit, t_backlog, t_replaced, t_one_uid, t_refusals, t_worker)
