#!/usr/bin/env python3
"""PROXY headers from a listed upstream: the client that it names is the client everywhere."""
import json
import select

from harness import *

PLACES = [os.environ.get("POSTERN_SHARED"), SRC / "../shared", SRC / "../../shared"]


def dial(mx, source="127.0.0.1"):
    s = Smtp.__new__(Smtp)
    s.sock = socket.create_connection((mx.address, mx.port), 30, (source, 0))
    s.file = s.sock.makefile("rb")
    return s


def rest(s):
    """All that is said until the end; a reset, because it did not read us, is an end too."""
    try:
        return s.file.read()
    except ConnectionResetError:
        return b""


def v2(source, dest, sport=40000, dport=25, command=1, tlv=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, dest) + sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + tlv
    return (b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, 0x21 if family == socket.AF_INET6 else 0x11])
            + len(body).to_bytes(2, "big") + body)


def t_vectors():
    """Each vector of ../shared: greeted as the client it names, or closed without a word."""
    found = [f for f in (pathlib.Path(p) / "vectors/proxy/proxy.json" for p in PLACES if p) if f.exists()]
    if not found:
        ok(True, "no vectors here # SKIP set POSTERN_SHARED")
        return
    mx = Postern(proxy_networks="127.0.0.0/8", smtpd_processes=1, limit_connections="0")
    for case in json.loads(found[0].read_text())["cases"]:
        s = dial(mx)
        s.raw(bytes.fromhex(case["hex"]))
        if not case["ok"]:
            same(rest(s), b"", f"{case['name']}: closed without a reply")
            continue
        same(s.reply()[0], 220, f"{case['name']}: greeted")
        want = case["source"] or "127.0.0.1"
        s.cmd("QUIT")
        ok(wait_for(lambda: any(e["client"] == want for e in mx.events("disconnect")[-1:]), 5), f"as {want}", mx.events("disconnect")[-1:])


def t_client_everywhere():
    """Received, log, relay decision and limits are of the client, not of the upstream."""
    mx = Postern(proxy_networks="127.0.0.1", relay_networks="127.0.0.0/8 192.0.2.0/24", limit_connections="1", smtpd_processes=2)
    s = dial(mx)
    s.raw(v2("203.0.113.7", "192.0.2.25"))
    same(s.reply()[0], 220, "a stranger by way of the upstream")
    s.cmd("EHLO client.test")
    same(s.message("a@client.test", ["alice@mx.test"], message())[0], 250, "sends mail to us")
    ok(b"([203.0.113.7])" in mx.wait_mail("alice")[0], "Received names the client", mx.maildir("alice"))
    ok(mx.wait_event("received", client="203.0.113.7"), "the log too")
    s.cmd("MAIL FROM:<a@client.test>")
    ok(s.cmd("RCPT TO:<x@elsewhere.test>")[0] in (550, 554), "it may not relay, though its upstream may")
    t = dial(mx)
    t.raw("PROXY TCP4 203.0.113.7 192.0.2.25 1 25\r\n")
    r = t.reply()
    ok(r[0] == 421 and "limit-connections" in r[1], "limits count the client", r)
    t = dial(mx)
    t.raw(v2("192.0.2.9", "192.0.2.25", tlv=b"\x04\0\3abc\x05\0\0"))
    same(t.reply()[0], 220, "another one, with TLVs")
    t.cmd("EHLO client.test")
    t.cmd("MAIL FROM:<a@client.test>")
    same(t.cmd("RCPT TO:<x@elsewhere.test>")[0], 250, "of a relay network")
    t = dial(mx)
    t.raw(v2("2001:db8::7", "2001:db8::25"))
    same(t.reply()[0], 220, "IPv6")
    t.cmd("EHLO client.test")
    same(t.message("a@client.test", ["bob@mx.test"], message())[0], 250, "is taken")
    ok(b"([IPv6:2001:db8::7])" in mx.wait_mail("bob")[0], "and named")


def t_only_listed():
    """Who is not listed cannot say for whom it speaks; who is listed must."""
    mx = Postern(proxy_networks="127.0.0.1", relay_networks="none", smtpd_processes=1)
    s = dial(mx, "127.0.0.2")
    same(s.reply()[0], 220, "not listed: greeted at once")
    same(s.cmd("PROXY TCP4 203.0.113.7 192.0.2.25 1 25")[0], 500, "PROXY is no command")
    s = dial(mx)
    s.raw("EHLO client.test\r\n")
    same(rest(s), b"", "listed, without a header: closed without a reply")
    ok(mx.wait_event("proxy_refused", client="127.0.0.1"), "and logged", mx.log()[-400:])
    s = dial(mx)
    header = v2("203.0.113.7", "192.0.2.25")
    for i in range(len(header)):
        s.raw(header[i:i + 1])
        if i % 7 == 0:
            time.sleep(0.01)
    same(s.reply()[0], 220, "octet by octet")
    s = dial(mx)
    s.raw(header + b"EHLO client.test\r\nNOOP\r\n")
    same([s.reply()[0] for _ in range(3)], [220, 250, 250], "with commands in the same packet: they are the client's")
    s = dial(mx)
    s.raw("PROXY TCP4 203.")
    ok(not select.select([s.sock], [], [], 0.5)[0], "half a header: nothing is said")
    s.sock.shutdown(socket.SHUT_WR)
    same(rest(s), b"", "and nothing at its end")


if __name__ == "__main__":
    main(t_vectors, t_client_everywhere, t_only_listed)
