"""Restart changes no decision: after kill -9 the alerts, their ids and the scores are those of an uninterrupted run."""

import collections
import json
import math
import os
import random
import time
import unittest

from harness import ROOT, Device, Edge, run_cli, wait_for

MODEL = ROOT / "tests/data/models/anomaly.onnx"
SEED = int(os.environ.get("SEED", "1"))
DEVICES = 5

CONFIG = """
edge: {id: restart, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [mean_temperature, pressure, peak_vibration]}, outputs: {score: output}}
sources:
  %(source)s
pipelines:
  main:
    from: [in]
    steps:
      - filter: {when: "!has(temperature) || temperature < 1000.0"}
      - window: {by: device_id, last: 10s, add: {mean_temperature: "mean(temperature)", slope: "slope(temperature)"}}
      - window: {by: device_id, rows: 5, add: {peak_vibration: "max(vibration)"}}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8", clear_when: "score < 0.7", on_delay: "3 of 5", off_delay: 4s, cooldown: 10s}
    alerts: [file]
    checkpoint_every: 200ms
    max_waiting: %(max_waiting)s
sinks:
  file: {type: file, path: alerts.jsonl}
store: {segment: 1MiB, max_bytes: 1GiB}
admin: {address: "127.0.0.1:0"}
"""
FILE = '{in: {type: file, path: readings.jsonl, device: device_id, time: {field: timestamp}}}'
LISTEN = ('{in: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", '
          'message_id: seq, time: {field: timestamp}}}')


def config(source, max_waiting="32MiB"):
    return CONFIG % {"source": source, "max_waiting": max_waiting}


def readings(total, seed=7):
    """Lines of all devices in turn: long quiet stretches, anomalous ones of different lengths, nulls, filtered rows."""
    chance = random.Random(seed)
    trouble = [0] * DEVICES
    lines = []
    for seq in range(total):
        device = seq % DEVICES
        if trouble[device]:
            trouble[device] -= 1
        elif chance.random() < 0.02:
            trouble[device] = chance.randrange(2, 40)
        row = {"device_id": f"press-{device}", "seq": seq,
               "timestamp": 1767225600 + seq // DEVICES * 0.5,
               "temperature": round((64 if trouble[device] else 60) + chance.uniform(-1, 1), 3),
               "pressure": round(101 + chance.uniform(-1, 1), 3),
               "vibration": round(chance.uniform(1.15, 1.45) if trouble[device] else chance.uniform(0.4, 1.1), 4)}
        if chance.random() < 0.01:
            row["temperature"] = None
        if chance.random() < 0.01:
            row["temperature"] = 5000.0
        lines.append(json.dumps(row))
    return lines


def outcome(edge):
    """What a run decided: scores and marks by reading, and the alerts in the order of each device."""
    scores = {}
    for row in edge.rows("readings"):
        seq = json.loads(row["payload"])["seq"]
        assert seq not in scores, f"reading {seq} is stored twice"
        scores[seq] = (row["score"], row["alerted"], row["decided"])
    alerts = collections.defaultdict(list)
    for row in edge.rows("alerts"):
        alert = json.loads(row["payload"])
        alerts[alert["device_id"]].append(alert)
    delivered = [json.loads(line) for line in (edge.folder / "alerts.jsonl").read_text().splitlines()]
    return scores, alerts, delivered


class Case(unittest.TestCase):
    def assertSameOutcome(self, expected, got):
        scores, alerts, delivered = got
        self.assertEqual(sorted(scores), sorted(expected[0]), "the same readings are stored")
        for seq, (score, alerted, decided) in expected[0].items():
            other, other_alerted, other_decided = scores[seq]
            self.assertTrue(decided and other_decided, f"reading {seq} is decided")
            self.assertEqual(score is None, other is None, f"score of reading {seq}")
            self.assertTrue(score is None or math.isclose(score, other, rel_tol=0, abs_tol=1e-9), f"reading {seq}")
            self.assertEqual(alerted, other_alerted, f"reading {seq}")
        self.assertEqual(sorted(alerts), sorted(expected[1]))
        for device, wanted in expected[1].items():
            self.assertEqual([(a["id"], a["event"]) for a in alerts[device]],
                             [(a["id"], a["event"]) for a in wanted], device)
            for one, other in zip(alerts[device], wanted):
                self.assertEqual(sorted(one), sorted(other))
                for key in one:
                    if key in ("anomaly_score", "peak", "duration_s"):
                        self.assertAlmostEqual(one[key], other[key], delta=1e-9)
                    elif key == "features":
                        for name in one[key]:
                            self.assertAlmostEqual(one[key][name], other[key][name], delta=1e-4)     # float32
                    else:
                        self.assertEqual(one[key], other[key], key)
        # Delivered at least once each: receivers drop repeats by id and event.
        self.assertEqual({(a["id"], a["event"]) for a in delivered},
                         {(a["id"], a["event"]) for of in expected[1].values() for a in of})

    def assertWorthwhile(self, outcome, least):
        events = collections.Counter(a["event"] for of in outcome[1].values() for a in of)
        self.assertGreater(events["raised"], least)
        self.assertGreater(events["cleared"], least)


