"""scenarios.py - what is measured: each scenario takes a server and gives a dict of numbers.

Every message that got 250 is looked for where it must arrive; one that is lost or comes twice makes the run a failed one.
"""
import collections
import json
import os
import signal
import statistics
import subprocess
import time

from servers import DEAD_DOMAIN, DOMAIN, LOCAL_DOMAIN, SINK, TARPIT, TAR_DOMAIN


class Tools:
    """The two C programs, and where they leave their records."""

    def __init__(self, build, work):
        self.load_path, self.sink_path = os.path.join(build, "bench/load"), os.path.join(build, "bench/sink")
        self.work, self.serial = work, 0

    def prefix(self):
        self.serial += 1
        return f"b{self.serial}"

    def load(self, port, **opt):
        """Runs load; opt are its one-letter options. Gives its report, with ids: {id: (begun, accepted)} in ns."""
        log = os.path.join(self.work, "load.log")
        argv = [self.load_path, "-p", str(port), "-l", log]
        for k, v in opt.items():
            argv += ["-" + k] + ([] if v is True else [str(v)])
        r = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout)
        with open(log) as f:
            r["ids"] = {w[0]: (int(w[1]), int(w[2])) for w in map(str.split, f)}
        return r


class Sink:
    """The host to which all is relayed. Reads of its log are incremental."""

    def __init__(self, tools):
        self.log = os.path.join(tools.work, "sink.log")
        self.proc = subprocess.Popen([tools.sink_path, "-p", str(SINK), "-T", str(TARPIT), "-l", self.log], stdout=subprocess.PIPE)
        if not self.proc.stdout.readline():
            raise RuntimeError(f"the sink ended; is another bench using port {SINK} or {TARPIT}?")
        self.at, self.rest, self.seen = 0, "", []

    def read(self):
        with open(self.log) as f:
            f.seek(self.at)
            text = f.read()
            self.at = f.tell()
        lines = (self.rest + text).split("\n")
        self.rest = lines.pop()
        self.seen += [(int(ns), ident, int(n)) for ns, ident, n in map(str.split, lines)]

    def forget(self):
        self.read()
        self.seen = []

    def of(self, prefix):
        """[(ns, id, recipients)] of this load, since forget()."""
        self.read()
        return [s for s in self.seen if s[1].startswith(prefix + "-")]

    def wait(self, prefix, recipients, seconds):
        end = time.monotonic() + seconds
        while True:
            got = self.of(prefix)
            if sum(n for _, _, n in got) >= recipients or time.monotonic() > end:
                return got
            time.sleep(0.02)

    def stop(self):
        self.proc.terminate()
        self.proc.wait()


def quantile(values, q):
    v = sorted(values)
    return v[min(len(v) - 1, int(q * len(v)))] if v else None


class Context:
    def __init__(self, tools, sink, short):
        self.tools, self.sink, self.short = tools, sink, short


def relay(server, x, seconds=3.0, rcpts=1, domain=DOMAIN, patience=30, **opt):
    """Load until time or number is up; wait until the sink has all."""
    prefix = x.tools.prefix()
    x.sink.forget()
    cpu = server.cpu()
    opt = {"n": 100000, "P": True, **opt}
    r = x.tools.load(server.port, x=prefix, D=seconds / (2 if x.short else 1), r=rcpts, t=f"u%r@{domain}", **opt)
    got = x.sink.wait(prefix, r["recipients"], patience)
    cpu = server.cpu() - cpu
    parts, first = {}, {}
    for ns, ident, n in got:
        parts[ident] = parts.get(ident, 0) + n
        first[ident] = min(ns, first.get(ident, ns))
    begun, last = min((b for b, _ in r["ids"].values()), default=0), max((ns for ns, _, _ in got), default=0)
    e2e = [(first[i] - a) / 1e6 for i, (_, a) in r["ids"].items() if i in first]
    done = len(first)
    return {"rate": done / ((last - begun) / 1e9) if done else 0, "cpu": cpu / done * 1000 if done else None,
            "accepted": r["accepted"], "refused": r["refused"] + r["failed"], "dot_p50": r["dot_p50"], "dot_p99": r["dot_p99"],
            "e2e_p50": quantile(e2e, .5), "e2e_p99": quantile(e2e, .99),
            "lost": sum(max(0, rcpts - parts.get(i, 0)) for i in r["ids"]),
            "doubled": sum(max(0, n - rcpts) for i, n in parts.items() if i in r["ids"])}


