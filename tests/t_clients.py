#!/usr/bin/env python3
"""Programs that people really use, as clients: docs/CLIENTS.md is the table of what is tried here. Those that are not installed are
left out, and named. With POSTERN_TESTSSL=1 testssl.sh too, which takes minutes."""
import base64
import collections
import json

from harness import *
from tlstools import *

Case = collections.namedtuple("Case", "name port tls mech password sender want", defaults=("", "", "", "alice@mx.test", ""))
# want: the protocol in Received; or, with a digit in front, the reply that refuses.
CASES = [
    Case("port 25", 25, sender="x@far.test", want="E?SMTP"),
    Case("port 25, STARTTLS", 25, "starttls", sender="x@far.test", want="ESMTPS"),
    Case("587, PLAIN", 587, "starttls", "PLAIN", "wonderland", want="ESMTPSA"),
    Case("587, LOGIN", 587, "starttls", "LOGIN", "wonderland", want="ESMTPSA"),
    Case("587, SCRAM-SHA-256", 587, "starttls", "SCRAM-SHA-256", "wonderland", want="ESMTPSA"),
    Case("465, PLAIN", 465, "implicit", "PLAIN", "wonderland", want="ESMTPSA"),
    Case("465, wrong password", 465, "implicit", "PLAIN", "wrong", want="535"),
    Case("587, sender of another", 587, "starttls", "PLAIN", "wonderland", "bob@mx.test", want="553"),
    Case("587, no TLS", 587, "", "PLAIN", "wonderland", want="0"),
]


class Place:
    """The instance, and what each client needs to know of it."""

    def __init__(self, **settings):
        self.home = scratch()
        self.ca = Authority(scratch())
        self.ca.dir.chmod(0o700)
        (self.home / "ca.pem").write_bytes(self.ca.cert.read_bytes())
        self.pairs = [self.ca.issue("rsa", "rsa", "localhost", "mx.test", **FIT), self.ca.issue("ec", "ecdsa", "localhost", "mx.test", **FIT)]
        self.port = {n: free_port() for n in (25, 587, 465)}
        self.mx = Postern(start=False, port=self.port[25], certificates=" ".join(self.pairs), auth_failure_delay="50ms", auth_failures_network=1000,
                          auth_failures_login=1000, listen_submission=f"127.0.0.1:{self.port[587]}", listen_submissions=f"127.0.0.1:{self.port[465]}", **settings)
        self.mx.write_config(listen_lmtp=self.mx.dir / "run/lmtp")
        self.mx.tool("passwd", "alice", stdin=b"wonderland\n")
        self.mx.start()

    def run(self, argv, stdin=b"", timeout=120):
        env = dict(os.environ, HOME=str(self.home), TERM="dumb", EMAIL="alice@mx.test", GIT_CONFIG_NOSYSTEM="1", LC_ALL="C.UTF-8")
        r = subprocess.run(list(map(str, argv)), input=stdin, capture_output=True, timeout=timeout, env=env, cwd=self.home)
        return r.returncode, (r.stdout + r.stderr).decode(errors="replace")

    def file(self, name, text):
        (self.home / name).write_text(text)
        return self.home / name


# A certificate that no examiner minds: long enough, with where to ask whether it was withdrawn.
FIT = {"days": 90, "extensions": "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n"
                                 "crlDistributionPoints=URI:http://127.0.0.1:9/crl\n"}


def letter(c, subject):
    return f"From: <{c.sender}>\r\nTo: <bob@mx.test>\r\nSubject: {subject}\r\n\r\nHello.\r\n"


# Each of these runs one client for one case: (exit status, what it said).
def swaks(p, c, subject):
    return p.run(["swaks", "--helo", "client.test", "--server", "localhost", "--port", p.port[c.port], "--from", c.sender, "--to", "bob@mx.test", "--header", f"Subject: {subject}",
                  *{"starttls": ["-tls"], "implicit": ["-tlsc"], "": []}[c.tls], *(["--tls-verify", "--tls-ca-path", "ca.pem"] if c.tls else []),
                  *(["--auth", c.mech, "-au", "alice", "-ap", c.password] if c.mech else [])])


def curl(p, c, subject):
    file = p.file("letter", letter(c, subject))
    return p.run(["curl", "-sv", f"smtp{'s' if c.tls == 'implicit' else ''}://localhost:{p.port[c.port]}/client.test", "--cacert", "ca.pem", "--mail-from", c.sender,
                  "--mail-rcpt", "bob@mx.test", "-T", file, *(["--ssl-reqd"] if c.tls else []),
                  *(["-u", f"alice:{c.password}", "--login-options", f"AUTH={c.mech}"] if c.mech else [])])


