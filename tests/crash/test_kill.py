"""kill -9 of the real process under load: nothing acknowledged is missing, nothing is there twice, no alert is lost.

KILLS says how often (10; the full suite takes 50), SEED makes the moments repeatable.
"""

import collections
import json
import os
import pathlib
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from harness import ROOT, Device, Edge, wait_for  # noqa: E402

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "1"))
DEVICES = 4
WINDOW = 200

CONFIG = """
edge: {id: crash, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:%d"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
    message_id: seq
pipelines:
  main:
    from: [direct]
    steps:
      - window: {by: device_id, rows: 8, add: {mean_temperature: "mean(temperature)"}}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8"}
    checkpoint_every: 200ms
store: {segment: 1MiB, max_bytes: 512MiB}
admin: {address: "127.0.0.1:0"}
"""


class Load(threading.Thread):
    """A device that publishes numbered readings, repeats what was not acknowledged, and keeps the list of what was."""

    def __init__(self, name, address):
        super().__init__(daemon=True)
        self.device_id = name
        self.address = address
        self.acknowledged = set()
        self.unacknowledged = collections.deque()
        self.next_seq = 0
        self.stopping = False

    def payload(self, seq):
        # Every 20th reading is one that the model calls anomalous.
        values = {"temperature": 140.0, "pressure": 9.0, "vibration": 9.0} if seq % 20 == 7 else \
                 {"temperature": 60.0 + seq % 7, "pressure": 101.0, "vibration": 0.5}
        return json.dumps({"seq": seq, **values})

    def run(self):
        while not (self.stopping and not self.unacknowledged):
            try:
                self.session()
            except (OSError, ConnectionError):
                time.sleep(0.005)

    def session(self):
        device = Device(self.address, self.device_id)
        topic = f"sensors/{self.device_id}/readings"
        try:
            for seq in self.unacknowledged:
                device.send(topic, self.payload(seq), seq)
            while True:
                while not self.stopping and len(device.open) < WINDOW:
                    self.unacknowledged.append(self.next_seq)
                    device.send(topic, self.payload(self.next_seq), self.next_seq)
                    self.next_seq += 1
                device.poll(0.05)
                self.collect(device)
                if self.stopping and not device.open:
                    return
        finally:
            self.collect(device)
            device.drop()

    def collect(self, device):
        for seq in device.acknowledged:
            self.acknowledged.add(seq)
            self.unacknowledged.remove(seq)
        device.acknowledged.clear()


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Kill(unittest.TestCase):
    def test_nothing_acknowledged_is_missing_or_twice_and_no_alert_is_lost(self):
        chance = random.Random(SEED)
        # The one test that needs a port to stay: devices reconnect to where they were.
        port = free_port()
        with Edge(CONFIG % port, {"anomaly.onnx": ROOT / "tests/data/models/anomaly.onnx"}) as edge:
            loads = [Load(f"press-{i}", ("127.0.0.1", port)) for i in range(DEVICES)]
            for load in loads:
                load.start()
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.02, 0.5))  # the random moment; nothing is awaited here
                edge.kill()
                edge.start()
            wait_for("some load between the kills", lambda: all(len(load.acknowledged) > 100 for load in loads))
            for load in loads:
                load.stopping = True
            for load in loads:
                load.join(60)
                self.assertFalse(load.is_alive(), f"{load.device_id} did not settle: {len(load.unacknowledged)} open")
            wait_for("everything decided", lambda: (lambda p: p["pending_rows"] == 0 and p["behind_rows"] == 0)(
                edge.status()["pipelines"][0]))
            edge.stop()

            rows = edge.rows("readings")
            stored = collections.Counter((row["device_id"], json.loads(row["payload"])["seq"]) for row in rows)
            acknowledged = {(load.device_id, seq) for load in loads for seq in load.acknowledged}
            self.assertEqual(acknowledged - set(stored), set(), "acknowledged, but not stored")
            self.assertEqual([key for key, count in stored.items() if count > 1], [], "stored twice")

            alerts = collections.Counter(
                (alert["device_id"], json.loads(alert["payload"])["raw_data"]["seq"]) for alert in edge.rows("alerts"))
            anomalous = {key for key in stored if key[1] % 20 == 7}
            self.assertEqual(anomalous - set(alerts), set(), "stored and anomalous, but no alert")
            self.assertEqual(set(alerts) - anomalous, set(), "an alert without an anomaly")
            self.assertEqual([key for key, count in alerts.items() if count > 1], [], "two alerts of one reading")
            self.assertTrue(edge.verify()["ok"])
            print(f"{KILLS} kills, {len(acknowledged)} acknowledged, {len(stored)} stored, {len(alerts)} alerts: "
                  f"0 missing, 0 twice")


if __name__ == "__main__":
    unittest.main(verbosity=2)
