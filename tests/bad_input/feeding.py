"""Cases that a running edge must take, count and outlive: payloads and packets of devices.

One edge (edge.yaml) for all of them. After each case the counters of the status must have moved by exactly what the case
expects, received must equal the sum of its outcomes, and a sound message must be served.
"""

import json
import re
import socket
import struct

from case_files import HERE, Header, listed_cases
from harness import ROOT, Edge, wait_for
from raw_mqtt import CONNACK, DISCONNECT, PUBACK, RawClient, packet, string

OUTCOMES = ("duplicate", "filtered", "dead_letter", "stored", "refused")
COUNTED = (*OUTCOMES, "values_unfit")
SETTLE_S = 20
TOPIC = "sensors/press-1/readings"
SOUND = {"table": b"index,machine\n1,press-1\n"}
SOUND_JSON = b'{"index": 1, "machine": "press-1", "temperature": 60.0}'


class Target:
    """The edge of the cases, with one connected device per source and what was counted so far."""

    def __init__(self):
        self.edge = Edge((HERE / "edge.yaml").read_text(), {"picky.onnx": ROOT / "tests/data/models/picky.onnx"})
        self.devices = {}
        self.packet_id = 0
        self.dead_letters = []      # (case, payload, note) in the order in which they must be stored

    def __enter__(self):
        self.edge.__enter__()
        return self

    def __exit__(self, *error):
        self.hang_up()
        return self.edge.__exit__(*error)

    def hang_up(self):
        for device in self.devices.values():
            device.drop()
        self.devices.clear()

    def source(self, name):
        return next(s for s in self.edge.status()["sources"] if s["name"] == name)

    def settled(self, name):
        """The source's counters with nothing in flight; received must be the sum of the outcomes."""
        counts = wait_for("nothing in flight", lambda: (lambda c: c if c["in_flight"] == 0 else None)(self.source(name)),
                          SETTLE_S)
        total = sum(counts[outcome] for outcome in OUTCOMES)
        if counts["received"] != total:
            raise AssertionError(f"received {counts['received']}, but the outcomes are {total}: {counts}")
        return counts

    def pipeline(self):
        return self.edge.status()["pipelines"][0]

    def publish(self, name, payload, topic=TOPIC):
        """At QoS 1, until it is acknowledged: on disk, as a reading or as a dead letter."""
        device = self.devices.get(name)
        if device is None:
            device = self.devices[name] = RawClient(self.edge.address(name), 5)
            device.connect("press-1")
        self.packet_id = self.packet_id % 65535 + 1
        device.publish(topic, payload, 1, self.packet_id)
        answer = device.expect(PUBACK, SETTLE_S)
        if answer.packet_id != self.packet_id:
            raise AssertionError(f"PUBACK of packet id {answer.packet_id}, not {self.packet_id}")

    def serves(self, name):
        """A sound message goes the whole way: stored and scored."""
        before, scored = self.settled(name), self.pipeline()["scored"]
        self.publish(name, SOUND.get(name, SOUND_JSON))
        after = self.settled(name)
        if after["stored"] != before["stored"] + 1:
            raise AssertionError(f"a sound message is not served: {before} then {after}")
        wait_for("a sound message scored", lambda: self.pipeline()["scored"] == scored + 1, SETTLE_S)


class Payload:
    """A message of a device. The entry says the outcome: `dead_letter: "REASON"`, or counters that move (stored,
    filtered, duplicate, values_unfit, unscored) and in `check` what found it."""

    def __init__(self, path, entry):
        self.path, self.name = path, f"{path.parent.name}/{path.name}"
        if not isinstance(entry, dict) or ("dead_letter" in entry) == ("check" in entry):
            raise AssertionError(f"{self.name} has no outcome in expect.yaml: dead_letter, or counters and check")
        self.entry = dict(entry)
        self.check = self.entry.pop("check", None)
        self.source = self.entry.pop("source", "table" if path.parent.name == "csv" else "direct")
        self.trouble = self.entry.pop("trouble", None)
        self.twice = self.entry.pop("twice", False)
        self.grow = self.entry.pop("grow", 0)
        self.reason = self.entry.pop("dead_letter", None)
        unknown = set(self.entry) - {"stored", "filtered", "duplicate", "values_unfit", "unscored", "time_missing"}
        if unknown:
            raise AssertionError(f"{self.name}: unknown outcome {unknown}")

    @property
    def messages(self):
        return [self.reason if self.check is None else self.check]

    def play(self, target):
        payload = self.path.read_bytes()
        if self.grow:      # the first x stands for so many of them
            payload = payload.replace(b"x", b"x" * self.grow, 1)
        before, unscored = target.settled(self.source), target.pipeline()["unscored"]
        for _ in range(2 if self.twice else 1):
            target.publish(self.source, payload)
        after = target.settled(self.source)
        expected = {name: self.entry.get(name, 0) for name in COUNTED}
        if self.reason is not None:
            expected["dead_letter"] = 1
            target.dead_letters.append((self.name, payload, self.reason))
        moved = {name: after[name] - before[name] for name in COUNTED}
        if moved != expected:
            raise AssertionError(f"{self.name} moved {moved}, not {expected}")
        if "unscored" in self.entry:
            wait_for("a row without a score", lambda: target.pipeline()["unscored"] == unscored + self.entry["unscored"],
                     SETTLE_S)
        if self.trouble is not None and self.trouble not in target.pipeline()["trouble"]:
            raise AssertionError(f"{self.name}: trouble is {target.pipeline()['trouble']!r}, not {self.trouble!r}")
        if "time_missing" in self.entry:
            row = target.edge.rows("readings")[-1]
            if row["time_missing"] != self.entry["time_missing"]:
                raise AssertionError(f"{self.name}: stored with {row}")
        target.serves(self.source)


