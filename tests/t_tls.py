#!/usr/bin/env python3
"""TLS at smtpd, from outside: STARTTLS and TLS from the start, certificates by name, tickets, changed files, client
certificates, and what an attacker would try at each of them."""
import ssl
import struct
import warnings

from harness import *
from tlstools import *


def starttls(mx, context=None, name="mx.test", port=None, ehlo=True):
    """A session under TLS, begun with STARTTLS."""
    s = Smtp(mx.address, port or mx.port)
    s.cmd("EHLO client.test")
    r = s.starttls(context, name)
    if r[0] != 220:
        raise RuntimeError(f"STARTTLS: {r}")
    if ehlo:
        s.ehlo = s.cmd("EHLO client.test")
    return s


def t_self_signed():
    """With no setting at all: STARTTLS works, the message says so in Received, the log too."""
    mx = Postern(listen_submission=f"127.0.0.1:{free_port()}", listen_submissions=f"127.0.0.1:{free_port()}")
    with mx.smtp() as s:
        ok("STARTTLS" in s.cmd("EHLO client.test")[1].split("\n"), "EHLO offers STARTTLS")
    with starttls(mx) as s:
        same(s.sock.version(), "TLSv1.3", "TLS 1.3")
        ok("STARTTLS" not in s.ehlo[1], "under TLS it is not offered again", s.ehlo)
        same(s.cmd("STARTTLS")[0], 503, "and refused")
        same(s.message("a@client.test", ["alice@mx.test"], message())[0], 250, "a message is taken")
        peer = s.sock.getpeercert(True)
    same(subject_names(peer), ["mx.test"], "the certificate is for our hostname")
    mail = (mx.wait_mail("alice") or [b""])[0].replace(b"\r\n\t", b" ").replace(b"\n\t", b" ").decode()
    ok("with ESMTPS (TLSv1.3, 128 bits) id" in mail and "tls TLS_AES_128_GCM_SHA256;" in mail, "Received tells the protection", mail)
    ok(mx.wait_event("tls", version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", bits=128, sni="mx.test", resumed="no"), "so does the log", mx.log()[-2000:])
    port = int(mx.settings["listen-submission"].rpartition(":")[2])
    with starttls(mx, port=port) as s:
        same(s.cmd("NOOP")[0], 250, "STARTTLS at listen-submission")
    port = int(mx.settings["listen-submissions"].rpartition(":")[2])
    with implicit(mx, port) as s:
        same(s.greeting[0], 220, "listen-submissions greets under TLS")
        ok("STARTTLS" not in s.cmd("EHLO client.test")[1], "and offers no STARTTLS")
        same(s.cmd("QUIT")[0], 221, "and says goodbye")
        same(s.sock.recv(10), b"", "with a close_notify")
    mode = os.stat(mx.dir / "state-keys/self-signed.pem")
    same((mode.st_mode & 0o777, mode.st_uid), (0o600, 0 if ROOT else os.geteuid()), "the key's file is of its owner alone")
    before = (mx.dir / "state-keys/self-signed.pem").read_bytes()
    mx.stop()
    mx.start()
    same((mx.dir / "state-keys/self-signed.pem").read_bytes(), before, "it stays over a restart")
    mx.stop()
    mx.write_config(hostname="other.test")
    mx.start()
    with starttls(mx) as s:
        after = s.sock.getpeercert(True)
    same(subject_names(after), ["other.test"], "another hostname gives another certificate")
    same(public_key(after), public_key(peer), "with the same key: somebody may have pinned it")


def implicit(mx, port, context=None, name="mx.test"):
    s = Smtp(mx.address, port, greet=False)
    s.secure(context, name)
    s.greeting = s.reply()
    return s


def certificates(mx_dir=None):
    d = scratch()
    d.chmod(0o700)
    return Authority(d)


def t_names():
    """SNI: by name, by star, by type of key; without a name the first."""
    ca = certificates()
    mx = Postern(certificates="\n ".join([ca.issue("rsa", "rsa", "mx.test"), ca.issue("ec", "ecdsa", "mx.test"), ca.issue("other", "p384", "other.test", "third.test"),
                                          ca.issue("star", "ed25519", "*.wild.test")]))
    context = verifying(ca)
    for name in ("mx.test", "other.test", "third.test", "a.wild.test", "MX.TEST"):
        with starttls(mx, context, name) as s:
            ok(s.cmd("NOOP")[0] == 250, f"a client that verifies believes us as {name}")
    for name in ("a.b.wild.test", "wild.test", "nobody.test"):
        try:
            starttls(mx, context, name)
            ok(False, f"no certificate is for {name}")
        except ssl.SSLCertVerificationError as e:
            ok("mx.test" in str(e) or "match" in str(e), f"{name} gets the first certificate, and its client sees that", e)
    old = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    for ciphers, kind in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa")):
        old.set_ciphers(ciphers)
        for name in ("mx.test", None):
            with starttls(mx, old, name) as s:
                same((s.sock.version(), key_type(s.sock.getpeercert(True))), ("TLSv1.2", kind), f"TLS 1.2 with {ciphers}, name {name}: the {kind} certificate")
    for algorithms, kind in (("rsa_pss_rsae_sha256", "rsa"), ("ECDSA+SHA256", "ecdsa")):
        out = s_client(mx, "-tls1_3", "-sigalgs", algorithms, "-servername", "mx.test")
        ok(f"Server public key is {2048 if kind == 'rsa' else 256} bit" in out, f"TLS 1.3 with {algorithms}: the {kind} certificate", out)
    with starttls(mx, old, "a.wild.test") as s:
        same(key_type(s.sock.getpeercert(True)), "ed25519", "Ed25519 in TLS 1.2 too")
    same(len({e["file"] for e in mx.events("certificate")}), 4, "each certificate in use is named in the log")


def s_client(mx, *args, stdin=b"QUIT\r\n"):
    r = subprocess.run(["openssl", "s_client", "-connect", f"{mx.address}:{mx.port}", "-starttls", "smtp", "-crlf", *args], input=stdin, capture_output=True, timeout=60)
    return (r.stdout + r.stderr).decode(errors="replace")


def t_tickets():
    """A session is resumed at another smtpd process too; when the key has changed twice, no more."""
    mx = Postern(smtpd_processes=1)

    def resumed(context, session):
        s = Smtp(mx.address, mx.port)
        s.cmd("EHLO client.test")
        s.cmd("STARTTLS")
        with context.wrap_socket(s.sock, server_hostname="mx.test", session=session) as t:
            t.sendall(b"NOOP\r\n")
            t.recv(100)
            return t.session_reused
    for version in ("TLSv1_2", "TLSv1_3"):
        context = trusting(maximum_version=ssl.TLSVersion[version])
        with starttls(mx, context) as s:
            session = s.sock.session
        ok(resumed(context, session), f"{version}: the session is resumed")
        served = mx.pids("smtpd")[0]
        os.kill(served, signal.SIGKILL)
        wait_for(lambda: mx.pids("smtpd") not in ([], [served]))
        ok(resumed(context, session), "at another smtpd process too, which did not make the ticket")
        ok(mx.events("tls")[-1]["pid_of"] != served, "it was another one")

    ok(resumed(context, session), "the ticket is good until now")
    mx.write_config(ticket_rotation="1s")
    mx.proc.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: not resumed(context, session), 30, step=0.5), "keys that have changed twice do not know it any more")


