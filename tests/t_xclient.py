#!/usr/bin/env python3
"""XCLIENT and XFORWARD from outside: who may, whose session it is then, and what the log says."""
from harness import *


def t_xclient():
    """A listed proxy speaks for clients: relaying, Received and log are theirs."""
    mx = Postern(xclient_networks="127.0.0.1", relay_networks="198.51.100.0/24")
    with mx.smtp() as s:
        ok("XCLIENT NAME" in s.cmd("EHLO proxy.test")[1] and "XFORWARD" not in s.cmd("EHLO proxy.test")[1], "is offered to it alone")
        s.cmd("MAIL FROM:<a@b.test>")
        same(s.cmd("RCPT TO:<x@far.test>")[0], 554, "the proxy itself may not relay")
        same(s.cmd("XCLIENT ADDR=198.51.100.7")[0], 503, "not within a transaction")
        s.cmd("RSET")
        code, text = s.cmd("XCLIENT ADDR=198.51.100.7 NAME=mx+2Da.test LOGIN=[UNAVAILABLE]")
        same((code, text), (220, "mx.test ESMTP Postern"), "the greeting comes again")
        same(s.cmd("MAIL FROM:<a@b.test>")[0], 503, "and HELO is forgotten")
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@b.test>")
        same(s.cmd("RCPT TO:<x@far.test>")[0], 250, "its client may relay")
        s.cmd("RSET")
        same(s.message("a@b.test", ["alice@mx.test"], message())[0], 250, "mail of the client")
        got = mx.wait_mail("alice")
        ok(got and b"from client.test (mx-a.test [198.51.100.7])" in got[0], "Received names it", got)
        ok(mx.wait_event("received", client="198.51.100.7"), "and the log")
        same(s.cmd("XCLIENT ADDR=300.1.1.1")[0], 501, "nonsense is refused")
        same(s.cmd("XCLIENT ADDR=203.0.113.1")[0], 220, "another client")
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@b.test>")
        same(s.cmd("RCPT TO:<x@far.test>")[0], 554, "who may not")


def t_unknown_address():
    """A client of whom nobody knows the address is a stranger, not one of this host's users."""
    mx = Postern(xclient_networks="127.0.0.1", relay_networks="198.51.100.0/24")
    for word in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        with mx.smtp() as s:
            s.cmd("EHLO proxy.test")
            same(s.cmd(f"XCLIENT ADDR={word}")[0], 220, f"ADDR={word}")
            s.cmd("EHLO client.test")
            s.cmd("MAIL FROM:<a@b.test>")
            same(s.cmd("RCPT TO:<x@far.test>")[0], 554, "it may not relay")
            same(s.cmd("RCPT TO:<alice@mx.test>")[0], 250, "mail for us is taken")
            s.cmd("DATA")
            s.raw(message() + b".\r\n")
            same(s.reply()[0], 250, "whole")
    ok(all(b"from client.test (unknown)" in m for m in mx.wait_mail("alice", 2)), "Received does not say that it was local", mx.maildir("alice"))


def t_starttls_forgets():
    """RFC 3207 4.2: what was told in the clear, maybe by somebody on the way, is not believed under TLS."""
    mx = Postern(xclient_networks="127.0.0.1", relay_networks="198.51.100.0/24")
    with mx.smtp() as s:
        s.cmd("EHLO proxy.test")
        same(s.cmd("XCLIENT ADDR=198.51.100.7 HELO=liar.test LOGIN=bob")[0], 220, "told in the clear")
        s.cmd("EHLO proxy.test")
        s.starttls()
        s.cmd("EHLO proxy.test")
        same(s.cmd("MAIL FROM:<a@b.test>")[0], 250, "a message under TLS")
        same(s.cmd("RCPT TO:<x@far.test>")[0], 554, "address and login are forgotten")
        s.cmd("RSET")
        same(s.message("a@b.test", ["alice@mx.test"], message())[0], 250, "mail for us")
        got = mx.wait_mail("alice")
        ok(got and b"from proxy.test ([127.0.0.1])" in got[0], "and so is the name", got)
        same(s.cmd("XCLIENT ADDR=198.51.100.7")[0], 220, "under TLS it may be told again")
        s.cmd("EHLO client.test")
        s.cmd("MAIL FROM:<a@b.test>")
        same(s.cmd("RCPT TO:<x@far.test>")[0], 250, "and is believed")


def t_limits():
    """What a client may have is counted for the client that was told of, not for the proxy."""
    mx = Postern(xclient_networks="127.0.0.1", limit_exempt="127.0.0.1", limit_messages="2/1h", limit_connections="1", smtpd_processes=1)

    def as_client(s, ip):
        s.cmd("EHLO proxy.test")
        r = s.cmd(f"XCLIENT ADDR={ip}")
        s.cmd("EHLO client.test")
        return r
    with mx.smtp() as s, mx.smtp() as t:
        same([s.send("a@b.test", ["alice@mx.test"], message())[0] for _ in range(3)], [250] * 3, "the proxy itself has no limits")
        same(as_client(s, "203.0.113.7")[0], 220, "a client")
        same([s.message("a@b.test", ["alice@mx.test"], message())[0] for _ in range(2)], [250] * 2, "its two messages")
        same(s.cmd("XCLIENT NAME=client.test")[0], 220, "more is told of the same client")
        s.cmd("EHLO client.test")
        r = s.message("a@b.test", ["alice@mx.test"], message())
        ok(r[0] == 450 and "limit-messages" in r[1], "the third is for later", r)
        r = as_client(t, "203.0.113.7")
        ok(r[0] == 421 and "limit-connections" in r[1], "and a second connection of it is too many", r)
        same(as_client(s, "198.51.100.9")[0], 220, "another client by the same connection")
        same(s.message("a@b.test", ["alice@mx.test"], message())[0], 250, "has its own")
    with mx.smtp() as s:
        same(as_client(s, "203.0.113.7")[0], 220, "whose connection has ended may come again")
        s.starttls()
        same([s.send("a@b.test", ["alice@mx.test"], message())[0] for _ in range(3)], [250] * 3, "STARTTLS makes it the proxy again")


def t_xforward():
    """A listed filter tells for the log; others may neither."""
    mx = Postern(xforward_networks="127.0.0.1")
    with mx.smtp() as s:
        text = s.cmd("EHLO filter.test")[1]
        ok("XFORWARD NAME" in text and "XCLIENT" not in text, "XFORWARD is offered", text)
        same(s.cmd("XCLIENT ADDR=198.51.100.7")[0], 550, "XCLIENT is not")
        same(s.cmd("XFORWARD NAME=c.test ADDR=198.51.100.7 HELO=c")[0], 250, "told")
        same(s.message("a@b.test", ["alice@mx.test"], message())[0], 250, "mail")
        got = mx.wait_mail("alice")
        ok(got and b"from filter.test ([127.0.0.1])" in got[0], "Received names the filter", got)
        e = mx.events("forwarded")
        ok(e and e[0]["text"] == "name=c.test addr=198.51.100.7 helo=c", "the log the client", e)


main(t_xclient, t_unknown_address, t_starttls_forgets, t_limits, t_xforward)
