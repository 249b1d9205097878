"""Files that are read once or followed, in JSON lines and CSV; and arrays through every source."""

import json
import os
import random
import shutil
import socket
import subprocess
import unittest

from harness import Device, Edge, run_cli, wait_for
from test_http_source import Client

CONFIG = """
edge: {id: files, data_dir: ./data}
sources:
  in: {type: file, path: readings.txt, device: device_id, poll: 20ms, %s}
pipelines: {main: {from: [in]}}
store: {segment: 256KiB}
admin: {address: "127.0.0.1:0"}
"""


def line(seq):
    return json.dumps({"device_id": "m", "seq": seq}) + "\n"


def append(edge, text):
    with open(edge.folder / "readings.txt", "a") as file:
        file.write(text)


def stored(edge, count):
    wait_for(f"{count} stored", lambda: edge.status()["sources"][0]["stored"] == count)


def payloads(edge, lane="readings"):
    return [row["payload"] for row in edge.rows(lane)]


def seqs(edge):
    return [json.loads(payload)["seq"] for payload in payloads(edge)]


class Follow(unittest.TestCase):
    def test_grows_waits_and_survives_a_restart(self):
        with Edge(CONFIG % "read: follow") as edge:
            self.assertEqual(edge.status()["sources"][0]["trouble"], "")     # the file is not there yet
            append(edge, line(0) + line(1) + '{"device_id": "m", ')
            stored(edge, 2)
            append(edge, '"seq": 2}\n')
            stored(edge, 3)
            edge.stop()
            append(edge, line(3))
            edge.start()
            stored(edge, 1)
            edge.stop()
            self.assertEqual(seqs(edge), [0, 1, 2, 3])

    def test_kills_and_rotations_lose_and_repeat_nothing(self):
        chance = random.Random(4)
        with Edge(CONFIG % "read: follow") as edge:
            append(edge, line(0))
            stored(edge, 1)  # a file that is renamed before anyone opened it is not found
            total, rotation = 1, 0
            for step in range(12):
                count = chance.randrange(50, 400)
                append(edge, "".join(line(total + i) for i in range(count)))
                total += count
                # A kill in between, a rotation or both; never two rotations that the edge does not see.
                if step % 3 != 0:
                    edge.kill()
                if step % 2 == 0:
                    rotation += 1
                    os.rename(edge.folder / "readings.txt", edge.folder / f"readings.txt.{rotation}")
                    append(edge, line(total))
                    total += 1
                if step % 3 != 0:
                    edge.start()
                wait_for("caught up", lambda: edge.status()["store"]["lanes"]["readings"]["next_sequence"] == total + 1)
            edge.stop()
            self.assertEqual(seqs(edge), list(range(total)))
            identities = {(row["device_id"], json.loads(row["payload"])["seq"]) for row in edge.rows("readings")}
            self.assertEqual(len(identities), total)
            self.assertTrue(edge.verify()["ok"])

    def test_a_file_that_is_cut_is_read_anew(self):
        with Edge(CONFIG % "read: follow") as edge:
            append(edge, line(0) + line(1))
            stored(edge, 2)
            os.truncate(edge.folder / "readings.txt", 0)
            wait_for("told", lambda: any("read from its start" in text for text in edge.log))
            append(edge, line(2))
            stored(edge, 3)
            edge.stop()
            self.assertEqual(seqs(edge), [0, 1, 2])


class Once(unittest.TestCase):
    def once(self, options, text):
        edge = Edge(CONFIG % options, {"readings.txt": text.encode()})
        edge.extra = ["--exit-when-done"]
        return edge

    def test_csv(self):
        text = ("device_id;temperature;ok;note\r\nm1;21.50;true;\"a;\"\"b\"\"\nc\"\r\n"
                "m2;;False;\r\nm3;1\r\nm4;\"x\"y;true;z\r\n\r\n007;nan;x;12\r\n")
        with self.once('format: csv, delimiter: ";", schema: {note: string}', text) as edge:
            self.assertEqual(edge.process.wait(60), 0)
            self.assertEqual(payloads(edge), [
                '{"device_id":"m1","temperature":21.50,"ok":true,"note":"a;\\"b\\"\\nc"}',
                '{"device_id":"m2","temperature":null,"ok":false,"note":null}',
                '{"device_id":"007","temperature":null,"ok":"x","note":"12"}'])
            letters = edge.rows("dead_letter")
            self.assertEqual([(row["payload"], row["note"].split(":")[0]) for row in letters],
                             [("m3;1", "line 5"), ('m4;"x"y;true;z', "line 6")])
            # Nothing is read twice, and learned types are shown.
            edge.start(wait_ready=False)
            self.assertEqual(edge.process.wait(60), 0)
            self.assertEqual(len(payloads(edge)), 3)
            shown = run_cli("check", "edge.yaml", cwd=edge.folder)
            self.assertRegex(shown, r"temperature +float64 +learned")
            self.assertRegex(shown, r"note +string +declared")
            learned = json.loads(run_cli("check", "edge.yaml", "--json", cwd=edge.folder))["fields"]["in"]
            self.assertIn({"name": "ok", "type": "bool", "from": "learned"}, learned)

    def test_columns_in_the_config_and_errors_at_start(self):
        with self.once("format: csv, columns: [device_id, v]", "m1,1\nm2,2\n") as edge:
            self.assertEqual(edge.process.wait(60), 0)
            self.assertEqual(payloads(edge), ['{"device_id":"m1","v":1}', '{"device_id":"m2","v":2}'])
        edge = self.once("format: csv", "a,,b\n1,2,3\n")
        _, error = run_cli("run", "edge.yaml", cwd=edge.folder, status=65)
        self.assertIn("header: column 2 has no name", error)
        (edge.folder / "readings.txt").unlink()
        _, error = run_cli("run", "edge.yaml", cwd=edge.folder, status=66)
        self.assertIn("readings.txt: No such file", error)
        shutil.rmtree(edge.folder)


