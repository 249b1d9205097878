"""Runs the real program for end-to-end tests, and plays an MQTT device that knows what was acknowledged.

Only the Python 3 standard library. HW_PROGRAM names the program (ctest sets it).
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

from raw_mqtt import PUBACK, RawClient, connect_packet

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared"
PROGRAM = os.path.abspath(os.environ.get("HW_PROGRAM", ROOT / "build/dev/headwater"))  # edges run in folders of their own
DEADLINE_S = 60


def wait_for(what, condition, deadline_s=DEADLINE_S):
    """Polls until condition() is true; its value comes back. Fails with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.01)


def logfmt(line):
    """The fields of a log line."""
    fields = {}
    rest = line
    while "=" in rest:
        key, rest = rest.split("=", 1)
        if rest.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].lstrip()
        else:
            value, _, rest = rest.partition(" ")
        fields[key.strip()] = value
    return fields


def run_cli(*arguments, status=0, stdin=None, env=None, cwd=None):
    """Runs a subcommand; returns its standard output (and error, joined in a tuple, when status is not 0).

    `status` may be a tuple of the allowed ones.
    """
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, input=stdin, timeout=60,
                          cwd=cwd, env={**os.environ, **(env or {})})
    if done.returncode not in (status if isinstance(status, tuple) else (status,)):
        raise AssertionError(f"{arguments} ended with {done.returncode}, not {status}:\n{done.stdout}\n{done.stderr}")
    return done.stdout if status == 0 else (done.stdout, done.stderr)


class Edge:
    """One running edge in a folder of its own. Restart it with start() after stop() or kill()."""

    def __init__(self, config, files=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-"))
        (self.folder / "edge.yaml").write_text(config)
        for name, source in (files or {}).items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                target.write_bytes(source)
            else:
                shutil.copy(source, target)
        self.process = None
        self.log = []
        self.addresses = {}
        self.extra = []
        self.under = []  # a program and its arguments that runs the edge

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"kept {self.folder}; the log:\n" + "\n".join(self.log[-40:]))

    def start(self, wait_ready=True):
        self.addresses = {}
        self.ready_ms = None
        with open(self.folder / "stdout.txt", "ab") as stdout:
            self.process = subprocess.Popen([*self.under, PROGRAM, "run", "edge.yaml", *self.extra], cwd=self.folder,
                                            stdout=stdout, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        if wait_ready:
            wait_for("ready", lambda: self.ready_ms is not None or self.process.poll() is not None)
            if self.process.poll() is not None:
                self._reader.join()
                raise AssertionError("the edge did not start:\n" + "\n".join(self.log))

    def _read(self, process):
        for line in process.stderr:
            line = line.rstrip("\n")
            self.log.append(line)
            fields = logfmt(line) if line.startswith("ts=") else {}
            if fields.get("msg") == "listening":
                self.addresses[fields["source"]] = fields["address"]
            elif fields.get("msg") in ("health listener", "admin listener"):
                self.addresses[fields["msg"].split()[0]] = fields["address"]
            elif fields.get("msg") == "ready":
                self.ready_ms = float(fields["start_ms"])
        process.stderr.close()

    def address(self, name):
        host, port = self.addresses[name].rsplit(":", 1)
        return host, int(port)

    def get(self, listener, path):
        host, port = self.address(listener)
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self):
        return json.loads(self.get("admin", "/api/v1/status")[1])

    def stop(self, status=0, deadline_s=40):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(deadline_s)
        self._reader.join()
        if code != status:
            raise AssertionError(f"ended with {code}, not {status}:\n" + "\n".join(self.log[-40:]))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def rss_kib(self, key="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {key}")

    def cpu_seconds(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total * 1e-9

    def rows(self, lane, *more):
        """Stored rows of a lane, as `store cat` prints them; `more` are options of it."""
        out = run_cli("store", "cat", self.folder / "data", "--lane", lane, "--json", *more)
        return [json.loads(line) for line in out.splitlines()]

    def verify(self):
        return json.loads(run_cli("store", "verify", self.folder / "data", "--json"))


class Device:
    """An MQTT 3.1.1 device over a plain socket: QoS 1 publishes in a window, and which of them were acknowledged."""

    def __init__(self, address, client_id, clean=True, keep_alive=60, username=None, password=None):
        self.client = RawClient(address)
        self.socket = self.client.socket
        self.client.send(connect_packet(client_id, clean=clean, keep_alive=keep_alive, username=username,
                                        password=password))
        answer = self.client.take(10)
        if answer is None:
            raise ConnectionError("no CONNACK")
        self.session_present, self.refused = answer.body[0], answer.body[1]
        self._next_id = 1
        self.open = {}       # packet id -> the caller's key
        self.acknowledged = []

    def send(self, topic, payload, key=None, qos=1):
        """Without waiting for the acknowledgement."""
        packet_id = 0
        if qos:
            packet_id = self._next_id
            self._next_id = self._next_id % 65535 + 1
            self.open[packet_id] = key
        self.client.publish(topic, payload, qos, packet_id)

    def poll(self, timeout=0.0):
        """Takes acknowledgements that are there (or come within the timeout); True if any came."""
        packet = self.client.take(timeout)
        if self.client.closed:
            raise ConnectionError("closed by the edge")
        if packet is None:
            return False
        while packet is not None:
            if packet.kind == PUBACK:
                self.acknowledged.append(self.open.pop(packet.packet_id))
            packet = self.client.take_parsed()
        return True

    def settle(self, deadline_s=DEADLINE_S):
        wait_for("every publish acknowledged", lambda: not self.open or (self.poll(0.05) and not self.open), deadline_s)

    def publish_all(self, messages, window=500):
        """Sends (topic, payload) pairs, at most `window` unacknowledged, and waits for all acknowledgements."""
        for index, (topic, payload) in enumerate(messages):
            self.send(topic, payload, index)
            while len(self.open) >= window:
                self.poll(1)
        self.settle()

    def close(self):
        self.client.close()

    def drop(self):
        """Closes without a word, as a device that lost its power."""
        self.client.drop()
