#!/usr/bin/env python3
"""posternd: the word to systemd, programs that die, changes while running, the background, and life without root."""
from harness import *

POSTERND = BUILD / "supervise/posternd"


def notify_socket(directory):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(directory / "notify")
    s.bind(path)
    s.settimeout(20)
    on_cleanup(s.close)
    return s, path


def hear(s, word, seconds=20):
    """Datagrams until one holds the word; gives all of them."""
    heard, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            heard.append(s.recv(4096).decode())
        except socket.timeout:
            break
        if word in heard[-1]:
            break
    return heard


def t_notify():
    """sd_notify: READY, WATCHDOG, RELOADING with its time, READY again, STOPPING."""
    mx = Postern(start=False)
    s, path = notify_socket(mx.dir)
    os.environ.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
    try:
        mx.start()
    finally:
        del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
    heard = hear(s, "READY=1")
    ok(heard and heard[-1].startswith("READY=1"), "READY=1 when all programs are at work", heard)
    ok("WATCHDOG=1" in hear(s, "WATCHDOG=1", 5)[-1], "the watchdog is fed")
    mx.proc.send_signal(signal.SIGHUP)
    heard = hear(s, "RELOADING=1")
    ok("MONOTONIC_USEC=" in heard[-1], "RELOADING=1 with its time", heard)
    ok("READY=1" in hear(s, "READY=1")[-1], "then READY=1 again")
    mx.proc.send_signal(signal.SIGTERM)
    ok("STOPPING=1" in hear(s, "STOPPING=1")[-1], "STOPPING=1")
    same(mx.proc.wait(20), 0, "it ends with status 0")
    env = [pathlib.Path(f"/proc/{p}/environ").read_text() for p in mx.family()]
    ok(not any("NOTIFY" in e for e in env), "programs do not see the socket")


def starts(mx, program):
    return [line for line in mx.log().splitlines() if f": started program={program} " in line]


def t_restarts():
    """A program that dies is started again, later each time, and the log says why it died."""
    mx = Postern()
    for n in range(3):
        pid = wait_for(lambda: mx.pids("lookup"))[0]
        os.kill(pid, signal.SIGSYS if n == 0 else signal.SIGKILL)
        ok(wait_for(lambda: len(starts(mx, "lookup")) == n + 2), f"lookup is back after death {n + 1}", starts(mx, "lookup"))
    ends = [l for l in mx.log().splitlines() if ": ended program=lookup" in l]
    same([re.search(r"again_ms=(\d+)", l).group(1) for l in ends], ["100", "200", "400"], "each wait is twice the one before")
    ok("SIGSYS" in ends[0] and "cage" in ends[0], "the signal is named, and explained", ends[0])
    same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "mail is taken after it")


def t_counts():
    """SIGHUP with other numbers of processes, and with a setting that must not change."""
    mx = Postern(smtpd_processes="1", remote_processes="1")
    same((len(mx.pids("smtpd")), len(mx.pids("deliver-smtp"))), (1, 1), "one and one")
    mx.write_config(smtpd_processes="3", remote_processes="2")
    mx.proc.send_signal(signal.SIGHUP)
    wait_for(lambda: len(mx.pids("smtpd")) == 3 and len(mx.pids("deliver-smtp")) == 2)
    same((len(mx.pids("smtpd")), len(mx.pids("deliver-smtp"))), (3, 2), "three and two")
    mx.write_config(smtpd_processes="1")
    mx.proc.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: len(mx.pids("smtpd")) == 1), "one again", mx.pids("smtpd"))
    same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "mail is taken")
    mx.write_config(run_directory=str(mx.dir / "other"))
    mx.proc.send_signal(signal.SIGHUP)
    ok(mx.wait_event("config_kept"), "another run-directory is refused")
    ok("run-directory" in mx.events("config_kept")[0]["why"] and "restart" in mx.events("config_kept")[0]["why"], "with the remedy", mx.events("config_kept"))


