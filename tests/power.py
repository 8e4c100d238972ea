#!/usr/bin/env python3
"""power.py - the proof on the real disk: power cuts, kill storms, a full disk, a disk that fails.

    power.py cuts [--count N] [--fs ext4|xfs] [--full] [--mutant [queue|mailbox]] [--images DIR] [--setting NAME=VALUE] [--seed N]
    power.py storm [--minutes N]
    power.py full | inodes | errors

Run by make power, make storm, make diskfull, make diskerrors; t_power.py has the short forms. Needs root, a loop
device and a mount namespace of its own, which it makes: whatever happens, no mount is left behind.

How a cut is made. The spool, and the Maildirs of the local users, lie on a file system on a loop device. What this
file system has written is in the image file; what it still has in memory is not. So a copy of the image file is what
a disk holds at a power cut. All programs of the suite are stopped, and the copy is taken again until the image did
not change meanwhile, so that the copy is of one instant. The copy is mounted (the file system replays its journal), a second
instance is started on it, and when its queue is empty each message whose 250 had been read before the cut must have
been delivered: to the Maildir in the image, by the second instance, or to the other host before the cut. Sometimes the
second instance is cut as well, while it starts.
"""
import argparse
import collections
import ctypes
import filecmp
import random
import sys

from harness import *
from load import Load, Verdict, name_of, of_maildir, of_sink, times_of, wait_all
from sink import Sink

FAULT = BUILD / "tests/fault"
MAX_LOOPS = 20  # tries to get a loop device that nobody else has just taken


def sh(*argv, check=True):
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if check and r.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {r.stderr.strip()}")
    return r.stdout.strip()


def own_namespace():
    """Mounts made from here on are seen by nobody else, and end with us. False: not allowed."""
    CLONE_NEWNS = 0x20000
    if not ROOT or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode == 0


class Disk:
    """A file system in an image file on a loop device."""
    made = 0

    def __init__(self, images, megabytes=48, fs="ext4", mkfs=(), image=None, options=""):
        Disk.made += 1
        self.image = image or images / f"disk{Disk.made}.img"
        self.options, self.loop, self.at = options, None, None
        if not image:
            with open(self.image, "wb") as f:
                f.truncate(megabytes << 20)
            sh(f"mkfs.{fs}", "-q", *mkfs, self.image)

    def mount(self, at):
        """direct I/O: the loop device itself keeps nothing back from the image."""
        for left in range(MAX_LOOPS, 0, -1):
            r = subprocess.run(["losetup", "-f", "--show", "--direct-io=on", self.image], capture_output=True, text=True)
            if r.returncode == 0:
                self.loop = r.stdout.strip()
                break
            if left == 1:
                raise RuntimeError(f"losetup: {r.stderr}")
            time.sleep(0.1)
        try:
            sh("mount", *(["-o", self.options] if self.options else []), self.loop, at)
            self.at = at
        finally:
            sh("losetup", "-d", self.loop, check=False)  # in fact when it is unmounted
        return self

    def unmount(self):
        if self.at:
            at, self.at = self.at, None
            if not wait_for(lambda: subprocess.run(["umount", at], capture_output=True).returncode == 0, 5):
                sh("umount", "-l", at)

    def destroy(self):
        self.unmount()
        self.image.unlink(missing_ok=True)

    def copy(self, to):
        """The image as it is at one instant. Gives how often it had to be copied because it was still changing."""
        for tries in range(1, 30):
            sh("cp", "--sparse=always", self.image, to)
            if filecmp.cmp(self.image, to, shallow=False):
                return tries
            filecmp.clear_cache()
            time.sleep(0.005)
        return tries


class Stopped:
    """All programs of an instance stand still."""

    def __init__(self, mx):
        self.pids = [mx.proc.pid] + mx.family()

    def __enter__(self):
        for p in self.pids:
            self.tell(p, signal.SIGSTOP)

    def __exit__(self, *a):
        for p in self.pids:
            self.tell(p, signal.SIGCONT)

    @staticmethod
    def tell(pid, sig):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


