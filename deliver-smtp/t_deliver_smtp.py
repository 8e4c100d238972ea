#!/usr/bin/env python3
"""The real deliver-smtp in its cage, hosts of the tests' own, and we play dispatch."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ.get("srcdir", "."), "tests"))
from harness import main, ok, same  # noqa: E402
from play import Program, sealed  # noqa: E402
from sink import Sink  # noqa: E402

CONFIG = {"hostname": "me.test", "connect-timeout": "2s", "reply-timeout": "2s", "connection-idle": "2s"}
PREFIX = "Received: from x by me.test\r\n"
LOOPBACK = socket.inet_aton("127.0.0.1")


class Dispatch:
    def __init__(self, program):
        self.peer = program.wire("dispatch")
        self.learned, self.hosts = [], {}
        self.running = self.peer.until("synced")[:-1]

    def give(self, job, ports, rcpts=("a@there.test",), data=b"Subject: hi\r\n\r\n.dot\r\n", sender="s@here.test", body=0,
             fd=None, size=None, destination="there.test"):
        mine = fd is None
        fd = sealed(data) if mine else fd
        size = len(PREFIX) + len(data) if size is None else size
        self.peer.send("job", fd=fd, job=job, id=(7, job), sender=sender, body=body, size=size, prefix=PREFIX,
                       destination=destination, hosts=len(ports), rcpts=len(rcpts))
        if mine:
            os.close(fd)
        for port in ports:
            self.peer.send("job_host", job=job, name="mx.there.test", family=4, ip=LOOPBACK, port=port)
        for i, r in enumerate(rcpts):
            self.peer.send("job_rcpt", job=job, index=i, rcpt=r)

    def results(self, job, timeout=15):
        """[(index, "code x.y.z text")] sorted, and job_done."""
        out = []
        while True:
            name, m = self.peer.next(timeout)
            assert name, "no answer for job %d" % job
            if name == "learned":
                self.learned.append(m)
            elif name == "result" and m["job"] == job:
                d = m["detail"]
                self.hosts[m["index"]] = m["host"].decode()
                out.append((m["index"], "%d %d.%d.%d %s" % (m["code"], d // 1000000, d // 1000 % 1000, d % 1000,
                                                          m["text"].decode())))
            elif name == "job_done" and m["job"] == job:
                return sorted(out), m

    def run(self, job, ports, **how):
        self.give(job, ports, **how)
        return self.results(job)


TAKEN = [(0, "250 2.0.0 taken")]


def wait(what, seconds=10):
    """The sink keeps a message just after it has answered."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)


def leave(conn):
    try:
        conn.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def plain():
    s = Sink()
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)
        got, done = d.run(1, [s.port])
        same(got, TAKEN, "a message is taken")
        same(d.hosts[0], "mx.there.test[127.0.0.1]:%d" % s.port, "and who took it is told")
        wait(lambda: s.messages)
        same(s.messages, [("s@here.test", ["a@there.test"], PREFIX.encode() + b"Subject: hi\r\n\r\n.dot\r\n")],
             "octet by octet, with the header fields in front")
        ok("EHLO me.test" in s.lines, "with our name", s.lines)
        same((len(d.learned), d.learned[0]["ok"], d.learned[0]["size_limit"], d.learned[0]["caps"]),
             (1, 1, 10000000, 0b11111), "what the host can do is learned")
        same(done["reused"], 0, "by a new connection")
        got, done = d.run(2, [s.port], sender="", rcpts=["a@x.test", "b@x.test"])
        same((got, done["reused"], s.sessions), ([(0, "250 2.0.0 taken"), (1, "250 2.0.0 taken")], 1, 1),
             "the next goes by the same connection")
        wait(lambda: len(s.messages) == 2)
        same(s.messages[1][:2], ("", ["a@x.test", "b@x.test"]), "from the null reverse-path to two")
        big = b"".join(b"..line %d\r\n" % i for i in range(200000))
        got, _ = d.run(3, [s.port], data=big)
        wait(lambda: len(s.messages) == 3)
        ok(got == TAKEN and s.messages[2][2] == PREFIX.encode() + big, "a message of 2.7 MB, stuffed and whole", got)
        d.run(4, [s.port], destination="other.test")
        same(s.sessions, 2, "another destination gets a connection of its own")
        time.sleep(2.6)
        ok(s.lines.count("QUIT") == 2, "idle connections are left with QUIT", s.lines)
        same(p.stop(), 0, "stops with 0")
        same(p.lines().count(": sent "), 4, "a log line for each transaction")


