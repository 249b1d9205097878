#!/usr/bin/env python3
"""The whole pipeline beside the straightforward C++ module and the prototype of ../shared/peers, alternating in one run.

Ours: MQTT listener, QoS 1, PUBACK after fdatasync, every reading decoded, scored, stored. `simple`: libmosquitto behind a
mosquitto broker, one inference a message, no fsync. `prototype`: listener and fdatasync without sessions, limits or a store
that can be read back. CPU is that of the subject (and of the broker beside it), from schedstat.
HEADWATER names our program; ROUNDS and MESSAGES change the size.
"""

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
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/perf")]

from harness import Edge, wait_for  # noqa: E402
from one_model import CONFIG  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
MESSAGES = int(os.environ.get("MESSAGES", "1000000"))
SIMPLE_MESSAGES = MESSAGES // 10
CONNECTIONS = 4
BUILD = ROOT / "build/perf"


def ort():
    for folder in (ROOT / "third_party/node_modules").glob("com.github.asus4.onnxruntime*/Plugins"):
        headers = next(folder.glob("iOS*/**/onnxruntime.framework/Headers"), None) or next(
            folder.glob("**/Headers"), None)
        library = folder / "Linux/x64/libonnxruntime.so"
        if headers and library.exists():
            return headers, library
    return None, None


def build():
    headers, library = ort()
    if not PEERS.exists():
        return f"{PEERS} is absent"
    if library is None:
        return "ONNX Runtime is not in third_party/node_modules"
    if shutil.which("mosquitto") is None and not pathlib.Path("/usr/sbin/mosquitto").exists():
        return "mosquitto is not installed"
    if not pathlib.Path("/usr/include/mosquitto.h").exists():
        return "libmosquitto-dev is not installed"
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, source, libraries in (
            ("blast", "load/blast.cc", []), ("rawpub", "load/rawpub.cc", []),
            ("simple", "cpp_simple.cc", ["-lmosquitto", "-lsimdjson", "-ldl", "-pthread"]),
            ("prototype", "prototype.cc", ["-lsimdjson", "-ldl", "-pthread", "-msse4.2"])):
        if not (BUILD / name).exists():
            subprocess.run(["g++", "-std=c++20", "-O2", f"-I{headers}", f"-I{PEERS}", f"-I{PEERS / 'load'}",
                            str(PEERS / source), "-o", str(BUILD / name), *libraries], check=True)
    os.environ["ORT_LIB"] = str(library)
    return None


