"""The whole chain: recording, broker, edge, broker, subscriber; across restarts of the broker."""

import json
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest

from brokers import MOSQUITTO, Broker
from harness import PROGRAM, ROOT, Edge, wait_for
from raw_mqtt import CONNACK, PUBLISH, RawClient, connect_packet

MODEL = ROOT / "tests/data/models/anomaly.onnx"
READINGS = 12_000
DEVICES = 4

CONFIG = """
edge: {id: chain, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}
sources:
  line:
    type: mqtt
    url: "mqtt://127.0.0.1:%(port)d"
    topics: ["sensors/+/readings"]
    qos: %(qos)d
    device: "topic[1]"
    message_id: mid
    max_backoff: 200ms
pipelines:
  main:
    from: [line]
    steps:
      - filter: {when: "temperature < 1000.0"}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8"%(clear)s}
    alerts: [upstream]
sinks:
  upstream: {type: mqtt, url: "mqtt://127.0.0.1:%(port)d", topic: "alerts/${device_id}", qos: 1}
admin: {address: "127.0.0.1:0"}
"""


class Subscriber:
    """A subscriber with a session that lives on: the alerts it was sent, over restarts of the broker."""

    def __init__(self, address, topic):
        self.address, self.topic = address, topic
        self.payloads = []
        self.connects = 0
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        wait_for("subscribed", lambda: self.connects)

    def run(self):
        while not self.ending:
            try:
                with RawClient(self.address) as client:
                    self.read(client)
            except OSError:
                pass   # the broker is restarting

    def read(self, client):
        client.send(connect_packet("upstream-reader", clean=False))
        if (answer := client.take()) is None or answer.kind != CONNACK:
            return
        client.subscribe(self.topic)
        while not self.ending and not client.closed:
            packet = client.take(0.1)
            if packet is not None and packet.kind == PUBLISH:
                _, payload, qos, packet_id, _ = packet.as_publish()
                self.payloads.append(payload)
                if qos:
                    client.acknowledge(packet_id)
            elif packet is not None:
                self.connects += 1   # SUBACK

    def alerts(self):
        return [json.loads(payload) for payload in list(self.payloads)]

    def close(self):
        self.ending = True
        self.thread.join()


def recording(path):
    """READINGS lines: malformed and filtered ones among them, and runs of anomalies."""
    with open(path, "w") as out:
        for i in range(READINGS):
            if i % 1000 == 999:
                out.write(f'{{"device_id": "press-{i % DEVICES}", broken\n')
                continue
            hot = i // 40 % 10 == 9
            out.write(json.dumps({"device_id": f"press-{i % DEVICES}", "mid": i,
                                  "temperature": 5000.0 if i % 500 == 7 else 60.0 + i % 5 / 10,
                                  "pressure": 101.0 + i % 7 / 10, "vibration": 4.0 if hot else 0.5}) + "\n")


