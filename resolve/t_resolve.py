#!/usr/bin/env python3
"""The real resolve in its cage, the tests' DNS server, and we play dispatch."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.environ.get("srcdir", "."), "tests"))
from dns import DNS  # noqa: E402
from harness import main, ok, same  # noqa: E402
from play import Program  # noqa: E402

ZONE = """
two.test MX 20 b.two.test
two.test MX 10 a.two.test
a.two.test A 192.0.2.1
a.two.test AAAA 2001:db8::1
b.two.test A 192.0.2.2
implicit.test A 192.0.2.3
null.test MX 0 .
alias.test CNAME two.test
target.test MX 5 www.target.test
www.target.test CNAME a.two.test
empty.test TXT "nothing else"
noaddr.test MX 10 gone.noaddr.test
fail.test SERVFAIL
half.test MX 10 a.two.test
half.test MX 5 fail.test
mute.test TIMEOUT
big.test TRUNCATE
big.test MX 10 a.two.test
bare.test A 0.0.0.0
"""


def ask(peer, tag, domain, mx=1, timeout=25):
    peer.send("host_query", tag=tag, domain=domain, mx=mx)
    messages = peer.until("host_answer", timeout)
    hosts = ["%d %s %s" % (m["preference"], m["name"].decode(), m["ip"].hex()) for n, m in messages if n == "host"]
    end = messages[-1][1]
    d = end["detail"]
    return hosts, "%d.%d.%d" % (d // 1000000, d // 1000 % 1000, d % 1000), end


def expect(peer, domain, hosts, detail, text="", mx=1):
    got, code, end = ask(peer, hash(domain) & 0xffff, domain, mx)
    same((got, code), (hosts, detail), domain)
    if text:
        ok(text in end["text"].decode(), "%s says %r" % (domain, text), end["text"])
    return end


V4, V6 = "c0000201", "20010db8000000000000000000000001"


def answers():
    with DNS(ZONE) as dns, Program("resolve", "resolve", {"resolver": "127.0.0.1:%d" % dns.port}, root=False) as p:
        peer = p.wire("dispatch")
        both = ["10 a.two.test " + V6, "10 a.two.test " + V4, "20 b.two.test c0000202"]
        end = expect(peer, "two.test", both, "2.0.0")
        ok(0 < end["ttl"] <= 60, "the ttl is that of the records", end)
        expect(peer, "implicit.test", ["0 implicit.test c0000203"], "2.0.0")
        expect(peer, "a.two.test", ["0 a.two.test " + V6, "0 a.two.test " + V4], "2.0.0", mx=0)
        expect(peer, "null.test", [], "5.1.10", "null MX")
        expect(peer, "alias.test", both, "2.0.0")
        expect(peer, "target.test", ["5 www.target.test " + V6, "5 www.target.test " + V4], "2.0.0")
        expect(peer, "nowhere.test", [], "5.1.2", "does not exist")
        expect(peer, "empty.test", [], "5.4.4", "neither")
        expect(peer, "noaddr.test", [], "5.4.4", "none of them has an address")
        expect(peer, "bare.test", [], "5.4.4")
        expect(peer, "fail.test", [], "4.4.3", "asked 127.0.0.1@%d" % dns.port)
        expect(peer, "half.test", ["10 a.two.test " + V6, "10 a.two.test " + V4], "2.0.0")
        expect(peer, "big.test", ["10 a.two.test " + V6, "10 a.two.test " + V4], "2.0.0")
        ok(("big.test", "MX", "tcp") in dns.queries, "what does not fit is asked by TCP")
        expect(peer, "[192.0.2.9]", ["0 [192.0.2.9] c0000209"], "2.0.0")
        expect(peer, "not a domain", [], "5.1.2")
        expect(peer, "", [], "5.1.2")
        before = len(dns.queries)
        expect(peer, "two.test", both, "2.0.0")
        same(len(dns.queries), before, "the second time comes from the cache")
        expect(peer, "mute.test", [], "4.4.3")
        many(peer)
        same(p.stop(), 0, "stops with 0")
        ok("trouble" not in p.lines(), "nothing troubling in the log", p.lines())


def many(peer):
    """Side by side, and one dispatch that leaves in the middle."""
    for tag in range(300):
        peer.send("host_query", tag=tag, domain="n%d.implicit.test" % tag if tag % 2 else "two.test", mx=1)
    done = set()
    while len(done) < 300:
        name, m = peer.next(20)
        if name is None:
            break
        if name == "host_answer":
            done.add(m["tag"])
    same(len(done), 300, "300 questions at the same time")


def other_dispatch():
    with DNS(ZONE) as dns, Program("resolve", "resolve", {"resolver": "127.0.0.1:%d" % dns.port}, root=False) as p:
        peer = p.wire("dispatch")
        peer.send("host_query", tag=1, domain="mute.test", mx=1)
        peer.close()
        peer = p.wire("dispatch")
        expect(peer, "implicit.test", ["0 implicit.test c0000203"], "2.0.0")
        same(p.stop(), 0, "stops with 0 while a question is open")


def server_comes_back():
    """The name server is away: later, and it is asked again when it is back."""
    dns = DNS(ZONE).start()
    with Program("resolve", "resolve", {"resolver": "127.0.0.1:%d" % dns.port}, root=False) as p:
        peer = p.wire("dispatch")
        expect(peer, "implicit.test", ["0 implicit.test c0000203"], "2.0.0")
        dns.stop()
        begun = time.monotonic()
        for i in range(2):
            expect(peer, "n%d.two.test" % i, [], "4.4.3")
        ok(time.monotonic() - begun < 65, "it is not waited for without end", time.monotonic() - begun)
        back = DNS(ZONE, port=dns.port).start()
        begun = time.monotonic()
        while time.monotonic() - begun < 30 and ask(peer, 9, "two.test")[1] != "2.0.0":
            time.sleep(0.5)
        same(ask(peer, 9, "two.test")[1], "2.0.0", "answers again")
        back.stop()


if __name__ == "__main__":
    main(answers, other_dispatch, server_comes_back)