class Fault:
    """System calls of a program fail, or lie (tests/fault.c), while this lasts."""

    def __init__(self, pid, result, calls, after=0):
        self.proc = subprocess.Popen([FAULT, str(pid), result, calls, str(after)], stdout=subprocess.PIPE, text=True)
        if self.proc.stdout.readline() != "ready\n":
            raise RuntimeError("tests/fault cannot trace: " + str(self.proc.wait()))
        on_cleanup(self.end)
        self.count = None

    def end(self):
        """Gives how many calls were faked."""
        if self.count is None:
            self.proc.terminate()
            self.count = int(self.proc.communicate()[0].strip() or 0)
        return self.count


def on_disk(images, disk=None, start=True, **settings):
    """An instance whose spool and Maildirs lie on a disk of their own (mounted at mx.disk)."""
    mx = Postern(start=False, retry_first="200ms", retry_max="400ms", **settings)
    mx.mnt = mx.dir / "disk"
    mx.mnt.mkdir()
    mx.write_config(spool_directory=mx.mnt / "queue", mailbox=f"maildir:{mx.mnt}/mail/%u")
    mx.disk = disk
    on_cleanup(lambda: mx.disk and mx.disk.destroy())
    on_cleanup(mx.kill)  # before its disk goes
    return mx


def prepare_tree(mnt):
    (mnt / "mail").mkdir()
    (mnt / "mail").chmod(0o1777)


def queue_is_empty(mx):
    try:
        code, out, _ = mx.postern("queue", "list", timeout=5)
    except subprocess.TimeoutExpired:
        return False
    return code == 0 and not re.search(r"(?m)^\S*[0-9A-Z]{20}", out)


def queue_text(mx):
    try:
        return mx.postern("queue", "list", timeout=10)[1][-1000:]
    except subprocess.TimeoutExpired:
        pids = mx.pids("queue")
        return f"queue list has no answer; queue is {pids}: " + " ".join(
            pathlib.Path(f"/proc/{p}/{what}").read_text() for p in pids for what in ("wchan", "syscall", "stack"))


# A mark is durable within a second (store.c); the rest is for a machine that is busy. A recipient who was served longer
# before the cut than this must not be served again.
MARK_SECONDS = 2.5 * float(os.environ.get("POSTERN_TEST_PATIENCE", "1"))


# --- power cuts ----------------------------------------------------------------------------------------------------
RCPTS = [["alice@mx.test"], ["carol@far.test"], ["alice@mx.test", "bob@mx.test", "dave@far.test"],
         ["never@down.test"], ["erin@far.test", "alice@mx.test", "never@down.test"]]


class Cut:
    """What is known of one cut: the image, and what had happened before."""

    def __init__(self, image, load, n_acked, sink, at, tries):
        self.image, self.acked, self.sent, self.tries = image, load.acked[:n_acked], load.sent, tries
        self.delivered, self.ages = [], {}
        self.add(sink, at)

    def add(self, sink, at):
        """What a sink has taken before a cut, and how long before."""
        self.delivered += of_sink(sink)
        for key, when in times_of(sink).items():
            self.ages.setdefault(key, at - when)


