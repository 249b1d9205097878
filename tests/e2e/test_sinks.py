"""Alerts on their way out: to a broker that dies and comes back, to files and standard output, over kill -9 of the edge."""

import json
import pathlib
import ssl
import tempfile
import unittest

from harness import Device, Edge, wait_for
from servers import Mosquitto, Subscriber, free_port, make_certificates

# Any expression decides; no model is needed to have alerts.
CONFIG = """
edge: {id: sinks, data_dir: ./data}
workers: %(workers)d
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", message_id: seq}
pipelines:
  main:
    from: [direct]
    steps:
      - decide: {%(decide)s}
    alerts: [%(names)s]
sinks:
%(sinks)s
admin: {address: "127.0.0.1:0"}
"""
EPISODES = 'alert_when: "temperature > 100.0", clear_when: "temperature < 90.0"'


def config(decide='alert_when: "temperature > 100.0"', workers=1, **sinks):
    return CONFIG % {"decide": decide, "workers": workers, "names": ", ".join(sinks),
                     "sinks": "\n".join(f"  {name}: {{{options}}}" for name, options in sinks.items())}


def mqtt(port, *more, topic="alerts/${device_id}"):
    return ", ".join(["type: mqtt", f'url: "mqtt://127.0.0.1:{port}"', f'topic: "{topic}"', *more])


def reading(seq, temperature=120.0):
    return json.dumps({"seq": seq, "temperature": temperature})


def sink(edge, name):
    return next(s for s in edge.status()["sinks"] if s["name"] == name)


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="headwater-sinks-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.next_seq = 0

    def alert(self, edge, count, device="press-1", temperature=120.0):
        """Publishes readings until acknowledged; returns their numbers."""
        client = Device(edge.address("direct"), device)
        seqs = list(range(self.next_seq, self.next_seq + count))
        self.next_seq += count
        client.publish_all([(f"sensors/{device}/readings", reading(seq, temperature)) for seq in seqs])
        client.close()
        return seqs


def seqs(alerts):
    return [alert["raw_data"]["seq"] for alert in alerts]


def once(alerts):
    """As a receiver sees them that drops repeats by id and event."""
    seen, out = set(), []
    for alert in alerts:
        if (alert["id"], alert["event"]) not in seen:
            seen.add((alert["id"], alert["event"]))
            out.append(alert)
    return out


