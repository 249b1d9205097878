"""What is stored reaches a receiver once, in order and without a hole, whatever the receiver, the link and kill -9 do."""

import json
import os
import pathlib
import random
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from harness import ROOT, Device, Edge, run_cli, wait_for
from servers import OK, Answer, Receiver, make_certificates, split_batch, unpack

CONFIG = """
edge: {id: hall-2, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]"}
pipelines:
  main:
    from: [direct]
    steps:
      - decide: {alert_when: "temperature > 100.0"}
store: {%(store)s}
uplink: {%(uplink)s}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""
# Small batches, and no long waits.
BRISK = "every: 200ms, max_rows: 100, max_backoff: 100ms, park_every: 200ms"


def config(target, store="max_bytes: 64MiB", brisk=BRISK):
    return CONFIG % {"store": store, "uplink": f"{target}, {brisk}"}


def to(receiver, *more, scheme="http"):
    return ", ".join(["type: http", f'url: "{receiver.url(scheme)}"', *more])


def lane(edge, name):
    return next(one for one in edge.status()["uplink"]["lanes"] if one["lane"] == name)


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="headwater-uplink-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.sent = []          # payloads of readings, in the order of their acknowledgement

    def publish(self, edge, count, every_nth_alerts=10, filler=0):
        """Readings until acknowledged, one of some with an alert."""
        device = Device(edge.address("direct"), "press-1")
        begin = len(self.sent)
        # Spaces and 1.50: bytes that a JSON library would write otherwise.
        new = [f'{{"n": {n}, "temperature": {"120.50" if n % every_nth_alerts == 0 else "20.50"}{", " if filler else ""}'
               + (f'"filler": "{"x" * filler}"' if filler else "") + "}" for n in range(begin, begin + count)]
        device.publish_all([("sensors/press-1/readings", payload) for payload in new])
        device.close()
        self.sent += new

    def arrived(self, receiver, edge=None, deadline_s=60):
        """Waits until every reading sent is there, and checks what is."""
        def there():
            return receiver.count("readings") + sum(g["rows"] for g in receiver.gaps.get("readings", [])) >= len(self.sent)
        wait_for("every reading at the receiver", there, deadline_s)
        self.assertEqual(receiver.problems, [])
        self.assertEqual([row["raw"] for row in receiver.rows("readings")], self.sent, "once, in order, byte for byte")
        alerts = [n for n, payload in enumerate(self.sent) if "120.50" in payload]
        wait_for("every alert", lambda: receiver.count("alerts") >= len(alerts))
        self.assertEqual([row["payload"]["raw_data"]["n"] for row in receiver.rows("alerts")], alerts)
        if edge is not None:
            for name in ("readings", "alerts"):
                wait_for("nothing pending", lambda: lane(edge, name)["pending"] == 0)


class Http(Case):
    def test_a_good_receiver_has_everything_and_the_numbers_say_so(self):
        os.environ["UPLINK_TOKEN"] = "s3cret"
        self.addCleanup(os.environ.pop, "UPLINK_TOKEN")
        with Receiver(token="s3cret") as receiver, Edge(config(to(receiver, "token: '${UPLINK_TOKEN}'"))) as edge:
            self.publish(edge, 1000)
            self.arrived(receiver, edge)
            readings, alerts = lane(edge, "readings"), lane(edge, "alerts")
            self.assertEqual((readings["delivered"], alerts["delivered"]), (1000, 100))
            self.assertEqual((readings["retries"], readings["trouble"], readings["state"]), (0, "", "idle"))
            self.assertEqual(readings["delivered_bytes"], readings["sent_bytes"])
            self.assertEqual(len([a for a in receiver.attempts if a[0] == "readings"]), readings["batches"])
            metrics = edge.get("health", "/metrics")[1]
            self.assertIn('headwater_uplink_delivered_rows_total{lane="readings"} 1000\n', metrics)
            self.assertIn('headwater_uplink_pending_rows{lane="readings"} 0\n', metrics)
            self.assertNotIn("s3cret", json.dumps(edge.status()) + "\n".join(edge.log))
            row = receiver.rows("readings")[0]
            self.assertEqual((row["device"], row["topic"], row["pipeline"], row["alerted"]),
                             ("press-1", "sensors/press-1/readings", "main", True))
            edge.stop()

    def test_a_receiver_that_was_down_gets_what_was_stored_meanwhile(self):
        receiver = Receiver()
        with Edge(config(to(receiver))) as edge:
            self.publish(edge, 1500)
            wait_for("tried", lambda: lane(edge, "readings")["retries"] > 2)
            self.assertEqual(lane(edge, "readings")["state"], "waiting")
            self.assertIn("onnect", lane(edge, "readings")["trouble"])
            self.assertEqual(lane(edge, "readings")["pending"], 1500)
            self.assertGreater(lane(edge, "readings")["oldest_pending_s"], 0)
            with receiver:
                self.arrived(receiver, edge)
            edge.stop()

    def test_whatever_the_receiver_does(self):
        kinds = [OK, OK, Answer(500), Answer(503), Answer(429), Answer(408), Answer(200, store=False, cut=5),
                 Answer(200, store=True, cut=0), Answer(200, store=True, cut=30), Answer(200, store=False, cut=0)]
        choose = random.Random(7)

        def behave(_, header):
            if header["rows"] > 60:
                return Answer(413)
            return choose.choice(kinds)
        with Receiver(behave) as receiver, Edge(config(to(receiver))) as edge:
            for _ in range(4):
                self.publish(edge, 400)
            self.arrived(receiver, edge)
            outcomes = {attempt[3] for attempt in receiver.attempts}
            self.assertTrue({"stored", 413, 500, 429, 200} <= outcomes, outcomes)
            self.assertGreater(lane(edge, "readings")["retries"], 10)
            repeats = [a for a in receiver.attempts if a[3] == "stored"]
            self.assertGreater(len(repeats), len(set(repeats)), "a lost answer makes a repeat")
            edge.stop()

    def test_kills_of_the_edge_change_no_boundary(self):
        choose = random.Random(11)
        kinds = [OK, OK, Answer(500), Answer(200, store=True, cut=0)]
        with Receiver(lambda *_: choose.choice(kinds)) as receiver, Edge(config(to(receiver))) as edge:
            for _ in range(6):
                self.publish(edge, 300)
                seen = len(receiver.attempts)
                wait_for("an attempt", lambda: len(receiver.attempts) > seen)
                edge.kill()
                edge.start()
            self.arrived(receiver, edge)
            lasts = {}
            for name, first, last, _ in receiver.attempts:
                lasts.setdefault((name, first), set()).add(last)
            self.assertEqual({key: ends for key, ends in lasts.items() if len(ends) > 1}, {})
            self.assertGreater(len(receiver.attempts), len(lasts), "some came again")
            edge.stop()

    def test_a_batch_on_its_way_comes_again_the_same_after_kill_9(self):
        release = threading.Event()
        self.addCleanup(release.set)
        held = [Answer(200, store=True, until=release)]
        with Receiver(lambda *_: held[0]) as receiver, Edge(config(to(receiver), brisk="every: 1h, max_rows: 50")) as edge:
            self.publish(edge, 120, every_nth_alerts=1000)
            wait_for("on its way", lambda: lane(edge, "readings")["state"] == "sending")
            edge.kill()
            held[0] = OK
            release.set()
            edge.start()
            wait_for("two batches", lambda: receiver.count("readings") == 100)
            wait_for("counted", lambda: lane(edge, "readings")["pending"] == 20)
            self.assertEqual({a[:3] for a in receiver.attempts if a[0] == "readings"},
                             {("readings", 1, 50), ("readings", 51, 100)})
            edge.stop()

    def test_retry_after_is_honoured(self):
        times = []

        def behave(_, header):
            if header["lane"] != "readings":
                return OK
            times.append(time.monotonic())
            return Answer(429, {"Retry-After": "1"}) if len(times) < 3 else OK
        with Receiver(behave) as receiver, Edge(config(to(receiver))) as edge:
            self.publish(edge, 10)
            self.arrived(receiver, edge)
            self.assertEqual(len(times), 3)
            self.assertGreaterEqual(min(b - a for a, b in zip(times, times[1:])), 1.0)

    def test_a_slow_batch_of_readings_holds_no_alert_back(self):
        release = threading.Event()
        self.addCleanup(release.set)
        slow = Answer(until=release)
        with Receiver(lambda _, header: slow if header["lane"] == "readings" else OK) as receiver, \
                Edge(config(to(receiver))) as edge:
            self.publish(edge, 10)
            wait_for("on its way", lambda: lane(edge, "readings")["state"] == "sending")
            self.publish(edge, 40)
            wait_for("alerts", lambda: receiver.count("alerts") == 5)
            self.assertEqual(receiver.count("readings"), 0)
            release.set()
            self.arrived(receiver, edge)

    def behind(self, receiver, edge, rows):
        """`rows` readings that are older than what `live_first` suffers, while the receiver is away."""
        self.publish(edge, rows)
        wait_for("old", lambda: lane(edge, "readings")["oldest_pending_s"] > 2.5)

    def test_live_readings_go_in_front_of_a_backlog(self):
        receiver = Receiver(lambda _, header: Answer(until=threading.Event(), patience=0.1 * (header["last"] <= 1000)))
        with Edge(config(to(receiver))) as edge:
            self.behind(receiver, edge, 1000)
            with receiver:
                wait_for("split", lambda: lane(edge, "readings")["live_first"])
                self.publish(edge, 50)
                wait_for("live ones", lambda: 1050 in receiver.sequences("readings"))
                self.assertLess(receiver.count("readings"), 1050, "the backlog is behind them")
                status = lane(edge, "readings")
                self.assertGreater(status["pending"], 0)
                metrics = edge.get("health", "/metrics")[1]
                self.assertRegex(metrics, 'headwater_uplink_live_rows_total{lane="readings"} [1-9]')
                edge.kill()                         # what went ahead is known after it
                edge.start()
                self.arrived(receiver, edge)
                self.assertEqual(lane(edge, "readings")["ahead"], 0)
                self.assertFalse(lane(edge, "readings")["live_first"])
                stored = [a[:3] for a in receiver.attempts if a[0] == "readings" and a[3] == "stored"]
                self.assertGreater([first for _, first, _ in stored].index(min(f for _, f, _ in stored if f > 1000)), 0)
                edge.stop()

    def test_strict_order_sends_the_oldest_first(self):
        receiver = Receiver()
        with Edge(config(to(receiver, "order: strict"))) as edge:
            self.behind(receiver, edge, 1000)
            with receiver:
                self.publish(edge, 50)
                self.arrived(receiver, edge)
                firsts = [a[1] for a in receiver.attempts if a[0] == "readings"]
                self.assertEqual(firsts, sorted(firsts))
            edge.stop()

    def test_a_receiver_that_stays_silent_is_reconnected_and_then_started_anew(self):
        never = threading.Event()
        self.addCleanup(never.set)
        silent = [3]        # attempts on readings that get no answer

        def behave(_, header):
            if header["lane"] == "readings" and silent[0] > 0:
                silent[0] -= 1
                return Answer(200, store=False, until=never)
            return OK
        with Receiver(behave) as receiver, Edge(config(to(receiver, "stall: 1s"))) as edge:
            self.publish(edge, 10)
            wait_for("the last silence", lambda: silent[0] == 0)
            began = time.monotonic()
            self.arrived(receiver, edge)
            self.assertLess(time.monotonic() - began, 4, "goes on at once when the receiver does")
            self.assertEqual(lane(edge, "readings")["silences"], 3)
            self.assertEqual(edge.status()["uplink"]["restarts"], 1)
            metrics = edge.get("health", "/metrics")[1]
            self.assertIn('headwater_uplink_silences_total{lane="readings"} 3\n', metrics)
            self.assertIn("headwater_uplink_restarts_total 1\n", metrics)
            wait_for("the line of the restart", lambda: sum("started anew" in line for line in edge.log) == 1)
            self.assertEqual(sum("trying a new connection" in line for line in edge.log), 2)
            edge.stop()

    def test_a_receiver_that_falls_silent_is_given_up(self):
        never = threading.Event()
        self.addCleanup(never.set)
        silent = [Answer(200, store=False, until=never)]
        with Receiver(lambda *_: silent.pop() if silent else OK) as receiver, \
                Edge(config(to(receiver, "stall: 1s"))) as edge:
            self.publish(edge, 10)
            self.arrived(receiver, edge)
            self.assertEqual(lane(edge, "readings")["retries"] + lane(edge, "alerts")["retries"], 1)

    def test_a_refusal_parks_and_loses_nothing(self):
        status = [401]
        with Receiver(lambda *_: Answer(status[0])) as receiver, Edge(config(to(receiver))) as edge:
            self.publish(edge, 200)
            for code, words in ((401, "token"), (404, "url"), (422, "content"), (307, "redirects")):
                status[0] = code
                wait_for(f"parked by {code}", lambda: f"answered {code}" in lane(edge, "readings")["trouble"])
                self.assertEqual(lane(edge, "readings")["state"], "parked")
                self.assertIn(words, lane(edge, "readings")["trouble"])
            self.assertIn('headwater_uplink_parked_ratio{lane="readings"} 1\n', edge.get("health", "/metrics")[1])
            self.assertTrue(any("answered 401" in line and "level=warn" in line for line in edge.log))
            status[0] = 200
            self.arrived(receiver, edge)
            self.assertEqual(lane(edge, "readings")["state"], "idle")

    def test_a_row_that_is_refused_is_found_and_stays_here(self):
        def behave(_, header):
            poisoned = header["lane"] == "readings" and header["rows"] and header["first"] <= 151 <= header["last"]
            return Answer(422) if poisoned else OK
        with Receiver(behave) as receiver, Edge(config(to(receiver))) as edge:
            self.publish(edge, 300)
            wait_for("all but one", lambda: receiver.count("readings") == 299)
            wait_for("its dead letter", lambda: receiver.count("dead_letter") == 1)
            wait_for("nothing pending", lambda: lane(edge, "readings")["pending"] == 0)
            self.assertEqual(receiver.problems, [])
            gap, = receiver.gaps["readings"]
            self.assertEqual((gap["first"], gap["last"], gap["rows"], gap["reason"]), (151, 151, 1, "refused"))
            letter, = receiver.rows("dead_letter")
            self.assertEqual(letter["raw"], self.sent[150])
            self.assertIn("answered 422", letter["note"])
            self.assertEqual(lane(edge, "readings")["refused"], 1)

    def test_a_row_that_is_too_large_goes_as_a_gap_and_stays_here(self):
        def behave(_, header):
            return Answer(413) if header["lane"] == "readings" and header["bytes"] > 5000 else OK
        with Receiver(behave) as receiver, Edge(config(to(receiver))) as edge:
            self.publish(edge, 20)
            self.publish(edge, 1, filler=6000)
            self.publish(edge, 20)
            wait_for("all but one", lambda: receiver.count("readings") == 40)
            wait_for("its dead letter", lambda: receiver.count("dead_letter") == 1)
            wait_for("nothing pending", lambda: lane(edge, "readings")["pending"] == 0)
            self.assertEqual(receiver.problems, [])
            gap, = receiver.gaps["readings"]
            self.assertEqual((gap["first"], gap["last"], gap["rows"], gap["reason"]), (21, 21, 1, "refused"))
            self.assertEqual([row["raw"] for row in receiver.rows("readings")], self.sent[:20] + self.sent[21:])
            letter, = receiver.rows("dead_letter")
            self.assertEqual(letter["raw"], self.sent[20])
            self.assertEqual(lane(edge, "readings")["refused"], 1)

    def test_what_the_store_let_go_arrives_as_gaps(self):
        receiver = Receiver()
        small = "max_bytes: 1MiB, segment: 256KiB"
        with Edge(config(to(receiver), store=small)) as edge:
            for _ in range(8):
                self.publish(edge, 500, every_nth_alerts=100_000, filler=500)
            self.assertGreater(edge.status()["store"]["lanes"]["readings"]["shed"], 0)
            with receiver:
                wait_for("nothing pending", lambda: lane(edge, "readings")["pending"] == 0)
                self.assertEqual(receiver.problems, [])
                rows = receiver.rows("readings")
                lost = sum(gap["rows"] for gap in receiver.gaps["readings"])
                self.assertEqual(len(rows) + lost, 4000)
                self.assertEqual({gap["reason"] for gap in receiver.gaps["readings"]}, {"shed"})
                self.assertEqual([row["raw"] for row in rows], [self.sent[row["seq"] - 1] for row in rows])
                for more in range(1, 11):       # all of it is more than the store holds
                    self.publish(edge, 200, every_nth_alerts=100_000, filler=500)
                    wait_for("the new ones too", lambda: receiver.count("readings") == len(rows) + 200 * more)
                shed = edge.status()["store"]["lanes"]["readings"]["shed"]
                self.assertEqual(shed, lost, "delivered rows are let go without a gap")

    def test_scores_travel_with_their_readings(self):
        model = """
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}}
"""
        with Receiver() as receiver:
            text = config(to(receiver)).replace("pipelines:", model + "pipelines:").replace(
                '- decide: {alert_when: "temperature > 100.0"}',
                '- detect: {model: anomaly}\n      - decide: {alert_when: "score > 0.8"}')
            with Edge(text, {"anomaly.onnx": ROOT / "examples/anomaly.onnx"}) as edge:
                device = Device(edge.address("direct"), "press-1")
                lines = (ROOT / "examples/readings.jsonl").read_text().splitlines()
                device.publish_all([("sensors/press-1/readings", text) for text in lines * 20])
                device.close()
                wait_for("all", lambda: receiver.count("readings") == len(lines) * 20)
                edge.stop()
                stored = {row["sequence"]: row for row in edge.rows("readings")}
                rows = receiver.rows("readings")
                self.assertEqual([(r["score"], r.get("alerted", False), r["model"]) for r in rows],
                                 [(stored[r["seq"]]["score"], stored[r["seq"]]["alerted"], stored[r["seq"]]["model_digest"][:16])
                                  for r in rows])
                self.assertEqual(receiver.count("alerts"), 40)

    def test_a_stop_finishes_what_is_on_its_way_and_waits_for_nobody(self):
        release = threading.Event()
        self.addCleanup(release.set)
        with Receiver(lambda *_: Answer(until=release)) as receiver, Edge(config(to(receiver))) as edge:
            self.publish(edge, 100, every_nth_alerts=1000)
            wait_for("on its way", lambda: lane(edge, "readings")["state"] == "sending")
            threading.Timer(0.5, release.set).start()
            edge.stop()
            self.assertEqual(receiver.count("readings"), 100)
            edge.start()
            self.publish(edge, 100, every_nth_alerts=1000)
            self.arrived(receiver, edge)
            self.assertEqual(len(set(receiver.attempts)), len(receiver.attempts), "nothing came twice")
            receiver.stop()
            self.publish(edge, 100, every_nth_alerts=1000)
            wait_for("it cannot", lambda: lane(edge, "readings")["state"] == "waiting")
            begin = time.monotonic()
            edge.stop()
            self.assertLess(time.monotonic() - begin, 10)
            receiver.start()
            edge.start()
            self.arrived(receiver, edge)

    def test_tls_and_its_refusals(self):
        certificates = make_certificates(self.folder / "certificates")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        with Receiver(tls=tls) as receiver:
            with Edge(config(to(receiver, scheme="https"))) as stranger:
                self.publish(stranger, 10)
                wait_for("refused", lambda: "certificate" in lane(stranger, "readings")["trouble"])
                self.assertEqual(receiver.attempts, [])
                self.sent.clear()
            with Edge(config(to(receiver, "ca: ca.pem", scheme="https")), {"ca.pem": certificates / "ca.pem"}) as edge:
                self.publish(edge, 10)
                self.arrived(receiver, edge)

    def test_check_refuses_what_would_leak(self):
        (self.folder / "edge.yaml").write_text(config('type: http, url: "http://hub.example/in"'))
        _, error = run_cli("check", self.folder / "edge.yaml", status=(1, 65, 78))
        self.assertIn("insecure: true", error)
        (self.folder / "edge.yaml").write_text(config('type: http, url: "https://hub.example/in?sig=abc"', brisk="budget: 1MiB/s"))
        out = run_cli("check", self.folder / "edge.yaml")
        self.assertIn("uplink: alerts, readings, dead_letter to https://hub.example/in every 1m, at most 1MiB/s", out)
        self.assertNotIn("abc", out)


class File(Case):
    def batches(self, edge):
        files = sorted((edge.folder / "outbox").glob("*.jsonl.zst"))
        return [(path, *split_batch(path.read_bytes())) for path in files]

    def test_a_folder_of_batches_that_zstd_reads(self):
        with Edge(config("type: file, dir: ./outbox")) as edge:
            for _ in range(3):
                self.publish(edge, 150)
                wait_for("written", lambda: lane(edge, "readings")["pending"] == 0 and lane(edge, "alerts")["pending"] == 0)
                edge.kill()
                edge.start()
            edge.stop()
            got, next_ = [], 1
            for path, header, payload in self.batches(edge):
                subprocess.run(["zstd", "-tq", path], check=True)
                self.assertEqual(path.name, "hall-2_%s_%s_%020d-%020d.jsonl.zst"
                                 % (header["spool"], header["lane"], header["first"], header["last"]))
                if header["lane"] == "readings":
                    self.assertEqual(header["first"], next_, "names sort in the order of sequence")
                    next_ = header["last"] + 1
                    got += [line["raw"] for line in unpack(payload)]
            self.assertEqual(got, self.sent)
            self.assertEqual(list((edge.folder / "outbox").glob("*.partial")), [])
            path = self.batches(edge)[0][0]
            shown = run_cli("store", "batch", path)
            self.assertIn("hall-2", shown)
            lines = run_cli("store", "batch", path, "--rows")
            self.assertEqual(lines, subprocess.run(["zstd", "-dc", path], capture_output=True, text=True, check=True).stdout)
            damaged = bytearray(path.read_bytes())
            damaged[-10] ^= 1
            path.write_bytes(damaged)
            _, error = run_cli("store", "batch", path, status=(65, 74))
            self.assertIn("checksum", error)

    def test_a_full_folder_holds_everything_back_and_loses_nothing(self):
        with Edge(config("type: file, dir: ./outbox, max_files: 3, lanes: [readings]")) as edge:
            self.publish(edge, 1000)
            wait_for("full", lambda: "max_files" in lane(edge, "readings")["trouble"])
            got, upto = [], 0

            def take_away():
                nonlocal got, upto
                for path, header, payload in self.batches(edge):
                    self.assertEqual(header["first"], upto + 1)
                    upto = header["last"]
                    got += [line["raw"] for line in unpack(payload)]
                    path.unlink()
                return len(got) >= 1000
            wait_for("all taken away", take_away)
            self.assertEqual(got, self.sent)

    def test_a_replay_ends_when_all_of_it_is_written(self):
        text = (ROOT / "examples/file-replay.yaml").read_text() + "uplink: {type: file, dir: ./outbox}\n"
        edge = Edge(text, {name: ROOT / "examples" / name for name in ("anomaly.onnx", "readings.jsonl")})
        edge.extra = ["--exit-when-done"]
        with edge:
            edge.process.wait(30)
            self.assertEqual(edge.process.returncode, 0)
            rows = {header["lane"]: header["rows"] for _, header, _ in self.batches(edge)}
            self.assertEqual(rows, {"readings": 40, "alerts": 2})


if __name__ == "__main__":
    unittest.main(verbosity=2)
