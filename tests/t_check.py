#!/usr/bin/env python3
"""postern queue check: damage of many kinds is found in the spool of a running and of a stopped suite, and repaired."""
import json

from harness import *

FOLDERS = [f"{i:02x}" for i in range(256)]


def check(mx, *options, **kw):
    """(exit status, {file: what}, the whole answer)"""
    code, out, err = mx.postern("queue", "check", "--json", *options, **kw)
    try:
        answer = json.loads(out)
    except ValueError:
        return code, {}, out + err
    return code, {f["file"]: f["what"] for f in answer["findings"]}, answer


def spool_of(mx):
    return pathlib.Path(mx.settings["spool-directory"])


def controls(mx):
    return sorted(spool_of(mx).glob("??/*.c"))


def waiting(count, **settings):
    """A suite with that many messages that wait for a dead host, each in its pair of files."""
    mx = Postern(retry_first="1h", retry_max="1h", spool_mode="direct", **settings)
    mx.routes(f"down.test smtp:[127.0.0.1]:{free_port()}\n")
    for i in range(count):
        mx.send("alice@mx.test", f"r{i}@down.test", message(str(i), body="x" * 100 + "\r\n"))
    ok(wait_for(lambda: len(mx.events("deferred")) >= count), f"{count} wait", mx.log()[-1500:])
    return mx


