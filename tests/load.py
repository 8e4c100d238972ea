"""load.py - senders that remember what got 250, and the judge of what became of it.

The text of a message follows from its name (which is its Subject), so nothing has to be kept of it: whoever finds a
delivered message can tell whether it is whole, and whether somebody sent it.
"""
import collections
import random
import re
import threading
import time

from harness import wait_for

_tags = 0


def text_of(name):
    """The whole message of this name, CRLF lines. The last part of the name is the size of its body."""
    size = int(name.rsplit("-", 1)[1])
    noise = random.Random(name).randbytes(size // 2 + 1).hex()
    lines = [noise[i:i + 74] for i in range(0, size, 74)]
    return (f"From: <load@load.test>\r\nTo: <somebody@mx.test>\r\nSubject: {name}\r\n"
            "Date: Sat, 21 Nov 2026 09:30:00 +0000\r\n" f"Message-ID: <{name}@load.test>\r\n\r\n"
            + "\r\n".join([name] + lines) + "\r\n").encode()


def name_of(mail):
    m = re.search(rb"(?m)^Subject: (m-[a-z0-9-]+)\r?$", mail)
    return m and m.group(1).decode()


def is_whole(mail):
    """Whether mail is exactly the message that its name says, behind the header fields that were put before it."""
    name = name_of(mail)
    return bool(name) and mail.replace(b"\r\n", b"\n").endswith(b"\n" + text_of(name).replace(b"\r\n", b"\n"))


class Load:
    """Senders. rcpts: a list of recipient lists, one of which is taken for each message. Whatever happens to a
    session, they go on with a new one. sent: name -> recipients, before anything is said; acked: names, in the order
    in which their 250 was read; replies: how often each reply to a message came."""

    def __init__(self, mx, rcpts, senders=4, sizes=(100, 6000), pause=0, seed=None):
        global _tags
        _tags += 1
        self.mx, self.rcpts, self.sizes, self.pause = mx, rcpts, sizes, pause
        self.sent, self.acked, self.acked_at, self.replies, self.stop = {}, [], {}, collections.Counter(), False
        self.tag, self.seed = _tags, seed if seed is not None else random.random()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(senders)]
        for t in self.threads:
            t.start()

    def run(self, who):
        rng, n = random.Random(f"{self.seed}-{who}"), 0
        while not self.stop:
            try:
                with self.mx.smtp(timeout=20) as s:
                    s.cmd("EHLO load.test")
                    while not self.stop:
                        n += 1
                        name = f"m-{self.tag}-{who}-{n}-{int(rng.uniform(*self.sizes))}"
                        rcpts = rng.choice(self.rcpts)
                        self.sent[name] = rcpts
                        code, _ = s.message("load@load.test", rcpts, text_of(name))
                        self.replies[code] += 1
                        if code == 250:
                            self.acked_at[name] = time.monotonic()
                            self.acked.append(name)
                        elif code in (0, 421):
                            break
                        if self.pause or code != 250:
                            time.sleep(self.pause or 0.02)
            except (OSError, ValueError):
                time.sleep(0.02)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(30)
        return self.acked


class Verdict:
    """What became of the messages: lists of (name, recipient)."""

    def __init__(self, sent, acked, delivered):
        """sent: name -> recipients; acked: names; delivered: (recipient, bytes) of every delivery that was made."""
        self.counts, self.corrupt, self.extra = collections.Counter(), [], []
        self.checked = len(acked)
        for rcpt, mail in delivered:
            name = name_of(mail)
            if name is None or rcpt not in sent.get(name, ()):
                self.extra.append((name or mail[:200], rcpt))
            elif not is_whole(mail):
                self.corrupt.append((name, rcpt))
            else:
                self.counts[name, rcpt] += 1
        self.lost = [(n, r) for n in acked for r in sent[n] if not self.counts[n, r]]
        self.twice = [k for k, n in self.counts.items() if n > 1]

    def __bool__(self):
        return not (self.lost or self.corrupt or self.extra)

    def __str__(self):
        return (f"{self.checked} messages that got 250: {len(self.lost)} lost, {len(self.corrupt)} corrupt, "
                f"{len(self.extra)} extra, {len(self.twice)} second copies")

    def story(self):
        return "\n".join(f"{what}: {name} for {rcpt}" for what in ("lost", "corrupt", "extra")
                         for name, rcpt in getattr(self, what)[:20])


def of_sink(sink):
    """Deliveries that a sink has taken."""
    return [(rcpt, mail) for _, rcpts, mail in list(sink.taken) for rcpt in rcpts]


def times_of(sink):
    """(name, recipient) -> when the sink took it first."""
    times = {}
    for at, rcpts, mail in list(sink.taken):
        for rcpt in rcpts:
            times.setdefault((name_of(mail), rcpt), at)
    return times


def of_maildir(folder, rcpt):
    """Deliveries to a Maildir."""
    return [(rcpt, f.read_bytes()) for sub in ("new", "cur") for f in (folder / sub).glob("*")]


def wait_all(names, sent, deliveries, seconds=30):
    """Waits until each of names has been delivered to each of its recipients. deliveries() gives (recipient, bytes)."""
    def done():
        have = {(name_of(m), r) for r, m in deliveries()}
        return all((n, r) in have for n in names for r in sent[n])
    return wait_for(done, seconds, step=0.05)
