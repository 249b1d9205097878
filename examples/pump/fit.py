#!/usr/bin/env python3
"""Fits the pump's model on the first rows of each device of a recording, taken as normal, and writes it as ONNX.

    ./fit.py RECORDING.csv MODEL.onnx ROWS

Squared Mahalanobis distance of the features from those rows, with Ledoit-Wolf shrinkage; score = 1 - exp(ln(0.2) ·
distance² / limit), so that 0.8 is the limit. The limit is the 99 % quantile of those rows, raised by the factor by which a
fit on their first 70 % was exceeded on their last 30 %. Arithmetic and file format are demo/detector.py and
demo/onnx_file.py of the repository; in a copy of this folder, put both files beside this one. Only Python's standard library.
"""

import collections
import csv
import datetime
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "demo"))
try:
    import detector
    import onnx_file
except ModuleNotFoundError as missing:
    raise SystemExit(f"fit.py: {missing.name}.py is not here; copy demo/detector.py and demo/onnx_file.py beside fit.py") from None

# As in edge.yaml: column, aggregate, signal, seconds, least number of values.
FEATURES = [
    ("vibration_1_rms", "rms", "vibration_1", 15, 10),
    ("vibration_2_rms", "rms", "vibration_2", 15, 10),
    ("pressure_mean", "mean", "pressure", 15, 10),
    ("pressure_std", "std", "pressure", 15, 10),
    ("flow_mean", "mean", "flow", 15, 10),
    ("current_mean", "mean", "current", 15, 10),
    ("temperature_slope", "slope", "temperature", 60, 30),
]


def aggregate(kind, points):
    """Of [(seconds, value)]; slope is per second."""
    values = [v for _, v in points]
    count = len(values)
    mean = math.fsum(values) / count
    if kind == "mean":
        return mean
    if kind == "rms":
        return math.sqrt(math.fsum(v * v for v in values) / count)
    if kind == "std":
        return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    assert kind == "slope", kind
    middle = math.fsum(t for t, _ in points) / count
    spread = math.fsum((t - middle) ** 2 for t, _ in points)
    return math.fsum((t - middle) * (v - mean) for t, v in points) / spread


def plausible(values):
    """The filter of edge.yaml."""
    return -40.0 < values["temperature"] < 200.0 and -2.0 < values["pressure"] < 25.0


def read(path):
    """{device: [(seconds, {signal: value})]} in the order of the file."""
    rows = collections.defaultdict(list)
    with open(path, newline="", encoding="utf-8") as handle:
        for record in csv.DictReader(handle):
            at = datetime.datetime.fromisoformat(record.pop("timestamp").replace("Z", "+00:00")).timestamp()
            device = record.pop("device_id")
            values = {name: float(v) for name, v in record.items()}
            if plausible(values):
                rows[device].append((at, values))
    return rows


def features(rows):
    """One list a row, over (t - length, t]; None where a window holds too few values."""
    out = []
    for index, (at, _) in enumerate(rows):
        sample = []
        for _, kind, signal, seconds, least in FEATURES:
            points = []
            for earlier in range(index, -1, -1):
                if rows[earlier][0] <= at - seconds:
                    break
                points.append((rows[earlier][0] - at, rows[earlier][1][signal]))
            if len(points) < least:
                break
            sample.append(aggregate(kind, points))
        out.append(sample if len(sample) == len(FEATURES) else None)
    return out


def fit(recording, rows_per_device):
    samples = []
    for rows in read(recording).values():
        rows = rows[:rows_per_device]
        samples += [(at, x) for (at, _), x in zip(rows, features(rows)) if x is not None]
    # By time, so that what is held out is the end of every device.
    samples.sort(key=lambda sample: sample[0])
    return detector.Detector([x for _, x in samples]), len(samples)


def as_onnx(fitted, samples):
    return detector.as_onnx(fitted, "distance", {
        "headwater.name": "pump",
        "headwater.fields": ",".join(name for name, *_ in FEATURES),
        "headwater.threshold": detector.ALARM_SCORE,
        "headwater.train_rows": samples,
        "headwater.limit": f"{fitted.limit:.6g}",
    })


def main(arguments):
    if len(arguments) != 3:
        raise SystemExit("usage: fit.py RECORDING.csv MODEL.onnx ROWS")
    fitted, samples = fit(arguments[0], int(arguments[2]))
    encoded = as_onnx(fitted, samples)
    pathlib.Path(arguments[1]).write_bytes(encoded)
    print(f"{arguments[1]}: {len(encoded)} bytes, fitted on {samples} rows; limit {fitted.limit:.1f}, "
          f"the {detector.QUANTILE:.0%} quantile raised {max(1.0, fitted.held_out_ratio):.2f} times")


if __name__ == "__main__":
    main(sys.argv[1:])
