#!/usr/bin/env python3
"""Logging in and submitting mail: each mechanism right, wrong, garbage and cancelled; limits; senders; fix-ups."""
import base64
import hashlib
import hmac
import json
import smtplib
import struct

from harness import *

PASSWORDS = {"alice": "wonderland", "bob": "b\u00fcilder +1", "carol@other.test": "carol's secret"}


def submission(name="mx", start=True, logins=PASSWORDS, **settings):
    """An instance that takes submissions, also without TLS; each login has both verifiers."""
    port = free_port()
    settings.setdefault("auth_cleartext_networks", "127.0.0.0/8")
    settings.setdefault("auth_failure_delay", "50ms")
    mx = Postern(name, start=False, listen_submission=f"127.0.0.1:{port}", **settings)
    mx.submission = port
    for login, password in logins.items():
        r = mx.tool("passwd", login, stdin=(password + "\n").encode())
        if r.returncode:
            raise RuntimeError(r.stderr.decode())
    if ROOT:
        table = mx.dir / "etc/auth/passwords"
        if table.exists():
            same((table.stat().st_mode & 0o777, table.stat().st_gid), (0o640, mx.uid_of("auth")), "the table is readable by auth alone")
    if start:
        mx.start()
    return mx


def client(mx):
    s = Smtp(mx.address, mx.submission)
    s.offer = s.cmd("EHLO client.test")[1]
    return s


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def plain(login, password, authzid=""):
    return b64(f"{authzid}\0{login}\0{password}")


def login(s, who="alice"):
    return s.cmd("AUTH PLAIN " + plain(who, PASSWORDS[who]))


class Scram:
    """The client's side of SCRAM-SHA-256."""

    def __init__(self, user, password, header="n,,", binding=b""):
        self.password, self.header, self.binding = password.encode(), header, binding
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r=rOprNGfwEbeRWgbNEkqO"

    def first(self):
        return b64(self.header + self.bare)

    def final(self, server_first, spoil=0):
        fields = dict(f.split("=", 1) for f in server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        without = f"c={b64(self.header.encode() + self.binding)},r={fields['r']}"
        auth = f"{self.bare},{server_first},{without}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        sig = hmac.digest(hashlib.sha256(key).digest(), auth, "sha256")
        proof = bytearray(a ^ b for a, b in zip(key, sig))
        proof[0] ^= spoil
        self.signature = b64(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256"))
        return b64(f"{without},p={b64(bytes(proof))}")

    def run(self, s, mech="SCRAM-SHA-256", spoil=0):
        code, text = s.cmd(f"AUTH {mech} {self.first()}")
        if code != 334:
            return code, text
        code, text = s.cmd(self.final(base64.b64decode(text).decode(), spoil))
        if code != 334:
            return code, text
        if base64.b64decode(text).decode() != "v=" + self.signature:
            return 0, "the server does not know the password"
        return s.cmd("")


def t_mechanisms():
    """PLAIN, LOGIN, SCRAM-SHA-256: right, wrong, garbage, cancelled."""
    mx = submission(auth_failures_network=1000, auth_failures_login=1000)
    for who, password in PASSWORDS.items():
        with client(mx) as s:
            same(s.cmd("AUTH PLAIN " + plain(who, password))[0], 235, f"PLAIN {who}")
            same(s.cmd("AUTH PLAIN " + plain(who, password))[0], 503, "only once")
            ok("AUTH" not in s.cmd("EHLO again")[1], "and not offered again")
        with client(mx) as s:
            same(s.cmd("AUTH LOGIN"), (334, b64("Username:")), "LOGIN asks for the name")
            same(s.cmd(b64(who)), (334, b64("Password:")), "then for the password")
            same(s.cmd(b64(password))[0], 235, f"LOGIN {who}")
        with client(mx) as s:
            same(Scram(who, password).run(s)[0], 235, f"SCRAM {who}")
    with client(mx) as s:
        same(s.cmd("AUTH PLAIN " + plain("bob", "bu\u0308ilder\u00a0+1"))[0], 235, "a password typed on another machine, in another form of Unicode")
    with client(mx) as s:
        ok("AUTH SCRAM-SHA-256 PLAIN LOGIN" in s.offer.splitlines() or "AUTH SCRAM" in s.offer, "the mechanisms are offered", s.offer)
        same(s.cmd("auth plain")[0], 334, "no initial response: an empty challenge")
        same(s.cmd(plain("alice", "wonderland"))[0], 235, "and the response in a line of its own")
    wrong = [("wrong password", "AUTH PLAIN " + plain("alice", "x"), 535), ("unknown login", "AUTH PLAIN " + plain("nobody", "x"), 535),
             ("act as another", "AUTH PLAIN " + plain("alice", "wonderland", "bob"), 535), ("login in capitals", "AUTH PLAIN " + plain("ALICE", "wonderland"), 535),
             ("empty response", "AUTH PLAIN =", 501), ("no base64", "AUTH PLAIN ***", 501), ("half base64", "AUTH PLAIN AAA", 501),
             ("no password", "AUTH PLAIN " + b64("\0alice\0"), 501), ("unknown mechanism", "AUTH CRAM-MD5", 504), ("no mechanism", "AUTH", 501),
             ("PLUS without TLS", "AUTH SCRAM-SHA-256-PLUS", 504), ("EXTERNAL without certificate", "AUTH EXTERNAL =", 504), ("too many words", "AUTH PLAIN a b", 501),
             ("a long mechanism", "AUTH " + "X" * 30, 501), ("SCRAM garbage", "AUTH SCRAM-SHA-256 " + b64("garbage"), 501)]
    for what, line, code in wrong:
        with client(mx) as s:
            r = s.cmd(line)
            same(r[0], code, f"{what}: {code}")
            same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 530, f"{what}: not logged in")
    with client(mx) as s:
        same(Scram("alice", "wrong").run(s)[0], 535, "SCRAM with a wrong password")
        same(Scram("alice", "wonderland").run(s, spoil=1)[0], 535, "SCRAM with a spoiled proof")
    with client(mx) as s:
        same(Scram("nobody", "wrong").run(s)[0], 535, "SCRAM of nobody goes as far")
    first = []
    for _ in range(2):
        with client(mx) as s:
            first.append(base64.b64decode(s.cmd("AUTH SCRAM-SHA-256 " + Scram("ghost", "x").first())[1]).decode().split(",")[1])
    same(first[0], first[1], "and shows the same salt each time, as a real one would")
    for line in ("AUTH LOGIN", "AUTH PLAIN", "AUTH SCRAM-SHA-256 " + Scram("alice", "x").first()):
        with client(mx) as s:
            same(s.cmd(line)[0], 334, f"{line[:20]}: begun")
            same(s.cmd("*")[:1], (501,), "cancelled")
            same(s.cmd("NOOP")[0], 250, "and the session goes on")
            same(login(s)[0], 235, "with another try")
    with client(mx) as s:
        same(s.cmd("AUTH LOGIN")[0], 334, "LOGIN")
        same(s.cmd(b64("x" * 9000))[0], 501, "a response of 12,000 octets is read whole, and refused")
        same(s.cmd("AUTH LOGIN")[0], 334, "LOGIN")
        same(s.cmd("A" * 12400)[0], 500, "one that is too long ends the exchange")
        same(s.cmd("NOOP")[0], 250, "and none of it is a command")
    with client(mx) as s:
        s.raw("AUTH PLAIN\r\n" + plain("alice", "wonderland") + "\r\nMAIL FROM:<alice@mx.test>\r\n")
        same([s.reply()[0] for _ in range(3)], [334, 235, 250], "lines that were sent ahead wait for their turn")
    with client(mx) as s:
        same([login(s)[0] if i == 3 else s.cmd("AUTH PLAIN " + plain("alice", "no"))[0] for i in range(3)], [535, 535, 535], "three failures")
        same(s.reply()[0], 421, "end the session")
    log = mx.log()
    ok(mx.events("auth_good", login="alice", mechanism="SCRAM-SHA-256") and mx.events("auth_good", login="carol@other.test"), "successes are logged")
    ok(all(e["client"] == "127.0.0.1" for e in mx.events("auth_failed")) and mx.events("auth_failed", login="nobody"), "failures too, with client and login")
    ok(not any(p in log for p in PASSWORDS.values()) and plain("alice", "wonderland") not in log, "no password is in the log")


def t_order():
    """Where AUTH is allowed: on submission ports, after EHLO, under TLS, outside of a transaction."""
    mx = submission()
    with mx.smtp() as s:
        ok("AUTH" not in s.cmd("EHLO c.test")[1], "port 25 offers no AUTH")
        same(s.cmd("AUTH PLAIN " + plain("alice", "wonderland"))[0], 502, "and takes none")
        same(s.cmd("MAIL FROM:<x@y.test> AUTH=<>")[0], 555, "nor the parameter")
    with Smtp(mx.address, mx.submission) as s:
        same(s.cmd("AUTH PLAIN " + plain("alice", "wonderland"))[0], 503, "before EHLO")
        s.cmd("HELO c.test")
        same(s.cmd("AUTH PLAIN " + plain("alice", "wonderland"))[0], 503, "after HELO")
    with client(mx) as s:
        same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 530, "MAIL needs a login")
        login(s)
        for value, code in (("<>", 250), ("alice@mx.test", 250), ("a+2Bb@mx.test", 250), ("a+0Ab@mx.test", 501), ("a+00@mx.test", 501), ("nonsense", 501), ("a b", 501)):
            same(s.cmd(f"MAIL FROM:<alice@mx.test> AUTH={value}")[0], code, f"AUTH={value}")
            s.cmd("RSET")
        s.cmd("MAIL FROM:<alice@mx.test>")
        same(s.cmd("AUTH PLAIN x")[0], 503, "not in a transaction")
        same(s.cmd("RCPT TO:<someone@elsewhere.test>")[0], 250, "who has logged in may send to anybody")
    strict = submission("strict", auth_cleartext_networks="")
    with client(strict) as s:
        ok("AUTH" not in s.offer, "without TLS AUTH is not offered", s.offer)
        same(s.cmd("AUTH PLAIN " + plain("alice", "wonderland"))[0], 538, "538 5.7.11")
        same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 530, "and no mail is taken")


