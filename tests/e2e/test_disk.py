"""A disk that refuses: nothing is acknowledged, probes and status say so, and it goes on by itself when space returns."""

import json
import resource
import unittest

from harness import Device, Edge, wait_for

CONFIG = """
edge: {id: disk, data_dir: ./data}
sources:
  in: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["s/+"], device: "topic[1]", message_id: seq}
pipelines:
  main: {from: [in], steps: []}
store: {segment: 256KiB, max_bytes: 8MiB}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""


def reading(seq):
    return json.dumps({"seq": seq, "pad": "x" * 200})


class Disk(unittest.TestCase):
    def limit(self, edge, size):
        """Writes of the edge beyond `size` bytes of a file fail (EFBIG), as on a disk that refuses."""
        resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def test_refused_writes_are_told_and_mend_themselves(self):
        with Edge(CONFIG) as edge:
            device = Device(edge.address("in"), "d1")
            device.publish_all([("s/d1", reading(seq)) for seq in range(10)])
            self.assertEqual(edge.get("health", "/readyz")[0], 200)
            for trial in range(3):
                self.limit(edge, 0)
                base = 100 * (trial + 1)
                for seq in range(base, base + 10):
                    device.send("s/d1", reading(seq), seq)
                answer = wait_for("not ready", lambda: (lambda a: a if a[0] == 503 else None)(
                    edge.get("health", "/readyz")))
                self.assertIn("File too large", json.loads(answer[1])["reasons"]["store"])
                store = edge.status()["store"]
                self.assertEqual(store["health"], "io_error")
                self.assertIn("File too large", store["health_text"])
                self.assertEqual(edge.get("health", "/livez")[0], 200, "a refusing disk is no reason to restart")
                device.poll(0.3)
                self.assertEqual(len(device.open), 10, "acknowledged what is not on disk")
                self.limit(edge, resource.RLIM_INFINITY)
                device.settle(deadline_s=10)
                wait_for("ready again", lambda: edge.get("health", "/readyz")[0] == 200, deadline_s=10)
            self.assertEqual(edge.status()["store"]["health"], "ok")
            edge.stop()
            stored = [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]
            self.assertEqual(stored, [*range(10), *range(100, 110), *range(200, 210), *range(300, 310)])
            edge.verify()


if __name__ == "__main__":
    unittest.main(verbosity=2)
