#!/usr/bin/env python3
"""What an administrator does with queued mail: selections, hold rules, return, redirection, maintenance."""
import json
import shutil
import tempfile

from harness import *
from sink import Sink


def rows(mx, *options):
    code, out, err = mx.postern("queue", "list", "--json", *options)
    return json.loads(out) if code == 0 else (code, err)


def ids(mx, *options):
    return sorted(r["id"] for r in rows(mx, *options))


def done(mx, what, *args):
    """The number of messages that an operation says it was done to."""
    code, out, err = mx.postern("queue", what, "--json", *args)
    return json.loads(out)["messages"] if code == 0 else (code, out, err)


def t_selection():
    """Messages are chosen by sender, recipient, domain, age, size, state and reason; operations touch no others."""
    mx = Postern(retry_first="1h", retry_max="1h")
    one, two = free_port(), Sink(behave={"RCPT": "451 4.7.1 greylisted, come back"})
    on_cleanup(two.close)
    mx.routes(f"one.test smtp:[127.0.0.1]:{one}\ntwo.test smtp:[127.0.0.1]:{two.port}\n")
    mx.send("alice@mx.test", "a@one.test", message("1"))
    mx.send("Bob@mx.test", "b@one.test", message("2", body="x" * 5000 + "\r\n"))
    mx.send("alice@mx.test", ["c@two.test", "d@two.test"], message("3"))
    mx.send("", "e@two.test", message("4"))
    ok(wait_for(lambda: len(rows(mx, "--state", "deferred")) == 4), "four messages wait", mx.log()[-1500:])
    for options, want in [
            ((), 4), (("--sender", "alice@*"), 2), (("--sender", "BOB@mx.test"), 1), (("--sender", "<>"), 1), (("--sender", "*"), 3),
            (("--recipient", "?@one.test"), 2), (("--domain", "two.test"), 2), (("--domain", "t*"), 2), (("--reason", "greylist"), 2),
            (("--reason", "451*Come"), 2), (("--reason", "refused"), 2), (("--larger", "4K"), 1), (("--smaller", "4K"), 3),
            (("--older", "1h"), 0), (("--newer", "1h"), 4), (("--state", "fresh"), 0), (("--state", "held"), 0),
            (("--domain", "two.test", "--sender", "alice@*"), 1), (("--domain", "one.test", "--reason", "greylist"), 0)]:
        same(len(rows(mx, *options)), want, f"list {' '.join(options)}")
    code, out, err = mx.postern("queue", "hold", "--domain", "one.test", "--dry-run")
    ok(code == 0 and "a@one.test" in out and "two.test" not in out, "--dry-run shows what is meant", out, err)
    same(rows(mx, "--state", "held"), [], "and changes nothing")
    same(done(mx, "hold", "--domain", "one.test"), 2, "hold")
    same(len(rows(mx, "--state", "held")), 2, "two are held")
    same(done(mx, "hold", "--domain", "one.test"), 0, "they are held already")
    code, out, err = mx.postern("queue", "summary")
    ok(code == 0 and "2 held" in out and "two.test" in out and "greylisted" in out, "summary groups by domain and reason", out, err)
    s = json.loads(mx.postern("queue", "summary", "--json")[1])
    same({d["name"]: (d["recipients"], d["held"]) for d in s["domains"]}, {"one.test": (2, 2), "two.test": (3, 0)}, "as JSON")
    sink = Sink(port=one)
    on_cleanup(sink.close)
    mx.postern("queue", "flush")
    mx.stop()
    mx.start()
    time.sleep(1)
    same(len(rows(mx, "--state", "held")), 2, "a hold survives a restart")
    same(len(sink.messages), 0, "and a flush: nothing was sent")
    same(done(mx, "release", "--recipient", "a@*"), 1, "release of one: it goes, not later than the other")
    mx.postern("queue", "flush")
    ok(wait_for(lambda: len(sink.messages) == 1), "it is delivered", mx.log()[-1500:])
    same(done(mx, "requeue", "--state", "held"), 1, "requeue keeps the hold")
    same(rows(mx, "--state", "held")[0]["recipients"][0]["attempts"], 0, "and its attempts are forgotten")
    same(done(mx, "release", *ids(mx, "--state", "held")), 1, "release by id: requeued, so it goes at once")
    ok(wait_for(lambda: len(sink.messages) == 2), "it is delivered", mx.log()[-1500:])
    same(done(mx, "remove", "--sender", "<>"), 1, "remove")
    same(len(rows(mx)), 1, "one message is left")
    for wrong in [("hold",), ("remove", "--older", "soon"), ("remove", "--state", "sad"), ("hold", "x"), ("expire", "--sender", "")]:
        same(mx.postern("queue", *wrong)[0], 64, f"postern queue {' '.join(wrong)} is refused")
    same(len(rows(mx)), 1, "and does nothing")