def t_limits():
    """Failures are limited by network and by login; a login is not locked out where it is known."""
    mx = submission(auth_failures_network=6, auth_failures_login=3)
    with client(mx) as s:
        login(s, "bob")
    for i in range(3):
        with client(mx) as s:
            same(s.cmd("AUTH PLAIN " + plain("carol@other.test", "no"))[0], 535, f"failure {i + 1}")
    with client(mx) as s:
        r = login(s, "carol@other.test")
        ok(r[0] == 454 and "auth-failures-login" in r[1], "then even the right password must wait, and hears why", r)
    for i in range(3):
        with client(mx) as s:
            same(s.cmd("AUTH PLAIN " + plain("bob", "no"))[0], 535, f"bob, failure {i + 1}: strangers may fail as he")
    with client(mx) as s:
        r = login(s, "bob")
        ok(r[0] == 421 and "auth-failures-network" in r[1], "the seventh of the network hears 421", r)
        same(s.reply()[0], 0, "and the session is over")
    mx = submission(auth_failures_network=1, auth_failures_login=3, auth_failures_exempt="127.0.0.0/8")
    for who in ("bob", "bob", "bob", "alice"):
        with client(mx) as s:
            same(s.cmd("AUTH PLAIN " + plain(who, "no"))[0], 535, f"a webmail server's network: {who} may fail, it hears no 421")
    with client(mx) as s:
        same(login(s, "bob")[0], 454, "but the limit of each login stands")
    with client(mx) as s:
        same(login(s)[0], 235, "and its other users come in")
    mx = submission(auth_failures_network=1000, auth_failures_login=3)
    with client(mx) as s:
        same(login(s, "bob")[0], 235, "bob is known here")
    for i in range(5):
        with client(mx) as s:
            s.cmd("AUTH PLAIN " + plain("bob", "no"))
    with client(mx) as s:
        same(login(s, "bob")[0], 235, "five failures do not lock him out where he has logged in before")


