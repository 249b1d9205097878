"""Every acknowledgement leaves behind the fdatasync that covers its row: the real process, its system calls in order.

syscall_log (HW_SYSCALL_LOG names it) runs the edge under ptrace. Rows are found by their ids in the bytes that are written,
acknowledgements (PUBACK, PUBREC, HTTP 200) in the bytes that are sent. With a bug planted the same check must fail.
Skipped where ptrace is not permitted, and the planted bugs where the program was built without them.
"""

import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from harness import ROOT, Edge, wait_for  # noqa: E402
from numbered import ID, SOURCES, HttpDevice, MqttDevice  # noqa: E402

TRACER = os.path.abspath(os.environ.get("HW_SYSCALL_LOG", ROOT / "build/dev/tests/crash/syscall_log"))
ROWS = int(os.environ.get("ROWS", "2000"))  # of each device
NO_PTRACE = 77
# LeakSanitizer, where the edge is built with it, does not work under ptrace.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
PLANTED = "_ZN9headwater9g_plantedE"

CONFIG = """
edge: {id: order, data_dir: ./data}
sources: %s
pipelines:
  main: {from: [direct, hook], steps: [{filter: {when: "value >= 0.0"}}]}
store: {segment: 256KiB, max_bytes: 64MiB}
sinks: {none: {type: http, url: "http://127.0.0.1:9/"}}
""" % SOURCES


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
            for name in self.devices[call["peer"]].acknowledged_in(stream):
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
            devices = [MqttDevice(number, edge.address("direct"), qos, ROWS) for number, qos in enumerate((1, 1, 2, 2))]
            devices += [HttpDevice(number, edge.address("hook"), ROWS) for number in (4, 5)]
            for device in devices:
                device.start()
            for device in devices:
                device.join(60)
                self.assertEqual(len(device.acknowledged), ROWS, f"device {device.number}: {device.error}")
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
