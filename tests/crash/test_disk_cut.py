"""Power cuts underneath a real file system: the real process on ext4, on a loop device whose every write and flush is kept.

logged_disk (HW_LOGGED_DISK names it) is the disk. While devices publish, each acknowledgement is noted beside the number of
writes and flushes that the disk had had by then. Afterwards the disk is rebuilt as cuts at random moments leave it: all that
came before the last flush, and of the 512-byte sectors behind it a random part. Each of these disks is mounted (ext4 replays its
journal), and every row that was acknowledged by then must be there, once and in order; the store must verify; now and then
an edge is started on it and must take more. Where the store lets rows go, as many must be in gap records.

CUTS says how many for each of the two stores (6; nightly 100), SEED makes cuts repeatable for one recording. Needs root, FUSE,
loop devices and mkfs.ext4; skipped visibly otherwise.
"""

import collections
import json
import mmap
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from harness import ROOT, Edge, run_cli, wait_for  # noqa: E402
from numbered import SOURCES, HttpDevice, MqttDevice  # noqa: E402
from test_sync_order import NO_PTRACE, PLANTED, TRACER, bug_number  # noqa: E402

DISK = os.path.abspath(os.environ.get("HW_LOGGED_DISK", ROOT / "build/dev/tests/crash/logged_disk"))
CUTS = int(os.environ.get("CUTS", "6"))
SEED = int(os.environ.get("SEED", "1"))
ROWS = int(os.environ.get("ROWS", "3000"))  # of each device
SIZE = 64 << 20
SECTOR = 512
FLUSH = (1 << 64) - 1
KEEP = (0.0, 0.5, 0.9, 1.0)
MKFS = shutil.which("mkfs.ext4") or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")

CONFIG = """
edge: {id: cut, data_dir: "%(data)s"}
sources: %(sources)s
pipelines:
  main: {from: [direct, hook], steps: [{filter: {when: "value >= 0.0"}}]}
store: {segment: 256KiB, max_bytes: %(max_bytes)s, min_free: 0B}
sinks: {none: {type: http, url: "http://127.0.0.1:9/"}}
"""


def tool(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr}")
    return done.stdout.strip()


def missing():
    if os.geteuid() != 0:
        return "mounting needs root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"no {path}"
    return None if MKFS else "no mkfs.ext4"