def t_expire():
    """expire returns mail to its sender at once, held or not; a bounce just ends."""
    mx = Postern(retry_first="1h", retry_max="1h")
    mx.routes(f"down.test smtp:[127.0.0.1]:{free_port()}\n")
    mx.send("alice@mx.test", ["x@down.test", "y@down.test"], message("first"))
    mx.send("bob@mx.test", "z@down.test", message("second"))
    mx.send("", "null@down.test", message("third"))
    ok(wait_for(lambda: len(rows(mx, "--state", "deferred")) == 3), "three wait", mx.log()[-1500:])
    same(done(mx, "hold", "--sender", "bob*"), 1, "one is held")
    same(done(mx, "expire", "--all"), 3, "expire")
    for user, names in (("alice", ("x@down.test", "y@down.test")), ("bob", ("z@down.test",))):
        mails = mx.wait_mail(user)
        ok(len(mails) == 1 and all(n.encode() in mails[0] for n in names) and b"administrator" in mails[0],
           f"{user} gets one report", mails, mx.log()[-2000:])
    ok(wait_for(lambda: mx.queue_count() == 0), "the queue is empty", mx.log()[-1500:])


def t_hold_rule():
    """New mail that matches the setting hold is queued held; the setting is live."""
    sink = Sink()
    on_cleanup(sink.close)
    mx = Postern(hold="*@spam.test carol@*")
    mx.routes(f"* smtp:[127.0.0.1]:{sink.port}\n")
    mx.send("x@Spam.test", "a@far.test", message())
    mx.send("x@fine.test", ["b@far.test", "carol@far.test"], message())
    mx.send("x@fine.test", "d@far.test", message())
    ok(wait_for(lambda: len(sink.messages) == 1), "only the third goes", mx.log()[-1500:])
    same(len(rows(mx, "--state", "held")), 2, "the others are held")
    mx.kill()
    mx.start()
    same(len(rows(mx, "--state", "held")), 2, "from the first moment: a crash does not let them go")
    mx.write_config(hold="")
    mx.proc.send_signal(signal.SIGHUP)
    ok(mx.wait_event("config_loaded", count=1), "a reload")
    time.sleep(0.3)
    mx.send("x@spam.test", "e@far.test", message())
    ok(wait_for(lambda: len(sink.messages) == 2), "ends the rule", mx.log()[-1500:])
    same(done(mx, "release", "--all"), 2, "release")
    ok(wait_for(lambda: len(sink.messages) == 4 and mx.queue_count() == 0), "and all is delivered", mx.log()[-1500:])


