#!/usr/bin/env python3
"""The hot path: what a reading costs, and how late an alert is; each beside its peers in the same run.

    tests/perf/hotpath/run.py [--only ROW ...] [--rounds N] [--corpus one|mixed ...] [--seed N] [--quick] [--json FILE]

Rows: cpu, secured, connections, broker, early, durable, steps, footprint, limited. Subjects alternate in each round; figures
are medians of the rounds, ratios medians of each round's ratio. A table with bar and verdict, then one JSON object with
every round. Exit status 1 when a bar is missed. What cannot run is printed as skipped, with the reason.

Needs the release build (make build), or HEADWATER with the program of another folder. Builds its own programs into
build/perf. Peers: ../shared/peers; PEER_NODE and PEER_PYTHON: see subjects.py. Other load than ours on the machine is measured
before each round, and said when it is above 5 % of a core: ratios of such a round mean little. --quick: small sizes.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import corpus as corpora  # noqa: E402
import limited  # noqa: E402
import subjects  # noqa: E402
from results import Results  # noqa: E402
from subjects import BUILD, CONFIG, MODEL, PEERS, PROGRAM, Process, Skip, blast, cpu_of, edge, kib_of, wait_for  # noqa: E402

COUNTS = {"one": 2_000_000, "mixed": 1_000_000}
OWN_CPU_BARS = {"python": 100, "node": 50, "simple": 15}
MOST_OTHER_LOAD = 0.05  # of one core


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def ratio(over, under, key="cpu"):
    return statistics.median(a[key] / b[key] for a, b in zip(over, under))


def other_load():
    """Share of one core that others used in the last half second; nothing of ours runs then."""
    def busy():
        fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4]
    before, began = busy(), time.monotonic()
    time.sleep(0.5)
    return (busy() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


class Bench:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.small = 20 if options.quick else 1
        self.files = {}

    def corpus(self, kind, devices=None):
        key = (kind, devices)
        if key not in self.files:
            path = self.options.work / f"{kind}-{self.options.seed}-{devices or 'default'}.packets"
            facts = corpora.write(path, kind, self.options.seed, 20_000, devices)
            self.results.detail.setdefault("corpora", []).append(facts)
            self.files[key] = path
        return self.files[key]

    def count(self, kind):
        return COUNTS[kind] // self.small

    def rounds(self, row, named):
        """Runs the subjects in turn, so often; {name: [result of each round]}. A subject that cannot run is left out, and said."""
        out, gone = {name: [] for name in named}, {}
        loads = []
        for _ in range(self.options.rounds):
            loads.append(other_load())
            if loads[-1] > MOST_OTHER_LOAD:
                print(f"{row:11} other load before this round: {loads[-1] * 100:.0f} % of a core", flush=True)
            for name, run in named.items():
                if name in gone:
                    continue
                try:
                    out[name].append(run())
                except Skip as why:
                    gone[name] = str(why)
                    self.results.skip(row, f"{name}: {why}")
        self.results.detail[row] = {"rounds": out, "other_load": loads}
        return {name: rounds for name, rounds in out.items() if name not in gone}


# ---- rows ----

def row_cpu(bench, kind):
    """Pipelined publishers at full speed through the listener: decode, store, score, decide, PUBACK after the commit."""
    row, file, count = f"cpu {kind}", bench.corpus(kind), bench.count(kind)
    named = {"headwater": lambda: subjects.ours(file, count), "prototype": lambda: subjects.prototype(file, count)}
    for name in subjects.SLOW:
        named[name] = lambda name=name: subjects.slow_peer(name, file, bench.small)
    got = bench.rounds(row, named)
    own = got["headwater"]
    for name, rounds in got.items():
        note = f"{median(rounds, 'rate'):,.0f} readings/s published"
        note += f"; broker beside it {median(rounds, 'broker'):.1f} us" if "broker" in rounds[0] else ""
        bench.results.add(row, f"{name}: own CPU a reading", median(rounds, "cpu"), unit="us", note=note)
    if "prototype" in got:
        bench.results.most(row, "over the prototype", ratio(own, got["prototype"]), 1.5, "x", "aim 1.0")
    for name, bar in OWN_CPU_BARS.items():
        if name in got:
            bench.results.least(row, f"{name} over headwater", ratio(got[name], own), bar, "x")
    bench.results.least(row, "readings/s, publisher on the same two cores", median(own, "rate"), 1_000_000, "/s", "aim 2,000,000")
    bench.results.add(row, "highest RSS", median(own, "rss_kib") / 1024, unit="MiB",
                      note=f"{median(own, 'rows_per_call'):.0f} rows a model call; {own[0]['dead_letter'] * 100:.2f} % dead letters")


def row_secured(bench, kind):
    """The same with TLS, and with user name and password."""
    row, file, count = f"secured {kind}", bench.corpus(kind), bench.count(kind) // 2
    work = bench.options.work
    certificate, key = work / "cert.pem", work / "key.pem"
    if not certificate.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    if not (work / "passwords").exists():
        (work / "passwords").write_text("device:secret\n")
        subprocess.run(["mosquitto_passwd", "-U", work / "passwords"], check=True, capture_output=True)
    topics = 'topics: ["site/#"], '
    tls = CONFIG.replace(topics, topics + "tls: {certificate: cert.pem, key: key.pem}, ")
    password = CONFIG.replace(topics, topics + "password_file: passwords, ")
    pems = {"cert.pem": certificate, "key.pem": key}
    got = bench.rounds(row, {
        "plain": lambda: subjects.ours(file, count),
        "tls": lambda: subjects.ours(file, count, tls, pems, ["--tls"]),
        "password": lambda: subjects.ours(file, count, password, {"passwords": work / "passwords"}, ["--user", "device", "--password", "secret"]),
    })
    for name, rounds in got.items():
        bench.results.add(row, f"{name}: own CPU a reading", median(rounds, "cpu"), unit="us", note=f"{median(rounds, 'rate'):,.0f} readings/s")
    for name in ("tls", "password"):
        bench.results.most(row, f"{name} over plain", ratio(got[name], got["plain"]), 2, "x")


def one_a_packet(port, pid, file, count, connections, rate):
    """Publishes one message a packet in turn; CPU of subject and publisher together, and memory of the subject a connection."""
    before_kib = kib_of(pid, "VmRSS")
    publisher = subprocess.Popen([subjects.load(), "each", str(port), str(file), str(count), str(connections), str(rate)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert publisher.stdout.readline().strip() == "connected"
    before = cpu_of(pid)
    out, _ = publisher.communicate("g", timeout=300)
    sent = json.loads(out)
    subject = (cpu_of(pid) - before) / sent["messages"] * 1e6
    return {"subject": subject, "publisher": sent["cpu_us"], "rate": sent["rate"], "p50": sent["p50_us"], "p99": sent["p99_us"],
            "late": sent["late"], "kib": (kib_of(pid, "VmHWM") - before_kib) / connections}


def row_connections(bench, kind):
    """1,000 connections, one message a packet, 20,000 messages/s; beside a server that does nothing but answer."""
    row, file = f"connections {kind}", bench.corpus(kind)
    connections, rate = 1000, 20_000
    count = max(200_000 // bench.small, 2 * connections)

    def own():
        with edge() as one:
            got = one_a_packet(one.address("direct")[1], one.process.pid, file, count, connections, rate)
            wait_for("decided", lambda: one.status()["sources"][0]["in_flight"] == 0)
            return got

    def null():
        server = Process([subjects.load(), "null", "0"])
        try:
            return one_a_packet(server.port(), server.pid, file, count, connections, rate)
        finally:
            server.end_of_input()

    got = bench.rounds(row, {"headwater": own, "null": null})
    for name, rounds in got.items():
        bench.results.add(row, f"{name}: own CPU a message", median(rounds, "subject"), unit="us",
                          note=f"publisher {median(rounds, 'publisher'):.1f} us; PUBACK p50 {median(rounds, 'p50'):,.0f} us, "
                               f"p99 {median(rounds, 'p99'):,.0f} us; {median(rounds, 'late'):.0f} sent late")
    bench.results.most(row, "CPU a message without the publisher's", median(got["headwater"], "subject"), 18, "us")
    bench.results.add(row, "over a server that only answers", ratio(got["headwater"], got["null"], "subject"), unit="x", note="aim 1.5")
    bench.results.most(row, "memory a connection", median(got["headwater"], "kib"), 64, "KiB", "highest RSS over that before, shared parts included")


BROKER = CONFIG.replace('{type: mqtt_listen, address: "127.0.0.1:0", topics: ["site/#"]', '{type: mqtt, url: "mqtt://127.0.0.1:%d", topics: ["site/#"]').replace(
    ",\n           receive_maximum: 20000", "")


def row_broker(bench, kind):
    """Through mosquitto: the rate against a subscriber that only acknowledges, and our CPU."""
    row, file, count = f"broker {kind}", bench.corpus(kind), 150_000 // bench.small

    def own():
        with subjects.folder() as work:
            broker, port = subjects.mosquitto(work)
            try:
                with edge(BROKER % port) as one:
                    wait_for("connected", lambda: any("msg=connected" in line for line in one.log))
                    blast(port, file, 2000, connections=1)
                    wait_for("warm", lambda: one.status()["sources"][0]["received"] >= 2000)
                    began, before = time.monotonic(), one.cpu_seconds()
                    sent = blast(port, file, count, connections=1)["messages"]
                    wait_for("all taken", lambda: one.status()["sources"][0]["received"] >= 2000 + sent, 300)
                    took = time.monotonic() - began
                    subjects.settled(one, 2000 + sent)
                    return {"rate": sent / took, "cpu": (one.cpu_seconds() - before) / sent * 1e6}
            finally:
                broker.terminate()
                broker.wait()

    def null():
        with subjects.folder() as work:
            broker, port = subjects.mosquitto(work)
            try:
                subscriber = Process([subjects.load(), "drain", port, count])
                began = time.monotonic()
                blast(port, file, count, connections=1)
                subscriber.end_of_input()
                return {"rate": count / (time.monotonic() - began)}
            finally:
                broker.terminate()
                broker.wait()

    got = bench.rounds(row, {"headwater": own, "null": null})
    for name, rounds in got.items():
        bench.results.add(row, f"{name}: messages/s", median(rounds, "rate"), unit="/s")
    bench.results.least(row, "rate over the null subscriber's", ratio(got["headwater"], got["null"], "rate"), 0.95, "x")
    bench.results.most(row, "own CPU a reading", median(got["headwater"], "cpu"), 4, "us")


def rawpub(port, count, rate):
    """Readings with their send time in them; one in ten is an anomaly."""
    program = subjects.compiled("rawpub", [PEERS / "load/rawpub.cc"])
    subprocess.run([program, str(port), str(count), "1", "1", str(rate), "100"], check=True, capture_output=True, timeout=120)


def fill(one, file, quick):
    """Until the store has reached its limit, so that it writes into blocks written before."""
    while not quick and one.status()["store"]["written_bytes"] < 330e6:
        blast(one.address("direct")[1], file, 400_000)


def own_alerts(count, send, store="", prepare=lambda one: None):
    sink = Process([subjects.load(), "alerts", "0"])
    config = CONFIG.replace("{main: {", "{main: {alerts: [out], ") + store
    config += f'sinks: {{out: {{type: mqtt, url: "mqtt://127.0.0.1:{sink.port()}", topic: alerts, send: {send}}}}}\n'
    with edge(config) as one:
        def all_delivered():
            status = one.status()
            source, pipeline = status["sources"][0], status["pipelines"][0]
            return pipeline["rows"] == source["received"] and status["sinks"][0]["delivered"] == pipeline["alerts"]

        prepare(one)
        wait_for("delivered", all_delivered)
        before = one.status()["pipelines"][0]["alerts"]
        rawpub(one.address("direct")[1], count, 1000)
        wait_for("delivered", all_delivered)
        alerts = one.status()["pipelines"][0]["alerts"] - before
    got = sink.end_of_input()
    assert got["timed"] == alerts > 0, (got, alerts)
    return {"p50": got["p50_us"], "p99": got["p99_us"], "alerts": alerts}


def peer_alerts(name, count):
    make, _ = subjects.SLOW[name]
    command, cwd = make()
    receiver = subjects.compiled("alertrx", [PEERS / "load/alertrx.cc"])
    with subjects.folder() as work:
        broker, port = subjects.mosquitto(work)
        running = []
        try:
            running.append(Process([word.replace("PORT", str(port)).replace("OUT", str(work / "out")) for word in command], cwd))
            running.append(Process([receiver, port]))
            rawpub(port, count, 1000)
            subjects.idle(running[0].pid)
            taker = running[1].process
            taker.terminate()
            got = json.loads(taker.communicate()[0].strip().splitlines()[-1])
            return {"p50": got["p50_us"], "p99": got["p99_us"], "alerts": got["alerts_rx"]}
        finally:
            for one in running:
                one.stop()
            broker.terminate()
            broker.wait()


def row_early(bench, _):
    """PUBLISH to the alert's arrival at 1,000 messages/s with `send: early`; peers through a broker without delay."""
    count = 5000 // min(bench.small, 5)
    got = bench.rounds("early", {"headwater": lambda: own_alerts(count, "early"), "python": lambda: peer_alerts("python", count),
                                 "node": lambda: peer_alerts("node", count), "simple": lambda: peer_alerts("simple", count)})
    for name, rounds in got.items():
        bench.results.add("early", f"{name}: p50", median(rounds, "p50"), unit="us", note=f"p99 {median(rounds, 'p99'):,.0f} us")
    for name, rounds in got.items():
        if name != "headwater":
            bars = (2.5, 4) if name == "python" else (None, None)
            for share, bar in zip(("p50", "p99"), bars):
                value = ratio(rounds, got["headwater"], share)
                bench.results.add("early", f"{name} over headwater, {share}", value, bar and f">= {bar}", bar and value >= bar, "x")


