"""demo.py - the suite at work, for people: see ../demo."""
import sys
import time

from harness import *


def title(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def table(mx):
    """The processes as the kernel shows them."""
    print(f"  {'program':<15}{'pid':>7}{'uid':>7}  seccomp  no_new_privs  root directory")
    for pid in [mx.proc.pid] + sorted(mx.family()):
        st = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        root = os.readlink(f"/proc/{pid}/root")
        print(f"  {comm(pid):<15}{pid:>7}{st['Uid'].split()[0]:>7}  {'on' if st['Seccomp'] == '2' else 'off':<9}{'on' if st['NoNewPrivs'] == '1' else 'off':<14}{root}")


def show(mx, name, sent):
    """The journey of the newest message, as `postern trace` tells it."""
    qid = mx.events("queued")[-1]["id"]
    title(f"The journey of the message sent by {name} ({qid})")
    code, out, err = mx.postern("trace", qid)
    print(out if code == 0 else err)


def run(once):
    title("Starting the suite")
    submission = free_port()
    mx = Postern("demo", users=("alice",), listen_submission=f"127.0.0.1:{submission}", start=False)
    mx.tool("passwd", "alice", stdin=b"wonderland\n")
    mx.start()
    print(f"  configuration {mx.config}\n  SMTP          127.0.0.1 port {mx.port}; for alice, password wonderland: port {submission}\n  log           {mx.dir}/log")
    if not ROOT:
        print("  (not root: all programs run under your own UID, inside seccomp and Landlock; run as root to see the real UIDs)")
    table(mx)

    with mx.smtp() as s:
        s.cmd("EHLO client.example")
        s.starttls()
        reply = s.send("stranger@example.net", ["alice@demo.test"], message("by SMTP", body="Hello by SMTP.\r\n"))
        title(f"A message by SMTP, {s.sock.version()} by STARTTLS: {reply[0]} {reply[1]}")
    if not mx.wait_mail("alice", 1) or not mx.wait_event("retired"):
        raise SystemExit(f"demo: it did not arrive; the log:\n{mx.log()[-4000:]}")
    show(mx, "SMTP", 1)

    r = mx.tool("-i", "alice", program="submit/sendmail", stdin=b"Subject: by sendmail\n\nHello by sendmail(1).\n", user="alice")
    title(f"A message by sendmail(1): exit {r.returncode} {r.stderr.decode()}")
    if len(mx.wait_mail("alice", 2)) != 2 or not mx.wait_event("retired", count=2):
        raise SystemExit(f"demo: it did not arrive; the log:\n{mx.log()[-4000:]}")
    show(mx, "sendmail(1)", 2)

    title(f"alice's mailbox, {mx.dir}/home/alice/Maildir")
    for mail in mx.maildir("alice"):
        print("".join(f"  | {line}\n" for line in mail.decode(errors="replace").splitlines()))

    if once:
        status = mx.stop()
        title(f"The suite has stopped, exit status {status}")
        return status
    title("The suite is running. Try it:")
    print(f"  swaks --server 127.0.0.1:{mx.port} --to alice@demo.test\n"
          f"  swaks --server 127.0.0.1:{submission} -tls --auth-user alice --auth-password wonderland --from alice@demo.test --to alice@demo.test\n"
          f"  POSTERN_CONFIG={mx.config} {BUILD}/tools/postern queue list\n"
          f"  POSTERN_CONFIG={mx.config} {BUILD}/submit/sendmail alice < letter\n"
          f"  tail -f {mx.dir}/log\nCtrl-C stops it and removes {mx.dir}.")
    sys.stdout.flush()
    try:
        while mx.proc.poll() is None:
            time.sleep(0.5)
        print(f"posternd ended by itself with status {mx.proc.returncode}:\n{mx.output()}")
        return 1
    except KeyboardInterrupt:
        title("Stopping")
        return mx.stop()


if __name__ == "__main__":
    try:
        sys.exit(run("--once" in sys.argv[1:]))
    finally:
        cleanup()
