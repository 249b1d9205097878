"""The MQTT listener through the real program: who comes in, what is refused, what survives a kill, who waits for whom."""

import json
import os
import random
import socket
import ssl
import struct
import tempfile
import threading
import time
import unittest

from harness import Device, Edge, run_cli, wait_for
from raw_mqtt import DISCONNECT, PUBACK, PUBCOMP, PUBREC, SUBACK, RawClient, connect_packet, packet, publish_packet
from servers import make_certificates

SEED = int(os.environ.get("SEED", "1"))  # of the moments of kills

# No model: these tests are about the way in.
CONFIG = """
edge: {id: listener, data_dir: ./data}
workers: %(workers)d
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:0"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
%(options)s
pipelines:
  main: {from: [direct], steps: []}
store: {segment: 1MiB, max_bytes: 512MiB}
admin: {address: "127.0.0.1:0"}
"""
# mosquitto_passwd -b FILE press-1 'correct horse'
PASSWORD = "correct horse"
PASSWORD_LINE = ("press-1:$7$101$hWAAioxdnsID7Nal$r3tSxJgbfndvcc0tE2kGqLHES+XLyimhelg8J07OIOZNsV7O6P9sF3bdU/"
                 "iYSx3xBeJLOKkc7pybeH5q+3w1SQ==\n")


def config(*options, workers=1):
    return CONFIG % {"workers": workers, "options": "\n".join("    " + line for line in options)}


def topic(device):
    return f"sensors/{device}/readings"


def reading(seq, size=0):
    return json.dumps({"seq": seq, "temperature": 60.0 + seq % 7, **({"pad": "x" * size} if size else {})})


def counts(edge):
    return edge.status()["sources"][0]


def settled(edge):
    return wait_for("nothing in flight", lambda: (lambda c: c if c["in_flight"] == 0 else None)(counts(edge)))


class Case(unittest.TestCase):
    def assertConserved(self, edge):
        c = settled(edge)
        self.assertEqual(c["received"], sum(c[k] for k in ("duplicate", "filtered", "dead_letter", "stored", "refused",
                                                           "in_flight")), c)
        return c

    def assertStored(self, edge, expected):
        """`expected`: device → the sequence numbers that must be stored, once each and in this order."""
        stored = {}
        for row in edge.rows("readings"):
            stored.setdefault(row["device_id"], []).append(json.loads(row["payload"])["seq"])
        self.assertEqual(stored, expected)

    def assertLogHolds(self, edge, secrets):
        text = "\n".join(edge.log)
        for secret in secrets:
            self.assertNotIn(secret, text)