def t_senders():
    """A login sends from its own addresses; the table adds more, and is read again; rates."""
    mx = submission(start=False, login_message_rate=12, login_recipient_rate=5, local_domains="second.test")
    (mx.dir / "etc/senders").write_text("# more\nalice: boss@mx.test, @alice.example\n")
    mx.start()
    with client(mx) as s:
        login(s)
        for sender, code in (("alice@mx.test", 250), ("Alice@mx.test", 250), ("alice+shop@mx.test", 250), ("alice@second.test", 250), ("", 250), ("boss@mx.test", 250),
                             ("x@alice.example", 250), ("bob@mx.test", 553), ("alice@elsewhere.test", 553), ("postmaster@mx.test", 553)):
            same(s.cmd(f"MAIL FROM:<{sender}>")[0], code, f"alice as <{sender}>: {code}")
            s.cmd("RSET")
        text = s.cmd("MAIL FROM:<bob@mx.test>")[1]
        out = mx.postern("explain", text[text.rindex("["):])[1]
        ok("sender-file" in out and f"{mx.dir}/etc/senders" in out, "the refusal can be explained", text, out)
    with client(mx) as s:
        login(s, "carol@other.test")
        same(s.cmd("MAIL FROM:<carol@other.test>")[0], 250, "a login that is an address is its own")
        s.raw("RSET\r\nMAIL FROM:<carol@mx.test>\r\nRCPT TO:<bob@mx.test>\r\nDATA\r\n")
        same([s.reply()[0] for _ in range(4)], [250, 553, 503, 503], "pipelined commands wait for the answer")
    (mx.dir / "etc/senders").write_text("alice: bob@mx.test\n")
    time.sleep(1.1)
    with client(mx) as s:
        login(s)
        same(s.cmd("MAIL FROM:<bob@mx.test>")[0], 250, "the table was read again")
        same([s.cmd(f"RCPT TO:<x{i}@there.test>")[0] for i in range(6)], [250] * 5 + [450], "the sixth recipient within the hour must wait")
        for _ in range(8):
            s.cmd("RSET")
            r = s.cmd("MAIL FROM:<bob@mx.test>")
        ok(r[0] == 450 and "login-message-rate" in r[1], "the messages too", r)


HEAD = "From: Alice <alice>, \"x, y\" <alice@mx.test>\r\nBcc: secret@mx.test,\r\n hidden@mx.test\r\nSubject: x\r\nbCC : more\r\n\r\nBcc: stays\r\n"


def t_fixups():
    """Date and Message-ID are added, From gets a domain, Bcc goes; by DATA and by BDAT, however it is cut. Not on port 25."""
    mx = submission()
    want = "From: Alice <alice@mx.test>, \"x, y\" <alice@mx.test>\r\nSubject: x\r\n\r\nBcc: stays\r\n"
    with client(mx) as s:
        login(s)
        same(s.message("alice@mx.test", ["bob@mx.test"], HEAD)[0], 250, "submitted by DATA")
        s.cmd("MAIL FROM:<alice@mx.test>")
        s.cmd("RCPT TO:<bob@mx.test>")
        for i in range(0, len(HEAD), 7):
            part = HEAD[i:i + 7]
            s.raw(f"BDAT {len(part)}{' LAST' if i + 7 >= len(HEAD) else ''}\r\n{part}")
            r = s.reply()
        same(r[0], 250, "and by BDAT in pieces of seven octets")
    mails = mx.wait_mail("bob", 2)
    for m in mails:
        text = m.decode().replace("\r\n", "\n").replace("\n", "\r\n")
        ok(text.endswith(want), "Bcc is out, From complete, the rest as it was", text)
        ok("\r\nDate: " in text and re.search(r"\r\nMessage-ID: <\w+@mx.test>", text), "Date and Message-ID are there", text)
        ok("with ESMTPA\r\n" in text, "Received says ESMTPA", text)
        ok("[127.0.0.1]" in text, "and where it came from")
    with mx.smtp() as s:
        s.send("a@c.test", ["alice@mx.test"], HEAD)
    text = mx.wait_mail("alice")[0].decode()
    ok("Bcc: secret@mx.test" in text and "Date: " not in text.replace("; \n", ""), "the mail of others is not mended", text)
    hidden = submission("hidden", submission_hide_client="yes", submission_check_from="yes")
    with client(hidden) as s:
        login(s)
        same(s.message("alice@hidden.test", ["bob@hidden.test"], "From: Alice <alice>\r\n\r\nx\r\n")[0], 250, "From is the sender")
        for field in ("From: bob@hidden.test\r\n", "From: alice@hidden.test, bob@hidden.test\r\n", "Subject: none\r\n", "From: (\r\n", "From: alice@hidden.test\r\nFrom: bob@hidden.test\r\n"):
            same(s.message("alice@hidden.test", ["bob@hidden.test"], field + "\r\nx\r\n")[0], 550, f"{field.strip()!r} is not")
    text = hidden.wait_mail("bob")[0].decode()
    ok("127.0.0.1" not in text and "client.test" not in text, "Received hides the client", text)


def t_clients():
    """Real ones: smtplib, curl and swaks where they are there."""
    mx = submission()
    with smtplib.SMTP(mx.address, mx.submission) as s:
        s.ehlo()
        s.docmd("AUTH", "PLAIN " + plain("bob", PASSWORDS["bob"]))  # its login() is ASCII only
        same(s.sendmail("bob@mx.test", ["alice@mx.test"], message("smtplib")), {}, "smtplib sends")
    with smtplib.SMTP(mx.address, mx.submission) as s:
        same(s.login("alice", "wonderland")[0], 235, "smtplib logs in")
        same(s.login("alice", "wrong")[0], 503, "but once")
    with smtplib.SMTP(mx.address, mx.submission) as s:
        try:
            same(s.login("alice", "wrong"), None, "smtplib hears of a wrong password")
        except smtplib.SMTPAuthenticationError as e:
            same(e.smtp_code, 535, "smtplib hears of a wrong password")
    if shutil.which("curl"):
        (mx.dir / "mail.txt").write_bytes(message("curl"))
        for mech in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
            r = subprocess.run(["curl", "-sS", f"smtp://{mx.address}:{mx.submission}/client.test", "--mail-from", "alice@mx.test", "--mail-rcpt", "bob@mx.test",
                                "--user", "alice:wonderland", "--login-options", f"AUTH={mech}", "--upload-file", str(mx.dir / "mail.txt")], capture_output=True, text=True)
            if mech.startswith("SCRAM") and r.returncode == 67 and "auth_good" in mx.log():
                continue  # this curl was built without it
            same((r.returncode, r.stderr), (0, ""), f"curl, {mech}")
    if shutil.which("swaks"):
        for mech in ("PLAIN", "LOGIN"):
            r = subprocess.run(["swaks", "--server", mx.address, "--port", str(mx.submission), "--from", "alice@mx.test", "--to", "bob@mx.test", "--ehlo", "c.test",
                                "--auth", mech, "--auth-user", "alice", "--auth-password", "wonderland"], capture_output=True, text=True)
            same(r.returncode, 0, f"swaks, {mech}")
    ok(len(mx.wait_mail("alice", 1)) >= 1, "the mail has arrived")