def row_durable(bench, _):
    """At 1,000 messages/s and `commit_delay: 0s`: PUBACK, and alerts with `send: durable`, beside a bare write and fdatasync
    between every two messages. Into a store at its limit, which writes into blocks written before."""
    count = 3000 // min(bench.small, 6)
    store = "store: {max_bytes: 256MiB, commit_delay: 0s}\n"
    file = bench.corpus("one")

    def acknowledged():
        bare = bench.options.work / "bare"
        with edge(CONFIG + store) as one:
            port = one.address("direct")[1]
            fill(one, file, bench.options.quick)
            before = one.status()["store"]
            subprocess.run([subjects.publisher(), str(port), "paced", "200", "1000"], check=True, capture_output=True)
            now = one.status()["store"]
            size = round((now["written_bytes"] - before["written_bytes"]) / max(1, now["commits"] - before["commits"]))
            out = subprocess.run([subjects.publisher(), str(port), "paced", str(count), "1000", str(bare), str(size)], check=True,
                                 capture_output=True, text=True).stdout
        bare.unlink()
        got = json.loads(out)
        return {"p50": got["puback_p50_us"], "p99": got["puback_p99_us"], "bare50": got["bare_p50_us"], "bare99": got["bare_p99_us"]}

    got = bench.rounds("durable", {"acknowledged": acknowledged, "alert": lambda: own_alerts(
        count, "durable", store, lambda one: fill(one, file, bench.options.quick))})
    bare = got["acknowledged"]
    bench.results.add("durable", "bare write and fdatasync, p50", median(bare, "bare50"), unit="us", note=f"p99 {median(bare, 'bare99'):,.0f} us")
    for name, rounds in got.items():
        for share, bar in (("50", 2), ("99", 3)):
            value = statistics.median(a["p" + share] / b["bare" + share] for a, b in zip(rounds, bare))
            bench.results.most("durable", f"{name} over fdatasync, p{share}", value, bar, "x", f"{median(rounds, 'p' + share):,.0f} us")