class Access(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="headwater-certificates-")
        cls.certificates = make_certificates(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def tls_files(self):
        return {name: self.certificates / name for name in ("ca.pem", "server.pem", "server.key")}

    def trusting(self):
        return ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))

    def test_tls_readings_are_stored_and_plain_text_is_turned_away(self):
        with Edge(config("tls: {certificate: server.pem, key: server.key}"), self.tls_files()) as edge:
            address = edge.address("direct")
            for version in (4, 5):
                with RawClient(address, version, self.trusting()) as client:
                    self.assertEqual(client.connect(f"press-{version}"), (False, 0))
                    for seq in range(50):
                        client.publish(topic(f"press-{version}"), reading(seq), 1, seq + 1)
                    for seq in range(50):
                        self.assertEqual(client.expect(PUBACK).packet_id, seq + 1)
            with RawClient(address) as client:
                client.send(connect_packet("plain"))
                client.expect_end()
            with self.assertRaises(ssl.SSLError, msg="a client that does not trust our authority"):
                RawClient(address, tls=ssl.create_default_context())
            recording = edge.folder / "rows.jsonl"
            recording.write_text("".join(json.dumps({"device_id": "press-9", "seq": seq}) + "\n" for seq in range(50)))
            played = json.loads(run_cli("simulate", recording, "--to", f"mqtts://127.0.0.1:{address[1]}", "--ca",
                                        edge.folder / "ca.pem", "--json"))
            self.assertEqual((played["sent"], played["acknowledged"]), (50, 50))
            run_cli("simulate", recording, "--to", f"mqtts://127.0.0.1:{address[1]}", "--patience", "1", status=75)
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {f"press-{v}": list(range(50)) for v in (4, 5, 9)})

    def test_the_common_name_of_a_client_certificate_is_its_user_name(self):
        with Edge(config("tls: {certificate: server.pem, key: server.key, client_ca: ca.pem, "
                         "require_client_certificate: true}", 'write_own: ["sensors/%u/readings"]'),
                  self.tls_files()) as edge:
            with self.assertRaises((OSError, AssertionError), msg="no certificate"):
                with RawClient(edge.address("direct"), tls=self.trusting()) as client:
                    client.connect("press-1")
            context = self.trusting()
            context.load_cert_chain(self.certificates / "client.pem", self.certificates / "client.key")
            with RawClient(edge.address("direct"), 5, context) as client:
                self.assertEqual(client.connect("any id"), (False, 0))
                client.publish(topic("press-1"), reading(0), 1, 1)
                self.assertEqual(client.expect(PUBACK).reason, 0)
                client.publish(topic("press-2"), reading(0), 1, 2)
                self.assertEqual(client.expect(PUBACK).reason, 0x87)
            edge.stop()
            self.assertStored(edge, {"press-1": [0]})

    def test_with_a_password_file_only_its_users_come_in(self):
        with Edge(config("password_file: passwords"), {"passwords": PASSWORD_LINE.encode()}) as edge:
            refusals = {4: {"bad": (4, 5), "anonymous": (4, 5)}, 5: {"bad": (0x86, 0x87), "anonymous": (0x86, 0x87)}}
            for version in (4, 5):
                attempts = {"anonymous": {}, "bad password": {"username": "press-1", "password": "battery staple"},
                            "no password": {"username": "press-1"},
                            "unknown user": {"username": "mallory", "password": PASSWORD}}
                for what, credentials in attempts.items():
                    with self.subTest(version=version, attempt=what), \
                            RawClient(edge.address("direct"), version) as client:
                        present, code = client.connect("press-1", **credentials)
                        self.assertFalse(present)
                        self.assertIn(code, refusals[version]["anonymous" if what == "anonymous" else "bad"])
                        client.expect_end()
                with RawClient(edge.address("direct"), version) as client:
                    self.assertEqual(client.connect("press-1", username="press-1", password=PASSWORD), (False, 0))
                    client.publish(topic("press-1"), reading(version), 1, 1)
                    client.expect(PUBACK)
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {"press-1": [4, 5]})
            self.assertLogHolds(edge, ["battery staple", PASSWORD, PASSWORD_LINE[12:40]])

    def test_a_client_may_write_its_own_topic_only(self):
        with Edge(config('write_own: ["sensors/%c/readings"]')) as edge:
            address = edge.address("direct")
            with RawClient(address, 4) as client:      # 3.1.1 has no refusal but the end of the connection
                client.connect("press-1")
                client.publish(topic("press-1"), reading(0), 1, 1)
                client.expect(PUBACK)
                client.publish(topic("press-2"), reading(100), 1, 2)
                self.assertIsNone(client.expect_end())
            with RawClient(address, 5) as client:
                client.connect("press-2")
                for seq, (device, qos) in enumerate((("press-2", 1), ("press-1", 1), ("press-1", 2), ("press-2", 2))):
                    client.publish(topic(device), reading(seq), qos, seq + 1)
                self.assertEqual(client.expect(PUBACK).reason, 0)
                self.assertEqual(client.expect(PUBACK).reason, 0x87)
                self.assertEqual(client.expect(PUBREC).reason, 0x87)
                self.assertEqual(client.expect(PUBREC).reason, 0)
                client.publish(topic("press-1"), reading(9))                    # QoS 0: no answer, counted
                client.publish("other/topic", reading(9), 1, 9)                 # no topic of this listener
                self.assertEqual(client.expect(PUBACK).reason, 0x87)
            wait_for("all eight are counted", lambda: settled(edge)["received"] == 8)  # the answer may come first
            c = self.assertConserved(edge)
            self.assertEqual((c["refused"], c["stored"], c["received"]), (5, 3, 8))
            edge.stop()
            self.assertStored(edge, {"press-1": [0], "press-2": [0, 3]})

    def test_on_denied_drop_acknowledges_and_counts(self):
        with Edge(config('write_own: ["sensors/%c/readings"]', "on_denied: drop")) as edge:
            with RawClient(edge.address("direct"), 4) as client:
                client.connect("press-1")
                for packet_id, device in enumerate(("press-2", "press-1"), 1):
                    client.publish(topic(device), reading(packet_id), 1, packet_id)
                    self.assertEqual(client.expect(PUBACK).packet_id, packet_id)
            c = self.assertConserved(edge)
            self.assertEqual((c["refused"], c["stored"]), (1, 1))

    def test_subscriptions_are_refused_and_the_client_goes_on(self):
        with Edge(config()) as edge:
            for version, code in ((4, 0x80), (5, 0x87)):
                with RawClient(edge.address("direct"), version) as client:
                    client.connect(f"press-{version}")
                    client.subscribe("#")
                    answer = client.expect(SUBACK)
                    self.assertEqual(answer.body[-1], code)
                    client.publish(topic(f"press-{version}"), reading(1), 1, 2)
                    client.expect(PUBACK)
            self.assertConserved(edge)