def t_changed_spool():
    """SIGHUP with another spool directory: queue is started again and works in the new one."""
    mx = Postern()
    old = mx.pids("queue")
    mx.write_config(spool_directory=str(mx.dir / "queue2"))
    mx.proc.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: mx.pids("queue") and mx.pids("queue") != old), "queue is another process")
    ok(wait_for(lambda: mx.send("a@c.test", "alice@mx.test", message())[0] == 250), "mail is taken")
    ok((mx.dir / "queue2").is_dir() and any((mx.dir / "queue2").iterdir()), "the new directory is in use")


def t_unsafe_directories():
    """A spool that others may write, or that belongs to somebody else, is refused."""
    mx = Postern(start=False)
    (mx.dir / "queue").mkdir(mode=0o777)
    (mx.dir / "queue").chmod(0o777)
    if ROOT:
        os.chown(mx.dir / "queue", mx.uid_of("queue"), mx.uid_of("queue"))
    for what, words in (("others may write", "can be written by others"), ("belongs to another", "belongs to UID")):
        r = subprocess.run([POSTERND, "-f", "-c", mx.config], capture_output=True, text=True, timeout=30)
        same(r.returncode, 78, f"a spool that {what}: exit 78")
        ok(words in r.stderr and len(r.stderr.splitlines()) == 1 and f"{mx.config}:4: spool-directory" in r.stderr, "one line says why", r.stderr)
        if not ROOT:
            break
        (mx.dir / "queue").chmod(0o700)
        os.chown(mx.dir / "queue", 4711, 4711)


def t_background():
    """Without -f it returns when all programs are at work, and stops by the pid in its file."""
    mx = Postern(start=False)
    r = subprocess.run([POSTERND, "-c", mx.config], capture_output=True, text=True, timeout=60)
    pid = int((mx.dir / "run/posternd.pid").read_text())
    on_cleanup(lambda: _alive_kill(pid))
    same((r.returncode, r.stdout + r.stderr), (0, ""), "status 0 and no word")
    same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "mail is taken at once")
    os.kill(pid, signal.SIGTERM)
    ok(wait_for(lambda: mx.events("suite_stopped")), "it stops in order")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    same((mx.dir / "run/posternd.pid").read_text(), "", "the pid file is empty then")
    (mx.dir / "etc/postern.conf").write_text(mx.config.read_text().replace(f"program-directory = {BUILD}", f"program-directory = {mx.dir}"))
    r = subprocess.run([POSTERND, "-c", mx.config], capture_output=True, text=True, timeout=60)
    same(r.returncode, 69, "programs that are not there: status 69")
    ok(any("cannot be run" in e["why"] for e in mx.events("ended")), "and the log says which", mx.events("ended")[:1])


def _alive_kill(pid):
    try:
        if "posternd" in pathlib.Path(f"/proc/{pid}/comm").read_text():
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass


def t_killed():
    """kill -9 of posternd: the programs end by themselves, and the next posternd takes over at once."""
    mx = Postern()
    same(mx.send("a@c.test", "nobody-here@mx.test", message())[0] // 100, 5, "it answers")
    family = mx.family()
    mx.proc.kill()
    mx.proc.wait()
    mx.start()
    same(mx.send("a@c.test", "alice@mx.test", message())[0], 250, "the next one takes mail")
    same(len(mx.wait_mail("alice")), 1, "and delivers it")
    ok(wait_for(lambda: not any(os.path.exists(f"/proc/{p}") for p in family)), "nobody of the first is left")


def t_without_root():
    """As an ordinary user: the same suite, caged as far as the kernel lets a user."""
    if not ROOT:
        return
    uid = 65500
    try:
        subprocess.run([BUILD / "smtpd/smtpd", "--version"], user=uid, group=uid, stdout=subprocess.DEVNULL, check=True)
    except PermissionError:
        ok(True, "as an ordinary user # SKIP the build tree lies where he cannot go")
        return
    d = scratch()
    os.chown(d, uid, uid)
    (d / "home").mkdir()
    os.chown(d / "home", uid, uid)
    (d / "passwd").write_text(f"me:x:{uid}:{uid}::{d}/home:/bin/sh\nmail:x:{uid}:{uid}::/:/bin/sh\n")
    port = free_port()
    (d / "conf").write_text(f"""hostname = me.test
listen = 127.0.0.1:{port}
log = file:{d}/log
spool-directory = {d}/spool
drop-directory = {d}/drop
state-directory = {d}/state
run-directory = {d}/run
program-directory = {BUILD}
passwd-file = {d}/passwd
alias-file = {d}/aliases
route-file = {d}/routes
mailbox = maildir:%h/Maildir
""")
    p = subprocess.Popen([POSTERND, "-f", "-c", d / "conf"], user=uid, group=uid, extra_groups=[], start_new_session=True)
    on_cleanup(lambda: (p.kill(), p.wait()))
    read = lambda: (d / "log").read_text() if (d / "log").exists() else ""
    ok(wait_for(lambda: "suite_started" in read(), 30), "all programs are at work", read()[-1500:])
    notes = set(re.findall(r'started program=\S+ .* note=("[^"]*")', read()))
    same(notes, {'"not root: own user, own root directory and own network"'}, "each says what was left out")
    for pid in descendants(p.pid):
        st = pathlib.Path(f"/proc/{pid}/status").read_text()
        ok("Seccomp:\t2" in st and "NoNewPrivs:\t1" in st, f"{comm(pid)} is filtered, without new privileges")
    with Smtp("127.0.0.1", port) as s:
        same(s.send("a@c.test", ["me@me.test"], message())[0], 250, "mail is taken")
    box = d / "home/Maildir/new"
    ok(wait_for(lambda: box.is_dir() and list(box.iterdir())), "and stored", read()[-1500:])
    p.terminate()
    same(p.wait(20), 0, "it stops in order")


TRAITOR = """#!%s
import os, sys, socket, time
sys.path.insert(0, "%s/tests")
os.environ.update(srcdir="%s", builddir="%s")
import play
me = socket.socket(fileno=3)
me.setblocking(True)
ch = play.Channel(me, "lookup")
while ch.next()[0] != "conf_end": pass
ch.send("started", note="a traitor")
# It may not speak about resolve, with which it has nothing to do.
ch.send("intruder", role=play.ROLES.index("resolve"), instance=0, why="a lie")
while True:
    data, fds, _, _ = socket.recv_fds(me, 65536, 8)
    if not data: break
    for fd in fds:
        try:
            peer = play.Channel(socket.socket(fileno=fd), "lookup")
            if "%s" == "posternd": ch.send("mail_abort", id=(1, 1))
            else: peer.send("mail_abort", id=(1, 1))  # only smtpd may say this, and to queue
        except Exception:
            pass  # it was cut off; posternd's answer is to come
"""


def t_traitor():
    """A program that says what it may not say is killed, whoever hears it; its lies about others have no effect."""
    for hearer in ("a peer", "posternd"):
        mx = Postern(start=False)
        programs = mx.dir / "programs"
        programs.mkdir()
        for p in ROLES:
            (programs / p).symlink_to(BUILD / p / p)
        (programs / "lookup").unlink()
        (programs / "lookup").write_text(TRAITOR % (sys.executable, SRC, SRC, BUILD, hearer))
        (programs / "lookup").chmod(0o755)
        mx.write_config(program_directory=programs)
        mx.start(wait=False)
        ok(wait_for(lambda: mx.events("intrusion", program="postern/posternd") and [l for l in mx.log().splitlines() if ": ended program=lookup" in l], 40),
           f"heard by {hearer}: it is named an intruder, and ended", mx.output(), mx.log()[-2000:])
        ended = [l for l in mx.log().splitlines() if ": ended program=lookup" in l]
        ok("SIGKILL" in ended[0], "by posternd", ended, mx.log()[-3000:])
        ok(wait_for(lambda: len(starts(mx, "lookup")) > 1), "and started again")
        same(len(starts(mx, "resolve")), 1, "the program it spoke about lives on")
        mx.kill()


if __name__ == "__main__":
    main(t_notify, t_restarts, t_counts, t_changed_spool, t_unsafe_directories, t_background, t_killed, t_traitor, t_without_root)
