"""The same outage for Headwater and for what is used in its place, side by side; run by hand and by nightly.sh.

Devices publish numbered readings over MQTT at QoS 1 at a steady rate, keep what was not acknowledged and send it again after
a lost connection. The link to the cloud is down for a while; in the middle of that the edge's program is killed with SIGKILL
and started again at once; then the link returns. Per system: readings acknowledged to the devices, those that came to the
cloud, lost, and come more than once, and how long after the link's return the first reading of the outage and the last of
the backlog came.

    headwater             the listener, and the uplink over HTTP to a receiver that keeps ranges (docs/formats/batch.md)
    mosquitto             persistence and a bridge (QoS 1, cleansession false) to a second mosquitto; its defaults otherwise
    mosquitto, autosave   the same with autosave_interval 1 and autosave_on_changes true
    module                mosquitto before the seed's module in C++ (../shared/peers/cpp_simple.cc, as tests/perf/pipeline builds
                          it), which scores and writes a file; the module is killed, and the file counts as the cloud
    node                  the same with the module in Node.js (../shared/peers/node_base.cjs; its packages come from npm)

RATE (200 a second, all devices together), BEFORE (5 s), OUTAGE (20 s), AFTER (5 s), DRAIN (60 s at most) and SYSTEMS (a list
of the first words above) change it. Prints a table, and one JSON object in a line behind it.
"""

import collections
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
sys.path.insert(0, str(ROOT / "tests/perf/pipeline"))
sys.path.insert(0, str(ROOT / "tests/perf"))
os.environ.setdefault("HEADWATER", os.environ.get("HW_PROGRAM", str(ROOT / "build/release/headwater")))

import node_peer  # noqa: E402
import run as perf  # noqa: E402  (sets HW_PROGRAM for the harness)
from harness import Device, Edge, wait_for  # noqa: E402
from servers import Mosquitto, Receiver, Subscriber, free_port  # noqa: E402

RATE, BEFORE, OUTAGE, AFTER, DRAIN = (float(os.environ.get(name, default)) for name, default in (
    ("RATE", "200"), ("BEFORE", "5"), ("OUTAGE", "20"), ("AFTER", "5"), ("DRAIN", "60")))
SYSTEMS = os.environ.get("SYSTEMS", "headwater,mosquitto,module,node").split(",")
DEVICES = 4

HEADWATER = """
edge: {id: outage, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:%d", topics: ["site/+"], device: "topic[1]", message_id: seq}
pipelines: {main: {from: [direct], steps: [{filter: {when: "temperature > 0.0"}}]}}
uplink: {type: http, url: "http://127.0.0.1:%d/v1/batches", every: 200ms, max_backoff: 2s}
"""
BRIDGE = """
persistence true
persistence_location %s/
%s
connection cloud
address 127.0.0.1:%d
topic site/# out 1
cleansession false
bridge_attempt_unsubscribe false
try_private true
restart_timeout 1 2
"""