STEPS = """pipelines: {main: {from: [direct], steps: [
  {filter: {when: "temperature > -40.0"}},
  {enrich: {set: {fahrenheit: "temperature * 1.8 + 32.0", ratio: "pressure / (vibration + 1.0)", hot: "temperature > 70.0"}}},
  {window: {by: device_id, last: 60s, add: {temperature_mean: "mean(temperature)", vibration_max: "max(vibration)"}}},
  {detect:"""


def row_steps(bench, kind):
    """What a filter, three computed fields and two aggregates of a sliding window add, on 1,000 devices."""
    row, file, count = f"steps {kind}", bench.corpus(kind, 1000), bench.count(kind) // 2
    config = CONFIG.replace("pipelines: {main: {from: [direct], steps: [{detect:", STEPS)
    assert config != CONFIG
    got = bench.rounds(row, {"base": lambda: subjects.ours(file, count), "steps": lambda: subjects.ours(file, count, config)})
    added = statistics.median(a["cpu"] - b["cpu"] for a, b in zip(got["steps"], got["base"]))
    bench.results.add(row, "without: own CPU a reading", median(got["base"], "cpu"), unit="us")
    bench.results.add(row, "with: own CPU a reading", median(got["steps"], "cpu"), unit="us")
    bench.results.most(row, "added a reading", added, 1.0, "us", "aim 0.5")


