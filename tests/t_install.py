#!/usr/bin/env python3
"""The installed form: `make install`, the accounts, the sample, posternd in the background, mail by sendmail(1) and by SMTP.

All happens on a copy of this machine that nothing outlives: an overlay over / in a mount, network and process
namespace of its own. So the real /etc, /var and port 25 are used, and this machine's are left alone."""
import pwd
import smtplib
import threading

import harness
from harness import *

HERE = pathlib.Path(__file__).resolve()
BUILT = dict(re.findall(r"(?m)^(\w+) = (.*)$", (BUILD / "Makefile").read_text())) if (BUILD / "Makefile").exists() else {}


def place(name):
    """A directory of the installation, as make knows it."""
    text = BUILT[name]
    while "$" in text or "{" in text:
        text = re.sub(r"\$?[({](\w+)[)}]", lambda m: BUILT[m.group(1)], text)
    return pathlib.Path(text)


# --- outside: install, and copy this machine -----------------------------------------------------------------------
ENTER = r"""
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" || exit 99
cd "$1/root"
cp -a --remove-destination "$2/." .
mount -t proc proc proc
for d in run dev tmp; do mount -t tmpfs tmpfs $d; done
chmod 1777 tmp
for n in null zero full random urandom; do : >dev/$n; mount --bind /dev/$n dev/$n; done
for d in "$3" "$4"; do if [ -d "$d" ]; then mkdir -p ".$d"; mount --rbind "$d" ".$d"; fi; done
ip link set lo up
shift 4
exec chroot . "$@"
"""


def outside():
    if not ROOT:
        skip_all("only root can install")
    copy, dest = scratch(), scratch()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    r = subprocess.run(["make", "-s", "-C", BUILD, "install", f"DESTDIR={dest}"], capture_output=True, text=True, env=env)
    if r.returncode:
        ok(False, "make install", r.stdout, r.stderr)
        print("1..1")
        sys.exit(1)
    # The shell is the first process of its namespace: when it ends, all end.
    r = subprocess.run(["unshare", "-mnpuf", "--kill-child", "--propagation", "private", "sh", "-c", ENTER, "enter",
                        str(copy), str(dest), str(SRC), str(BUILD), sys.executable, str(HERE), *sys.argv[1:]],
                       env=dict(os.environ, POSTERN_INSTALLED="yes", srcdir=str(SRC), builddir=str(BUILD)))
    cleanup()
    if r.returncode == 99:
        skip_all("no overlay file system here")
    sys.exit(r.returncode)


# --- inside ----------------------------------------------------------------------------------------------------------
SAID = []  # what came to /dev/log


def run(*argv, user=None, stdin=b"", cwd="/"):
    kw = {}
    if user:
        p = pwd.getpwnam(user)
        kw = {"user": p.pw_uid, "group": p.pw_gid, "extra_groups": []}
    env = {"PATH": f"{place('sbindir')}:{place('bindir')}:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    r = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=60, cwd=cwd, env=env, **kw)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def start_logger():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind("/dev/log")
    os.chmod("/dev/log", 0o666)

    def read():
        while True:
            SAID.append(s.recv(65536).decode(errors="replace"))
    threading.Thread(target=read, daemon=True).start()


def mailbox(user):
    try:
        return pathlib.Path("/var/mail", user).read_text()
    except FileNotFoundError:
        return ""


def arrives(user, text, name):
    wait_for(lambda: text in mailbox(user), 20)
    ok(text in mailbox(user), name, f"mailbox: {mailbox(user)!r}", "\n".join(SAID[-30:]))


def refused(status, words, name):
    code, _, err = run("posternd")
    ok(code == status and len(err.splitlines()) == 1 and all(w in err for w in words), name, code, err)


def t_refusals():
    """What a fresh machine lacks is named, each with its remedy, before anything is started."""
    subprocess.run(["hostname", "mx.example.test"], check=True)
    conf = place("sysconfdir") / "postern"
    shutil.rmtree(conf, ignore_errors=True)
    refused(78, ["postern.conf", "No such file"], "without a configuration")
    conf.mkdir(parents=True)
    shutil.copy(place("docdir") / "postern.conf.sample", conf / "postern.conf")
    have = subprocess.run(["getent", "passwd", "_postern-smtpd"], capture_output=True).returncode == 0
    if not have:
        refused(78, ["_postern-smtpd", "systemd-sysusers"], "without the accounts")
        make_accounts()
    refused(78, ["log = syslog", "/dev/log", "file:"], "without a system logger")


def make_accounts():
    file = place("prefix") / "lib/sysusers.d/postern.conf"
    names = re.findall(r"(?m)^u (\S+) ", file.read_text())
    if shutil.which("systemd-sysusers"):
        r = subprocess.run(["systemd-sysusers", file], capture_output=True, text=True)
        ok(r.returncode == 0, "systemd-sysusers takes the file", r.stderr)
    else:
        for name in names:
            subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name], check=True)
    ok(len(names) >= 7 and all(pwd.getpwnam(n) for n in names), "it declares an account for each program", names)


