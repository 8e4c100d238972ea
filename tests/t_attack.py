#!/usr/bin/env python3
"""Hostile neighbours: local users at the control sockets, programs that an attacker owns."""
import contextlib
import select
import threading

import play
from harness import *
from sink import Sink


@contextlib.contextmanager
def as_user(mx, user):
    """The kernel notes who connects when he does."""
    if ROOT:
        os.setegid(mx.user_uid[user])
        os.seteuid(mx.user_uid[user])
    try:
        yield
    finally:
        if ROOT:
            os.seteuid(0)
            os.setegid(0)


def dial(mx, which, user="alice"):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(5)
    with as_user(mx, user):
        s.connect(str(mx.dir / f"run/control-{which}"))
    return s


def greeted(mx, which, user="alice"):
    return play.Channel(dial(mx, which, user), "tool")


def pour(sock, packet, most, seconds=10):
    """Sends the packet again and again and never reads; gives how many were taken."""
    sent, end = 0, time.monotonic() + seconds
    sock.setblocking(False)
    while sent < most and time.monotonic() < end:
        try:
            sock.send(packet)
            sent += 1
        except BlockingIOError:
            select.select([], [sock], [], 0.2)
        except OSError:
            break
    return sent


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) // 1024


def works(mx, name):
    n = len(mx.maildir("bob"))
    code = mx.send("x@client.test", "bob@mx.test", message(name))[0]
    return ok(code == 250 and len(mx.wait_mail("bob", n + 1)) == n + 1, f"{name}: mail is accepted and delivered", code)


def t_control_flood():
    """An ordinary user asks and never reads the answers."""
    mx = Postern()
    for which in ("queue", "dispatch"):
        pid, before = mx.pids(which)[0], rss(mx.pids(which)[0])
        ask = play.encode("ctl_queue", {"which": 1, "op": ord("l"), "detail": 1, "id": (1, 1)}) if which == "queue" else play.encode("ctl_hosts", {})
        packet = ask * (60000 // len(ask))
        for _ in range(3):
            pour(greeted(mx, which).sock, packet, 400, 4)
        grown = rss(pid) - before
        ok(mx.pids(which) == [pid] and grown < 30, f"{which} does not keep {grown} MiB of answers for whoever does not read them")
        works(mx, f"after a flood at {which}")


def t_control_crowd():
    """One user holds as many control connections as he gets: the administrator is still heard."""
    mx = Postern()
    for which in ("queue", "dispatch"):
        crowd = [dial(mx, which) for _ in range(300)]
        code, out, err = mx.postern("queue", "list") if which == "queue" else mx.postern("hosts")
        ok(code == 0, f"{len(crowd)} connections to {which}: the administrator is heard", code, out, err)
        for s in crowd:
            s.close()


def t_few_descriptors():
    """A machine that gives few descriptors: mail waits its turn, and no program takes another for an intruder."""
    gate = threading.Event()
    sink = Sink(behave={"connect": lambda a: gate.wait(60) and None})
    on_cleanup(sink.close)
    mx = Postern(start=False, retry_first="300ms", retry_max="500ms")
    plain = mx.command
    mx.command = lambda *argv: ["prlimit", "--nofile=400:400"] + plain(*argv)
    mx.start()
    mx.command = plain
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    accepted = []

    def send():
        with mx.smtp() as s:
            s.cmd("EHLO load.test")
            for _ in range(220):
                accepted.append(s.message("x@client.test", ["u@far.test"], message())[0] == 250)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    gate.set()
    ok(wait_for(lambda: len(sink.messages) >= sum(accepted), 40), f"all of {sum(accepted)} messages are delivered", len(sink.messages))
    same(mx.events("intrusion"), [], "nobody was taken for an intruder")


def t_dispatch_dies_over_an_mbox():
    """An mbox has no names by which a second copy is known, and the next worker is there before the last has ended."""
    mx = Postern(mailbox="mbox:%m/%u", retry_first="300ms", retry_max="600ms")
    accepted, stop = [], threading.Event()

    def send(who):
        with mx.smtp() as s:
            s.cmd("EHLO load.test")
            while not stop.is_set():
                name = f"m-{who}-{len(accepted)}"
                if s.message("x@client.test", ["alice@mx.test"], message(name))[0] == 250:
                    accepted.append(name)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for _ in range(6):
        time.sleep(0.5)
        for p in mx.pids("dispatch"):
            os.kill(p, signal.SIGKILL)
        wait_for(lambda: mx.pids("dispatch"), 10)
    stop.set()
    for t in threads:
        t.join()
    ok(wait_for(lambda: mx.queue_count() == 0, 30), "the queue empties")
    got = re.findall(rb"(?m)^Subject: (m-\S+)", (mx.dir / "mail/alice").read_bytes())
    same((len(set(got)), len(got)), (len(accepted), len(accepted)), "each message is there once")


if __name__ == "__main__":
    main(t_control_flood, t_control_crowd, t_few_descriptors, t_dispatch_dies_over_an_mbox)