ARRAYS = """
edge: {id: arrays, data_dir: ./data}
sources:
  file: {type: file, path: readings.txt, device: device_id, max_elements: 5}
  listen: {type: mqtt_listen, address: "127.0.0.1:0", device: device_id, max_elements: 5}
  csv: {type: mqtt_listen, address: "127.0.0.1:0", device: device_id, format: csv, max_elements: 5}
  hook: {type: http, address: "127.0.0.1:0", device: device_id, max_elements: 5}
pipelines: {main: {from: [file, listen, csv, hook]}}
admin: {address: "127.0.0.1:0"}
"""


class Arrays(unittest.TestCase):
    def messages(self, name):
        """A plain message, an array with a bad element, too many elements, an empty array, no array."""
        row = {"device_id": name, "deep": {"v": [1, 2]}}
        return [json.dumps({**row, "n": 0}),
                json.dumps([{**row, "n": 1}, 7, {**row, "n": 2}]),
                json.dumps([{**row, "n": 9}] * 6),
                "[]",
                '[{"device_id": "x"}']

    def test_through_every_source(self):
        text = "".join(message + "\n" for message in self.messages("file"))
        with Edge(ARRAYS, {"readings.txt": text.encode()}) as edge:
            device = Device(edge.address("listen"), "d")
            device.publish_all([("t", message) for message in self.messages("listen")])
            self.assertEqual(len(device.acknowledged), 5)
            device.close()
            device = Device(edge.address("csv"), "d")
            device.publish_all([("t", "device_id,n\ncsv,0\ncsv,1\ncsv\ncsv,2\n"), ("t", ""),
                                ("t", "device_id\n" + "csv\n" * 6)])
            self.assertEqual(len(device.acknowledged), 3)
            device.close()
            hook = Client(edge.address("hook"))
            answers = [hook.post(message, "application/x-ndjson", headers={})[1]
                       for message in self.messages("hook")]
            hook.close()
            self.assertEqual([(a["stored"], a["dead_letter"]) for a in answers], [(1, 0), (2, 1), (0, 1), (0, 1), (0, 1)])
            wait_for("the file is stored", lambda: edge.status()["sources"][0]["stored"] == 3)
            for source in edge.status()["sources"]:
                expected = (6, 3, 3) if source["name"] == "csv" else (7, 3, 4)
                self.assertEqual((source["received"], source["stored"], source["dead_letter"]), expected, source)
                self.assertEqual(source["in_flight"], 0)
                self.assertEqual(source["acknowledged"], source["received"])
            edge.stop()
            for name in ("file", "listen", "csv", "hook"):
                numbers = [json.loads(row["payload"])["n"] for row in edge.rows("readings", "--device", name)]
                self.assertEqual(numbers, [0, 1, 2], name)
            notes = [row["note"] for row in edge.rows("dead_letter")]
            self.assertEqual(sum("more than 5 elements" in note for note in notes), 3)
            self.assertEqual(sum("expected a JSON object" in note for note in notes), 3)

    def test_from_a_broker(self):
        broker = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not os.path.exists(broker):
            self.skipTest("mosquitto is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen([broker, "-p", str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            text = ARRAYS.replace("  csv: {type: mqtt_listen, address: \"127.0.0.1:0\", device: device_id, format: csv,",
                                  "  csv: {type: mqtt, url: \"mqtt://127.0.0.1:%d\", topics: [t], device: device_id," % port)
            with Edge(text, {"readings.txt": b""}) as edge:
                def publish():
                    device = Device(("127.0.0.1", port), "publisher")
                    device.publish_all([("t", message) for message in self.messages("csv")])
                    device.close()
                    source = next(s for s in edge.status()["sources"] if s["name"] == "csv")
                    return source["stored"] >= 3
                wait_for("the subscription", publish)
                edge.stop()
                numbers = [json.loads(row["payload"])["n"] for row in edge.rows("readings", "--device", "csv")]
                self.assertEqual(numbers[-3:], [0, 1, 2])
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    unittest.main(verbosity=2)
