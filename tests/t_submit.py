#!/usr/bin/env python3
"""sendmail(1) against a submit socket that a script plays: refusals, delays, lost connections, limits, exit codes."""
import pwd
import resource
import threading

from harness import *

SENDMAIL = BUILD / "submit/sendmail"


class Smtpd:
    """A submit socket. replies: verb -> reply, or a function of the line; "dot" answers the data, "connect" greets."""

    def __init__(self, directory, caps=("PIPELINING", "SIZE 1000000", "8BITMIME"), **replies):
        self.replies, self.caps, self.messages, self.lines = replies, caps, [], []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(directory / "submit"))
        self.sock.listen()
        os.chmod(directory / "submit", 0o666)
        on_cleanup(self.sock.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(s,), daemon=True).start()

    def reply(self, verb, line, default):
        r = self.replies.get(verb, default)
        return r(line) if callable(r) else r

    def talk(self, s):
        f = s.makefile("rwb")
        sender, rcpts = None, []

        def say(text):
            if text == "close":
                s.shutdown(socket.SHUT_RDWR)
                raise ConnectionError
            f.write(text.encode() + b"\r\n")
            f.flush()
        try:
            say(self.reply("connect", "", "220 fake"))
            while line := f.readline().decode().rstrip("\r\n"):
                self.lines.append(line)
                verb = line.split()[0].upper()
                r = self.reply(verb, line, {"EHLO": "\r\n".join(["250-fake"] + ["250-" + c for c in self.caps] + ["250 HELP"]),
                                            "DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 2.0.0 ok"))
                if verb == "MAIL":
                    sender, rcpts = line, []
                if verb == "RCPT" and r[0] == "2":
                    rcpts.append(line[line.index("<") + 1:line.index(">")])
                if verb == "DATA" and not rcpts:
                    r = "554 5.5.1 no recipients"
                say(r)
                if verb == "DATA" and r[0] == "3":
                    data = b""
                    while not (data == b".\r\n" or data.endswith(b"\r\n.\r\n")):
                        got = f.readline()
                        if not got:
                            return
                        data += got
                    end = self.reply("dot", data, "250 2.0.0 taken")
                    if end[0] == "2":
                        self.messages.append((sender, rcpts, data[:-3]))
                    say(end)
        except (ConnectionError, BrokenPipeError, ValueError):
            pass
        finally:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Box:
    """A run directory, a drop directory, a configuration: all that sendmail(1) knows of a suite."""

    def __init__(self, **settings):
        self.dir = scratch()
        for d in ("run", "drop"):
            (self.dir / d).mkdir()
        self.drop = self.dir / "drop"
        self.drop.chmod(0o3733)
        (self.dir / "passwd").write_text(f"someone:x:{os.getuid()}:0:Some One,,:/:/bin/sh\n")
        self.config = self.dir / "conf"
        settings = {"hostname": "mx.test", "origin": "mx.test", "run-directory": self.dir / "run", "drop-directory": self.drop,
                    "passwd-file": self.dir / "passwd", "listen": "127.0.0.1:2525"} | settings
        self.config.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))

    def smtpd(self, **kw):
        return Smtpd(self.dir / "run", **kw)

    def send(self, *args, stdin=b"Subject: s\n\nbody\n", program="sendmail", **kw):
        env = dict(os.environ, POSTERN_CONFIG=str(self.config))
        env.pop("NAME", None)
        return subprocess.run([program, *args], executable=SENDMAIL, input=stdin, capture_output=True, env=env, timeout=60, **kw)

    def kept(self):
        return sorted(f.name for f in self.drop.iterdir())


def head_of(data):
    return data.partition(b"\r\n\r\n")[0].decode()


