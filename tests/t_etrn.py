#!/usr/bin/env python3
"""ETRN (RFC 1985) from outside: who may ask, for which domains, and that the mail comes."""
from harness import *
from sink import Sink


def t_etrn():
    """Mail waits for a host that is away; it comes back and asks."""
    port = free_port()
    mx = Postern(retry_first="1h", retry_max="2h", etrn_networks="127.0.0.1", etrn_domains="far.test .below.test")
    mx.routes("".join(f"{d} smtp:[127.0.0.1]:{port}\n" for d in ("far.test", "a.below.test", "other.test")))
    for domain in ("far.test", "a.below.test", "other.test"):
        same(mx.send("a@b.test", [f"x@{domain}"], message(subject=domain))[0], 250, f"mail for {domain}")
    ok(mx.wait_event("deferred", count=3), "waits for the host, which is away")
    host = Sink(port=port)
    with mx.smtp() as s:
        ok("ETRN" in s.cmd("EHLO far.test")[1].split("\n"), "ETRN is offered")
        same(s.cmd("ETRN other.test")[0], 459, "not for this domain")
        same(s.cmd("ETRN #queue")[0], 459, "no named queues")
        same(s.cmd("ETRN not_a domain")[0], 501, "nonsense")
        same(s.cmd("ETRN @far.test")[0], 459, "not for all below it")
        s.cmd("MAIL FROM:<a@b.test>")
        same(s.cmd("ETRN far.test")[0], 503, "not within a transaction")
        s.cmd("RSET")
        same(s.cmd("ETRN FAR.test"), (250, "2.0.0 Queuing for node far.test started"), "asks")
        ok(mx.wait_event("delivered", to="x@far.test"), "and the mail comes")
        same(mx.events("delivered", to="x@other.test"), [], "that of others does not")
        same(s.cmd("ETRN @below.test")[0], 250, "all below a domain")
        ok(mx.wait_event("delivered", to="x@a.below.test"), "comes too")
        codes = [s.cmd("ETRN far.test")[0] for _ in range(12)]
        ok(codes[0] == 250 and codes[-1] == 458, "a few a minute are enough", codes)
    mx.write_config(etrn_networks="192.0.2.0/24")
    mx.proc.send_signal(signal.SIGHUP)
    mx.wait_event("config_loaded", generation=2)
    with mx.smtp() as s:
        wait_for(lambda: "ETRN" not in s.cmd("EHLO far.test")[1].split("\n"))
        same(s.cmd("ETRN far.test")[0], 459, "others may not ask")


main(t_etrn)
