#!/usr/bin/env python3
"""Measures this example on the Skoltech Anomaly Benchmark (SKAB), which is not part of this repository (GPL-3.0).

    HEADWATER=path/to/headwater ./skab.py SKAB/data [RUN ...]          RUN: such as valve1/0; all 34 if not given

For each run: its rows become pumps.csv, a model is fitted on the first 400 of them, the real program runs edge.yaml on the
file, and alerts.jsonl is compared with the labels behind row 400. Only this script reads labels, and only for that.
edge.yaml gets one rule more for each baseline: a fixed limit on one signal at mean ± 3 standard deviations of the same 400
rows, with the delays of the model's alarm.
"""

import csv
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import fit

FOLDER = pathlib.Path(__file__).resolve().parent
TRAIN = 400
SIGNALS = {"Accelerometer1RMS": "vibration_1", "Accelerometer2RMS": "vibration_2", "Current": "current",
           "Pressure": "pressure", "Temperature": "temperature", "Volume Flow RateRMS": "flow"}
LIMITS = ("vibration_1", "pressure", "temperature", "flow")
RULE = """      - decide:
          rule: limit_{0}
          alert_when: "{0} < {1!r} || {0} > {2!r}"
          on_delay: "5 of 10"
          off_delay: 20s
"""


def convert(source, target):
    """SKAB's columns under the names of the example: [(seconds, labelled)] of its rows."""
    labels = []
    with open(source, newline="", encoding="utf-8") as handle, open(target, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["timestamp", "device_id", *SIGNALS.values()])
        for row in csv.DictReader(handle, delimiter=";"):
            at = row["datetime"].replace(" ", "T") + "Z"
            writer.writerow([at, "pump", *(row[name] for name in SIGNALS)])
            labels.append((seconds(at), float(row["anomaly"]) > 0))
    return labels


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def with_limits(config, rows):
    rules = ""
    for signal in LIMITS:
        values = [row[signal] for _, row in rows[:TRAIN]]
        mean, std = statistics.fmean(values), statistics.stdev(values)
        rules += RULE.format(signal, mean - 3 * std, mean + 3 * std)
    before, after = config.split("    alerts: [", 1)
    return before + rules + "    alerts: [" + after


def episodes(path, end):
    """{rule: [(raised, cleared)]}; one that is still active ends with the recording."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        alert = json.loads(line)
        known = found.setdefault(alert["rule"], {})
        if alert["event"] == "raised":
            known.setdefault(alert["id"], [seconds(alert["timestamp"]), end])
        else:
            known[alert["id"]][1] = seconds(alert["timestamp"])
    return {rule: sorted(map(tuple, known.values())) for rule, known in found.items()}


def run(program, source, folder):
    """(labels, episodes by rule, rows with a score above 0.8) of one run by the real program."""
    shutil.copy(FOLDER / "assets.csv", folder)
    labels = convert(source, folder / "pumps.csv")
    fitted, samples = fit.fit(folder / "pumps.csv", TRAIN)
    (folder / "model.onnx").write_bytes(fit.as_onnx(fitted, samples))
    rows = fit.read(folder / "pumps.csv")["pump"]
    if len(rows) != len(labels):
        raise SystemExit(f"skab: the filter drops rows of {source}")
    (folder / "edge.yaml").write_text(with_limits((FOLDER / "edge.yaml").read_text(encoding="utf-8"), rows), encoding="utf-8")
    subprocess.run([program, "run", "edge.yaml", "--exit-when-done"], cwd=folder, check=True, capture_output=True)
    alerts = folder / "alerts.jsonl"
    alerts.touch()
    stored = subprocess.run([program, "store", "cat", "data", "--json"], cwd=folder, check=True, capture_output=True, text=True)
    scores = [json.loads(line)["score"] for line in stored.stdout.splitlines()]
    return labels, episodes(alerts, labels[-1][0]), [score is not None and score > 0.8 for score in scores]


class Tally:
    def __init__(self):
        self.hit = self.false = self.missed = self.quiet = self.runs = self.found = self.before = self.outside = 0
        self.delays = []

    def rows(self, labelled, alarmed):
        for label, alarm in zip(labelled[TRAIN:], alarmed[TRAIN:]):
            self.hit += label and alarm
            self.false += alarm and not label
            self.missed += label and not alarm
            self.quiet += not label and not alarm

    def raised(self, labels, spans):
        """A run is found if an alarm was raised in its labelled part; alarms raised elsewhere are false, also one that was
        raised before that part and lasts into it (counted as before)."""
        self.runs += 1
        inside = [first for first, _ in spans if any(label and at == first for at, label in labels[TRAIN:])]
        self.outside += sum(first >= labels[TRAIN][0] for first, _ in spans) - len(inside)
        begin = next(at for at, label in labels[TRAIN:] if label)
        if inside:
            self.found += 1
            self.delays.append(inside[0] - begin)
        elif any(first < begin <= last for first, last in spans):
            self.before += 1

    def line(self, name):
        both = 2 * self.hit + self.false + self.missed
        precision = self.hit / (self.hit + self.false) if self.hit else 0.0
        text = (f"{name:<30} {2 * self.hit / both:5.2f} {precision:9.2f} {self.hit / (self.hit + self.missed):6.2f} "
                f"{self.false / (self.false + self.quiet):6.1%}")
        if self.runs:
            per_hour = self.outside / ((self.false + self.quiet) / 3600)
            delay = f"{statistics.median(self.delays):.0f} s" if self.delays else "-"
            text += (f" {self.found:>6} {delay:>6} {self.before:>6} {self.runs - self.found - self.before:>6} "
                     f"{self.outside:>4} ({per_hour:.1f}/h)")
        return text


def main(arguments):
    if not arguments:
        raise SystemExit("usage: HEADWATER=path/to/headwater ./skab.py SKAB/data [RUN ...]")
    program = os.path.abspath(os.environ.get("HEADWATER") or shutil.which("headwater") or "build/release/headwater")
    data = pathlib.Path(arguments[0])
    names = arguments[1:] or [f"{path.parent.name}/{path.stem}" for group in ("other", "valve1", "valve2")
                              for path in sorted(data.glob(f"{group}/*.csv"))]
    rules = ["anomaly", *(f"limit_{signal}" for signal in LIMITS)]
    tallies = {name: Tally() for name in ("always", "score", *rules)}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            labels, found, above = run(program, data / f"{name}.csv", pathlib.Path(folder))
        labelled = [label for _, label in labels]
        tallies["always"].rows(labelled, [True] * len(labels))
        tallies["score"].rows(labelled, above)
        for rule in rules:
            spans = found.get(rule, [])
            tallies[rule].rows(labelled, [any(a <= at <= b for a, b in spans) for at, _ in labels])
            tallies[rule].raised(labels, spans)
    rows = vars(tallies["always"])
    print(f"{len(names)} runs, {rows['hit'] + rows['false']} rows behind the first {TRAIN} of each, {rows['hit']} of them labelled\n")
    print(f"{'':<30} {'F1':>5} {'precision':>9} {'recall':>6} {'FAR':>6} {'found':>6} {'delay':>6} {'before':>6} {'missed':>6} "
          "false alarms")
    print(tallies["anomaly"].line("the alarm of edge.yaml"))
    print(tallies["score"].line("rows with score > 0.8"))
    for signal in LIMITS:
        print(tallies[f"limit_{signal}"].line(f"limit on {signal}, ±3 std"))
    print(tallies["always"].line("always alarm"))


if __name__ == "__main__":
    main(sys.argv[1:])
