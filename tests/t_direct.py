#!/usr/bin/env python3
"""The other spool-mode, direct: files that are synced one by one instead of the journal."""
import os

os.environ["POSTERN_SPOOL_MODE"] = "direct"

import t_crash  # noqa: E402
import t_power  # noqa: E402
import t_queue  # noqa: E402
from harness import *  # noqa: E402


def t_both_ways():
    """What one mode has left the other takes over, and back."""
    mx = Postern(retry_first="1s", retry_max="1s")
    port = free_port()
    mx.routes(f"down.test smtp:[127.0.0.1]:{port}\n")
    for mode in ("direct", "journal", "direct"):
        mx.kill()
        mx.write_config(spool_mode=mode)
        mx.start()
        same(mx.send("a@c.test", "x@down.test", message(mode))[0], 250, f"accepted in mode {mode}")
    segments = list(pathlib.Path(mx.settings["spool-directory"]).glob("journal.*"))
    same(segments, [], "direct has no segments")
    sink = t_queue.Sink(port=port)
    on_cleanup(sink.close)
    ok(wait_for(lambda: len(sink.messages) >= 3, 30), "all three arrive", len(sink.messages), mx.log()[-2000:])
    ok(wait_for(lambda: mx.queue_count() == 0, 20), "and leave the queue")
    same(len(sink.messages), 3, "once")


if __name__ == "__main__":
    power = [] if t_power.can_mount() else [t_power.t_cuts, t_power.t_full, t_power.t_errors]
    main(t_both_ways, t_queue.t_retry, t_queue.t_aliases, t_queue.t_queue_tool, t_crash.t_three_ways, t_crash.t_kill_each, *power)
