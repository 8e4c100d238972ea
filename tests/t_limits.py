#!/usr/bin/env python3
"""How much of the receiver a stranger may have: each limit, for a client and for its network, over two processes; the
pause before the greeting; places and memory when all are taken."""
from harness import *

STRANGERS = {"relay_networks": "none", "smtpd_processes": 2}


def dial(mx, source="127.0.0.1", greet=True):
    s = Smtp.__new__(Smtp)
    s.sock = socket.create_connection((mx.address, mx.port), 30, (source, 0))
    s.file = s.sock.makefile("rb")
    s.greeting = s.reply() if greet else None
    return s


def hello(mx, source="127.0.0.1"):
    s = dial(mx, source)
    s.cmd("EHLO client.test")
    return s


def logged(mx, setting, **fields):
    return wait_for(lambda: any(setting in e["reply"] for e in mx.events("reject", **fields)), 5)


def t_connections():
    """At a time and in a time, for a client and for its /24, by whichever process it came to."""
    mx = Postern(limit_connections="3 5", **STRANGERS)
    mine = [dial(mx) for _ in range(3)]
    same([s.greeting[0] for s in mine], [220] * 3, "three connections are taken")
    r = dial(mx).greeting
    ok(r[0] == 421 and "4.7.0" in r[1] and "from you" in r[1] and "(limit-connections)" in r[1], "the fourth hears which limit", r)
    ok(logged(mx, "limit-connections", stage="connect", client="127.0.0.1"), "and the log says it")
    others = [dial(mx, f"127.0.0.{i}") for i in (2, 3)]
    same([s.greeting[0] for s in others], [220] * 2, "neighbours are taken")
    r = dial(mx, "127.0.0.4").greeting
    ok(r[0] == 421 and "your network" in r[1], "until the network has its five", r)
    same(dial(mx, "127.0.1.4").greeting[0], 220, "another network is")
    for s in mine:
        s.close()
    ok(wait_for(lambda: dial(mx).greeting[0] == 220, 5), "who has left may come again")
    before = set(mx.pids("smtpd"))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    ok(wait_for(lambda: len(set(mx.pids("smtpd")) - before) == 2, 10), "all receivers die")
    back = [dial(mx) for _ in range(3)]
    same([s.greeting[0] for s in back], [220] * 3, "what they held is forgotten")

    mx = Postern(limit_connection_rate="4/1h 6/1h", **STRANGERS)
    got = []
    for _ in range(5):
        with dial(mx) as s:
            got.append(s.greeting[0])
    same(got, [220] * 4 + [421], "four connections in an hour")
    with dial(mx, "127.0.0.9") as s:
        same(s.greeting[0], 220, "a neighbour")
    with dial(mx, "127.0.0.8") as s, dial(mx, "127.0.0.7") as t:
        same((s.greeting[0], t.greeting[0]), (220, 421), "six for the network")
        ok("limit-connection-rate" in t.greeting[1], "which hears why", t.greeting)

    mx = Postern(limit_connections="1 1", limit_connection_rate="1/1h 1/1h", limit_exempt="127.0.0.0/24", **STRANGERS)
    same([dial(mx).greeting[0] for _ in range(5)], [220] * 5, "exempt networks have no limits")
    mx = Postern(limit_connections="0", limit_connection_rate="0", limit_errors="0", **STRANGERS)
    crowd = [dial(mx) for _ in range(60)]
    same({s.greeting[0] for s in crowd}, {220}, "0 is no limit")