def accept(server, x, conns):
    server.wipe()
    cpu = server.cpu()
    r = x.tools.load(server.port, x=x.tools.prefix(), n=200000, D=1.2 if x.short else 2.5, c=conns, m=1000000, P=True, t=f"u0@{DOMAIN}")
    time.sleep(0.2)
    n, kept = r["accepted"], server.queued()
    return {"rate": n / r["seconds"], "cpu": (server.cpu() - cpu) / n * 1000, "accepted": n, "refused": r["refused"],
            "dot_p50": r["dot_p50"], "dot_p99": r["dot_p99"], "lost": max(0, n - kept), "doubled": max(0, kept - n)}


def local(server, x, users):
    server.homes()
    cpu, begun = server.cpu(), time.monotonic_ns()
    r = x.tools.load(server.port, x=x.tools.prefix(), n=50000, D=1.5 if x.short else 3, c=20, m=1000, P=True, u=users,
                     t=f"u%u@{LOCAL_DOMAIN}")
    want, end, last = r["accepted"], time.monotonic() + 60, time.monotonic_ns()
    have = server.delivered if server.mode == "maildir" else lambda: len(server.delivered_ids())
    while have() < want and time.monotonic() < end:
        time.sleep(0.02)
        last = time.monotonic_ns()
    time.sleep(1.5)  # what a server does a little later belongs to the message too
    ids = server.delivered_ids()
    done = len(set(ids))
    return {"rate": done / ((last - begun) / 1e9), "cpu": (server.cpu() - cpu) / done * 1000 if done else None, "accepted": want,
            "refused": r["refused"], "dot_p50": r["dot_p50"], "dot_p99": r["dot_p99"], "lost": len(set(r["ids"]) - set(ids)),
            "doubled": len(ids) - done}


def handshakes(server, x, certificate):
    server.certificate = certificate
    try:
        server.start("relay")
        cpu = server.cpu()
        r = x.tools.load(server.port, x=x.tools.prefix(), n=1000000, D=1.5 if x.short else 3, c=10, m=0, T=True)
        n = r["handshakes"]
        return {"rate": n / r["seconds"], "cpu": (server.cpu() - cpu) / n * 1000 if n else None, "refused": r["failed"],
                "connect_p50": r["connect_p50"], "connect_p99": r["connect_p99"]}
    finally:
        server.stop()
        server.certificate = "rsa"


LOAD_SESSIONS = 12500  # descriptors of one load process; a machine may allow no more than 20,000


