"""harness.py - what the scenario tests share: private instances of the suite, clients, mailboxes, TAP output.

Every instance lives in a directory of its own, listens on loopback (or inside a network namespace that the test
made), runs under UIDs of its own when we are root, and is stopped by process id when the test ends, however it ends.
"""
import atexit
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

SRC = pathlib.Path(os.environ.get("srcdir", pathlib.Path(__file__).resolve().parent.parent))
BUILD = pathlib.Path(os.environ.get("builddir", SRC))
ROOT = os.geteuid() == 0
ROLES = ("smtpd", "lookup", "queue", "dispatch", "resolve", "deliver-smtp", "deliver-local", "pickup", "auth", "keys")
# Rows of roles.def in order: the UID of a program is uid-base + its row.
ROWS = ("supervise", "smtpd", "lookup", "queue", "dispatch", "resolve", "remote", "local", "pickup", "tool", "auth", "keys")


# --- TAP -------------------------------------------------------------------------------------------------------
_count = 0
_failed = 0


def ok(condition, name, *details):
    """One test point. details are printed when it fails."""
    global _count, _failed
    _count += 1
    print(f"{'ok' if condition else 'not ok'} {_count} - {name}")
    if not condition:
        _failed += 1
        for d in details:
            for line in str(d).splitlines()[-60:]:
                print(f"# {line}")
    sys.stdout.flush()
    return bool(condition)


def same(got, want, name):
    return ok(got == want, name, f"got:  {got!r}", f"want: {want!r}")


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def main(*tests):
    """Runs the test functions (or those named on the command line); an exception fails its test and goes on."""
    if os.environ.get("POSTERN_UNIT_ONLY"):
        skip_all("unit tests only")
    if sys.argv[1:]:
        tests = [t for t in tests if t.__name__ in sys.argv[1:]]
    for t in tests:
        print(f"# {t.__name__}: {(t.__doc__ or '').strip()}")
        try:
            t()
        except Exception:
            ok(False, f"{t.__name__} ran to its end", traceback.format_exc())
        finally:
            cleanup()
    print(f"1..{_count}")
    sys.exit(1 if _failed else 0)


# --- things to clean up -------------------------------------------------------------------------------------------
_cleaners = []


def on_cleanup(fn):
    _cleaners.append(fn)


def cleanup():
    while _cleaners:
        try:
            _cleaners.pop()()
        except Exception:
            traceback.print_exc()


atexit.register(cleanup)
signal.signal(signal.SIGTERM, lambda *a: sys.exit(143))


def wait_for(condition, seconds=15, what="", step=0.02):
    """Polls until condition() is true; gives its value, or the last false one."""
    end = time.monotonic() + seconds * float(os.environ.get("POSTERN_TEST_PATIENCE", "1"))
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


_ports = []