class Cuts:
    def __init__(self, images, rng, fs="ext4", mutant=False, options="", megabytes=48, **settings):
        self.images, self.rng, self.fs, self.mutant, self.options, self.settings = images, rng, fs, mutant, options, settings
        self.total = collections.Counter()
        self.stories = []
        self.template = Disk(images, megabytes=320 if fs == "xfs" else megabytes, fs=fs)  # mkfs.xfs makes nothing smaller
        on_cleanup(self.template.destroy)
        base = Postern.base
        self.second = on_disk(images, free_space="1M", **settings)
        self.second_sink = Sink()
        on_cleanup(self.second_sink.close)
        self.second.routes(f"far.test smtp:[127.0.0.1]:{self.second_sink.port}\n"
                           f"down.test smtp:[127.0.0.1]:{self.second_sink.port}\n")
        self.base = base

    def flaky(self, text):
        """The other host: never has a place for never@, and often not for others."""
        return "451 4.2.0 not now" if "<never@" in text or self.rng.random() < 0.2 else None

    def round(self, count):
        """One first instance under load, cut several times; then each copy is judged."""
        Postern.base, after = self.base, Postern.base  # the same UIDs: the files in the image are theirs
        mx = on_disk(self.images, free_space="1M", **self.settings)
        Postern.base = after
        disk_image = self.images / f"first{Disk.made}.img"
        sh("cp", "--sparse=always", self.template.image, disk_image)
        mx.disk = Disk(self.images, image=disk_image, options=self.options).mount(mx.mnt)
        prepare_tree(mx.mnt)
        sink = Sink(behave={"RCPT": self.flaky})
        mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\ndown.test smtp:[127.0.0.1]:{sink.port}\n")
        mx.start()
        faults = self.lies(mx)
        load = Load(mx, RCPTS, senders=self.rng.choice((1, 3, 6)), pause=self.rng.choice((0, 0.005, 0.02)))
        cuts = [self.cut(mx, load, sink) for _ in range(count)]
        load.end()
        for fault in faults:
            self.total["lies"] += fault.end()
        mx.kill()
        sink.close()
        mx.disk.destroy()
        for cut in cuts:
            self.judge(cut)

    def lies(self, mx):
        """The mutants: syncs of queue, or of the workers of alice and bob, do nothing and say that they did."""
        victims = mx.pids("queue")[:1] if self.mutant == "queue" else []
        if self.mutant == "mailbox":
            for user in ("alice", "bob"):
                mx.send("a@c.test", f"{user}@mx.test", message("the worker of " + user))
            mx.wait_event("stored", count=2)
            victims = [p for p in mx.family() if self.is_worker(mx, p)]
        return [Fault(p, "lie", "fsync,fdatasync,syncfs") for p in victims]

    @staticmethod
    def is_worker(mx, pid):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return "deliver-local" in status and int(re.search(r"Uid:\s+(\d+)", status).group(1)) in mx.user_uid.values()

    def disturb(self, mx, load):
        """Before a cut."""
        time.sleep(self.rng.uniform(0.02, 0.35))

    def revive(self, mx):
        """The second instance on what a cut has left."""
        mx.start()

    def cut(self, mx, load, sink):
        self.disturb(mx, load)
        stopped = Stopped(mx)
        n_acked = len(load.acked)
        Disk.made += 1
        image = self.images / f"cut{Disk.made}.img"
        with stopped:
            at = time.monotonic()
            tries = mx.disk.copy(image)
            return Cut(image, load, n_acked, sink, at, tries)

    def judge(self, cut):
        mx, image = self.second, cut.image
        self.total["cuts"] += 1
        self.total["copied again"] += cut.tries - 1
        while True:
            self.second_sink.messages, self.second_sink.taken = [], []
            try:
                mx.disk = Disk(self.images, image=image).mount(mx.mnt)
            except RuntimeError as e:
                self.total["unmountable"] += 1
                self.stories.append(str(e))
                image.unlink()
                return
            if self.rng.random() >= 0.2:
                break
            self.total["cuts"] += 1
            self.total["cuts of a recovery"] += 1
            image = self.cut_recovery(mx, cut)
        self.finish(cut, mx)

    def cut_recovery(self, mx, cut):
        """The second instance is cut while it starts. Gives the new image."""
        Disk.made += 1
        image = self.images / f"again{Disk.made}.img"
        mx.start(wait=False)
        time.sleep(self.rng.uniform(0, 0.25))
        with Stopped(mx):
            at = time.monotonic()
            mx.disk.copy(image)
            cut.add(self.second_sink, at)
        mx.kill()
        mx.disk.destroy()
        return image

    def finish(self, cut, mx):
        self.revive(mx)

        def now():
            return cut.delivered + of_sink(self.second_sink) + of_maildir(mx.mnt / "mail/alice", "alice@mx.test") \
                + of_maildir(mx.mnt / "mail/bob", "bob@mx.test")
        limit = 2 if self.mutant == "queue" else 20
        empty = wait_for(lambda: queue_is_empty(mx), limit, step=0.03)
        verdict = Verdict(cut.sent, cut.acked, now())
        if verdict.lost and not self.mutant:  # not yet delivered is not lost
            wait_all(cut.acked, cut.sent, now, 5)
            verdict = Verdict(cut.sent, cut.acked, now())
        t = self.total
        t["checked"] += verdict.checked
        for what in ("lost", "corrupt", "extra", "twice"):
            t[what] += len(getattr(verdict, what))
        late = [k for k in verdict.twice if cut.ages.get(k, 0) > MARK_SECONDS]
        t["late copies"] += len(late)
        at_home = [k for k in verdict.twice if k[1].endswith("@mx.test")]
        t["second copies in a Maildir"] += len(at_home)
        t["not emptied"] += not empty
        aside = list((mx.mnt / "queue/aside").glob("*"))
        t["set aside"] += len(aside)
        if not self.mutant and (not verdict or not empty or aside or late or at_home):
            keep = mx.disk.image.with_suffix(".bad")
            self.stories.append(f"{verdict}; late: {[(k, cut.ages[k]) for k in late[:9]]}; aside: {[a.name for a in aside]}\n{verdict.story()}\n{mx.log()[-4000:]}"
                                + ("" if empty else "\n" + queue_text(mx)))
            if os.environ.get("POSTERN_KEEP"):
                shutil.copy(mx.disk.image, pathlib.Path(os.environ["POSTERN_KEEP"]) / keep.name)
        mx.kill()
        mx.disk.destroy()
        (mx.dir / "log").unlink(missing_ok=True)

    def run(self, count, seconds=None, each=10, progress=False):
        end = seconds and time.monotonic() + seconds
        while self.total["cuts"] < count and not (end and time.monotonic() > end):
            self.round(min(each, count - self.total["cuts"]))
            if progress:
                print(f"# {self.report()}", flush=True)
        return self.total

    def good(self):
        return not any(self.total[w] for w in ("lost", "corrupt", "extra", "unmountable", "not emptied", "set aside",
                                              "late copies", "second copies in a Maildir"))

    def report(self):
        t = self.total
        return (f"{t['cuts']} power cuts ({t['cuts of a recovery']} of a recovery), {t['checked']} messages that got 250: "
                f"{t['lost']} lost, {t['corrupt']} corrupt, {t['extra']} extra, {t['twice']} second copies"
                + "".join(f", {t[w]} {w}" for w in ("late copies", "second copies in a Maildir", "unmountable", "not emptied", "set aside", "lies",
                                                             "with a full disk", "starts on a full disk", "answers 452") if t[w]))