def t_life():
    """Started as on any host, mail from users and from the net, stopped, mail while it is down, started again."""
    for user in ("alice", "bob", "carol"):
        subprocess.run(["useradd", "-m", user], check=True)
    shutil.rmtree("/var/mail", ignore_errors=True)  # as base-files of Debian makes it
    os.mkdir("/var/mail")
    shutil.chown("/var/mail", "root", "mail")
    os.chmod("/var/mail", 0o2775)
    for user, mode in (("alice", 0o660), ("bob", 0o600)):  # carol's is made by the delivery
        pathlib.Path("/var/mail", user).touch()
        shutil.chown(f"/var/mail/{user}", user, "mail")
        os.chmod(f"/var/mail/{user}", mode)
    start_logger()
    pathlib.Path("/etc/aliases").write_text("postmaster: root\nroot: alice\nteam: bob, carol\n")
    pathlib.Path("/etc/aliases.cdb").unlink(missing_ok=True)
    pathlib.Path("/etc/mailname").write_text("example.test\n")
    code, _, err = run("postern", "check")
    ok(code == 78 and "newaliases" in err, "postern check asks for newaliases", code, err)
    code, _, err = run("newaliases", user="alice")
    ok(code == 77 and "root" in err, "which is root's to run", code, err)
    same(run("newaliases")[0], 0, "newaliases")
    code, out, err = run("postern", "check")
    ok(code == 0 and "all is well" in out, "postern check finds nothing more", out, err)
    resolve = place("pkglibexecdir") / "resolve"
    resolve.rename(resolve.with_suffix(".away"))
    refused(69, ["resolve", "No such file", "log"], "without a program")
    resolve.with_suffix(".away").rename(resolve)
    code, _, err = run("posternd")
    same((code, err), (0, ""), "posternd goes to the background when all programs are at work")
    code, _, err = run("posternd")
    ok(code == 78 and "another posternd" in err, "a second one is refused", code, err)
    users()
    net()
    tools()
    down_and_up()


def users():
    code, _, err = run("sendmail", "-oi", "bob", "carol@example.test", user="alice", stdin=b"Subject: one\n\nmail-1\n")
    same((code, err), (0, ""), "alice runs sendmail")
    arrives("bob", "mail-1", "into a mailbox of mode 0600")
    arrives("carol", "mail-1", "into a mailbox that was not there")
    ok("From: alice@example.test" in mailbox("bob"), "from alice at the mail name", mailbox("bob"))
    st = os.stat("/var/mail/carol")
    ok(st.st_uid == pwd.getpwnam("carol").pw_uid and not st.st_mode & 0o77, "which is carol's alone", oct(st.st_mode))
    same(run("sendmail", "-t", stdin=b"To: root\nSubject: two\n\nmail-2\n")[0], 0, "root runs sendmail -t")
    arrives("alice", "mail-2", "into a mailbox of mode 0660, by the alias of root")
    code, _, err = run("sendmail", "nobody-there", user="bob", stdin=b"\nmail\n")
    ok(code == 67 and "nobody-there" in err, "an unknown user is EX_NOUSER", code, err)
    for path in (pathlib.Path("/usr/sbin/sendmail"), pathlib.Path("/usr/lib/sendmail")):  # where programs look, whatever the prefix
        if path.resolve() != (place("sbindir") / "sendmail").resolve():
            path.unlink(missing_ok=True)
            path.symlink_to(place("sbindir") / "sendmail")
    if shutil.which("mail"):
        same(run("mail", "-s", "three", "team", user="bob", stdin=b"mail-3\n")[0], 0, "bob runs mail(1)")
        arrives("carol", "mail-3", "and it is delivered")
    if shutil.which("mutt"):
        same(run("mutt", "-n", "-s", "four", "carol", user="bob", stdin=b"mail-4\n", cwd="/home/bob")[0], 0, "bob runs mutt")
        arrives("carol", "mail-4", "and it is delivered")


