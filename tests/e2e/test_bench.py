"""headwater bench on an example, from inside and through the listener: the sums, and that nothing of the user's is touched."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from harness import PROGRAM, ROOT, run_cli

EXAMPLES = ROOT / "examples"
NOT_HELD, USAGE, INVALID, NOT_FOUND, CANCELLED = 73, 64, 65, 66, 75


class Place:
    """A folder with a config and what it needs."""

    def __init__(self, example="press-hall.yaml"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-bench-test-"))
        for name in ("anomaly.onnx", "assets.csv", "readings.jsonl", "siren.sh"):
            shutil.copy(EXAMPLES / name, self.folder)
        shutil.copy(EXAMPLES / example, self.folder / "edge.yaml")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        shutil.rmtree(self.folder, ignore_errors=True)

    def listing(self):
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns
                for path in self.folder.rglob("*")}

    def bench(self, *arguments, status=0):
        out = run_cli("bench", "edge.yaml", *arguments, status=status, cwd=self.folder)
        return json.loads(out) if status == 0 and "--json" in arguments else out

    def measure(self, *arguments):
        """The report, whether or not the rate holds: how much else the machine does now is not this test's."""
        done = subprocess.run([PROGRAM, "bench", "edge.yaml", *arguments, "--json"], cwd=self.folder, text=True,
                              capture_output=True, timeout=240)
        assert done.returncode in (0, NOT_HELD), (done.returncode, done.stderr)
        return json.loads(done.stdout)


def check_sums(report, rate, seconds):
    measured = report["measured"]
    assert report["totals"]["sent"] == report["totals"]["acknowledged"] > 0, report["totals"]
    assert report["totals"]["sent"] >= measured["sent"] >= measured["readings"] * 0.9 > 0, measured
    assert measured["holds"] == (measured["why_not"] == ""), measured
    if measured["holds"]:
        assert abs(measured["readings"] - rate * seconds) < 0.1 * rate * seconds, measured
    assert measured["lost"] == 0 and measured["decided"] > 0 and measured["scored"] > 0, measured
    for which in ("decision", "acknowledgement"):
        latency = measured["latency_s"][which]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"], latency

    # Stages are the process without the generator.
    stages = measured["stage_us_per_reading"]
    known = sum(us for stage, us in stages.items() if stage != "other")
    whole = (measured["process_cpu_s"] - measured["generator_cpu_s"]) * 1e6 / measured["readings"]
    assert abs(known - whole) <= 0.15 * whole, (known, whole, stages)
    assert abs(measured["cpu_us_per_reading"] - whole) < 0.01 * whole
    for stage in ("decode", "filter", "enrich", "window", "infer", "decide", "store"):
        assert stages[stage] > 0, stages
    batches = measured["batch_rows"]
    assert sum(one["batches"] for one in batches["bins"]) > 0 and batches["mean"] >= 1, batches
    assert 0 < measured["rss_bytes"] <= measured["peak_rss_bytes"] * 1.1


def test_both_loads():
    with Place() as place:
        # A store of the user's, which must stay as it is.
        (place.folder / "data" / "spool").mkdir(parents=True)
        (place.folder / "data" / "spool" / "mine").write_text("untouched")
        before = place.listing()
        inside = place.measure("--messages", "readings.jsonl", "--devices", "20", "--rate", "2000",
                               "--seconds", "2", "--objective", "p99=5s")
        assert inside["mode"] == "in_process" and inside["sample"]["devices"] == 40, inside
        assert not inside["sample"]["made_up"] and inside["objective_p99_s"] == 5
        check_sums(inside, 2000, 2)
        assert inside["measured"]["stage_us_per_reading"]["take"] == 0, "that is the generator"

        through = place.measure("--messages", "readings.jsonl", "--devices", "20", "--rate", "2000",
                                "--seconds", "2", "--objective", "p99=5s", "--through", "listener",
                                "--connections", "8")
        assert through["mode"] == "listener" and through["connections"] == 8, through
        check_sums(through, 2000, 2)
        assert through["measured"]["stage_us_per_reading"]["take"] > 0
        assert place.listing() == before, "the folder of the config changed"


