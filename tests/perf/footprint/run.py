#!/usr/bin/env python3
"""Memory and start of the program: VmRSS without and with a model, start to ready. HEADWATER names the program."""

import os
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
os.environ["HW_PROGRAM"] = os.environ.get("HEADWATER", str(ROOT / "build/release/headwater"))
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness import Device, Edge, wait_for  # noqa: E402

RUNS = int(os.environ.get("RUNS", "5"))
LIMITS = {"idle": (12 * 1024, 120.0), "model": (48 * 1024, 120.0)}

BASE = """
edge: {id: footprint, data_dir: ./data}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["#"], device: client_id}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""
CONFIGS = {
    "idle": BASE + "pipelines: {main: {from: [direct], steps: [{filter: {when: \"temperature > 0.0\"}}]}}\n",
    "model": BASE + """
models: {anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}}
pipelines: {main: {from: [direct], steps: [{detect: {model: anomaly}}, {decide: {alert_when: "score > 0.8"}}]}}
""",
}


def main():
    print(f"{'':8} {'VmRSS ready':>12} {'after 1,000':>12} {'start to ready':>15}   median of {RUNS}")
    worst = 0
    for name, config in CONFIGS.items():
        ready, used, start = [], [], []
        for _ in range(RUNS):
            with Edge(config, {"anomaly.onnx": ROOT / "tests/data/models/anomaly.onnx"}) as edge:
                start.append(edge.ready_ms)
                ready.append(edge.rss_kib())
                device = Device(edge.address("direct"), "d")
                device.publish_all([("t", '{"temperature": 1.0, "pressure": 2.0, "vibration": 3.0}')] * 1000)
                wait_for("decided", lambda: edge.status()["pipelines"][0]["rows"] == 1000)
                used.append(edge.rss_kib())
                device.close()
                edge.stop()
        rss, ms = statistics.median(ready), statistics.median(start)
        limit_kib, limit_ms = LIMITS[name]
        over = rss > limit_kib or ms > limit_ms
        worst |= over
        print(f"{name:8} {rss / 1024:9.1f} MiB {statistics.median(used) / 1024:9.1f} MiB {ms:12.1f} ms"
              f"   {'OVER' if over else 'within'} {limit_kib / 1024:.0f} MiB, {limit_ms:.0f} ms")
    return worst


if __name__ == "__main__":
    sys.exit(main())