class LoggedDisk:
    """ext4 over a loop device over the file of logged_disk, mounted at `mounted`."""

    def __init__(self, folder):
        self.folder = folder
        self.mounted = folder / "disk"
        self.loop = None
        self.is_mounted = False
        for name in ("served", "disk"):
            (folder / name).mkdir()
        self.server = subprocess.Popen([DISK, folder / "served", str(SIZE), folder / "log", folder / "count"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.server.stdout.readline() != "ready\n":
            raise unittest.SkipTest(self.server.stderr.read())
        with open(folder / "count", "r+b") as file:
            self.counter = mmap.mmap(file.fileno(), 8)
        try:
            tool(MKFS, "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                 folder / "served/disk")
            self.loop = tool("losetup", "-f", "--show", folder / "served/disk")
            tool("mount", "-t", "ext4", self.loop, self.mounted)
            self.is_mounted = True
        except RuntimeError as error:
            self.close()
            raise unittest.SkipTest(str(error))

    def count(self):
        return struct.unpack("<Q", self.counter[:8])[0]

    def close(self):
        if self.is_mounted:
            tool("umount", self.mounted)
        if self.loop:
            tool("losetup", "-d", self.loop)
        if self.server.poll() is None:
            self.server.terminate()
            self.server.wait(20)
        self.server.stdout.close()
        self.server.stderr.close()
        self.is_mounted, self.loop = False, None

    def records(self):
        """(offset, bytes) of each write; (FLUSH, b"") of each flush."""
        log = (self.folder / "log").read_bytes()
        at, out = 0, []
        while at < len(log):
            offset, size = struct.unpack_from("<QQ", log, at)
            out.append((offset, log[at + 16:at + 16 + size]))
            at += 16 + size
        return out


class Cut:
    """A disk after a power cut at `moment`: the first of the records that never reached it."""

    def __init__(self, records, moment, chance):
        self.keep = KEEP[chance.randrange(len(KEEP))]
        last_flush = max((i for i in range(moment) if records[i][0] == FLUSH), default=0)
        self.image = bytearray(SIZE)
        self.volatile = 0
        for i in range(moment):
            offset, data = records[i]
            if offset == FLUSH:
                continue
            if i < last_flush:
                self.image[offset:offset + len(data)] = data
                continue
            for at in range(0, len(data), SECTOR):
                self.volatile += 1
                if chance.random() < self.keep:
                    self.image[offset + at:offset + at + SECTOR] = data[at:at + SECTOR]


@unittest.skipIf(missing(), missing())
class DiskCut(unittest.TestCase):
    def setUp(self):
        self.chance = random.Random(SEED)

    def config(self, data, max_bytes):
        return CONFIG % {"data": data, "sources": SOURCES, "max_bytes": max_bytes}

    def record(self, max_bytes, bug=None):
        """Runs an edge under load; returns the disk's records, when the load began, and who was acknowledged when."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-disk-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        disk = LoggedDisk(self.folder)
        self.addCleanup(disk.close)
        edge = Edge(self.config(disk.mounted / "data", max_bytes))
        if bug:
            edge.under = [TRACER, "/dev/null", "--poke", f"{PLANTED}={bug_number(bug)}"]
        devices = []
        try:
            edge.start(wait_ready=False)
            wait_for("ready", lambda: edge.ready_ms is not None or edge.process.poll() is not None)
            if edge.process.poll() == NO_PTRACE:
                self.skipTest("\n".join(edge.log))
            began = disk.count()
            for number, qos in enumerate((1, 1, 2)):
                devices.append(MqttDevice(number, edge.address("direct"), qos, ROWS, disk.count))
            devices.append(HttpDevice(3, edge.address("hook"), ROWS, disk.count))
            for device in devices:
                device.start()
            for device in devices:
                device.join(120)
                self.assertEqual(len(device.acknowledged), ROWS, f"device {device.number}: {device.error}")
            ended = disk.count()
            edge.kill()
        finally:
            for device in devices:
                device.close()
            edge.__exit__(None, None, None)
        disk.close()
        acknowledged = {name: count for device in devices for name, count in device.acknowledged.items()}
        return disk.records(), began, ended, acknowledged

    def campaign(self, records, began, ended, acknowledged, max_bytes, cuts):
        """What was found at each cut; the sums of what was checked."""
        sums = collections.Counter()
        found = []
        flushes = [i for i in range(began + 1, ended) if records[i][0] == FLUSH]
        for number in range(cuts):
            # Half of them just before a flush, when most is in doubt.
            moment = self.chance.choice(flushes) if number % 2 else self.chance.randrange(began + 1, ended + 1)
            cut = Cut(records, moment, self.chance)
            expected = {name for name, count in acknowledged.items() if count <= moment}
            sums.update(cuts=1, expected=len(expected), sectors=cut.volatile)
            for what in self.check(cut, expected, max_bytes, sums, restart=number % 4 == 0):
                found.append(f"cut before record {moment} of {len(records)}, {cut.keep} kept: {what}")
        return found, sums

    def check(self, cut, expected, max_bytes, sums, restart):
        image, mounted = self.folder / "image", self.folder / "disk"
        image.write_bytes(cut.image)
        try:
            tool("mount", "-t", "ext4", "-o", "loop", image, mounted)
        except RuntimeError as error:
            return [f"the file system does not mount: {error}"]
        try:
            found = self.look(mounted / "data", expected, sums)
            if restart:
                found += self.go_on(mounted / "data", max_bytes, expected, sums)
            return found
        finally:
            tool("umount", mounted)

    def look(self, data, expected, sums):
        out, said = run_cli("store", "verify", data, "--json", status=(0, 1, 65, 74)), ""
        if isinstance(out, tuple):
            out, said = out
        report = json.loads(out) if out.startswith("{") else {"ok": False}
        found = [] if report["ok"] else [f"store verify: {out[:300]} {said[:300]}"]
        cat = run_cli("store", "cat", data, "--lane", "readings", "--json", status=(0, 1, 65, 74))
        lines = (cat[0] if isinstance(cat, tuple) else cat).splitlines()
        names = [json.loads(json.loads(line)["payload"])["id"] for line in lines]
        gone = expected - set(names)
        let_go = sum(gap["count"] for gap in report.get("gaps", []) if gap.get("lane", "readings") == "readings")
        sums.update(present=len(names), let_go=len(gone))
        if len(gone) > let_go:
            found.append(f"{len(gone)} acknowledged rows are missing, {let_go} in gap records: {sorted(gone)[:3]}")
        if len(names) != len(set(names)):
            found.append("rows are there twice")
        last = {}
        for name in names:
            if last.get(name[:5], "") > name:
                found.append(f"{name} comes behind {last[name[:5]]}")
            last[name[:5]] = name
        return found

    def go_on(self, data, max_bytes, expected, sums):
        edge = Edge(self.config(data, max_bytes))
        try:
            edge.start()
            device = MqttDevice(9, edge.address("direct"), 1, 50)
            device.start()
            device.join(30)
            device.close()
            edge.stop()
        finally:
            edge.__exit__(None, None, None)
        sums.update(starts=1)
        if len(device.acknowledged) != 50:
            return ["the edge that started on it takes no rows"]
        return self.look(data, expected | set(device.acknowledged), collections.Counter())

    def report(self, what, sums):
        print(f"{what}: {sums['cuts']} cuts, {sums['sectors']} sectors in doubt, {sums['starts']} starts, "
              f"{sums['expected']} acknowledged rows looked for, {sums['let_go']} of them in gap records")

    def test_no_acknowledged_row_is_lost(self):
        for what, max_bytes in (("a store with room", "32MiB"), ("a store that lets rows go", "1MiB")):
            with self.subTest(what):
                recorded = self.record(max_bytes)
                found, sums = self.campaign(*recorded, max_bytes, CUTS)
                self.report(what, sums)
                self.assertEqual(found[:5], [])
                self.assertGreater(sums["expected"], 0)
                self.assertEqual(sums["let_go"] > 0, max_bytes == "1MiB")

    def test_a_commit_without_a_sync_is_found(self):
        recorded = self.record("32MiB", "kCommitWithoutSync")
        found, _ = self.campaign(*recorded, "32MiB", 8)
        self.assertIn("acknowledged rows are missing", "".join(found))


if __name__ == "__main__":
    unittest.main(verbosity=2)