def pem_of(mx, name="mx.test"):
    with starttls(mx, name=name) as s:
        return s.sock.getpeercert(True)


def t_changed_files():
    """Renewed files are picked up; a pair that does not fit is refused, and the old one stays."""
    ca = certificates()
    pair = ca.issue("mx", "ecdsa", "mx.test")
    chain, key = map(pathlib.Path, pair.split(","))
    mx = Postern(certificates=pair, certificate_watch="200ms")
    first = pem_of(mx)
    with starttls(mx) as before:
        ca.issue("mx", "ecdsa", "mx.test", key=key)
        ok(wait_for(lambda: pem_of(mx) != first), "a renewed certificate is picked up by itself")
        second = pem_of(mx)
        same(before.cmd("NOOP")[0], 250, "a session of before goes on")
    ca.new_key("ecdsa", key)
    ok(mx.wait_event("certificate_refused", file=str(chain)), "a key that does not fit is refused", mx.log()[-2000:])
    e = (mx.events("certificate_refused") or [{}])[-1]
    ok("does not fit the key" in e.get("why", "") and "stays in use" in e.get("instead", ""), "the log says what is wrong and what happens", e)
    same(pem_of(mx), second, "the old pair stays")
    ca.issue("mx", "ecdsa", "mx.test", key=key)
    ok(wait_for(lambda: pem_of(mx) not in (first, second)), "the other half makes it good")
    third = pem_of(mx)
    for what, spoil in (("cannot be opened", lambda: chain.rename(chain.with_suffix(".away"))),
                        ("holds no certificate", lambda: chain.write_text("nonsense\n")),
                        ("everyone may read it", lambda: key.chmod(0o644))):
        count = len(mx.events("certificate_refused"))
        spoil()
        mx.proc.send_signal(signal.SIGHUP)
        ok(wait_for(lambda: any(what in e["why"] for e in mx.events("certificate_refused")[count:])), f"refused: {what}", mx.log()[-1500:])
        same(pem_of(mx), third, "and the old pair stays")
    code, out, err = mx.postern("check")
    ok(code == 78 and "everyone may read it" in err, "postern check says so too", out + err)
    other = ca.issue("wrong", "ecdsa", "mx.test").split(",")
    for value, what in ((f"{other[0]},{ca.issue('right', 'rsa', 'mx.test').split(',')[1]}", "does not fit the key"), (other[0], "key"),
                        (ca.issue("old", "ecdsa", "mx.test", days=0), "has expired")):
        mx.write_config(certificates=value)
        code, out, err = mx.postern("check")
        ok(code == 78 and what in err and "certificates = " in err, f"and of a pair that keys would refuse: {what}", out + err)
    mx.write_config(certificates=pair)
    mx.stop()
    mx.start()
    same(subject_names(pem_of(mx)), ["mx.test"], "started with bad files there is still the self-signed certificate")
    ok(pem_of(mx) not in (first, second, third), "not the bad one")
    for setting, why in (("relative,/x", "absolute"), ("/a,b", "absolute")):
        mx.write_config(certificates=setting)
        r = mx.tool("-f", "-c", mx.config, "--check", program="supervise/posternd")
        ok(r.returncode == 78 and why in r.stderr.decode(), f"certificates = {setting} is an error in the settings", r.stderr)


