"""Steps through the real program: a lookup that follows its file, a tumbling window over kill -9, an autoencoder."""

import json
import os
import sqlite3
import unittest

from harness import ROOT, Device, Edge, run_cli, wait_for

CONFIG = """
edge: {{id: e2e, data_dir: ./data}}
{models}
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:0"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
    time: {{field: timestamp}}
pipelines:
  main: {{from: [direct], steps: [{steps}], alerts: [file]}}
sinks:
  file: {{type: file, path: alerts.jsonl}}
health: {{address: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0"}}
"""


def config(*steps, models=""):
    return CONFIG.format(steps=", ".join(steps), models=models)


def publish(edge, *readings, device="press-1"):
    client = Device(edge.address("direct"), device)
    client.publish_all([(f"sensors/{device}/readings", json.dumps(reading)) for reading in readings])
    client.close()


def alerts(edge):
    file = edge.folder / "alerts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def at(second, **fields):
    return {"timestamp": f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z", **fields}


class Lookup(unittest.TestCase):
    def test_follows_its_file_and_survives_a_bad_one(self):
        steps = ["{enrich: {lookup: {file: assets.csv, key: device_id}}}", '{decide: {alert_when: "pressure > rated"}}']
        with Edge(config(*steps), {"assets.csv": b"device_id,rated\npress-1,10\n"}) as edge:
            def replace(text):
                (edge.folder / "next.csv").write_text(text)
                os.rename(edge.folder / "next.csv", edge.folder / "assets.csv")

            def metric(name):
                text = edge.get("health", "/metrics")[1]
                return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))

            pipeline = lambda: edge.status()["pipelines"][0]
            publish(edge, at(0, pressure=9))
            wait_for("the first is decided", lambda: pipeline()["rows"] == 1)
            replace("device_id,rated\npress-1,high\n")
            wait_for("the trouble is told", lambda: "assets.csv:2: column 'rated'" in pipeline()["trouble"])
            publish(edge, at(1, pressure=9.5))
            wait_for("the second is decided", lambda: pipeline()["rows"] == 2)
            self.assertIn("the table read before stays", pipeline()["trouble"])
            self.assertEqual(alerts(edge), [])
            replace("device_id,rated\npress-1,8\n")
            wait_for("the new table is there", lambda: metric("headwater_lookup_reloads_total") == 1)
            self.assertEqual(metric("headwater_lookup_failed_reloads_total"), 1)
            self.assertEqual(pipeline()["trouble"], "")
            publish(edge, at(2, pressure=9))
            wait_for("the alert by the new table", lambda: len(alerts(edge)) == 1)

    def test_check_reads_a_database_as_a_start_would(self):
        with Edge(config('{enrich: {lookup: {file: assets.db, table: assets, key: device_id}}}',
                         '{decide: {alert_when: "pressure > rated"}}'),
                  {"assets.db": ROOT / "tests/data/lookup/assets.db"}) as edge:
            edge.stop()
            run_cli("check", "edge.yaml", cwd=edge.folder)
            database = sqlite3.connect(edge.folder / "assets.db")
            database.execute("INSERT INTO assets SELECT * FROM assets WHERE device_id = 'press-1'")
            database.commit()
            database.close()
            out, err = run_cli("check", "edge.yaml", status=(1, 65, 78), cwd=edge.folder)
            self.assertIn("assets.db: row 3: key 'press-1' is in row 1 already", out + err)


class TumblingWindow(unittest.TestCase):
    def test_its_results_are_those_of_a_run_without_kill_9(self):
        steps = ['{window: {every: 60s, add: {middle: "median(v)", n: "count()"}}}',
                 '{decide: {alert_when: "n == 4 && middle == 2.5"}}']
        with Edge(config(*steps)) as edge:
            publish(edge, at(0, v=4), at(20, v=1))
            edge.kill()
            edge.start()
            publish(edge, at(40, v=3))
            edge.kill()
            edge.start()
            publish(edge, at(50, v=2), at(61, v=100))
            told = wait_for("the window's alert", lambda: alerts(edge))
            self.assertEqual(told[0]["raw_data"]["v"], 100)


class Autoencoder(unittest.TestCase):
    def test_alerts_on_the_error_of_its_reconstruction(self):
        models = 'models: {press: {path: ae.onnx, inputs: {x: [a, b, c]}, outputs: {score: "mse(y, x)"}}}'
        with Edge(config("{detect: press}", '{decide: "score > 5.0"}', models=models),
                  {"ae.onnx": ROOT / "tests/data/models/autoencoder.onnx"}) as edge:
            publish(edge, at(0, a=1, b=2, c=0.5), at(1, a=4, b=2, c=2))
            told = wait_for("the alert", lambda: alerts(edge))
            self.assertEqual(told[0]["anomaly_score"], 5.75)
            self.assertEqual(told[0]["raw_data"]["a"], 4)


if __name__ == "__main__":
    unittest.main()
