"""Wills become offline alerts, and alerts become commands to devices, on the edge's own listener."""

import json
import os
import shutil
import subprocess
import unittest

from harness import Device, Edge, run_cli, wait_for
from raw_mqtt import PUBLISH, SUBACK, RawClient

CONFIG = """
edge: {id: hall-2, data_dir: ./data}
workers: 2
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:0"
    topics: ["sensors/+/readings", "status/+"]
    device: "topic[1]"
pipelines:
  main:
    from: [direct]
    steps:
      - filter: {when: "temperature > -100.0"}
      - decide: {alert_when: "temperature > 100.0"}
    alerts: [kept, siren]
sinks:
  kept: {type: file, path: alerts.jsonl}
  siren: {type: command, listener: direct, topic: "commands/${device_id}/alarm", max_age: %s}
admin: {address: "127.0.0.1:0"}
"""


def reading(value):
    return json.dumps({"temperature": value})


class Commands(unittest.TestCase):
    def alerts(self, edge):
        path = edge.folder / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def offline(self, edge):
        return [alert for alert in self.alerts(edge) if alert["event"] == "offline"]

    def sink(self, edge, name):
        return next(sink for sink in edge.status()["sinks"] if sink["name"] == name)

    def vanish(self, edge, client_id, will, version=4, **options):
        client = RawClient(edge.address("direct"), version)
        client.connect(client_id, will=will, **options)
        client.drop()

    def test_a_device_that_vanishes_is_an_alert(self):
        with Edge(CONFIG % "10s") as edge:
            cases = [("gateway-1", ("status/press-1", '{"state": "gone"}'), "press-1", {"will": {"state": "gone"}}),
                     ("press-2", ("elsewhere/press-9", "bye"), "press-2", {"will": "bye"}),
                     ("press-3", ("sensors/press-3/readings", b"\xff\xfe"), "press-3", {"will_base64": "//4="}),
                     ("press-4", ("status/press-4", b""), "press-4", {"will": None})]
            for client_id, will, device, expected in cases:
                count = len(self.offline(edge)) + 1
                self.vanish(edge, client_id, will)
                wait_for("the offline alert", lambda: len(self.offline(edge)) == count)
                alert = self.offline(edge)[-1]
                self.assertEqual((alert["device_id"], alert["client_id"], alert["topic"]), (device, client_id, will[0]))
                self.assertEqual({key: alert[key] for key in expected}, expected)
                self.assertEqual((alert["pipeline"], alert["edge_id"]), ("main", "hall-2"))
            good = RawClient(edge.address("direct"))
            good.connect("press-5", will=("status/press-5", "gone"))
            good.close()
            device = Device(edge.address("direct"), "last")
            device.publish_all([("sensors/last/readings", reading(20))])
            device.close()
            source = wait_for("all stored", lambda: (s := edge.status()["sources"][0])["stored"] == 5 and s)
            self.assertEqual((source["received"], source["dead_letter"], source["filtered"]), (5, 0, 0))
            pipeline = edge.status()["pipelines"][0]
            self.assertEqual((pipeline["rows"], pipeline["offline"], pipeline["alerts"]), (5, 4, 0))
            edge.stop()
            self.assertEqual(len(self.offline(edge)), 4)
            rows = edge.rows("readings")
            self.assertEqual([row["alerted"] for row in rows], [True] * 4 + [False])
            self.assertTrue(all(row["decided"] for row in rows))

    def test_offline_alerts_survive_kill_9_and_are_raised_once(self):
        with Edge(CONFIG % "10s") as edge:
            sent = set()
            for attempt in range(4):
                for i in range(5):
                    device = f"d{attempt}-{i}"
                    self.vanish(edge, device, (f"status/{device}", "x"))
                    sent.add(device)
                count = len(sent)
                wait_for("the wills stored", lambda: edge.status()["store"]["lanes"]["readings"]["next_sequence"] == count + 1)
                edge.kill()
                edge.start()
            wait_for("all raised", lambda: edge.status()["store"]["lanes"]["alerts"]["next_sequence"] == len(sent) + 1)
            edge.stop()
            rows = edge.rows("alerts")
            raised = [json.loads(row["payload"]) for row in rows]
            self.assertEqual(len(raised), len(sent))
            self.assertEqual({alert["device_id"] for alert in raised}, sent)
            self.assertEqual(len({alert["id"] for alert in raised}), len(sent))
            # In the file a repeat after a crash is allowed; it carries the same id.
            self.assertEqual({alert["id"] for alert in self.offline(edge)}, {alert["id"] for alert in raised})

    def test_a_return_within_the_will_delay_is_no_event(self):
        with Edge(CONFIG % "10s") as edge:
            self.vanish(edge, "back", ("status/back", "x"), version=5, clean=False, expiry=60, will_delay=1)
            self.vanish(edge, "away", ("status/away", "x"), version=5, clean=False, expiry=60, will_delay=1)
            again = RawClient(edge.address("direct"), 5)
            self.assertTrue(again.connect("back", clean=False, expiry=60)[0])
            wait_for("the other's alert", lambda: self.offline(edge))
            again.close()
            edge.stop()
            self.assertEqual([alert["device_id"] for alert in self.offline(edge)], ["away"])

    def test_wills_can_be_ignored(self):
        config = (CONFIG % "10s").replace('device: "topic[1]"', 'device: "topic[1]"\n    wills: ignore')
        with Edge(config) as edge:
            self.vanish(edge, "a", ("status/a", "x"))
            device = Device(edge.address("direct"), "b")
            device.publish_all([("sensors/b/readings", reading(20))])
            device.close()
            edge.stop()
            self.assertEqual(len(edge.rows("readings")), 1)

    def test_an_alert_reaches_the_device_as_a_command(self):
        with Edge(CONFIG % "10s") as edge:
            for version in (4, 5):
                for i in range(4):   # on both workers
                    name = f"press-{version}-{i}"
                    device = RawClient(edge.address("direct"), version)
                    device.connect(name)
                    device.subscribe(f"commands/{name}/#")
                    self.assertEqual(device.expect(SUBACK).body[-1], 1)
                    device.publish(f"sensors/{name}/readings", reading(140))
                    topic, payload, qos, packet_id, dup = device.expect(PUBLISH).as_publish(version)
                    device.acknowledge(packet_id)
                    self.assertEqual((topic, qos, dup), (f"commands/{name}/alarm", 1, False))
                    self.assertEqual(json.loads(payload)["device_id"], name)
                    device.close()
            wait_for("all told", lambda: self.sink(edge, "siren")["delivered"] == 8)

    def test_a_subscription_of_a_long_session_outlives_kill_9(self):
        with Edge(CONFIG % "10s") as edge:
            for version, options in ((4, {}), (5, {"expiry": 3600})):
                name = f"press-{version}"
                device = RawClient(edge.address("direct"), version)
                device.connect(name, clean=False, **options)
                device.subscribe(f"commands/{name}/#")
                self.assertEqual(device.expect(SUBACK).body[-1], 1)
                edge.kill()
                device.drop()
                edge.start()
                device = RawClient(edge.address("direct"), version)
                self.assertTrue(device.connect(name, clean=False, **options)[0])
                device.publish(f"sensors/{name}/readings", reading(140))
                self.assertEqual(device.expect(PUBLISH).as_publish(version)[0], f"commands/{name}/alarm")
                device.close()

    def test_a_command_expires_when_its_device_stays_away(self):
        with Edge(CONFIG % "300ms") as edge:
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(140))] * 3)
            device.close()
            wait_for("expired", lambda: self.sink(edge, "siren")["expired"] == 3)
            late = RawClient(edge.address("direct"))
            late.connect("press-1")
            late.subscribe("commands/press-1/#")
            late.expect(SUBACK)
            late.ping()
            self.assertNotEqual(late.take().kind, PUBLISH)
            late.close()

    def test_no_command_of_before_a_restart_is_sent(self):
        config = (CONFIG % "60s").replace("max_age: 60s", "max_age: 60s, send: durable")
        with Edge(config) as edge:
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(140))])
            device.close()
            wait_for("kept", lambda: self.alerts(edge))
            edge.kill()
            edge.start()
            wait_for("expired", lambda: self.sink(edge, "siren")["expired"] == 1)

    def test_nobody_listens_to_anothers_commands(self):
        with Edge(CONFIG % "10s") as edge:
            for client_id, wanted in (("press-1", "commands/press-2/#"), ("press-1", "commands/#"), ("press-1", "#"),
                                      ("+", "commands/+/#"), ("press-1", "sensors/+/readings")):
                client = RawClient(edge.address("direct"))
                client.connect(client_id)
                client.subscribe(wanted)
                self.assertEqual(client.expect(SUBACK).body[-1], 0x80, (client_id, wanted))
                client.close()
            wait_for("counted", lambda: edge.status()["sources"][0]["refused_subscriptions"] == 5)

    def test_check_knows_the_listeners(self):
        with Edge(CONFIG % "10s") as edge:
            edge.stop()
            path = edge.folder / "edge.yaml"
            path.write_text(path.read_text().replace("listener: direct", "listener: drect"))
            out, error = run_cli("check", path, status=65)
            self.assertIn("no source 'drect' of the type mqtt_listen, did you mean 'direct'?", out + error)
            path.write_text(path.read_text().replace("listener: drect", "listener: direct").replace(
                'device: "topic[1]"', 'device: "topic[1]"\n    commands: "commands/#"'))
            out, error = run_cli("check", path, status=65)
            self.assertIn("has neither ${client_id} nor ${username}", out + error)

    @unittest.skipIf(shutil.which("mosquitto_sub") is None, "mosquitto_sub is not installed")
    def test_mosquitto_sub_takes_a_command(self):
        with Edge(CONFIG % "10s") as edge:
            host, port = edge.address("direct")
            sub = subprocess.Popen(["mosquitto_sub", "-h", host, "-p", str(port), "-i", "press-9", "-t", "commands/press-9/#",
                                    "-q", "1", "-C", "1"], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            device = Device(edge.address("direct"), "other")
            device.publish_all([("sensors/press-9/readings", reading(140))])   # waits for the subscriber
            device.close()
            out, _ = sub.communicate(timeout=30)
            self.assertEqual(json.loads(out)["device_id"], "press-9")
            wait_for("told", lambda: self.sink(edge, "siren")["delivered"] == 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