def dead_letters_as_expected(target):
    """What is wrong about them: each must hold bytes of its message and exactly its reason, in order, and no other."""
    got = [(row["note"], row["payload"]) for row in target.edge.rows("dead_letter")]
    failures = []
    for (name, payload, reason), (note, stored) in zip(target.dead_letters, got):
        if reason is not None and note != reason:
            failures.append(f"{name}: the reason is {note!r}, expected {reason!r}")
        shown = None if payload is None else payload.decode(errors="replace")
        if shown is not None and "\ufffd" not in shown and stored.rstrip("\n") not in shown:
            failures.append(f"{name}: stored is {stored[:100]!r}")
    if len(got) != len(target.dead_letters):
        failures.append(f"{len(got)} dead letters, expected {len(target.dead_letters)}")
    return failures


def packet_bytes(text):
    """`10 [ "MQTT" 04 ]`: hexadecimal digits; a text in double quotes with its length before it, in single quotes
    without; `61*600` a byte so many times; `[ … ]` with their length as a variable byte integer before them."""
    open_parts = [b""]
    for token in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", text):
        if token == "[":
            open_parts.append(b"")
            continue
        if token == "]":
            inner = open_parts.pop()
            part = packet(0, inner)[1:]
        elif token[0] == '"':
            part = string(token[1:-1])
        elif token[0] == "'":
            part = token[1:-1].encode()
        elif repeated := re.fullmatch(r"([0-9a-f]{2})\*(\d+)", token):
            part = bytes.fromhex(repeated[1]) * int(repeated[2])
        else:
            part = bytes.fromhex(token)
        open_parts[-1] += part
    return open_parts[0]


def reason_string(properties):
    """Of a refusal of MQTT 5, where it is the only property; empty without one."""
    if properties[1:2] != b"\x1f":
        return ""
    return properties[4:4 + struct.unpack(">H", properties[2:4])[0]].decode()