@unittest.skipIf(MOSQUITTO is None, "mosquitto is not installed: the chain through a broker is not tested")
class Chain(unittest.TestCase):
    def run_chain(self, clear="", qos=1):
        """Plays the recording through a broker that restarts twice; (final status, rows, stored and received alerts)."""
        broker = Broker()
        self.addCleanup(broker.close)
        folder = tempfile.TemporaryDirectory(prefix="headwater-chain-")
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / "recording.jsonl"
        recording(path)
        config = CONFIG % {"port": broker.port, "qos": qos, "clear": clear}
        with Edge(config, {"anomaly.onnx": MODEL}) as edge:
            subscriber = Subscriber(broker.address, "alerts/#")
            self.addCleanup(subscriber.close)

            def source():
                return edge.status()["sources"][0]

            def subscribed():
                probe = RawClient(broker.address)
                probe.connect("probe")
                probe.publish("sensors/press-0/readings", '{"mid": -1, "temperature": 5000.0}', 1, 1)
                probe.take()
                probe.close()
                return source()["filtered"] + source()["duplicate"] > 0

            wait_for("the edge has subscribed", subscribed)
            probes = wait_for("the probes are through", lambda: (s := source())["in_flight"] == 0 and s["received"])
            player = subprocess.Popen([PROGRAM, "simulate", str(path), "--to", f"mqtt://127.0.0.1:{broker.port}",
                                       "--rate", "3000", "--qos", "1", "--json"], stdout=subprocess.PIPE, text=True)
            for part in (1, 2):
                wait_for("part of it came", lambda: source()["received"] > READINGS * part / 3)
                broker.stop()
                broker.start()
            out, _ = player.communicate(timeout=60)
            self.assertEqual(player.returncode, 0, out)
            self.assertEqual(json.loads(out)["acknowledged"], READINGS)
            # At least once over the restarts: the good ones are known by their id, the malformed have none.
            expected_stored = sum(1 for i in range(READINGS) if i % 1000 != 999 and i % 500 != 7)
            wait_for("every reading stored", lambda: source()["stored"] == expected_stored)
            wait_for("nothing in flight", lambda: source()["in_flight"] == 0)
            wait_for("every row decided", lambda: edge.status()["pipelines"][0]["rows"] == expected_stored)
            wait_for("every alert sent", lambda: edge.status()["sinks"][0]["pending"] == 0)
            wait_for("every alert received", lambda: len({alert["id"] + alert["event"] for alert in subscriber.alerts()})
                     == edge.status()["store"]["lanes"]["alerts"]["next_sequence"] - 1)
            status = edge.status()
            edge.stop()
            self.assertGreaterEqual(subscriber.connects, 3)   # the broker did restart
            return status, probes, edge.rows("readings"), edge.rows("alerts"), subscriber.alerts()

    def check_conservation(self, status, probes, rows):
        source = status["sources"][0]
        print(f"conservation: {source}")
        self.assertEqual(source["received"], source["duplicate"] + source["filtered"] + source["dead_letter"]
                         + source["stored"] + source["refused"] + source["in_flight"])
        self.assertEqual(source["in_flight"], 0)
        self.assertEqual(source["acknowledged"], source["received"])
        self.assertEqual(source["stored"], len(rows))
        self.assertGreaterEqual(source["received"], READINGS + probes)
        self.assertGreaterEqual(source["dead_letter"], READINGS // 1000)
        lane = status["store"]["lanes"]["readings"]
        self.assertEqual((lane["rows"], lane["shed"], lane["corrupt"]), (len(rows), 0, 0))
        sink = status["sinks"][0]
        self.assertEqual((sink["rejected"], sink["expired"]), (0, 0))
        self.assertEqual(sink["delivered"], status["store"]["lanes"]["alerts"]["next_sequence"] - 1)
        mids = [json.loads(row["payload"])["mid"] for row in rows]
        self.assertEqual(len(mids), len(set(mids)))

    def test_an_alert_per_row(self):
        began = time.monotonic()
        status, probes, rows, stored, received = self.run_chain()
        self.check_conservation(status, probes, rows)
        # What the stored scores imply: one alert for each row above the limit, with its reading.
        implied = {json.loads(row["payload"])["mid"] for row in rows if row["score"] is not None and row["score"] > 0.8}
        self.assertGreater(len(implied), 500)
        self.assertEqual(implied, {json.loads(row["payload"])["mid"] for row in rows if row["alerted"]})
        self.assertEqual(len(stored), len(implied))
        self.assertEqual(sorted(json.loads(row["payload"])["raw_data"]["mid"] for row in stored), sorted(implied))
        by_id = {alert["id"]: alert for alert in received}
        self.assertEqual(len(by_id), len(implied))
        self.assertEqual({alert["raw_data"]["mid"] for alert in by_id.values()}, implied)
        self.assertEqual(set(by_id), {json.loads(row["payload"])["id"] for row in stored})
        print(f"{len(rows)} rows, {len(implied)} alerts, {len(received)} received, {time.monotonic() - began:.1f} s")

    def test_alarms_at_qos_2(self):
        status, probes, rows, stored, received = self.run_chain(clear=', clear_when: "score < 0.5"', qos=2)
        self.check_conservation(status, probes, rows)
        # Episodes that the stored scores imply, device by device in the order of the store.
        open_devices, implied = set(), []
        for row in rows:
            if row["score"] is not None and row["score"] > 0.8 and row["device_id"] not in open_devices:
                open_devices.add(row["device_id"])
                implied.append(("raised", row["device_id"]))
            elif row["score"] is not None and row["score"] < 0.5 and row["device_id"] in open_devices:
                open_devices.remove(row["device_id"])
                implied.append(("cleared", row["device_id"]))
        self.assertGreater(len(implied), 100)
        alerts = [json.loads(row["payload"]) for row in stored]
        self.assertEqual([(alert["event"], alert["device_id"]) for alert in alerts], implied)
        self.assertEqual({(alert["id"], alert["event"]) for alert in received},
                         {(alert["id"], alert["event"]) for alert in alerts})
        self.assertEqual(len({(alert["id"], alert["event"]) for alert in alerts}), len(alerts))


if __name__ == "__main__":
    unittest.main(verbosity=2)
