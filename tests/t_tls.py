#!/usr/bin/env python3
"""TLS at smtpd, from outside: STARTTLS and TLS from the start, certificates by name, tickets, changed files, client
certificates, and what an attacker would try at each of them."""
import ssl

from harness import *
from tlstools import *


def starttls(mx, context=None, name="mx.test", port=None, ehlo=True):
    """A session under TLS, begun with STARTTLS."""
    s = Smtp(mx.address, port or mx.port)
    s.cmd("EHLO client.test")
    r = s.cmd("STARTTLS")
    if r[0] != 220:
        raise RuntimeError(f"STARTTLS: {r}")
    secure(s, context or trusting(), name)
    if ehlo:
        s.ehlo = s.cmd("EHLO client.test")
    return s


def secure(s, context, name):
    s.file.close()
    s.sock = context.wrap_socket(s.sock, server_hostname=name)
    s.file = s.sock.makefile("rb")


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
    secure(s, context or trusting(), name)
    s.greeting = s.reply()
    return s


if __name__ == "__main__":
    main(t_self_signed)
