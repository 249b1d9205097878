"""Every config of examples/ passes check, and readings go through it as its comments say."""

import json
import shutil
import ssl
import subprocess
import tempfile
import unittest

import small_yaml
from harness import PROGRAM, ROOT, Device, Edge, run_cli, wait_for
from json_schema import violations
from raw_mqtt import PUBACK, RawClient
from servers import make_certificates

EXAMPLES = ROOT / "examples"
FILES = {path.name: path for path in EXAMPLES.iterdir() if path.suffix in (".onnx", ".csv", ".jsonl", ".sh")}
READINGS = [json.loads(line) for line in (EXAMPLES / "readings.jsonl").read_text().splitlines()]


def edge_of(name, replace=()):
    text = (EXAMPLES / name).read_text()
    for old, new in replace:
        assert old in text, old
        text = text.replace(old, new)
    return Edge(text, FILES)


# mosquitto_passwd -b FILE press-1 'correct horse'
PASSWORDS = ("press-1:$7$101$hWAAioxdnsID7Nal$r3tSxJgbfndvcc0tE2kGqLHES+XLyimhelg8J07OIOZNsV7O6P9sF3bdU/"
             "iYSx3xBeJLOKkc7pybeH5q+3w1SQ==\n").encode()


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="headwater-examples-")
        cls.addClassCleanup(holder.cleanup)
        certificates = make_certificates(holder.name)
        cls.authority = certificates / "ca.pem"
        # What tls-listener.yaml asks its reader to make.
        FILES.update({"server.pem": certificates / "server.pem", "server.key": certificates / "server.key",
                      "passwords": PASSWORDS})

    def test_every_config_passes_check(self):
        configs = sorted(EXAMPLES.glob("*.yaml"))
        self.assertGreaterEqual(len(configs), 3)
        for path in configs:
            with self.subTest(path.name):
                edge = edge_of(path.name)
                self.addCleanup(shutil.rmtree, edge.folder)
                # Look-ups and models are named from the folder the config is in.
                done = subprocess.run([PROGRAM, "check", "edge.yaml"], cwd=edge.folder, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_schema_for_editors_takes_every_config(self):
        schema = json.loads(run_cli("reference", "--json-schema"))
        for path in [*sorted(EXAMPLES.glob("*.yaml")), ROOT / "demo/headwater.yaml"]:
            with self.subTest(path.name):
                self.assertEqual(violations(schema, small_yaml.load(path.read_text())), [])

    def test_tls_listener_lets_a_user_write_its_own_topic(self):
        trust = ssl.create_default_context(cafile=self.authority)
        with edge_of("tls-listener.yaml", [("0.0.0.0:8883", "127.0.0.1:0")]) as edge:
            with RawClient(edge.address("devices"), 5, trust) as client:
                self.assertEqual(client.connect("any", username="press-1", password="correct horse"), (False, 0))
                for packet_id, (device, temperature, reason) in enumerate(
                        (("press-1", 95.0, 0), ("press-2", 95.0, 0x87), ("press-1", 70.0, 0)), 1):
                    client.publish(f"sensors/{device}/readings", json.dumps({"temperature": temperature}), 1, packet_id)
                    self.assertEqual(client.expect(PUBACK).reason, reason)
            wait_for("raised and cleared",
                     lambda: (edge.folder / "stdout.txt").read_text().count("press-1 overheated") == 2)
            with RawClient(edge.address("devices"), 5, trust) as client:
                self.assertNotEqual(client.connect("any")[1], 0, "without a user name")
            edge.stop()
            self.assertEqual([row["device_id"] for row in edge.rows("readings")], ["press-1", "press-1"])

    def test_quickstart_prints_an_alert(self):
        with edge_of("quickstart.yaml", [("127.0.0.1:1884", "127.0.0.1:0")]) as edge:
            device = Device(edge.address("direct"), "device")
            device.publish_all([(f"sensors/{r['device_id']}/readings", json.dumps(r)) for r in READINGS])
            wait_for("two alerts", lambda: (edge.folder / "stdout.txt").read_text().count("ALERT") == 2)
            edge.stop()
            self.assertEqual(len(edge.rows("readings")), len(READINGS))

    def test_press_hall_raises_one_alarm_and_acts(self):
        with edge_of("press-hall.yaml", [("127.0.0.1:1884", "127.0.0.1:0"), ("127.0.0.1:9464", "127.0.0.1:0"),
                                         ("127.0.0.1:9465", "127.0.0.1:0"), ("127.0.0.1:1883", "127.0.0.1:9")]) as edge:
            device = Device(edge.address("direct"), "device")
            hot = [{"timestamp": f"2026-01-01T00:00:{i:02d}Z", "temperature": 140.0, "pressure": 9.0, "vibration": 9.0, "seq": i}
                   for i in range(10)]
            device.publish_all([("sensors/press-1/readings", json.dumps(r)) for r in hot])
            siren = edge.folder / "siren.log"
            wait_for("the siren's line", lambda: siren.exists() and siren.read_text().endswith("\n"))
            self.assertEqual(siren.read_text(), "raised press-1\n")
            alerts = wait_for("the alert is stored", lambda: edge.rows("alerts"))
            self.assertEqual(len(alerts), 1)
            self.assertEqual(set(json.loads(alerts[0]["payload"])["features"]), {"temperature", "pressure", "vibration_rms"})
            edge.kill()  # the broker of `upstream` is not there; a stop would wait for it

    def test_file_replay_ends_by_itself(self):
        edge = edge_of("file-replay.yaml")
        edge.extra = ["--exit-when-done"]
        with edge:
            edge.process.wait(30)
            self.assertEqual(edge.process.returncode, 0)
            alerts = [json.loads(line) for line in (edge.folder / "alerts.jsonl").read_text().splitlines()]
            self.assertEqual([alert["raw_data"]["seq"] for alert in alerts], [7, 23])

    def test_uplink_fills_the_outbox(self):
        edge = edge_of("uplink.yaml")
        edge.extra = ["--exit-when-done"]
        with edge:
            edge.process.wait(30)
            self.assertEqual(edge.process.returncode, 0)
            readings, = (edge.folder / "outbox").glob("*_readings_*.jsonl.zst")
            text = subprocess.run(["zstdcat", readings], capture_output=True, text=True, check=True).stdout
            lines = [json.loads(line) for line in text.splitlines()]
            self.assertEqual([line["payload"] for line in lines], READINGS)
            self.assertEqual([line["seq"] for line in lines if line["score"] > 0.8], [8, 24])


if __name__ == "__main__":
    unittest.main(verbosity=2)