def t_rates():
    """Messages, recipients and errors."""
    mx = Postern(limit_messages="2/1h 3/1h", limit_recipients="5/1h", limit_errors="4/1h", error_limit=100, error_delay=0, **STRANGERS)
    with hello(mx) as s:
        same([s.message("a@client.test", ["alice@mx.test"], message())[0] for _ in range(2)], [250] * 2, "two messages")
        r = s.cmd("MAIL FROM:<a@client.test>")
        ok(r[0] == 450 and "4.7.1" in r[1] and "limit-messages" in r[1], "the third is for later", r)
        ok(logged(mx, "limit-messages", stage="mail"), "the log says it")
    with hello(mx) as s:
        same(s.cmd("MAIL FROM:<a@client.test>")[0], 450, "also in another connection")
    with hello(mx, "127.0.0.2") as s:
        same(s.cmd("MAIL FROM:<a@client.test>")[0], 250, "a neighbour has one left")
        same([s.cmd(f"RCPT TO:<alice+{i}@mx.test>")[0] for i in range(6)], [250] * 5 + [450], "five recipients")
        r = s.cmd("RCPT TO:<bob@mx.test>")
        ok("limit-recipients" in r[1], "which is said", r)
    with hello(mx, "127.0.2.3") as s:
        same([s.cmd("WHAT")[0] for _ in range(3)], [500] * 3, "errors")
        same(s.cmd("WHAT")[0], 500, "the fourth")
        r = s.reply()
        ok(r[0] == 421 and "limit-errors" in r[1], "ends the session", r)
        same(s.reply()[0], 0, "really")
    r = dial(mx, "127.0.2.3").greeting
    ok(r[0] == 421 and "limit-errors" in r[1], "and the next one does not begin", r)
    same(dial(mx, "127.0.2.4").greeting[0], 220, "others come in")


def t_errors_rest():
    """After the fifth error a session rests; others do not."""
    mx = Postern(error_delay="1s", smtpd_processes=1, relay_networks="none")
    with hello(mx) as bad, hello(mx, "127.0.3.1") as good:
        bad.raw("WHAT\r\n" * 5 + "NOOP\r\n")
        same([bad.reply()[0] for _ in range(5)], [500] * 5, "five errors are answered")
        bad.sock.settimeout(0.5)
        try:
            early = bad.file.read(1)
        except OSError:
            early = b""
        same(early, b"", "the command behind them waits")
        same(good.cmd("NOOP")[0], 250, "others do not wait")
        bad.sock.settimeout(30)
        bad.file = bad.sock.makefile("rb")
        same(bad.reply()[0], 250, "then it goes on")


def t_pregreet():
    """Who speaks before the greeting is sent away; who waits is greeted, and known once mail of his was accepted."""
    mx = Postern(greet_delay="1s", smtpd_processes=1, relay_networks="none")
    s = dial(mx, greet=False)
    s.raw("EHLO spam.test\r\n")
    r = s.reply()
    ok(r[0] == 554 and "5.5.1" in r[1] and "greet-delay" in r[1], "554", r)
    same(s.reply()[0], 0, "and the end")
    ok(mx.wait_event("pregreet", client="127.0.0.1", octets=16), "the log shows it", mx.log()[-500:])
    ok("EHLO spam.test" in mx.events("pregreet")[0]["said"], "and what was said", mx.events("pregreet"))
    with dial(mx) as s:
        same(s.greeting[0], 220, "a patient client is greeted")
        s.cmd("EHLO client.test")
        same(s.message("a@client.test", ["alice@mx.test"], message())[0], 250, "and its mail is taken")
    s = dial(mx, greet=False)
    ok(select_readable(s, 0.6), "now it is known, and greeted at once")
    mx = Postern(greet_delay="10s", limit_exempt="127.0.0.0/8", relay_networks="none")
    s = dial(mx, greet=False)
    ok(select_readable(s, 5), "exempt networks do not wait")


def select_readable(s, seconds):
    import select
    return bool(select.select([s.sock], [], [], seconds)[0])


def t_early():
    """Commands where a reply must be awaited: noted, refused, or ignored."""
    for mode, code in (("log", 250), ("refuse", 554), ("ignore", 250)):
        mx = Postern(early_commands=mode, smtpd_processes=1)
        with mx.smtp() as s:
            s.raw("EHLO client.test\r\nNOOP\r\n")
            same(s.reply()[0], code, f"{mode}: behind EHLO")
            if mode == "refuse":
                same(s.reply()[0], 0, "the end")
        with mx.smtp() as s:
            s.cmd("EHLO client.test")
            s.raw("MAIL FROM:<a@client.test>\r\nRCPT TO:<alice@mx.test>\r\nDATA\r\n")
            same([s.reply()[0] for _ in range(3)], [250, 250, 354], "a proper group is none")
            s.raw("x\r\n.\r\n")
            same(s.reply()[0], 250, "accepted")
            same(len(mx.events("early")), 1 if mode == "log" else 0, "the log")