def t_check():
    """postern check: what would keep people from logging in."""
    mx = submission(start=False)
    same(mx.postern("check")[0], 0, "all is well")
    for setup, words in ((lambda: (mx.dir / "etc/senders").write_text("alice\n"), "senders:1: LOGIN: ADDRESS"),
                         (lambda: (mx.dir / "etc/auth/passwords").write_text("alice:secret\n"), "passwords:1: this line is no hash"),
                         (lambda: mx.write_config(auth_source="dovecot", auth_socket="/nonexistent/auth"), "auth-socket = /nonexistent/auth: is not there"),
                         (lambda: mx.write_config(auth_source="shadow"), "must be file, pam, dovecot or none")):
        setup()
        code, _, err = mx.postern("check")
        ok(code == 78 and words in err, words, code, err)


def t_table():
    """postern passwd: add, change, delete, list, verify; a wrong table is not touched; auth reads it again."""
    mx = submission(auth_failures_network=1000, auth_failures_login=1000)  # we try until the new table is there
    table = mx.dir / "etc/auth/passwords"
    table.write_text("# by hand\n" + table.read_text())
    same(mx.postern("passwd", "alice", stdin=b"changed\n")[0], 0, "changed")
    same(mx.postern("passwd", "--verify", "alice", stdin=b"changed\n")[0], 0, "the new one is right")
    same(mx.postern("passwd", "--verify", "alice", stdin=b"wonderland\n")[0], 77, "the old one is not")
    same(mx.postern("passwd", "--delete", "bob")[0], 0, "deleted")
    same(mx.postern("passwd", "--delete", "bob")[0], 67, "twice is once too often")
    code, out, _ = mx.postern("passwd", "--list")
    same((code, out), (0, "alice yescrypt SCRAM-SHA-256\ncarol@other.test yescrypt SCRAM-SHA-256\n"), "the list")
    ok(table.read_text().startswith("# by hand\nalice:$y$"), "comments and order stay")
    if ROOT:
        same((table.stat().st_mode & 0o777, table.stat().st_gid), (0o640, mx.uid_of("auth")), "owner and mode too")
    for args, stdin in ((["bad:name"], b"x\n"), (["x"], b"\n"), (["x"], b"a\0b\n"), (["-f", str(table)], b"x\n"), (["x", "--list"], b"")):
        ok(mx.postern("passwd", *args, stdin=stdin)[0] != 0, f"refused: {args}")

    def try_login(who, password):
        with client(mx) as s:
            return s.cmd("AUTH PLAIN " + plain(who, password))[0]
    ok(wait_for(lambda: try_login("alice", "changed") == 235, 10), "auth has read it again")
    same(try_login("bob", PASSWORDS["bob"]), 535, "bob is out")
    good = table.read_text()
    table.write_text(good + "broken\n")
    ok(wait_for(lambda: (try_login("alice", "changed"), f"{table}:4: this line has no colon" in mx.log())[1], 10), "a wrong line is told with its place", mx.log()[-1500:])
    same(try_login("alice", "changed"), 235, "and the table of before stays in force")
    same(mx.postern("passwd", "alice", stdin=b"x\n")[0], 65, "postern passwd does not touch it")
    same(table.read_text(), good + "broken\n", "indeed")
    table.write_text(good)
    same(mx.postern("passwd", "alice", stdin=b"x\n")[0], 0, "mended")


def t_memory():
    """With all of smtpd's memory in hand, no verifier: they are in auth alone."""
    if not ROOT:
        return
    mx = submission()
    with client(mx) as s:
        same(login(s)[0], 235, "somebody has logged in")
        Scram("bob", PASSWORDS["bob"]).run(client(mx))
        text = (mx.dir / "etc/auth/passwords").read_text()
        secrets = [x for line in text.splitlines() for x in line.split(":", 1)[1].split()]
        stored = [x.rsplit("$", 1)[1].split(":")[0] for x in secrets if x.startswith("SCRAM")]
        hashes = [x.rsplit("$", 1)[1] for x in secrets if x.startswith("$y$")]
        needles = [x.encode() for x in stored + hashes] + [base64.b64decode(x) for x in stored]

        def found(program):
            n = 0
            for pid in mx.pids(program):
                with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
                    for line in maps:
                        span, rights = line.split()[:2]
                        if not rights.startswith("rw") or "[v" in line:
                            continue
                        a, b = (int(x, 16) for x in span.split("-"))
                        if b - a > 1 << 30:
                            continue  # the sanitizers' shadow: terabytes
                        for at in range(a, b, 1 << 20):
                            try:
                                mem.seek(at)
                                data = mem.read(min(1 << 20, b - at) + 200 if at + (1 << 20) < b else b - at)
                            except (OSError, ValueError):
                                break
                            n += sum(needle in data for needle in needles)
            return n
        ok(found("auth") >= len(hashes), "they are in auth's memory")
        for program in ROLES:
            if program != "auth":
                same(found(program), 0, f"and not in {program}'s")