def refusals():
    s = Sink(behave={"RCPT": lambda t: "550 5.1.1 no such user" if "bad" in t else "452 too many" if "late" in t else None})
    strict = Sink(caps=())
    never = Sink(behave={"connect": "554 5.7.1 not you"})
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)
        got, _ = d.run(1, [s.port], rcpts=["good@x.test", "bad@x.test", "late@x.test"])
        same(got, [(0, "250 2.0.0 taken"), (1, "550 5.1.1 no such user"), (2, "452 4.0.0 too many")], "each has an answer of its own")
        got, _ = d.run(2, [s.port], rcpts=["bad@x.test"])
        same(got, [(0, "550 5.1.1 no such user")], "all refused")
        got, _ = d.run(3, [s.port])
        same((got, s.sessions), (TAKEN, 1), "and the connection goes on, with RSET")
        ok("RSET" in s.lines, "RSET was said", s.lines)
        got, _ = d.run(4, [strict.port], data=b"caf\xe9\r\n", body=1)
        ok(got[0][1].startswith("554 5.6.3"), "8-bit text is not sent to a host that does not take it", got)
        same(strict.messages, [], "it has heard nothing of it")
        got, _ = d.run(5, [strict.port], data=b"plain\r\n", body=1)
        wait(lambda: strict.messages)
        same((got, strict.messages[0][2]), (TAKEN, PREFIX.encode() + b"plain\r\n"), "7-bit text declared 8BITMIME goes there, one command by one")
        got, _ = d.run(6, [s.port], data=b"caf\xe9\r\n", body=0)
        ok(got == TAKEN and any(l.endswith("BODY=8BITMIME") for l in s.lines), "undeclared 8-bit text is declared", s.lines)
        for i, bad in enumerate((b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\r\n.\n", b"a\r")):
            got, _ = d.run(10 + i, [s.port], data=bad)
            ok(got[0][1].startswith("554 5.6.0"), "not sent: %r" % bad, got)
        got, _ = d.run(20, [never.port, s.port])
        same(got, TAKEN, "a host that greets with 554: the next one")
        ok(any(not m["ok"] and m["code"] == 554 for m in d.learned), "and the failure is learned")
        got, _ = d.run(21, [never.port])
        same(got, [(0, "554 4.7.1 not you")], "the only host greets with 554: later")
        got, _ = d.run(22, [s.port], rcpts=["not an address"])
        ok(got[0][1].startswith("553 5.1.3"), "a recipient that is none", got)
        me = Sink(behave={"EHLO": "250 me.test"})
        got, _ = d.run(23, [me.port, s.port])
        ok(got[0][1].startswith("554 5.4.6"), "a host that is us", got)


def unreliable():
    s = Sink()
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)
        dead = closed_port()
        got, _ = d.run(1, [dead, s.port])
        same(got, TAKEN, "the first host refuses the connection, the second takes it")
        got, _ = d.run(2, [dead])
        ok(got[0][1].startswith("451 4.4.1 cannot connect to mx.there.test[127.0.0.1]:%d" % dead), "no host at all", got)
        silent = Sink(behave={"connect": "hang"})
        got, _ = d.run(3, [silent.port])
        same(got, [(0, "451 4.4.2 timed out while waiting for the greeting")], "a host that does not greet")
        cut = Sink(behave={"DATA": "close"})
        got, _ = d.run(4, [cut.port, s.port])
        same(got, TAKEN, "lost before the data: the next host")
        lost = Sink(behave={"dot": "close"})
        got, _ = d.run(5, [lost.port, s.port])
        same(got, [(0, "451 4.4.2 the server closed the connection while waiting for the reply to the final dot")],
             "lost after the dot: not at another host now")
        got, _ = d.run(6, [])
        ok(got[0][1].startswith("451 4.4.3"), "no hosts", got)
        writable = os.memfd_create("unsealed")
        os.write(writable, b"x\r\n")
        got, _ = d.run(7, [s.port], fd=writable, data=b"x\r\n")
        ok(got[0][1].startswith("451 4.3.0"), "a descriptor that others could still write to is not trusted", got)
        got, _ = d.run(8, [s.port], data=b"x\r\n", size=5000)
        ok(got[0][1].startswith("451 4.3.0"), "nor one of another size", got)


def stale():
    """A server that closes the idle connection: nobody may notice."""
    class Leaver(Sink):
        def session(self, conn, f):
            threading.Timer(0.4, leave, [conn]).start()
            super().session(conn, f)
    s = Leaver()
    quits = Sink(behave={"MAIL": lambda t: "421 4.3.2 idle too long" if len(quits.lines) > 4 else None})
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)
        same(d.run(1, [s.port])[0], TAKEN, "one")
        time.sleep(0.6)
        same((d.run(2, [s.port])[0], s.sessions), (TAKEN, 2), "the old connection is dead: a new one")
        same(d.run(3, [quits.port])[0], TAKEN, "one")
        got, _ = d.run(4, [quits.port])
        same((got, quits.sessions), ([(0, "421 4.3.2 idle too long")], 2), "421 to the first command: once more, then it counts")


