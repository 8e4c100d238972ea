#!/usr/bin/env python3
"""strangers.py: what a crowd costs, and what a normal client feels of it. Run as root, in a build tree:

    srcdir=$PWD builddir=$PWD/build/gcc python3 bench/strangers.py idle 1000 10000
    srcdir=$PWD builddir=$PWD/build/gcc python3 bench/strangers.py slow 1000 10000 [--places 2000]

idle: sessions that said EHLO and then nothing: memory of the smtpd processes for each (PSS; the kernel's sockets are not
in it, /proc/net/sockstat and slab tell of those). slow: as many strangers, each from an address of its own (127.x.y.z),
send an octet of a command every ten seconds and come back when they are thrown out; meanwhile a normal client, a stranger
too, connects and hands in a message, again and again. --places: sessions that each of the two processes may hold."""
import multiprocessing
import pathlib
import resource
import select
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
from harness import *  # noqa: E402

TURN = 10.0  # seconds between two octets of a slow stranger


def pss(pids):
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"(?m)^Pss:\s+(\d+)", text).group(1))
    return total


def source(i):
    return f"127.{1 + i // 60000}.{i // 250 % 240}.{i % 250 + 1}"


def connect(port, i):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((source(i), 0))
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", port))
    return s


def crowd(port, count, hello, up, stop):
    """In a process of its own: count strangers; those who are sent away come again."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100,) * 2)
    poll, people, due = select.epoll(), {}, []

    def come(i):
        s = connect(port, i)
        people[s.fileno()] = [s, i, False]
        poll.register(s.fileno(), select.EPOLLIN)

    todo, greeted, returns = list(range(count)), 0, 0
    due = time.monotonic()
    while not stop.is_set():
        for i in todo[:200]:
            come(i)
        del todo[:200]
        for fd, _ in poll.poll(0.02, 500):
            person = people[fd]
            try:
                got = person[0].recv(4096)
            except OSError:
                got = b""
            if not got or got.startswith(b"421"):
                poll.unregister(fd)
                person[0].close()
                del people[fd]
                greeted -= person[2]
                returns += 1
                todo.append(person[1])
            elif not person[2]:
                person[2] = True
                greeted += 1
                if hello:
                    person[0].send(b"EHLO stranger.test\r\n")
        up.value = greeted
        if not hello and time.monotonic() > due:  # a tenth of them each second
            due += TURN / 10
            turn = int(due / (TURN / 10)) % 10
            for person in list(people.values()):
                if person[1] % 10 == turn and person[2]:
                    try:
                        person[0].send(b"N")
                    except OSError:
                        pass
    print(f"    strangers were thrown out and came again {returns} times")


class Crowd:
    def __init__(self, mx, count, hello):
        self.up, self.stop = multiprocessing.Value("i", 0), multiprocessing.Event()
        self.p = multiprocessing.Process(target=crowd, args=(mx.port, count, hello, self.up, self.stop))
        self.p.start()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.stop.set()
        self.p.join(20)


def instance(**settings):
    return Postern(relay_networks="none", limit_connections="0", limit_connection_rate="0", limit_errors="0",
                   limit_messages="0", limit_recipients="0", command_timeout="1h", **settings)


def idle(counts):
    for count in counts:
        mx = instance()
        pids, before = mx.pids("smtpd"), pss(mx.pids("smtpd"))
        with Crowd(mx, count, True) as c:
            wait_for(lambda: c.up.value >= count, 120)
            time.sleep(2)
            after = pss(pids)
            print(f"{c.up.value} idle sessions: smtpd PSS {before} KiB before, {after} KiB with them: "
                  f"{(after - before) / count:.2f} KiB each")
        cleanup()


def normal(mx, seconds):
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        s = socket.create_connection(("127.0.0.1", mx.port), 30, ("127.200.0.1", 0))
        f = s.makefile("rb")

        def reply():
            while True:
                line = f.readline()
                if line[3:4] != b"-":
                    return line

        codes = [reply()[:3]]
        greeted = time.monotonic()
        for say in (b"EHLO normal.test\r\n", b"MAIL FROM:<a@normal.test>\r\n", b"RCPT TO:<alice@mx.test>\r\n", b"DATA\r\n",
                    b"Subject: x\r\n\r\nx\r\n.\r\n"):
            s.sendall(say)
            codes.append(reply()[:3])
        took.append((greeted - began, time.monotonic() - began, codes == [b"220", b"250", b"250", b"250", b"354", b"250"]))
        s.close()
        time.sleep(0.1)
    return took


def slow(counts, places):
    for count in [0] + counts:
        mx = instance(**({"sessions_per_process": places} if places else {}))
        with Crowd(mx, count, False) as c:
            wait_for(lambda: c.up.value >= min(count, 2 * (places or 10**9)) * 0.99, 120)
            took = normal(mx, 20)
            print(f"{count} slow strangers ({c.up.value} in at the end): {len(took)} messages, {sum(not t[2] for t in took)} failed; "
                  f"greeted after {1000 * statistics.median(t[0] for t in took):.1f} ms (worst {1000 * max(t[0] for t in took):.1f}), "
                  f"message accepted after {1000 * statistics.median(t[1] for t in took):.1f} ms (worst {1000 * max(t[1] for t in took):.1f})")
        cleanup()


if __name__ == "__main__":
    what, rest = sys.argv[1], sys.argv[2:]
    places = int(rest[rest.index("--places") + 1]) if "--places" in rest else 0
    numbers = [int(a) for i, a in enumerate(rest) if a.isdigit() and (i == 0 or rest[i - 1] != "--places")]
    idle(numbers) if what == "idle" else slow(numbers, places)
