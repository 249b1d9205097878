"""Every config of examples/ passes check, and readings go through it as its comments say."""

import json
import shutil
import subprocess
import unittest

from harness import PROGRAM, ROOT, Device, Edge, wait_for

EXAMPLES = ROOT / "examples"
FILES = {path.name: path for path in EXAMPLES.iterdir() if path.suffix in (".onnx", ".csv", ".jsonl", ".sh")}
READINGS = [json.loads(line) for line in (EXAMPLES / "readings.jsonl").read_text().splitlines()]


def edge_of(name, replace=()):
    text = (EXAMPLES / name).read_text()
    for old, new in replace:
        assert old in text, old
        text = text.replace(old, new)
    return Edge(text, FILES)


class Examples(unittest.TestCase):
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
            wait_for("the siren", lambda: (edge.folder / "siren.log").exists())
            self.assertEqual((edge.folder / "siren.log").read_text(), "raised press-1\n")
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
