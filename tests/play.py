"""play.py - one program of the suite under test, in its cage, while the test plays posternd and the peer.

The messages are read from common/wire.def itself, so this speaks what the programs speak.

    with Program("deliver-smtp", "remote", {"hostname": "a.test"}) as p:
        peer = p.wire("dispatch")
        peer.send("job", fd=fd, job=1, ...)
        name, fields = peer.expect("job_done")
"""
import array
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

SRC = pathlib.Path(os.environ.get("srcdir", pathlib.Path(__file__).resolve().parent.parent))
BUILD = pathlib.Path(os.environ.get("builddir", SRC))
SIZES = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q"}


# 3 and 4 are where a program looks for posternd and the log; a detour keeps them from overwriting one another.
LAUNCH = """import os, sys, fcntl
a, b = (fcntl.fcntl(int(x), fcntl.F_DUPFD, 20) for x in sys.argv[1:3])
os.dup2(a, 3); os.dup2(b, 4); os.execv(sys.argv[3], [sys.argv[3], "-i", "0"])"""


def read_def():
    text = re.sub(r"/\*.*?\*/", "", (SRC / "common/wire.def").read_text(), flags=re.S)
    status = re.search(r"#define STATUS_FIELDS (.*)", text).group(1)
    body = "\n".join(l for l in text.splitlines() if not l.startswith("#")).replace("STATUS_FIELDS", status)
    rows = re.split(r"^MSG\(", body, flags=re.M)[1:]
    out = []
    for row in rows:
        fds = re.match(r"\w+, [^\"]*?, (\d), \"", row.replace("\n", " "))
        fields = re.findall(r"FIELD\((\w+), (\w+), \w+\)", row)
        out.append((re.match(r"\w+", row).group(0), fields, int(fds.group(1))))
    return out


MESSAGES = read_def()
NUMBER = {m[0]: i + 1 for i, m in enumerate(MESSAGES)}
ROLES = re.findall(r"^ROLE\((\w+),", (SRC / "common/roles.def").read_text(), flags=re.M)


def encode(name, values):
    fields = MESSAGES[NUMBER[name] - 1][1]
    unknown = set(values) - {f for _, f in fields}
    assert not unknown, unknown
    out = b""
    for kind, field in fields:
        v = values.get(field, b"" if kind == "bytes" else (0, 0) if kind == "qid" else 0)
        if kind == "bytes":
            v = v.encode() if isinstance(v, str) else v
            out += struct.pack("<H", len(v)) + v
        elif kind == "qid":
            out += struct.pack("<QI", *v)
        else:
            out += struct.pack(SIZES[kind], v)
    return struct.pack("<HH", NUMBER[name], len(out)) + out


def decode(number, data):
    name, fields, _ = MESSAGES[number - 1]
    out, at = {}, 0
    for kind, field in fields:
        if kind == "bytes":
            n = struct.unpack_from("<H", data, at)[0]
            out[field], at = data[at + 2:at + 2 + n], at + 2 + n
        elif kind == "qid":
            out[field], at = struct.unpack_from("<QI", data, at), at + 12
        else:
            out[field] = struct.unpack_from(SIZES[kind], data, at)[0]
            at += struct.calcsize(SIZES[kind])
    assert at == len(data), name
    return name, out


class Channel:
    """Our end. The schema's hash is not computed here: the program's own hello tells it."""

    def __init__(self, sock, role, instance=0):
        self.sock, self.waiting, self.got, self.dead = sock, [], [], False
        self.hello(role, instance)

    def hello(self, role, instance):
        name, m = self.expect("hello")
        self.send("hello", schema=m["schema"], role=ROLES.index(role), instance=instance, pid=os.getpid(), credit=1000000)

    def send(self, name, /, fd=None, **values):
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
        self.sock.sendmsg([encode(name, values)], anc)

    def poll(self, timeout):
        """Reads one packet; False when none came or the other side has gone."""
        if self.dead or not select.select([self.sock], [], [], max(0, timeout))[0]:
            return False
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.dead = True
            return False
        while data:
            number, n = struct.unpack_from("<HH", data)
            self.waiting.append(decode(number, data[4:4 + n]))
            data = data[4 + n:]
        return True

    def next(self, timeout=10):
        end = time.monotonic() + timeout
        while not self.waiting:
            if not self.poll(end - time.monotonic()) and (self.dead or time.monotonic() >= end):
                return None, {}
        m = self.waiting.pop(0)
        return self.next(timeout) if m[0] == "credit" else m

    def expect(self, name, timeout=10):
        m = self.next(timeout)
        assert m[0] == name, "wanted %s, got %r" % (name, m)
        return m

    def until(self, name, timeout=10):
        """All messages up to the first of that name; it is the last."""
        out = []
        while not out or out[-1][0] != name:
            m = self.next(timeout)
            assert m[0], "no %s came; before: %r" % (name, out)
            out.append(m)
        return out

    def close(self):
        self.sock.close()


class Program:
    def __init__(self, binary, role, settings=None, root=True, uid=None):
        self.role = role
        self.dir = tempfile.TemporaryDirectory()
        os.chmod(self.dir.name, 0o755)
        self.log = open(os.path.join(self.dir.name, "log"), "w+b")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = self.log.fileno()

        path = BUILD / binary / binary if (BUILD / binary / binary).exists() else BUILD / binary
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(theirs.fileno()), str(log), str(path)], pass_fds=(theirs.fileno(), log))
        theirs.close()
        self.supervise = Channel(ours, "supervise")
        for name, value in (settings or {}).items():
            self.supervise.send("conf", name=name, value=value)
        row = ROLES.index(role)
        empty = os.path.join(self.dir.name, "empty")
        os.mkdir(empty)
        uid = 61000 + row if uid is None else uid
        self.supervise.send("cage", uid=uid, gid=uid, root=empty if root else b"")
        self.supervise.send("conf_end", generation=1)
        self.note = self.supervise.expect("started")[1]["note"].decode()

    def wire(self, role, instance=0):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervise.send("peer", fd=theirs.fileno(), role=ROLES.index(role), instance=instance)
        theirs.close()
        return Channel(ours, role, instance)

    def stop(self, within_ms=3000):
        """Gives the exit status; negative for a signal."""
        if self.process.poll() is None:
            try:
                self.supervise.send("stop", within_ms=within_ms)
            except OSError:
                pass
        try:
            return self.process.wait(within_ms / 1000 + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def lines(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.dir.cleanup()


def sealed(data):
    """A sealed memory file, as smtpd makes them."""
    import fcntl
    fd = os.memfd_create("message", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, data)
    fcntl.fcntl(fd, 1033, 0x0002 | 0x0004 | 0x0008)  # F_ADD_SEALS: SHRINK GROW WRITE
    return fd