def t_routes_and_recipients():
    """A changed route table counts at once for all that waits for a host; a recipient of queued mail can be replaced."""
    sink = Sink()
    on_cleanup(sink.close)
    mx = Postern(retry_first="1h", retry_max="1h")
    mx.routes(f"old.test smtp:[127.0.0.1]:{free_port()}\n")
    mx.send("alice@mx.test", "route@old.test", message("route"))
    mx.send("alice@mx.test", ["wrong@old.test", "other@old.test"], message("rcpt"))
    ok(wait_for(lambda: len(rows(mx, "--state", "deferred")) == 2), "two wait", mx.log()[-1500:])
    second = ids(mx, "--recipient", "wrong@*")[0]
    code, out, err = mx.postern("queue", "redirect", second, "nobody@old.test", "bob@mx.test")
    ok(code != 0, "redirect of a recipient that it has not", out, err)
    same(mx.postern("queue", "redirect", second, "wrong@old.test", "not an address")[0] != 0, True, "or to no address")
    code, out, err = mx.postern("queue", "redirect", second, "Wrong@old.test", "bob@mx.test")
    same(code, 0, "redirect " + err)
    same(len(mx.wait_mail("bob")), 1, "goes to the new recipient at once")
    def states():
        return [r["state"] for m in rows(mx, "--recipient", "*@old.test") if m["id"] == second for r in m["recipients"]]
    wait_for(lambda: states()[-1] == "delivered", 5)
    same(states(), ["expanded", "deferred", "delivered"],
         "it is on record as an expansion, and the other waits on")
    mx.routes(f"old.test smtp:[127.0.0.1]:{sink.port}\n")
    ok(wait_for(lambda: [m[1] for m in sink.messages] == [["route@old.test"]]), "what waits for the host goes by the new route at once")
    mx.postern("queue", "flush")  # the other was read again from the spool, where only a time stands
    ok(wait_for(lambda: sorted(m[1] for m in sink.messages) == [["other@old.test"], ["route@old.test"]]), "as does what is tried",
       [m[1] for m in sink.messages], mx.log()[-2000:])
    ok(wait_for(lambda: mx.queue_count() == 0), "the queue is empty")
    same(len(mx.maildir("bob")), 1, "nobody was served twice")


def t_reroute_many():
    """Queued for a host that takes connections and says nothing, and for one that is down: a new route moves them all."""
    tarpit, sink, two = Sink(behave={"connect": "hang"}), Sink(), Sink()
    for s in (tarpit, sink, two):
        on_cleanup(s.close)
    mx = Postern(retry_first="1h", retry_max="1h", destination_concurrency="2", reply_timeout="3s", local_domains="mx.test")
    mx.routes(f"slow.test smtp:[127.0.0.1]:{tarpit.port}\ndown.test smtp:[127.0.0.1]:{free_port()}\n")
    for i in range(30):
        mx.send("alice@mx.test", f"s{i}@slow.test", message())
        mx.send("alice@mx.test", f"d{i}@down.test", message())
    ok(wait_for(lambda: len(rows(mx, "--domain", "down.test", "--state", "deferred")) == 30), "30 wait for a host that is down", mx.log()[-1500:])
    mx.routes(f"slow.test smtp:[127.0.0.1]:{sink.port}\ndown.test smtp:[127.0.0.1]:{two.port}\n")
    ok(wait_for(lambda: len(two.messages) == 30), "they go by the new route", len(two.messages), mx.log()[-1500:])
    ok(wait_for(lambda: len(sink.messages) >= 28), "and so do those in the slow one's queue, but for what is under way", len(sink.messages), mx.log()[-1500:])
    for _ in range(20):
        if mx.queue_count() == 0:
            break
        time.sleep(1)
        mx.postern("queue", "flush")
    same((len(sink.messages), mx.queue_count()), (30, 0), "all of them in the end, each once")
    mx.routes("down.test error:5.7.1 no more\n")
    same(mx.send("alice@mx.test", "x@down.test", message())[0], 554, "a table made anew counts for the next question, without a wait")


def t_maintenance():
    """deliveries = no: mail is taken and kept; with yes it goes."""
    sink = Sink()
    on_cleanup(sink.close)
    mx = Postern(deliveries="no")
    mx.routes(f"far.test smtp:[127.0.0.1]:{sink.port}\n")
    for i in range(20):
        mx.send("alice@mx.test", f"r{i}@far.test", message())
    time.sleep(1)
    same((len(sink.messages), mx.queue_count(), len(rows(mx, "--state", "fresh"))), (0, 20, 20), "20 messages are kept, none is tried")
    cpu = [sum(map(int, pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(") ", 1)[1].split()[11:13])) for p in mx.pids("dispatch")]
    time.sleep(1)
    again = [sum(map(int, pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(") ", 1)[1].split()[11:13])) for p in mx.pids("dispatch")]
    ok(again[0] - cpu[0] <= 5, "dispatch does nothing meanwhile", cpu, again)
    mx.write_config(deliveries="yes")
    mx.proc.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: len(sink.messages) == 20 and mx.queue_count() == 0), "a reload with yes delivers them", mx.log()[-1500:])