def other_dispatch():
    gate = threading.Event()
    s = Sink(behave={"dot": lambda data: gate.wait(10) and None})
    with Program("deliver-smtp", "remote", dict(CONFIG, **{"reply-timeout": "10s"})) as p:
        d = Dispatch(p)
        d.give(1, [s.port], rcpts=["a@x.test", "b@x.test"])
        d.peer.send("job", fd=sealed(b""), job=2, id=(7, 2), sender="", size=0, hosts=1, rcpts=1)  # never completed
        wait(lambda: "DATA" in s.lines)
        d.peer.close()
        time.sleep(0.1)
        d = Dispatch(p)
        same(sorted((n, m["job"], m["index"], m["rcpt"]) for n, m in d.running),
             [("running", 1, 0, b"a@x.test"), ("running", 1, 1, b"b@x.test")], "a new dispatch is told what runs, for whom")
        gate.set()
        same(d.results(1)[0], [(0, "250 2.0.0 taken"), (1, "250 2.0.0 taken")], "and gets the results")
        gate.clear()
        d.give(3, [s.port])
        wait(lambda: s.lines.count("DATA") == 2)
        d.peer.close()
        gate.set()
        wait(lambda: len(s.messages) == 2)
        time.sleep(0.2)
        d = Dispatch(p)
        same(len(d.running), 1, "finished meanwhile: it is told first as running")
        same(d.results(3)[0], TAKEN, "then its result")
        gate.clear()
        d.give(4, [s.port])
        wait(lambda: s.lines.count("DATA") == 3)
        p.supervise.send("stop", within_ms=5000)
        time.sleep(0.2)
        ok(p.process.poll() is None, "a stop waits for what runs")
        gate.set()
        same(d.results(4)[0], TAKEN, "until it is done")
        same(p.process.wait(5), 0, "and ends with 0")


def many():
    s = Sink()
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)
        for job in range(200):
            d.give(job, [s.port], data=b"%d\r\n" % job)
        taken = set()
        while len(taken) < 200:
            name, m = d.peer.next(20)
            assert name
            if name == "result" and m["code"] == 250:
                taken.add(m["job"])
        wait(lambda: len(s.messages) == 200)
        same((len(taken), len(s.messages)), (200, 200), "200 jobs at the same time")
        same({m[2].split(b"\r\n")[1] for m in s.messages}, {b"%d" % i for i in range(200)}, "each once")
        for i, (number, data) in enumerate([("job_host", dict(job=999, name="x", family=9, ip=b"1234", port=1)),
                                            ("job_rcpt", dict(job=998, index=0, rcpt="x@y"))]):
            d.peer.send(number, **data)
        same(d.run(500, [s.port])[0], TAKEN, "parts of jobs that nobody began are harmless")


def against_the_rules():
    """A job that cannot be is answered, for each of its recipients: dispatch waits for that."""
    later = "451 4.3.0 the job was told against the rules"
    s = Sink()
    with Program("deliver-smtp", "remote", CONFIG) as p:
        d = Dispatch(p)

        def job(number, ips=(LOOPBACK,), rcpts=2, hosts=None, told=None, size=4):
            d.peer.send("job", fd=sealed(b"x\r\n\r\n"[:4]), job=number, id=(7, number), sender="s@here.test", size=size,
                        destination="there.test", hosts=len(ips) if hosts is None else hosts, rcpts=rcpts)
            for ip in ips:
                d.peer.send("job_host", job=number, name="mx", family=4, ip=ip, port=s.port)
            for i in range(rcpts if told is None else told):
                d.peer.send("job_rcpt", job=number, index=10 + i, rcpt="r%d@there.test" % i)

        job(1, ips=[b"1234567"])
        same(d.results(1)[0], [(10, later), (11, later)], "a host with an address that is none")
        job(2, rcpts=1001)
        same(len(d.results(2)[0]), 1001, "more recipients than it takes")
        job(3, hosts=101, ips=[], rcpts=1)
        same(d.results(3)[0], [(10, later)], "more hosts")
        job(4, ips=[LOOPBACK], hosts=2)
        same(d.results(4)[0], [(10, later), (11, later)], "fewer hosts than were announced")
        job(5, rcpts=0)
        same(d.results(5)[0], [], "no recipient at all")
        job(6, told=1)
        job(6, told=0)
        same(d.results(6)[0], [(10, later)], "two of one number")
        same(s.sessions, 0, "no host hears of them")
        d.peer.send("job_rcpt", job=6, index=1, rcpt="late@there.test")
        same(d.run(7, [s.port])[0], TAKEN, "the next is delivered")
        same(p.stop(), 0, "and it stops in order")


if __name__ == "__main__":
    main(plain, refusals, unreliable, stale, other_dispatch, many, against_the_rules)
