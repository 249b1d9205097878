"""Readings over HTTP: 200 means on disk, also when the edge is killed; what is refused, and how; slow clients."""

import http.client
import json
import random
import socket
import ssl
import tempfile
import threading
import unittest

from harness import Edge, wait_for
from servers import free_port, make_certificates

CONFIG = """
edge: {id: hooks, data_dir: ./data}
sources:
  hook:
    type: http
    address: "127.0.0.1:%(port)d"
    token: sesame
    device: device_id
    message_id: seq
    max_body: 64KiB
    request_timeout: 1s
    max_connections: 40
    %(more)s
pipelines: {main: {from: [hook], steps: [{filter: {when: "!has(v) || v < 1000000.0"}}]}}
store: {segment: 256KiB, max_bytes: %(bytes)s, on_full: %(on_full)s}
sinks: {none: {type: http, url: "http://127.0.0.1:9/"}}
admin: {address: "127.0.0.1:0"}
"""
TOKEN = {"Authorization": "Bearer sesame"}


def config(port=0, size="1GiB", on_full="block", more=""):
    return CONFIG % {"port": port, "bytes": size, "on_full": on_full, "more": more}


class Client:
    """One keep-alive connection."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(*address, timeout=30)

    def post(self, body, kind="application/json", path="/readings", headers=TOKEN):
        self.connection.request("POST", path, body, {"Content-Type": kind, **headers})
        answer = self.connection.getresponse()
        text = answer.read().decode()
        return answer.status, (json.loads(text) if text.startswith("{") else text), answer

    def close(self):
        self.connection.close()


def rows_of(edge):
    return [json.loads(row["payload"]) for row in edge.rows("readings")]


class HttpSource(unittest.TestCase):
    def assertConserved(self, edge):
        source = edge.status()["sources"][0]
        self.assertEqual(source["received"], source["duplicate"] + source["filtered"] + source["dead_letter"] +
                         source["stored"] + source["refused"] + source["in_flight"])
        return source

    def test_every_format_and_what_became_of_each_reading(self):
        with Edge(config()) as edge:
            client = Client(edge.address("hook"))
            self.assertEqual(client.post('{"device_id": "a", "seq": 1, "v": 1}')[:2],
                             (200, {"received": 1, "stored": 1, "duplicate": 0, "filtered": 0, "dead_letter": 0}))
            body = [{"device_id": "a", "seq": 1, "v": 1}, {"device_id": "a", "seq": 2, "v": 2e6}, 5,
                    {"device_id": "b", "seq": 1, "v": 3}]
            self.assertEqual(client.post(json.dumps(body))[:2],
                             (200, {"received": 4, "stored": 1, "duplicate": 1, "filtered": 1, "dead_letter": 1}))
            lines = '{"device_id": "c", "seq": 1}\n\n{"device_id":\n[{"device_id": "c", "seq": 2}, {"device_id": "c", "seq": 3}]\n'
            self.assertEqual(client.post(lines, "application/x-ndjson")[:2],
                             (200, {"received": 4, "stored": 3, "duplicate": 0, "filtered": 0, "dead_letter": 1}))
            csv = 'device_id,seq,note\nd,1,"a ""b"", c"\nd\nd,2,\n'
            self.assertEqual(client.post(csv, "text/csv; charset=utf-8")[:2],
                             (200, {"received": 3, "stored": 2, "duplicate": 0, "filtered": 0, "dead_letter": 1}))
            self.assertEqual(client.post("[]")[:2],
                             (200, {"received": 0, "stored": 0, "duplicate": 0, "filtered": 0, "dead_letter": 0}))
            client.close()
            source = self.assertConserved(edge)
            self.assertEqual((source["received"], source["stored"], source["in_flight"]), (12, 7, 0))
            edge.stop()
            self.assertEqual([row["device_id"] for row in edge.rows("readings")], list("abcccdd"))
            self.assertEqual(rows_of(edge)[5:], [{"device_id": "d", "seq": 1, "note": 'a "b", c'},
                                                 {"device_id": "d", "seq": 2, "note": None}])
            letters = edge.rows("dead_letter")
            self.assertEqual([letter["payload"] for letter in letters], ["5", '{"device_id":', "d"])
            self.assertIn("line 3: 1 fields", letters[2]["note"])
            self.assertEqual(edge.rows("readings")[0]["topic"], "readings")

    def test_the_path_is_the_topic(self):
        with Edge(config().replace("device: device_id", 'device: "topic[1]"')) as edge:
            client = Client(edge.address("hook"))
            self.assertEqual(client.post('[{"seq": 1}, {"seq": 2}]', path="/readings/hall-2/press%201")[0], 200)
            self.assertEqual(client.post('{"seq": 1}')[1]["dead_letter"], 1)
            client.close()
            edge.stop()
            self.assertEqual([(row["topic"], row["device_id"]) for row in edge.rows("readings")],
                             [("hall-2/press 1", "press 1")] * 2)

    def test_what_is_refused_says_why_and_is_counted(self):
        with Edge(config(more="max_elements: 3")) as edge:
            def status(*arguments, **named):
                client = Client(edge.address("hook"))
                answer = client.post(*arguments, **named)
                client.close()
                return answer[0], answer[1]["error"]["text"]
            self.assertEqual(status("{}", headers={})[0], 401)
            self.assertEqual(status("{}", headers={"Authorization": "Bearer wrong"})[0], 401)
            self.assertEqual(status("{}", kind="text/plain")[0], 415)
            self.assertIn("expected a JSON object or array at byte 0", status("hello")[1])
            self.assertEqual(status('{"a": ')[0], 400)
            self.assertEqual(status("[1,2,3,4]")[0], 413)
            self.assertEqual(status("1\n2\n3\n4", kind="application/x-ndjson")[0], 413)
            self.assertEqual(status("", kind="text/csv")[0], 400)
            self.assertEqual(status(" " * 70_000)[0], 413)
            source = self.assertConserved(edge)
            self.assertEqual((source["refused"], source["received"]), (9, 9))
            edge.stop()
            self.assertEqual(edge.rows("readings") + edge.rows("dead_letter"), [])

    def test_a_full_store_is_503_and_nothing_that_was_answered_is_lost(self):
        text = config(size="1MiB", more="answer_timeout: 500ms").replace("pipelines: {main: {from: [hook]", "pipelines: {main: {alerts: [none], from: [hook]")
        text = text.replace('steps: [{', 'steps: [{enrich: {set: {score: "1.0"}}}, {decide: {alert_when: "score > 0.5"}}, {')
        with Edge(text) as edge:
            client = Client(edge.address("hook"))
            stored = 0

            def until_full():
                nonlocal stored
                try:
                    status, _, answer = client.post(json.dumps({"device_id": "a", "seq": stored, "pad": "x" * 5000}))
                except (OSError, http.client.HTTPException):
                    return False
                if status == 200:
                    stored += 1
                    return False
                self.assertEqual(status, 503)
                # The one that was taken before the store was full hears 503 at its time-out; its reading may be there.
                return answer.getheader("Retry-After") == "1"

            wait_for("the store is full", until_full)
            self.assertGreater(stored, 10)
            self.assertIn("full", edge.status()["sources"][0]["trouble"])
            client.close()
            edge.kill()
            self.assertLessEqual(set(range(stored)), {row["seq"] for row in rows_of(edge)})

    def test_tls_asks_for_a_client_certificate(self):
        with tempfile.TemporaryDirectory() as folder:
            files = make_certificates(folder)
            tls = "tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}"
            with Edge(config(more=tls), {name: files / name for name in ("server.pem", "server.key", "ca.pem")}) as edge:
                def post(client):
                    context = ssl.create_default_context(cafile=str(files / "ca.pem"))
                    if client:
                        context.load_cert_chain(files / "client.pem", files / "client.key")
                    connection = http.client.HTTPSConnection(*edge.address("hook"), timeout=30, context=context)
                    try:
                        connection.request("POST", "/readings", '{"device_id": "a", "seq": 1}',
                                           {"Content-Type": "application/json", **TOKEN})
                        return connection.getresponse().status
                    finally:
                        connection.close()

                self.assertEqual(post(client=True), 200)
                with self.assertRaises(OSError):
                    post(client=False)
                edge.stop()
                self.assertEqual(len(edge.rows("readings")), 1)

    def test_slow_clients_harm_nobody(self):
        with Edge(config()) as edge:
            slow = []
            for _ in range(30):
                one = socket.create_connection(edge.address("hook"), timeout=20)
                one.sendall(b"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n"
                            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
                slow.append(one)
            client = Client(edge.address("hook"))
            for seq in range(20):
                self.assertEqual(client.post(json.dumps({"device_id": "a", "seq": seq}))[0], 200)
            for one in slow:
                self.assertTrue(one.recv(1000).startswith(b"HTTP/1.1 408"))
                one.close()
            client.close()
            # A client that goes before its answer: the reading is there nevertheless.
            gone = socket.create_connection(edge.address("hook"), timeout=20)
            body = b'{"device_id": "gone", "seq": 1}'
            gone.sendall(b"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n"
                         b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            gone.close()
            wait_for("stored", lambda: edge.status()["sources"][0]["stored"] == 21)
            self.assertConserved(edge)

    def test_kill_9_under_load_keeps_what_was_answered_once(self):
        port = free_port()  # the same over restarts
        with Edge(config(port)) as edge:
            answered, stop = set(), threading.Event()
            lock = threading.Lock()

            def device(name):
                """Sends its readings in order, each batch again until it is answered, and never gives up."""
                chance = random.Random(name)
                client, seq = Client(("127.0.0.1", port)), 0
                while not stop.is_set():
                    batch = [{"device_id": name, "seq": seq + i, "pad": "x" * chance.randrange(200)}
                             for i in range(chance.randrange(1, 20))]
                    while True:
                        try:
                            status = client.post(json.dumps(batch))[0]
                        except (OSError, http.client.HTTPException):
                            client.close()  # the next request connects anew
                            status = 0
                            stop.wait(0.01)
                        if status == 200:
                            break
                        if stop.is_set():
                            client.close()
                            return
                    with lock:
                        answered.update((name, row["seq"]) for row in batch)
                    seq += len(batch)
                client.close()

            devices = [threading.Thread(target=device, args=(f"press-{i}",)) for i in range(6)]
            for one in devices:
                one.start()
            try:
                chance = random.Random(5)
                for _ in range(6):
                    target = len(answered) + chance.randrange(100, 600)
                    wait_for("more is answered", lambda: len(answered) >= target)
                    edge.kill()
                    edge.start()
                target = len(answered) + 100
                wait_for("more is answered", lambda: len(answered) >= target)
            finally:
                stop.set()
                for one in devices:
                    one.join()
            edge.stop()
            rows = [(row["device_id"], row["seq"]) for row in rows_of(edge)]
            self.assertEqual(len(rows), len(set(rows)), "each is stored once")
            self.assertLessEqual(answered, set(rows), "what was answered is there")
            by_device = {}
            for name, seq in rows:
                self.assertEqual(seq, by_device.get(name, -1) + 1, f"the order of {name}")
                by_device[name] = seq
            self.assertTrue(edge.verify()["ok"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
