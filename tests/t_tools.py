#!/usr/bin/env python3
"""postern(8): check, config, status, addr, trace, and the JSON of queue and hosts."""
import json

from harness import *


def t_check():
    """Each problem once, with place and remedy; exit 78. A good instance passes, up and down."""
    mx = Postern()
    code, out, err = mx.postern("check")
    ok(code == 0 and "running" in out and not err, "a running instance passes", out, err)
    mx.stop()
    code, out, err = mx.postern("check")
    ok(code == 0 and "all is well" in out, "and a stopped one", out, err)

    def problem(what, words, *args):
        code, out, err = mx.postern("check", *args)
        lines = err.splitlines()
        ok(code == 78 and len(lines) == 2 and all(w in lines[0] for w in words), f"{what}: one line, exit 78", code, out, err)
    (mx.dir / "etc/aliases").write_text("a: b\nbroken line\n")
    problem("a broken alias file", [f"{mx.dir}/etc/aliases:2"])
    (mx.dir / "etc/aliases").write_text("a: alice\n")
    problem("aliases that were never compiled", ["alias-file", "newaliases", f"{mx.config}:"])
    mx.newaliases("a: alice\n")
    (mx.dir / "etc/routes").write_text("x.test nonsense\n")
    problem("a broken route file", [f"{mx.dir}/etc/routes:1"])
    (mx.dir / "etc/routes").unlink()
    if ROOT:
        os.chown(mx.dir / "queue", 12345, 12345)
        problem("a spool of another owner", ["spool-directory", "12345", "chown"])
        os.chown(mx.dir / "queue", mx.uid_of("queue"), mx.uid_of("queue"))
        (mx.dir / "state").chmod(0o777)
        problem("a state directory that others may write", ["state-directory", "0777", "chmod"])
        (mx.dir / "state").chmod(0o700)
    with socket.socket() as s:
        s.bind(("127.0.0.1", mx.port))
        s.listen()
        problem("a port in use", ["listen", str(mx.port), "in use"])
    mx.write_config(program_directory=mx.dir)
    problem("programs that are not there", ["program-directory", "smtpd"])
    mx.write_config(program_directory=BUILD, hostname="localhost")
    problem("a hostname without a domain", ["hostname", "localhost"])
    mx.write_config(hostname="mx.test")
    same(mx.postern("check", str(mx.config))[0], 0, "all repaired")


def t_config():
    """The settings in force; what config prints is a configuration."""
    mx = Postern(start=False)
    code, out, err = mx.postern("config")
    again = mx.dir / "again.conf"
    again.write_text(out)
    ok(code == 0 and f"spool-directory = {mx.dir}/queue" in out.splitlines(), "the settings", out, err)
    same(mx.postern("-c", str(again), "config")[1], out, "read back they are the same")
    out = mx.postern("config", "--changed")[1]
    ok("retry-first = 1s" in out and "queue-lifetime" not in out, "--changed leaves the defaults out", out)
    same(mx.postern("-c", "/nowhere", "config")[0], 78, "no such file: 78")
    for args in ((), ("nonsense",), ("queue",), ("queue", "sing"), ("queue", "show"), ("config", "--json"), ("trace",), ("--wrong",), ("queue", "show", "xyz")):
        code, out, err = mx.postern(*args)
        ok(code == 64 and not out and err, f"{args}: usage", code, out, err)
    for args in (("--help",), ("queue", "--help"), ("trace", "--help")):
        code, out, err = mx.postern(*args)
        ok(code == 0 and "usage:" in out and not err, f"{args}: help", out, err)


def t_addr():
    """Addresses by the grammar of RFC 5321."""
    mx = Postern(start=False)
    same(mx.postern("addr", "check", "A.b@Example.TEST")[:2], (0, "valid    A.b@example.test\n"), "a valid one, its domain in lower case")
    code, out, _ = mx.postern("addr", "check", "a b@x.test")
    ok(code == 65 and out.startswith("invalid  a b@x.test: "), "a wrong one: 65", out)
    r = mx.tool("addr", "check", "-", stdin=b"a@x.test\n\"q q\"@x.test\n@x\na@x.test\x1b[31m\n")
    same((r.returncode, [line.split()[0] for line in r.stdout.decode().splitlines()]), (65, ["valid", "valid", "invalid", "invalid"]), "a list")
    ok(b"\x1b" not in r.stdout, "what is printed cannot drive a terminal", r.stdout)


