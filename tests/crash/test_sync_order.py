"""Every acknowledgement leaves behind the fdatasync that covers its row: the real process, its system calls in order.

syscall_log (HW_SYSCALL_LOG names it) runs the edge under ptrace. Rows are found by their ids in the bytes that are written,
acknowledgements (PUBACK, PUBREC, HTTP 200) in the bytes that are sent. With a bug planted the same check must fail.
Skipped where ptrace is not permitted, and the planted bugs where the program was built without them.
"""

import http.client
import json
import os
import pathlib
import re
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from harness import ROOT, Edge, wait_for  # noqa: E402
from raw_mqtt import PUBACK, PUBREC, PUBCOMP, Packet, RawClient  # noqa: E402

TRACER = os.path.abspath(os.environ.get("HW_SYSCALL_LOG", ROOT / "build/dev/tests/crash/syscall_log"))
ROWS = int(os.environ.get("ROWS", "2000"))  # of each device
NO_PTRACE = 77
ID = re.compile(rb"row-[0-9]-[0-9]{6}")
# LeakSanitizer, where the edge is built with it, does not work under ptrace.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
PLANTED = "_ZN9headwater9g_plantedE"

CONFIG = """
edge: {id: order, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+"], device: "topic[1]", message_id: id}
  hook: {type: http, address: "127.0.0.1:0", token: sesame, device: device_id, message_id: id}
pipelines:
  main: {from: [direct, hook], steps: [{filter: {when: "value >= 0.0"}}]}
store: {segment: 256KiB, max_bytes: 64MiB}
sinks: {none: {type: http, url: "http://127.0.0.1:9/"}}
"""


def row(device, number):
    name = f"row-{device}-{number:06d}"
    return name, json.dumps({"id": name, "device_id": f"press-{device}", "value": 1.5, "note": "x" * 100})


class MqttDevice(threading.Thread):
    """Publishes its rows in a window; `sent` keeps, by packet id, which row went under it."""

    WINDOW = 50

    def __init__(self, number, qos, address):
        super().__init__(daemon=True)
        self.number, self.qos = number, qos
        self.client = RawClient(address)
        self.client.connect(f"press-{number}")
        self.port = self.client.socket.getsockname()[1]
        self.sent = {}
        self.settled = 0

    def run(self):
        next_row = 0
        while self.settled < ROWS:
            while next_row < ROWS and next_row - self.settled < self.WINDOW:
                name, payload = row(self.number, next_row)
                next_row += 1
                self.sent[next_row] = name
                self.client.publish(f"sensors/press-{self.number}", payload, self.qos, next_row)
            packet = self.client.take(20)
            if packet is None:
                return
            if packet.kind == PUBREC:
                self.client.release(packet.packet_id)
            elif packet.kind in (PUBACK, PUBCOMP):
                self.settled += 1

    def close(self):
        self.client.drop()

    def acknowledged(self, stream):
        """Takes whole packets off what the edge sent; the rows they acknowledge."""
        rows = []
        while True:
            length, size, at = 0, 1, 1
            while at < len(stream) and at < 5:
                length += (stream[at] & 0x7F) * size
                size *= 128
                at += 1
                if not stream[at - 1] & 0x80:
                    break
            else:
                return rows
            if len(stream) < at + length:
                return rows
            packet = Packet(stream[0], bytes(stream[at:at + length]))
            del stream[:at + length]
            if packet.kind in (PUBACK, PUBREC):
                rows.append(self.sent[packet.packet_id])