def t_restart():
    """auth dies while somebody logs in: 454, the session goes on; its end and a stopped source harm no mail."""
    mx = submission(auth_failure_delay="20s")
    with client(mx) as s:
        s.raw("AUTH PLAIN " + plain("alice", "no") + "\r\n")
        ok(mx.wait_event("auth_failed"), "a failure whose answer waits")
        os.kill(mx.pids("auth")[0], signal.SIGKILL)
        same(s.reply()[0], 454, "auth is gone: a temporary failure")
        ok(wait_for(lambda: mx.pids("auth") and "AUTH" in s.cmd("EHLO x.test")[1], 20), "it comes back")
        same(wait_for(lambda: (login(s)[0] == 235), 10), True, "and lets in")
    same(mx.send("a@c.test", "bob@mx.test", message())[0], 250, "port 25 never cared")


def t_tokens():
    """OAUTHBEARER and XOAUTH2 with tokens that openssl signs."""
    mx = submission(start=False)
    key = mx.dir / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", mx.dir / "public.pem"], check=True)
    mx.write_config(oauth_key=mx.dir / "public.pem", oauth_audience="mail")
    mx.start()

    def url64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    def token(head=None, **claims):
        body = {"aud": "mail", "exp": time.time() + 600, "email": "alice"}
        body.update(claims)
        text = url64(json.dumps(head or {"alg": "RS256"}).encode()) + b"." + url64(json.dumps(body).encode())
        sig = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text, capture_output=True, check=True).stdout
        return (text + b"." + url64(sig)).decode()

    def bearer(text, user=""):
        return b64(f"n,{'a=' + user if user else ''},\1auth=Bearer {text}\1\1")
    with client(mx) as s:
        ok("OAUTHBEARER XOAUTH2" in s.offer, "offered", s.offer)
        same(s.cmd("AUTH OAUTHBEARER " + bearer(token(), "alice"))[0], 235, "OAUTHBEARER")
        same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 250, "alice is alice")
    with client(mx) as s:
        same(s.cmd("AUTH XOAUTH2 " + b64(f"user=alice\1auth=Bearer {token()}\1\1"))[0], 235, "XOAUTH2")
    for what, text, user in (("expired", token(exp=time.time() - 600), ""), ("for others", token(aud="web"), ""), ("another login", token(), "bob"),
                             ("not signed", token(head={"alg": "none"}), ""), ("spoiled", token()[:-9] + "AAAAAAAAA", "")):
        with client(mx) as s:
            r = s.cmd("AUTH OAUTHBEARER " + bearer(text, user))
            same((r[0], base64.b64decode(r[1]) if r[0] == 334 else r[1]), (334, b'{"status":"invalid_token"}'), f"{what}: told as JSON")
            same(s.cmd("AQ==")[0], 535, "then 535")


class Secure(Smtp):
    """A client under TLS, by STARTTLS or from the first octet."""

    def __init__(self, host, port, starttls, version=None, certificate=None):
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(*certificate)
        if version == "1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if starttls:
            super().__init__(host, port)
            self.before = self.cmd("EHLO client.test")[1]
            assert self.cmd("STARTTLS")[0] == 220
            self.file.close()
        else:
            self.sock = socket.create_connection((host, port), 30)
        self.sock = context.wrap_socket(self.sock, server_hostname="mx.test")
        self.file = self.sock.makefile("rb")
        self.greeting = None if starttls else self.reply()
        self.end_point = hashlib.sha256(self.sock.getpeercert(True)).digest()  # RFC 5929 4: of SHA-256 certificates
        self.offer = self.cmd("EHLO client.test")[1]