class Packet:
    """Bytes on a connection of their own. `connect 5 NAME` and `connect 4 NAME` are a sound beginning.

    `# expect: closed 0x81 "why"` is a DISCONNECT of MQTT 5 and its reason string; `# expect: connack 0x84 "why"` a
    refusal; `# expect: closed` the end without a word; `# expect: suback 0x8f`, `# expect: puback 0x87` an answer and the
    connection goes on. `check:` says what found it where nothing on the wire does.
    """

    def __init__(self, path):
        self.path, self.name = path, f"{path.parent.name}/{path.name}"
        header = Header(path)
        self.expected = header.expect[0] if len(header.expect) == 1 else ""
        self.check = header.all("check")
        quoted = re.search(r'"(.*)"', self.expected)
        if not re.match(r"(closed|connack|suback|puback)\b", self.expected) or bool(quoted) == bool(self.check):
            raise AssertionError(f"{self.name}: one `expect:` and, where it has no text, one `check:`")
        self.text = quoted[1] if quoted else self.check[0]
        self.source = (header.all("with") or ["direct"])[0]
        self.counted = header.all("counted")
        self.steps = [line.split(" #")[0].strip() for line in header.body.decode().splitlines() if line.strip()]

    @property
    def messages(self):
        return [self.text]

    def play(self, target):
        before = self.counts(target)
        version = 4
        with RawClient(target.edge.address(self.source)) as client:
            for step in self.steps:
                if begin := re.match(r"connect ([45]) (\S+)", step):
                    version = client.version = int(begin[1])
                    if client.connect(begin[2])[1] != 0:
                        raise AssertionError(f"{self.name}: no connection to begin with")
                elif step == "half close":
                    client.socket.shutdown(1)
                else:
                    client.send(packet_bytes(step))
            got = self.outcome(client, version)
        if got != self.expected:
            raise AssertionError(f"{self.name}: {got}, not {self.expected}")
        for line in self.counted:      # `closed.malformed_packet 1`
            path, more = line.split()
            wait_for(f"{self.name}: {line}",
                     lambda: self.at(target.source(self.source), path) - self.at(before, path) == int(more), SETTLE_S)
        if self.source != "guarded":
            target.serves(self.source)

    def counts(self, target):
        return target.source(self.source)

    @staticmethod
    def at(counts, path):
        for step in path.split("."):
            counts = counts.get(step, 0) if isinstance(counts, dict) else 0
        return counts

    def outcome(self, client, version):
        kind = self.expected.split()[0]
        if kind in ("suback", "puback"):
            answer = client.take(SETTLE_S)
            if answer is None:
                return "closed" if client.closed else "nothing"
            name = {9: "suback", PUBACK: "puback"}.get(answer.kind, f"packet type {answer.kind}")
            code = answer.body[-1] if answer.kind == 9 else answer.reason
            return f"{name} 0x{code:02x}"
        last = client.expect_end(SETTLE_S)
        if last is None:
            return "closed"
        if last.kind == CONNACK:
            text = reason_string(last.body[2:])
            return f"connack 0x{last.body[1]:02x}" + (f' "{text}"' if text else "")
        if last.kind == DISCONNECT:
            text = reason_string(last.body[1:])
            return f"closed 0x{last.reason:02x}" + (f' "{text}"' if text else "")
        return f"packet type {last.kind}, then closed"


class Request:
    """An HTTP request, its lines ended as the protocol wants it; Host and the body's length are added where there is no
    length. `# expect: 413 "text"` is the status and the text of the error, `# expect: 200 {"stored": 2}` what the
    answer says. `# grow: 1000` as for payloads."""

    def __init__(self, path):
        self.path, self.name = path, f"{path.parent.name}/{path.name}"
        header = Header(path)
        expected = re.fullmatch(r"(\d+) (\".*\"|\{.*\})", header.expect[0] if len(header.expect) == 1 else "")
        if not expected:
            raise AssertionError(f"{self.name}: one `expect: STATUS TEXT`")
        self.status, self.answer = int(expected[1]), json.loads(expected[2])
        self.source = (header.all("with") or ["web"])[0]
        self.counted = header.all("counted")
        head, _, body = header.body.partition(b"\n\n")
        body = body.removesuffix(b"\n")
        if header.all("grow"):
            head = head.replace(b"x", b"x" * int(header.all("grow")[0]), 1)
        if b"\nTransfer-Encoding:" in head:
            body = body.replace(b"\n", b"\r\n") + b"\r\n"
        if b"HTTP/1.1" in head:
            head += b"\nHost: edge\nConnection: close"
            head += b"" if b"\nContent-Length:" in head or not body else b"\nContent-Length: %d" % len(body)
        self.request = head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body

    @property
    def messages(self):
        return [self.answer if isinstance(self.answer, str) else json.dumps(self.answer)]

    def play(self, target):
        before = target.settled(self.source)
        with socket.create_connection(target.edge.address(self.source), timeout=SETTLE_S) as connection:
            answer = b""
            try:
                connection.sendall(self.request)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass               # answered before all of it was sent
            while part := connection.recv(65536):
                answer += part
        status, body = int(answer.split(b" ", 2)[1]), json.loads(answer.partition(b"\r\n\r\n")[2])
        said = body["error"]["text"] if "error" in body else {name: body[name] for name in self.answer}
        if (status, said) != (self.status, self.answer):
            raise AssertionError(f"{self.name}: {status} {said!r}, not {self.status} {self.answer!r}")
        after = target.settled(self.source)
        expected = {name: 0 for name in OUTCOMES} | {line.split()[0]: int(line.split()[1]) for line in self.counted}
        moved = {name: after[name] - before[name] for name in OUTCOMES}
        if moved != expected:
            raise AssertionError(f"{self.name} moved {moved}, not {expected}")
        for piece in range(expected["dead_letter"]):
            target.dead_letters.append((self.name, None, None))
        target.serves("direct")


def cases():
    found = [Payload(path, entry) for kind in ("payload", "csv") for path, entry in listed_cases(HERE / kind)]
    found += [Packet(path) for path in sorted((HERE / "packet").iterdir())]
    return found + [Request(path) for path in sorted((HERE / "http").iterdir())]
