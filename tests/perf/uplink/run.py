#!/usr/bin/env python3
"""Draining a backlog over loopback HTTP: readings a second, memory, bytes against the budget, and how late live readings are.

A file of readings is stored without an uplink, then an edge with one drains it to receiver.cc, which answers 200 at once.
  unpaced   all of it as fast as it goes, with live readings beside it
  paced     `budget`, for 20 s at least: bytes of the requests, header fields included, against what the budget allows
  live      stored (PUBACK) to received, of one reading every 10 ms: alone, during the unpaced drain, during the paced one
Prints one JSON object. HEADWATER names our program; ROWS, BUDGET (MiB/s) and SECONDS change the size.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
os.environ["HW_PROGRAM"] = os.environ.get("HEADWATER", str(ROOT / "build/release/headwater"))
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness import Device, Edge, wait_for  # noqa: E402

ROWS = int(os.environ.get("ROWS", "1500000"))
BUDGET = float(os.environ.get("BUDGET", "1"))
SECONDS = float(os.environ.get("SECONDS", "25"))
LIVE_EVERY_S = 0.01
CALM_S = 10
EVERY = "200ms"

STORE = """
edge: {id: perf, data_dir: ./data}
sources: {in: {type: file, path: readings.jsonl, device: device_id, time: {field: timestamp}, read: once}}
pipelines: {main: {from: [in]}}
store: {max_bytes: 4GiB}
"""
DRAIN = """
edge: {id: perf, data_dir: ./data}
sources: {direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["live/#"], device: "topic[1]"}}
pipelines: {main: {from: [direct]}}
store: {max_bytes: 4GiB}
uplink: {type: http, url: "http://127.0.0.1:%d/in", every: %s%s}
admin: {address: "127.0.0.1:0"}
"""


class Receiver:
    """receiver.cc, and what it said: (time_s, first, last, rows, bytes) of each batch of readings."""

    def __init__(self):
        program = ROOT / "build/perf/uplink_receiver"
        program.parent.mkdir(parents=True, exist_ok=True)
        source = pathlib.Path(__file__).parent / "receiver.cc"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["g++", "-std=c++20", "-O2", str(source), "-o", str(program)], check=True)
        self.process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.batches = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            at, lane, first, last, rows, size = line.split()
            if lane == "readings":
                self.batches.append((int(at) * 1e-9, int(first), int(last), int(rows), int(size)))

    def rows(self):
        return sum(batch[3] for batch in list(self.batches))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Live(threading.Thread):
    """One reading every 10 ms over MQTT until stop(); `stored` has the time of each PUBACK, in the order of sequence."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.device = Device(address, "live")
        self.stored = []
        self._stopping = threading.Event()
        self.start()

    def run(self):
        at = time.monotonic()
        while not self._stopping.is_set():
            self.device.send("live/d1", '{"n": %d, "temperature": 20.5}' % len(self.stored))
            while not self.device.poll(1.0):
                pass
            self.stored.append(time.monotonic())
            at += LIVE_EVERY_S
            time.sleep(max(0.0, at - time.monotonic()))

    def stop(self):
        self._stopping.set()
        self.join()
        self.device.close()


def write_readings(path):
    choose = random.Random(1)
    with open(path, "w") as out:
        for n in range(ROWS):
            out.write(json.dumps({"device_id": f"press-{n % 500}", "timestamp": 1_700_000_000 + n // 50,
                                  "temperature": round(choose.gauss(60, 5), 2), "pressure": round(choose.gauss(5, 0.4), 3),
                                  "vibration": round(abs(choose.gauss(0.4, 0.1)), 4)}) + "\n")


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def latencies(stored, first_sequence, batches, before=None):
    """Seconds from stored to received of the live readings; of those not received by `before`, how long they have waited."""
    received = {}
    for at, first, last, _, _ in batches:
        for sequence in range(max(first, first_sequence), min(last, first_sequence + len(stored) - 1) + 1):
            received[sequence - first_sequence] = at
    out = []
    for index, began in enumerate(stored):
        if before is None:
            out.append(received[index] - began)
        elif began < before:
            out.append(min(received.get(index, before), before) - began)
    return out


def spans(values):
    return {"n": len(values), **{f"p{q}_ms": round(quantile(values, q / 100) * 1e3, 1) for q in (50, 99) if values}}


def drain(folder, more="", until=None):
    """Starts an edge over the backlog in `folder`, with live readings beside it; what there is to say of it."""
    receiver = Receiver()
    edge = Edge(DRAIN % (receiver.port, EVERY, more))
    subprocess.run(["cp", "-r", "--reflink=auto", str(folder / "data"), str(edge.folder / "data")], check=True)
    with edge:
        began, cpu = time.monotonic(), edge.cpu_seconds()
        live = Live(edge.address("direct"))
        rss = []

        def finished():
            rss.append(edge.rss_kib())
            if until is not None:
                return time.monotonic() - began >= until
            return receiver.rows() >= ROWS
        wait_for("drained", finished, 600)
        ended = time.monotonic()
        cpu = edge.cpu_seconds() - cpu
        lane = next(one for one in edge.status()["uplink"]["lanes"] if one["lane"] == "readings")
        calm = None
        if until is None:  # the backlog is away: the same readings without it
            calm = len(live.stored)
            time.sleep(CALM_S)
        live.stop()
        stored = live.stored
        if calm is not None:
            wait_for("all received", lambda: receiver.rows() >= ROWS + len(stored), 60)
        peak = edge.rss_kib("VmHWM")
        edge.stop()
    batches = [b for b in receiver.batches]
    receiver.close()
    in_time = [b for b in batches if b[0] <= ended]
    seconds = (max(b[0] for b in in_time) if until is None else ended) - min(b[0] for b in batches)
    out = {"rows": sum(b[3] for b in in_time), "seconds": round(ended - began, 2),
           "rows_per_s": round(sum(b[3] for b in in_time) / (ended - began)),
           "bytes": sum(b[4] for b in in_time), "bytes_per_s": round(sum(b[4] for b in in_time) / seconds),
           "batches": len(in_time), "cpu_us_per_row": round(cpu / max(1, sum(b[3] for b in in_time)) * 1e6, 2),
           "rss_mib": round(max(rss) / 1024, 1), "peak_rss_mib": round(peak / 1024, 1), "retries": lane["retries"],
           "live": spans(latencies(stored, ROWS + 1, batches, ended))}
    if calm is not None:
        out["live_alone"] = spans(latencies(stored[calm:], ROWS + 1 + calm, batches))
    return out


def main():
    with tempfile.TemporaryDirectory(prefix="headwater-perf-") as holder:
        folder = pathlib.Path(holder)
        write_readings(folder / "readings.jsonl")
        (folder / "edge.yaml").write_text(STORE)
        subprocess.run([os.environ["HW_PROGRAM"], "run", "edge.yaml", "--exit-when-done"], cwd=folder, check=True,
                       stderr=subprocess.DEVNULL)
        stored = sum(path.stat().st_size for path in (folder / "data").rglob("*.log"))
        result = {"backlog_rows": ROWS, "store_mib": stored >> 20, "every": EVERY}
        result["unpaced"] = drain(folder)
        budget = int(BUDGET * 1024 * 1024)
        result["paced"] = drain(folder, f", budget: {budget}B/s", SECONDS)
        result["paced"]["of_budget"] = round(result["paced"]["bytes_per_s"] / budget, 3)
        alone = result["unpaced"]["live_alone"]["p99_ms"]
        result["live_p99_over_alone"] = {kind: round(result[kind]["live"]["p99_ms"] / alone, 2) for kind in ("unpaced", "paced")}
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
