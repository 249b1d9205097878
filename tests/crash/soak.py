"""A long steady run: memory, descriptors and threads stay flat, and nothing acknowledged is lost.

Devices publish numbered readings at QoS 1 and drop their links now and then; new device ids appear all the time; the
store is so small that its segments are recycled again and again; the receiver of the uplink is away for a tenth of the time.
SOAK_SECONDS is the length (60); HW_PROGRAM the program. Prints one JSON object; exit 1 when something is not flat or lost.
"""

import json
import os
import pathlib
import random
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from harness import ROOT, Device, Edge, wait_for  # noqa: E402
from servers import OK, Answer, Receiver  # noqa: E402

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SEED", "1"))
DEVICES = 4
RATE = 500                      # messages a second of each device
NEW_DEVICE_EVERY = 50           # messages: each name is used for that many
GROWTH = 1.05                   # of the median RSS, last quarter over second quarter
SLACK_KIB = 1024                # and this much beside: pages, not growth

CONFIG = """
edge: {id: soak, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]", message_id: seq}
pipelines:
  main:
    from: [direct]
    steps:
      - window: {by: device_id, last: 10s, max_keys: 1000, add: {mean_temperature: "mean(temperature)"}}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8", clear_when: "score < 0.6", on_delay: "2 of 3", max_keys: 1000, max_active: 500}
store: {segment: 1MiB, max_bytes: 16MiB}
uplink: {type: http, url: "%s", every: 1s, max_backoff: 500ms}
admin: {address: "127.0.0.1:0"}
"""


class Load(threading.Thread):
    """One link of a gateway: numbered readings under names that change; those without PUBACK are sent again."""

    def __init__(self, number, address):
        super().__init__(daemon=True)
        self.number, self.address = number, address
        self.chance = random.Random(SEED * 1000 + number)
        self.acknowledged = 0       # readings 0 … acknowledged - 1: PUBACKs come in order
        self.stopping = False
        self.links = 0

    def message(self, seq):
        anomalous = seq % 200 > 190
        values = {"temperature": 140.0 if anomalous else 60.0 + seq % 7, "pressure": 9.0 if anomalous else 101.0,
                  "vibration": 9.0 if anomalous else 0.5}
        return f"sensors/gate-{self.number}-{seq // NEW_DEVICE_EVERY}/readings", json.dumps(
            {"seq": f"{self.number}.{seq}", **values})

    def run(self):
        while not self.stopping:
            try:
                self.session()
            except OSError:
                time.sleep(0.05)

    def session(self):
        device = Device(self.address, f"gate-{self.number}")
        self.links += 1
        begin, sent, base = time.monotonic(), 0, self.acknowledged
        until = begin + self.chance.uniform(2, 10)
        try:
            while time.monotonic() < until and not self.stopping:
                due = int((time.monotonic() - begin) * RATE)
                while sent < due and len(device.open) < 1000:
                    device.send(*self.message(base + sent), base + sent)
                    sent += 1
                device.poll(0.02)
                self.count(device)
            if self.stopping:
                device.settle(30)
        finally:
            self.count(device)
            device.drop()

    def count(self, device):
        for seq in device.acknowledged:
            assert seq == self.acknowledged, f"PUBACK of {seq}, expected {self.acknowledged}"
            self.acknowledged += 1
        device.acknowledged.clear()


def sample(edge):
    process = pathlib.Path(f"/proc/{edge.process.pid}")
    return {"rss": edge.rss_kib(), "fds": len(list((process / "fd").iterdir())), "threads": len(list((process / "task").iterdir()))}


def quarter(samples, number, key):
    size = len(samples) // 4
    return statistics.median(one[key] for one in samples[number * size:(number + 1) * size])


def main():
    away = threading.Event()
    samples, problems = [], []
    with Receiver(lambda number, header: Answer(503) if away.is_set() else OK) as receiver, \
            Edge(CONFIG % receiver.url(), {"anomaly.onnx": ROOT / "tests/data/models/anomaly.onnx"}) as edge:
        loads = [Load(number, edge.address("direct")) for number in range(DEVICES)]
        for load in loads:
            load.start()
        end = time.monotonic() + SECONDS
        second = 0
        while time.monotonic() < end:
            time.sleep(1)  # the period of the samples; nothing is awaited
            second += 1
            (away.set if second % 30 >= 27 else away.clear)()
            samples.append(sample(edge))
        away.clear()
        for load in loads:
            load.stopping = True
        for load in loads:
            load.join(60)
        acknowledged = sum(load.acknowledged for load in loads)

        def arrived():
            return receiver.count("readings") + sum(gap["rows"] for gap in receiver.gaps.get("readings", []))
        wait_for("every acknowledged reading at the receiver", lambda: arrived() >= acknowledged, 120)
        ids = {row["payload"]["seq"] for row in receiver.rows("readings")}
        gaps = sum(gap["rows"] for gap in receiver.gaps.get("readings", []))
        missing = sum(f"{load.number}.{seq}" not in ids for load in loads for seq in range(load.acknowledged))
        twice = receiver.count("readings") - len(ids)
        status = edge.status()
        edge.stop()

    if missing > gaps:
        problems.append(f"{missing} acknowledged readings are neither at the receiver nor in its {gaps} gap rows")
    if twice:
        problems.append(f"{twice} readings came twice")
    problems += receiver.problems
    before, after = quarter(samples, 1, "rss"), quarter(samples, 3, "rss")
    if after > before * GROWTH + SLACK_KIB:
        problems.append(f"memory grows: {before} KiB in the second quarter, {after} KiB in the last")
    for key in ("fds", "threads"):
        if quarter(samples, 3, key) > quarter(samples, 1, key) + DEVICES:
            problems.append(f"{key} grow: {quarter(samples, 1, key)}, then {quarter(samples, 3, key)}")
    print(json.dumps({"seconds": SECONDS, "acknowledged": acknowledged, "missing": missing, "gap_rows": gaps, "twice": twice,
                      "links": sum(load.links for load in loads), "device_ids": sum(load.acknowledged for load in loads) //
                      NEW_DEVICE_EVERY, "alerts": receiver.count("alerts"), "rss_kib": {"second_quarter": before, "last_quarter": after,
                      "most": max(one["rss"] for one in samples),
                      "tenths": [one["rss"] for one in samples[::max(len(samples) // 10, 1)]]}, "fds": samples[-1]["fds"], "threads": samples[-1]["threads"],
                      "store_bytes": status.get("store", {}).get("bytes"), "problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
