#!/usr/bin/env python3
"""dns.py: the tests' own small DNS server: UDP and TCP on one port, a zone from text or JSON.

    python3 tests/dns.py --host 127.0.0.1 --port 5300 ZONE...        (--port 0: any free one, see --port-file)
    from dns import DNS
    with DNS("example.test MX 10 mx.example.test\\nmx.example.test A 127.0.0.2\\n") as dns: ... dns.port, dns.queries

Text form, one record a line, '#' starts a comment:
    NAME [TTL] TYPE VALUE...       types A, AAAA, MX (preference host; the host "." is the null MX), CNAME, TXT
    NAME [TTL] WORD [TYPE]         what happens to a query for NAME (and TYPE): NXDOMAIN, SERVFAIL, REFUSED,
                                   TIMEOUT (no answer at all), TRUNCATE (UDP answers say: ask by TCP), EMPTY (no data)
JSON form: {"NAME": ["MX 10 mx.example.test", "60 A 192.0.2.1", "TIMEOUT AAAA"]}: the same without the name.
A name that is not there is NXDOMAIN; one that is, or that has others below it, answers "no data" for other types.
SIGHUP reads the files again.
"""
import argparse
import ipaddress
import json
import os
import signal
import socket
import struct
import sys
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "ANY": 255}
RCODES = {"EMPTY": 0, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
WORDS = set(RCODES) | {"TIMEOUT", "TRUNCATE"}


def wire_name(text):
    labels = [l.encode("latin-1") for l in text.rstrip(".").split(".") if l]
    return b"".join(bytes([len(l)]) + l for l in labels) + b"\0"


def read_name(data, at):
    """Of a question: no compression is looked for. Gives (text in lower case, offset behind)."""
    labels = []
    while data[at]:
        n = data[at]
        labels.append(data[at + 1:at + 1 + n].decode("latin-1").lower())
        at += n + 1
    return ".".join(labels), at + 1


def rdata(kind, value):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(value[0]).packed
    if kind == "MX":
        return struct.pack("!H", int(value[0])) + wire_name(value[1])
    if kind in ("CNAME", "PTR"):
        return wire_name(value[0])
    if kind == "TXT":
        text = " ".join(value).strip('"').encode("utf-8")
        return b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, len(text) or 1, 255))
    raise ValueError("type %s is not known here" % kind)


class Zone:
    def __init__(self):
        self.records = {}  # (name, type number) -> [(ttl, rdata)]
        self.words = {}    # (name, type number or None) -> word
        self.names = set()

    def add_line(self, line):
        words = line.split("#", 1)[0].split()
        if not words:
            return
        name, rest, ttl = words[0].rstrip(".").lower(), words[1:], 60
        if rest and rest[0].isdigit():
            ttl, rest = int(rest[0]), rest[1:]
        kind = rest[0].upper()
        for i in range(len(name.split("."))):  # the name and the empty names above it
            self.names.add(".".join(name.split(".")[i:]))
        if kind in WORDS:
            self.words[name, TYPES[rest[1].upper()] if len(rest) > 1 else None] = kind
        else:
            self.records.setdefault((name, TYPES[kind]), []).append((ttl, rdata(kind, rest[1:])))

    def add_text(self, text):
        for line in text.splitlines():
            self.add_line(line)
        return self

    def add_json(self, tree):
        for name, entries in tree.items():
            for entry in [entries] if isinstance(entries, str) else entries:
                self.add_line(name + " " + entry)
        return self

    def add_file(self, path):
        with open(path, encoding="utf-8") as f:
            return self.add_json(json.load(f)) if path.endswith(".json") else self.add_text(f.read())

    def find(self, name, kind):
        """Gives (rcode, [(name, type, ttl, rdata)], word); CNAMEs are followed, at most 16."""
        found = []
        for _ in range(16):
            word = self.words.get((name, kind)) or self.words.get((name, None))
            if word and word != "TRUNCATE":
                return RCODES.get(word, 0), found, word
            here = self.records.get((name, kind))
            if here:
                return 0, found + [(name, kind, ttl, data) for ttl, data in here], word
            alias = self.records.get((name, TYPES["CNAME"]))
            if not alias:
                return (0 if name in self.names else 3), found, word
            found.append((name, TYPES["CNAME"], alias[0][0], alias[0][1]))
            name = read_name(alias[0][1], 0)[0]
        return 2, [], None


