#!/usr/bin/env python3
"""Each program runs under its own UID in its own cage; an attacker inside it tries what its row forbids, and is refused.

The tries are made by tests/inject, which makes the real, running program execute the system call."""
from harness import *

INJECT = BUILD / "tests/inject"
# The runtime of the sanitizers opens files itself, so there seccomp lets open(2) pass; Landlock and the empty root refuse it.
SANITIZED = "#define POSTERN_SANITIZE 1" in (BUILD / "build-config.h").read_text()


def status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def act(mx, program, *args):
    """The outcome of one try in a living process of the program; waits until a killed one is back."""
    for _ in range(50):
        pids = wait_for(lambda: mx.pids(program), 20)
        if not pids:
            return "not running"
        r = subprocess.run([INJECT, str(pids[-1]), *map(str, args)], capture_output=True, text=True)
        if r.returncode == 0 and "ESRCH" not in r.stderr:
            out = r.stdout.strip()
            if out == "killed":
                wait_for(lambda: pids[-1] not in mx.pids(program) and len(mx.pids(program)) >= len(pids), 30)
                time.sleep(0.3)  # let it finish its start: inject wants it waiting in epoll
            return out
        time.sleep(0.1)
    return f"inject failed: {r.stderr}"


def t_identities():
    """UID, no_new_privs, seccomp, capabilities, root directory of each process, as /proc tells them."""
    mx = Postern()
    mx.send("a@c.test", "alice@mx.test", message())
    mx.wait_mail("alice")
    uids = {}
    for program in ROLES:
        pids = mx.pids(program)
        ok(pids, f"{program} runs")
        for pid in pids[:1]:
            st = status(pid)
            uid = st["Uid"].split()
            if program == "deliver-local":
                spawner = [p for p in pids if status(p)["Uid"].split()[0] == "0"]
                workers = [p for p in pids if p not in spawner]
                same(len(spawner), 1, "one spawner of deliveries is root")
                ok(workers and set(status(workers[0])["Uid"].split()) == {str(mx.user_uid["alice"])},
                   "its worker is the recipient, in all four UIDs", workers)
                same(status(workers[0])["CapEff"].strip("0"), "", "the worker has no capability")
                same(status(workers[0])["Seccomp"], "2", "the worker is filtered")
                same(status(workers[0])["Groups"].split(), [], "the worker has no other group")
            else:
                same(uid, [str(mx.uid_of(program))] * 4, f"{program} has its own UID, four times")
                same(st["CapEff"].strip("0") + st["CapPrm"].strip("0"), "", f"{program} has no capability")
                same(st["Groups"].split(), [], f"{program} has no other group")
                ok(uid[0] not in uids, f"no other program shares UID {uid[0]}", uids)
                uids[uid[0]] = program
            same(st["Seccomp"], "2", f"{program} is filtered by seccomp")
            same(st["NoNewPrivs"], "1", f"{program} has no_new_privs")
            root = os.readlink(f"/proc/{pid}/root")
            want = {"smtpd": "run/empty", "deliver-smtp": "run/empty", "queue": "queue", "dispatch": "state", "pickup": "drop", "keys": "run/empty"}
            if program in want:
                same(root, str(mx.dir / want[program]), f"{program}'s root directory")
            if program in ("queue", "dispatch", "lookup", "pickup", "auth", "keys"):
                ok(os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"), f"{program} is in a network namespace without a network")


# program -> tries: (what, arguments, outcomes that are a refusal). {x} are places of the instance.
SPOOL, SECRET, DROP = "{dir}/queue", "{dir}/secret", "{dir}/drop"
FORBIDDEN = {
    "smtpd": [("open", "/etc/passwd", "killed"), ("open", "/", "killed"), ("create", "/x", "killed"), ("connect4", 25, "killed"),
              ("exec", "/bin/sh", "killed"), ("fork", "", "killed"), ("setuid", 0, "killed"), ("ptrace", "", "killed")],
    "lookup": [("open", SPOOL, "EACCES"), ("open", SECRET, "EACCES"), ("create", "/etc/postern-test", "EACCES EPERM killed"),
               ("create", "/tmp/postern-test", "EACCES killed"), ("socket", 2, "killed"), ("exec", "/bin/sh", "killed"),
               ("unlink", "/etc/passwd", "EACCES EPERM killed"), ("setuid", 0, "killed EPERM")],
    "auth": [("open", "/etc/passwd", "EACCES"), ("open", SPOOL, "EACCES"), ("open", SECRET, "EACCES"), ("create", "/tmp/postern-test", "EACCES killed"),
             ("create", "{dir}/etc/auth/x", "EACCES killed"), ("socket", 1, "killed"), ("socket", 2, "killed"), ("exec", "/bin/sh", "killed"), ("fork", "", "killed"),
             ("setuid", 0, "killed EPERM"), ("ptrace", "", "killed")],
    "queue": [("open", "/etc/passwd", "ENOENT EACCES"), ("open", "/../etc/passwd", "ENOENT EACCES"), ("socket", 2, "killed"),
              ("exec", "/bin/sh", "killed"), ("fork", "", "killed"), ("chroot", "/", "killed EPERM"), ("kill", 1, "killed EPERM")],
    "dispatch": [("open", "/etc/passwd", "ENOENT EACCES"), ("open", SPOOL, "ENOENT EACCES"), ("socket", 2, "killed"),
                 ("exec", "/bin/sh", "killed"), ("setuid", 0, "killed EPERM"), ("mount", "", "killed EPERM")],
    "resolve": [("open", SPOOL, "EACCES"), ("open", SECRET, "EACCES"), ("create", "/tmp/postern-test", "EACCES killed"),
                ("exec", "/bin/sh", "killed"), ("ptrace", "", "killed"), ("setuid", 0, "killed EPERM")],
    "deliver-smtp": [("open", "/etc/passwd", "killed"), ("open", "/", "killed"), ("create", "/x", "killed"),
                     ("exec", "/bin/sh", "killed"), ("fork", "", "killed"), ("setuid", 0, "killed"), ("kill", 1, "killed")],
    "pickup": [("open", "/etc/passwd", "ENOENT EACCES"), ("open", SPOOL, "ENOENT EACCES"), ("socket", 2, "killed"),
               ("exec", "/bin/sh", "killed"), ("fork", "", "killed")],
    "keys": [("open", "/etc/passwd", "killed"), ("open", "/", "killed"), ("create", "/x", "killed"), ("socket", 2, "killed"),
             ("connect4", 25, "killed"), ("exec", "/bin/sh", "killed"), ("fork", "", "killed"), ("setuid", 0, "killed"), ("kill", 1, "killed"),
             ("ptrace", "", "killed")],
    "deliver-local": [("socket", 2, "killed"), ("exec", "/bin/sh", "killed"), ("ptrace", "", "killed"), ("mount", "", "killed")],
}


def t_prisoners():
    """Inside each program: open, create, connect, exec, fork, change identity."""
    mx = Postern()
    (mx.dir / "secret").write_text("secret\n")
    for program, tries in FORBIDDEN.items():
        for what, arg, refusals in tries:
            got = act(mx, program, what, str(arg).format(dir=mx.dir))
            also = "ENOENT EACCES" if SANITIZED and what in ("open", "create") else ""
            ok(got in (refusals + " " + also).split(), f"{program}: {what} {arg} is refused", f"outcome: {got}")
    killed = [e for e in mx.events("ended") if "cage" in e["why"]]
    ok(killed, "posternd says that a program tried what its cage forbids", mx.events("ended")[:3])
    same(mx.send("a@c.test", "alice@mx.test", message("after"))[0], 250, "after all that, mail is accepted")
    same(len(mx.wait_mail("alice", seconds=60)), 1, "and delivered")


def t_worker_prisoner():
    """Inside a delivery worker: other users' files, the network, programs."""
    mx = Postern()

    def worker():
        mx.send("a@c.test", "alice@mx.test", message())
        return wait_for(lambda: [p for p in mx.pids("deliver-local") if status(p)["Uid"].split()[0] == str(mx.user_uid["alice"])])
    for what, arg, refusals in (("open", mx.dir / "home/bob", "EACCES"), ("open", "/etc/passwd", "EACCES"), ("open", mx.dir / "queue", "EACCES"),
                                ("create", "/tmp/postern-test", "EACCES"), ("socket", 2, "killed"), ("exec", "/bin/sh", "killed"), ("setuid", 0, "killed EPERM")):
        pid = worker()
        time.sleep(0.3)
        r = subprocess.run([INJECT, str(pid[0]), what, str(arg)], capture_output=True, text=True)
        ok(r.stdout.strip() in refusals.split(), f"worker: {what} {arg} is refused", r.stdout, r.stderr)


def t_descriptors():
    """No program holds a descriptor that it does not need."""
    mx = Postern()
    mx.send("a@c.test", "alice@mx.test", message())
    mx.wait_mail("alice")
    wait_for(lambda: mx.queue_count() == 0)
    for program in ROLES:
        for pid in mx.pids(program):
            links = [os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd")]
            odd = [x for x in links if not x.startswith(("socket:", "anon_inode:", "pipe:", "/memfd:", "/dev/null", "/dev/urandom",
                                                         str(mx.dir / "log"), str(mx.dir / "stdout")))]
            allowed = {"queue": str(mx.dir / "queue"), "dispatch": str(mx.dir / "state"), "pickup": str(mx.dir / "drop"), "lookup": str(mx.dir / "etc"),
                       "deliver-local": str(mx.dir / "home")}
            odd = [x for x in odd if not (program in allowed and x.startswith(allowed[program]))]
            same(odd, [], f"{program} holds only what it was given")


def t_no_setid():
    """Nothing that is built or installed is set-user-ID or set-group-ID."""
    found = [p for p in BUILD.rglob("*") if p.is_file() and os.access(p, os.X_OK) and p.stat().st_mode & 0o6000]
    same(found, [], "no set-id program")


if __name__ == "__main__":
    if not ROOT:
        skip_all("needs root: the programs must have different UIDs")
    main(t_identities, t_prisoners, t_worker_prisoner, t_descriptors, t_no_setid)