def t_taken():
    """What smtpd gets: envelope, header, body."""
    box = Box()
    smtpd = box.smtpd()
    r = box.send("bob", "x@far.test", stdin=b"Subject: s\nBcc: hidden\n\n.dot\n..\n\xe9\n")
    same((r.returncode, r.stdout, r.stderr), (0, b"", b""), "exit 0, silent")
    sender, rcpts, data = smtpd.messages[0]
    ok(sender.startswith("MAIL FROM:<someone@mx.test> SIZE=") and "BODY=8BITMIME" in sender, "the caller is the sender", sender)
    same(rcpts, ["bob@mx.test", "x@far.test"], "names without a domain get the origin")
    same(head_of(data), "Subject: s\r\nFrom: Some One <someone@mx.test>", "From is added, Bcc is gone")
    same(data.partition(b"\r\n\r\n")[2], b"..dot\r\n...\r\n\xe9\r\n", "dots are stuffed, line ends are CRLF")
    wait_for(lambda: smtpd.lines[-1] == "QUIT", 5)  # sendmail does not wait until it was read
    same(smtpd.lines[-1], "QUIT", "it says good-bye")
    for args, want in ((["-f", ""], "<>"), (["-f", "<>"], "<>"), (["-f", "a"], "<a@mx.test>"), (["-fB <b@c.test>"], "<b@c.test>")):
        box.send(*args, "bob")
        ok(smtpd.messages[-1][0].startswith("MAIL FROM:" + want), f"{args} makes {want}", smtpd.messages[-1][0])
    for args, want in ((["-F", "A. Name"], '"A. Name" <someone@mx.test>'), (["-F", "Jos\u00e9"], "=?UTF-8?Q?=4A=6F=73=C3=A9?= <someone@mx.test>"),
                       (["-f", "z@y.test"], "z@y.test")):
        box.send(*args, "bob")
        ok(f"From: {want}" in head_of(smtpd.messages[-1][2]).split("\r\n"), f"{args}: From: {want}", smtpd.messages[-1][2])
    same(len(smtpd.messages), 8, "eight messages")
    r = box.send("-v", "bob")
    ok(b"MAIL FROM" in r.stdout and b"250" in r.stdout, "-v shows the dialogue", r.stdout)
    r = box.send("-bs", stdin=b"EHLO x\r\nQUIT\r\n")
    ok(r.returncode == 0 and r.stdout.startswith(b"220 fake\r\n") and r.stdout.endswith(b"221 bye\r\n"), "-bs is a pipe to it", r.stdout)


def t_refused():
    """Exit codes tell why; accepted recipients are served; -oem mails back."""
    box = Box()
    no = {"nobody": "550 5.1.1 no such user", "secret": "550 5.7.1 relay access denied", "full": "552 5.2.2 over quota", "odd": "550 no"}
    smtpd = box.smtpd(RCPT=lambda line: next((r for who, r in no.items() if who in line), "250 ok"))
    for who, code in (("nobody", 67), ("secret", 77), ("full", 69), ("odd", 67)):
        r = box.send(who)
        same(r.returncode, code, f"{who}: exit {code}")
        ok(f"{who}@mx.test".encode() in r.stderr and len(r.stderr.splitlines()) == 1, f"{who} is named in one line", r.stderr)
    same(smtpd.messages, [], "nothing was sent")
    r = box.send("bob", "nobody")
    same((r.returncode, smtpd.messages[-1][1]), (67, ["bob@mx.test"]), "the others are served")
    r = box.send("-oeq", "nobody")
    same((r.returncode, r.stderr), (67, b""), "-oeq is silent")
    smtpd.messages.clear()
    r = box.send("-oem", "bob", "nobody", stdin=b"Subject: precious\n\ntext\n")
    same((r.returncode, r.stderr, len(smtpd.messages)), (67, b"", 2), "-oem: a message and a report in one session")
    sender, rcpts, data = smtpd.messages[1]
    ok(sender.startswith("MAIL FROM:<>") and rcpts == ["someone@mx.test"], "from nobody to the sender", sender, rcpts)
    ok(all(w in data for w in (b"nobody@mx.test", b"no such user", b"Subject: precious", b"text")), "with the reason and the message", data)
    same(box.send("-oee", "nobody").returncode, 0, "-oee ends with 0")
    n = len(smtpd.messages)
    same(box.send("-oem", "-f", "<>", "nobody").returncode, 67, "no report to the null sender")
    same(len(smtpd.messages), n, "really none")
    smtpd.replies["dot"] = "554 5.6.0 bad content"
    same(box.send("bob").returncode, 65, "refused content: 65")
    same(box.kept(), [], "nothing is in the drop directory")
    r = box.send("-bv", "bob", "nobody")
    ok(r.returncode == 67 and b"bob@mx.test: deliverable" in r.stdout and b"no such user" in r.stdout, "-bv tells of each", r.stdout)