class FullCuts(Cuts):
    """The same on a small disk that somebody else fills to the last block, and frees again: cuts while intake answers
    452 and marks are written, and starts on a full disk. The second instance has no room either at first."""

    def __init__(self, images, rng, **kw):
        super().__init__(images, rng, megabytes=24, **kw)
        self.refused = 0

    def round(self, count):
        self.refused = 0
        super().round(count)

    @staticmethod
    def eat(mx, sync):
        """All blocks, to the last; what queue has freed meanwhile too."""
        with open(mx.mnt / "eaten", "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                if sync:
                    os.fsync(f.fileno())

    def disturb(self, mx, load):
        full = (mx.mnt / "eaten").exists()
        if full and self.rng.random() < 0.3:
            (mx.mnt / "eaten").unlink()
        elif full or self.rng.random() < 0.7:
            self.eat(mx, self.rng.random() < 0.5)
            n = load.replies[452]
            if self.rng.random() < 0.7:
                wait_for(lambda: load.replies[452] > n, 3)
        super().disturb(mx, load)
        self.total["answers 452"] += load.replies[452] - self.refused
        self.refused = load.replies[452]
        self.total["with a full disk"] += (mx.mnt / "eaten").exists()

    def revive(self, mx):
        mx.start()
        if (mx.mnt / "eaten").exists():
            self.total["starts on a full disk"] += 1
            time.sleep(self.rng.uniform(0, 1))
            (mx.mnt / "eaten").unlink()

    def good(self):
        return super().good() and self.total["with a full disk"] and self.total["answers 452"]


def images_folder(where=None):
    """Where images lie. In memory by default: a loop device does not mind, and many cuts spare the machine's disk."""
    where = where or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    d = pathlib.Path(tempfile.mkdtemp(prefix="postern-power.", dir=where))
    on_cleanup(lambda: shutil.rmtree(d, ignore_errors=True))
    return d


def can_mount():
    """Why not, or None."""
    if not own_namespace():
        return "needs root and a mount namespace"
    try:
        d = scratch()
        disk = Disk(images_folder(), megabytes=4)
        disk.mount(d)
        disk.destroy()
    except (RuntimeError, OSError) as e:
        return f"needs loop devices and ext4: {e}"
    return None


# --- kill storms ---------------------------------------------------------------------------------------------------
class Storm:
    """Programs of two instances, one relaying to the other, are killed and stopped at random under load. What got
    250 arrives whole. Second copies are counted; a Maildir must have none, since a file's name follows from the
    queue id."""

    def __init__(self, rng, senders=3, pause=0.02, supervisor=True):
        self.rng, self.supervisor = rng, supervisor
        self.far = Postern("far", users=("carol",), retry_first="200ms", retry_max="500ms")
        self.mx = Postern(retry_first="200ms", retry_max="500ms")
        self.mx.routes(f"far.test smtp:[127.0.0.1]:{self.far.port}\n")
        rcpts = [["alice@mx.test"], ["carol@far.test"], ["alice@mx.test", "carol@far.test"]]
        self.load = Load(self.mx, rcpts, senders=senders, pause=pause)
        self.kills, self.stops, self.frozen = 0, 0, []

    def victim(self):
        who = self.mx if self.rng.random() < 0.7 else self.far
        return who, self.rng.choice([p for p in who.family() if comm(p) in ROLES] or [0])

    def disturb(self):
        who, pid = self.victim()
        if self.supervisor and self.rng.random() < 0.03:
            who.kill()
            who.start()
            self.kills += 1
        elif pid and self.rng.random() < 0.6:
            Stopped.tell(pid, signal.SIGKILL)
            self.kills += 1
        elif pid:
            Stopped.tell(pid, signal.SIGSTOP)
            self.frozen.append((time.monotonic() + self.rng.uniform(0.01, 0.8), pid))
            self.stops += 1

    def thaw(self, all=False):
        now = time.monotonic()
        for f in [f for f in self.frozen if all or f[0] <= now]:
            Stopped.tell(f[1], signal.SIGCONT)
            self.frozen.remove(f)

    def run(self, seconds, progress=False):
        end, said = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0.02, 0.4))
            self.disturb()
            self.thaw()
            if progress and time.monotonic() - said > 30:
                said = time.monotonic()
                print(f"# {self.kills} kills, {self.stops} stops, {len(self.load.acked)} messages got 250", flush=True)
        self.thaw(all=True)
        self.load.end()
        return self.judge()

    def deliveries(self):
        return of_maildir(self.mx.dir / "home/alice/Maildir", "alice@mx.test") \
            + of_maildir(self.far.dir / "home/carol/Maildir", "carol@far.test")

    def judge(self):
        self.empty = wait_for(lambda: queue_is_empty(self.mx) and queue_is_empty(self.far), 60, step=0.2)
        self.verdict = Verdict(self.load.sent, self.load.acked, self.deliveries())
        self.local_twice = [k for k in self.verdict.twice if k[1] == "alice@mx.test"]
        return self.verdict

    def report(self):
        return f"{self.kills} kills, {self.stops} stops; {self.verdict}"