def t_client_certificates():
    """A client's certificate, when it verifies or is listed, is its identity."""
    ca, stranger = certificates(), certificates()
    mx = Postern(client_authorities=ca.cert)

    def visit(authority, file, *names, **kw):
        chain, key = authority.issue(file, "ecdsa", *names, **kw).split(",")
        context = trusting()
        context.load_cert_chain(chain, key)
        mark = len(mx.events("tls"))
        with starttls(mx, context) as s:
            r = s.message("a@client.test", ["alice@mx.test"], message(subject=file))
        wait_for(lambda: len(mx.events("tls")) > mark)
        return r[0], mx.events("tls")[-1]["identity"], chain
    same(visit(ca, "c1", "client.test")[:2], (250, "client.test"), "a certificate of our authority: its host name")
    same(visit(ca, "c2", "client.test", email="carol@client.test")[:2], (250, "carol@client.test"), "or its address")
    code, identity, chain = visit(stranger, "c3", "client.test")
    same((code, identity), (250, ""), "of a stranger's authority: mail is taken, the name is not believed")
    same(visit(ca, "c4", "c.test", email="a(b@client.test")[:2], (250, "a_b@client.test"), "odd characters cannot leave a comment")
    received = [m.replace(b"\r\n\t", b" ").replace(b"\n\t", b" ") for m in mx.wait_mail("alice", 4)]
    ok(any(b"(TLSv1.3, 128 bits, client client.test)" in m for m in received), "Received names it", received)
    with starttls(mx) as s:
        same(s.cmd("NOOP")[0], 250, "none needs to have one")
    print_ = openssl("x509", "-in", chain, "-noout", "-fingerprint", "-sha256").decode().strip().partition("=")[2]
    mx.write_config(client_authorities=None, client_fingerprints=print_)
    mx.proc.send_signal(signal.SIGHUP)
    want = "sha256:" + print_.replace(":", "").lower()

    def listed():
        context = trusting()
        context.load_cert_chain(chain, stranger.dir / "c3.key")
        mark = len(mx.events("tls"))
        with starttls(mx, context) as s:
            s.cmd("NOOP")
        wait_for(lambda: len(mx.events("tls")) > mark)
        return mx.events("tls")[-1]["identity"]
    ok(wait_for(lambda: listed() == want, step=0.3), "a listed fingerprint is believed without an authority", mx.events("tls")[-1:])
    same(visit(ca, "c5", "client.test")[1], "", "and authorities that are not set any more are not")


