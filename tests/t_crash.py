#!/usr/bin/env python3
"""Programs are killed; no message that got 250 is lost, and nobody gets a second copy who need not."""
import threading

from harness import *
from sink import Sink


def t_three_ways():
    """One message to three recipients: local, a host that is up, a host that is down. Then everything is killed."""
    up, down_port = Sink(), free_port()
    on_cleanup(up.close)
    mx = Postern(retry_first="2s", retry_max="2s")
    mx.routes(f"up.test smtp:[127.0.0.1]:{up.port}\ndown.test smtp:[127.0.0.1]:{down_port}\n")
    same(mx.send("bob@mx.test", ["alice@mx.test", "u@up.test", "d@down.test"], message("three"))[0], 250, "accepted")
    same(len(mx.wait_mail("alice")), 1, "the local one is delivered")
    ok(wait_for(lambda: len(up.messages) == 1), "the one whose host is up is delivered")
    ok(mx.wait_event("deferred"), "the one whose host is down is deferred")
    code, out, err = mx.postern("queue", "list")
    ok(code == 0 and "d@down.test" in mx.postern("queue", "show", mx.events("queued")[0]["id"])[1], "the queue shows it", out, err)
    mx.kill()
    time.sleep(0.5)
    mx.start()
    down = Sink(port=down_port)
    on_cleanup(down.close)
    ok(wait_for(lambda: len(down.messages) == 1, 40), "after kill -9 of all and a restart the third is delivered when its host comes up",
       mx.log()[-3000:])
    wait_for(lambda: mx.queue_count() == 0, 10)
    time.sleep(1)
    same((len(mx.maildir("alice")), len(up.messages), len(down.messages)), (1, 1, 1), "nobody has a second copy")
    same(mx.queue_count(), 0, "the queue is empty")
    same(down.messages[0][:2], ("bob@mx.test", ["d@down.test"]), "its envelope is right")


class Load:
    """Senders that remember what got 250. Whatever else happens to a session, they go on with a new one."""

    def __init__(self, mx, rcpt, senders=4):
        self.mx, self.rcpt, self.acked, self.stop = mx, rcpt, [], False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(senders)]
        for t in self.threads:
            t.start()

    def run(self, who):
        n = 0
        while not self.stop:
            try:
                with self.mx.smtp(timeout=10) as s:
                    s.cmd("EHLO load.test")
                    while not self.stop:
                        n += 1
                        name = f"m-{who}-{n}"
                        code, _ = s.message("load@load.test", [self.rcpt], message(name, body=name + "\r\n"))
                        if code == 250:
                            self.acked.append(name)
                        elif code in (0, 421):
                            break
            except (OSError, ValueError):
                time.sleep(0.02)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(20)
        return self.acked


def subjects(mails):
    return [re.search(rb"Subject: (\S+)", m).group(1).decode() for m in mails]


def t_kill_each():
    """kill -9 of each program in turn, again and again, under load: every message that got 250 arrives."""
    rounds = int(os.environ.get("POSTERN_KILL_ROUNDS", "3"))
    far = Postern("far", users=("carol",))
    mx = Postern(retry_first="200ms", retry_max="500ms")
    mx.routes(f"far.test smtp:[127.0.0.1]:{far.port}\n")
    local, remote = Load(mx, "alice@mx.test", 2), Load(mx, "carol@far.test", 2)
    kills = 0
    for _ in range(rounds):
        for program in ROLES:
            time.sleep(0.3)
            pids = mx.pids(program)
            if pids:
                try:
                    os.kill(pids[0], signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
    time.sleep(1)
    acked = local.end(), remote.end()
    ok(kills >= rounds * (len(ROLES) - 1), f"{kills} kills were made")
    ok(len(acked[0]) > 20 and len(acked[1]) > 20, f"{len(acked[0])} local and {len(acked[1])} relayed messages were accepted meanwhile")
    wait_for(lambda: set(acked[0]) <= set(subjects(mx.maildir("alice"))), 60)
    wait_for(lambda: set(acked[1]) <= set(subjects(far.maildir("carol"))), 60)
    for who, want, mails in (("alice", acked[0], mx.maildir("alice")), ("carol", acked[1], far.maildir("carol"))):
        got = subjects(mails)
        same(sorted(set(want) - set(got)), [], f"no message to {who} that got 250 is lost")
        twice = len(got) - len(set(got))
        if who == "alice":
            same(twice, 0, "a Maildir gets no second copy: the name follows from the queue id")
        else:
            ok(twice <= kills * 50, f"copies where a kill fell between the other host's 250 and our mark: {twice}")
        same([m for m in mails if body_of(m).strip().decode() != re.search(rb"Subject: (\S+)", m).group(1).decode()], [],
             f"every message to {who} is whole")
    ok(wait_for(lambda: mx.queue_count() == 0, 30), "the queue empties", mx.postern("queue", "list")[1][-2000:], mx.log()[-2000:])


def t_kill_supervisor():
    """posternd itself is killed: its children end by themselves, and the next start goes on."""
    mx = Postern()
    family = mx.family()
    mx.proc.kill()
    mx.proc.wait()
    gone = wait_for(lambda: not any(comm(p) in ROLES and os.path.exists(f"/proc/{p}/exe") and alive(p) for p in family), 15)
    ok(gone, "no program outlives posternd", [comm(p) for p in family])
    mx.proc = None
    mx.start()
    same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "it starts again and takes mail")
    same(len(mx.wait_mail("alice")), 1, "and delivers it")


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    main(t_three_ways, t_kill_each, t_kill_supervisor)
