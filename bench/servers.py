"""servers.py - the mail servers that are measured: how each is unpacked, configured, started, counted and ended.

A peer is Debian's package, unpacked with all it depends on into a root directory of its own; Postern is a finished build,
installed into one. Each runs chrooted in mount and PID namespaces of its own on this machine's loopback, and in a cgroup,
which counts the CPU time of all its processes, also of those that have ended. Nothing is installed on the machine.
"""
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

SINK, TARPIT, TARPIT_IP = 2500, 2501, "127.0.0.2"
FIRST_UID = 5000
DOMAIN, LOCAL_DOMAIN, DEAD_DOMAIN, TAR_DOMAIN = "sink.bench.test", "local.bench.test", "dead.bench.test", "tar.bench.test"
DEAD_PORT = 2502  # nobody listens there


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += [int(x) for x in f.read().split()]
    except OSError:
        pass
    return found


class Cgroup:
    """Counts the CPU time of a family of processes (cgroup v2, or cpuacct of v1)."""

    def __init__(self, name):
        v1 = "/sys/fs/cgroup/cpuacct"
        self.v1 = os.path.isdir(v1)
        self.path = os.path.join(v1 if self.v1 else "/sys/fs/cgroup", "postern-bench-" + name)
        os.makedirs(self.path, exist_ok=True)

    def enter(self):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write("0")

    def pids(self):
        with open(self.path + "/cgroup.procs") as f:
            return [int(x) for x in f.read().split()]

    def cpu(self):
        """Seconds."""
        if self.v1:
            with open(self.path + "/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        with open(self.path + "/cpu.stat") as f:
            return int(re.search(r"usage_usec (\d+)", f.read()).group(1)) / 1e6


class Server:
    """A subclass says: name, port, packages, users, and how it is configured for a mode:
    relay (all to the sink), hold (accept and keep), maildir, mbox (deliver to local users)."""
    name, port, packages, users, groups = "", 0, [], [], []
    can = ("relay", "hold", "maildir", "mbox")
    sessions_max = 1000  # a process each costs 1.6 MB in Postfix: 10,000 would be all the memory of a machine
    mailboxes = 100

    def __init__(self, top):
        self.base = os.path.join(top, self.name)
        self.root = os.path.join(self.base, "root")
        self.cgroup = Cgroup(self.name)
        self.proc = None
        self.idle_sessions = False  # configured to hold very many
        self.certificate = "rsa"

    def path(self, p):
        return self.root + p

    # --- unpacking
    def install(self, certificates):
        os.makedirs(self.root)
        self.unpack()
        for d in ("proc", "dev", "tmp", "run", "var/log", "var/mail", "home", "etc/ssl/bench"):
            os.makedirs(self.path("/" + d), exist_ok=True)
        os.chmod(self.path("/tmp"), 0o1777)
        os.chmod(self.path("/var/mail"), 0o1777)
        if not os.path.lexists(self.path("/var/run")):
            os.symlink("/run", self.path("/var/run"))
        self.accounts()
        for name, text in (("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"), ("hosts", "127.0.0.1 localhost bench.test\n"),
                           ("resolv.conf", "nameserver 127.0.0.1\n"), ("hostname", "bench.test\n"), ("mailname", "bench.test\n"),
                           ("aliases", "postmaster: root\n")):
            write(self.path("/etc/" + name), text)
        for f in os.listdir(certificates):
            shutil.copy(os.path.join(certificates, f), self.path("/etc/ssl/bench/" + f))
        self.homes()
        self.setup()

    def unpack(self):
        debs = os.path.join(self.base, "debs")
        os.makedirs(os.path.join(debs, "partial"))
        # With an empty status file apt works out, and fetches, everything as for a bare system.
        subprocess.run(["apt-get", "-qq", "-y", "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=0", "-o",
                        "Dir::Cache::archives=" + debs, "-o", "APT::Sandbox::User=root", "--download-only", "install",
                        "dash", "coreutils", "sed", "grep", "findutils"] + self.packages, check=True, stdout=subprocess.DEVNULL)
        for d in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(self.path("/usr/" + d), exist_ok=True)
            os.symlink("usr/" + d, self.path("/" + d))
        for deb in sorted(glob.glob(debs + "/*.deb")):
            tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", self.root], stdin=tar.stdout, check=True)
            tar.wait()
        shutil.rmtree(debs)

    def accounts(self):
        passwd = ["root:x:0:0:root:/root:/bin/sh", "mail:x:8:8::/var/mail:/bin/false", "nobody:x:65534:65534::/:/bin/false"]
        group = ["root:x:0:", "mail:x:8:", "nogroup:x:65534:"]
        for i in range(self.mailboxes):
            passwd.append(f"u{i}:x:{FIRST_UID + i}:{FIRST_UID + i}::/home/u{i}:/bin/sh")
            group.append(f"u{i}:x:{FIRST_UID + i}:")
        for name, uid, home in self.users:
            passwd.append(f"{name}:x:{uid}:{uid}::{home}:/bin/false")
            group.append(f"{name}:x:{uid}:")
        group += [f"{name}:x:{gid}:" for name, gid in self.groups]
        write(self.path("/etc/passwd"), "\n".join(passwd) + "\n")
        write(self.path("/etc/group"), "\n".join(group) + "\n")
        write(self.path("/etc/shadow"), "".join(f"{line.split(':')[0]}:*:19000::::::\n" for line in passwd), 0o600)

    def homes(self):
        shutil.rmtree(self.path("/home"), ignore_errors=True)
        for f in glob.glob(self.path("/var/mail/*")):
            os.unlink(f)
        for i in range(self.mailboxes):
            home = self.path(f"/home/u{i}")
            for d in (home, *(os.path.join(home, "Maildir", s) for s in ("", "new", "cur", "tmp"))):
                os.makedirs(d, exist_ok=True)
                os.chown(d, FIRST_UID + i, FIRST_UID + i)

    def delivered(self):
        """How many messages lie in the Maildirs."""
        return sum(len(os.listdir(d)) for d in glob.glob(self.path("/home/u*/Maildir/new")))

    def delivered_ids(self):
        ids = []
        for f in [*glob.glob(self.path("/home/u*/Maildir/new/*")), *glob.glob(self.path("/var/mail/u*"))]:
            if os.path.isfile(f) and not f.endswith(".lock"):
                with open(f, errors="replace") as fh:
                    ids += re.findall(r"^X-Bench-Id: (\S+)", fh.read(), re.M)
        return ids

    def in_root(self, *argv, **kw):
        return subprocess.run(["chroot", self.root, *argv], **kw)

    # --- running
    def start(self, mode, wait=True):
        with socket.socket() as s:  # what another bench has left there would be measured instead
            if s.connect_ex(("127.0.0.1", self.port)) == 0:
                raise RuntimeError(f"something listens on port {self.port} already; end it first")
        self.mode = mode
        self.configure(mode)
        console = open(os.path.join(self.base, "console.log"), "ab")
        script = f'mount --bind /dev {self.root}/dev && mount -t proc proc {self.root}/proc && chroot {self.root} "$@" & wait'

        def enter():
            import resource
            self.cgroup.enter()
            os.setsid()
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *self.command(mode)]
        self.begun = time.monotonic_ns()  # what was done before is the bench's, not the server's
        self.proc = subprocess.Popen(argv,
                                     stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=enter)
        console.close()
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.proc.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                    if s.recv(200).startswith(b"220"):
                        s.sendall(b"QUIT\r\n")
                        s.recv(200)
                        return
            except OSError:
                pass
            time.sleep(0.005)
        raise RuntimeError(f"{self.name} does not greet on port {self.port}; see {self.base}/console.log")

    def stop(self):
        if not self.proc:
            return
        init = children(self.proc.pid)
        for pid in (p for i in init for p in children(i)):
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                pass
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            for pid in init:  # the init of its namespace: all of it goes
                os.kill(pid, signal.SIGKILL)
            self.proc.wait()
        self.proc = None

    def clean(self):
        """Stopped: forgets what was queued, delivered and logged."""
        self.wipe()
        self.homes()
        for top, _, files in os.walk(self.path("/var/log")):
            for f in files:
                os.unlink(os.path.join(top, f))

    def cpu(self):
        return self.cgroup.cpu()

    def pids(self):
        """Its own processes, without the shell that is the init of the namespace."""
        outer = {self.proc.pid, *children(self.proc.pid)} if self.proc else set()
        return [p for p in self.cgroup.pids() if p not in outer]

    def memory(self):
        """Sum of PSS in KiB."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            except OSError:
                pass
        return total

    # --- of each server
    def setup(self):
        pass

    def configure(self, mode):
        raise NotImplementedError

    def command(self, mode):
        raise NotImplementedError

    def queued(self):
        raise NotImplementedError

    def wipe(self):
        raise NotImplementedError

    def release(self):
        """Stopped: what was queued in mode hold may go."""

    def files(self, pattern, *dirs):
        return [os.path.join(top, f) for d in dirs for top, _, files in os.walk(self.path(d)) for f in files if re.search(pattern, f)]

    def wipe_files(self, *dirs):
        for f in self.files("", *dirs):
            os.unlink(f)


class Postfix(Server):
    name, port, packages = "postfix", 2610, ["postfix"]
    users, groups = [("postfix", 105, "/var/spool/postfix")], [("postdrop", 111)]
    spool = "/var/spool/postfix/"

    def setup(self):
        if not os.path.exists(self.path("/etc/postfix/main.cf")):
            shutil.copy(self.path("/usr/share/postfix/main.cf.dist"), self.path("/etc/postfix/main.cf"))
        self.configure("relay")
        self.in_root("/usr/sbin/postfix", "set-permissions", "create-missing", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.in_root("/usr/sbin/postalias", "hash:/etc/aliases", check=True)

    def configure(self, mode):
        local = mode in ("maildir", "mbox")
        write(self.path("/etc/postfix/main.cf"), f"""
compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.test
mydestination = {LOCAL_DOMAIN if local else ""}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
biff = no
{"home_mailbox = Maildir/" if mode == "maildir" else "mail_spool_directory = /var/mail"}
mailbox_size_limit = 0
message_size_limit = 52428800
maillog_file = /var/log/mail.log
relayhost = [127.0.0.1]:{SINK}
transport_maps = inline:{{ {{ {DEAD_DOMAIN} = smtp:[127.0.0.1]:{DEAD_PORT} }} {{ {TAR_DOMAIN} = smtp:[{TARPIT_IP}]:{TARPIT} }} }}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtp_tls_security_level = none
# for throughput: no throttle of intake, processes and deliveries enough
default_process_limit = 100
in_flow_delay = 0
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
smtp_destination_recipient_limit = 100
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = {"check_client_access static:HOLD, permit" if mode == "hold" else "permit"}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = /etc/ssl/bench/{self.certificate}.key, /etc/ssl/bench/{self.certificate}.pem
""")
        services = [f"127.0.0.1:{self.port} inet n - n - {'60000' if self.idle_sessions else '-'} smtpd"]
        services += """pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd""".splitlines()
        write(self.path("/etc/postfix/master.cf"), "\n".join(services) + "\n")

    def command(self, mode):
        return ["/usr/sbin/postfix", "start-fg"]

    def queued(self):
        return len(self.files(".", *(self.spool + q for q in ("incoming", "active", "deferred", "hold", "maildrop"))))

    def wipe(self):
        self.wipe_files(*(self.spool + q for q in ("incoming", "active", "deferred", "defer", "hold", "maildrop", "bounce", "trace", "flush")))

    def release(self):
        self.in_root("/usr/sbin/postsuper", "-H", "ALL", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class OpenSMTPD(Server):
    """Its queue is not synced (no fsync call in queue_fs): rates of accepting are not those of durable mail."""
    name, port, packages = "opensmtpd", 2620, ["opensmtpd"]
    users = [("opensmtpd", 105, "/var/lib/opensmtpd/empty"), ("opensmtpq", 106, "/var/lib/opensmtpd/empty")]
    spool = "/var/spool/smtpd/"

    def setup(self):
        os.makedirs(self.path("/var/lib/opensmtpd/empty"), exist_ok=True)
        os.makedirs(self.path(self.spool), exist_ok=True)
        os.chmod(self.path(self.spool), 0o711)

    def configure(self, mode):
        action = {"maildir": "maildir", "mbox": "mbox"}.get(mode)
        rules = f'match from any for domain "{LOCAL_DOMAIN}" action "here"' if action else 'match from any for any action "relay"'
        write(self.path("/etc/smtpd.conf"), f"""