def edns_size(query, at, additional):
    """The UDP size of an OPT record, or 512 without one."""
    if not additional or len(query) < at + 11 or query[at] != 0:
        return 512, False
    kind, size = struct.unpack("!HH", query[at + 1:at + 5])
    return (max(512, size), True) if kind == 41 else (512, False)


def answer(zone, query, tcp, note):
    """The reply to one query, or None for silence."""
    ident, flags, qd, _, _, ar = struct.unpack("!6H", query[:12])
    if flags & 0x8000 or qd != 1:
        return None
    name, at = read_name(query, 12)
    kind, _ = struct.unpack("!HH", query[at:at + 4])
    size, opt = edns_size(query, at + 4, ar)
    rcode, found, word = zone.find(name, kind)
    note(name, kind, tcp)
    if word == "TIMEOUT":
        return None
    soa = b""
    if not found and rcode in (0, 3):  # RFC 2308: how long "no" may be remembered
        top = wire_name(name.split(".")[-1])
        data = top + top + struct.pack("!5I", 1, 60, 60, 60, 60)
        soa = top + struct.pack("!HHIH", 6, 1, 60, len(data)) + data

    def build(records, authority, truncated):
        out = 0x8000 | (flags & 0x0110) | 0x0480 | rcode | (0x0200 if truncated else 0)
        reply = struct.pack("!6H", ident, out, 1, len(records), 1 if authority else 0, 1 if opt else 0)
        reply += query[12:at + 4]
        for owner, rtype, ttl, data in records:
            reply += wire_name(owner) + struct.pack("!HHIH", rtype, 1, ttl, len(data)) + data
        return reply + authority + (b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0) if opt else b"")

    reply = build(found, soa, False)
    if not tcp and (len(reply) > size or word == "TRUNCATE"):
        reply = build([], b"", True)
    return reply


class DNS:
    """A server in background threads. zone: text in the form above, a dict, or a Zone."""

    def __init__(self, zone="", host="127.0.0.1", port=0):
        self.queries = []  # (name, type name, "udp" or "tcp")
        self.set_zone(zone)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for _ in range(20):  # one port that is free for both
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.udp.bind((host, port))
            self.host, self.port = host, self.udp.getsockname()[1]
            self.tcp = socket.socket(family, socket.SOCK_STREAM)
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind((host, self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
                if port:
                    raise
        self.tcp.listen(64)

    def set_zone(self, zone):
        if isinstance(zone, str):
            zone = Zone().add_text(zone)
        elif isinstance(zone, dict):
            zone = Zone().add_json(zone)
        self.zone = zone

    def note(self, name, kind, tcp):
        names = {v: k for k, v in TYPES.items()}
        self.queries.append((name, names.get(kind, str(kind)), "tcp" if tcp else "udp"))
        del self.queries[:-10000]

    def reply(self, query, tcp):
        try:
            return answer(self.zone, query, tcp, self.note)
        except (IndexError, struct.error, ValueError):
            return None

    def serve_udp(self):
        while True:
            try:
                query, client = self.udp.recvfrom(4096)
                reply = self.reply(query, False)
                if reply:
                    self.udp.sendto(reply, client)
            except OSError:
                return

    def serve_connection(self, conn):
        with conn, conn.makefile("rb") as stream:
            while True:
                head = stream.read(2)
                if len(head) < 2:
                    return
                reply = self.reply(stream.read(struct.unpack("!H", head)[0]), True)
                if reply:
                    conn.sendall(struct.pack("!H", len(reply)) + reply)

    def serve_tcp(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_connection, args=(conn,), daemon=True).start()

    def start(self):
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def stop(self):
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("zones", nargs="*")
    ap.add_argument("--host", default="127.0.0.1")
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--port-file", help="the port is written here when the server answers")
    args = ap.parse_args()

    def load():
        zone = Zone()
        for path in args.zones:
            zone.add_file(path)
        return zone

    dns = DNS(load(), args.host, args.port).start()
    signal.signal(signal.SIGHUP, lambda *_: dns.set_zone(load()))
    if args.port_file:
        with open(args.port_file + ".tmp", "w", encoding="ascii") as f:
            f.write("%d\n" % dns.port)
        os.rename(args.port_file + ".tmp", args.port_file)
    print("dns: %s port %d" % (dns.host, dns.port), flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
