"""The mqtt source against a real mosquitto: delivery, kill -9 of the edge, restarts of the broker."""

import json
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import Device, Edge, wait_for

MOSQUITTO = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if pathlib.Path("/usr/sbin/mosquitto").exists() else None)

CONFIG = """
edge: {id: bridge, data_dir: ./data}
sources:
  line:
    type: mqtt
    url: "mqtt://127.0.0.1:%d"
    topics: ["sensors/+/readings"]
    qos: %d
    version: "%s"
    device: "topic[1]"
    message_id: seq
    max_backoff: 200ms
pipelines: {main: {from: [line], steps: [{filter: {when: "v < 1000000.0"}}]}}
admin: {address: "127.0.0.1:0"}
"""


class Broker:
    """A mosquitto whose port stays the same over restarts."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-broker-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {self.folder}/\n"
            "max_inflight_messages 1000\nmax_queued_messages 100000\nset_tcp_nodelay true\nlog_dest none\nuser root\n")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "conf")], stderr=subprocess.DEVNULL)

        def up():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            except OSError:
                return False

        wait_for("the broker listens", up)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipIf(MOSQUITTO is None, "mosquitto is not installed: the mqtt source is not tested against a broker")
class MqttSource(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.close)

    def publish(self, begin, end):
        device = Device(("127.0.0.1", self.broker.port), "publisher")
        device.publish_all([("sensors/press-1/readings", json.dumps({"seq": i, "v": i})) for i in range(begin, end)], 100)
        device.close()

    def stored(self, edge):
        return edge.status()["sources"][0]["stored"]

    def seqs(self, edge):
        return [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]

    def connected(self, edge):
        """The subscription is there when a first message comes through."""
        def probe():
            self.publish(0, 1)
            return self.stored(edge) >= 1
        wait_for("subscribed", probe)

    def test_each_version_and_qos_delivers_all_in_order(self):
        for qos, version in ((1, "5"), (0, "5"), (1, "3.1.1"), (0, "3.1.1")):
            with self.subTest(qos=qos, version=version), Edge(CONFIG % (self.broker.port, qos, version)) as edge:
                self.connected(edge)
                self.publish(1, 501)
                wait_for("all stored", lambda: self.stored(edge) == 501)
                edge.stop()
                self.assertEqual(self.seqs(edge), list(range(501)))
                self.assertTrue(all(row["device_id"] == "press-1" for row in edge.rows("readings")))

    def test_kill_9_of_the_edge_loses_nothing_the_broker_delivered(self):
        chance = random.Random(3)
        with Edge(CONFIG % (self.broker.port, 1, "5")) as edge:
            self.connected(edge)
            total = 1
            for _ in range(5):
                self.publish(total, total + 400)
                total += 400
                target = chance.randint(1, 399)
                wait_for("some stored", lambda: self.stored(edge) >= target)
                edge.kill()
                edge.start()
            wait_for("everything delivered again", lambda: edge.status()["store"]["lanes"]["readings"]["next_sequence"] == total + 1)
            edge.stop()
            self.assertEqual(sorted(self.seqs(edge)), list(range(total)))

    def test_a_restart_of_the_broker_is_survived(self):
        with Edge(CONFIG % (self.broker.port, 1, "5")) as edge:
            self.connected(edge)
            self.publish(1, 200)
            wait_for("first part", lambda: self.stored(edge) == 200)
            self.broker.stop()
            self.broker.start()
            self.publish(200, 400)
            wait_for("second part", lambda: self.stored(edge) == 400)
            edge.stop()
            self.assertEqual(self.seqs(edge), list(range(400)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
