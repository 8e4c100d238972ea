#!/usr/bin/env python3
"""What TLS means to envelopes and rules, from outside: REQUIRETLS (RFC 8689), TLS-Required, rules on tls."""
from harness import *
from sink import Sink
from t_tls import starttls
from tlstools import *


def t_requiretls():
    """Offered under TLS only; delivered here; never sent to another host in the clear, but returned, header only."""
    far = Sink()
    mx = Postern()
    mx.routes(f"far.test smtp:[127.0.0.1]:{far.port}\n")
    with mx.smtp() as s:
        ok("REQUIRETLS" not in s.cmd("EHLO client.test")[1].split("\n"), "not offered in the clear")
        same(s.cmd("MAIL FROM:<bob@mx.test> REQUIRETLS")[0], 555, "nor taken")
    with starttls(mx) as s:
        ok("REQUIRETLS" in s.ehlo[1].split("\n"), "offered under TLS")
        same(s.cmd("MAIL FROM:<bob@mx.test> REQUIRETLS=1")[0], 501, "it has no value")
        same(s.message("bob@mx.test", ["alice@mx.test"], message(subject="here"), " REQUIRETLS")[0], 250, "a message for here")
        same(len(mx.wait_mail("alice")), 1, "is delivered")
        body = message(subject="secret", body="the very body\r\n")
        same(s.message("bob@mx.test", ["x@far.test"], body, " REQUIRETLS RET=FULL")[0], 250, "one for another host")
        got = mx.wait_mail("bob")
        report = got[0].decode() if got else ""
        ok("Status: 5.7.10" in report and "Action: failed" in report, "is returned with 5.7.10", report)
        ok("Subject: secret" in report and "the very body" not in report, "with its header only, whatever RET said")
        same(far.messages, [], "the host has seen nothing of it")
        control = mx.events("bounced", to="x@far.test")
        ok(control, "and the log says so", mx.log()[-1500:])
        same(s.message("", ["x@far.test"], message(subject="a report"), " REQUIRETLS")[0], 250, "a report that asks for it")
        ok(wait_for(lambda: far.messages), "is not held back for it (section 5)")
        same(s.message("bob@mx.test", ["x@far.test"], message(subject="open", **{"TLS-Required": "No"}))[0], 250,
             "a message that says TLS-Required: No")
        ok(wait_for(lambda: len(far.messages) == 2), "goes its way")


def t_rules():
    """Rules that ask for TLS, and for its version."""
    mx = Postern(rule=["mail sender=*@partner.test tls=off reject 530 5.7.0 \"Use STARTTLS\"", "mail tls=1.3 add X-TLS: 1.3"])
    with mx.smtp() as s:
        s.cmd("EHLO client.test")
        code, text = s.cmd("MAIL FROM:<a@partner.test>")
        ok(code == 530 and text.startswith("5.7.0 Use STARTTLS [P"), "refused in the clear", text)
    with starttls(mx) as s:
        same(s.message("a@partner.test", ["alice@mx.test"], message())[0], 250, "taken under TLS")
    got = mx.wait_mail("alice")
    ok(got and b"\nX-TLS: 1.3" in got[0], "and marked", got)


main(t_requiretls, t_rules)