def t_later():
    """Whatever smtpd cannot take now is kept: 4xx, 421, silence of a dead one, a lost answer."""
    for name, replies in (("421 at once", {"connect": "421 4.3.2 down"}), ("closes", {"connect": "close"}), ("451 to EHLO", {"EHLO": "451 no"}),
                          ("451 to MAIL", {"MAIL": "451 4.3.0 later"}), ("451 to RCPT", {"RCPT": "451 4.3.0 later"}),
                          ("452 to DATA", {"DATA": "452 4.3.1 full"}), ("451 to the dot", {"dot": "451 4.3.0 later"}),
                          ("closes after the dot", {"dot": "close"}), ("nonsense", {"MAIL": "hello"})):
        box = Box()
        smtpd = box.smtpd(**replies)
        r = box.send("bob")
        same((r.returncode, r.stderr, len(box.kept()), smtpd.messages), (0, b"", 1, []), f"{name}: kept, exit 0")
    box = Box()
    box.smtpd(RCPT=lambda line: "451 4.2.1 later" if "slow" in line else "250 ok")
    r = box.send("bob", "slow", "carol")
    kept = (box.drop / box.kept()[0]).read_bytes()
    ok(r.returncode == 0 and b"slow@mx.test" in kept and b"bob@mx.test" not in kept, "only who must wait is kept", kept)
    ok(re.fullmatch(r"m-[0-9a-f]{24}", box.kept()[0]), "under its name", box.kept())
    same((box.drop / box.kept()[0]).stat().st_mode & 0o777, 0o640, "mode 0640")