class Link:
    """A TCP connection's way to `target`; while it is down, connections end and new ones are refused."""

    def __init__(self, target):
        self.target, self.port, self.door, self.ends = target, free_port(), None, []
        self.up()

    def up(self):
        self.door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.door,), daemon=True).start()

    def down(self):
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        ends, self.ends = self.ends, []
        for end in ends:
            self._end(end)

    @staticmethod
    def _end(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _accept(self, door):
        while True:
            try:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                if door.fileno() < 0:
                    return
                continue
            far.settimeout(None)
            self.ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        self._end(one)
        self._end(other)


class Load(threading.Thread):
    """A device: numbered readings at a rate, and again what was not acknowledged."""

    def __init__(self, number, port):
        super().__init__(daemon=True)
        self.name_, self.port = f"press-{number}", port
        self.acknowledged, self.open, self.made, self.stopping = set(), collections.deque(), 0, False

    def payload(self, seq):
        return json.dumps({"device_id": self.name_, "timestamp": "2026-01-01T00:00:00Z", "temperature": 60.0 + seq % 7,
                           "pressure": 101.0, "vibration": 0.5, "seq": seq})

    def run(self):
        began = time.monotonic()
        while not self.stopping or self.open:
            try:
                device = Device(("127.0.0.1", self.port), self.name_, clean=False)
            except (OSError, ConnectionError):
                time.sleep(0.02)
                continue
            try:
                self.session(device, began)
                device.close()
                return
            except (OSError, ConnectionError):
                device.drop()
            finally:
                self.collect(device)

    def session(self, device, began):
        for seq in self.open:
            device.send(f"site/{self.name_}", self.payload(seq), seq)
        while not self.stopping or self.open:
            due = int((time.monotonic() - began) * RATE / DEVICES)
            while not self.stopping and self.made < due:
                self.open.append(self.made)
                device.send(f"site/{self.name_}", self.payload(self.made), self.made)
                self.made += 1
            device.poll(0.01)
            self.collect(device)

    def collect(self, device):
        for seq in device.acknowledged:
            self.acknowledged.add(seq)
            self.open.remove(seq)
        device.acknowledged.clear()


def key_of(payload):
    reading = json.loads(payload)
    return reading["device_id"], reading["seq"]


class Headwater:
    def __init__(self, folder):
        self.receiver = Receiver()
        self.receiver.start()
        self.link = Link(self.receiver.port)
        self.port = free_port()
        self.edge = Edge(HEADWATER % (self.port, self.link.port))
        self.edge.start()

    def kill(self):
        self.edge.kill()
        self.edge.start()

    def arrived(self):
        lines = list(self.receiver.lines.get("readings", {}).values())
        return [(line["device"], line["payload"]["seq"]) for line in lines]

    def close(self):
        self.edge.stop()
        self.edge.__exit__(None, None, None)
        self.receiver.stop()


class Bridge:
    AUTOSAVE = ""

    def __init__(self, folder):
        self.cloud = Mosquitto(folder / "cloud")
        self.cloud.start()
        self.link = Link(self.cloud.port)
        self.subscriber = Subscriber(self.cloud.port, "site/#")
        self.edge = Mosquitto(folder / "edge", BRIDGE % (folder / "edge", self.AUTOSAVE, self.link.port))
        self.edge.start()
        self.port = self.edge.port

    def kill(self):
        self.edge.kill()
        self.edge.start()

    def arrived(self):
        return [key_of(payload) for _, payload in list(self.subscriber.got)]

    def close(self):
        self.edge.kill()
        self.subscriber.stop()
        self.cloud.kill()


class BridgeAutosave(Bridge):
    AUTOSAVE = "autosave_interval 1\nautosave_on_changes true"


class Module:
    def __init__(self, folder):
        if why := perf.build():
            raise RuntimeError(why)
        self.broker = Mosquitto(folder / "broker", f"persistence true\npersistence_location {folder}/broker/")
        self.broker.start()
        self.port = self.broker.port
        self.file = folder / "out.jsonl"
        self.link = None  # what it writes to is on the same machine
        self.start()

    def start(self):
        self.process = subprocess.Popen([perf.BUILD / "simple", str(self.port), "1", perf.PEERS / "anomaly.onnx", self.file],
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # "ready"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.start()

    def arrived(self):
        return [key_of(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.broker.kill()


class NodeModule(Module):
    def __init__(self, folder):
        self.home = node_peer.folder()
        super().__init__(folder)

    def start(self):
        self.process = subprocess.Popen(["node", "node_base.cjs", str(self.port), "1", perf.PEERS / "anomaly.onnx",
                                         self.file], stdout=subprocess.PIPE, text=True, cwd=self.home, env=dict(os.environ, CLEAN="0"))
        self.process.stdout.readline()  # "ready"


def measure(make):
    with tempfile.TemporaryDirectory(prefix="headwater-outage-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o777)  # mosquitto started by root becomes another user
        for inner in ("edge", "broker", "cloud"):
            (folder / inner).mkdir()
            (folder / inner).chmod(0o777)
        system = make(folder)
        loads = [Load(number, system.port) for number in range(DEVICES)]
        for load in loads:
            load.start()
        time.sleep(BEFORE)
        before = {(load.name_, seq) for load in loads for seq in list(load.acknowledged)}
        wait_for("readings arrive before the outage", lambda: len(set(system.arrived()) & before) > len(before) / 2)
        if system.link:
            system.link.down()
        time.sleep(OUTAGE / 2)
        system.kill()
        time.sleep(OUTAGE / 2)
        had = set(system.arrived())
        if system.link:
            system.link.up()
        returned = time.monotonic()
        resumed = drained = None
        stop_at = returned + AFTER
        backlog = {(load.name_, seq) for load in loads for seq in list(load.acknowledged)} - had
        while time.monotonic() < returned + DRAIN:
            if time.monotonic() > stop_at:
                for load in loads:
                    load.stopping = True
            arrived = set(system.arrived())
            now = time.monotonic() - returned
            resumed = now if resumed is None and arrived - had else resumed
            drained = now if drained is None and backlog <= arrived else drained
            acknowledged = {(load.name_, seq) for load in loads for seq in list(load.acknowledged)}
            quiet = all(not load.is_alive() for load in loads)
            if quiet and (acknowledged <= arrived or now > AFTER + 20):
                break
            time.sleep(0.1)
        counts = collections.Counter(system.arrived())
        acknowledged = {(load.name_, seq) for load in loads for seq in list(load.acknowledged)}
        system.close()
        return {"sent": sum(load.made for load in loads), "acknowledged": len(acknowledged), "delivered": len(counts),
                "lost": len(acknowledged - set(counts)), "duplicated": sum(counts.values()) - len(counts),
                "resumed_s": None if resumed is None or not system.link else round(resumed, 1),
                "drained_s": None if drained is None or not system.link else round(drained, 1)}


def main():
    results = {}
    for name, word, make in (("headwater", "headwater", Headwater), ("mosquitto", "mosquitto", Bridge),
                             ("mosquitto, autosave", "mosquitto", BridgeAutosave), ("module", "module", Module), ("node", "node", NodeModule)):
        if word in SYSTEMS:
            try:
                results[name] = measure(make)
            except RuntimeError as error:
                print(f"skipped {name}: {error}", file=sys.stderr)
    columns = ("acknowledged", "delivered", "lost", "duplicated", "resumed_s", "drained_s")
    print(f"{'':<20}" + "".join(f"{column:>14}" for column in columns))
    for name, result in results.items():
        cells = ("-" if result[column] is None else str(result[column]) for column in columns)
        print(f"{name:<20}" + "".join(f"{cell:>14}" for cell in cells))
    print(json.dumps({"rate": RATE, "outage_s": OUTAGE, "systems": results}))
    return 0 if results.get("headwater", {"lost": 0})["lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