def row_footprint(bench, kind):
    """Memory when ready and after saturation, start to ready; beside a program that only holds ONNX Runtime and the model."""
    row, file = f"footprint {kind}", bench.corpus(kind)
    here = pathlib.Path(__file__).resolve().parent

    def own():
        with edge() as one:
            ready = one.rss_kib()
            sent = blast(one.address("direct")[1], file, bench.count(kind))["messages"]
            subjects.settled(one, sent)
            return {"ready": ready, "high": one.rss_kib("VmHWM"), "start": one.ready_ms}

    def alone():
        program = subjects.compiled("ort_alone", [here / "ort_alone.cc"], *subjects.onnxruntime(), "-ldl")
        return json.loads(subprocess.run([program, str(MODEL)], check=True, capture_output=True, text=True).stdout)

    got = bench.rounds(row, {"headwater": own, "onnxruntime": alone})
    if "onnxruntime" not in got:
        return
    bench.results.add(row, "ONNX Runtime alone: RSS", median(got["onnxruntime"], "rss_kib") / 1024, unit="MiB")
    for key, what in (("ready", "RSS when ready, over that"), ("high", "highest RSS at saturation, over that")):
        over = statistics.median(a[key] - b["rss_kib"] for a, b in zip(got["headwater"], got["onnxruntime"])) / 1024
        bench.results.most(row, what, over, 12, "MiB", f"{median(got['headwater'], key) / 1024:.1f} MiB; aim 8")
    bench.results.most(row, "start to ready", median(got["headwater"], "start"), 80, "ms")