class FromFile(Case):
    """A file source: identities are places in the file, so two runs over it must agree in every id."""

    @classmethod
    def setUpClass(cls):
        cls.lines = readings(25_000)
        cls.bytes = ("\n".join(cls.lines) + "\n").encode()
        with cls.edge(cls) as edge:
            cls.finish(edge)
            cls.expected = outcome(edge)

    def edge(self, readings=None, **options):
        edge = Edge(config(FILE, **options), {"anomaly.onnx": MODEL, "readings.jsonl": readings or self.bytes})
        edge.extra = ["--exit-when-done"]
        return edge

    @staticmethod
    def finish(edge):
        code = edge.process.wait(60)
        assert code == 0, "\n".join(edge.log)

    def test_the_run_is_worth_comparing(self):
        self.assertWorthwhile(self.expected, 50)
        self.assertGreater(len(self.expected[0]), 20_000)

    def play_with_stops(self, edge, stops, stop):
        chance = random.Random(SEED)
        stopped = 0
        for _ in range(stops):
            time.sleep(chance.uniform(0, 0.08))       # the random moment; nothing is awaited here
            if edge.process.poll() is not None:
                break
            stop()
            stopped += 1
            edge.start()
        self.finish(edge)
        return stopped

    def test_kills_change_no_decision(self):
        for max_waiting in ("32MiB", "64KiB"):
            with self.subTest(max_waiting=max_waiting), self.edge(max_waiting=max_waiting) as edge:
                self.assertGreaterEqual(self.play_with_stops(edge, 8, edge.kill), 3, "kills that came in time")
                self.assertSameOutcome(self.expected, outcome(edge))
                self.assertTrue(edge.verify()["ok"])

    def test_drained_restarts_change_no_decision_and_deliver_no_alert_twice(self):
        with self.edge() as edge:
            self.assertGreaterEqual(self.play_with_stops(edge, 8, edge.stop), 2)
            self.assertSameOutcome(self.expected, outcome(edge))
            ids = [(a["id"], a["event"]) for a in outcome(edge)[2]]
            self.assertEqual(len(ids), len(set(ids)), "a drained edge has told its cursors")

    def test_decisions_that_fall_behind_are_caught_up_from_the_spool(self):
        with self.edge(max_waiting="64KiB") as edge:
            self.finish(edge)
            self.assertSameOutcome(self.expected, outcome(edge))

    def test_a_file_is_read_on_where_it_ended(self):
        half = self.bytes.index(b"\n", len(self.bytes) // 2) + 1
        with self.edge(readings=self.bytes[:half]) as edge:
            self.finish(edge)
            first = len(edge.rows("readings"))
            with open(edge.folder / "readings.jsonl", "ab") as file:
                file.write(self.bytes[half:-1])        # the last line has no end
            edge.start()
            self.finish(edge)
            self.assertSameOutcome(self.expected, outcome(edge))
            self.assertLess(first, len(self.expected[0]))
            edge.start()
            self.finish(edge)
            self.assertSameOutcome(self.expected, outcome(edge))
            # Shorter than what was read: another file, which is told, not guessed at.
            (edge.folder / "readings.jsonl").write_bytes(self.bytes[:half])
            _, error = run_cli("run", "edge.yaml", cwd=edge.folder, status=65)
            self.assertIn("another file", error)


class FromListener(Case):
    """Devices with message ids: what they repeat after a kill is found by its id, and decides nothing twice."""

    def play(self, kills, max_waiting="32MiB", total=6_000):
        lines = [json.loads(line) for line in readings(total, seed=11)]
        chance = random.Random(SEED)
        # Not at the end: the loop below must notice.
        kill_at = set(chance.sample(range(total // 10, total - 500), kills))
        with Edge(config(LISTEN, max_waiting), {"anomaly.onnx": MODEL}) as edge:
            devices, open_rows = {}, {f"press-{i}": {} for i in range(DEVICES)}

            def connect():
                for name, rows in open_rows.items():
                    devices[name] = Device(edge.address("in"), name)
                    for seq, line in rows.items():       # all that was not acknowledged, in its order
                        devices[name].send(f"sensors/{name}/readings", line, seq)

            def collect(name, timeout=0.0):
                devices[name].poll(timeout)
                for seq in devices[name].acknowledged:
                    open_rows[name].pop(seq, None)
                devices[name].acknowledged.clear()

            connect()
            for row in lines:
                name, seq = row["device_id"], row["seq"]
                open_rows[name][seq] = json.dumps(row)
                try:
                    if seq in kill_at:
                        edge.process.kill()
                    devices[name].send(f"sensors/{name}/readings", open_rows[name][seq], seq)
                    while True:
                        collect(name)
                        if len(open_rows[name]) < 100:
                            break
                        collect(name, 1)
                except OSError:
                    edge.kill()
                    for device in devices.values():
                        device.drop()
                    edge.start()
                    connect()
            for name in devices:
                wait_for(f"{name} is acknowledged", lambda: not open_rows[name] or collect(name, 0.05))
            wait_for("decided and delivered", lambda: (lambda s: s["pipelines"][0]["pending_rows"] == 0 and
                     s["pipelines"][0]["behind_rows"] == 0 and s["sinks"][0]["pending"] == 0)(edge.status()))
            replayed = edge.status()["pipelines"][0]["replayed"]
            edge.stop()
            for device in devices.values():
                device.drop()
            self.assertTrue(edge.verify()["ok"])
            return outcome(edge), replayed

    def test_kills_change_no_decision(self):
        expected, _ = self.play(kills=0)
        self.assertWorthwhile(expected, 5)
        self.assertSameOutcome(expected, self.play(kills=6)[0])

    def test_decisions_that_fall_behind_are_caught_up_from_the_spool(self):
        expected, _ = self.play(kills=0)
        # Whether rows are behind at the last kill is chance: again until they were, and equal each time.
        for _ in range(6):
            got, replayed = self.play(kills=3, max_waiting="64KiB")
            self.assertSameOutcome(expected, got)
            if replayed > 0:
                return
        self.fail("no run of six had rows to read back from the spool")


if __name__ == "__main__":
    unittest.main(verbosity=2)