def t_tls():
    """Under TLS on 587 and 465: AUTH without a setting, SCRAM-SHA-256-PLUS, a wrong binding, a downgrade, ESMTPSA."""
    port465 = free_port()
    mx = submission(auth_cleartext_networks="", listen_submissions=f"127.0.0.1:{port465}", auth_failures_network=1000, auth_failures_login=1000)
    user, password = "alice", "wonderland"
    for port, starttls, version in ((mx.submission, True, None), (port465, False, None), (port465, False, "1.2")):
        what = f"{'587' if starttls else '465'} {version or ''}"

        def client_under_tls():
            return Secure(mx.address, port, starttls, version)
        with client_under_tls() as s:
            ok(not starttls or "AUTH" not in s.before, f"{what}: AUTH is not offered in the clear")
            ok("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in s.offer, f"{what}: under TLS it is", s.offer)
            same(s.cmd("AUTH PLAIN " + plain(user, password))[0], 235, f"{what}: PLAIN")
            same(s.message("alice@mx.test", ["bob@mx.test"], message("tls"))[0], 250, f"{what}: and a message")
        with client_under_tls() as s:
            same(Scram(user, password, "p=tls-server-end-point,,", s.end_point).run(s, "SCRAM-SHA-256-PLUS")[0], 235, f"{what}: -PLUS, tls-server-end-point")
        with client_under_tls() as s:
            same(Scram(user, password, "p=tls-server-end-point,,", b"x" * 32).run(s, "SCRAM-SHA-256-PLUS")[0], 535, f"{what}: bound to another channel")
            same(Scram(user, password, "y,,").run(s)[0], 535, f"{what}: a client that was not shown -PLUS")
        with client_under_tls() as s:
            same(Scram(user, password, "p=tls-unique,,", b"x" * 12).run(s, "SCRAM-SHA-256-PLUS")[0], 535, f"{what}: a binding that is not known")
            same(Scram(user, password).run(s)[0], 235, f"{what}: without a binding")
    ok(all(b"with ESMTPSA" in m for m in mx.wait_mail("bob", 3)), "Received says ESMTPSA")
    exporter(mx, user, password)
    mx.stop()
    mx.write_config(auth_mechanisms="scram-sha-256 PLAIN")
    mx.start()
    with client_under_tls() as s:
        ok("AUTH SCRAM-SHA-256 PLAIN" in s.offer.split("\n"), "auth-mechanisms: those are offered", s.offer)
        same([s.cmd(f"AUTH {m}")[0] for m in ("LOGIN", "SCRAM-SHA-256-PLUS")], [504, 504], "and no others taken")
        same(Scram(user, password, "y,,").run(s)[0], 235, "a client that was not shown -PLUS is right now")


def t_external():
    """EXTERNAL: a client certificate of an authority that is believed is a login; a stranger's is none."""
    port = free_port()
    mx = submission(start=False, logins={}, auth_external="yes", listen_submissions=f"127.0.0.1:{port}")
    d = mx.dir / "ca"
    d.mkdir()

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, cwd=d)

    def issue(name, authority, address):
        (d / f"{name}.ext").write_text(f"subjectAltName=email:{address}\nextendedKeyUsage=clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        return d / f"{name}.pem", d / f"{name}.key"
    for authority in ("ours", "theirs"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
    alice, mallory = issue("alice", "ours", "alice@mx.test"), issue("mallory", "theirs", "alice@mx.test")
    mx.write_config(client_authorities=d / "ours.pem")
    mx.start()
    with Secure(mx.address, port, False, certificate=alice) as s:
        ok("EXTERNAL" in s.offer, "with a certificate that verifies, EXTERNAL is offered", s.offer)
        same(s.cmd("AUTH EXTERNAL " + b64("bob@mx.test"))[0], 535, "not to act as another")
        same(s.cmd("AUTH EXTERNAL =")[0], 235, "alice is who her certificate says")
        same(s.message("alice@mx.test", ["bob@mx.test"], message("by certificate"))[0], 250, "and sends")
        same(s.cmd("MAIL FROM:<bob@mx.test>")[0], 553, "from her own address")
    for what, certificate in (("without a certificate", None), ("with a stranger's", mallory)):
        with Secure(mx.address, port, False, certificate=certificate) as s:
            ok("EXTERNAL" not in s.offer, f"{what} it is not offered", s.offer)
            same(s.cmd("AUTH EXTERNAL =")[0], 504, f"{what} it is refused")
    ok(mx.events("auth_good", mechanism="EXTERNAL", login="alice@mx.test"), "the log knows")


def exporter(mx, user, password):
    """tls-exporter (RFC 9266), with the keying material that openssl says."""
    p = subprocess.Popen(["openssl", "s_client", "-connect", f"{mx.address}:{mx.submission}", "-starttls", "smtp", "-crlf", "-ign_eof",
                          "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    on_cleanup(p.kill)

    def until(pattern):
        for line in p.stdout:
            m = re.search(pattern, line)
            if m:
                return m
        raise RuntimeError(f"openssl s_client ended before {pattern}")

    def cmd(line, pattern=r"^(\d{3}) ?(.*)$"):
        p.stdin.write(line + "\n")
        p.stdin.flush()
        return until(pattern).groups()
    material = bytes.fromhex(until(r"Keying material: ([0-9A-F]{64})").group(1))
    cmd("EHLO c.test\nNOOP", r"^(250) (2.0.0 Ok)")
    c = Scram(user, password, "p=tls-exporter,,", material)
    code, text = cmd("AUTH SCRAM-SHA-256-PLUS " + c.first())
    same(code, "334", "tls-exporter: the server's first message")
    code, text = cmd(c.final(base64.b64decode(text).decode()))
    same((code, base64.b64decode(text).decode() if code == "334" else text), ("334", "v=" + c.signature), "tls-exporter: client and server have one channel, and one password")
    same(cmd("")[0], "235", "tls-exporter: logged in")


def t_half_open():
    """Exchanges that strangers leave open do not keep others from logging in."""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    mx = submission(auth_failures_network=0, smtpd_processes=2, limit_exempt="127.0.0.0/8")
    crowd = []
    for _ in range(4200):
        s = Smtp(mx.address, mx.submission, greet=False)
        s.raw("EHLO c.test\r\nAUTH LOGIN\r\n")
        crowd.append(s)
    first = crowd[0]
    ok(wait_for(lambda: first.reply()[0] == 334, 60), "the first of many has a question open")
    last = crowd[-1]
    ok(wait_for(lambda: last.reply()[0] == 334, 60), "the last too")
    with client(mx) as s:
        same(login(s)[0], 235, "who has a password logs in all the same")
        first.sock.settimeout(0.3)
        try:
            said = first.file.read(1)
        except OSError:
            said = b""
        same(said, b"", "whose place was taken is not interrupted")
    first.sock.settimeout(30)
    first.file = first.sock.makefile("rb")
    same(first.cmd(b64("alice"))[0], 454, "but told when it is its turn")
    same(first.cmd("NOOP")[0], 250, "and its session goes on")
    for s in crowd:
        s.close()


def t_auth_dies():
    """auth is killed while clients have its question before them: each line gets one reply."""
    mx = submission()
    with client(mx) as s:
        same(s.cmd("AUTH LOGIN")[0], 334, "a question")
        before = mx.pids("auth")
        os.kill(before[0], signal.SIGKILL)
        ok(wait_for(lambda: (p := mx.pids("auth")) and p != before, 20), "auth is another")
        s.raw(b64("alice") + "\r\nNOOP\r\n")
        same([s.reply()[0] for _ in range(2)], [454, 250], "its answer is refused once, and not taken for a command")
        ok(wait_for(lambda: login(s)[0] == 235, 20), "it may try again")


def t_behind_a_proxy():
    """Failures of a client that a proxy tells of are counted for it, not for all that the proxy brings."""
    mx = submission(xclient_networks="127.0.0.1", auth_failures_network=1, auth_failures_login=0, auth_failure_window="1h")

    def behind(address, password):
        with client(mx) as s:
            s.starttls()
            s.cmd("EHLO proxy.test")
            same(s.cmd("XCLIENT ADDR=" + address)[0], 220, address)
            s.cmd("EHLO c.test")
            return s.cmd("AUTH PLAIN " + plain("alice", password))[0]
    same([behind("198.51.100.1", p) for p in ("wrong", "wrong")], [535, 421], "a guesser is shut out")
    same(behind("203.0.113.1", PASSWORDS["alice"]), 235, "others behind the same proxy are not")


class FakeDovecot:
    """A scripted stand-in for Dovecot's auth socket: one user, PLAIN and LOGIN."""

    def __init__(self, path):
        import threading
        self.lines, self.path = [], path
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        os.chmod(path, 0o666)
        self.sock.listen()
        self.peers = []
        threading.Thread(target=self.run, daemon=True).start()
        on_cleanup(self.close)

    def close(self):
        self.sock.close()
        for p in self.peers:
            p.close()

    def run(self):
        try:
            while True:
                peer, _ = self.sock.accept()
                self.peers.append(peer)
                peer.sendall(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n")
                self.serve(peer)
        except OSError:
            pass

    def serve(self, peer):
        for raw in peer.makefile("rb"):
            line = raw.decode().rstrip("\n").split("\t")
            self.lines.append(line)
            if line[0] == "AUTH" and line[2] == "PLAIN" and any(f.startswith("resp=") for f in line):
                _, user, password = base64.b64decode(line[-1][5:]).decode().split("\0")
                if password == "slow":
                    continue
                reply = {"right": f"OK\t{line[1]}\tuser={user}", "trouble": f"FAIL\t{line[1]}\tuser={user}\ttemp"}.get(password, f"FAIL\t{line[1]}\tuser={user}")
            elif line[0] == "AUTH":
                reply = f"CONT\t{line[1]}\t{b64('Username:')}"
            elif line[0] == "CONT" and base64.b64decode(line[2]) == b"alice":
                reply = f"CONT\t{line[1]}\t{b64('Password:')}"
            elif line[0] == "CONT":
                reply = f"OK\t{line[1]}\tuser=alice" if base64.b64decode(line[2]) == b"right" else f"FAIL\t{line[1]}\tuser=alice"
            else:
                continue
            peer.sendall(reply.encode() + b"\n")


def t_dovecot():
    """Dovecot's protocol, played by a stand-in: mechanisms, challenges, its end and its return."""
    mx = submission(start=False, logins={}, auth_source="dovecot")
    path = mx.dir / "etc/dovecot.sock"
    mx.write_config(auth_socket=path)
    mx.start()
    with client(mx) as s:
        ok("AUTH" not in s.offer, "without Dovecot AUTH is not offered", s.offer)
        same(s.cmd("AUTH PLAIN x")[0], 454, "454 to who asks all the same")
        fake = FakeDovecot(path)
        ok(wait_for(lambda: "AUTH PLAIN LOGIN" in s.cmd("EHLO c.test")[1], 20), "it is there: its mechanisms are offered")
        same(s.cmd("AUTH PLAIN " + plain("alice", "wrong"))[0], 535, "wrong")
        same(s.cmd("AUTH PLAIN " + plain("alice", "trouble"))[0], 454, "its trouble is temporary")
        same(s.cmd("AUTH PLAIN a*b")[0] in (454, 501), True, "no base64 goes there")
        same(s.cmd("AUTH LOGIN")[1], b64("Username:"), "its challenges come through")
        same(s.cmd("*")[0], 501, "cancelled")
        ok(wait_for(lambda: any(x[0] == "CANCEL" for x in fake.lines), 10), "there too")
        same(s.cmd("AUTH LOGIN")[0], 334, "LOGIN")
        same(s.cmd(b64("alice"))[1], b64("Password:"), "Password:")
        same(s.cmd(b64("right"))[0], 235, "right")
        same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 250, "the login is Dovecot's word")
    ask = next(x for x in fake.lines if x[0] == "AUTH")
    ok("service=smtp" in ask and "rip=127.0.0.1" in ask and "secured" not in ask and ask[-1].startswith("resp="), "what it is told", ask)
    for p in fake.peers:
        p.shutdown(socket.SHUT_RDWR)
    with client(mx) as s:
        ok(wait_for(lambda: "AUTH PLAIN LOGIN" in s.cmd("EHLO c.test")[1], 20), "a lost connection is made again")
        same(wait_for(lambda: s.cmd("AUTH PLAIN " + plain("alice", "right"))[0] == 235, 10), True, "and works")


def t_dovecot_guesses():
    """Dovecot's yes is quick, its no is slow: who hangs up before it has tried all the same."""
    mx = submission(start=False, logins={}, auth_source="dovecot", auth_failures_network=3, auth_failure_window="1h")
    path = mx.dir / "etc/dovecot.sock"
    fake = FakeDovecot(path)
    mx.write_config(auth_socket=path)
    mx.start()
    with client(mx) as s:
        ok(wait_for(lambda: "AUTH PLAIN LOGIN" in s.cmd("EHLO c.test")[1], 20), "Dovecot is there")
    for i in range(3):
        with client(mx) as s:
            s.raw("AUTH PLAIN " + plain("alice", "slow") + "\r\n")
            ok(wait_for(lambda: len([x for x in fake.lines if x[0] == "AUTH"]) == i + 1, 20), "a guess is on its way")
            s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)) # a reset: the end is noticed at once
        ok(wait_for(lambda: len([x for x in fake.lines if x[0] == "CANCEL"]) == i + 1, 20), "and given up")
    with client(mx) as s:
        r = s.cmd("AUTH PLAIN " + plain("alice", "right"))
        ok(r[0] == 421 and "auth-failures-network" in r[1], "three were enough", r)


DOVECOT = """base_dir = {dir}/run
state_dir = {dir}/state
protocols =
log_path = {dir}/log
ssl = no
auth_mechanisms = plain login scram-sha-256 cram-md5
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
passdb {{
  driver = static
  args = password=right
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  user = root
  unix_listener {dir}/auth-postern {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def t_real_dovecot():
    """Dovecot itself, where it is installed: PLAIN, LOGIN, its SCRAM, cancelled CRAM-MD5."""
    dovecot = shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
    if not dovecot or not ROOT:
        return
    d = scratch()
    (d / "dovecot.conf").write_text(DOVECOT.format(dir=d))
    proc = subprocess.Popen([dovecot, "-F", "-c", d / "dovecot.conf"], stdin=subprocess.DEVNULL, stdout=open(d / "out", "wb"), stderr=subprocess.STDOUT)
    on_cleanup(proc.wait)
    on_cleanup(proc.terminate)
    mx = submission(logins={}, auth_source="dovecot", auth_socket=d / "auth-postern")
    with client(mx) as s:
        if not ok(wait_for(lambda: "AUTH" in s.cmd("EHLO c.test")[1], 20), "Dovecot's mechanisms are offered", (d / "out").read_text(), mx.log()[-1000:]):
            return
        ok("SCRAM-SHA-256" in s.cmd("EHLO c.test")[1] and "CRAM-MD5" in s.cmd("EHLO c.test")[1], "all of them")
        same(s.cmd("AUTH PLAIN " + plain("alice", "wrong"))[0], 535, "PLAIN, wrong")
        same([s.cmd("AUTH LOGIN")[0], s.cmd(b64("alice"))[0], s.cmd(b64("right"))[0]], [334, 334, 235], "LOGIN, right")
        same(s.cmd("MAIL FROM:<alice@mx.test>")[0], 250, "alice it is")
    with client(mx) as s:
        same(Scram("bob", "wrong").run(s)[0], 535, "SCRAM, wrong")
        same(s.cmd("AUTH CRAM-MD5")[0], 334, "CRAM-MD5 begins")
        same(s.cmd("*")[0], 501, "and is cancelled")
        same(Scram("bob", "right").run(s)[0], 235, "SCRAM, right")
    ok(mx.events("auth_good", login="bob", mechanism="SCRAM-SHA-256"), "the log knows")


def t_pam():
    """PAM: an account of the system in a mount namespace of our own, with its own passwd, shadow and pam.d; the keeper is caged."""
    if not ROOT or "#define HAVE_PAM 1" not in (BUILD / "build-config.h").read_text() or not os.path.exists("/sbin/unix_chkpwd"):
        return
    mx = submission(start=False, logins={}, auth_source="pam")
    etc = mx.dir / "system"
    (etc / "pam.d").mkdir(parents=True)
    (etc / "pam.d/postern").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")
    hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=b"open sesame\n", capture_output=True, check=True).stdout.decode().strip()
    (etc / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + "".join(f"{u}:x:{64900 + i}:64900::/nonexistent:/bin/sh\n" for i, u in enumerate(("pamela", "expired", "locked"))))
    (etc / "shadow").write_text(pathlib.Path("/etc/shadow").read_text() + f"pamela:{hashed}:19000:0:99999:7:::\nexpired:{hashed}:19000:0:99999:7::19001:\nlocked:!{hashed}:19000:0:99999:7:::\n")
    (etc / "shadow").chmod(0o640)
    os.chown(etc / "shadow", 0, os.stat("/etc/shadow").st_gid)
    mounts = "".join(f"mount --bind {etc}/{x} /etc/{x} && " for x in ("passwd", "shadow", "pam.d"))
    mx.command = lambda *argv: ["unshare", "-m", "sh", "-c", mounts + 'exec "$@"', "sh", *map(str, argv)]
    mx.start()
    with client(mx) as s:
        ok("AUTH PLAIN LOGIN" in s.offer and "SCRAM" not in s.offer, "only mechanisms with a password", s.offer)
        for who, password in (("pamela", "open sesam"), ("nobody-here", "open sesame")):
            r = s.cmd("AUTH PLAIN " + plain(who, password))
            same(r[0], 535, f"{who}, {password}: no")
        same(s.cmd("AUTH PLAIN " + plain("pamela", "open sesame"))[0], 235, "pamela, open sesame: yes")
    with client(mx) as s:
        same(s.cmd("AUTH PLAIN " + plain("expired", "open sesame"))[0], 535, "an expired account: no")
        same(s.cmd("AUTH PLAIN " + plain("locked", "open sesame"))[0], 535, "a locked one: no")
    keeper = [p for p in mx.family() if comm(p) == "auth-keeper"]
    same(len(keeper), 1, "one keeper, and no child that was left behind")
    st = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{keeper[0]}/status").read_text().splitlines() if ":\t" in line)
    same((st["NoNewPrivs"], st["Seccomp"], st["Uid"].split(), st["CapEff"].strip("0")), ("1", "2", [str(mx.uid_of("auth"))] * 4, ""),
         "without new privileges, filtered, as auth, without capabilities")
    groups = re.search(r"Groups:(.*)", pathlib.Path(f"/proc/{mx.pids('auth')[0]}/status").read_text()).group(1)
    same(groups.split(), [], "auth itself is in no other group")
    for what, arg, refusals in (("open", mx.dir / "home/bob", "EACCES"), ("create", "/tmp/postern-test", "EACCES killed"), ("socket", 2, "killed EACCES"), ("setuid", 0, "EPERM killed")):
        r = subprocess.run([BUILD / "tests/inject", str(keeper[0]), what, str(arg)], capture_output=True, text=True)
        ok(r.stdout.strip() in refusals.split(), f"keeper: {what} {arg} is refused", r.stdout, r.stderr)
        keeper = wait_for(lambda: [p for p in mx.family() if comm(p) == "auth-keeper"], 20) or keeper
        time.sleep(0.3)
    old = keeper[0]
    os.kill(old, signal.SIGKILL)
    ok(wait_for(lambda: [p for p in mx.family() if comm(p) == "auth-keeper" and p != old], 20), "killed, it is started again")


def t_fail2ban():
    """The filter that is shipped, with fail2ban's own tool where it is there, else by its expressions."""
    mx = submission()
    with client(mx) as s:
        s.cmd("AUTH PLAIN " + plain("x client=9.9.9.9 mechanism=", "no"))
    ok(mx.wait_event("auth_failed"), "a failure, of a login that would like to look like another line")
    filter_file = SRC / "etc/fail2ban-filter.conf"
    if shutil.which("fail2ban-regex"):
        r = subprocess.run(["fail2ban-regex", str(mx.dir / "log"), str(filter_file)], capture_output=True, text=True)
        ok("1 matched" in r.stdout, "fail2ban finds it", r.stdout)
    text = filter_file.read_text()
    expressions = re.search(r"failregex = (.*?)\nignore", text, re.S).group(1).split("\n")
    line = next(x for x in mx.log().splitlines() if "auth_failed" in x).split("]: ", 1)[1]
    found = [m.group("host") for e in expressions for m in [re.match(e.strip().replace("<HOST>", r"(?P<host>[0-9a-f.:]+)"), line)] if m]
    same(found, ["127.0.0.1"], "and so does its expression, with the right address")


if __name__ == "__main__":
    main(t_mechanisms, t_order, t_limits, t_senders, t_fixups, t_clients, t_check, t_table, t_memory, t_restart, t_tokens, t_tls, t_external, t_half_open, t_auth_dies, t_behind_a_proxy, t_dovecot, t_dovecot_guesses, t_real_dovecot, t_pam, t_fail2ban)
