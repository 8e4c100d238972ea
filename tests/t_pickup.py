#!/usr/bin/env python3
"""The drop directory: hostile files, mail for which some recipients must wait, and a suite that is half up."""
import email
import struct

from harness import *


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = (h ^ b) * 0x100000001b3 & (1 << 64) - 1
    return h


def drop_file(fields, data, data_sum=None):
    env = b"".join(tag + struct.pack("<H", len(v)) + v for tag, v in fields)
    return (b"postern-drop 01\n" + struct.pack("<IQ", len(env), fnv(env)) + env +
            struct.pack("<QQ", len(data), fnv(data) if data_sum is None else data_sum) + data)


def down(**kw):
    """An instance that was started once, so that its directories are there, and is down."""
    mx = Postern(**kw)
    mx.stop()
    return mx


def put(mx, name, content, user="bob", mode=0o640):
    f = mx.dir / "drop" / name
    f.write_bytes(content)
    f.chmod(mode)
    if ROOT:
        os.chown(f, mx.user_uid[user], mx.uid_of("pickup"))
    return f


GOOD = [(b"S", b"bob@mx.test"), (b"B", b"7"), (b"R", b"alice@mx.test")]


def name(kind, i):
    return f"{kind}-{i:024x}"


def t_hostile():
    """Links, pipes, directories, garbage, cut and forged files: nothing of them is sent or lost, pickup lives."""
    mx = down()
    drop = mx.dir / "drop"
    data = b"Subject: x\r\n\r\nbody\r\n"
    whole = drop_file(GOOD, data)
    victim = mx.dir / "etc/secret"
    victim.write_bytes(whole)  # another's file that has the right form
    os.link(victim, drop / name("m", 1))
    os.symlink(victim, drop / name("m", 2))
    os.mkfifo(drop / name("m", 3), 0o666)
    (drop / name("m", 4)).mkdir()
    put(mx, name("m", 5), os.urandom(1000))
    put(mx, name("m", 6), whole[:-1])
    put(mx, name("m", 7), whole + b"x")
    put(mx, name("m", 8), drop_file(GOOD, data, data_sum=1))
    put(mx, name("m", 9), drop_file(GOOD[:2], data))
    put(mx, name("m", 10), drop_file([(b"S", b"bob@mx.test> SIZE=1"), (b"R", b"alice@mx.test")], data))
    put(mx, name("m", 11), drop_file([(b"S", b"b@mx.test"), (b"R", b"alice@mx.test>\r\nRCPT TO:<evil@mx.test")], data))
    put(mx, name("m", 12), b"")
    put(mx, name("m", 13), b"postern-drop 01\n" + b"\xff" * 12)
    put(mx, name("t", 14), whole)
    old = put(mx, name("t", 15), whole)
    os.utime(old, (1, 1))
    put(mx, "m-something", whole)
    put(mx, "bad-" + "0" * 24, whole)
    put(mx, name("m", 99), drop_file(GOOD, b"Subject: good\r\n\r\nbody\r\n"))
    mx.start()
    mails = mx.wait_mail("alice", 1, 30)
    wait_for(lambda: not (drop / name("m", 99)).exists() and len(mx.events("set_aside", program="postern/pickup")) >= 12, 20)
    same([email.message_from_bytes(m)["Subject"] for m in mx.maildir("alice")], ["good"], "only the good one is delivered")
    left = {f.name for f in drop.iterdir()} - {".lock", "lock"}
    for i, what in ((5, "garbage"), (6, "a cut file"), (7, "a file with more behind it"), (8, "a wrong checksum"), (9, "no recipient"),
                    (10, "a sender with a parameter"), (11, "a recipient with a line"), (12, "an empty file"), (13, "an impossible length"),
                    (1, "a hard link")):
        ok(name("bad", i) in left and name("m", i) not in left, f"{what} is set aside", sorted(left))
    ok(name("bad", 2) in left and name("bad", 4) in left, "a symbolic link and a directory are set aside", sorted(left))
    same([n for n in left if n.startswith("m-0")], [], "no name is left that would be looked at again")
    ok(name("t", 14) in left and name("t", 15) not in left, "an unfinished file is left for a day", sorted(left))
    ok("m-something" in left, "other names are left alone")
    same(victim.read_bytes(), whole, "the linked file is untouched")
    same(len(mx.pids("pickup")), 1, "pickup lives")
    same(mx.events("ended"), [], "nothing died")
    mx.tool("-i", "alice", program="submit/sendmail", user="bob", stdin=b"Subject: after\n\nx\n")
    same(len(mx.wait_mail("alice", 2)), 2, "mail flows on")