def msmtp(p, c, subject):
    return p.run(["msmtp", "-C", "/dev/null", "--domain=client.test", "--host=localhost", f"--port={p.port[c.port]}", f"--from={c.sender}",
                  *(["--tls=on", "--tls-trust-file=ca.pem", f"--tls-starttls={'on' if c.tls == 'starttls' else 'off'}"] if c.tls else []),
                  *([f"--auth={c.mech.lower()}", "--user=alice", f"--passwordeval=echo {c.password}"] if c.mech else []), "bob@mx.test"], letter(c, subject).encode())


def mutt(p, c, subject):
    url = f"smtp{'s' if c.tls == 'implicit' else ''}://{f'alice:{c.password}@' if c.mech else ''}localhost:{p.port[c.port]}"
    rc = p.file("muttrc", f"set certificate_file={p.home}/ca.pem ssl_ca_certificates_file={p.home}/ca.pem ssl_force_tls={'yes' if c.tls else 'no'} "
                f"ssl_starttls={'yes' if c.tls else 'no'}\nset copy=no hostname=client.test use_envelope_from=yes from={c.sender} smtp_url={url}\n"
                + (f"set smtp_authenticators={c.mech.lower()}\n" if c.mech not in ("", "any") else ""))
    return p.run(["mutt", "-n", "-F", rc, "-s", subject, "bob@mx.test"], b"Hello.\n")