def t_places():
    """All places are taken by strangers who do nothing: a newcomer gets one, and the oldest of them goes."""
    mx = Postern(sessions_per_process=20, limit_connections="0", **STRANGERS)
    idle = [dial(mx, f"127.0.{i % 7 + 1}.1") for i in range(40)]
    same({s.greeting[0] for s in idle}, {220}, "forty strangers hold all places of both processes")
    news = [dial(mx, f"127.1.{i}.1") for i in range(10)]
    same([s.greeting[0] for s in news], [220] * 10, "ten more are greeted")
    for i, s in enumerate(news):
        s.cmd("EHLO client.test")
        same(s.message("a@client.test", ["alice@mx.test"], message())[0], 250, f"{i} is served")
    gone = [e["why"] for e in mx.events("disconnect")]
    same(set(gone), {"displaced"}, "idle ones made room")
    ok(len(gone) >= 10, "enough of them", gone)
    told = 0
    for s in idle:
        s.sock.settimeout(0.05)
        try:
            told += s.reply()[0] == 421
        except OSError:
            pass
    ok(told >= 10, "and were told", told)
    busy = dial(mx, "127.1.200.1")
    busy.cmd("EHLO client.test")
    for i in range(60):
        dial(mx, f"127.2.{i}.1")
        if busy.cmd("NOOP")[0] != 250:
            break
    same(i, 59, "who does something keeps his place")


def t_local_user():
    """A user of this host may have a quarter of the places, and others still get in."""
    mx = Postern(sessions_per_process=20, smtpd_processes=1)

    def local(user):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        if ROOT:
            os.setegid(mx.user_uid[user])
            os.seteuid(mx.user_uid[user])
        try:
            s.connect(str(mx.dir / "run/submit"))
        finally:
            if ROOT:
                os.seteuid(0)
                os.setegid(0)
        return s, s.recv(200)

    mine = [local("alice") for _ in range(8)]
    if ROOT:
        same([m[1][:3] for m in mine], [b"220"] * 6 + [b"421"] * 2, "six sessions for alice")
        same(local("bob")[1][:3], b"220", "bob comes in")
    same(dial(mx).greeting[0], 220, "so does the world")


def t_tls_sessions():
    """New TLS sessions, by STARTTLS and from the first octet."""
    port = free_port()
    mx = Postern(limit_tls_sessions="2/1h", listen_submissions=f"127.0.0.1:{port}", **STRANGERS)
    for want in (220, 220, 454):
        with hello(mx) as s:
            r = s.cmd("STARTTLS")
            ok(r[0] == want and (want == 220 or "limit-tls-sessions" in r[1]), f"STARTTLS: {want}", r)
    with hello(mx) as s:
        same(s.message("a@client.test", ["alice@mx.test"], message())[0], 250, "mail in the clear is taken even so")
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        try:
            s.sendall(b"\x16\x03\x01")
            same(s.recv(100), b"", "implicit TLS: closed")
        except ConnectionResetError:
            ok(True, "implicit TLS: closed")
    ok(logged(mx, "limit-tls-sessions", stage="connect"), "the log says why")


def t_memory():
    """One network cannot take all memory: 452 before the process suffers, and others are served."""
    mx = Postern(session_memory="1M", limit_connections="0", smtpd_processes=1, recipient_limit=50000, relay_networks="none")
    hogs, codes = [hello(mx, "127.0.5.1") for _ in range(8)], set()
    local, pids = "x" * 50, mx.pids("smtpd")
    for s in hogs:
        s.cmd("MAIL FROM:<a@client.test>")
        for at in range(0, 400, 50):
            s.raw("".join(f"RCPT TO:<alice+{i:03}{local}@mx.test>\r\n"[:1000] for i in range(at, at + 50)))
            codes |= {s.reply() for _ in range(50)}
    ok(any(c == 452 and "session-memory" in t for c, t in codes), "452 names the setting", {c for c, _ in codes})
    with hello(mx, "127.9.5.1") as s:
        same(s.message("a@client.test", ["bob@mx.test"], message())[0], 250, "another network is served")
    same(mx.pids("smtpd"), pids, "smtpd lives")


if __name__ == "__main__":
    main(t_connections, t_rates, t_errors_rest, t_pregreet, t_early, t_places, t_local_user, t_tls_sessions, t_memory)