# --- a full disk ---------------------------------------------------------------------------------------------------
class Full:
    """A small file system is filled by mail for a host that is down, then by somebody else to the last block (or
    inode). Intake answers 452, delivery and marks go on; when the host comes up, all arrives and intake resumes."""

    def __init__(self, images, megabytes=24, mkfs=(), free_space="4M"):
        self.mx = mx = on_disk(images, disk=Disk(images, megabytes=megabytes, mkfs=mkfs), free_space=free_space)
        mx.disk.mount(mx.mnt)
        (mx.dir / "mail").chmod(0o1777)
        mx.write_config(mailbox=f"maildir:{mx.dir}/mail/%u.d")  # mailboxes have room; the spool has not
        self.sink, self.down = Sink(), True
        on_cleanup(self.sink.close)
        self.sink.behave["RCPT"] = lambda text: "451 4.2.0 down" if self.down and "down.test" in text else None
        mx.routes(f"far.test smtp:[127.0.0.1]:{self.sink.port}\ndown.test smtp:[127.0.0.1]:{self.sink.port}\n")
        mx.start()
        self.loads = []

    def load(self, rcpts, **kw):
        self.loads.append(Load(self.mx, rcpts, **kw))
        return self.loads[-1]

    def fill(self, seconds=60, sizes=(2000, 60000), senders=4, pause=0):
        """Until 452. Gives the load, which goes on."""
        load = self.load([["alice@mx.test", "carol@far.test", "dave@down.test"]], senders=senders, sizes=sizes, pause=pause)
        wait_for(lambda: load.replies[452] or load.replies[451], seconds)
        return load

    def eat(self, leave=0):
        """Somebody else takes all blocks, to the last."""
        with open(self.mx.mnt / "eaten", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                os.fsync(f.fileno())

    def eat_inodes(self):
        folder = self.mx.mnt / "eaten"
        folder.mkdir()
        try:
            for i in range(1000000):
                (folder / str(i)).touch()
        except OSError:
            pass

    def free(self):
        at = self.mx.mnt / "eaten"
        if at.is_dir():
            shutil.rmtree(at)
        else:
            at.unlink()

    def deliveries(self):
        return of_maildir(self.mx.dir / "mail/alice.d", "alice@mx.test") + of_sink(self.sink)

    def verdict(self):
        sent, acked = {}, []
        for load in self.loads:
            sent.update(load.sent)
            acked += load.acked
        return Verdict(sent, acked, self.deliveries())

    def wait_delivered(self, rcpts, seconds=30):
        """Until everything that got 250 has been delivered to those of its recipients."""
        def done():
            have = {(name_of(m), r) for r, m in self.deliveries()}
            return all((n, r) in have for load in self.loads for n in list(load.acked) for r in load.sent[n] if r in rcpts)
        return wait_for(done, seconds, step=0.1)


ALL = ("alice@mx.test", "carol@far.test", "dave@down.test")


def full_disk(images, what="blocks", seconds=60):
    """Test points: filled by load down to free-space, then by somebody else to the end."""
    inodes = what == "inodes"
    f = Full(images, mkfs=("-N", "2000") if inodes else ())
    # In the journal messages take no inodes: what comes in before they come to rest must not be too much for this test.
    load = f.fill(seconds, sizes=(200, 800), senders=2, pause=0.03) if inodes else f.fill(seconds)
    ok(load.replies[452] and not load.replies[451], f"{what}: after {load.replies[250]} messages intake answers 452", load.replies)
    ok(f.wait_delivered(ALL[:2]), f"{what}: mail for hosts that are up is delivered meanwhile", f.verdict(), f.mx.log()[-2000:])
    f.eat_inodes() if inodes else f.eat()
    time.sleep(1)
    load.end()
    before = len(load.acked)
    same(len(f.mx.events("intake_stopped")), 1, f"{what}: intake_stopped is logged once")
    os.kill(f.mx.pids("queue")[0], signal.SIGKILL)
    f.mx.wait_event("ended", 5)
    more = f.load([["alice@mx.test"]], senders=2, sizes=(100, 200))
    time.sleep(1)
    more.end()
    ok(not more.replies[250], f"{what}: nothing is accepted with none left, also after a restart of queue", more.replies)
    f.down = False
    ok(f.wait_delivered(ALL), f"{what}: a full disk is drained when the host comes up", f.verdict(), f.mx.log()[-2000:])
    ok(wait_for(lambda: queue_is_empty(f.mx), 20), f"{what}: the marks were made: the queue is empty", queue_text(f.mx))
    f.free()
    ok(f.mx.wait_event("intake_resumed"), f"{what}: intake resumes when there is room")
    last = f.load([["alice@mx.test"]], senders=2, sizes=(100, 200))
    ok(wait_for(lambda: last.replies[250] > 3, 10), f"{what}: mail is accepted again", last.replies)
    last.end()
    f.wait_delivered(ALL)
    v = f.verdict()
    ok(v and not v.twice, f"{what}: {v} ({before} before it was full)", v.story())


def full_suddenly(images, rounds=3):
    """Somebody else takes the last block in the middle of it, with nothing kept free; and gives it back. Again."""
    f = Full(images, free_space="0")
    load = f.load([["alice@mx.test", "carol@far.test", "dave@down.test"]], senders=4, sizes=(200, 9000))
    codes = []
    for _ in range(rounds):
        time.sleep(0.7)
        f.eat()
        n = sum(load.replies.values())
        wait_for(lambda: load.replies[452] and sum(load.replies.values()) > n + 50, 10)
        f.down = False  # marks are made while the disk is full
        time.sleep(0.7)
        codes.append(dict(load.replies))
        f.free()
        wait_for(lambda: load.replies[250] > codes[-1].get(250, 0) + 20, 15)
        f.down = True
    load.end()
    f.down = False
    ok(load.replies[452], f"suddenly: answers were {dict(load.replies)}", codes)
    stops = len(f.mx.events("intake_stopped"))  # a journal with room in its segments does not even notice
    ok(stops and wait_for(lambda: len(f.mx.events("intake_resumed")) == stops, 15), f"suddenly: intake stopped {stops} times and resumed",
       f.mx.events("intake_stopped"))
    f.wait_delivered(ALL)
    ok(wait_for(lambda: queue_is_empty(f.mx), 20), "suddenly: the queue is empty in the end", queue_text(f.mx),
       f.mx.log()[-2000:])
    v = f.verdict()
    ok(v and not v.twice, f"suddenly: {v}", v.story())


# --- a disk that fails ---------------------------------------------------------------------------------------------
ERRORS = (("EIO", "fsync,fdatasync,syncfs"), ("EIO", "pwrite64"), ("EIO", "fsync,fdatasync,syncfs,pwrite64,unlinkat"),
          ("ENOSPC", "pwrite64,openat"), ("EROFS", "openat,unlinkat,pwrite64"), ("EIO", "unlinkat"))


def disk_errors(images, error, calls, seconds=1.5):
    """Test points: the calls of queue fail for a time, under load."""
    what = f"{error} of {calls.replace(',', ' ')}"
    f = Full(images, megabytes=48, free_space="1M")
    f.down = False
    load = f.load([["alice@mx.test", "carol@far.test"], ["dave@down.test"]], senders=4, sizes=(200, 9000))
    wait_for(lambda: len(load.acked) > 50, 10)
    fault = Fault(f.mx.pids("queue")[0], error, calls)
    began = time.monotonic()
    first = wait_for(lambda: f.mx.events("intake_stopped"), 5) and time.monotonic() - began
    noticed = time.monotonic()
    time.sleep(seconds)
    ended, faked = time.monotonic(), fault.end()
    ok(first and first < 1.5, f"{what}: intake stops {first or 0:.2f} s after it begins", f.mx.log()[-1000:])
    late = [n for n, at in load.acked_at.items() if noticed + 0.2 < at < ended]
    same(late, [], f"{what}: no 250 after the failure ({faked} calls failed)")
    ok(load.replies[451] + load.replies[452] > 0 and not [c for c in load.replies if c not in (250, 451, 452)],
       f"{what}: it is answered 4xx", load.replies)
    ok(wait_for(lambda: f.mx.events("intake_resumed"), 15), f"{what}: intake resumes when the disk is well again", f.mx.log()[-2000:])
    same(len(f.mx.events("intake_stopped")), 1, f"{what}: intake_stopped is logged once")
    n = len(load.acked)
    ok(wait_for(lambda: len(load.acked) > n + 20, 15), f"{what}: mail is accepted again", load.replies)
    load.end()
    f.wait_delivered(ALL)
    v = f.verdict()
    ok(v and not v.twice, f"{what}: {v}", v.story())
    ok(wait_for(lambda: queue_is_empty(f.mx), 15), f"{what}: the queue is empty in the end", queue_text(f.mx),
       f.mx.log()[-2000:])


# --- the long forms --------------------------------------------------------------------------------------------------
def command():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("what", choices=("cuts", "storm", "full", "errors"))
    p.add_argument("--count", type=int, default=500)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--fs", default="ext4", choices=("ext4", "xfs"))
    p.add_argument("--mutant", nargs="?", const="queue", choices=("queue", "mailbox"), help="syncs of queue, or of mailboxes, do nothing: must lose mail")
    p.add_argument("--full", action="store_true", help="on a small disk that is filled and freed meanwhile")
    p.add_argument("--images", help="folder for disk images (default: /dev/shm)")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")
    return p.parse_args()


def long_cuts(args, rng):
    cuts = (FullCuts if args.full else Cuts)(images_folder(args.images), rng, fs=args.fs, mutant=args.mutant, **dict(s.split("=", 1) for s in args.setting))
    cuts.run(args.count, progress=True)
    if args.mutant:
        ok(cuts.total["lost"], f"without syncs ({args.mutant}): {cuts.report()}")
    else:
        ok(cuts.good(), f"{args.fs}: {cuts.report()}", *cuts.stories[:5])


def long_storm(args, rng):
    storm = Storm(rng)
    verdict = storm.run(args.minutes * 60, progress=True)
    ok(verdict, f"storm of {args.minutes:g} minutes: {storm.report()}", verdict.story())
    same(storm.local_twice, [], "no second copy in a Maildir")
    ok(storm.empty, "both queues are empty in the end", storm.mx.log()[-2000:])


def long_full(args, rng):
    for what in ("blocks", "inodes"):
        full_disk(images_folder(args.images), what)
        cleanup()
    full_suddenly(images_folder(args.images), 6)


def long_errors(args, rng):
    for error, calls in ERRORS:
        disk_errors(images_folder(args.images), error, calls, seconds=4)
        cleanup()


if __name__ == "__main__":
    arguments = command()
    why_not = None if arguments.what == "storm" else can_mount()
    if why_not:
        skip_all(why_not)
    print(f"# seed {arguments.seed}", flush=True)
    sys.argv[1:] = []

    def run():
        {"cuts": long_cuts, "storm": long_storm, "full": long_full, "errors": long_errors}[arguments.what](
            arguments, random.Random(arguments.seed))
    main(run)