class Sessions(Case):
    def test_a_session_survives_a_restart_and_a_kill(self):
        with Edge(config()) as edge:
            def connect(version, **options):
                client = RawClient(edge.address("direct"), version)
                return client, client.connect(f"press-{version}", **options)

            for version, options in ((4, {"clean": False}), (5, {"clean": False, "expiry": 3600})):
                with self.subTest(version=version):
                    client, answer = connect(version, **options)
                    self.assertEqual(answer, (False, 0))
                    client.publish(topic(f"press-{version}"), reading(0), 1, 1)
                    client.expect(PUBACK)
                    client.drop()
                    client, answer = connect(version, **options)
                    self.assertEqual(answer, (True, 0), "over a lost connection")
                    client.close()
                    edge.stop()
                    edge.start()
                    client, answer = connect(version, **options)
                    self.assertEqual(answer, (True, 0), "over a restart")
                    edge.kill()
                    client.drop()
                    edge.start()
                    client, answer = connect(version, **options)
                    self.assertEqual(answer, (True, 0), "over kill -9")
                    client.drop()
                    client, answer = connect(version, clean=True)
                    self.assertEqual(answer, (False, 0), "a clean start ends it")
                    # The end is on disk with this acknowledgement.
                    client.publish(topic(f"press-{version}"), reading(1), 1, 1)
                    client.expect(PUBACK)
                    edge.kill()
                    client.drop()
                    edge.start()
                    client, answer = connect(version, **options)
                    self.assertEqual(answer, (False, 0), "the end survives kill -9 too")
                    client.drop()

    def test_a_repeat_of_a_qos_1_publish_in_a_session_is_stored_once(self):
        with Edge(config()) as edge:
            client = RawClient(edge.address("direct"))
            client.connect("press-1", clean=False)
            client.publish(topic("press-1"), reading(0), 1, 7)
            client.expect(PUBACK)
            client.drop()
            with RawClient(edge.address("direct")) as client:
                self.assertEqual(client.connect("press-1", clean=False)[0], True)
                client.publish(topic("press-1"), reading(0), 1, 7, dup=True)      # the PUBACK was lost
                self.assertEqual(client.expect(PUBACK).packet_id, 7)
                client.publish(topic("press-1"), reading(1), 1, 7, dup=True)      # other bytes: another message
                client.expect(PUBACK)
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {"press-1": [0, 1]})

    def test_message_ids_that_a_float_cannot_tell_apart_drop_nothing(self):
        ids = [2 ** 53 + i for i in range(10)]
        for schema, stored in (("{id: int64}", ids), ("{}", ids * 2)):      # declared: found; not: rather twice than never
            with self.subTest(schema), Edge(config("message_id: id", f"schema: {schema}")) as edge:
                device = Device(edge.address("direct"), "press-1")
                device.publish_all([(topic("press-1"), json.dumps({"id": i})) for i in ids * 2])
                self.assertConserved(edge)
                edge.stop()
                self.assertEqual([json.loads(row["payload"])["id"] for row in edge.rows("readings")], stored)

    def test_qos_2_is_stored_exactly_once_over_kills(self):
        for version, workers in ((4, 1), (5, 2)):
            with self.subTest(version=version, workers=workers):
                self.play_qos_2_over_kills(version, workers)

    def play_qos_2_over_kills(self, version, workers):
        """A device that follows the protocol and carries no message id; the edge is killed at random moments."""
        chance = random.Random(SEED)
        total, window, kills = 400, 20, 5
        kill_at = sorted(chance.sample(range(50, total - 50), kills))
        with Edge(config(workers=workers)) as edge:
            states = {}        # packet id → [seq, "sent" | "received"]: what the device's own disk would hold
            done, next_seq, next_id, killed = [], 0, 1, 0
            while len(done) < total:
                client = RawClient(edge.address("direct"), version)
                present, code = client.connect("press-1", clean=False, expiry=3600)
                self.assertEqual(code, 0)
                self.assertEqual(present, killed > 0)
                try:
                    for packet_id, (seq, state) in states.items():
                        if state == "sent":
                            client.publish(topic("press-1"), reading(seq), 2, packet_id, dup=True)
                        else:
                            client.release(packet_id)
                    while len(done) < total:
                        while next_seq < total and len(states) < window:
                            while next_id in states:
                                next_id = next_id % 60 + 1        # few ids, so each is used many times
                            states[next_id] = [next_seq, "sent"]
                            next_seq += 1
                            client.publish(topic("press-1"), reading(next_seq - 1), 2, next_id)
                        if killed < kills and len(done) >= kill_at[killed]:
                            time.sleep(chance.uniform(0, 0.004))  # the random moment; nothing is awaited
                            edge.process.kill()
                            killed += 1
                        got = client.take()
                        if got is None:
                            raise ConnectionError
                        if got.kind == PUBREC:
                            if got.packet_id in states:
                                states[got.packet_id][1] = "received"
                            client.release(got.packet_id)
                        elif got.kind == PUBCOMP and got.packet_id in states:
                            done.append(states.pop(got.packet_id)[0])
                except (OSError, ConnectionError):
                    edge.kill()
                    client.drop()
                    edge.start()
                finally:
                    client.drop()
            self.assertEqual(killed, kills)
            self.assertConserved(edge)
            edge.stop()
            stored = [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]
            self.assertEqual(sorted(stored), list(range(total)), "each once")
            self.assertTrue(edge.verify()["ok"])

    def test_a_second_connection_of_a_client_takes_over(self):
        with Edge(config()) as edge:
            first = RawClient(edge.address("direct"), 5)
            first.connect("press-1")
            second = RawClient(edge.address("direct"), 5)
            self.assertEqual(second.connect("press-1")[1], 0)
            end = first.expect_end()
            self.assertEqual((end.kind, end.reason), (DISCONNECT, 0x8E))
            second.publish(topic("press-1"), reading(0), 1, 1)
            second.expect(PUBACK)
            second.close()