def cpu_of(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total * 1e-9


def blast(port, count, window=5000):
    out = subprocess.run([str(BUILD / "blast"), str(port), str(count), str(CONNECTIONS), "1", str(window)],
                         capture_output=True, text=True, timeout=300)
    return json.loads(out.stdout.strip().splitlines()[-1])


def ours():
    with Edge(CONFIG, {"anomaly.onnx": PEERS / "anomaly.onnx"}) as edge:
        port = edge.address("direct")[1]
        blast(port, 20_000)
        wait_for("warm", lambda: edge.status()["pipelines"][0]["rows"] >= 20_000)
        before = edge.cpu_seconds()
        published = blast(port, MESSAGES)
        wait_for("decided", lambda: edge.status()["pipelines"][0]["rows"] == MESSAGES + 20_000, 300)
        cpu = edge.cpu_seconds() - before
        status = edge.status()
        assert status["sources"][0]["stored"] == MESSAGES + 20_000
        edge.stop()
    return {"rate": published["rate"], "cpu": cpu / MESSAGES * 1e6, "broker": 0.0,
            "rows_per_call": status["pipelines"][0]["rows_per_call"], "rss": status["process"]["peak_rss_bytes"] / 1e6}


def simple():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-perf-"))
    port = 18832
    broker = subprocess.Popen([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(PEERS / "load/tuned.conf")],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    subject = subprocess.Popen([str(BUILD / "simple"), str(port), "1", str(PEERS / "anomaly.onnx"), str(folder / "out")],
                               stdout=subprocess.PIPE, text=True)
    try:
        subject.stdout.readline()
        before, broker_before = cpu_of(subject.pid), cpu_of(broker.pid)
        published = blast(port, SIMPLE_MESSAGES)
        began, last = time.monotonic(), -1.0
        while time.monotonic() - began < 60:  # until it has worked off what the broker holds
            now = cpu_of(subject.pid)
            if now - last < 0.001:
                break
            last = now
            time.sleep(0.2)
        cpu, broker_cpu = cpu_of(subject.pid) - before, cpu_of(broker.pid) - broker_before
        return {"rate": published["rate"], "cpu": cpu / SIMPLE_MESSAGES * 1e6, "broker": broker_cpu / SIMPLE_MESSAGES * 1e6}
    finally:
        subject.terminate()
        subject.wait()
        broker.terminate()
        broker.wait()
        shutil.rmtree(folder, ignore_errors=True)


def prototype():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-perf-"))
    port = 18833
    subject = subprocess.Popen([str(BUILD / "prototype"), "in=listen", f"port={port}", "qos=1", f"model={PEERS / 'anomaly.onnx'}",
                                f"out={folder / 'out'}", "sync=1", "storeall=1", "fmt=bin"], stdout=subprocess.PIPE, text=True)
    try:
        subject.stdout.readline()
        before = cpu_of(subject.pid)
        published = blast(port, MESSAGES)
        time.sleep(0.3)
        return {"rate": published["rate"], "cpu": (cpu_of(subject.pid) - before) / MESSAGES * 1e6, "broker": 0.0}
    finally:
        subject.terminate()
        subject.wait()
        shutil.rmtree(folder, ignore_errors=True)


def latency():
    """Decision and commit latency at 1,000 messages a second, one message a packet."""
    with Edge(CONFIG, {"anomaly.onnx": PEERS / "anomaly.onnx"}) as edge:
        port = edge.address("direct")[1]
        subprocess.run([str(BUILD / "rawpub"), str(port), "5000", "1", "1", "1000", "100"], capture_output=True, timeout=60)
        wait_for("decided", lambda: edge.status()["pipelines"][0]["rows"] == 5000)
        status = edge.status()
        edge.stop()
    pipeline, store = status["pipelines"][0], status["store"]
    return pipeline["latency_p50_s"] * 1e6, pipeline["latency_p99_s"] * 1e6, store["commit_p50_s"] * 1e6, store["commit_p99_s"] * 1e6


def main():
    missing = build()
    if missing:
        print(f"skipped: {missing}")
        return 0
    results = {"headwater": [], "prototype": [], "simple": []}
    for _ in range(ROUNDS):
        results["headwater"].append(ours())
        results["simple"].append(simple())
        results["prototype"].append(prototype())

    def median(name, key):
        return statistics.median(one[key] for one in results[name])

    print(f"{'':10} {'readings/s':>12} {'CPU us/reading':>15} {'broker':>8}   median of {ROUNDS} alternating rounds")
    for name in results:
        print(f"{name:10} {median(name, 'rate'):12,.0f} {median(name, 'cpu'):15.2f} {median(name, 'broker'):8.2f}")
    print(f"headwater: {median('headwater', 'rows_per_call'):.0f} rows per model call, {median('headwater', 'rss'):.0f} MB at most")
    ratio = median("simple", "cpu") / median("headwater", "cpu")
    with_broker = (median("simple", "cpu") + median("simple", "broker")) / median("headwater", "cpu")
    print(f"CPU per reading, simple over headwater: {ratio:.1f} x alone, {with_broker:.1f} x with its broker")
    print(f"CPU per reading, headwater over prototype: {median('headwater', 'cpu') / median('prototype', 'cpu'):.2f} x")
    p50, p99, commit50, commit99 = latency()
    print(f"at 1,000/s: arrival to decision p50 {p50:.0f} us, p99 {p99:.0f} us; commit p50 {commit50:.0f} us, p99 {commit99:.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
