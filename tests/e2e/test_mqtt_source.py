"""The mqtt source against a real mosquitto: delivery, kill -9 of the edge (KILLS times, 5), restarts of the broker."""

import json
import os
import pathlib
import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

from brokers import MOSQUITTO, Broker
from harness import Device, Edge, wait_for
from raw_mqtt import PUBCOMP, PUBREC, RawClient

CONFIG = """
edge: {id: bridge, data_dir: ./data}
sources:
  line:
    type: mqtt
    url: "mqtt://127.0.0.1:%d"
    topics: ["sensors/+/readings"]
    qos: %d
    version: "%s"
    device: "topic[1]"
    message_id: seq
    max_backoff: 200ms
pipelines: {main: {from: [line], steps: [{filter: {when: "v < 1000000.0"}}]}}
admin: {address: "127.0.0.1:0"}
"""


@unittest.skipIf(MOSQUITTO is None, "mosquitto is not installed: the mqtt source is not tested against a broker")
class MqttSource(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.close)

    def publish(self, begin, end):
        device = Device(("127.0.0.1", self.broker.port), "publisher")
        device.publish_all([("sensors/press-1/readings", json.dumps({"seq": i, "v": i})) for i in range(begin, end)], 100)
        device.close()

    def stored(self, edge):
        return edge.status()["sources"][0]["stored"]

    def seqs(self, edge):
        return [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]

    def connected(self, edge):
        """The subscription is there when a first message comes through."""
        def probe():
            self.publish(0, 1)
            return self.stored(edge) >= 1
        wait_for("subscribed", probe)

    def test_each_version_and_qos_delivers_all_in_order(self):
        for qos, version in ((2, "5"), (1, "5"), (0, "5"), (2, "3.1.1"), (1, "3.1.1"), (0, "3.1.1")):
            with self.subTest(qos=qos, version=version), Edge(CONFIG % (self.broker.port, qos, version)) as edge:
                self.connected(edge)
                self.publish(1, 501)
                wait_for("all stored", lambda: self.stored(edge) == 501)
                edge.stop()
                self.assertEqual(self.seqs(edge), list(range(501)))
                self.assertTrue(all(row["device_id"] == "press-1" for row in edge.rows("readings")))

    def test_kill_9_of_the_edge_loses_nothing_the_broker_delivered(self):
        chance = random.Random(3)
        with Edge(CONFIG % (self.broker.port, 1, "5")) as edge:
            self.connected(edge)
            total = 1
            for _ in range(int(os.environ.get("KILLS", "5"))):
                self.publish(total, total + 400)
                total += 400
                target = chance.randint(1, 399)
                wait_for("some stored", lambda: self.stored(edge) >= target)
                edge.kill()
                edge.start()
            wait_for("everything delivered again", lambda: edge.status()["store"]["lanes"]["readings"]["next_sequence"] == total + 1)
            edge.stop()
            self.assertEqual(sorted(self.seqs(edge)), list(range(total)))

    def test_qos_2_stores_each_message_once_over_kill_9_and_restarts(self):
        """No message id here: what tells a repeat is the packet id, stored with the rows."""
        chance = random.Random(5)
        for version in ("5", "3.1.1"):
            config = CONFIG.replace("message_id: seq", f"client_id: once-{version}")   # a session of its own
            with self.subTest(version=version), Edge(config % (self.broker.port, 2, version)) as edge:
                def next_sequence():
                    return edge.status()["store"]["lanes"]["readings"]["next_sequence"]

                def probe():
                    self.publish_exactly_once(0, 1)
                    return next_sequence() > 1

                wait_for("subscribed", probe)
                wait_for("the probes are through", lambda: edge.status()["sources"][0]["in_flight"] == 0)
                total = 1
                for attempt in range(8):
                    before, target = next_sequence(), chance.randint(1, 300)
                    self.publish_exactly_once(total, total + 400)
                    total += 400
                    wait_for("some stored", lambda: next_sequence() - before >= target)
                    edge.kill()
                    if attempt % 3 == 2:
                        self.broker.stop()
                        self.broker.start()
                    edge.start()
                wait_for("everything delivered", lambda: next_sequence() > total)
                wait_for("nothing in flight", lambda: edge.status()["sources"][0]["in_flight"] == 0)
                edge.stop()
                self.assertEqual(sorted(seq for seq in self.seqs(edge) if seq > 0), list(range(1, total)))

    def test_two_edges_share_a_subscription(self):
        # mosquitto 2.0 forgets shared subscriptions when it restarts, until their members come back: no restart here.
        configs = [(CONFIG % (self.broker.port, 1, "5")).replace('"sensors/+/readings"', '"$share/edges/sensors/+/readings"')
                   .replace("id: bridge", f"id: bridge-{name}") for name in "ab"]
        with Edge(configs[0]) as first, Edge(configs[1]) as second:
            def both():
                self.publish(0, 2)
                return self.stored(first) and self.stored(second)
            wait_for("both have subscribed", both)
            self.publish(1, 501)
            wait_for("all stored", lambda: len(set(self.seqs(first)) | set(self.seqs(second))) == 501)
            shares = [{seq for seq in self.seqs(edge) if seq > 1} for edge in (first, second)]
            self.assertTrue(all(len(share) > 100 for share in shares))
            self.assertEqual(len(shares[0] & shares[1]), 0)
            first.kill()   # the other goes on, and gets what the first has not acknowledged
            self.publish(501, 601)
            first.start()
            wait_for("all stored", lambda: len(set(self.seqs(first)) | set(self.seqs(second))) == 601)

    def publish_exactly_once(self, begin, end):
        client = RawClient(self.broker.address)
        client.connect("publisher")
        for i in range(begin, end):
            client.publish("sensors/press-1/readings", json.dumps({"seq": i, "v": i}), 2, i - begin + 1)
        complete = 0
        while complete < end - begin:
            packet = client.take()
            if packet.kind == PUBREC:
                client.release(packet.packet_id)
            complete += packet.kind == PUBCOMP
        client.close()

    def test_a_sink_of_the_same_name_is_another_client(self):
        config = (CONFIG % (self.broker.port, 1, "5")).replace('[{filter: {when: "v < 1000000.0"}}]',
                                                               '[{decide: {alert_when: "v >= 0.0"}}], alerts: [line]')
        sink = f'sinks: {{line: {{type: mqtt, url: "mqtt://127.0.0.1:{self.broker.port}", topic: alerts}}}}\n'
        with Edge(config + sink) as edge:
            self.connected(edge)
            self.publish(1, 100)
            wait_for("all alerts delivered", lambda: edge.status()["sinks"][0]["delivered"] == 100)
            # Two clients of one id would take the session from each other for ever.
            self.assertEqual(sum("msg=connected source=line" in line for line in edge.log), 1)
            self.assertFalse([line for line in edge.log if "not connected" in line])

    def test_attempts_that_fail_for_the_same_reason_are_one_line_of_the_log(self):
        with socket.create_server(("127.0.0.1", 0)) as door, Edge(CONFIG % (door.getsockname()[1], 1, "5")) as edge:
            door.settimeout(30)
            for _ in range(5):
                peer = door.accept()[0]
                peer.recv(4096)  # its CONNECT: what is left unread would make the end a reset
                peer.close()
            wait_for("told", lambda: any('msg="not connected" source=line' in line for line in edge.log))
            edge.stop()
            self.assertEqual(sum('msg="not connected"' in line for line in edge.log), 1)

    def test_a_restart_of_the_broker_is_survived(self):
        with Edge(CONFIG % (self.broker.port, 1, "5")) as edge:
            self.connected(edge)
            self.publish(1, 200)
            wait_for("first part", lambda: self.stored(edge) == 200)
            self.broker.stop()
            wait_for("the log tells the outage", lambda: any('msg="not connected" source=line' in line for line in edge.log))
            self.broker.start()
            self.publish(200, 400)
            wait_for("second part", lambda: self.stored(edge) == 400)
            edge.stop()
            self.assertEqual(self.seqs(edge), list(range(400)))
            self.assertEqual(sum("msg=connected source=line" in line for line in edge.log), 2)