def idle(server, x, sessions, tls=False):
    server.idle_sessions = True
    server.start("relay")
    try:
        time.sleep(1)
        before = server.memory()
        parts = [min(LOAD_SESSIONS, sessions - at) for at in range(0, sessions, LOAD_SESSIONS)]
        loads, held = [], 0
        for part in parts:
            argv = [x.tools.load_path, "-p", str(server.port), "-i", str(part), "-c", "20", "-D", str(60 + part / 50), "-a", "200"]
            p = subprocess.Popen(argv + (["-T"] if tls else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            loads.append(p)
            held += int(p.stdout.readline().split()[1])
        time.sleep(1)
        after = server.memory()
        for p in loads:
            p.stdin.close()
            p.wait()
        return {"held": held, "kib": (after - before) / held if held else None, "total_kib": after}
    finally:
        server.stop()
        server.idle_sessions = False


def fill(server, x, count, domain):
    server.clean()
    server.start("hold")
    try:
        r = x.tools.load(server.port, x="old", n=count, D=120, c=20, m=1000000, P=True, t=f"u0@{domain}")
    finally:
        server.stop()
    server.release()
    return r["accepted"]


def backlog(server, x, domain):
    """Fresh mail beside 10,000 messages for a host that is dead, or that never says a word."""
    def fresh():
        return relay(server, x, seconds=3, c=4, m=1, q=50, patience=20), relay(server, x, seconds=3, c=20, m=1000, patience=20)
    try:
        server.clean()
        server.start("relay")
        time.sleep(1)
        slow0, fast0 = fresh()
        server.stop()
        queued = fill(server, x, 2000 if x.short else 10000, domain)
        server.start("relay")
        time.sleep(4)
        slow, fast = fresh()
        busy = server.memory()
        time.sleep(20)  # the 10,000 are stuck for good, and what a load leaves behind has been given back
        memory = server.memory()
    finally:
        server.stop()
        server.clean()
    return {"queued": queued, "rate": fast["rate"], "rate_empty": fast0["rate"], "cpu": fast["cpu"], "e2e_p50": slow["e2e_p50"],
            "e2e_p99": slow["e2e_p99"], "e2e_p50_empty": slow0["e2e_p50"], "e2e_p99_empty": slow0["e2e_p99"], "total_kib": memory, "busy_kib": busy,
            "lost": slow["lost"] + fast["lost"], "doubled": slow["doubled"] + fast["doubled"]}


def cold(server, x):
    """Started with a full queue for a living host."""
    try:
        count = fill(server, x, 2000 if x.short else 10000, DOMAIN)
        x.sink.forget()
        server.start("relay", wait=False)
        t0 = server.begun
        server.wait_ready()
        prefix = x.tools.prefix()
        r = x.tools.load(server.port, x=prefix, n=60, c=4, q=20, m=1, t=f"u0@{DOMAIN}")
        fresh, old = x.sink.wait(prefix, r["recipients"], 60), x.sink.wait("old", count, 90)
    finally:
        server.stop()
        server.clean()
    ids = {i for _, i, _ in old}
    return {"queued": count, "first_fresh_s": (min(ns for ns, _, _ in fresh) - t0) / 1e9 if fresh else None,
            "first_old_s": (min(ns for ns, _, _ in old) - t0) / 1e9 if old else None,
            "rate": len(ids) / ((max(ns for ns, _, _ in old) - t0) / 1e9) if old else None,
            "lost": count - len(ids) + r["accepted"] - len({i for _, i, _ in fresh}), "doubled": len(old) - len(ids)}


def rest(server, x):
    """An idle suite: wake-ups (context switches) a second in all its processes, CPU and memory."""
    def switches():
        n = 0
        for pid in server.pids():
            with open(f"/proc/{pid}/status") as f:
                n += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
        return n
    server.clean()
    server.start("relay")
    try:
        time.sleep(8)  # what a start leaves to be done later is done
        cpu, before, seconds = server.cpu(), switches(), 5 if x.short else 20
        time.sleep(seconds)
        return {"wakeups": (switches() - before) / seconds, "cpu": (server.cpu() - cpu) / seconds, "total_kib": server.memory()}
    finally:
        server.stop()


SYNCS, OPENS = ("fsync", "fdatasync", "sync_file_range", "syncfs"), ("open", "openat", "openat2", "creat")


def calls(server, x, conns=20, users=1):
    """System calls a message, by strace on all processes. It slows them, so fewer share a sync than in free running."""
    to = LOCAL_DOMAIN if server.mode != "relay" else DOMAIN
    count = 400 if x.short else 2000

    def send():
        prefix = x.tools.prefix()
        x.sink.forget()
        server.homes()
        r = x.tools.load(server.port, x=prefix, n=count, D=40, c=conns, m=1000, P=True, u=users, t=f"u%u@{to}")
        if server.mode == "relay":
            x.sink.wait(prefix, r["recipients"], 60)
        else:
            end = time.monotonic() + 60
            while server.delivered() < r["accepted"] and time.monotonic() < end:
                time.sleep(0.05)
        time.sleep(1.2)
        return r["accepted"]
    send()  # connections and workers are there
    # One strace for each process: so it is known which program pays.
    tracers = {}
    for pid in server.pids():
        with open(f"/proc/{pid}/comm") as f:
            name = f.read().strip()
        out = os.path.join(x.tools.work, f"strace.{pid}")
        tracers[out] = name, subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-o", out, "-p", str(pid)], stderr=subprocess.DEVNULL)
    time.sleep(1)
    n = send()
    each, programs = collections.Counter(), {}
    for out, (name, p) in tracers.items():
        p.send_signal(signal.SIGINT)
        p.wait()
        with open(out) as f:
            for w in map(str.split, f):
                if len(w) == 2 and w[0].isdigit() and w[1] != "total":
                    each[w[1]] += int(w[0])
                    programs.setdefault(name, collections.Counter())[w[1]] += int(w[0])
    return {"calls": sum(each.values()) / n, "syncs": sum(each[c] for c in SYNCS) / n, "opens": sum(each[c] for c in OPENS) / n,
            "each": {k: v / n for k, v in each.most_common()},
            "programs": {name: {k: v / n for k, v in c.most_common()} for name, c in programs.items()}}


class Scenario:
    def __init__(self, name, title, mode, fn, goal="", **args):
        """mode: the servers run in it, side by side, for all scenarios of the mode; None: it starts and stops them itself."""
        self.name, self.title, self.mode, self.fn, self.goal, self.args = name, title, mode, fn, goal, args

    def measure(self, server, x):
        return self.fn(server, x, **self.args)


SCENARIOS = [
    Scenario("relay-1k", "relay 1 KiB, 20 senders, sessions kept", "relay", relay, "8 x rate, 1/10 CPU", c=20, m=100000),
    Scenario("relay-1k-conn", "the same, a new connection each", "relay", relay, "6 x rate, 1/7 CPU", c=20, m=1),
    Scenario("relay-64k", "relay 64 KiB", "relay", relay, "4 x rate", c=20, m=1000, s=65536),
    Scenario("relay-10m", "relay 10 MiB, 2 senders", "relay", relay, "2 x rate, 1/2 CPU", c=2, m=100, s=10485760, n=12),
    Scenario("relay-100rcpt", "1 KiB to 100 recipients at one next hop", "relay", relay, "15 x rate, 1/15 CPU", c=5, m=100, rcpts=100, n=200),
    Scenario("calls-relay", "system calls a message, relay, 20 senders", "relay", calls, "40 calls, 0.1 sync"),
    Scenario("calls-relay-5", "the same, 5 senders (as the referee's sys-relay)", "relay", calls, conns=5),
    Scenario("accept-1", "accept and hold, 1 sender", "hold", accept, "2 x rate", conns=1),
    Scenario("accept-10", "accept and hold, 10 senders", "hold", accept, "5 x rate", conns=10),
    Scenario("accept-50", "accept and hold, 50 senders", "hold", accept, "8 x rate", conns=50),
    Scenario("maildir-1", "1 KiB to the Maildir of one user", "maildir", local, "8 x rate, 1/6 CPU", users=1),
    Scenario("maildir-100", "1 KiB to the Maildirs of 100 users", "maildir", local, "6 x rate, 1/6 CPU", users=100),
    Scenario("calls-maildir", "system calls a message, Maildir of one user", "maildir", calls),
    Scenario("calls-maildir-100", "system calls a message, Maildirs of 100 users", "maildir", calls, users=100),
    Scenario("mbox-1", "1 KiB to one mbox", "mbox", local, "5 x rate, 1/6 CPU", users=1),
    Scenario("tls-rsa", "new TLS sessions, STARTTLS, RSA-2048", None, handshakes, "2.5 x rate", certificate="rsa"),
    Scenario("tls-ecdsa", "new TLS sessions, STARTTLS, ECDSA P-256", None, handshakes, "2.5 x rate", certificate="ecdsa"),
    Scenario("idle-1000", "1,000 idle sessions", None, idle, "8 KiB each", sessions=1000),
    Scenario("idle-10000", "10,000 idle sessions", None, idle, "8 KiB each", sessions=10000),
    Scenario("idle-50000", "50,000 idle sessions", None, idle, "8 KiB each", sessions=50000),
    Scenario("idle-tls-1000", "1,000 idle TLS sessions", None, idle, "40 KiB each", sessions=1000, tls=True),
    Scenario("backlog-dead", "fresh mail beside 10,000 for a dead host", None, backlog, "as with an empty queue; 12 MB", domain=DEAD_DOMAIN),
    Scenario("backlog-tarpit", "fresh mail beside 10,000 for a tarpit", None, backlog, "as with an empty queue; 12 MB", domain=TAR_DOMAIN),
    Scenario("cold", "start with 10,000 queued", None, cold, "fresh 0.2 s, old 0.5 s"),
    Scenario("rest", "an idle suite", None, rest, "1 wake-up/s, 12 MB"),
]
SHORT = ("relay-1k", "relay-1k-conn", "relay-64k", "relay-100rcpt", "calls-relay", "accept-1", "accept-10", "accept-50", "maildir-1",
         "maildir-100", "mbox-1", "tls-rsa", "tls-ecdsa", "idle-1000", "idle-tls-1000")


def median(rows, key):
    v = [r[key] for r in rows if isinstance(r.get(key), (int, float))]
    return statistics.median(v) if v else None