class Peers(Case):
    """Bad, slow and greedy peers: they end or wait, the others do not notice."""

    def publish_steadily(self, edge, device, total=1500, window=100, deadline_s=30):
        client = Device(edge.address("direct"), device)
        for seq in range(total):
            client.send(topic(device), reading(seq), seq)
            while len(client.open) >= window:
                client.poll(1)
        client.settle(deadline_s)
        client.close()
        return list(range(total))

    def test_half_open_and_slow_peers_stop_nobody(self):
        with Edge(config("connect_timeout: 1s")) as edge:
            address = edge.address("direct")
            begun = time.monotonic()
            silent = [RawClient(address) for _ in range(20)]
            half = RawClient(address)
            half.send(connect_packet("half")[:9])
            in_packet = RawClient(address)
            in_packet.connect("in-packet", keep_alive=1)
            in_packet.send(publish_packet(topic("in-packet"), reading(0, 500), 1, 1)[:40])   # and never the rest
            asleep = RawClient(address)
            asleep.connect("asleep", keep_alive=1)                  # says nothing: 1.5 times the keep-alive
            stopping = threading.Event()
            trickled = []

            def trickle():
                """A byte at a time, a whole reading now and then."""
                client = RawClient(address)
                client.connect("trickle")
                while not stopping.is_set():
                    seq = len(trickled)
                    for byte in publish_packet(topic("trickle"), reading(seq), 1, seq + 1):
                        client.send(bytes([byte]))
                        time.sleep(0.001)
                    client.expect(PUBACK)
                    trickled.append(seq)
                client.close()

            def never_reads():
                """Does not take its answers: ended when they fill what is allowed, or left alone."""
                client = socket.create_connection(address, timeout=5)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                client.sendall(connect_packet("deaf"))
                ping = b"\xc0\x00" * 4096
                try:
                    while not stopping.is_set():
                        client.sendall(ping)
                except OSError:
                    pass
                client.close()

            threads = [threading.Thread(target=f, daemon=True) for f in (trickle, never_reads)]
            for thread in threads:
                thread.start()
            expected = {"press-1": self.publish_steadily(edge, "press-1")}
            for client in silent + [half, in_packet, asleep]:
                client.expect_end(15)
            self.assertGreaterEqual(time.monotonic() - begun, 1, "not before their time")
            expected["press-2"] = self.publish_steadily(edge, "press-2", 500)
            wait_for("the slow one gets through", lambda: len(trickled) >= 3)
            stopping.set()
            for thread in threads:
                thread.join(20)
                self.assertFalse(thread.is_alive())
            expected["trickle"] = list(range(len(trickled)))
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, expected)

    def test_malformed_packets_end_their_connection_only(self):
        bad = {"not MQTT": b"GET / HTTP/1.1\r\n\r\n", "reserved type": b"\xf0\x00" * 2,
               "length of five bytes": b"\x10\xff\xff\xff\xff\x7f",
               "CONNECT of protocol 9": packet(0x10, b"\x00\x04MQTT\x09\x02\x00\x3c\x00\x01a"),
               "PUBLISH before CONNECT": publish_packet(topic("x"), reading(0), 1, 1)}
        after = {
            "QoS 3": lambda v: packet(0x36, publish_packet("a", "{}", 1, 1, version=v)[2:]),
            "wildcard topic": lambda v: publish_packet("sensors/+/readings", "{}", 1, 1, version=v),
            "packet id 0": lambda v: publish_packet(topic("x"), "{}", 1, 0, version=v),
            "topic beyond the packet": lambda v: packet(0x30, b"\x00\x50sens"),
            "topic that is not UTF-8": lambda v: publish_packet(b"sensors/\xff/readings", "{}", version=v),
            "second CONNECT": lambda v: connect_packet("x", v),
            "PUBREL flags": lambda v: packet(0x60, b"\x00\x01")}
        with Edge(config()) as edge:
            steady = Device(edge.address("direct"), "press-1")
            for name, data in bad.items():
                with self.subTest(name), RawClient(edge.address("direct")) as client:
                    client.send(data)
                    client.expect_end()
            for name, data in after.items():
                for version in (4, 5):
                    with self.subTest(name, version=version), \
                            RawClient(edge.address("direct"), version) as client:
                        client.connect("x")
                        client.send(data(version))
                        end = client.expect_end()
                        if version == 5:
                            self.assertEqual(end.kind, DISCONNECT)
                            self.assertGreaterEqual(end.reason, 0x80)
            steady.publish_all([(topic("press-1"), reading(seq)) for seq in range(10)])
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {"press-1": list(range(10))})

    def test_oversize_packets_are_refused(self):
        with Edge(config("max_packet: 1KiB")) as edge:
            with RawClient(edge.address("direct"), 4) as client:
                client.connect("press-4")
                client.publish(topic("press-4"), reading(0, 900), 1, 1)
                client.expect(PUBACK)
                client.send(publish_packet(topic("press-4"), reading(1, 2000), 1, 2)[:200])    # its length is enough
                self.assertIsNone(client.expect_end())
            with RawClient(edge.address("direct"), 5) as client:
                client.connect("press-5")
                self.assertIn(b"\x27" + struct.pack(">I", 1024), client.connack, "CONNACK names the maximum packet size")
                client.publish(topic("press-5"), reading(1, 2000), 1, 2)
                end = client.expect_end()
                self.assertEqual((end.kind, end.reason), (DISCONNECT, 0x95))
            # A CONNECT that claims 256 MB does not make the edge keep a place for it.
            before = edge.rss_kib()
            greedy = [RawClient(edge.address("direct")) for _ in range(20)]
            for client in greedy:
                client.send(b"\x10\xff\xff\xff\x7f\x00\x04MQTT")
            for client in greedy:
                client.expect_end()
            self.assertLess(edge.rss_kib() - before, 20_000)
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {"press-4": [0]})

    def test_a_client_over_its_quota_is_slowed_and_loses_nothing(self):
        with Edge(config("messages_per_second: 100")) as edge:
            begun = time.monotonic()
            greedy = Device(edge.address("direct"), "greedy")
            for seq in range(300):
                greedy.send(topic("greedy"), reading(seq), seq)
            modest = Device(edge.address("direct"), "modest")
            modest.publish_all([(topic("modest"), reading(seq)) for seq in range(50)])
            self.assertLess(time.monotonic() - begun, 1.9, "who is within the quota does not wait for who is not")
            greedy.poll()
            self.assertGreater(len(greedy.open), 0)
            greedy.settle()
            self.assertGreater(time.monotonic() - begun, 1.9, "a second's worth at once, the other 200 at 100 a second")
            self.assertConserved(edge)
            edge.stop()
            self.assertStored(edge, {"greedy": list(range(300)), "modest": list(range(50))})

    def test_more_in_flight_than_allowed(self):
        with Edge(config("receive_maximum: 10")) as edge:
            device = Device(edge.address("direct"), "press-4")        # 3.1.1 cannot be told: it waits
            for seq in range(300):
                device.send(topic("press-4"), reading(seq), seq)
            device.settle()
            with RawClient(edge.address("direct"), 5) as client:
                client.connect("press-5")
                self.assertIn(b"\x21\x00\x0a", client.connack, "CONNACK names the receive maximum")
            edge.stop()
            self.assertStored(edge, {"press-4": list(range(300))})


