"""Clients that others wrote, against the edge's listener: each publish is stored once, in the order of its device."""

import json
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import Edge, wait_for
from servers import Proxy

# Link cuts in the midst of a client's own retries: ctest e2e_clients_cuts (label slow) sets it.
CUTS = os.environ.get("CUTS") == "1"
HERE = pathlib.Path(__file__).resolve().parent
COUNT = 200
NODE = shutil.which("node")
MQTT_JS = HERE / "node/node_modules/mqtt/package.json"
COMPILER = shutil.which("cc")
PAHO_C = pathlib.Path("/usr/include/MQTTClient.h")
PYTHON = "/usr/bin/python3"      # the one that Debian's python3-paho-mqtt is for


def has_paho():
    return pathlib.Path(PYTHON).exists() and \
        subprocess.run([PYTHON, "-c", "import paho.mqtt.client"], capture_output=True).returncode == 0


CONFIG = """
edge: {id: clients, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]"}
  with_ids:
    {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", message_id: seq}
pipelines:
  main: {from: [direct, with_ids], steps: []}
admin: {address: "127.0.0.1:0"}
"""


def topic(device):
    return f"sensors/{device}/readings"


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.edge = Edge(CONFIG)
        cls.edge.start()

    @classmethod
    def tearDownClass(cls):
        cls.edge.stop()
        report = cls.edge.verify()
        cls.edge.__exit__(None, None, None)
        assert report["ok"], report

    def stored(self):
        return sum(source["stored"] for source in self.edge.status()["sources"])

    def settled(self):
        wait_for("nothing in flight", lambda: not any(s["in_flight"] for s in self.edge.status()["sources"]))

    def assertStoredInOrder(self, device, count=COUNT):
        def seqs():
            self.settled()
            return [json.loads(row["payload"])["seq"] for row in self.edge.rows("readings", "--device", device)]
        # A QoS 0 client may be gone before the edge has read what it sent.
        self.assertEqual(wait_for(f"{count} readings of {device}", lambda: (lambda s: s if len(s) >= count else None)(seqs()),
                                  20), list(range(count)))

    def run_client(self, command, stdin=None):
        done = subprocess.run(list(map(str, command)), input=stdin, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def lines(self):
        return "".join(json.dumps({"seq": seq, "temperature": 60.0 + seq % 7}) + "\n" for seq in range(COUNT))

    @unittest.skipUnless(shutil.which("mosquitto_pub"), "mosquitto_pub is absent (apt: mosquitto-clients)")
    def test_mosquitto_pub(self):
        for version in ("mqttv311", "mqttv5"):
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    device = f"mosquitto-{version}-{qos}"
                    host, port = self.edge.address("direct")
                    self.run_client(["mosquitto_pub", "-h", host, "-p", port, "-V", version, "-q", qos, "-i", device, "-t",
                                     topic(device), "-l"], self.lines())
                    self.assertStoredInOrder(device)

    @unittest.skipUnless(PAHO_C.exists() and COMPILER, f"{PAHO_C} or cc is absent (apt: libpaho-mqtt-dev)")
    def test_paho_for_c(self):
        program = self.edge.folder / "paho_publish"
        subprocess.run([COMPILER, "-o", program, HERE / "paho_publish.c", "-lpaho-mqtt3c"], check=True, timeout=60)
        for version in (4, 5):
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    device = f"paho-c-{version}-{qos}"
                    _, port = self.edge.address("direct")
                    self.run_client([program, port, version, qos, device, topic(device)], self.lines())
                    self.assertStoredInOrder(device)

    def play_library(self, name, command):
        for version in (4, 5):
            for qos in (0, 1, 2):
                with self.subTest(version=version, qos=qos):
                    device = f"{name}-{version}-{qos}"
                    options = {"port": self.edge.address("direct")[1], "version": version, "qos": qos, "client": device,
                               "topic": topic(device), "count": COUNT}
                    self.run_client([*command, json.dumps(options)])
                    self.assertStoredInOrder(device)

    def play_library_over_cuts(self, name, command, cuts):
        """The link dies with answers on the way; the client's session goes on and nothing is stored twice."""
        for version in (4, 5):
            for qos, source in ((1, "with_ids"), (2, "direct")):
                with self.subTest(version=version, qos=qos), Proxy(self.edge.address(source), [150] * cuts) as proxy:
                    device = f"{name}-cut-{version}-{qos}"
                    options = {"port": proxy.port, "version": version, "qos": qos, "client": device,
                               "topic": topic(device), "count": COUNT, "keep": True, "every_ms": 2}
                    process = subprocess.Popen([*command, json.dumps(options)], stdout=subprocess.DEVNULL,
                                               stderr=subprocess.PIPE, text=True)
                    self.addCleanup(process.kill)
                    for _ in range(cuts):
                        wait_for("answers that the client does not get", lambda: proxy.kept > 0 or process.poll() is not None)
                        proxy.cut()
                    _, error = process.communicate(timeout=90)
                    self.assertEqual(process.returncode, 0, error)
                    self.assertStoredInOrder(device)

    @unittest.skipUnless(NODE and MQTT_JS.exists(), "MQTT.js is absent (tools/setup.sh test)")
    def test_mqtt_js(self):
        self.play_library("mqttjs", [NODE, str(HERE / "node/publish.mjs")])

    @unittest.skipUnless(NODE and MQTT_JS.exists(), "MQTT.js is absent (tools/setup.sh test)")
    @unittest.skipUnless(CUTS, "runs with the slow tests (CUTS=1)")
    def test_mqtt_js_goes_on_over_lost_connections(self):
        # MQTT.js sends again without DUP, so at QoS 1 only an id in the message tells a repeat from a new one. One cut: a
        # second one while it sends again makes it report failures of publishes that it then sends all the same.
        self.play_library_over_cuts("mqttjs", [NODE, str(HERE / "node/publish.mjs")], 1)

    @unittest.skipUnless(has_paho(), "Paho for Python is absent (apt: python3-paho-mqtt)")
    def test_paho_for_python(self):
        self.play_library("paho", [PYTHON, str(HERE / "paho_publish.py")])

    @unittest.skipUnless(has_paho(), "Paho for Python is absent (apt: python3-paho-mqtt)")
    @unittest.skipUnless(CUTS, "runs with the slow tests (CUTS=1)")
    def test_paho_for_python_goes_on_over_lost_connections(self):
        # Paho sends all that waits when it is connected again, far more than was ever open at the edge. It sets DUP, but that
        # many repeats are more than a session remembers without ids.
        self.play_library_over_cuts("paho", [PYTHON, str(HERE / "paho_publish.py")], 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