pki bench.test cert "/etc/ssl/bench/rsa.pem"
pki bench.test key "/etc/ssl/bench/rsa.key"
smtp max-message-size 50M
smtp limit max-mails 1000000 max-rcpt 1000
mta limit max-conn-per-host 20 max-conn-per-route 20 conn-delay-route 0 conn-delay-relay 0 session-mail-max 1000
listen on 127.0.0.1 port {self.port} tls pki bench.test hostname bench.test
action "here" {action or "maildir"}
action "relay" relay host smtp://127.0.0.1:{SINK}
action "dead" relay host smtp://127.0.0.1:{DEAD_PORT}
action "tar" relay host smtp://{TARPIT_IP}:{TARPIT}
match from any for domain "{DEAD_DOMAIN}" action "dead"
match from any for domain "{TAR_DOMAIN}" action "tar"
{rules}
""")

    def command(self, mode):
        return ["/usr/sbin/smtpd", "-d"] + (["-P", "mta", "-P", "mda"] if mode == "hold" else [])

    def queued(self):
        return sum(len(os.listdir(d)) for d in glob.glob(self.path(self.spool + "queue/*")) if os.path.isdir(d))

    def wipe(self):
        for d in ("queue", "incoming", "purge", "corrupt", "temporary"):
            for e in glob.glob(self.path(f"{self.spool}{d}/*")):
                shutil.rmtree(e, ignore_errors=True)


class Exim(Server):
    name, port, packages = "exim", 2630, ["exim4-daemon-light"]
    users = [("Debian-exim", 105, "/var/spool/exim4")]
    spool = "/var/spool/exim4/"

    def setup(self):
        for d in (self.spool, self.spool + "input", self.spool + "db", self.spool + "msglog", "/var/log/exim4"):
            os.makedirs(self.path(d), exist_ok=True)
            os.chown(self.path(d), 105, 105)
        os.chmod(self.path("/usr/sbin/exim4"), 0o4755)
        for f in glob.glob(self.path("/etc/ssl/bench/*.key")):
            os.chown(f, 105, 105)

    def configure(self, mode):
        place = "directory = $home/Maildir\n  maildir_format" if mode == "maildir" else "file = /var/mail/$local_part_data"
        write(self.path("/etc/exim4/exim4.conf"), f"""