@unittest.skipUnless(Mosquitto.PROGRAM, "mosquitto is absent (apt: mosquitto)")
class Broker(Case):
    def broker(self):
        # The subscription must outlive a kill of the broker, so that what the edge sends at once is not missed.
        extra = (f"user root\npersistence true\npersistence_location {self.folder}/\n"
                 "autosave_on_changes true\nautosave_interval 1")
        broker = Mosquitto(self.folder, extra)
        broker.start()
        self.addCleanup(broker.kill)
        return broker

    def subscribe(self, port, topic="alerts/#", tls=None):
        subscriber = Subscriber(port, topic, tls)
        self.addCleanup(subscriber.stop)
        return subscriber

    @staticmethod
    def received(subscriber):
        return [json.loads(payload) for _, payload in list(subscriber.got)]

    def test_alerts_arrive_at_qos_0_and_1(self):
        broker = self.broker()
        for qos in (0, 1):
            with self.subTest(qos=qos):
                subscriber = Subscriber(broker.port, f"q{qos}/#", client_id=f"receiver {qos}")
                self.addCleanup(subscriber.stop)
                with Edge(config(out=mqtt(broker.port, f"qos: {qos}", topic=f"q{qos}/${{edge_id}}/${{device_id}}"))) as edge:
                    sent = self.alert(edge, 50) + self.alert(edge, 50, "press-2")
                    wait_for("all arrived", lambda: len(subscriber.got) >= 100)
                    alerts = self.received(subscriber)
                    self.assertEqual(seqs(alerts), sent)
                    topics = [topic for topic, _ in subscriber.got]
                    self.assertEqual(topics, [f"q{qos}/sinks/{alert['device_id']}" for alert in alerts])
                    wait_for("counted", lambda: sink(edge, "out")["delivered"] == 100)
                    self.assertEqual(sink(edge, "out")["rejected"], 0)
                    edge.stop()
                    self.assertEqual([json.loads(row["payload"]) for row in edge.rows("alerts")], alerts,
                                     "what went out is what is stored")

    def test_a_broker_that_dies_and_comes_back_gets_every_alert_in_order(self):
        broker = self.broker()
        subscriber = self.subscribe(broker.port)
        with Edge(config(EPISODES, out=mqtt(broker.port))) as edge:
            expected = []
            for round_ in range(3):
                expected += self.alert(edge, 1)[:1]                        # raised
                expected += self.alert(edge, 1, temperature=60.0)[:1]      # cleared
                wait_for("arrived", lambda: len(once(self.received(subscriber))) >= len(expected))
                broker.kill()
                for _ in range(20):
                    expected += self.alert(edge, 1)
                    expected += self.alert(edge, 1, temperature=60.0)
                self.assertGreater(sink(edge, "out")["pending"], 0)
                broker.start()
                wait_for("arrived after the restart", lambda: len(once(self.received(subscriber))) >= len(expected))
            alerts = once(self.received(subscriber))
            self.assertEqual(seqs(alerts), expected)
            self.assertEqual([alert["event"] for alert in alerts], ["raised", "cleared"] * (len(expected) // 2))
            wait_for("nothing pending", lambda: sink(edge, "out")["pending"] == 0)

    def test_what_was_not_delivered_goes_out_after_kill_9(self):
        port = free_port()
        with Edge(config(out=mqtt(port))) as edge:
            expected = self.alert(edge, 100)
            wait_for("decided", lambda: edge.status()["store"]["lanes"]["alerts"]["rows"] == 100)
            edge.kill()
            broker = self.broker()
            broker.kill()
            broker.port = port
            broker.start()
            subscriber = self.subscribe(port)
            edge.start()
            wait_for("arrived", lambda: len(once(self.received(subscriber))) >= 100)
            expected += self.alert(edge, 10)
            wait_for("the new ones too", lambda: len(once(self.received(subscriber))) >= 110)
            edge.stop()
            edge.start()
            expected += self.alert(edge, 1)
            wait_for("and after a restart", lambda: len(once(self.received(subscriber))) >= 111)
            got = self.received(subscriber)
            self.assertEqual(seqs(got), expected, "delivered once, in order")

    def test_kills_of_the_edge_lose_no_alert(self):
        broker = self.broker()
        subscriber = self.subscribe(broker.port)
        with Edge(config(out=mqtt(broker.port))) as edge:
            expected = []
            for _ in range(5):
                expected += self.alert(edge, 200)
                edge.kill()                     # right behind the last acknowledgement
                edge.start()
            wait_for("all arrived", lambda: len(once(self.received(subscriber))) >= len(expected))
            self.assertEqual(seqs(once(self.received(subscriber))), expected)

    def test_alerts_of_a_worker_that_is_no_more_go_out(self):
        port = free_port()
        edge = Edge(config(workers=2, out=mqtt(port)))
        edge.extra = ["--drain", "1"]        # nobody takes them
        with edge:
            expected = sum((self.alert(edge, 10, f"press-{i}") for i in range(8)), [])
            wait_for("decided", lambda: edge.status()["store"]["lanes"]["alerts"]["rows"] == 80)
            edge.stop()
            streams = {row["stream"] for row in edge.rows("alerts")}
            self.assertEqual(len(streams), 2, "both workers had some")
            broker = self.broker()
            broker.kill()
            broker.port = port
            broker.start()
            subscriber = self.subscribe(port)
            edge.extra += ["--set", "workers=1"]
            edge.start()
            wait_for("all arrived", lambda: len(once(self.received(subscriber))) >= 80, 20)
            self.assertEqual(sorted(seqs(self.received(subscriber))), expected)

    def test_tls(self):
        certificates = make_certificates(self.folder / "certificates")
        for file in certificates.iterdir():
            file.chmod(0o644)
        extra = f"user root\ncafile {certificates}/ca.pem\ncertfile {certificates}/server.pem\nkeyfile {certificates}/server.key"
        broker = Mosquitto(self.folder, extra)
        broker.start()
        self.addCleanup(broker.kill)
        subscriber = self.subscribe(broker.port, tls=ssl.create_default_context(cafile=f"{certificates}/ca.pem"))
        good = mqtt(broker.port, "tls: {ca: ca.pem}").replace("mqtt://127.0.0.1", "mqtts://localhost")
        stranger = mqtt(broker.port, topic="alerts/never").replace("mqtt://127.0.0.1", "mqtts://localhost")
        with Edge(config(out=good, stranger=stranger), {"ca.pem": certificates / "ca.pem"}) as edge:
            expected = self.alert(edge, 20)
            wait_for("arrived", lambda: len(subscriber.got) >= 20)
            self.assertEqual(seqs(self.received(subscriber)), expected)
            self.assertEqual(sink(edge, "stranger")["delivered"], 0, "a broker whose authority is not trusted gets nothing")
            self.assertEqual(sink(edge, "stranger")["pending"], 20)
            edge.kill()

    def test_a_broker_that_refuses_does_not_stop_the_next_alert(self):
        (self.folder / "acl").write_text("topic write alerts/press-2\ntopic read #\n")
        (self.folder / "acl").chmod(0o600)
        broker = Mosquitto(self.folder, f"user root\nacl_file {self.folder}/acl")
        broker.start()
        self.addCleanup(broker.kill)
        subscriber = self.subscribe(broker.port, "#")
        with Edge(config(out=mqtt(broker.port))) as edge:
            self.alert(edge, 5, "press-1")
            expected = self.alert(edge, 5, "press-2")
            wait_for("arrived", lambda: len(subscriber.got) >= 5)
            self.assertEqual(seqs(self.received(subscriber)), expected)
            wait_for("counted", lambda: (lambda s: (s["rejected"], s["delivered"]) == (5, 5))(sink(edge, "out")))


class Local(Case):
    def test_file_and_standard_output(self):
        with Edge(config(EPISODES, file="type: file, path: alerts.jsonl", text="type: stdout",
                         lines="type: stdout, format: json")) as edge:
            raised, cleared = self.alert(edge, 3)[0], self.alert(edge, 1, temperature=50.0)[0]
            wait_for("delivered", lambda: all(s["delivered"] == 2 for s in edge.status()["sinks"]))
            edge.stop()
            alerts = [json.loads(line) for line in (edge.folder / "alerts.jsonl").read_text().splitlines()]
            self.assertEqual([(a["event"], a["raw_data"]["seq"]) for a in alerts], [("raised", raised), ("cleared", cleared)])
            self.assertEqual(alerts[0]["id"], alerts[1]["id"], "an episode has one id")
            out = (edge.folder / "stdout.txt").read_text().splitlines()
            as_json = [json.loads(line) for line in out if line.startswith("{")]
            self.assertEqual(as_json, alerts)
            text = [line for line in out if not line.startswith("{")]
            self.assertEqual(len(text), 2)
            self.assertRegex(text[0], r"^20\d\d-\S+Z RAISED  press-1 anomaly")
            self.assertRegex(text[1], r"^20\d\d-\S+Z CLEARED press-1 anomaly.* after \d")

    def test_a_receiver_that_is_not_there_stops_no_other_sink(self):
        with Edge(config(file="type: file, path: alerts.jsonl", down=mqtt(1))) as edge:
            self.alert(edge, 100)
            wait_for("delivered", lambda: sink(edge, "file")["delivered"] == 100)
            self.assertEqual((sink(edge, "down")["delivered"], sink(edge, "down")["pending"]), (0, 100))

    def test_early_alerts_go_out_at_once(self):
        with Edge(config(early="type: file, path: early.jsonl, send: early", late="type: file, path: late.jsonl")) as edge:
            expected = self.alert(edge, 300)
            wait_for("delivered", lambda: all(s["delivered"] == 300 for s in edge.status()["sinks"]))
            self.assertEqual(sink(edge, "early")["send"], "early")
            edge.kill()
            edge.start()
            expected += self.alert(edge, 10)
            wait_for("delivered", lambda: sink(edge, "early")["delivered"] == 10)
            wait_for("delivered", lambda: sink(edge, "late")["pending"] == 0)
            edge.stop()
            early, late = ([json.loads(line) for line in (edge.folder / f"{name}.jsonl").read_text().splitlines()]
                           for name in ("early", "late"))
            self.assertEqual(seqs(once(early)), expected)
            self.assertEqual(seqs(once(late)), expected)

    def test_a_second_start_appends_and_repeats_nothing(self):
        with Edge(config(file="type: file, path: alerts.jsonl")) as edge:
            expected = []
            for _ in range(3):
                expected += self.alert(edge, 20)
                wait_for("delivered", lambda: sink(edge, "file")["pending"] == 0)
                edge.stop()
                edge.start()
            edge.stop()
            alerts = [json.loads(line) for line in (edge.folder / "alerts.jsonl").read_text().splitlines()]
            self.assertEqual(seqs(alerts), expected)


if __name__ == "__main__":
    unittest.main(verbosity=2)
