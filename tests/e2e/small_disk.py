"""A file system of its own for one edge, which others fill: what an edge does while its disk is full, counted row by row."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from harness import Device, Edge, run_cli

SIZE_MIB = 24
WINDOW = 200

CONFIG = """
edge: {id: small, data_dir: %(data)s}
sources:
  in: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["s/+"], device: "topic[1]", message_id: seq}
pipelines:
  main: {from: [in], steps: []}
store: {segment: 1MiB, max_bytes: 256MiB, min_free: %(min_free)s, on_full: %(policy)s}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""


class SmallDisk:
    """A tmpfs. `refused` says why there is none: mounting needs rights."""

    def __init__(self, mib=SIZE_MIB):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="headwater-disk-"))
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.path], capture_output=True,
                              text=True)
        self.refused = done.stderr.strip() if done.returncode else None
        self._other = self.path / "others"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.refused:
            subprocess.run(["umount", "-l", self.path], check=True)
        self.path.rmdir()

    def free(self):
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def used_by_edge(self):
        return sum(entry.stat().st_blocks * 512 for entry in (self.path / "data").rglob("*") if entry.is_file())

    def fill(self, leave=0):
        """Others take all but `leave` bytes."""
        with open(self._other, "wb") as file:
            while (room := self.free() - leave) > 0:
                try:
                    file.write(b"x" * min(room, 1 << 20))
                    file.flush()
                except OSError:
                    break

    def give_back(self):
        self._other.unlink()


class Load:
    """One QoS 1 device that keeps a window full at a pace; which readings were acknowledged, and when the last was."""

    def __init__(self, edge, rate):
        self.device = Device(edge.address("in"), "d1")
        self.sent = 0
        self.last = time.monotonic()
        self.first_of = None     # of the readings whose acknowledgement is waited for
        self.answered = None
        self._rate, self._begin = rate, time.monotonic()

    def run(self, seconds, until=lambda: False):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not until():
            while len(self.device.open) < WINDOW and self.sent < (now - self._begin) * self._rate:
                self.sent += 1
                self.device.send("s/d1", json.dumps({"seq": self.sent, "pad": "x" * 250}), self.sent)
            before = len(self.device.acknowledged)
            self.device.poll(0.005)
            if len(self.device.acknowledged) > before:
                self.last = time.monotonic()
        self._begin = time.monotonic() - self.sent / self._rate   # what was not sent is not made up for

    @property
    def acknowledged(self):
        return self.device.acknowledged


def run_full(policy, seconds, rate=1500, min_free="0B", leave=0, looks=None):
    """Normal load, `seconds` of a full disk under load, then space again. None and a reason where no disk can be mounted.

    `looks(edge, disk)` is called while the disk is full. The report says what was acknowledged, stored and let go on record.
    """
    with SmallDisk() as disk:
        if disk.refused:
            return None, disk.refused
        with Edge(CONFIG % {"data": disk.path / "data", "policy": policy, "min_free": min_free}) as edge:
            load = Load(edge, rate)
            load.run(1.5)
            disk.fill(leave)
            full = time.monotonic()
            # It goes on in what it has, until that is used up (block) or for ever (shed_oldest).
            load.run(seconds)
            quiet = time.monotonic() - load.last
            held = len(load.acknowledged)
            if looks is not None:
                looks(edge, disk)
            disk.give_back()
            freed = time.monotonic()
            load.run(30, until=lambda: load.last > freed)
            resume = load.last - freed
            load.run(1)
            load.device.settle(30)
            status = edge.status()
            load.device.close()
            edge.stop()
            rows = cat(disk.path / "data")
            report = verify(disk.path / "data")
            lane = report["lanes"]["readings"]
            stored = {json.loads(row["payload"])["seq"] for row in rows if "payload" in row}
            acknowledged = set(load.acknowledged)
            gaps = sum(lane["gap_rows"].values())
            source = status["sources"][0]
            return {
                "policy": policy, "min_free": min_free, "full_s": round(freed - full, 1), "acked": len(acknowledged),
                "acked_while_full": held, "stored": len(stored), "gaps": gaps,
                "lost": len(acknowledged) - len(stored & acknowledged) - gaps,
                "stalled_s": round(quiet, 2) if quiet > 0.5 else 0, "resume_s": round(resume, 2),
                "sound": not report["damage"] and not lane["missing"] and lane["repeated"] == 0, "corrupt": lane["gap_rows"].get("corrupt", 0),
                "conserved": source["received"] == sum(source[k] for k in (
                    "duplicate", "filtered", "dead_letter", "stored", "refused", "in_flight")),
            }, None


def cat(data):
    return [json.loads(line) for line in run_cli("store", "cat", data, "--lane", "readings", "--json").splitlines()]


def verify(data):
    return json.loads(run_cli("store", "verify", data, "--json"))
