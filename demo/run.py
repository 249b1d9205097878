#!/usr/bin/env python3
"""Runs the demo: fits the model, starts the edge, plays the recording at it as a device would, shows
the alerts as they come, stops the edge and prints what happened. Ends by itself.

    demo/run.py [--rate MESSAGES_PER_SECOND]

HEADWATER names the program (default: build/release/headwater). All files go to build/demo, which is
made anew by each run.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import summary

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(FOLDER)
RECORDING = os.path.join(FOLDER, "data", "machine_temperature_system_failure.csv")
WINDOWS = os.path.join(FOLDER, "data", "windows.json")
WORK = os.path.join(ROOT, "build", "demo")
DEVICE = "machine-1"
START_SECONDS = 20
DRAIN_SECONDS = 20


def fail(message, log=None):
    print(f"demo: {message}", file=sys.stderr)
    if log and os.path.exists(log):
        with open(log, encoding="utf-8", errors="replace") as handle:
            print("".join(handle.readlines()[-15:]), file=sys.stderr, end="")
    sys.exit(1)


def free_port(wanted):
    """The port itself, or one that the kernel picks where something else has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise AssertionError("the kernel has no free port")


def write_config():
    """Copies headwater.yaml, with other ports where its own are taken: {port in the file: port used}."""
    with open(os.path.join(FOLDER, "headwater.yaml"), encoding="utf-8") as handle:
        text = handle.read()
    ports = {wanted: free_port(wanted) for wanted in map(int, re.findall(r"127\.0\.0\.1:(\d+)", text))}
    text = re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{ports[int(m.group(1))]}", text)
    with open(os.path.join(WORK, "headwater.yaml"), "w", encoding="utf-8") as handle:
        handle.write(text)
    return ports


def get(url):
    with urllib.request.urlopen(url, timeout=2) as answer:
        return answer.read().decode()


def wait_ready(edge, health, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if edge.poll() is not None:
            fail(f"the edge ended with exit status {edge.returncode}:", log)
        try:
            get(f"http://127.0.0.1:{health}/readyz")
            return
        except OSError:
            time.sleep(0.02)
    fail(f"the edge was not ready after {START_SECONDS} s:", log)


def show_alert(line):
    """One line of the edge's console sink, for people."""
    try:
        alert = json.loads(line)
        what = alert["event"].upper()
        score = alert.get("anomaly_score")
        text = f"  {alert['timestamp'][:16].replace('T', ' ')}  {what:<8} {alert['device_id']}"
        if score is not None:
            text += f"  score {score:.2f}"
        if what == "RAISED":
            shown = {k: round(v, 4 if abs(v) < 1 else 1) for k, v in alert.get("features", {}).items()
                     if isinstance(v, (int, float))}
            text += f" (limit {alert.get('threshold', 0.8)})  " + ", ".join(f"{k} {v}" for k, v in shown.items())
        elif "duration_s" in alert:
            text += f"  after {alert['duration_s'] / 3600:.1f} h"
        print(text, flush=True)
    except (ValueError, KeyError, TypeError):
        print("  " + line.rstrip(), flush=True)


def follow(stream):
    for line in stream:
        show_alert(line)


def wait_settled(edge, admin, rows, log):
    """The status once every row has come in and been decided; what is there when it takes too long."""
    deadline = time.monotonic() + DRAIN_SECONDS
    status = {}
    while time.monotonic() < deadline:
        if edge.poll() is not None:
            fail(f"the edge ended with exit status {edge.returncode}:", log)
        status = json.loads(get(f"http://127.0.0.1:{admin}/api/v1/status"))
        if summary.settled(status, rows):
            return status
        time.sleep(0.05)
    print(f"demo: not everything was decided after {DRAIN_SECONDS} s", file=sys.stderr)
    return status


def memory_peak(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
        return int(re.search(r"VmHWM:\s*(\d+) kB", handle.read()).group(1)) * 1024


def run_script(name, *arguments):
    subprocess.run([sys.executable, os.path.join(FOLDER, name), *arguments], check=True)


def main():
    parser = argparse.ArgumentParser(description="Runs the demo.")
    parser.add_argument("--rate", type=float, default=1500, help="messages a second")
    rate = parser.parse_args().rate
    program = os.environ.get("HEADWATER", os.path.join(ROOT, "build", "release", "headwater"))
    program = os.path.abspath(program)
    if not os.access(program, os.X_OK):
        fail(f"{program} does not exist; run `make build`")

    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    log, alerts = os.path.join(WORK, "edge.log"), os.path.join(WORK, "alerts.jsonl")
    print("Headwater demo: a machine's temperature every 5 minutes for 79 days (NAB, MIT licence)\n", flush=True)
    run_script("fit.py", RECORDING, os.path.join(WORK, "model.onnx"))
    ports = write_config()
    mqtt, health, admin = (ports[p] for p in (18830, 18831, 18832))
    rows = sum(1 for _ in open(RECORDING, encoding="utf-8")) - 1

    edge = subprocess.Popen([program, "run", "headwater.yaml"], cwd=WORK, text=True,
                            stdout=subprocess.PIPE, stderr=open(log, "w", encoding="utf-8"))
    try:
        wait_ready(edge, health, log)
        reader = threading.Thread(target=follow, args=(edge.stdout,), daemon=True)
        reader.start()
        print(f"\nPlaying {rows} readings at {rate:.0f}/s to mqtt://127.0.0.1:{mqtt} (QoS 1); alerts as they come:\n",
              flush=True)
        began = time.monotonic()
        with open(os.path.join(WORK, "simulate.log"), "w", encoding="utf-8") as simulate_log:
            subprocess.run(
                [program, "simulate", RECORDING, "--to", f"mqtt://127.0.0.1:{mqtt}", "--rate", f"{rate:g}",
                 "--device", DEVICE, "--rename", "value", "temperature"],
                check=True, stdout=simulate_log, stderr=subprocess.STDOUT, timeout=60 + rows / rate)
        status = wait_settled(edge, admin, rows, log)
        seconds = time.monotonic() - began
        peak = memory_peak(edge.pid)
        edge.send_signal(signal.SIGTERM)
        try:
            exit_status = edge.wait(timeout=15)
        except subprocess.TimeoutExpired:
            fail("the edge did not end within 15 s of SIGTERM:", log)
        reader.join(timeout=2)
        if exit_status != 0:
            fail(f"the edge ended with exit status {exit_status}:", log)
    except subprocess.CalledProcessError as error:
        fail(f"{' '.join(error.cmd[1:3])} failed:", os.path.join(WORK, "simulate.log"))
    except OSError as error:
        fail(f"{error}:", log)
    finally:
        if edge.poll() is None:
            edge.kill()
            edge.wait()

    store = json.loads(subprocess.run([program, "store", "ls", os.path.join(WORK, "data"), "--json"],
                                      check=True, capture_output=True, text=True).stdout)
    print()
    for line in summary.lines(status, store, os.path.join(WORK, "data"), peak, seconds):
        print(line)
    print(flush=True)
    run_script("score.py", RECORDING, WINDOWS, alerts)
    shown = os.path.relpath(WORK, os.getcwd())
    tool = os.path.relpath(program, os.getcwd())
    print(f"""
Try next:
  {tool} store cat {shown}/data --lane alerts      the alerts, as they were committed
  {tool} store cat {shown}/data | head -3          the readings
  {tool} check demo/headwater.yaml                 what a config means, before it runs
  {tool} run demo/headwater.yaml                   your own devices: publish JSON to sensors/NAME/readings
  demo/README.md                                   how the model was fitted, and what not to read into it""")


if __name__ == "__main__":
    main()
