#!/usr/bin/env python3
"""Runs the demo: fits the model, starts the edge, plays the recording at it as a device would, shows
the alerts as they come, stops the edge and prints what happened. Ends by itself.

    demo/run.py [--rate MESSAGES_PER_SECOND] [--folder FOLDER] [--any-port]

HEADWATER names the program (default: build/release/headwater). All files go to FOLDER (default:
build/demo), which is made anew by each run.
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
    """The port itself, or one that the kernel picks where something else has it (or wanted is 0)."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise AssertionError("the kernel has no free port")


def write_config(folder, any_port):
    """Copies headwater.yaml, with other ports where its own are taken: {port in the file: port used}."""
    with open(os.path.join(FOLDER, "headwater.yaml"), encoding="utf-8") as handle:
        text = handle.read()
    wanted = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)]
    ports = {port: free_port(0 if any_port else port) for port in wanted}
    text = re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{ports[int(m.group(1))]}", text)
    with open(os.path.join(folder, "headwater.yaml"), "w", encoding="utf-8") as handle:
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


def follow(stream):
    for line in stream:
        print("  " + line, end="", flush=True)


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


def play(program, folder, rate, ports, rows):
    """Starts the edge, plays the recording, ends the edge: (status, peak memory, seconds)."""
    mqtt, health, admin = (ports[port] for port in (18830, 18831, 18832))
    log = os.path.join(folder, "edge.log")
    with open(log, "w", encoding="utf-8") as log_file:
        edge = subprocess.Popen([program, "run", "headwater.yaml"], cwd=folder, text=True,
                                stdout=subprocess.PIPE, stderr=log_file)
    try:
        wait_ready(edge, health, log)
        reader = threading.Thread(target=follow, args=(edge.stdout,), daemon=True)
        reader.start()
        print(f"\nPlaying {rows} readings at {rate:.0f}/s to mqtt://127.0.0.1:{mqtt} (QoS 1); alerts as they come:\n",
              flush=True)
        began = time.monotonic()
        simulate_log = os.path.join(folder, "simulate.log")
        with open(simulate_log, "w", encoding="utf-8") as simulate_output:
            simulate = subprocess.run(
                [program, "simulate", RECORDING, "--to", f"mqtt://127.0.0.1:{mqtt}", "--rate", f"{rate:g}",
                 "--device", DEVICE, "--rename", "value", "temperature"],
                stdout=simulate_output, stderr=subprocess.STDOUT, timeout=60 + rows / rate)
        if simulate.returncode != 0:
            fail(f"headwater simulate ended with exit status {simulate.returncode}:", simulate_log)
        status = wait_settled(edge, admin, rows, log)
        seconds = time.monotonic() - began
        peak = memory_peak(edge.pid)
        edge.send_signal(signal.SIGTERM)
        try:
            exit_status = edge.wait(timeout=15)
        except subprocess.TimeoutExpired:
            fail("the edge did not end within 15 s of SIGTERM:", log)
        if exit_status != 0:
            fail(f"the edge ended with exit status {exit_status}:", log)
        reader.join(timeout=2)
        return status, peak, seconds
    except OSError as error:
        fail(f"{error}:", log)
    finally:
        if edge.poll() is None:
            edge.kill()
            edge.wait()


def main():
    parser = argparse.ArgumentParser(description="Runs the demo.")
    parser.add_argument("--rate", type=float, default=1500, help="messages a second")
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "demo"), help="for all files; made anew")
    parser.add_argument("--any-port", action="store_true", help="let the kernel choose the ports")
    options = parser.parse_args()
    folder = os.path.abspath(options.folder)
    program = os.path.abspath(os.environ.get("HEADWATER", os.path.join(ROOT, "build", "release", "headwater")))
    if not os.access(program, os.X_OK):
        fail(f"{program} does not exist; run `make build`")
    if os.path.exists(folder) and not os.path.exists(os.path.join(folder, "model.onnx")) and os.listdir(folder):
        fail(f"{folder} holds other files; give a folder of its own")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)

    with open(RECORDING, encoding="utf-8") as handle:
        rows = sum(1 for _ in handle) - 1
    print("Headwater demo: a machine's temperature every 5 minutes for 79 days (NAB, MIT licence)\n", flush=True)
    run_script("fit.py", RECORDING, os.path.join(folder, "model.onnx"))
    ports = write_config(folder, options.any_port)
    status, peak, seconds = play(program, folder, options.rate, ports, rows)

    data = os.path.join(folder, "data")
    store = json.loads(subprocess.run([program, "store", "ls", data, "--json"],
                                      check=True, capture_output=True, text=True).stdout)
    print()
    print("\n".join(summary.lines(status, store, data, peak, seconds)), end="\n\n", flush=True)
    run_script("score.py", RECORDING, WINDOWS, os.path.join(folder, "alerts.jsonl"))
    tool, shown = os.path.relpath(program), os.path.relpath(folder)
    print("\nTry next:")
    for command, what in [
        (f"{tool} store cat {shown}/data --lane alerts", "the alerts, as they were committed"),
        (f"{tool} store verify {shown}/data", "whether every byte of the log is whole"),
        (f"{tool} check {shown}/headwater.yaml", "what a config means, before it runs"),
        (f"{tool} run {shown}/headwater.yaml", "your own devices: JSON to sensors/NAME/readings"),
    ]:
        print(f"  {command}\n      {what}")
    print("  demo/README.md\n      how the model was fitted, and what not to read into it")


if __name__ == "__main__":
    main()