def git(p, c, subject):
    patch = p.file("0001-x.patch", f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: A <{c.sender}>\nDate: Thu, 26 Nov 2026 00:00:00 +0000\nSubject: {subject}\n\nHello.\n---\n")
    return p.run(["git", "-c", "user.name=A", "-c", f"user.email={c.sender}", "send-email", "--confirm=never", "--suppress-cc=all", f"--from={c.sender}", "--to=bob@mx.test",
                  "--smtp-domain=client.test", "--smtp-server=localhost", f"--smtp-server-port={p.port[c.port]}",
                  *([f"--smtp-encryption={'tls' if c.tls == 'starttls' else 'ssl'}", f"--smtp-ssl-cert-path={p.home}/ca.pem"] if c.tls else []),
                  *(["--smtp-user=alice", f"--smtp-pass={c.password}", f"--smtp-auth={c.mech}"] if c.mech else []), patch])


SMTPLIB = """
import smtplib, ssl, sys
tls, port, mech, password, sender, text = sys.argv[1:]
context = ssl.create_default_context(cafile="ca.pem")
with (smtplib.SMTP_SSL("localhost", int(port), "client.test", context=context) if tls == "implicit" else smtplib.SMTP("localhost", int(port), "client.test")) as s:
    if tls == "starttls":
        s.starttls(context=context)
    s.ehlo()
    if mech:
        s.user, s.password = "alice", password
        s.auth(mech, getattr(s, "auth_" + mech.lower()))
    s.sendmail(sender, ["bob@mx.test"], text)
"""


def smtplib(p, c, subject):
    return p.run([sys.executable, "-c", SMTPLIB, c.tls, p.port[c.port], c.mech, c.password, c.sender, letter(c, subject)])


def s_client(p, c, subject):
    """By hand: PIPELINING, and the message in two chunks (BDAT)."""
    argv = ["openssl", "s_client", "-quiet", "-connect", f"localhost:{p.port[c.port]}", "-verify_return_error", "-verify_hostname", "localhost", "-CAfile", p.home / "ca.pem",
            *(["-starttls", "smtp"] if c.tls == "starttls" else ["-alpn", "smtp"])]
    said = b""
    with subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as proc:
        def talk(lines, replies):
            nonlocal said
            proc.stdin.write(lines.encode())
            proc.stdin.flush()
            while replies:
                line = proc.stdout.readline()
                said += line
                if not line:
                    return False
                replies -= line[:3].isdigit() and line[3:4] == b" "
            return not re.search(rb"^[45]\d\d", line)
        if c.tls == "implicit":
            talk("", 1)
        text = letter(c, subject)
        good = (talk("EHLO client.test\r\n", 1) and (not c.mech or talk(f"AUTH PLAIN {b64plain(c.password)}\r\n", 1))
                and talk(f"MAIL FROM:<{c.sender}> BODY=8BITMIME\r\n", 1) and talk(f"RCPT TO:<bob@mx.test>\r\nBDAT 9\r\n{text[:9]}BDAT {len(text) - 9} LAST\r\n{text[9:]}", 3))
        talk("QUIT\r\n", 1)
    return 0 if good else 1, said.decode()


def b64plain(password):
    return base64.b64encode(f"\0alice\0{password}".encode()).decode()


TERSE = {mutt, git}  # do not show the reply, or not its code

# client, the program that must be there, what it cannot do
CLIENTS = [
    (swaks, "swaks", {"SCRAM-SHA-256"}),
    (curl, "curl", set()),
    (msmtp, "msmtp", set()),
    (mutt, "mutt", set()),
    (git, "/usr/lib/git-core/git-send-email", {"SCRAM-SHA-256"}),
    (smtplib, sys.executable, {"SCRAM-SHA-256"}),
    (s_client, "openssl", {"LOGIN", "SCRAM-SHA-256", "in the clear"}),
]


MODULES = {swaks: ["Net::SSLeay"], git: ["Mail::Address", "Authen::SASL", "IO::Socket::SSL"]}


def absent(client, program):
    """What is missing to run it; empty: nothing."""
    if not shutil.which(program): return program
    return " ".join(m for m in MODULES.get(client, []) if subprocess.run(["perl", f"-M{m}", "-e1"], capture_output=True).returncode)


def cannot(client, c, missing):
    if c.mech in missing or (not c.tls and "in the clear" in missing): return True
    if client is curl and c.mech.startswith("SCRAM"): return "gsasl" not in subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.lower()
    return False


def arrived(p, subject):
    return [m for m in p.mx.maildir("bob") if subject.encode() in m]


def one(p, client, c, n):
    what, subject = f"{client.__name__}: {c.name}", f"{client.__name__}-{n}-try"
    status, said = client(p, c, subject)
    if c.want[0].isdigit():
        ok(status != 0 and (c.want == "0" or c.want in said or client in TERSE) and not arrived(p, subject), f"{what}: refused ({c.want})", status, said)
        return
    mail = wait_for(lambda: arrived(p, subject), 20) if status == 0 else []
    ok(status == 0 and len(mail) == 1 and re.search(rf"with {c.want}\b".encode(), mail[0]), f"{what}: delivered", status, said, mail, p.mx.log()[-1500:])


def t_each():
    """Each client: in the clear and under TLS, each way to log in, a wrong password, the address of another."""
    p = Place()
    for client, program, missing in CLIENTS:
        if absent(client, program):
            print(f"# {client.__name__}: {absent(client, program)} is not installed")
            continue
        for n, c in enumerate(CASES):
            if cannot(client, c, missing):
                print(f"# {client.__name__} cannot: {c.name}")
            else:
                one(p, client, c, n)


def t_more():
    """What only some can: channel binding, pipelining, addresses in UTF-8, LMTP."""
    p = Place()
    if shutil.which("gsasl"):
        for mech in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"):
            status, said = p.run(["gsasl", "--smtp", "--starttls", "--x509-ca-file=ca.pem", "-m", mech, *([] if mech.endswith("PLUS") else ["--no-cb"]), "-a", "alice", "-p", "wonderland", "--hostname", "localhost",
                                  f"--connect=localhost:{p.port[587]}"], timeout=20)
            ok(status == 0 and p.mx.wait_event("auth_good", mechanism=mech), f"gsasl: {mech}", said, p.mx.log()[-1000:])
    if not absent(swaks, "swaks"):
        status, said = p.run(["swaks", "--helo", "c.test", "--server", f"localhost:{p.port[25]}", "--pipeline", "-tls", "--from", "x@far.test", "--to", "bob@mx.test,alice@mx.test"])
        ok(status == 0 and len(p.mx.wait_mail("alice")) == 1, "swaks: pipelined, two recipients", said)
        status, said = p.run(["swaks", "--protocol", "LMTP", "--socket", p.mx.dir / "run/lmtp", "--from", "x@far.test", "--to", "alice@mx.test,nobody@mx.test"])
        ok("550 5.1.1" in said and len(p.mx.wait_mail("alice", 2)) == 2, "swaks: LMTP, one of two is known", status, said)
    if shutil.which("curl"):
        file = p.file("utf8", "From: <j\u00fcrgen@far.test>\r\nSubject: gr\u00f6\u00dfe\r\n\r\nHello.\r\n")
        status, said = p.run(["curl", "-sv", f"smtp://localhost:{p.port[25]}/client.test", "--mail-from", "j\u00fcrgen@far.test", "--mail-rcpt", "alice@mx.test", "-T", file])
        ok(status == 0 and "SMTPUTF8" in said and wait_for(lambda: any(b"UTF8SMTP" in m for m in p.mx.maildir("alice"))), "curl: SMTPUTF8", said, p.mx.maildir("alice"))


def t_mutt():
    """mutt, with no setting of its own about mechanisms, where SCRAM-SHA-256-PLUS is not offered."""
    if not shutil.which("mutt"):
        print("# mutt is not installed")
        return
    p = Place(auth_mechanisms="SCRAM-SHA-256 PLAIN LOGIN")
    one(p, mutt, Case("whatever it chooses", 587, "starttls", "any", "wonderland", want="ESMTPSA"), 0)
    ok(p.mx.events("auth_good", login="alice"), "and it logged in", p.mx.log()[-1000:])


DOVECOT = """base_dir = {d}/run
state_dir = {d}/state
protocols = submission
log_path = {d}/log
listen = 127.0.0.1
hostname = dove.test
ssl = required
ssl_cert = <{chain}
ssl_key = <{key}
ssl_client_ca_file = {home}/ca.pem
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
mail_location = maildir:{d}/mail/%u
passdb {{
  driver = static
  args = password=right
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={d}/mail/%u
}}
submission_relay_host = localhost
submission_relay_port = {port}
submission_relay_ssl = {ssl}
submission_relay_ssl_verify = yes
submission_relay_user = alice
submission_relay_password = {password}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  user = root
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {own}
  }}
}}
"""


def dovecot(p, port, tls, password):
    """A submission service of Dovecot that hands on to us; gives its port."""
    d, own = scratch(), free_port()
    chain, key = p.pairs[0].split(",")
    (d / "conf").write_text(DOVECOT.format(d=d, chain=chain, key=key, home=p.home, port=p.port[port], ssl=tls, password=password, own=own))
    proc = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", d / "conf"], stdin=subprocess.DEVNULL, stdout=open(d / "out", "wb"), stderr=subprocess.STDOUT)
    on_cleanup(proc.wait)
    on_cleanup(proc.terminate)

    def listens():
        try:
            socket.create_connection(("127.0.0.1", own), 5).close()
            return True
        except OSError:
            return False
    wait_for(listens)
    return own, d


def t_dovecot():
    """Dovecot's submission service, for which we are submission_relay_host: under STARTTLS, under TLS, with a wrong password."""
    if not ROOT or not os.path.exists("/usr/lib/dovecot/submission"):
        print("# dovecot-submissiond is not installed, or we are not root")
        return
    p = Place()
    for n, (port, tls, password) in enumerate(((587, "starttls", "wonderland"), (465, "smtps", "wonderland"), (587, "starttls", "wrong"))):
        own, d = dovecot(p, port, tls, password)
        through = Place.__new__(Place)
        through.__dict__.update(p.__dict__, port={587: own})
        case = Case(f"Dovecot's submission service, to {port}", 587, "starttls", "PLAIN", "right")
        status, said = smtplib(through, case, f"dovecot-{n}-try")
        if password == "wrong":
            ok(status != 0 and p.mx.wait_event("auth_failed") and not arrived(p, f"dovecot-{n}-try"), "a wrong submission_relay_password is refused", said)
        else:
            mail = wait_for(lambda: arrived(p, f"dovecot-{n}-try"))
            ok(status == 0 and mail and b"with ESMTPSA" in mail[0] and b"from dove.test" in mail[0], f"{case.name}: delivered", said, (d / "log").read_text(), mail)
            status, said = smtplib(through, case._replace(sender="bob@mx.test"), "x")
            ok(status != 0 and "553" in said, "the sender of another is refused through it", said)


# What testssl.sh says above LOW that is not about us: see docs/CLIENTS.md.
EXPLAINED = {"sessionresumption_ticket"}


def t_testssl():
    """testssl.sh: nothing above LOW (only with POSTERN_TESTSSL=1)."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program or not os.environ.get("POSTERN_TESTSSL"):
        print("# testssl.sh: not installed, or not asked for")
        return
    p = Place()
    for port, options in ((25, ["-t", "smtp"]), (587, ["-t", "smtp"]), (465, [])):
        out = p.home / f"testssl-{port}.json"
        subprocess.run([program, *options, "--warnings", "off", "--color", "0", "--quiet", "--ip", "127.0.0.1", "--add-ca", p.home / "ca.pem", "--jsonfile", out,
                        f"localhost:{p.port[port]}"], stdin=subprocess.DEVNULL, capture_output=True, cwd=p.home)
        found = json.loads(out.read_text())
        high = [f for f in found if f["severity"] not in ("OK", "INFO", "LOW", "DEBUG") and f["id"] not in EXPLAINED]
        ok(len(found) > 50 and not high, f"testssl.sh, port {port}: nothing above LOW in {len(found)} findings", *high)


if __name__ == "__main__":
    main(t_each, t_more, t_mutt, t_dovecot, t_testssl)
