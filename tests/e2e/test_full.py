"""A store that is full, with `on_full: refuse` and `block`: what senders hear, what goes on meanwhile, and that all of it
mends itself when space returns: nothing acknowledged is lost, nothing refused is counted as stored."""

import http.client
import json
import time
import unittest

from harness import Device, Edge, wait_for
from raw_mqtt import PINGRESP, PUBACK, PUBREC, SUBACK, RawClient
from servers import Receiver

CONFIG = """
edge: {id: full, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["s/+"], device: "topic[1]", message_id: seq}
  hook: {type: http, address: "127.0.0.1:0", device: device, message_id: seq, answer_timeout: 1s}
pipelines:
  main: {from: [direct, hook], steps: []}
store: {segment: 256KiB, max_bytes: 1MiB, min_free: 0B, on_full: %(policy)s}
uplink: {type: http, url: "%(url)s", every: 100ms, max_rows: 200, max_backoff: 200ms, park_every: 200ms}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""
NO_ROOM = 0x97      # quota exceeded
RESUMES_S = 5


class Full(unittest.TestCase):
    def setUp(self):
        self.acknowledged = set()
        self.seq = 0

    def reading(self, pad=2200):
        """Larger than those that fill the store: it does not fit where they do not."""
        self.seq += 1
        return json.dumps({"seq": self.seq, "device": "hook", "pad": "x" * pad})

    def post(self, edge, body):
        """(status, Retry-After, seconds)"""
        begin = time.monotonic()
        connection = http.client.HTTPConnection(*edge.address("hook"), timeout=20)
        try:
            connection.request("POST", "/readings", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                body = json.loads(body)
                self.acknowledged |= {one["seq"] for one in (body if isinstance(body, list) else [body])}
            return answer.status, answer.getheader("Retry-After"), time.monotonic() - begin
        finally:
            connection.close()

    def fill(self, edge):
        """Posts until nothing more fits."""
        for _ in range(800):
            status, retry_after, _ = self.post(edge, self.reading(2000))
            if status != 200:
                self.assertEqual((status, retry_after), (503, "1"))
                break
        else:
            self.fail("1 MiB took 1.6 MB")

    def source(self, edge, name):
        return next(one for one in edge.status()["sources"] if one["name"] == name)

    def check_full(self, edge):
        answer = edge.get("health", "/readyz")
        self.assertEqual(answer[0], 503)
        self.assertIn("full", json.loads(answer[1])["reasons"]["store"])
        self.assertEqual(edge.get("health", "/livez")[0], 200)
        self.assertEqual(edge.status()["store"]["health"], "full")
        self.assertIn("headwater_store_takes_rows 0", edge.get("health", "/metrics")[1])

    def check_controls(self, client):
        client.ping()
        self.assertEqual(client.expect(PINGRESP, 5).kind, PINGRESP)
        client.subscribe(f"commands/{client.name}/x", packet_id=99)
        self.assertEqual(client.expect(SUBACK, 5).packet_id, 99)

    def check_end(self, edge, receiver):
        """Everything adds up, and what was acknowledged is at the receiver, once."""
        wait_for("ready again", lambda: edge.get("health", "/readyz")[0] == 200, RESUMES_S)
        wait_for("nothing pending", lambda: all(one["pending"] == 0 for one in edge.status()["uplink"]["lanes"]))
        edge.stop()
        for one in self.last["sources"]:
            self.assertEqual(one["received"], sum(one[k] for k in ("duplicate", "filtered", "dead_letter", "stored",
                                                                  "refused", "in_flight")), one)
        rows = [row["payload"]["seq"] for row in receiver.rows("readings")]
        self.assertEqual(len(rows), len(set(rows)), "once")
        self.assertLessEqual(self.acknowledged, set(rows), "acknowledged and not there")
        self.assertEqual(receiver.problems, [])
        self.assertEqual(receiver.gaps.get("readings", []), [])
        self.assertEqual(sum(one["stored"] for one in self.last["sources"]), len(rows))

    def client(self, edge, name, version, clean=True):
        client = RawClient(edge.address("direct"), version)
        client.name = name
        self.addCleanup(client.drop)
        client.session = client.connect(name, clean=clean, **({"expiry": 600} if version == 5 and not clean else {}))
        return client

    def test_refuse(self):
        with Receiver() as receiver:
            receiver.stop()
            with Edge(CONFIG % {"policy": "refuse", "url": receiver.url()}) as edge:
                self.fill(edge)
                self.check_full(edge)
                status, retry_after, seconds = self.post(edge, self.reading())
                self.assertEqual((status, retry_after), (503, "1"))
                self.assertLess(seconds, 1, "at once")

                five = self.client(edge, "five", 5)
                old = self.client(edge, "old", 4, clean=False)
                owed = self.reading()
                five.publish("s/five", self.reading(), 1, 1)
                answer = five.expect(PUBACK, 5)
                self.assertEqual((answer.packet_id, answer.reason), (1, NO_ROOM))
                five.publish("s/five", self.reading(), 2, 2)
                answer = five.expect(PUBREC, 5)
                self.assertEqual((answer.packet_id, answer.reason), (2, NO_ROOM))
                refused = self.source(edge, "direct")["refused"]
                five.publish("s/five", self.reading())
                wait_for("QoS 0 is counted", lambda: self.source(edge, "direct")["refused"] == refused + 1, 5)
                self.check_controls(five)
                old.publish("s/old", owed, 1, 7)
                wait_for("counted", lambda: self.source(edge, "direct")["refused"] == refused + 2, 5)
                old.ping()
                old.expect(PINGRESP, 5)
                self.assertIsNone(old.expect_end(5), "3.1.1 has no word for it: it is sent away")
                self.assertFalse(five.closed)
                self.check_full(edge)

                receiver.start()
                freed = time.monotonic()
                took = {}
                packet_id = 10
                while len(took) < 3:
                    now = time.monotonic() - freed
                    self.assertLess(now, RESUMES_S, f"resumed so far: {took}")
                    if "http" not in took and self.post(edge, self.reading())[0] == 200:
                        took["http"] = now
                    if "mqtt 5" not in took:
                        packet_id += 1
                        seq = self.seq + 1
                        five.publish("s/five", self.reading(), 1, packet_id)
                        if five.expect(PUBACK, 5).reason == 0:
                            self.acknowledged.add(seq)
                            took["mqtt 5"] = now
                    if "mqtt 3.1.1" not in took:
                        old = self.client(edge, "old", 4, clean=False)
                        self.assertTrue(old.session[0])
                        old.publish("s/old", owed, 1, 7, dup=True)
                        if old.take(0.5) is not None:
                            self.acknowledged.add(json.loads(owed)["seq"])
                            took["mqtt 3.1.1"] = now
                        old.drop()
                print("refuse: resumed after", {k: f"{v:.2f} s" for k, v in took.items()})
                self.last = edge.status()
                self.check_end(edge, receiver)

    def test_block(self):
        with Receiver() as receiver:
            receiver.stop()
            with Edge(CONFIG % {"policy": "block", "url": receiver.url()}) as edge:
                self.fill(edge)
                self.check_full(edge)
                status, retry_after, seconds = self.post(edge, self.reading())
                self.assertEqual((status, retry_after), (503, "1"))
                self.assertLess(seconds, 1, "what is not taken is sent away at once")

                clients = [self.client(edge, "five", 5), self.client(edge, "old", 4)]
                sent = []
                for client in clients:
                    for packet_id in (1, 2, 3):
                        sent.append(self.seq + 1)
                        client.publish(f"s/{client.name}", self.reading(), 1, packet_id)
                    self.check_controls(client)
                leaver = self.client(edge, "leaver", 4)
                last_word = self.seq + 1
                leaver.publish("s/leaver", self.reading())
                leaver.close()
                self.assertIsNone(clients[0].take(2.5), "nothing is acknowledged, nobody is sent away")
                self.assertIsNone(clients[1].take(0.1))
                self.assertFalse(any(client.closed for client in clients))
                self.check_full(edge)

                receiver.start()
                freed = time.monotonic()
                for client in clients:
                    for packet_id in (1, 2, 3):
                        answer = client.expect(PUBACK, RESUMES_S - (time.monotonic() - freed))
                        self.assertEqual((answer.packet_id, answer.reason), (packet_id, 0))
                wait_for("HTTP goes on", lambda: self.post(edge, self.reading())[0] == 200, RESUMES_S)
                print(f"block: resumed after {time.monotonic() - freed:.2f} s")
                self.acknowledged |= {*sent, last_word}
                wait_for("stored", lambda: self.source(edge, "direct")["stored"] == 7, RESUMES_S)
                self.last = edge.status()
                self.check_end(edge, receiver)

    def test_thinning_keeps_the_count_of_what_it_lets_go(self):
        for policy, rows, pad in (("block", 900, 1000), ("shed_oldest", 6000, 1000)):
            with self.subTest(policy), Receiver() as receiver:
                receiver.stop()
                config = CONFIG % {"policy": policy + ", thin: {above: 0.3, keep_one_in: 5}", "url": receiver.url()}
                with Edge(config) as edge:
                    sent = [(f"s/d{n % 3}", self.reading(pad)) for n in range(rows)]
                    device = Device(edge.address("direct"), "gateway")
                    self.addCleanup(device.close)
                    device.publish_all(sent, window=100)
                    source = self.source(edge, "direct")
                    self.assertGreater(source["thinned"], 100)
                    self.assertEqual(source["received"], source["stored"] + source["thinned"], source)
                    self.assertEqual(source["acknowledged"], rows)
                    store = edge.status()["store"]
                    self.assertEqual(store["lanes"]["readings"]["next_sequence"], rows + 1)
                    self.assertGreater(store["fill"], 0.3)
                    self.assertEqual(sum("readings are thinned" in line for line in edge.log), 1, "told once")
                    edge.kill()
                    edge.start()
                    self.assertEqual(edge.status()["store"]["lanes"]["readings"]["shed"],
                                     store["lanes"]["readings"]["shed"])
                    receiver.start()
                    wait_for("all delivered", lambda: edge.status()["uplink"]["lanes"] and all(
                        one["pending"] == 0 for one in edge.status()["uplink"]["lanes"]))
                    edge.stop()
                    self.assertEqual(edge.verify()["lanes"]["readings"]["missing"], [])
                    got = [row["payload"]["seq"] for row in receiver.rows("readings")]
                    gaps = receiver.gaps.get("readings", [])
                    self.assertEqual(receiver.problems, [])
                    self.assertEqual(len(got) + sum(gap["rows"] for gap in gaps), rows, "acknowledged = delivered + gaps")
                    self.assertEqual({gap["reason"] for gap in gaps}, {"shed"})
                    self.assertEqual(got, sorted(set(got)))
                    print(f"thinning, {policy}: {rows} acknowledged, {len(got)} delivered, {rows - len(got)} in gap records,"
                          f" {source['thinned']} of them thinned")
                    if policy == "block":
                        self.assertEqual(rows - len(got), source["thinned"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