def t_status():
    """Running or not, and who is at work."""
    mx = Postern()
    code, out, err = mx.postern("status")
    ok(code == 0 and all(p in out for p in ROLES) and out.count("answers") == 3, "every program and socket", out, err)
    if ROOT:
        ok(re.search(rf"smtpd +\d+ +{mx.uid_of('smtpd')} ", out), "with its UID", out)
    mx.stop()
    code, out, err = mx.postern("status")
    ok(code == 69 and "not running" in out, "a stopped one: 69", out, err)
    same(mx.postern("queue", "list")[0], 69, "queue list without a suite: 69")


def t_journey():
    """trace tells the walk of a message in order, each program under its UID; JSON tells the queue."""
    mx = Postern(retry_first="1h", retry_max="1h")
    mx.routes(f"down.test smtp:[127.0.0.1]:{free_port()}\n")
    mx.send("x@far.test", ["alice@mx.test", "y@down.test"], message("walk"))
    mx.wait_mail("alice")
    ok(mx.wait_event("deferred") and mx.wait_event("delivered"), "one recipient is served, one waits")
    qid = mx.events("queued")[0]["id"]
    code, out, err = mx.postern("trace", qid)
    rows = [line.split() for line in out.splitlines()[1:]]
    walk = [r[2] for r in rows]
    ok(code == 0 and walk[:3] == ["smtpd", "queue", "dispatch"] and "deliver-local" in walk, "smtpd, queue, dispatch, deliver-local", out, err)
    if ROOT:
        uids = {r[2]: int(r[4]) for r in rows}
        same((uids["smtpd"], uids["queue"], uids["deliver-local"]), (mx.uid_of("smtpd"), mx.uid_of("queue"), mx.user_uid["alice"]),
             "the mailbox was written by alice's UID")
    copy = mx.dir / "copy"
    copy.write_text(mx.log())
    same(mx.postern("trace", "--log", str(copy), qid)[1], out, "the same from a copy of the log")
    same(mx.postern("trace", "0" * 20)[0], 66, "an id that the log does not know: 66")
    m, = json.loads(mx.postern("queue", "list", "--json")[1])
    same((m["id"], m["sender"], m["recipient_count"], m["pending_count"]), (qid, "x@far.test", 2, 1), "JSON: the message")
    ok({"address": "y@down.test", "state": "deferred"}.items() <= next(r for r in m["recipients"] if r["address"] == "y@down.test").items(),
       "JSON: the recipient that waits", m)
    ok("refused" in json.dumps(m).lower(), "and why", m)
    code, out, err = mx.postern("queue", "show", qid)
    ok(code == 0 and "delivered" in out and "deferred" in out, "show names the state of each", out, err)
    code, out, err = mx.postern("queue", "list")
    ok("y@down.test" in out and "alice@mx.test" not in out and re.search(r"-- 1 Kbytes in 1 Request\.", out), "list shows who waits", out)
    hosts = json.loads(mx.postern("hosts", "--json")[1])
    ok(isinstance(hosts, list), "hosts as JSON", hosts)
    same(mx.postern("hosts", "nowhere.test")[0], 68, "a host that is not known: 68")
    same(json.loads(Postern("other").postern("queue", "list", "--json")[1]), [], "an empty queue as JSON")


def t_counters():
    """What the programs count of themselves, for all to read; it goes on when one of them is started again."""
    mx = Postern()
    for _ in range(5):
        mx.send("a@client.test", "alice@mx.test", message())
    mx.wait_mail("alice", 5)
    mx.wait_event("retired", count=5)

    def count(name):
        pages = json.loads(mx.postern("counters", "--json", user="alice")[1])
        return sum(p["events"].get(name, 0) for p in pages.values())
    same((count("received"), count("queued"), count("retired"), count("delivered")), (5, 5, 5, 5), "events are counted")
    pages = json.loads(mx.postern("counters", "--json")[1])
    hop = pages["queue.0"]["hops"]["dispatch"]
    ok(hop["messages_out"] >= 15 and 0 < hop["packets_out"] <= hop["messages_out"], "and what is told to peers, by packets and messages", hop)
    ok(pages["queue.0"]["wakeups"] > 0, "and wake-ups", pages["queue.0"])
    out = mx.postern("counters")[1]
    ok("5 messages accepted" in out and "queue.0" in out, "a table for people", out)
    os.kill(mx.pids("queue")[0], signal.SIGKILL)
    mx.wait_event("started", program="queue", count=2)
    wait_for(lambda: mx.send("a@client.test", "alice@mx.test", message())[0] == 250)
    mx.wait_mail("alice", 6)
    ok(count("queued") >= 6, "a program that was started again counts on", count("queued"))
    other = (mx.dir / "run/counters/queue.0").stat()
    same((other.st_uid, other.st_mode & 0o777), (os.geteuid(), 0o644), "the page is root's, and readable by all")


if __name__ == "__main__":
    main(t_check, t_config, t_addr, t_status, t_journey, t_counters)