@unittest.skipIf(MOSQUITTO is None or shutil.which("openssl") is None, "needs mosquitto and openssl")
class WithCertificates(unittest.TestCase):
    """Source and sink against a broker that asks for a client certificate, and one that asks for a password too."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-pki-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=cls.folder, check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
                "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
        for name, extra in (("server", "subjectAltName=IP:127.0.0.1,DNS:localhost"), ("edge", "extendedKeyUsage=clientAuth")):
            openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
                    "-out", f"{name}.csr", "-subj", f"/CN={name}")
            (cls.folder / "extra").write_text(extra + "\n")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-out", f"{name}.pem", "-days", "2", "-extfile", "extra")
        for path in cls.folder.iterdir():
            path.chmod(0o644)
        cls.folder.chmod(0o755)

    CONFIG = """
edge: {id: bridge, data_dir: ./data}
sources:
  line:
    type: mqtt
    url: "mqtts://127.0.0.1:%(port)d"
    topics: ["sensors/+/readings", "alerts/#"]
    qos: 1
    version: "%(version)s"
    device: "topic[1]"
    max_backoff: 200ms
    tls: {ca: ca.pem%(certificate)s}
    %(user)s
pipelines:
  main:
    from: [line]
    steps: [{decide: {alert_when: "v == 7.0"}}]
    alerts: [upstream]
