"""The main job through the real program: agreement with the seed, conservation, restart."""

import gzip
import json
import pathlib
import tempfile
import unittest

from harness import SHARED, ROOT, Device, Edge, run_cli, wait_for

MODEL = ROOT / "tests/data/models/anomaly.onnx"
GOLDEN = SHARED / "peers/golden"

CONFIG = """
edge: {{id: e2e, data_dir: ./data}}
models:
  anomaly: {{path: anomaly.onnx, inputs: {{input: [temperature, pressure, vibration]}}, outputs: {{score: output}}}}
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:0"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
    time: {{field: timestamp}}
    {extra}
pipelines:
  main:
    from: [direct]
    steps:
      - filter: {{when: "!has(temperature) || temperature < 1000.0"}}
      - detect: {{model: anomaly}}
      - decide: {{alert_when: "score > 0.8"}}
    alerts: [file]
sinks:
  file: {{type: file, path: alerts.jsonl}}
health: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0"}}
"""


def config(extra=""):
    return CONFIG.format(extra=extra)


def reading(seq, **fields):
    base = {"device_id": "press-1", "timestamp": "2026-01-01T00:00:00Z", "temperature": 60.0, "pressure": 2.0,
            "vibration": 0.5, "seq": seq}
    return json.dumps({**base, **fields})


def source(status, name="direct"):
    return next(s for s in status["sources"] if s["name"] == name)


class MainJob(unittest.TestCase):
    @unittest.skipUnless(GOLDEN.exists(), f"{GOLDEN} is absent: agreement with the seed's 10,000 scores is not checked")
    def test_scores_and_alerts_equal_the_seeds(self):
        expected = {}
        for line in (GOLDEN / "scores.txt").read_text().splitlines():
            parts = line.replace(",", " ").split()
            if parts and parts[0].isdigit():
                expected[int(parts[0])] = float(parts[1])
        readings = [line for line in gzip.open(GOLDEN / "readings.jsonl.gz", "rt").read().splitlines() if line]
        self.assertEqual(len(readings), 10_000)
        with Edge(config(), {"anomaly.onnx": MODEL}) as edge:
            device = Device(edge.address("direct"), "golden")
            device.publish_all(
                [(f"sensors/{json.loads(line)['device_id']}/readings", line) for line in readings])
            wait_for("every row decided",
                     lambda: edge.status()["pipelines"][0]["scored"] == len(readings))
            edge.stop()
            scores = {json.loads(row["payload"])["seq"]: row["score"] for row in edge.rows("readings")}
            self.assertEqual(len(scores), len(readings))
            worst = max(abs(scores[seq] - score) for seq, score in expected.items())
            self.assertLess(worst, 1e-5)
            alerts = [json.loads(line) for line in (edge.folder / "alerts.jsonl").read_text().splitlines()]
            self.assertEqual(sorted(alert["raw_data"]["seq"] for alert in alerts),
                             sorted(seq for seq, score in expected.items() if score > 0.8))
            self.assertEqual(len(alerts), 275)
            self.assertEqual(len({alert["id"] for alert in alerts}), 275)
            for alert in alerts:
                self.assertGreater(alert["anomaly_score"], 0.8)
                self.assertEqual(alert["edge_id"], "e2e")
                self.assertEqual(alert["threshold"], 0.8)
                self.assertEqual(len(alert["model"]["digest"]), 64)
                self.assertEqual(set(alert["features"]), {"temperature", "pressure", "vibration"})

    def test_every_reading_is_accounted_for(self):
        """received = duplicate + filtered + dead_letter + stored + refused + in_flight, exactly."""
        with Edge(config('message_id: seq'), {"anomaly.onnx": MODEL}) as edge:
            device = Device(edge.address("direct"), "press-1")
            topic = "sensors/press-1/readings"
            messages = [(topic, reading(seq)) for seq in range(400)]
            messages += [(topic, reading(seq, temperature=5000.0)) for seq in range(400, 430)]   # filtered
            messages += [(topic, reading(seq, temperature=140.0, pressure=9.0, vibration=9.0)) for seq in range(430, 440)]
            messages += [(topic, "{\"temperature\": ")] * 7 + [(topic, b"\xff\xfe")] * 3         # dead letters
            messages += [(topic, reading(seq)) for seq in range(25)]                             # repeats
            device.publish_all(messages)
            intruder = Device(edge.address("direct"), "intruder")
            intruder.send("other/topic", reading(1), 1, qos=0)
            wait_for("the refusal is counted", lambda: source(edge.status())["refused"] == 1)

            status = wait_for("everything decided", lambda: (lambda s: s if s["pipelines"][0]["pending_rows"] == 0 and
                              source(s)["in_flight"] == 0 and s["pipelines"][0]["rows"] == 410 else None)(edge.status()))
            counts = source(status)
            self.assertEqual(counts["received"], len(messages) + 1)
            self.assertEqual(counts["duplicate"], 25)
            self.assertEqual(counts["filtered"], 30)
            self.assertEqual(counts["dead_letter"], 10)
            self.assertEqual(counts["stored"], 410)
            self.assertEqual(counts["received"],
                             sum(counts[k] for k in ("duplicate", "filtered", "dead_letter", "stored", "refused", "in_flight")))
            self.assertEqual(counts["acknowledged"], len(messages))
            self.assertEqual(status["store"]["lanes"]["readings"]["rows"], 410)
            self.assertEqual(status["store"]["lanes"]["dead_letter"]["rows"], 10)
            alerts = status["pipelines"][0]["alerts"]
            self.assertEqual(alerts, status["store"]["lanes"]["alerts"]["rows"])
            edge.stop()
            self.assertEqual(len(edge.rows("readings")), 410)
            dead = edge.rows("dead_letter")
            self.assertEqual(len(dead), 10)
            self.assertTrue(all(row["note"] for row in dead), "a dead letter says why")
            report = edge.verify()
            self.assertTrue(report["ok"])

    def test_a_restart_goes_on_where_it_stopped(self):
        with Edge(config('message_id: seq'), {"anomaly.onnx": MODEL}) as edge:
            topic = "sensors/press-1/readings"
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([(topic, reading(seq)) for seq in range(50)])
            edge.stop()
            edge.start()
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([(topic, reading(seq)) for seq in range(40, 90)])
            self.assertEqual(source(edge.status())["duplicate"], 10)
            edge.stop()
            seqs = [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]
            self.assertEqual(seqs, list(range(90)))
            self.assertEqual([row["sequence"] for row in edge.rows("readings")], list(range(1, 91)))

    def test_health_and_metrics(self):
        with Edge(config(), {"anomaly.onnx": MODEL}) as edge:
            for path in ("/livez", "/readyz", "/startupz"):
                self.assertEqual(edge.get("health", path)[0], 200, path)
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(seq)) for seq in range(20)])
            wait_for("scored", lambda: edge.status()["pipelines"][0]["scored"] == 20)
            code, text = edge.get("health", "/metrics")
            self.assertEqual(code, 200)
            self.assertIn('headwater_source_readings_total{outcome="stored",source="direct"} 20', text)
            self.assertNotIn("press-1", text, "no payload in metrics")
            self.assertEqual(edge.get("health", "/api/v1/status")[0], 404)


if __name__ == "__main__":
    unittest.main(verbosity=2)