def free_port():
    """A TCP port that is ours until we end: below the range that the kernel gives to clients, and kept from other tests
    that run beside this one by a socket in the abstract namespace."""
    while True:
        port = random.randrange(10000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0postern-test-port-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _ports.append(claim)
        return port


_dirs = 0


def scratch():
    """A directory that every UID may pass through, removed at the end."""
    d = pathlib.Path(tempfile.mkdtemp(prefix="postern-test."))
    d.chmod(0o755)
    on_cleanup(lambda: shutil.rmtree(d, ignore_errors=True))
    return d


# --- an instance of the suite -----------------------------------------------------------------------------------
class Postern:
    """One instance. Keyword arguments become settings (underscores for hyphens; a list: one line for each); users is a list of local users."""
    # Tests run beside one another: each has UIDs of its own.
    base = 100000 + os.getpid() % 40000 * 5000

    def __init__(self, name="mx", users=("alice", "bob"), netns=None, start=True, mailbox="maildir:%h/Maildir", **settings):
        self.name, self.netns = name, netns
        self.dir = scratch()
        self.port = settings.pop("port", None) or free_port()
        self.address = settings.pop("address", "127.0.0.1")
        self.uid_base = Postern.base
        Postern.base += 100
        self.user_uid = {}
        self.proc = None
        self._log_at, self._parsed = 0, []
        self.make_users(users)
        for d in ("etc", "mail"):
            (self.dir / d).mkdir(exist_ok=True)
        (self.dir / "mail").chmod(0o1777)
        self.settings = {
            "hostname": f"{name}.test",
            "origin": f"{name}.test",
            "listen": f"{self.address}:{self.port}",
            "spool-directory": self.dir / "queue",
            "drop-directory": self.dir / "drop",
            "state-directory": self.dir / "state",
            "run-directory": self.dir / "run",
            "program-directory": BUILD,
            "log": f"file:{self.dir}/log",
            "alias-file": self.dir / "etc/aliases",
            "route-file": self.dir / "etc/routes",
            "passwd-file": self.dir / "etc/passwd",
            "mailbox": mailbox.replace("%m", str(self.dir / "mail")),
            "system-mailbox": f"mbox:{self.dir}/mail/%u",
            "sender-file": self.dir / "etc/senders",
            "auth-file": self.dir / "etc/auth/passwords",
            "min-uid": 1000 if ROOT else 1,
            "retry-first": "1s",
            "retry-max": "2s",
            "spool-mode": os.environ.get("POSTERN_SPOOL_MODE", "journal"),
        }
        if ROOT:
            self.settings["uid-base"] = self.uid_base
        self.settings.update({k.replace("_", "-"): v for k, v in settings.items()})
        self.config = self.dir / "etc/postern.conf"
        self.write_config()
        on_cleanup(self.kill)
        if start:
            self.start()

    def make_users(self, users):
        (self.dir / "etc").mkdir(exist_ok=True)
        (self.dir / "home").mkdir()
        lines = []
        for i, user in enumerate(users):
            uid = self.uid_base + 50 + i if ROOT else os.geteuid()
            gid = uid if ROOT else os.getegid()
            home = self.dir / "home" / user
            home.mkdir()
            if ROOT:
                os.chown(home, uid, gid)
            home.chmod(0o700)
            self.user_uid[user] = uid
            lines.append(f"{user}:x:{uid}:{gid}:{user.capitalize()} Test:{home}:/bin/sh\n")
        (self.dir / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n" + "".join(lines))

    def write_config(self, **settings):
        self.settings.update({k.replace("_", "-"): v for k, v in settings.items()})
        self.config.write_text("".join(f"{k} = {v}\n" for k, values in self.settings.items() if values is not None
                                       for v in (values if isinstance(values, list) else [values])))

    def command(self, *argv):
        return (["ip", "netns", "exec", self.netns] if self.netns else []) + [str(a) for a in argv]

    def start(self, wait=True):
        self.log_mark = len(self.log())
        self.proc = subprocess.Popen(self.command(BUILD / "supervise/posternd", "-f", "-c", self.config),
                                     stdin=subprocess.DEVNULL, stdout=open(self.dir / "stdout", "ab"),
                                     stderr=subprocess.STDOUT, start_new_session=True)
        if wait:
            up = wait_for(lambda: "suite_started" in self.log()[self.log_mark:] or self.proc.poll() is not None, 60)
            if not up or self.proc.poll() is not None:
                raise RuntimeError(f"{self.name} did not start:\n{self.output()}\n{self.log()[-3000:]}")

    def stop(self, seconds=20):
        """Stops in order; gives the exit status (None: it had to be killed)."""
        if not self.proc:
            return 0
        self.proc.send_signal(signal.SIGTERM)
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()

    def kill(self):
        """The end of all its processes, by process id, without a chance to tidy up."""
        if not self.proc:
            return
        family = self.family()
        for pid in [self.proc.pid] + family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        self.proc = None
        wait_for(lambda: not any(os.path.exists(f"/proc/{p}/root") and _alive(p) for p in family), 10)

    def family(self):
        return descendants(self.proc.pid) if self.proc else []

    def pids(self, program):
        """Process ids of a program of this instance, as the kernel knows them."""
        return [p for p in self.family() if comm(p) == program[:15]]

    def uid_of(self, program):
        row = {"deliver-smtp": "remote", "deliver-local": "local"}.get(program, program)
        return 0 if row in ("local", "supervise") else self.uid_base + ROWS.index(row)

    # what it says
    def log(self):
        try:
            return (self.dir / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def output(self):
        try:
            return (self.dir / "stdout").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def parsed(self):
        """All events of the log so far; only what is new is read, since many tests ask many times a second."""
        try:
            with open(self.dir / "log", "rb") as f:
                if os.fstat(f.fileno()).st_size < self._log_at:
                    self._log_at, self._parsed = 0, []  # it was rotated
                f.seek(self._log_at)
                text = f.read()
        except FileNotFoundError:
            return []
        text = text[:text.rfind(b"\n") + 1]
        self._log_at += len(text)
        for line in text.decode(errors="replace").splitlines():
            m = re.match(r"\S+ \S+ (\S+)\[(\d+)\]: (?:([0-9A-Z]{20}): )?(\w+)((?: |$).*)", line)
            if m:
                e = {k: (v[1:-1] if v[:1] == '"' else v)
                     for k, v in re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)', m.group(5))}
                e.update(program=m.group(1), pid_of=int(m.group(2)), id=m.group(3))
                self._parsed.append((m.group(4), e))
        return self._parsed

    def events(self, name, **fields):
        """Log events of a name, as dicts; fields must match."""
        return [dict(e) for n, e in self.parsed() if n == name and all(e.get(k) == str(v) for k, v in fields.items())]

    def wait_event(self, name, seconds=20, count=1, **fields):
        return wait_for(lambda: len(self.events(name, **fields)) >= count, seconds)

    # tools
    def tool(self, *args, user=None, stdin=None, program="tools/postern", timeout=60):
        env = dict(os.environ, POSTERN_CONFIG=str(self.config))
        kw = {}
        if user and ROOT:
            kw = {"user": self.user_uid[user], "group": self.user_uid[user], "extra_groups": []}
        return subprocess.run(self.command(BUILD / program, *args), input=stdin, capture_output=True, env=env,
                              timeout=timeout, **kw)

    def postern(self, *args, **kw):
        r = self.tool(*args, **kw)
        return r.returncode, r.stdout.decode(errors="replace"), r.stderr.decode(errors="replace")

    def newaliases(self, text):
        (self.dir / "etc/aliases").write_text(text)
        r = self.tool("aliases")
        if r.returncode:
            raise RuntimeError(r.stderr.decode())

    def routes(self, text):
        (self.dir / "etc/routes").write_text(text)
        r = self.tool("routes")
        if r.returncode:
            raise RuntimeError(r.stderr.decode())

    def queue_count(self):
        """Messages in the queue, in files or in the journal; None when nobody can say."""
        out = self.postern("queue", "summary" if self.proc else "check", "--json")[1]
        m = re.search(r'"messages": ?(\d+)', out)
        return int(m.group(1)) if m else None

    def fill(self, count, domain, *more):
        """Puts messages into the spool of an instance that is not running; see fillspool.c."""
        spool = pathlib.Path(self.settings["spool-directory"])
        if not spool.exists():
            self.start()
            self.stop()
        subprocess.run([BUILD / "tests/fillspool", spool, str(count), domain, *map(str, more)], check=True,
                       **({"user": self.uid_of("queue"), "group": self.uid_of("queue"), "extra_groups": []} if ROOT else {}))

    # mail
    def smtp(self, timeout=30):
        return Smtp(self.address, self.port, timeout)

    def send(self, sender, rcpts, data, **kw):
        """One session, one message; gives the last reply."""
        with self.smtp() as s:
            return s.send(sender, [rcpts] if isinstance(rcpts, str) else rcpts, data, **kw)

    def maildir(self, user):
        """The messages in a user's Maildir, as bytes, in order of arrival."""
        d = self.dir / "home" / user / "Maildir"
        files = [f for sub in ("new", "cur") for f in (d / sub).glob("*")] if d.exists() else []
        return [f.read_bytes() for f in sorted(files, key=lambda f: f.stat().st_mtime_ns)]

    def wait_mail(self, user, count=1, seconds=20):
        wait_for(lambda: len(self.maildir(user)) >= count, seconds)
        return self.maildir(user)


def _alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def comm(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid):
    children = {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{p}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(stat.rsplit(") ", 1)[1].split()[1]), []).append(int(p))
    found, todo = [], [pid]
    while todo:
        for c in children.get(todo.pop(), []):
            if _alive(c):
                found.append(c)
                todo.append(c)
    return found


class Smtp:
    """A plain SMTP client that sends exactly what it is told."""

    def __init__(self, host, port, timeout=30, greet=True):
        self.sock = socket.create_connection((host, port), timeout)
        self.file = self.sock.makefile("rb")
        self.greeting = self.reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def raw(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def reply(self):
        """(code, text); lines of a multi-line reply joined by LF. (0, '') at the end of the session."""
        lines = []
        while True:
            try:
                line = self.file.readline(4096)
            except ConnectionResetError:
                return 0, ""
            if not line:
                return 0, ""
            lines.append(line[4:].rstrip(b"\r\n").decode(errors="replace"))
            if line[3:4] != b"-":
                return int(line[:3]), "\n".join(lines)

    def cmd(self, line):
        self.raw(line + "\r\n")
        return self.reply()

    def starttls(self, context=None, name=None):
        """After EHLO: goes on under TLS, by default believing any certificate. Gives the reply."""
        r = self.cmd("STARTTLS")
        if r[0] == 220:
            self.secure(context, name)
        return r

    def secure(self, context=None, name=None):
        if not context:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.file.close()
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
        self.file = self.sock.makefile("rb")

    def send(self, sender, rcpts, data, helo="client.test", params=""):
        self.cmd(f"EHLO {helo}")
        return self.message(sender, rcpts, data, params)

    def message(self, sender, rcpts, data, params=""):
        r = self.cmd(f"MAIL FROM:<{sender}>{params}")
        if r[0] != 250:
            return r
        for rcpt in rcpts:
            r = self.cmd(f"RCPT TO:<{rcpt}>")
            if r[0] not in (250, 251):
                return r
        r = self.cmd("DATA")
        if r[0] != 354:
            return r
        self.raw(dot_stuff(data) + b".\r\n")
        return self.reply()


def dot_stuff(data):
    data = data if isinstance(data, bytes) else data.encode()
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", data)


def message(subject="test", body="hello\r\n", **fields):
    head = {"From": "<a@client.test>", "To": "<b@mx.test>", "Subject": subject, "Date": "Sat, 21 Nov 2026 09:30:00 +0000",
            "Message-ID": f"<{time.time_ns()}@client.test>"}
    head.update(fields)
    return ("".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n" + body).encode()


def body_of(mail):
    """What follows the header, line ends as LF."""
    return mail.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
