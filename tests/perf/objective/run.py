#!/usr/bin/env python3
"""The latency objective under load: from 10 to 90 % of saturation, with a small model and one of some 30 µs a row.

Saturation is what the edge decides a second when publishers send all they can; beside it stands the best of three fixed
batches (an objective that binds nothing, `max_rows` 64, 512 and 4,096). Then publishers send a part of it, one step after the
other, and the edge's own count says which part of the decisions was durable within the objective: from the reading's leaving
the socket to the worker's hearing of the commit.

Bars: at every step 99 of 100 decisions in time (median of ROUNDS), and saturation at least 0.8 of the best fixed batch's.
HEADWATER names the program; ROUNDS (3) and SECONDS (3, of a step) change the size. Exit status 1 when a bar is missed.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
PEERS = ROOT.parent / "shared/peers"
os.environ["HW_PROGRAM"] = os.environ.get("HEADWATER", str(ROOT / "build/release/headwater"))
sys.path.insert(0, str(ROOT / "tests/e2e"))

from harness import Edge, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "3"))
PERCENTS = (10, 30, 50, 70, 90)
FIXED = (64, 512, 4096)
BUILD = ROOT / "build/perf"

CONFIG = """
edge: {id: perf, data_dir: ./data}
models: {anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["site/#"], device: "topic[2]", time: {field: timestamp},
           receive_maximum: 20000}
pipelines: {main: {from: [direct], steps: [{detect: {model: anomaly, max_rows: MAX_ROWS, objective: {p99: OBJECTIVE}}},
                                           {decide: {alert_when: "score > 2.0"}}]}}
admin: {address: "127.0.0.1:0"}
"""


def build():
    if not PEERS.exists():
        return f"{PEERS} is absent"
    if shutil.which("g++") is None:
        return "g++ is not installed"
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("blast", "rawpub"):
        if not (BUILD / name).exists():
            subprocess.run(["g++", "-std=c++20", "-O2", f"-I{PEERS / 'load'}", str(PEERS / f"load/{name}.cc"), "-o",
                            str(BUILD / name)], check=True)
    return None


def heavy_model(folder):
    """About half a million multiplications a row."""
    spec = importlib.util.spec_from_file_location("mkmlp", PEERS / "mkmlp.py")
    module = importlib.util.module_from_spec(spec)
    before = os.getcwd()
    os.chdir(folder)  # it writes models of its own where it is loaded
    try:
        spec.loader.exec_module(module)
    finally:
        os.chdir(before)
    module.mlp([3, 512, 512, 512, 1], str(folder / "heavy.onnx"))
    return folder / "heavy.onnx"


def edge(model, max_rows, objective):
    return Edge(CONFIG.replace("MAX_ROWS", str(max_rows)).replace("OBJECTIVE", objective), {"anomaly.onnx": model})


def pipeline(running):
    return running.status()["pipelines"][0]


def saturation(running, messages):
    """Decisions a second while more is there than can be decided."""
    port = running.address("direct")[1]
    before = pipeline(running)["rows"]
    began = time.monotonic()
    subprocess.run([str(BUILD / "blast"), str(port), str(messages), "4", "1", "5000"], capture_output=True, check=True,
                   timeout=120)
    wait_for("decided", lambda: pipeline(running)["rows"] >= before + messages, 120)
    return messages / (time.monotonic() - began)


def in_time(running, rate):
    """Which part of the decisions was in time, at so many readings a second."""
    port = running.address("direct")[1]
    count = max(100, int(rate * (SECONDS + 1)))
    publisher = subprocess.Popen([str(BUILD / "rawpub"), str(port), str(count), "4", "1", str(rate), "0", "5000"],
                                 stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(1)
        before = pipeline(running)["objective"]
        began = time.monotonic()
        time.sleep(SECONDS * 0.9)
        after = pipeline(running)["objective"]
        seconds = time.monotonic() - began
        publisher.communicate(timeout=120)
    finally:
        publisher.kill()
        publisher.wait()
    within = after["within"] - before["within"]
    every = within + after["late"] - before["late"]
    return within / max(1, every), every / seconds, after


def measure(name, model, objective, messages, results):
    held = True
    fixed = []
    for rows in FIXED:
        with edge(model, rows, "1h") as running:
            saturation(running, messages // 4)
            fixed.append(statistics.median(saturation(running, messages) for _ in range(min(ROUNDS, 2))))
            running.kill()
    with edge(model, 4096, objective) as running:
        saturation(running, messages // 4)
        own = statistics.median(saturation(running, messages) for _ in range(min(ROUNDS, 2)))
        ratio = own / max(fixed)
        held &= ratio >= 0.8
        print(f"{name}: objective {objective}; saturation {own:,.0f}/s, best fixed batch "
              f"({FIXED[fixed.index(max(fixed))]} rows) {max(fixed):,.0f}/s: {ratio:.2f} (bar 0.8)", flush=True)
        results.append({"model": name, "saturation": own, "fixed": dict(zip(FIXED, fixed)), "ratio": ratio})
        for percent in PERCENTS:
            rounds = [in_time(running, own * percent / 100) for _ in range(ROUNDS)]
            share = statistics.median(one[0] for one in rounds)
            last = rounds[-1][2]
            model_cost = last["models"][0]
            held &= share >= 0.99
            print(f"  {percent:3d} %: {statistics.median(one[1] for one in rounds):>11,.0f}/s   in time {share:8.3%}   "
                  f"rows {last['chosen_rows']:>5}   call {model_cost['call_fixed_s'] * 1e6:7.1f} µs + "
                  f"{model_cost['call_row_s'] * 1e6:6.3f} µs a row   commit {last['commit_p95_s'] * 1e3:5.2f} ms   "
                  f"{'ok' if share >= 0.99 else 'MISSED'}", flush=True)
            results.append({"model": name, "percent": percent, "in_time": [one[0] for one in rounds],
                            "rate": [one[1] for one in rounds]})
        running.kill()
    return held


def main():
    reason = build()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-perf-"))
    results = []
    try:
        held = measure("small", PEERS / "mlp3.onnx", "20ms", 600_000, results)
        held &= measure("heavy", heavy_model(folder), "20ms", 60_000, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(results))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