class Workers(Case):
    def test_two_workers_keep_every_devices_order(self):
        devices, total = 8, 1000
        with Edge(config("message_id: seq", workers=2)) as edge:
            self.assertEqual(edge.status()["workers"], 2)

            def play(name):
                device = Device(edge.address("direct"), name)
                for seq in range(total):
                    device.send(topic(name), reading(seq), seq)
                    if seq % 100 == 50:
                        device.send(topic(name), "{ no reading", None)
                    while len(device.open) >= 100:
                        device.poll(1)
                device.settle()
                device.close()

            names = [f"press-{i}" for i in range(devices)]
            threads = [threading.Thread(target=play, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            c = self.assertConserved(edge)
            self.assertEqual((c["stored"], c["dead_letter"]), (devices * total, devices * 10))
            wait_for("decided", lambda: edge.status()["pipelines"][0]["rows"] == devices * total)
            edge.stop()
            self.assertStored(edge, {name: list(range(total)) for name in names})
            rows = edge.rows("readings")
            self.assertEqual(len({row["stream"] for row in rows}), 2, "both workers took part")
            self.assertEqual([row["sequence"] for row in rows], list(range(1, devices * total + 1)))
            self.assertTrue(edge.verify()["ok"])


class MessageId(unittest.TestCase):
    def test_ids_of_another_type_than_learned_are_told_once_and_their_readings_stored(self):
        with Edge(config("message_id: id")) as edge:
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([(topic("press-1"), '{"id": "a1"}')] * 2)
            device.publish_all([(topic("press-1"), '{"id": 7}')] * 3)
            self.assertEqual((settled(edge)["stored"], counts(edge)["duplicate"], counts(edge)["values_unfit"]), (4, 1, 3))
            told = [line for line in edge.log if "no message id that can be used" in line]
            self.assertEqual(len(told), 1)
            self.assertIn("type=string", told[0])
            edge.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