def owned(mx, path, data=b"", mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    if ROOT:
        os.chown(path, mx.uid_of("queue"), mx.uid_of("queue"))
    return path


def rel(mx, path):
    return str(path.relative_to(spool_of(mx)))


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def flip(path, at):
    b = bytearray(path.read_bytes())
    b[at] ^= 1
    with open(path, "r+b") as f:
        f.write(b)


def damage(mx):
    """All kinds at once, each to a message of its own; gives what is to be found, and which messages are lost to it."""
    c = controls(mx)
    top = spool_of(mx)
    data = lambda p: p.with_suffix(".d")
    want = {}

    def say(path, what):
        want[rel(mx, path)] = what
    flip(c[0], 10)
    say(c[0], "damaged")  # a control file with a flipped bit in its head
    os.truncate(data(c[1]), 50)
    say(c[1], "damaged")  # a marked message with short data
    flip(data(c[2]), 60)
    say(c[2], "damaged")  # data that do not match their checksum
    owned(mx, c[3], c[3].read_bytes().replace(b"version=1", b"version=7"))
    say(c[3], "damaged")  # of a version to come (its checksum is wrong as well)
    data(c[4]).unlink()
    say(c[4], "damaged")  # data missing of what was accepted
    with open(c[5], "ab") as f:
        f.write(b"M 90 0123")
    say(c[5], "torn")
    if ROOT:
        os.chown(c[6], 12345, 12345)
        say(c[6], "rights")
    data(c[7]).chmod(0o644)
    say(data(c[7]), "rights")
    owned(mx, c[8], os.urandom(500))
    say(c[8], "damaged")
    data(c[9]).unlink()
    os.symlink("/etc/passwd", data(c[9]))
    say(c[9], "damaged")  # a link where data should be
    ident = c[0].name[:-2]
    say(owned(mx, c[0].with_name("README")), "foreign")
    other = top / next(f for f in FOLDERS if f != c[0].parent.name)
    say(owned(mx, other / (ident + ".d")), "foreign")  # in another folder than its own
    say(owned(mx, top / "notes.txt", b"hello"), "foreign")
    last = c[11].name[:-2]
    c[11].unlink()
    say(data(c[11]), "orphan")
    head = c[12].read_bytes()
    owned(mx, c[12], head[:head.index(b"\nC ") + 1])
    say(c[12], "incomplete")
    return want, [p.name[:-2] for p in (c[i] for i in (0, 1, 2, 3, 4, 8, 9, 11, 12))]


def t_damage():
    """A stopped spool: everything is found, nothing is changed; --repair mends, sets aside and deletes no mail."""
    mx = waiting(14)
    if ROOT:
        code, found, answer = check(mx, user="alice")
        same(code, 77, "an ordinary user may not check")
    same(check(mx)[:2], (0, {}), "a running spool in order")
    same(check(mx, "--repair")[0], 75, "--repair is refused while queue runs")
    mx.stop()
    code, found, answer = check(mx)
    same((code, found, answer["messages"]), (0, {}, 14), "a stopped spool in order")
    before = len(list(spool_of(mx).rglob("*")))
    want, lost = damage(mx)
    files = {rel(mx, p): p.lstat().st_size for p in spool_of(mx).rglob("*")}
    code, found, answer = check(mx)
    same((code, found), (65, want), "all damage is found, each by its name")
    same({rel(mx, p): p.lstat().st_size for p in spool_of(mx).rglob("*")}, files, "and nothing was changed")
    ok(all(f["remedy"] and f["why"] for f in answer["findings"]), "each with its reason and remedy", answer)
    text = mx.postern("queue", "check")
    ok(text[0] == 65 and f"{len(want)} findings" in text[1], "as text", text)
    code, found, answer = check(mx, "--repair")
    same((code, set(found) - set(want), set(want) - set(found)), (0, set(), set()), "--repair repairs just these")
    ok(all(f["repaired"] for f in answer["findings"]), "all of them", answer)
    aside = {p.name for p in (spool_of(mx) / "aside").iterdir()}
    for p in want:
        name = p.split("/")[-1]
        if want[p] in ("damaged", "foreign"):
            ok(name in aside, f"{p} lies in aside", aside)
    same(check(mx)[:2], (0, {}), "then all is in order")
    mx.start()
    ok(mx.wait_event("recovered", set_aside="0", incomplete="0", messages=str(14 - len(lost))), "a start finds nothing more", mx.log()[-1500:])
    left = {r["id"] for r in json.loads(mx.postern("queue", "list", "--json")[1])}
    same(left & set(lost), set(), "the damaged ones are out of the queue")
    same(len(left), 14 - len(lost), "and all others are in it")


def t_running():
    """The same, asked of the running queue, which says what it found and changes nothing; the next start sets aside."""
    mx = waiting(14)
    time.sleep(1.5)  # until the marks are durable, and nothing of these messages is in memory
    want, lost = damage(mx)
    del want["notes.txt"]
    (spool_of(mx) / "notes.txt").unlink()
    code, found, answer = check(mx)
    same((code, found), (65, want), "all damage is found by the running queue")
    same(mx.send("alice@mx.test", "alice@mx.test", message("after"))[0], 250, "which works on")
    same(check(mx)[1], want, "and finds it again")
    mx.stop()
    mx.start()
    ok(mx.wait_event("recovered"), "a start recovers")
    code, found, answer = check(mx)
    same((code, sorted(found.values())), (65, ["damaged", "torn"]), "and leaves the torn tail, and data that only a check compares")


def t_directories():
    """Folders, the file lease, and the spool directory itself."""
    mx = waiting(3)
    mx.stop()
    top = spool_of(mx)
    used = {p.parent.name for p in controls(mx)}
    free = [f for f in FOLDERS if f not in used]
    (top / free[0]).rmdir()
    (top / free[1]).rmdir()
    owned(mx, top / free[1], b"no directory")
    (top / free[2]).chmod(0o755)
    want = {free[0]: "directory", free[1]: "directory", free[2]: "directory"}
    if ROOT:
        os.chown(top / free[3], 12345, 12345)
        want[free[3]] = "directory"
    owned(mx, top / "lease", b"lease 00000000000000000001 " + b"0" * 8 + b"\n" + b"?" * 900)
    want["lease"] = "lease"
    same(check(mx)[:2], (65, want), "all are found")
    same(check(mx, "--repair")[0], 0, "--repair")
    same(check(mx)[:2], (0, {}), "all is in order")
    slot = b"lease %020d " % 5
    owned(mx, top / "lease", b"".join(2 * [(slot + b"%08x\n" % crc32c(slot)).ljust(511) + b"\n"]))
    same(check(mx)[:2], (65, {"lease": "lease"}), "an old copy of the file lease: ids could be given again")
    same(check(mx, "--repair")[0], 0, "--repair")
    same(check(mx)[:2], (0, {}), "all is in order")
    mx.start()
    same(mx.send("alice@mx.test", "bob@mx.test", message())[0], 250, "the suite works with it")
    same(len(mx.wait_mail("bob")), 1, "mail goes")
    mx.stop()
    if ROOT:
        os.chown(top, 12345, 12345)
        same(check(mx)[0:2], (65, {".": "directory"}), "a spool of somebody else")
        same(check(mx, "--repair")[0], 0, "is given back")
        same(check(mx)[:2], (0, {}), "all is in order")


def t_journal():
    """A journal that was not replayed: its messages count; garbage is a finding, and set aside, and the rest is kept."""
    mx = Postern(spool_mode="journal", deliveries="no")
    for i in range(5):
        mx.send("alice@mx.test", f"r{i}@down.test", message(str(i)))
    mx.kill()
    top = spool_of(mx)
    same(len(controls(mx)), 0, "five messages are in the journal only")
    code, found, answer = check(mx)
    same((code, found, answer["messages"]), (0, {}, 5), "the check sees them")
    same(len(controls(mx)), 0, "and wrote nothing")
    owned(mx, top / "journal.63", os.urandom(8192))
    same(check(mx)[:2], (65, {"journal.63": "journal"}), "a garbage segment")
    code, found, answer = check(mx, "--repair")
    same((code, found), (0, {"journal.63": "journal"}), "--repair sets it aside")
    same((len(controls(mx)), [p.name for p in (top / "aside").iterdir()]), (5, ["journal.63.0"]), "and writes the five as pairs")
    same(check(mx)[:2], (0, {}), "all is in order")
    mx.start()
    same(len(json.loads(mx.postern("queue", "list", "--json")[1])), 5, "the suite has them")


def t_lock():
    """Two programs never work on one spool."""
    mx = Postern()
    other = Postern(start=False, spool_directory=spool_of(mx), uid_base=mx.uid_base if ROOT else None)
    other.start(wait=False)
    ok(wait_for(lambda: "works in it" in other.output() + other.log()), "a second suite does not get it", other.log()[-1000:])
    same(mx.send("alice@mx.test", "bob@mx.test", message())[0], 250, "the first goes on")
    mx.stop()
    other.kill()
    other.start()
    ok(other.wait_event("recovered", 30), "and the second begins when the first has ended", other.log()[-1500:])


if __name__ == "__main__":
    main(t_damage, t_running, t_directories, t_journal, t_lock)
