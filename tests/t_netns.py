#!/usr/bin/env python3
"""Three hosts in network namespaces, joined by a bridge; mail finds its way by the MX records of a DNS server."""
from harness import *

HOSTS = {"a": "10.77.0.1", "b": "10.77.0.2", "c": "10.77.0.3"}


def sh(*argv):
    subprocess.run([str(a) for a in argv], check=True, capture_output=True)


def network():
    tag = f"pt{os.getpid()}"
    names = {h: f"{tag}{h}" for h in HOSTS}
    hub = f"{tag}hub"
    for ns in [hub, *names.values()]:
        sh("ip", "netns", "add", ns)
        on_cleanup(lambda ns=ns: sh("ip", "netns", "del", ns))
        sh("ip", "-n", ns, "link", "set", "lo", "up")
    sh("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
    sh("ip", "-n", hub, "link", "set", "br0", "up")
    for h, ns in names.items():
        sh("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{h}", "netns", hub)
        sh("ip", "-n", hub, "link", "set", f"p{h}", "master", "br0", "up")
        sh("ip", "-n", ns, "addr", "add", f"{HOSTS[h]}/24", "dev", "eth0")
        sh("ip", "-n", ns, "link", "set", "eth0", "up")
    return names


def dns_server(ns, directory, zone):
    (directory / "zone").write_text(zone)
    p = subprocess.Popen(["ip", "netns", "exec", ns, sys.executable, str(SRC / "tests/dns.py"), "--host", "127.0.0.1", "--port", "5353",
                          str(directory / "zone")], stdout=open(directory / "dns.log", "ab"), stderr=subprocess.STDOUT)
    on_cleanup(lambda: (p.kill(), p.wait()))
    time.sleep(0.5)


ZONE = f"""
a.test MX 10 mx.a.test
mx.a.test A {HOSTS['a']}
b.test MX 10 mx.b.test
mx.b.test A {HOSTS['b']}
# c: the better exchanger is down; the third is b, its backup
c.test MX 5 dead.c.test
c.test MX 10 mx.c.test
c.test MX 20 mx.b.test
dead.c.test A 10.77.0.99
mx.c.test A {HOSTS['c']}
# no MX: the address itself (RFC 5321 5.1)
plain.test A {HOSTS['c']}
# null MX (RFC 7505)
nomail.test MX 0 .
# a itself, which does not know it
loop.test MX 10 mx.a.test
broken.test SERVFAIL
"""


def t_three_hosts():
    """a sends to b and c by MX; c's best exchanger is dead; a domain without MX; null MX; a loop; an unknown domain."""
    names = network()
    common = {"relay_networks": "127.0.0.0/8", "resolver": "127.0.0.1:5353", "port": 25, "connect_timeout": "1s"}
    hosts = {h: Postern(h, users=(f"user{h}",), netns=names[h], address=HOSTS[h], start=False, hostname=f"mx.{h}.test", origin=f"{h}.test",
                        local_domains=f"{h}.test" + (" plain.test" if h == "c" else ""), relay_domains="c.test" if h == "b" else None, **common)
             for h in HOSTS}
    for h in HOSTS:
        dns_server(names[h], hosts[h].dir, ZONE)
        hosts[h].write_config(listen=f"{HOSTS[h]}:25 127.0.0.1:25")
        hosts[h].start()
    a = hosts["a"]
    mail = (b"From: <usera@a.test>\nSubject: by mx\n\nbody\n")
    r = a.tool("-i", "-f", "usera@a.test", "userb@b.test", "userc@c.test", "userc@plain.test", "x@nomail.test", "x@loop.test",
               "x@nosuch.test", "x@broken.test", program="submit/sendmail", stdin=mail)
    same(r.returncode, 0, "sendmail takes it for seven domains")
    same(len(hosts["b"].wait_mail("userb", 1, 30)), 1, "b by its MX")
    same(len(hosts["c"].wait_mail("userc", 2, 30)), 2, "c by its second exchanger, and by address without an MX")
    bounce = a.wait_mail("usera", 1, 30)
    text = b"".join(bounce).decode(errors="replace")
    for rcpt in ("x@nomail.test", "x@loop.test", "x@nosuch.test"):
        ok(rcpt in text, f"{rcpt} is returned to the sender", text, a.log()[-2500:])
    ok(wait_for(lambda: any("x@broken.test" in e["to"] for e in a.events("deferred")), 40), "a domain whose server fails waits", a.log()[-1500:])
    ok("x@broken.test" not in text, "and is not returned")
    ok("5.4.6" in text, "the loop is named as such", text)
    # c is away: b keeps its mail as a backup exchanger, and delivers when c is back
    hosts["c"].stop()
    a.tool("-i", "-f", "usera@a.test", "userc@c.test", program="submit/sendmail", stdin=mail.replace(b"by mx", b"by backup"))
    ok(wait_for(lambda: hosts["b"].events("received", **{"from": "usera@a.test"})[1:], 40), "b takes c's mail while c is away", a.log()[-1500:])
    hosts["c"].start()
    got = hosts["c"].wait_mail("userc", 3, 60)
    same(len(got), 3, "and hands it over when c is back")
    ok(any(b"by backup" in m and m.count(b"Received: ") >= 3 for m in got), "with a trace of all three hosts")


if __name__ == "__main__":
    if not ROOT:
        skip_all("needs root: it makes network namespaces")
    main(t_three_hosts)