def t_attacks():
    """What is sent in the clear is never read as commands; nothing old, odd or slow gets through."""
    mx = Postern(tls_timeout="1s", listen_submissions=f"127.0.0.1:{free_port()}")
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        s.raw("STARTTLS\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<alice@mx.test>\r\n")
        r = s.reply()
        same((r[0], s.reply()[0]), (554, 0), "commands behind STARTTLS in one packet: refused, and the session ends")
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        same(s.cmd("STARTTLS")[0], 220, "STARTTLS")
        s.raw("MAIL FROM:<evil@client.test>\r\n" * 20)
        rest = b""
        try:
            while chunk := s.sock.recv(1000):
                rest += chunk
        except ConnectionResetError:
            pass
        ok(b"250" not in rest and b"503" not in rest, "commands instead of a handshake are not answered", rest)
    ok(mx.wait_event("tls_failed"), "the log says that the handshake failed", mx.log()[-1500:])
    warnings.simplefilter("ignore", DeprecationWarning)  # they are old, that is the point
    for version in ("TLSv1", "TLSv1_1"):
        context = trusting()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        refused(lambda: starttls(mx, context), f"{version} is refused")
    context = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        context.set_ciphers(ciphers)
        refused(lambda: starttls(mx, context), f"{ciphers} is refused: no forward secrecy, or no authenticated encryption")
    context = trusting()
    context.set_alpn_protocols(["http/1.1"])
    refused(lambda: starttls(mx, context), "a client that wants HTTP is refused (ALPN)")
    context.set_alpn_protocols(["http/1.1", "smtp"])
    with starttls(mx, context) as s:
        same(s.sock.selected_alpn_protocol(), "smtp", "one that wants SMTP is not")
    out = s_client(mx, "-tls1_2", "-no_ign_eof", stdin=b"R\nQUIT\n")
    ok("no renegotiation" in out or "unexpected message" in out or "RENEGOTIATING" in out and "250" not in out.rpartition("RENEGOTIATING")[2], "renegotiation is refused", out[-800:])
    # Slow: nothing, or half a ClientHello.
    for first in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        with mx.smtp() as s:
            s.cmd("EHLO client.test")
            s.cmd("STARTTLS")
            s.raw(first)
            same(s.sock.recv(1000).replace(b"\x15\x03\x03\x00\x02\x01\x00", b""), b"", f"a handshake that stops after {len(first)} octets ends")
    ok(mx.wait_event("tls_failed", why="handshake timeout", count=2), "as the log says", mx.events("tls_failed"))
    port = int(mx.settings["listen-submissions"].rpartition(":")[2])
    s = Smtp(mx.address, port, greet=False)
    s.raw("EHLO client.test\r\n" * 10)
    try:
        ok(b"220" not in s.sock.recv(1000), "the clear is not spoken where TLS begins at once")
    except ConnectionResetError:
        ok(True, "the clear is not spoken where TLS begins at once")
    # Who has said all may still listen (RFC 8446 6.1).
    from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = mx.smtp()
    s.cmd("STARTTLS")
    raw = s.sock
    half = trusting().wrap_bio(from_server, to_server)
    heard = b""
    through(half, half.do_handshake, raw, from_server, to_server)
    half.write(b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<bob@mx.test>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\n")
    try:
        half.unwrap()
    except ssl.SSLWantReadError:
        pass
    raw.sendall(to_server.read())
    raw.shutdown(socket.SHUT_WR)
    try:
        while chunk := through(half, lambda: half.read(4000), raw, from_server, to_server):
            heard += chunk
    except OSError:
        pass
    ok(b"Accepted as" in heard, "a client that closes its half behind a message hears that it was accepted", heard)
    # The end of the connection is not the end of a message.
    with starttls(mx) as s:
        for line in ("MAIL FROM:<a@client.test>", "RCPT TO:<alice@mx.test>", "DATA"):
            s.cmd(line)
        s.raw("Subject: cut\r\n\r\nhalf a mess")
        raw = s.sock.detach()
        socket.socket(fileno=raw).close()
    ok(mx.wait_event("disconnect", why="unexpected eof while reading"), "a connection that is cut off", mx.events("disconnect")[-2:])
    with starttls(mx) as s:
        same(s.message("a@client.test", ["alice@mx.test"], message(subject="whole"))[0], 250, "all goes on")
    mails = mx.wait_mail("alice")
    ok(len(mails) == 1 and b"whole" in mails[0], "and only the whole message was taken", mails)


def through(half, fn, raw, from_server, to_server):
    """Runs fn of a TLS object until it has what it wants."""
    while True:
        done, again = None, False
        try:
            done = fn()
        except ssl.SSLWantReadError:
            again = True
        if out := to_server.read():
            raw.sendall(out)
        if not again:
            return done
        if got := raw.recv(65536):
            from_server.write(got)
        else:
            from_server.write_eof()


def refused(fn, name):
    try:
        fn().close()
        ok(False, name)
    except (ssl.SSLError, ConnectionResetError) as e:
        ok(True, name)


def t_no_key_in_smtpd():
    """With every byte of smtpd's memory in hand there is no private key; keys is where they are."""
    ca = certificates()
    pairs = [ca.issue("rsa", "rsa", "mx.test"), ca.issue("ec", "ecdsa", "mx.test")]
    mx = Postern(certificates="\n ".join(pairs))
    for ciphers in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        context = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(ciphers)
        for _ in range(10):
            starttls(mx, context).close()
    held = starttls(mx)
    secrets = [n for p in pairs for n in private_numbers(p.split(",")[1])]
    ok(len(secrets) == 4, "the secrets: d, p, q of RSA, d of ECDSA", secrets)
    for program, wanted in (("smtpd", False), ("keys", True)):
        for pid in mx.pids(program):
            memory = memory_of(pid)
            ok(len(memory) > 1000000, f"the memory of {program} can be read ({len(memory)} octets)")
            found = [name for name, octets in secrets if octets in memory or octets[::-1] in memory]
            if wanted:
                ok({n for n, _ in secrets} - {"rsa d"} <= set(found) | {"rsa d"} and len(found) >= 3, f"{program} has them", found)
            else:
                same(found, [], f"{program} has none of them")
                ok(b"mx.test" in memory, "though it is the memory that is used")
    held.close()
    status = pathlib.Path(f"/proc/{mx.pids('keys')[0]}/status").read_text()
    ok("Seccomp:\t2" in status, "keys is in its cage")


def private_numbers(path):
    text = openssl("pkey", "-in", path, "-noout", "-text").decode()
    numbers = {}
    name = None
    for line in text.split("\n"):
        if not line.startswith(" "):
            name = line.split(":")[0].strip()
        else:
            numbers[name] = numbers.get(name, "") + line.strip().replace(":", "")
    kind = "rsa" if "privateExponent" in numbers else "ecdsa"
    wanted = {"privateExponent": "rsa d", "prime1": "rsa p", "prime2": "rsa q", "priv": "ecdsa d"}
    return [(wanted[n], bytes.fromhex(v).lstrip(b"\0")) for n, v in numbers.items() if n in wanted and (kind == "rsa") == wanted[n].startswith("rsa")]


def memory_of(pid):
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if "r" not in rights or "[v" in line or end - start > 1 << 30:
                continue
            try:
                mem.seek(start)
                parts.append(mem.read(end - start))
            except OSError:
                pass
    return b"".join(parts)


def t_keys_ends():
    """keys dies: what is open stays open, new handshakes fail in order, and soon succeed again."""
    mx = Postern()
    held = starttls(mx)
    os.kill(mx.pids("keys")[0], signal.SIGKILL)
    same(held.cmd("NOOP")[0], 250, "a session under TLS goes on")

    def again():
        try:
            starttls(mx).close()
            return True
        except (RuntimeError, ssl.SSLError, ConnectionResetError):
            return False
    ok(wait_for(again), "STARTTLS works again")
    same(held.message("a@client.test", ["alice@mx.test"], message())[0], 250, "and the old session takes mail")


def t_room_again():
    """More handshakes wait for keys than there is room for, and then those who asked are gone: the next one goes on."""
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    port = free_port()
    mx = Postern(smtpd_processes=1, limit_exempt="127.0.0.0/8", listen_submissions=f"127.0.0.1:{port}")
    keys, smtpd = mx.pids("keys"), mx.pids("smtpd")[0]
    for pid in keys:
        os.kill(pid, signal.SIGSTOP)

    def begin():
        from_server, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        half = trusting().wrap_bio(from_server, to_server)
        try:
            half.do_handshake()
        except ssl.SSLWantReadError:
            pass
        s = socket.create_connection((mx.address, port))
        s.sendall(to_server.read())
        return s, half, from_server, to_server
    crowd = [begin()[0] for _ in range(1030)]
    s, tls, from_server, to_server = begin()
    ok(wait_for(lambda: len(os.listdir(f"/proc/{smtpd}/fd")) > 1031, 30), "all have begun")
    time.sleep(1)
    for c in crowd:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    ok(wait_for(lambda: len(os.listdir(f"/proc/{smtpd}/fd")) < 100, 30), "all but one are gone")
    for pid in keys:
        os.kill(pid, signal.SIGCONT)
    s.settimeout(60)
    done = False
    while not done and (got := s.recv(65536)):
        from_server.write(got)
        try:
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        s.sendall(to_server.read())
    ok(done, "it is served")


def t_many_at_once():
    """Many handshakes in flight in one process, with two processes of keys."""
    ca = certificates()
    mx = Postern(certificates=ca.issue("rsa", "rsa", "mx.test"), smtpd_processes=1, keys_processes=2)
    same(len(mx.pids("keys")), 2, "two keys")
    socks = []
    for i in range(60):
        s = Smtp(mx.address, mx.port)
        s.cmd("EHLO client.test")
        s.cmd("STARTTLS")
        s.sock.setblocking(False)
        socks.append(trusting().wrap_socket(s.sock, do_handshake_on_connect=False, server_hostname="mx.test"))
        s.file.close()
    todo = list(socks)

    def step():
        for s in list(todo):
            try:
                s.do_handshake()
                todo.remove(s)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        return not todo
    ok(wait_for(step, 30), f"{len(socks)} handshakes at once are done", len(todo))
    same({s.version() for s in socks}, {"TLSv1.3"}, "all of them")
    for s in socks:
        s.close()


if __name__ == "__main__":
    main(t_self_signed, t_names, t_tickets, t_changed_files, t_client_certificates, t_attacks, t_no_key_in_smtpd, t_keys_ends, t_room_again, t_many_at_once)