class HttpDevice(threading.Thread):
    """Posts its rows, some at a time; `sent` keeps which ones went with each request."""

    EACH = 20

    def __init__(self, number, address):
        super().__init__(daemon=True)
        self.number = number
        self.connection = http.client.HTTPConnection(*address, timeout=20)
        self.connection.connect()
        self.port = self.connection.sock.getsockname()[1]
        self.sent = []
        self.settled = 0

    def run(self):
        for first in range(0, ROWS, self.EACH):
            rows = [row(self.number, i) for i in range(first, first + self.EACH)]
            self.sent.append([name for name, _ in rows])
            self.connection.request("POST", "/readings", "[" + ",".join(payload for _, payload in rows) + "]",
                                    {"Content-Type": "application/json", "Authorization": "Bearer sesame"})
            answer = self.connection.getresponse()
            answer.read()
            if answer.status != 200:
                return
            self.settled += self.EACH

    def close(self):
        self.connection.close()

    def acknowledged(self, stream):
        rows = []
        while True:
            end = stream.find(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *([0-9]+)", stream[:end + 2]) if end >= 0 else None
            if length is None or len(stream) < end + 4 + int(length.group(1)):
                return rows
            good = stream.startswith(b"HTTP/1.1 200")
            del stream[:end + 4 + int(length.group(1))]
            names = self.sent.pop(0)
            rows += names if good else []


class Checker:
    """What is on disk, and what was acknowledged before it was. A power cut may come at any moment."""

    def __init__(self, devices):
        self.devices = {device.port: device for device in devices}
        self.streams = {device.port: bytearray() for device in devices}
        self.written = {}      # file -> rows that are in it and in no sync that has returned
        self.renamed = {}      # folder -> files whose names are not synced
        self.durable = {}      # row -> files
        self.acknowledged = 0
        self.syncs = 0
        self.violations = []

    def read(self, path):
        with open(path) as log:
            events = [json.loads(line) for line in log]
        results = {event["id"]: event for event in events if event["e"] == "end"}
        begins = {event["id"]: event for event in events if event["e"] == "begin"}
        under_way = {}  # sync -> what it covers
        for event in events:
            call = begins[event["id"]]
            result = results.get(event["id"], {"ret": -1})
            if event["e"] == "begin":
                self.begin(call, result["ret"], under_way)
            else:
                self.end(call, result, under_way)

    def begin(self, call, result, under_way):
        if call["call"] in ("fsync", "fdatasync"):
            under_way[call["id"]] = (set(self.written.get(call["file"], ())), set(self.renamed.get(call["path"], ())))
        elif call["call"] in ("io_uring_setup", "sendmmsg", "sendfile", "splice"):
            self.violations.append(f"{call['call']} is used: this check does not see what it does")
        elif call.get("peer") in self.devices and result > 0:
            stream = self.streams[call["peer"]]
            stream += bytes.fromhex(call["data"])[:result]
            for name in self.devices[call["peer"]].acknowledged(stream):
                self.acknowledge(name)

    def end(self, call, result, under_way):
        if call["call"] in ("fsync", "fdatasync"):
            rows, names = under_way.pop(call["id"])
            self.written.get(call["file"], set()).difference_update(rows)  # a failed sync drops them too
            self.renamed.get(call["path"], set()).difference_update(names if result["ret"] == 0 else ())
            if result["ret"] == 0:
                self.syncs += 1
                for name in rows:
                    self.durable.setdefault(name, set()).add(call["file"])
        elif call["call"].startswith("rename") and result["ret"] == 0 and call["to"].endswith(".log"):
            self.renamed.setdefault(os.path.dirname(os.path.normpath(call["to"])), set()).add(result["file"])
        elif "file" in call and "data" in call and result["ret"] > 0:
            for name in ID.findall(bytes.fromhex(call["data"])[:result["ret"]]):
                if call["dsync"]:
                    self.durable.setdefault(name.decode(), set()).add(call["file"])
                else:
                    self.written.setdefault(call["file"], set()).add(name.decode())

    def acknowledge(self, name):
        self.acknowledged += 1
        files = self.durable.get(name, set())
        nameless = set().union(*self.renamed.values()) if self.renamed else set()
        if not files:
            waiting = any(name in rows for rows in self.written.values())
            self.violations.append(f"{name} is acknowledged, and " + ("not synced" if waiting else "not written"))
        elif not files - nameless:
            self.violations.append(f"{name} is acknowledged, and the name of its file is not synced")


def bug_number(name):
    text = (ROOT / "src/base/planted.h").read_text()
    return re.findall(r"^  (k\w+),", text.split("enum class Bug")[1], re.M).index(name)


class SyncOrder(unittest.TestCase):
    def trace(self, bug=None):
        edge = Edge(CONFIG)
        log = edge.folder / "calls.jsonl"
        devices = []
        edge.under = [TRACER, log, *(["--poke", f"{PLANTED}={bug_number(bug)}"] if bug else [])]
        try:
            edge.start(wait_ready=False)
            wait_for("ready", lambda: edge.ready_ms is not None or edge.process.poll() is not None)
            if edge.process.poll() == NO_PTRACE:
                self.skipTest("\n".join(edge.log))
            devices = [MqttDevice(0, 1, edge.address("direct")), MqttDevice(1, 1, edge.address("direct")),
                       MqttDevice(2, 2, edge.address("direct")), MqttDevice(3, 2, edge.address("direct")),
                       HttpDevice(4, edge.address("hook")), HttpDevice(5, edge.address("hook"))]
            for device in devices:
                device.start()
            for device in devices:
                device.join(60)
                self.assertEqual(device.settled, ROWS, f"device {device.number}")
            edge.stop()
            checker = Checker(devices)
            checker.read(log)
            self.assertEqual(checker.acknowledged, ROWS * len(devices), "every acknowledgement was seen")
            return checker
        finally:
            for device in devices:
                device.close()
            edge.__exit__(None, None, None)

    def test_every_acknowledgement_leaves_behind_its_sync(self):
        checker = self.trace()
        print(f"{checker.acknowledged} acknowledgements, {checker.syncs} syncs")
        self.assertEqual(checker.violations[:5], [])
        self.assertGreater(checker.syncs, 20)

    def test_a_commit_without_a_sync_is_seen(self):
        self.assertIn("not synced", "".join(self.trace("kCommitWithoutSync").violations))

    def test_an_acknowledgement_before_the_commit_is_seen(self):
        self.assertIn("not written", "".join(self.trace("kAcknowledgeAtSubmit").violations))

    def test_a_file_without_a_synced_name_is_seen(self):
        self.assertIn("the name of its file", "".join(self.trace("kNoFolderSync").violations))


if __name__ == "__main__":
    unittest.main(verbosity=2)