def net():
    with smtplib.SMTP("127.0.0.1", 25, timeout=20) as s:
        same(s.sendmail("x@client.test", ["postmaster@example.test"], "Subject: five\r\n\r\nmail-5\r\n"), {}, "SMTP at port 25")
    arrives("alice", "mail-5", "to postmaster")


def tools():
    same(run("mailq", user="alice")[1], "Mail queue is empty\n", "mailq")
    wait_for(lambda: run("postern", "queue", "list")[1].startswith("Mail"))  # mailboxes are synced a moment after they were filled
    same(run("postern", "queue", "list")[1], "Mail queue is empty\n", "postern queue list")
    code, out, _ = run("postern", "status")
    same((code, out.count("caged") >= 10, out.count("answers")), (0, True, 3), "postern status")
    ids = [m.group(1) for m in (re.match(r"<22>postern/smtpd\[\d+\]: (\w{20}): received", x) for x in list(SAID)) if m]
    ok(len(ids) >= 3, "the system logger got the log, as facility mail", "\n".join(SAID[-20:]))
    log = "".join(f"2026-11-22T10:00:00.000001+01:00 mx {x[4:]}\n" for x in SAID)
    code, out, err = run("postern", "trace", ids[0], "--log", "-", stdin=log.encode())
    ok(code == 0 and "took it from" in out and "mbox:/var/mail/bob" in out, "postern trace reads what it wrote", out, err)
    ran = {p.split("/")[-1]: hardening(p) for p in ("posternd", "smtpd", "deliver-local")}
    same(ran, {p: ("1", True) for p in ran}, "posternd and the programs cannot gain rights, and have few")


def hardening(program):
    """no_new_privs, and whether ptrace, modules and raw devices are out of reach for good."""
    pid = next(p for p in os.listdir("/proc") if p.isdigit() and comm(int(p)) == program)
    status = dict(x.split(":\t", 1) for x in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in x)
    return status["NoNewPrivs"], int(status["CapBnd"], 16) & (1 << 16 | 1 << 17 | 1 << 19 | 1 << 13) == 0


def down_and_up():
    pid = int(pathlib.Path("/run/postern/posternd.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    gone = wait_for(lambda: not harness._alive(pid) and not any(harness._alive(p) and comm(p) in ROLES for p in os.listdir("/proc") if p.isdigit()), 30)
    ok(gone, "SIGTERM ends all programs")
    code, _, err = run("postern", "queue", "list")
    ok(code == 69 and "not running" in err, "postern queue list says that it is down", code, err)
    same(run("sendmail", "bob", user="carol", stdin=b"Subject: six\n\nmail-6\n")[0], 0, "sendmail takes mail all the same")
    same(run("posternd")[0], 0, "posternd starts again")
    arrives("bob", "mail-6", "and delivers it")


def t_files():
    """What make install puts in place can be used where it lies."""
    links = [place("bindir") / "mailq", place("bindir") / "newaliases", place("prefix") / "lib/sendmail"]
    same([os.path.realpath(x) for x in links], [str(place("sbindir") / "sendmail")] * 3, "the other names of sendmail")
    for f in (place("sbindir") / "sendmail", place("sbindir") / "posternd", place("pkglibexecdir") / "smtpd"):
        same(os.stat(f).st_mode & 0o7777, 0o755, f"{f.name} is not set-id")
    unit = place("prefix") / "lib/systemd/system/postern.service"
    text = unit.read_text()
    ok("@" not in text and all(os.access(m, os.X_OK) for m in re.findall(r"(?m)^Exec\w+=[-+]*(\S+)", text)), "the unit names what is there", text)
    if shutil.which("systemd-analyze"):
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
        ok(str(unit.name) not in r.stderr, "and systemd understands it", r.stderr)
    if shutil.which("man"):
        for page in ("posternd", "postern", "postern.conf", "sendmail", "mailq", "postern-queue"):
            found = list(place("mandir").glob(f"man?/{page}.?"))
            r = subprocess.run(["man", "-l", *found], capture_output=True, text=True, env=dict(os.environ, MANPAGER="cat", MANWIDTH="90"))
            ok(found and len(r.stdout) > 500 and not r.stderr.strip(), f"man {page}", r.stderr, r.stdout[:300])


if __name__ == "__main__":
    if os.environ.get("POSTERN_INSTALLED"):
        main(t_files, t_refusals, t_life)
    elif os.environ.get("POSTERN_UNIT_ONLY"):
        skip_all("unit tests only")
    else:
        outside()
