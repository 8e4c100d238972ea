#!/usr/bin/env python3
"""Wrong configurations: one clear line with file, line, word and remedy, exit 78; a running instance keeps the old one."""
from harness import *

WRONG = [
    # line to add, words that the message must hold
    ("lisen = 127.0.0.1:2525", ["lisen", "listen"]),
    ("recipient-limit = many", ["recipient-limit", "many"]),
    ("recipient-limit = 5", ["recipient-limit", "5", "100"]),
    ("message-size-limit = 10X", ["message-size-limit", "10X"]),
    ("relay-networks = 127.0.0.1/33", ["relay-networks", "127.0.0.1/33"]),
    ("relay-networks = 192.0.2.1/24", ["relay-networks", "192.0.2.1/24"]),
    ("queue-lifetime = forever", ["queue-lifetime", "forever"]),
    ("allow-loopback-exchangers = maybe", ["allow-loopback-exchangers", "maybe", "yes"]),
    ("spool-directory = relative/path", ["spool-directory", "relative/path"]),
    ("resolver = 127.0.0.1", ["resolver", "127.0.0.1"]),
    ("mailbox = mailbix:/x", ["mailbox", "mailbix"]),
    ("just some words", ["just"]),
    ("hostname = mx.test", ["hostname"]),  # twice
]


def run(mx, config=None):
    return subprocess.run([BUILD / "supervise/posternd", "-f", "-c", str(config or mx.config)], capture_output=True, text=True, timeout=30)


def t_wrong_lines():
    """Each wrong setting is refused at start."""
    mx = Postern(start=False)
    good = mx.config.read_text()
    for line, words in WRONG:
        name = line.split(" =")[0]
        others = [x for x in good.splitlines() if name == "hostname" or not x.startswith(name + " = ")]
        mx.config.write_text("\n".join(others + [line]) + "\n")
        number = len(others) + 1
        r = run(mx)
        same(r.returncode, 78, f"'{line}' ends with EX_CONFIG")
        said = [x for x in r.stderr.splitlines() if x.strip()]
        ok(len(said) == 1 and f"{mx.config}:{number}" in said[0] and all(w in said[0] for w in words),
           f"'{line}' is answered by one line with place and words", r.stderr)
        c = mx.tool("check", str(mx.config))
        ok(c.returncode == 78 and f":{number}" in (c.stderr + c.stdout).decode(), f"postern check says the same of '{line}'", c.stdout, c.stderr)


def t_missing_file():
    """A configuration that is not there."""
    mx = Postern(start=False)
    r = run(mx, mx.dir / "nowhere.conf")
    same(r.returncode, 78, "ends with EX_CONFIG")
    ok("nowhere.conf" in r.stderr and len(r.stderr.splitlines()) == 1, "one line names the file", r.stderr)


def t_port_in_use():
    """A port that somebody else holds."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        mx = Postern(start=False, port=s.getsockname()[1])
        r = run(mx)
        same(r.returncode, 78, "ends with EX_CONFIG")
        lines = [x for x in r.stderr.splitlines() if x.strip()]
        ok(len(lines) == 1 and str(mx.port) in lines[0] and "in use" in lines[0], "one line names the port", r.stderr)


def t_two_instances():
    """The same run-directory twice is refused; two instances with their own are not."""
    a = Postern("a")
    b = Postern("b")
    same(a.send("x@c.test", "alice@a.test", message())[0], 250, "the first takes mail")
    same(b.send("x@c.test", "alice@b.test", message())[0], 250, "the second too")
    r = run(a)
    ok(r.returncode == 78 or r.returncode == 75, "the same instance a second time is refused", r.returncode, r.stderr)
    ok(len(r.stderr.splitlines()) == 1, "with one line", r.stderr)


def t_reload():
    """SIGHUP: a wrong file changes nothing, a good one is in force without a session being cut."""
    mx = Postern()
    good = mx.config.read_text()
    with mx.smtp() as s:
        s.cmd("EHLO c.test")
        pids = {p: mx.pids(p) for p in ROLES}
        mx.config.write_text(good + "nonsense = 1\n")
        mx.proc.send_signal(signal.SIGHUP)
        ok(mx.wait_event("config_kept"), "a wrong file is refused in the log", mx.log()[-800:])
        ok("nonsense" in mx.events("config_kept")[0]["why"], "and named", mx.events("config_kept"))
        same({p: mx.pids(p) for p in ROLES}, pids, "every process goes on")
        same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "mail is taken")
        port = free_port()
        mx.write_config(message_size_limit="2048", listen=f"127.0.0.1:{mx.port} 127.0.0.1:{port}", local_domains="extra.test")
        mx.proc.send_signal(signal.SIGHUP)
        ok(mx.wait_event("config_loaded", count=2) or mx.wait_event("config_loaded", count=1), "a good file is taken")
        wait_for(lambda: "2048" in mx_caps(mx), 10)
        ok("SIZE 2048" in mx_caps(mx), "its size limit is announced", mx_caps(mx))
        with Smtp("127.0.0.1", port) as s2:
            same(s2.greeting[0], 220, "its new port answers")
        same(mx.send("a@c.test", "alice@extra.test", message())[0], 250, "its new domain is local")
        same(s.cmd("NOOP")[0], 250, "a session from before goes on")


def mx_caps(mx):
    with mx.smtp() as s:
        return s.cmd("EHLO c.test")[1].split("\n")


if __name__ == "__main__":
    main(t_wrong_lines, t_missing_file, t_port_in_use, t_two_instances, t_reload)
