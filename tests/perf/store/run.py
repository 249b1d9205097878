#!/usr/bin/env python3
"""What durability costs: the figures of docs/performance.md, each beside its peer in one run.

    tests/perf/store/run.py [--only ROW ...] [--dir DIR] [--backlog-gb N] [--quick]

Rows: append, latency, throughput, sectors, backlog. Prints a table with bar and verdict, then one JSON object. A row that
cannot run says why. Exit status 1 when a bar is missed. Needs the release build (make build), or HEADWATER
with the program of another build folder. Builds its own programs into build/perf.
--dir is where all data lies (build/perf/work): the disk that is measured. --quick: small sizes, to try the script itself.
"""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
PEERS = ROOT.parent / "shared/peers"
BUILD = ROOT / "build/perf"
PROGRAM = os.path.abspath(os.environ.get("HEADWATER", ROOT / "build/release/headwater"))
RELEASE = pathlib.Path(PROGRAM).parent  # its libraries stand beside it
os.environ["HW_PROGRAM"] = PROGRAM
os.environ["PATH"] += ":/usr/sbin:/sbin"
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/perf")]

from harness import Edge, run_cli, wait_for  # noqa: E402
from one_model import CONFIG  # noqa: E402
from results import Results  # noqa: E402

MODEL = ROOT / "tests/data/models/anomaly.onnx"
FULL = "store: {max_bytes: 256MiB%s}\n"  # reached by a warm-up, so that segments are recycled
FULL_BYTES = 330e6                       # what the warm-up writes at least
CONNECTIONS, WINDOW = 4, 5000


class Skip(Exception):
    pass


# ---- what is built ----

def compile(name, command, sources):
    target = BUILD / name
    newest = max(pathlib.Path(source).stat().st_mtime for source in sources)
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"{name} does not build: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'no reason given'}")
    return str(target)


def publisher():
    return compile("publish", ["g++", "-std=c++20", "-O2", str(HERE / "publish.cc")], [HERE / "publish.cc"])


def append_peers():
    if not pathlib.Path("/usr/include/sqlite3.h").exists():
        raise Skip("libsqlite3-dev is not installed (tools/setup.sh bench)")
    rocks = pathlib.Path("/usr/include/rocksdb/db.h").exists()
    libraries = [RELEASE / f"src/{name}/libhw_{name}.a" for name in ("store", "io", "base")]
    program = compile(
        "append_peers" if rocks else "append_peers_without_rocksdb", ["g++", "-std=c++20", "-O2", f"-I{ROOT / 'src'}", str(HERE / "append_peers.cc"), *map(str, libraries),
                         "-lsqlite3", *(["-lrocksdb"] if rocks else []), "-lfmt", "-lssl", "-lcrypto", "-lxxhash", "-lzstd",
                         "-pthread"], [HERE / "append_peers.cc", *libraries])
    return program, rocks


def no_sync():
    return compile("nosync.so", ["gcc", "-O2", "-shared", "-fPIC", str(HERE / "nosync.c")], [HERE / "nosync.c"])


def prototype():
    """The prototype of ../shared/peers; None and why where it cannot be built."""
    if not PEERS.exists():
        return None, f"{PEERS.parent.name}/{PEERS.name} is not there"
    for folder in (ROOT / "third_party/node_modules").glob("com.github.asus4.onnxruntime*/Plugins"):
        headers = next(folder.glob("iOS*/**/onnxruntime.framework/Headers"), None) or next(folder.glob("**/Headers"), None)
        library = folder / "Linux/x64/libonnxruntime.so"
        if headers and library.exists():
            os.environ["ORT_LIB"] = str(library)
            try:
                return compile("prototype", ["g++", "-std=c++20", "-O2", f"-I{headers}", f"-I{PEERS}", f"-I{PEERS / 'load'}",
                                             str(PEERS / "prototype.cc"), "-lsimdjson", "-ldl", "-pthread", "-msse4.2"],
                               [PEERS / "prototype.cc"]), None
            except Skip as why:
                return None, str(why)
    return None, "ONNX Runtime is not in third_party/node_modules"


# ---- helpers ----