def t_flood():
    """Thousands of names that are no mail neither hide a mail behind them nor keep pickup busy."""
    mx = down()
    for i in range(1, 1500):
        os.mkfifo(mx.dir / "drop" / name("m", i), 0o666)
        os.symlink("/", mx.dir / "drop" / name("m", 10000 + i))
    for i in range(20):
        put(mx, name("m", 20000 + i), drop_file(GOOD, b"Subject: good\r\n\r\nx\r\n"))
    mx.start()
    same(len(mx.wait_mail("alice", 20, 60)), 20, "twenty mails among three thousand other names")
    wait_for(lambda: not [f for f in (mx.dir / "drop").iterdir() if f.name.startswith("m-")], 20)

    def ticks():
        return sum(int(x) for x in pathlib.Path(f"/proc/{mx.pids('pickup')[0]}/stat").read_text().rsplit(") ", 1)[1].split()[11:13])
    before = ticks()
    time.sleep(2)
    ok(ticks() - before <= 5, "then it sleeps", ticks() - before)


def t_uid():
    """A file says who submits by its owner, not by its words."""
    mx = down()
    if not ROOT:
        return ok(True, "the owner counts # SKIP needs root")
    put(mx, name("m", 1), drop_file([(b"U", b"0")] + GOOD, b"Subject: forged\r\n\r\nx\r\n"))
    mx.start()
    mails = mx.wait_mail("alice", 1, 30)
    uid = mx.user_uid["bob"]
    same({e["uid"] for e in mx.events("picked_up")}, {str(uid)}, "the owner's UID counts")
    ok(mails and b"uid 0" not in mails[0].lower().partition(b"subject")[0], "and is in Received", mails)


def t_rest():
    """When one recipient is refused and the report cannot be made, or some must wait, the served ones are not served again."""
    mx = down(users=("alice", "bob", "carol"), recipient_limit="100")
    many = [(b"R", f"alice+{i}@mx.test".encode()) for i in range(150)]
    put(mx, name("m", 1), drop_file(GOOD[:2] + many, b"Subject: many\r\n\r\nx\r\n"))
    mx.start()
    ok(mx.wait_event("picked_up", 30, 2), "a mail for more recipients than one transaction takes")
    wait_for(lambda: not [f for f in (mx.dir / "drop").iterdir() if f.name[0] in "mw"], 20)
    same(sorted(int(e["rcpts"]) for e in mx.events("queued")), [50, 100], "goes in two parts, none twice")
    if ROOT:
        same({e["uid"] for e in mx.events("picked_up")}, {str(mx.user_uid["bob"])}, "both as its owner's")


def t_half_up():
    """Mail that comes while queue is dead waits in the drop directory, and goes on by itself."""
    mx = Postern()
    for pid in mx.pids("queue"):
        os.kill(pid, signal.SIGSTOP)
    stopped = mx.pids("queue")
    p = subprocess.Popen([BUILD / "submit/sendmail", "-i", "alice@mx.test"], stdin=subprocess.PIPE, env=dict(os.environ, POSTERN_CONFIG=str(mx.config)))
    p.stdin.write(b"Subject: half up\n\nx\n")
    p.stdin.close()
    time.sleep(1)
    same(p.poll(), None, "nobody says it is safe before it is")
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    same(p.wait(30), 0, "when queue has died, it is kept")
    same(len(mx.wait_mail("alice", 1, 40)), 1, "and delivered when queue is back")
    time.sleep(1)
    same(len(mx.maildir("alice")), 1, "once")


if __name__ == "__main__":
    main(t_hostile, t_flood, t_uid, t_rest, t_half_up)
