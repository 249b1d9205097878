"""SIGHUP: live options change while readings flow, the rest is named, a bad config changes nothing, no reading is lost."""

import json
import signal
import unittest

from harness import ROOT, Device, Edge, logfmt, wait_for

MODEL = ROOT / "tests/data/models/anomaly.onnx"

CONFIG = """
edge: {id: reload, data_dir: ./data}
models:
  anomaly: {path: model.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}
sources:
  in: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", message_id: seq%(source)s}
pipelines:
  main:
    from: [in]
    steps:
      - filter: {when: "temperature < %(limit)s"}
      - detect: {model: anomaly}
      - decide: {alert_when: "%(alert)s"%(clear)s}
    alerts: [file]
sinks:
  file: {type: file, path: alerts.jsonl}
admin: {address: "127.0.0.1:0"}
log: {level: %(level)s}
"""


def config(alert="score > 0.5", clear="", limit="1000.0", level="info", source=""):
    return CONFIG % {"alert": alert, "clear": clear, "limit": limit, "level": level, "source": source}


def reading(seq, temperature=60.0):
    return json.dumps({"seq": seq, "temperature": temperature, "pressure": 101.3, "vibration": 0.7}).encode()


class Reload(unittest.TestCase):
    def edge(self):
        return Edge(config(), {"model.onnx": MODEL})

    def reload(self, edge, text=None):
        """Writes the config, sends SIGHUP, returns the lines of the log up to its outcome."""
        if text is not None:
            (edge.folder / "edge.yaml").write_text(text)
        begin = len(edge.log)
        edge.process.send_signal(signal.SIGHUP)

        def outcome():
            return any("msg=reloaded" in line or "reload refused" in line for line in edge.log[begin:])
        wait_for("the outcome of the reload", outcome)
        return edge.log[begin:]

    def publish(self, device, first, count, temperature=60.0):
        device.publish_all([("sensors/press-1/readings", reading(seq, temperature))
                            for seq in range(first, first + count)])

    def test_what_is_live_changes_and_the_rest_is_named(self):
        with self.edge() as edge:
            device = Device(edge.address("in"), "press-1")
            before = edge.status()["revision"]
            self.publish(device, 0, 10, temperature=5000.0)
            wait_for("filtered", lambda: edge.status()["sources"][0]["filtered"] == 10)
            log = self.reload(edge, config(alert="score >= 0.0", limit="10000.0", level="debug", source=", max_connections: 7"))
            text = "\n".join(log)
            changed = {logfmt(line).get("option") for line in log if "option changed" in line}
            self.assertEqual(changed, {"pipelines.main.steps[0].filter.when",
                                       "pipelines.main.steps[2].decide.alert_when", "log.level"}, text)
            refused = [logfmt(line)["option"] for line in log if "needs a restart" in line]
            self.assertEqual(refused, ["sources.in.max_connections"], text)
            self.assertIn("applied=3 refused=1", text)
            self.assertNotEqual(edge.status()["revision"], before)
            self.publish(device, 100, 10, temperature=5000.0)
            wait_for("alerts of the new rule", lambda: edge.status()["pipelines"][0]["alerts"] == 10)
            again = self.reload(edge)
            self.assertIn("applied=0 refused=1", "\n".join(again))
            edge.stop()

    def test_a_config_with_an_error_changes_nothing(self):
        with self.edge() as edge:
            device = Device(edge.address("in"), "press-1")
            before = edge.status()
            log = "\n".join(self.reload(edge, config(alert="scor > 0.5 &&")))
            self.assertIn("reload refused", log)
            self.assertIn("edge.yaml:13", log)
            self.assertEqual(edge.status()["revision"], before["revision"])
            (edge.folder / "edge.yaml").unlink()
            self.assertIn("reload refused", "\n".join(self.reload(edge)))
            self.publish(device, 0, 5)
            wait_for("scored", lambda: edge.status()["pipelines"][0]["scored"] == 5)
            edge.stop()

    def test_a_new_model_behind_the_same_path_decides_from_then_on(self):
        with self.edge() as edge:
            device = Device(edge.address("in"), "press-1")
            self.publish(device, 0, 5)
            wait_for("scored", lambda: edge.status()["pipelines"][0]["scored"] == 5)
            before = edge.status()["models"][0]["digest"]
            new = edge.folder / "new.onnx"
            # The same graph with another producer_version (field 3 of ModelProto; the last one counts).
            new.write_bytes(MODEL.read_bytes() + b"\x1a\x03new")
            new.rename(edge.folder / "model.onnx")
            log = "\n".join(self.reload(edge))
            self.assertIn("models.anomaly.path", log)
            after = edge.status()["models"][0]["digest"]
            self.assertNotEqual(after, before)
            self.publish(device, 5, 5)
            wait_for("scored", lambda: edge.status()["pipelines"][0]["scored"] == 10)
            edge.stop()
            digests = [row["model_digest"] for row in edge.rows("readings")]
            self.assertEqual(digests, [before] * 5 + [after] * 5)

    def test_an_open_alarm_is_cleared_under_its_id_by_the_new_rule_also_after_a_kill(self):
        episode = ', clear_when: "temperature < 50.0"'
        with Edge(config(alert="temperature > 70.0", clear=episode), {"model.onnx": MODEL}) as edge:
            device = Device(edge.address("in"), "press-1")
            self.publish(device, 0, 3, temperature=80.0)
            wait_for("raised", lambda: edge.status()["pipelines"][0]["alerts"] == 1)
            self.reload(edge, config(alert="temperature > 90.0", clear=', clear_when: "temperature < 65.0"'))
            self.publish(device, 3, 1, temperature=80.0)
            edge.kill()
            edge.start()
            device = Device(edge.address("in"), "press-1")
            self.publish(device, 4, 1, temperature=60.0)
            wait_for("cleared", lambda: edge.status()["pipelines"][0]["cleared"] == 1)
            edge.stop()
            alerts = [json.loads(row["payload"]) for row in edge.rows("alerts")]
            self.assertEqual([alert["event"] for alert in alerts], ["raised", "cleared"])
            self.assertEqual(alerts[0]["id"], alerts[1]["id"])

    def test_no_reading_is_lost_while_the_rules_change_again_and_again(self):
        total, batch = 6000, 300
        with self.edge() as edge:
            device = Device(edge.address("in"), "press-1")
            for first in range(0, total, batch):
                payloads = [reading(seq) for seq in range(first, first + batch)]
                for payload in payloads[:batch // 2]:
                    device.send("sensors/press-1/readings", payload)
                rule = "score >= 0.0" if first // batch % 2 == 0 else "score > 2.0"
                (edge.folder / "edge.yaml").write_text(config(alert=rule))
                edge.process.send_signal(signal.SIGHUP)
                for payload in payloads[batch // 2:]:
                    device.send("sensors/press-1/readings", payload)
                device.settle()
            wait_for("scored", lambda: edge.status()["pipelines"][0]["scored"] == total)
            wait_for("delivered", lambda: edge.status()["sinks"][0]["pending"] == 0)
            source = edge.status()["sources"][0]
            self.assertEqual((source["received"], source["stored"], source["in_flight"]), (total, total, 0))
            reloads = sum("msg=reloaded" in line for line in edge.log)
            self.assertGreaterEqual(reloads, total // batch // 2)  # signals of one kind merge
            alerts = edge.status()["pipelines"][0]["alerts"]
            edge.stop()
            rows = edge.rows("readings")
            self.assertEqual([json.loads(row["payload"])["seq"] for row in rows], list(range(total)))
            self.assertTrue(all(row["decided"] for row in rows))
            marked = sum(bool(row["alerted"]) for row in rows)
            self.assertEqual(marked, alerts)
            self.assertEqual(len((edge.folder / "alerts.jsonl").read_text().splitlines()), alerts)
            self.assertTrue(0 < marked < total)
            edge.verify()


if __name__ == "__main__":
    unittest.main(verbosity=2)
