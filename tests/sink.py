"""sink.py - an SMTP host of the tests' own: takes mail, or behaves as badly as it is told."""
import re
import socket
import threading
import time


class Sink:
    """Listens on 127.0.0.1:port (0: any). behave maps a verb (or 'connect', 'dot') to a reply, or to 'close', 'hang'.
    caps are the EHLO words. messages: list of (sender, [rcpts], bytes); taken: list of (monotonic time, [rcpts], bytes)."""

    def __init__(self, port=0, behave=None, caps=("PIPELINING", "8BITMIME", "SIZE 10000000", "ENHANCEDSTATUSCODES")):
        self.behave, self.caps = behave or {}, caps
        self.messages, self.taken, self.sessions, self.lines = [], [], 0, []
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", port))
        self.server.listen(100)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        try:
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.server.close()

    def accept(self):
        while True:
            try:
                conn, _ = self.server.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def answer(self, conn, verb, default, arg=""):
        r = self.behave.get(verb, default)
        if callable(r):
            r = r(arg) or default
        if r == "hang":
            threading.Event().wait(600)
        if r == "close":
            raise ConnectionError
        conn.sendall(r.encode() + b"\r\n")
        return r

    def serve(self, conn):
        try:
            with conn, conn.makefile("rb") as f:
                self.session(conn, f)
        except (ConnectionError, OSError):
            pass

    def session(self, conn, f):
        sender, rcpts = None, []
        if not self.answer(conn, "connect", "220 sink.test ESMTP").startswith("2"):
            return
        for line in f:
            text = line.decode("latin1").rstrip("\r\n")
            self.lines.append(text)
            verb = text[:4].upper()
            if verb == "EHLO":
                self.answer(conn, verb, "\r\n".join(["250-sink.test"] + [f"250-{c}" for c in self.caps] + ["250 HELP"]))
            elif verb == "MAIL":
                sender, rcpts = re.search(r"<(.*?)>", text).group(1), []
                self.answer(conn, verb, "250 2.1.0 ok", text)
            elif verb == "RCPT":
                if self.answer(conn, verb, "250 2.1.5 ok", text).startswith("2"):
                    rcpts.append(re.search(r"<(.*)>", text).group(1))
            elif verb == "DATA":
                if not rcpts:
                    conn.sendall(b"554 5.5.1 no valid recipients\r\n")
                    continue
                if not self.answer(conn, verb, "354 go on").startswith("3"):
                    continue
                data = []
                for d in f:
                    if d == b".\r\n":
                        break
                    data.append(d[1:] if d.startswith(b".") else d)
                else:
                    return
                if self.answer(conn, "dot", "250 2.0.0 taken", b"".join(data)).startswith("2"):
                    self.messages.append((sender, rcpts, b"".join(data)))
                    self.taken.append((time.monotonic(), rcpts, b"".join(data)))
                sender, rcpts = None, []
            elif verb == "QUIT":
                conn.sendall(b"221 2.0.0 bye\r\n")
                return
            else:
                self.answer(conn, verb, "250 2.0.0 ok")