primary_hostname = bench.test
exim_user = Debian-exim
exim_group = Debian-exim
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
spool_directory = /var/spool/exim4
split_spool_directory = true
log_file_path = /var/log/exim4/%slog
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 50M
smtp_accept_max = 60000
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 4096
recipients_max = 1000
remote_max_parallel = 4
queue_only = {"true" if mode == "hold" else "false"}
pipelining_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = /etc/ssl/bench/{self.certificate}.pem
tls_privatekey = /etc/ssl/bench/{self.certificate}.key
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
{"local:" if mode in ("maildir", "mbox") else "none:"}
  driver = accept
  domains = {LOCAL_DOMAIN if mode in ("maildir", "mbox") else "none.bench.test"}
  check_local_user
  transport = mailbox
dead:
  driver = manualroute
  domains = {DEAD_DOMAIN}
  transport = dead
  route_list = * 127.0.0.1 byname
  self = send
tar:
  driver = manualroute
  domains = {TAR_DOMAIN}
  transport = tar
  route_list = * {TARPIT_IP} byname
  self = send
relay:
  driver = manualroute
  domains = ! {LOCAL_DOMAIN}
  transport = smtp
  route_list = * 127.0.0.1 byname
  self = send
begin transports
""" + "".join(f"{n}:\n  driver = smtp\n  port = {p}\n  allow_localhost\n  hosts_avoid_tls = *\n  max_rcpt = 100\n"
              for n, p in (("smtp", SINK), ("dead", DEAD_PORT), ("tar", TARPIT))) + f"""
mailbox:
  driver = appendfile
  {place}
begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
""")
        shutil.rmtree(self.path("/run/exim4"), ignore_errors=True)
        for d in ("/run/exim4", "/var/log/exim4"):
            os.makedirs(self.path(d), exist_ok=True)
            os.chown(self.path(d), 105, 105)

    def command(self, mode):
        return ["/usr/sbin/exim4", "-bdf"] + ([] if mode == "hold" else ["-q1m"])

    def queued(self):
        return len(self.files("-H$", self.spool + "input"))

    def wipe(self):
        self.wipe_files(self.spool + "input", self.spool + "msglog", self.spool + "db")


class Postern(Server):
    """A build of this tree, put into its root by bench/own, the same script that the referee's bench calls."""
    name, port = "postern", 2640
    sessions_max = 50000

    def unpack(self):
        pass

    def setup(self):
        self.wipe()

    def call(self, *argv, **kw):
        env = dict(os.environ, BENCH_ROOT=self.root, BENCH_PORT=str(self.port), BENCH_SINK_PORT=str(SINK),
                   BENCH_TARPIT=f"{TARPIT_IP}:{TARPIT}", BENCH_DEAD=f"127.0.0.1:{DEAD_PORT}", BENCH_USER="u0",
                   BENCH_SESSIONS="60000" if self.idle_sessions else "",
                   BENCH_CERT=f"/etc/ssl/bench/{self.certificate}.pem", BENCH_KEY=f"/etc/ssl/bench/{self.certificate}.key")
        return subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "own"), *argv], check=True, env=env, **kw)

    def configure(self, mode):
        self.call("configure", mode)

    def command(self, mode):
        return self.call("command", mode, stdout=subprocess.PIPE, text=True).stdout.split("\n")[:-1]

    def queued(self):
        return int(self.call("count", stdout=subprocess.PIPE, text=True).stdout)

    def wipe(self):
        self.call("wipe")

    def counters(self):
        """What postern counters --json says."""
        return json.loads(self.call("counters", stdout=subprocess.PIPE, text=True).stdout)


ALL = {c.name: c for c in (Postfix, OpenSMTPD, Exim, Postern)}
