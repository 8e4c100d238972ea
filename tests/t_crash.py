#!/usr/bin/env python3
"""Programs are killed; no message that got 250 is lost, and nobody gets a second copy who need not."""
from harness import *
from load import Load, Verdict, of_maildir, wait_all
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


def t_kill_each():
    """kill -9 of each program in turn, again and again, under load: every message that got 250 arrives."""
    rounds = int(os.environ.get("POSTERN_KILL_ROUNDS", "3"))
    far = Postern("far", users=("carol",))
    mx = Postern(retry_first="200ms", retry_max="500ms")
    mx.routes(f"far.test smtp:[127.0.0.1]:{far.port}\n")
    local, remote = Load(mx, [["alice@mx.test"]], 2), Load(mx, [["carol@far.test"]], 2)
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
    for load, rcpt, box in ((local, "alice@mx.test", mx.dir / "home/alice/Maildir"),
                            (remote, "carol@far.test", far.dir / "home/carol/Maildir")):
        wait_all(load.acked, load.sent, lambda: of_maildir(box, rcpt), 60)
        v = Verdict(load.sent, load.acked, of_maildir(box, rcpt))
        ok(v, f"to {rcpt}: {v}", v.story())
        if load is local:
            same(v.twice, [], "a Maildir gets no second copy: the name follows from the queue id")
        else:
            ok(len(v.twice) <= kills * 50, f"copies where a kill fell between the other host's 250 and our mark: {len(v.twice)}")
    ok(wait_for(lambda: mx.queue_count() == 0, 30), "the queue empties", mx.postern("queue", "list")[1][-2000:], mx.log()[-2000:])


LINES = ("EHLO client.test", "MAIL FROM:<x@far.test>", "RCPT TO:<alice@mx.test>", "DATA", message("middle").decode() + ".")


def session(mx, between=None, kill=None):
    """The codes of one session, in which kill() was called behind the reply to line number between."""
    codes = []
    with mx.smtp() as s:
        for n, line in enumerate(LINES):
            try:
                codes.append(s.cmd(line)[0])
            except OSError:
                codes.append(0)
            if n == between: kill()
            if not codes[-1] or codes[-1] >= 400: break
    return codes


def t_in_the_middle():
    """kill -9 of each program between two lines of a client: it hears 4xx, or (smtpd) nothing; what got 250 arrives; the next client is served."""
    mx = Postern(smtpd_processes=1, listen_submission=f"127.0.0.1:{free_port()}", start=False, auth_cleartext_networks="127.0.0.0/8")
    mx.tool("passwd", "alice", stdin=b"wonderland\n")
    mx.start()
    taken = 0

    def kill(program):
        for pid in mx.pids(program):
            os.kill(pid, signal.SIGKILL)

    def served():
        nonlocal taken
        good = session(mx)[-1] == 250
        taken += good
        return good
    for program in ("smtpd", "lookup", "queue", "dispatch", "keys", "auth"):
        for n in range(len(LINES) - 1):
            codes = session(mx, n, lambda: kill(program))
            taken += len(codes) == len(LINES) and codes[-1] == 250
            fine = [250, 250, 250, 354, 250][:len(codes) - 1] == codes[:-1] and (codes[-1] == 0 if program == "smtpd" else 200 <= codes[-1] < 500)
            ok(fine and wait_for(served, 20, step=0.2), f"{program} is killed behind {LINES[n][:4]}: {codes}; the next client is served", codes, mx.log()[-2000:])
    with Smtp(mx.address, int(mx.settings["listen-submission"].rpartition(":")[2])) as s:
        s.cmd(LINES[0])
        ok(wait_for(lambda: s.cmd("AUTH LOGIN")[0] == 334, 20, step=0.2), "an exchange begins")
        kill("auth")
        same([s.cmd("YWxpY2U=")[0], s.cmd("NOOP")[0]], [454, 250], "auth is killed in it: 454 to the client's next line, which is no command")
        ok(wait_for(lambda: s.cmd("AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=")[0] == 235, 20, step=0.2), "the same session logs in a little later")
    ok(wait_for(lambda: len(mx.maildir("alice")) >= taken), f"all of {taken} that got 250 arrive")
    same(len(mx.maildir("alice")), taken, "and no other")


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
    main(t_three_ways, t_kill_each, t_in_the_middle, t_kill_supervisor)