def t_users():
    """An ordinary user sees and removes the mail that he sent; the rest is root's."""
    if not ROOT:
        return
    mx = Postern(retry_first="1h", retry_max="1h")
    mx.routes(f"down.test smtp:[127.0.0.1]:{free_port()}\n")
    for user in ("alice", "bob"):
        mx.tool("-i", f"x-{user}@down.test", program="submit/sendmail", stdin=b"Subject: q\n\nbody\n", user=user)
    ok(wait_for(lambda: len(rows(mx, "--state", "deferred")) == 2), "two wait")
    for op in ("hold", "release", "requeue", "expire", "flush"):
        code, out, err = mx.postern("queue", op, "--all", user="alice")
        same(code, 77, f"alice may not {op}")
    mine = ids(mx, "--sender", "alice@*")[0]
    same(mx.postern("queue", "redirect", mine, "x-alice@down.test", "alice@mx.test", user="alice")[0], 77, "nor redirect")
    theirs = ids(mx, "--sender", "bob@*")[0]
    for op in ("show", "cat", "remove"):
        code, out, err = mx.postern("queue", op, theirs, user="alice")
        ok(code == 69 and "bob" not in out + err, f"{op} of another's message is as if there were none", code, out, err)
    ok("x-alice@down.test" in mx.postern("queue", "show", mine, user="alice")[1] and "body" in mx.postern("queue", "cat", mine, user="alice")[1], "of hers it is shown")
    code, out, err = mx.postern("queue", "remove", "--all", "--json", user="alice")
    same(json.loads(out)["messages"], 1, "remove --all removes hers")
    same([r["sender"] for r in rows(mx)], ["bob@mx.test"], "and nobody else's")
    code, out, err = mx.postern("queue", "summary", "--json", user="alice")
    same(json.loads(out)["messages"], 0, "a summary counts hers only")


def t_fresh_first():
    """A fresh message is served at once while many wait for a dead host."""
    sink = Sink()
    on_cleanup(sink.close)
    count = int(os.environ.get("POSTERN_WAITING", "20000"))
    # In memory: what is measured is the programs, and 40,000 files are made and removed.
    fast = pathlib.Path(tempfile.mkdtemp(prefix="postern-test.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    fast.chmod(0o755)
    on_cleanup(lambda: shutil.rmtree(fast, ignore_errors=True))
    mx = Postern(start=False, spool_directory=fast / "queue")
    mx.routes(f"dead.test smtp:[127.0.0.1]:{free_port()}\nfar.test smtp:[127.0.0.1]:{sink.port}\n")
    mx.fill(count, "dead.test")
    mx.start()
    began = time.monotonic()
    mx.send("alice@mx.test", "now@far.test", message())
    ok(wait_for(lambda: sink.messages), "a fresh message is served")
    took = time.monotonic() - began
    ok(took < 2 * float(os.environ.get("POSTERN_TEST_PATIENCE", "1")), f"at once, while {count} are read from the spool", took)
    ok(mx.wait_event("recovered", 30), "all are read", mx.log()[-500:])
    mx.wait_event("host_down", 20)
    began = time.monotonic()
    mx.send("alice@mx.test", "again@far.test", message())
    ok(wait_for(lambda: len(sink.messages) == 2), "and another")
    took = time.monotonic() - began
    ok(took < 2 * float(os.environ.get("POSTERN_TEST_PATIENCE", "1")), f"while they wait for the dead host", took)
    same(len(json.loads(mx.postern("queue", "summary", "--json")[1])["domains"]), 1, "they all still wait")


if __name__ == "__main__":
    main(t_selection, t_expire, t_hold_rule, t_routes_and_recipients, t_reroute_many, t_maintenance, t_users, t_fresh_first)