def t_limits():
    """Many recipients go in several transactions; a limit on file sizes, no drop directory, no space: exit 75, nothing half."""
    box = Box()
    smtpd = box.smtpd()
    count = {"n": 0}

    def rcpt(line):
        count["n"] += 1
        return "250 ok" if count["n"] <= 40 else "452 4.5.3 too many"

    def mail(line):
        count["n"] = 0
        return "250 ok"
    smtpd.replies.update(RCPT=rcpt, MAIL=mail)
    r = box.send(*[f"r{i}" for i in range(100)])
    same((r.returncode, [len(m[1]) for m in smtpd.messages]), (0, [40, 40, 20]), "a hundred recipients in three transactions")
    same({r for m in smtpd.messages for r in m[1]}, {f"r{i}@mx.test" for i in range(100)}, "each once")
    box = Box()
    r = box.send("bob", stdin=b"Subject: s\n\n" + b"x" * 5000 + b"\n", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    same((r.returncode, [k for k in box.kept() if not k.startswith("t-")]), (75, []), "RLIMIT_FSIZE: 75 and no mail")
    shutil.rmtree(box.drop)
    r = box.send("bob")
    ok(r.returncode == 75 and str(box.drop).encode() in r.stderr, "no drop directory: 75, and it is named", r.stderr)
    box = Box(**{"message-size-limit": "2K"})
    same(box.send("bob", stdin=b"x" * 5000).returncode, 69, "larger than message-size-limit: 69")
    same(box.kept(), [], "and not kept")


def t_usage():
    """Mistakes on the command line and in the header."""
    box = Box()
    for args, stdin, code, word in ((["-Z", "bob"], b"", 64, b"-Z"), ([], b"", 64, b"recipient"), (["bob", "-t"], b"", 64, b"-t"),
                                    (["-t"], b"Subject: x\n\n", 65, b"To"), (["-t"], b"To: a b c\n\n", 65, b"header"),
                                    (["a..b@x.test"], b"", 65, b"a..b"), (["-f", "a b c", "bob"], b"", 64, b"-f"),
                                    (["-C", "/nowhere/conf", "bob"], b"", 78, b"/nowhere/conf"), (["bob;touch /x"], b"", 65, b"bob")):
        r = box.send(*args, stdin=stdin)
        ok(r.returncode == code and word in r.stderr and len(r.stderr.splitlines()) == 1, f"{args}: {code}", r.returncode, r.stderr)
    same(box.kept(), [], "nothing is kept")
    r = box.send("|/bin/sh")
    ok(r.returncode == 0 and b"|/bin/sh@mx.test" in (box.drop / box.kept()[0]).read_bytes(), "a recipient is an address and nothing else")
    r = box.send(program="mailq")
    ok(r.returncode == 69 and b"not running" in r.stderr, "mailq without a suite: 69", r.stderr)
    r = box.send("-bs")
    ok(r.returncode == 75 and r.stdout.startswith(b"421 "), "-bs without a suite: 421", r.stdout)
    r = box.send("--help")
    ok(r.returncode == 0 and b"newaliases" in r.stdout, "--help", r.stdout)
    aliases = box.dir / "aliases"
    aliases.write_text("a: b\nbroken\n")
    with box.config.open("a") as f:
        f.write(f"alias-file = {aliases}\n")
    r = box.send(program="newaliases")
    ok(r.returncode == 65 and f"{aliases}:2".encode() in r.stderr, "newaliases names the broken line: 65", r.stderr)
    aliases.write_text("a: b\n")
    r = box.send(program="newaliases")
    ok(r.returncode == 0 and (box.dir / "aliases.cdb").exists(), "newaliases compiles", r.stderr)


def t_killed():
    """A sendmail that is killed while it reads leaves nothing; killed while it writes, nothing that is mail."""
    box = Box()
    env = dict(os.environ, POSTERN_CONFIG=str(box.config))
    p = subprocess.Popen([SENDMAIL, "bob"], stdin=subprocess.PIPE, env=env)
    p.stdin.write(b"Subject: half\n\n" + b"x\n" * 50000)
    p.stdin.flush()
    time.sleep(0.2)
    p.kill()
    p.wait()
    same(box.kept(), [], "killed while reading")
    text = b"Subject: large\n\n" + b"0123456789abcdef" * 64 * 1024 * 8 + b"\n"
    began = time.monotonic()
    same(box.send("bob", stdin=text).returncode, 0, "a large mail is kept")
    took = time.monotonic() - began
    for i in range(40):
        p = subprocess.Popen([SENDMAIL, "bob"], stdin=subprocess.PIPE, env=env)
        p.stdin.write(text)
        p.stdin.close()
        time.sleep(took * (i % 10) / 10)
        p.kill()
        p.wait()
        if i >= 10 and any(k.startswith("t-") for k in box.kept()):
            break
    mails = [f.stat().st_size for f in box.drop.iterdir() if f.name.startswith("m-")]
    unfinished = len(box.kept()) - len(mails)
    ok(min(mails) > len(text), f"killed while writing: no cut mail ({len(mails)} whole, {unfinished} unfinished)", mails)
    ok(unfinished, "and it was really killed while writing")


def t_real_callers():
    """The real programs: mailx, mutt, git send-email, as installed here."""
    box = Box()
    smtpd = box.smtpd()
    env = dict(os.environ, POSTERN_CONFIG=str(box.config), HOME=str(box.dir), MAILRC=str(box.dir / "mailrc"))
    (box.dir / "mailrc").write_text(f"set sendmail={SENDMAIL}\n")
    (box.dir / "patch").write_text("From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: A <a@x.test>\n"
                                   "Date: Sat, 21 Nov 2026 10:00:00 +0000\nSubject: [PATCH] p\n\nbody\n---\n")
    callers = {
        "mailx": (["mailx", "-s", "from mailx", "bob@mx.test"], "from mailx"),
        "mutt": (["mutt", "-x", "-F", "/dev/null", "-e", f"set sendmail={SENDMAIL}", "-s", "from mutt", "-b", "hidden@mx.test", "bob@mx.test"], "from mutt"),
        "git": (["git", "send-email", f"--smtp-server={SENDMAIL}", "--from=a@x.test", "--to=bob@mx.test", "--confirm=never",
                 "--suppress-cc=all", str(box.dir / "patch")], "[PATCH] p"),
    }
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        callers.pop("mutt")  # it refuses to work for a UID without an account
    for name, (argv, subject) in callers.items():
        if not shutil.which(argv[0]) or (name == "git" and subprocess.run(["git", "send-email", "-h"], capture_output=True).returncode not in (0, 129)):
            ok(True, f"{name} # SKIP not installed")
            continue
        smtpd.messages.clear()
        r = subprocess.run(argv, input=b"hello\n.\nworld\n" if name == "mutt" else b"hello\n", capture_output=True, env=env, timeout=60)
        wait_for(lambda: smtpd.messages, 5)
        ok(r.returncode == 0 and len(smtpd.messages) == 1, f"{name} hands in one message", r, smtpd.lines[-5:])
        if smtpd.messages:
            sender, rcpts, data = smtpd.messages[0]
            ok("bob@mx.test" in rcpts and f"Subject: {subject}" in head_of(data), f"{name}: recipient and subject", rcpts, data)
            ok(b"hidden" not in data, f"{name}: Bcc is not in it", data)


if __name__ == "__main__":
    main(t_taken, t_refused, t_later, t_limits, t_usage, t_killed, t_real_callers)