def publish(port, *arguments):
    done = subprocess.run([publisher(), str(port), *map(str, arguments)], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise AssertionError(f"publish {arguments}: {done.stderr}")
    return json.loads(done.stdout)


def blast(edge, count):
    """Publishes at full speed and waits until all is decided."""
    before = edge.status()["pipelines"][0]["rows"]
    sent = publish(edge.address("direct")[1], "blast", count, CONNECTIONS, WINDOW)
    wait_for("decided", lambda: edge.status()["pipelines"][0]["rows"] >= before + sent["messages"], 300)
    return sent


def fill(edge):
    """Until the store has reached its limit and writes into recycled segments."""
    while edge.status()["store"]["written_bytes"] < FULL_BYTES:
        blast(edge, 400_000)


def grown(before, after):
    return {key: after[key] - before[key] for key in ("commits", "frames", "written_bytes", "device_bytes")}


def need_disk(folder, gigabytes):
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes + 3:
        raise Skip(f"{gigabytes:.0f} GB are needed, {free:.0f} GB are free")


def median(values):
    return statistics.median(values)


# ---- rows ----

def row_append(results, options):
    """200-byte records, one durable commit a batch."""
    program, rocks = append_peers()
    need_disk(options.dir, 2)
    for batch, records in ((512, 700_000), (4096, 1_400_000)):
        done = subprocess.run([program, str(options.dir), str(batch), str(records // options.small), "3"],
                              capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        measured = json.loads(done.stdout)
        results.detail[f"append_{batch}"] = measured
        for subject in ("spool", "spool_full", "sqlite", "rocksdb"):
            if subject in measured:
                results.add("append", f"{subject}, batch {batch}", median([one["rate"] for one in measured[subject]]), unit="records/s",
                            note=f"{median([one['cpu_us'] for one in measured[subject]]):.2f} us CPU a record")
        for ours, layout in (("spool", "new store"), ("spool_full", "full store")):
            for peer, bar in (("sqlite", 2.5), ("rocksdb", 2.0)):
                if peer in measured:
                    ratio = median([a["rate"] / b["rate"] for a, b in zip(measured[ours], measured[peer])])
                    results.add("append", f"{layout} over {peer}, batch {batch}", ratio, f">= {bar}", ratio >= bar, "x")
    if not rocks:
        results.skip("append", "RocksDB: librocksdb-dev is not installed (tools/setup.sh bench)")


def row_latency(results, options):
    """PUBLISH to PUBACK at 100 messages a second beside a bare write and fdatasync, message by message."""
    need_disk(options.dir, 1)
    rounds = []
    with Edge(CONFIG + FULL % ", commit_delay: 0s", {"anomaly.onnx": MODEL}) as edge:
        fill(edge)
        port = edge.address("direct")[1]
        before = edge.status()["store"]
        publish(port, "paced", 100, 100)
        now = grown(before, edge.status()["store"])
        size = round(now["written_bytes"] / now["commits"])
        for _ in range(3):
            rounds.append(publish(port, "paced", 2000 // options.small, 100, options.dir / "bare", size))
        edge.stop()
    (options.dir / "bare").unlink()
    results.detail["latency"] = {"commit_bytes": size, "rounds": rounds}
    for share, bar in (("p50", 2.0), ("p99", 3.0)):
        ours, bare = f"puback_{share}_us", f"bare_{share}_us"
        ratio = median([one[ours] / one[bare] for one in rounds])
        results.add("latency", f"PUBACK over bare fdatasync, {share}", ratio, f"<= {bar:g}", ratio <= bar, "x",
                    f"{median([one[ours] for one in rounds]):.0f} us over {median([one[bare] for one in rounds]):.0f} us, {size} bytes")


# The rows of all lanes but alerts wait in memory, and the source acknowledges at once.
MEMORY = CONFIG.replace("receive_maximum:", "acknowledge: received, receive_maximum:") + \
    "store: {lanes: {readings: {durability: memory}, dead_letter: {durability: memory}}}\n"


def edge_rate(count, preload=None, config=CONFIG):
    if preload:
        os.environ["LD_PRELOAD"] = preload
    try:
        edge = Edge(config, {"anomaly.onnx": MODEL})
        with edge:
            os.environ.pop("LD_PRELOAD", None)
            blast(edge, 20_000)
            before, cpu = edge.status()["store"], edge.cpu_seconds()
            sent = blast(edge, count)
            cpu = edge.cpu_seconds() - cpu
            now = grown(before, edge.status()["store"])
            edge.stop()
    finally:
        os.environ.pop("LD_PRELOAD", None)
    return {"rate": sent["rate"], "cpu_us": cpu / sent["messages"] * 1e6, "rows_per_commit": sent["messages"] / now["commits"]}


def prototype_rate(program, count):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="prototype-"))
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subject = subprocess.Popen([program, "in=listen", f"port={port}", "qos=1", f"model={MODEL}", f"out={folder / 'out'}", "sync=1",
                                "storeall=1", "fmt=bin"], stdout=subprocess.PIPE, text=True)
    try:
        subject.stdout.readline()
        publish(port, "blast", 20_000, CONNECTIONS, WINDOW)
        return {"rate": publish(port, "blast", count, CONNECTIONS, WINDOW)["rate"]}
    finally:
        subject.terminate()
        subject.wait()
        shutil.rmtree(folder, ignore_errors=True)


def row_throughput(results, options):
    """The whole pipeline durable, with memory lanes, without durability (syncs that do nothing), and the prototype."""
    need_disk(options.dir, 2)
    shim = no_sync()
    program, why = prototype()
    count = 2_000_000 // options.small
    rounds = []
    for _ in range(3):
        one = {"durable": edge_rate(count), "memory_lanes": edge_rate(count, config=MEMORY), "not_durable": edge_rate(count, shim)}
        if program:
            one["prototype"] = prototype_rate(program, count)
        rounds.append(one)
    results.detail["throughput"] = rounds
    for subject in rounds[0]:
        note = ""
        if subject != "prototype":
            note = (f"{median([one[subject]['cpu_us'] for one in rounds]):.2f} us CPU a reading, "
                    f"{median([one[subject]['rows_per_commit'] for one in rounds]):.0f} rows a commit")
        results.add("throughput", subject.replace("_", " "), median([one[subject]["rate"] for one in rounds]), unit="readings/s", note=note)
    for subject, note in (("memory_lanes", "acknowledged at once"), ("not_durable", "syncs of the same program do nothing")):
        ratio = median([one["durable"]["rate"] / one[subject]["rate"] for one in rounds])
        results.add("throughput", f"durable over {subject.replace('_', ' ')}", ratio, ">= 0.6", ratio >= 0.6, "x", note)
    if program:
        results.add("throughput", "durable over prototype",
                    median([one["durable"]["rate"] / one["prototype"]["rate"] for one in rounds]), unit="x", note="no bar here")
    else:
        results.skip("throughput", f"prototype: {why}")


class LoopDisk:
    """A file system of its own: every sector that it writes is ours."""

    def __init__(self, folder, name, megabytes):
        self.image, self.mount = folder / f"{name}.img", folder / f"{name}.mnt"
        self.megabytes, self.loop = megabytes, None

    def __enter__(self):
        with open(self.image, "wb") as image:
            image.truncate(self.megabytes << 20)
        self.mount.mkdir(exist_ok=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image], check=True)
        self.loop = subprocess.run(["losetup", "--show", "-f", self.image], check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", self.loop, self.mount], check=True, capture_output=True)
        except subprocess.CalledProcessError:
            subprocess.run(["losetup", "-d", self.loop])
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.mount], check=True)
        subprocess.run(["losetup", "-d", self.loop], check=True)
        self.mount.rmdir()
        self.image.unlink()

    def written(self):
        """Bytes of all sectors written so far; what waits in the cache is written first."""
        subprocess.run(["sync", "-f", self.mount], check=True)
        return int(pathlib.Path(f"/sys/block/{self.loop.split('/')[-1]}/stat").read_text().split()[6]) * 512


@contextlib.contextmanager
def folder_for_edges(folder):
    was, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = was


def own_write_bytes(edge):
    for line in pathlib.Path(f"/proc/{edge.process.pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


def measured_sectors(edge, disk, load):
    """Runs `load` on the edge; what was written meanwhile, per message sent."""
    sectors, status, own = disk.written(), edge.status()["store"], own_write_bytes(edge)
    began = time.monotonic()
    sent = load()
    took = time.monotonic() - began
    now = grown(status, edge.status()["store"])
    return {"messages": sent["messages"], "seconds": took, "topic_bytes": sent["topic_bytes"], "payload_bytes": sent["payload_bytes"],
            "sector_bytes": disk.written() - sectors, "process_bytes": own_write_bytes(edge) - own, "commit_time_s": edge.status()["store"]["commit_p50_s"], **now}


def predicted(edge, rate, payload_bytes):
    """What `check` says for this edge's config and disk, in bytes a second."""
    out = json.loads(run_cli("check", "edge.yaml", "--json", "--rate", rate, "--size", payload_bytes, "--measure-disk",
                             cwd=edge.folder))["plan"]["writes"]
    return {"commit_time_s": out["commit_time_s"], "full": out["bytes_per_day"] / 86400, "new": out["new_store_bytes_per_day"] / 86400}


def row_sectors(results, options):
    """Sectors written: over payload at full speed, and beside the prediction of `check` at four rates."""
    if os.geteuid() != 0:
        raise Skip("a file system of its own needs root (losetup, mount)")
    need_disk(options.dir, 5)
    publisher()
    seconds = 60 // options.small
    rates = (1, 10, 100, 1000)
    try:
        with contextlib.ExitStack() as stack:
            disks = [stack.enter_context(LoopDisk(options.dir, f"disk{i}", 900)) for i in range(len(rates))]
            for state, store in (("new", ""), ("full", FULL % "")):
                # One disk after the other at full speed, then all rates at once: they leave most of the machine idle.
                edges = []
                with contextlib.ExitStack() as running:
                    for disk in disks:
                        with folder_for_edges(disk.mount):
                            edges.append(running.enter_context(Edge(CONFIG + store, {"anomaly.onnx": MODEL})))
                    if store:
                        for edge in edges:
                            fill(edge)
                    disks[0].written()
                    fast = measured_sectors(edges[0], disks[0], lambda: blast(edges[0], 1_000_000 // options.small))
                    slow = [None] * len(rates)

                    def load(i):
                        slow[i] = measured_sectors(edges[i], disks[i], lambda: publish(
                            edges[i].address("direct")[1], "random", max(rates[i] * seconds, 10), rates[i]))

                    threads = [threading.Thread(target=load, args=(i,)) for i in range(len(rates))]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                    if None in slow:
                        raise AssertionError("a load failed")
                    # With the rate that came about: arrivals are random.
                    said = [predicted(edge, one["messages"] / one["seconds"], one["payload_bytes"])
                            for edge, one in zip(edges, slow)]
                    for edge in edges:
                        edge.stop()
                results.detail[f"sectors_{state}"] = {"fast": fast, "rates": [
                    {"rate": rate, "predicted": one, "measured": two} for rate, one, two in zip(rates, said, slow)]}
                report_sectors(results, state, fast, rates, said, slow)
    except (FileNotFoundError, subprocess.CalledProcessError) as why:
        raise Skip(f"no loop device or ext4 tools here: {why}") from why


def report_sectors(results, state, fast, rates, said, slow):
    payload = fast["messages"] * (fast["topic_bytes"] + fast["payload_bytes"])
    rows = fast["messages"] / fast["commits"]
    ratio = fast["sector_bytes"] / payload
    results.add("sectors", f"{state} store: sectors over topic and payload", ratio, "<= 1.2", ratio <= 1.2 if rows >= 512 else None, "x",
                f"{rows:.0f} rows a commit; the store counts {fast['device_bytes'] / payload:.3f}")
    for rate, told, one in zip(rates, said, slow):
        sectors = one["sector_bytes"] / one["seconds"]
        off = sectors / told[state] - 1
        results.add("sectors", f"{state} store, {rate}/s: sectors over what check predicts", 1 + off, "+-10 %", abs(off) <= 0.1, "x",
                    f"{sectors / 1e3:.1f} kB/s; the store counts {one['device_bytes'] / one['seconds'] / 1e3:.1f}; "
                    f"{one['commits'] / one['messages']:.2f} commits a reading")


class CountingReceiver:
    """Answers 204 to every batch and keeps none."""

    def __init__(self):
        receiver = self
        self.batches = self.bytes = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                left = int(self.headers["Content-Length"])
                receiver.bytes += left
                while left:
                    left -= len(self.rfile.read(min(left, 1 << 20)))
                receiver.batches += 1
                self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def forget_cache(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def row_backlog(results, options):
    """A start with a large backlog and the drain of it."""
    gigabytes = options.backlog_gb
    need_disk(options.dir, gigabytes * 1.1)
    config = CONFIG + (f"store: {{max_bytes: {int(gigabytes * 1.3) + 1}GiB}}\n"
                       'uplink: {type: http, url: "http://127.0.0.1:9/", max_backoff: 1s}\n')  # nobody answers there
    edge = Edge(config, {"anomaly.onnx": MODEL})
    with edge:
        began = time.monotonic()
        while edge.status()["store"]["written_bytes"] < gigabytes * 1e9:
            blast(edge, 2_000_000 // options.small)
        filled = time.monotonic() - began
        rows = edge.status()["pipelines"][0]["rows"]
        fill_peak = edge.rss_kib("VmHWM")
        edge.stop()
        forget_cache(edge.folder)
        receiver = CountingReceiver()
        text = (edge.folder / "edge.yaml").read_text()
        (edge.folder / "edge.yaml").write_text(text.replace("127.0.0.1:9/", f"127.0.0.1:{receiver.port}/"))
        began = time.monotonic()
        edge.start()
        ready = time.monotonic() - began
        pending = next(lane for lane in edge.status()["uplink"]["lanes"] if lane["lane"] == "readings")["pending"]
        peak, samples = 0, 0
        until = time.monotonic() + (40 if options.small == 1 else 8)
        delivered = 0
        drain_began = time.monotonic()
        while time.monotonic() < until:
            peak, samples = max(peak, edge.rss_kib()), samples + 1
            lane = next(lane for lane in edge.status()["uplink"]["lanes"] if lane["lane"] == "readings")
            delivered = lane["delivered"]
            if lane["pending"] == 0:
                break
            time.sleep(0.05)
        drained = time.monotonic() - drain_began
        peak = max(peak, edge.rss_kib("VmHWM"))
        edge.stop()
        receiver.close()
    results.detail["backlog"] = {"gb": gigabytes, "rows": rows, "pending_at_start": pending, "fill_seconds": filled,
                                 "fill_peak_rss_kib": fill_peak, "ready_s": ready, "start_ms": edge.ready_ms, "peak_rss_kib": peak,
                                 "drain_seconds": drained, "delivered": delivered, "receiver_bytes": receiver.bytes}
    results.add("backlog", f"start with {gigabytes:g} GB: spawn to ready", ready, "<= 1 s", ready <= 1, "s",
                f"{pending:,} readings wait; page cache dropped before")
    results.add("backlog", "highest RSS through start and drain", peak / 1024, "<= 64 MiB", peak <= 64 * 1024, "MiB",
                f"{drained:.0f} s of drain, {samples} samples and VmHWM; with the model loaded")
    results.add("backlog", "drain meanwhile", delivered / drained, unit="readings/s", note="to a receiver in Python; no bar here")


ROWS = {"append": row_append, "latency": row_latency, "throughput": row_throughput, "sectors": row_sectors, "backlog": row_backlog}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--dir", type=pathlib.Path, default=BUILD / "work")
    parser.add_argument("--backlog-gb", type=float, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.small = 10 if options.quick else 1
    options.dir = options.dir.resolve()
    options.dir.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(options.dir)
    results = Results()
    results.detail.update(load_average=os.getloadavg()[0], cpus=os.cpu_count(), kernel=os.uname().release, quick=options.quick)
    if not pathlib.Path(PROGRAM).exists():
        results.skip("all", f"{PROGRAM} is not built (make build)")
    else:
        print(f"load average before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} CPUs", flush=True)
        for name in options.only:
            began = time.monotonic()
            try:
                ROWS[name](results, options)
            except Skip as why:
                results.skip(name, str(why))
            except (AssertionError, OSError, subprocess.SubprocessError) as why:
                results.failed(name, f"{type(why).__name__}: {why}")
            results.detail[f"{name}_seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps({"rows": results.lines, "detail": results.detail}))
    return 1 if any(line.get("pass") is False for line in results.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
