#!/usr/bin/env python3
"""A large queue: started, listed, changed, interrupted, drained. POSTERN_SCALE messages; make million is the long form."""
import json
import resource
import shutil
import tempfile

from harness import *
from sink import Sink

COUNT = int(os.environ.get("POSTERN_SCALE", "10000"))
DUE = COUNT // 50


def large(**settings):
    """A suite that is not running, in whose spool a few messages are due and most are not; its sink; in memory, since many files
    are made and removed."""
    fast = pathlib.Path(tempfile.mkdtemp(prefix="postern-test.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    fast.chmod(0o755)
    on_cleanup(lambda: shutil.rmtree(fast, ignore_errors=True))
    sink = Sink()
    on_cleanup(sink.close)
    mx = Postern(start=False, retry_first="2h", retry_max="2h", spool_directory=fast / "queue", **settings)
    mx.routes(f"due.test smtp:[127.0.0.1]:{sink.port}\nfar.test smtp:[127.0.0.1]:{sink.port}\nrest.test smtp:[127.0.0.1]:{free_port()}\n")
    mx.start()
    time.sleep(0.5)
    mx.empty_rss = status(mx.pids("dispatch")[0], "VmRSS")
    mx.stop()
    mx.fill(DUE, "due.test", 600, -60)
    mx.fill(COUNT, "rest.test", 60, 7200)
    return mx, sink


# What the sanitizers add to memory is not ours.
SANITIZED = "#define POSTERN_SANITIZE 1" in (BUILD / "build-config.h").read_text()


def status(pid, name):
    """Of /proc, in KiB."""
    return int(re.search(rf"^{name}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1))


def at(event):
    return re.match(r"\S+", event).group(0)


def lines(mx, word):
    return [l for l in mx.log()[mx.log_mark:].splitlines() if word in l]


def recovered(mx, times=1):
    """Since the last start."""
    return wait_for(lambda: len(lines(mx, " recovered messages=")) >= times, 120)


def listed(mx, *options):
    code, out, err = mx.postern("queue", "list", "--json", *options)
    return json.loads(out) if code == 0 else (code, err)


def states(mx):
    s = json.loads(mx.postern("queue", "summary", "--json")[1])
    return s["messages"], sum(d["held"] for d in s["domains"])


def t_start_and_drain():
    """Fresh and due mail goes while the rest is read; waiting costs little memory; all is delivered in the end."""
    mx, sink = large()
    mx.start()
    same(mx.send("alice@mx.test", "now@far.test", message())[0], 250, "fresh mail is taken")
    ok(wait_for(lambda: any(m[1] == ["now@far.test"] for m in sink.messages), 30), "and sent", mx.log()[-1500:])
    ok(recovered(mx), "all is read", mx.log()[-1500:])
    first, over = lines(mx, ": delivered to=")[0], lines(mx, " recovered messages=")[0]
    ok(at(first) < at(over), "mail was delivered before all was read", first, over)
    ok(wait_for(lambda: len(sink.messages) == DUE + 1, 60), "all that was due is sent", len(sink.messages))
    dispatch, queue = mx.pids("dispatch")[0], mx.pids("queue")[0]
    wait_for(lambda: status(dispatch, "VmRSS") - mx.empty_rss < COUNT / 2, 15)  # it tidies up some seconds after a load
    grown = (status(dispatch, "VmRSS") - mx.empty_rss) * 1024
    ok(SANITIZED or grown <= 512 * COUNT, "a waiting message costs dispatch at most 512 octets", grown / COUNT)
    resting = status(queue, "VmRSS")
    ok(SANITIZED or resting <= 12 * 1024, "and queue nothing", resting)
    same(len(listed(mx)), COUNT, "a list shows all")
    same(len(listed(mx, "--recipient", "f1*7@rest.test", "--older", "30s", "--sender", "alice@*")),
         sum(1 for i in range(COUNT) if str(i)[0] == "1" and str(i)[-1] == "7" and len(str(i)) > 1), "a selection shows those that are meant")
    mx.routes(f"rest.test smtp:[127.0.0.1]:{sink.port}\n")
    same(mx.postern("queue", "flush", "--all")[0], 0, "flush")
    ok(wait_for(lambda: len(sink.messages) == DUE + 1 + COUNT, 240), "and all are sent", len(sink.messages), mx.log()[-1500:])
    ok(wait_for(lambda: mx.queue_count() == 0, 30), "the queue is empty")
    ends = [m[1][0] for m in sink.messages]
    same(len(ends), len(set(ends)), "nobody was served twice")


def t_unread_list():
    """A list that nobody reads holds up nobody, and is kept in no memory."""
    mx, sink = large()
    mx.start()
    ok(recovered(mx), "all is read", mx.log()[-1500:])
    queue = mx.pids("queue")[0]
    before = status(queue, "VmRSS")
    env = dict(os.environ, POSTERN_CONFIG=str(mx.config))
    tool = subprocess.Popen([BUILD / "tools/postern", "queue", "list", "--json"], stdout=subprocess.PIPE, env=env)
    on_cleanup(tool.kill)
    time.sleep(1)
    for i in range(20):
        mx.send("alice@mx.test", f"n{i}@far.test", message())
    ok(wait_for(lambda: len(sink.messages) >= DUE + 20, 60), "mail comes and goes meanwhile", len(sink.messages))
    ok(tool.poll() is None, "the tool still waits")
    ok(SANITIZED or status(queue, "VmRSS") - before < 4096, "queue keeps no list", before, status(queue, "VmRSS"))
    out = tool.stdout.read()
    tool.wait()
    ok(len(json.loads(out)) >= COUNT, "and then the list is whole", len(out))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ok(SANITIZED or peak < 64 * 1024, "no tool took much memory", peak)


def t_tarpit():
    """Thousands are due for a host that takes connections and never says a word: fresh mail goes as if there were none."""
    mx, sink = large(destination_concurrency="5")
    tarpit = Sink(behave={"connect": "hang"})
    on_cleanup(tarpit.close)
    mx.routes(f"due.test smtp:[127.0.0.1]:{sink.port}\nfar.test smtp:[127.0.0.1]:{sink.port}\nrest.test smtp:[127.0.0.1]:{tarpit.port}\n")
    mx.start()
    ok(recovered(mx), "all is read", mx.log()[-1500:])
    same(mx.postern("queue", "requeue", "--domain", "rest.test")[0], 0, "all are due now")
    ok(wait_for(lambda: tarpit.sessions >= 5, 60), "the tarpit has its connections")
    for i in range(5):
        mx.send("alice@mx.test", f"n{i}@far.test", message())
    ok(wait_for(lambda: len(sink.messages) == DUE + 5, 60), "fresh mail goes", len(sink.messages), mx.log()[-1500:])
    ok(tarpit.sessions <= 6, "the tarpit gets no more than its share", tarpit.sessions)
    dispatch = mx.pids("dispatch")[0]
    wait_for(lambda: status(dispatch, "VmRSS") - mx.empty_rss < COUNT / 2, 20)
    grown = status(dispatch, "VmRSS") - mx.empty_rss
    ok(SANITIZED or grown <= COUNT / 2, "and they cost dispatch at most 512 octets each", grown * 1024 / COUNT)


def interrupted(mx, how, *words):
    """Starts an operation, and does something to it when it has said how far it is (or it has ended)."""
    env = dict(os.environ, POSTERN_CONFIG=str(mx.config))
    tool = subprocess.Popen([BUILD / "tools/postern", "queue", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    time.sleep(0.15)
    how(tool)
    return tool.wait(60), tool.communicate()


def t_interrupted():
    """Ctrl-C, and the end of queue, in the middle of long operations: each message is as before or as it should be."""
    mx, sink = large()
    mx.start()
    ok(recovered(mx) and wait_for(lambda: len(sink.messages) == DUE, 60), "all is read", mx.log()[-1500:])
    code, out = interrupted(mx, lambda t: t.send_signal(signal.SIGINT), "hold", "--domain", "rest.test")
    count, held = states(mx)
    ok(count == COUNT and held <= COUNT, f"Ctrl-C: {held} of {count} are held, the others are as they were", code, out)
    code, out = interrupted(mx, lambda t: os.kill(mx.pids("queue")[0], signal.SIGKILL), "release", "--state", "held")
    ok(wait_for(lambda: mx.postern("queue", "hold", "--older", "100d")[0] == 0, 30), "another queue is there")
    ok(recovered(mx, 2), "and has read all", mx.log()[-1500:])
    count, still = states(mx)
    ok(count == COUNT and still <= held, f"killed: {still} are still held", code, out)
    code, out = interrupted(mx, lambda t: os.kill(mx.pids("queue")[0], signal.SIGKILL), "remove", "--recipient", "f*7@rest.test")
    ok(recovered(mx, 3), "killed in a remove, another has read all", mx.log()[-1500:])
    same(sum(int(e["set_aside"]) for e in mx.events("recovered")), 0, "nothing was damaged")
    mx.postern("queue", "hold", "--all")
    same(states(mx)[0] - states(mx)[1], 0, "hold --all holds all that is left")
    mx.postern("queue", "remove", "--recipient", "f*7@rest.test")
    mx.stop()
    code, out, err = mx.postern("queue", "check", "--json")
    left = COUNT - sum(1 for i in range(COUNT) if i % 10 == 7)
    same((code, json.loads(out)["messages"]), (0, left), "and the spool is in order")


if __name__ == "__main__":
    main(t_start_and_drain, t_unread_list, t_tarpit, t_interrupted)