sinks:
  upstream:
    type: mqtt
    url: "mqtts://127.0.0.1:%(port)d"
    topic: "alerts/${device_id}"
    tls: {ca: ca.pem%(certificate)s}
    %(user)s
admin: {address: "127.0.0.1:0"}
"""
    WITH_CERTIFICATE = ", certificate: edge.pem, key: edge.key"

    def tls(self):
        return "\n".join(f"{name} {self.folder}/{file}" for name, file in
                         (("cafile", "ca.pem"), ("certfile", "server.pem"), ("keyfile", "server.key")))

    def edge(self, broker, version="5", certificate=WITH_CERTIFICATE, user=""):
        files = {name: self.folder / name for name in ("ca.pem", "edge.pem", "edge.key")}
        return Edge(self.CONFIG % {"port": broker.port, "version": version, "certificate": certificate, "user": user}, files)

    def check_round_trip(self, edge):
        """An alert goes out by the sink and comes in by the source: what the source took then stays stored."""
        sub = RawClientOverTls(edge, self.folder, self.user)

        def stored():
            sub.publish_reading()
            return edge.status()["sinks"][0]["delivered"] > 0 and edge.status()["sources"][0]["stored"] > 1

        wait_for("source and sink are through", stored)
        sub.close()

    user = None

    def test_a_client_certificate_opens_a_broker_that_requires_one(self):
        broker = Broker(self.tls() + "\nrequire_certificate true\nuse_identity_as_username true\n")
        self.addCleanup(broker.close)
        for version in ("5", "3.1.1"):
            with self.subTest(version=version), self.edge(broker, version) as edge:
                self.check_round_trip(edge)
        with self.edge(broker, certificate="") as edge:   # and without one it stays shut
            def told():
                trouble = edge.status()["sinks"][0]
                return trouble
            wait_for("the edge runs", told)
            self.assertEqual(edge.status()["sources"][0]["received"], 0)

    def test_a_password_over_tls(self):
        passwords = self.folder / "passwords"
        if shutil.which("mosquitto_passwd") is None:
            self.skipTest("mosquitto_passwd is not installed")
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "line", "secret"], check=True, capture_output=True)
        passwords.chmod(0o644)
        broker = Broker(self.tls() + f"\nallow_anonymous false\npassword_file {passwords}\n")
        self.addCleanup(broker.close)
        self.user = ("line", "secret")
        with self.edge(broker, certificate="", user='username: line\n    password: "secret"') as edge:
            self.check_round_trip(edge)
        with self.edge(broker, certificate="", user='username: line\n    password: "wrong"') as edge:
            client = RawClientOverTls(edge, self.folder, self.user)
            client.publish_reading()
            client.close()
            self.assertEqual(edge.status()["sources"][0]["received"], 0)


class RawClientOverTls:
    """Publishes to the broker of an edge's config."""

    def __init__(self, edge, folder, user):
        port = int((edge.folder / "edge.yaml").read_text().split("mqtts://127.0.0.1:")[1].split('"')[0])
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "edge.pem", folder / "edge.key")
        self.client = RawClient(("127.0.0.1", port), tls=context, server_name="127.0.0.1")
        options = {"username": user[0], "password": user[1]} if user else {}
        self.client.connect("publisher", **options)

    def publish_reading(self):
        self.client.publish("sensors/press-1/readings", '{"v": 7}', 1, 1)
        self.client.take()

    def close(self):
        self.client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