def test_made_up_messages():
    with Place() as place:
        report = place.measure("--rate", "1000", "--seconds", "1", "--objective", "5s")
        assert report["sample"]["made_up"], report
        check_sums(report, 1000, 1)
        assert any("made up" in note for note in report["notes"]), report["notes"]
        text = run_cli("bench", "edge.yaml", "--rate", "1000", "--seconds", "1", "--objective", "5s", status=(0, NOT_HELD),
                       cwd=place.folder)[0]
        assert "nothing left this machine" in text and "CPU per reading: " in text, text
        assert "At 1,000/s this machine is" in text or "does not hold 1,000/s" in text, text


def test_search():
    with Place("quickstart.yaml") as place:
        report = place.measure("--messages", "readings.jsonl", "--seconds", "0.5", "--objective", "1s")
        assert report["search"]["held_rate"] >= 100, report["search"]
        assert report["search"]["probes"][-1] == {"rate": report["search"]["held_rate"], "holds": True,
                                                  "confirmation": True}
        assert report["answer"].startswith("This machine holds "), report["answer"]
        assert report["totals"]["sent"] == report["totals"]["acknowledged"]


def test_without_a_model():
    with Place() as place:
        (place.folder / "edge.yaml").write_text("""
edge: {data_dir: ./data}
sources: {in: {type: mqtt_listen, device: "topic[1]", topics: ["sensors/+"]}}
pipelines: {main: {from: [in]}}
uplink: {type: file, dir: uploads}
""")
        report = place.measure("--rate", "500", "--seconds", "1", "--objective", "5s")
        assert report["measured"]["decided"] > 0 and report["measured"]["scored"] == 0, report
        assert report["totals"]["sent"] == report["totals"]["acknowledged"]
        assert not (place.folder / "uploads").exists() and not (place.folder / "data").exists()


def test_what_does_not_hold():
    with Place("quickstart.yaml") as place:
        out, _ = place.bench("--rate", "1000", "--seconds", "0.5", "--objective", "p99=1us", status=NOT_HELD)
        assert "does not hold 1,000/s with p99 within 1us: p99 of decisions is" in out, out


def test_errors():
    with Place() as place:
        before = place.listing()
        for arguments, status, words in (
                (("--messages", "nothing.jsonl"), USAGE, "nothing.jsonl"),
                (("--objective", "fast"), INVALID, "--objective: 'fast': expected p99= and a duration"),
                (("--objective", "p99=0s"), INVALID, "expected p99="),
                (("--rate", "much"), INVALID, "--rate much: expected messages a second, or search"),
                (("--rate", "-5"), INVALID, "expected messages a second"),
                (("--through", "mqtt://x"), INVALID, "there is 'listener'"),
                (("--source", "none"), NOT_FOUND, "no source 'none'"),
                (("--seconds", "0"), USAGE, "--seconds"),
                (("--dir", "nowhere"), USAGE, "nowhere"),
                (("--set", "store.max_bytes=1"), INVALID, "max_bytes"),
                (("--through", "listener", "--topic", "elsewhere", "--messages", "readings.jsonl",
                  "--rate", "100"), 75, "does it take topics such as 'elsewhere'")):
            _, error = place.bench(*arguments, status=status)
            assert words in error, (arguments, error)
        (place.folder / "empty.jsonl").write_text("")
        _, error = place.bench("--messages", "empty.jsonl", status=INVALID)
        assert "empty.jsonl" in error, error
        (place.folder / "empty.jsonl").unlink()
        assert place.listing().keys() == before.keys()
    _, error = run_cli("bench", "no-such.yaml", status=USAGE)
    assert "no-such.yaml" in error, error


def test_an_interrupt_leaves_nothing_behind():
    with Place("quickstart.yaml") as place:
        before = place.listing().keys()
        process = subprocess.Popen([PROGRAM, "bench", "edge.yaml", "--rate", "100", "--seconds", "600"],
                                   cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while not list(place.folder.glob("headwater-bench-*/spool")):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode != 0 and "interrupted" in error, (process.returncode, error)
        assert place.listing().keys() == before


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            began = time.monotonic()
            test()
            print(f"{name}: ok, {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(0)