def row_limited(bench, kind):
    """In a cgroup v1 group of half a core and 512 MiB: messages/s, against the Python peer in the same group."""
    row, file = f"limited {kind}", bench.corpus(kind)
    group = limited.Group("headwater-hotpath", cpus=0.5, bytes=512 << 20)
    with group:
        got = bench.rounds(row, {"headwater": lambda: subjects.ours(file, bench.count(kind) // 2, under=group.command()),
                                 "python": lambda: limited_python(group, file, bench.small)})
    own = got["headwater"]
    bench.results.add(row, "headwater: readings/s", median(own, "rate"), unit="/s", note=f"highest RSS {median(own, 'rss_kib') / 1024:.0f} MiB")
    if "python" in got:
        bench.results.least(row, "over Python in the same group", ratio(own, got["python"], "rate"), 100, "x")
    else:
        bench.results.least(row, "over 4,000/s, Python's rate computed from its CPU", median(own, "rate") / 4000, 100, "x")


def limited_python(group, file, small):
    command, cwd = subjects.python_command()
    got = subjects.behind_broker([*group.command(), *command], file, 10_000 // small, cwd)
    return {"rate": 0.5 / (got["cpu"] * 1e-6), **{key: got[key] for key in ("cpu",)}}


ROWS = {"cpu": row_cpu, "secured": row_secured, "connections": row_connections, "broker": row_broker, "early": row_early,
        "durable": row_durable, "steps": row_steps, "footprint": row_footprint, "limited": row_limited}
ONCE = {"early", "durable"}  # their messages carry the time they were sent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--corpus", choices=COUNTS, nargs="+", default=list(COUNTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    results = Results()
    results.detail.update(load_average=os.getloadavg()[0], cpus=os.cpu_count(), kernel=os.uname().release, quick=options.quick,
                          rounds=options.rounds, seed=options.seed)
    if not pathlib.Path(PROGRAM).exists():
        results.skip("all", f"{PROGRAM} is not built (make build)")
        return finish(results, options)
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hotpath-", dir=BUILD) as work:
        options.work = tempfile.tempdir = work
        options.work = pathlib.Path(work)
        bench = Bench(options, results)
        for name in options.only:
            for kind in options.corpus if name not in ONCE else ["one"]:
                began = time.monotonic()
                label = name if name in ONCE else f"{name} {kind}"
                try:
                    ROWS[name](bench, kind)
                except Skip as why:
                    results.skip(label, str(why))
                except (AssertionError, OSError, subprocess.SubprocessError, KeyError) as why:
                    results.failed(label, f"{type(why).__name__}: {why}")
                results.detail[f"{label} seconds"] = round(time.monotonic() - began, 1)
        tempfile.tempdir = None
    return finish(results, options)


def finish(results, options):
    text = json.dumps({"rows": results.lines, "detail": results.detail})
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if any(line.get("pass") is False for line in results.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
