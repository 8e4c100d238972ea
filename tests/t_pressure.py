#!/usr/bin/env python3
"""When delivery falls behind, intake slows before the machine does; and delivery goes on under a flood."""
from harness import *
from load import Load, Verdict, of_sink, wait_all
from sink import Sink


def rss(pid):
    """KiB."""
    return int(re.search(r"VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def accepted_in(load, seconds):
    before = len(load.acked)
    time.sleep(seconds)
    return len(load.acked) - before


def t_stopped():
    """dispatch stands still: what comes in goes down to a trickle, and all of it is delivered when dispatch goes on."""
    mx, sink = Postern(behind_limit=300), Sink()
    on_cleanup(sink.close)
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    queue, dispatch = mx.pids("queue")[0], mx.pids("dispatch")[0]
    os.kill(dispatch, signal.SIGSTOP)
    load = Load(mx, [["x@far.test"]], senders=20, sizes=(100, 2000))
    ok(wait_for(lambda: len(load.acked) > 600, 40), "mail is taken while dispatch stands still", len(load.acked), load.replies)
    n = accepted_in(load, 3)
    ok(n <= 3 * 20 + 3 * 20, f"far behind, {n} messages come in within 3 s, from 20 senders", load.replies)
    ok(set(load.replies) == {250}, "nobody is refused", load.replies)
    ok(rss(queue) < 100000, f"queue keeps {rss(queue)} KiB in memory")
    os.kill(dispatch, signal.SIGCONT)
    before = len(load.acked)
    ok(wait_for(lambda: len(load.acked) > before + 400, 30), "when dispatch goes on intake does too", len(load.acked), mx.log()[-1000:])
    load.end()
    wait_all(load.acked, load.sent, lambda: of_sink(sink), 60)
    v = Verdict(load.sent, load.acked, of_sink(sink))
    ok(v and not v.twice, f"{v}", v.story())


def t_slow_host():
    """A host that takes its time: intake goes down to what it takes; mail for others that was queued before is delivered."""
    slow, quick = Sink(behave={"RCPT": lambda text: time.sleep(0.02)}), Sink()
    on_cleanup(slow.close)
    on_cleanup(quick.close)
    mx = Postern(behind_limit=100)
    mx.routes(f"slow.test smtp:[127.0.0.1]:{slow.port}\nquick.test smtp:[127.0.0.1]:{quick.port}\n")
    load = Load(mx, [["x@slow.test"], ["y@quick.test"]], senders=20, sizes=(100, 2000))
    ok(wait_for(lambda: len(load.acked) > 500, 60), "mail is taken", load.replies)
    ok(wait_for(lambda: len(quick.messages) > 100, 60), "mail for the other host is delivered under the flood")
    load.end()
    deliveries = lambda: of_sink(slow) + of_sink(quick)  # noqa: E731
    wait_all(load.acked, load.sent, deliveries, 60)
    v = Verdict(load.sent, load.acked, deliveries())
    ok(v and not v.twice, f"{v}", v.story())
    ok(wait_for(lambda: mx.queue_count() == 0, 20), "the queue is empty in the end")


def t_nothing_to_deliver():
    """deliveries = no: nothing leaves, and that is no reason to take mail more slowly."""
    mx = Postern(behind_limit=50, deliveries="no")
    load = Load(mx, [["x@far.test"]], senders=20, sizes=(100, 2000))
    ok(wait_for(lambda: len(load.acked) > 1500, 20), "far more comes in than 20 a second", len(load.acked), load.replies)
    load.end()
    ok(mx.queue_count() >= len(load.acked), "and all of it is queued")


if __name__ == "__main__":
    main(t_stopped, t_slow_host, t_nothing_to_deliver)
