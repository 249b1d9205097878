"""What run.py measures: our program and the peers of ../shared/peers, each behind the same few calls."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
PEERS = ROOT.parent / "shared/peers"
BUILD = ROOT / "build/perf"
PROGRAM = os.path.abspath(os.environ.get("HEADWATER", ROOT / "build/release/headwater"))
os.environ["HW_PROGRAM"] = PROGRAM
os.environ["PATH"] += ":/usr/sbin:/sbin"
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/perf")]

import node_peer  # noqa: E402
from harness import Edge, wait_for  # noqa: E402
from one_model import CONFIG  # noqa: E402

MODEL = ROOT / "tests/data/models/anomaly.onnx"
CONNECTIONS, WINDOW = 4, 5000


class Skip(Exception):
    pass


# ---- what is built ----

def compiled(name, sources, *more):
    """A program of build/perf, made anew when a source changed."""
    target = BUILD / name
    newest = max(pathlib.Path(source).stat().st_mtime for source in sources)
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["g++", "-std=c++20", "-O2", *map(str, sources), "-o", str(target), *more], capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"{name} does not build: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}")
    return str(target)


def load():
    return compiled("load", [HERE / "load.cc"], "-lssl", "-lcrypto")


def publisher():
    return compiled("publish", [ROOT / "tests/perf/store/publish.cc"])


def onnxruntime():
    """Compiler flags for its headers; ORT_LIB is set to the library, which the peers open."""
    for folder in (ROOT / "third_party/node_modules").glob("com.github.asus4.onnxruntime*/Plugins"):
        headers = next(folder.glob("iOS*/**/onnxruntime.framework/Headers"), None) or next(folder.glob("**/Headers"), None)
        library = folder / "Linux/x64/libonnxruntime.so"
        if headers and library.exists():
            os.environ["ORT_LIB"] = str(library)
            return [f"-I{headers}"]
    raise Skip("ONNX Runtime is not in third_party/node_modules")


def peer(name, source, *libraries):
    if not PEERS.exists():
        raise Skip(f"{PEERS} is not there")
    return compiled(name, [PEERS / source], *onnxruntime(), f"-I{PEERS}", f"-I{PEERS / 'load'}", *libraries)


# ---- processes ----

def cpu_of(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total * 1e-9


def kib_of(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A subject that prints a line when it is ready and ends by SIGTERM, or at the end of its input."""

    def __init__(self, command, cwd=None):
        self.process = subprocess.Popen([str(word) for word in command], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().strip()
        if not self.first:
            self.process.wait()
            raise Skip(f"{command[0]} did not start")

    @property
    def pid(self):
        return self.process.pid

    def port(self):
        return int(self.first.split()[1])

    def end_of_input(self):
        """Closes its input; what it then printed last, as JSON."""
        out, _ = self.process.communicate(timeout=120)
        return json.loads(out.strip().splitlines()[-1])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate()


def mosquitto(folder):
    """A broker with big queues and TCP_NODELAY, on a free port."""
    if shutil.which("mosquitto") is None:
        raise Skip("mosquitto is not installed (tools/setup.sh test)")
    port = free_port()
    lines = [line for line in (PEERS / "load/tuned.conf").read_text().splitlines() if not line.startswith("listener")]
    (folder / "broker.conf").write_text("\n".join([f"listener {port} 127.0.0.1", *lines]) + "\n")
    process = subprocess.Popen(["mosquitto", "-c", str(folder / "broker.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens():
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for("the broker listens", listens, 10)
    return process, port


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="hotpath-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def blast(port, corpus, count, *more, connections=CONNECTIONS, window=WINDOW):
    done = subprocess.run([load(), "blast", str(port), str(corpus), str(count), str(connections), str(window), *more],
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise AssertionError(f"load blast: {done.stderr.strip()}")
    return json.loads(done.stdout)


# ---- subjects ----

def settled(edge, taken):
    """All that was taken has its decision, or is a dead letter."""
    def all_done():
        status = edge.status()
        source = status["sources"][0]
        return source["received"] >= taken and source["in_flight"] == 0 and status["pipelines"][0]["rows"] >= source["stored"]
    wait_for("everything is decided", all_done, 300)


@contextlib.contextmanager
def edge(config=CONFIG, files=None, under=()):
    one = Edge(config, {"anomaly.onnx": MODEL, **(files or {})})
    one.under = list(under)
    with one:
        yield one
        one.stop()


def ours(corpus, count, config=CONFIG, files=None, more=(), under=()):
    """CPU a reading at full speed, and what goes with it."""
    with edge(config, files, under) as one:
        port = one.address("direct")[1]
        blast(port, corpus, 40_000, *more)
        settled(one, 40_000)
        before = one.cpu_seconds()
        published = blast(port, corpus, count, *more)
        settled(one, 40_000 + published["messages"])
        cpu = one.cpu_seconds() - before
        status = one.status()
        source = status["sources"][0]
        assert source["stored"] + source["filtered"] + source["dead_letter"] == source["received"], source
        return {"cpu": cpu / published["messages"] * 1e6, "rate": published["rate"], "publisher": published["cpu_us"],
                "rows_per_call": status["pipelines"][0]["rows_per_call"], "rss_kib": one.rss_kib("VmHWM"),
                "dead_letter": source["dead_letter"] / source["received"]}


def prototype(corpus, count):
    program = peer("prototype", "prototype.cc", "-lsimdjson", "-ldl", "-pthread", "-msse4.2")
    with folder() as work:
        port = free_port()
        subject = Process([program, "in=listen", f"port={port}", "qos=1", f"model={MODEL}", f"out={work / 'out'}", "sync=1", "storeall=1", "fmt=bin"])
        try:
            blast(port, corpus, 40_000)
            before = cpu_of(subject.pid)
            published = blast(port, corpus, count)
            idle(subject.pid)
            return {"cpu": (cpu_of(subject.pid) - before) / published["messages"] * 1e6, "rate": published["rate"]}
        finally:
            subject.stop()


def idle(pid):
    """Until it uses no CPU: it has worked off what the broker or the disk held."""
    end, last = time.monotonic() + 120, -1.0
    while time.monotonic() < end:
        used = cpu_of(pid)
        if 0 <= last and used - last < 0.001:
            return
        last = used
        time.sleep(0.2)


def behind_broker(command, corpus, count, cwd=None):
    """A peer that subscribes at a broker: CPU a message of it, and of the broker beside it."""
    with folder() as work:
        broker, port = mosquitto(work)
        subject = None
        try:
            subject = Process([word.replace("PORT", str(port)).replace("OUT", str(work / "out")) for word in command], cwd)
            blast(port, corpus, min(count, 2000))
            idle(subject.pid)
            before, broker_before = cpu_of(subject.pid), cpu_of(broker.pid)
            published = blast(port, corpus, count)
            idle(subject.pid)
            if subject.process.poll() is not None:
                raise Skip(f"{command[0]} ended by itself in the middle of this corpus")
            return {"cpu": (cpu_of(subject.pid) - before) / published["messages"] * 1e6, "rate": published["rate"],
                    "broker": (cpu_of(broker.pid) - broker_before) / published["messages"] * 1e6}
        finally:
            if subject is not None:
                subject.stop()
            broker.terminate()
            broker.wait()


def simple_command():
    if not pathlib.Path("/usr/include/mosquitto.h").exists():
        raise Skip("libmosquitto-dev is not installed (tools/setup.sh bench)")
    return [peer("simple", "cpp_simple.cc", "-lmosquitto", "-lsimdjson", "-ldl", "-pthread"), "PORT", "1", str(MODEL), "OUT"], None


def node_command():
    try:
        modules = node_peer.folder()
    except (RuntimeError, OSError) as error:
        raise Skip(f"no Node peer: {error}") from error
    return ["node", "node_base.cjs", "PORT", "1", str(MODEL), "OUT"], modules


def python_command():
    """PEER_PYTHON runs Python with onnxruntime and paho, for example "chroot /trixie python3" with /tmp and the tree in it."""
    command = os.environ.get("PEER_PYTHON")
    if not command:
        raise Skip("no Python peer: name a Python that has onnxruntime and paho-mqtt in PEER_PYTHON (../shared/peers/README.md)")
    return [*command.split(), str(PEERS / "py_seed.py"), "PORT", "1", str(MODEL), "OUT"], None


SLOW = {"simple": (simple_command, 100_000), "node": (node_command, 20_000), "python": (python_command, 10_000)}


def slow_peer(name, corpus, small):
    make, count = SLOW[name]
    command, cwd = make()
    return behind_broker(command, corpus, count // small, cwd)
