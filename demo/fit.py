#!/usr/bin/env python3
"""Fits the demo's model on the first 9 % of the recording and writes it as ONNX.

    demo/fit.py RECORDING.csv MODEL.onnx

Rows behind the 9 % are not read. Labels are not read either: what is known here is that the first of
them begins at 2013-12-10 06:25, and this stops if the training rows reach it.
"""

import datetime
import hashlib
import struct
import sys

import detector
import onnx_file

TRAIN_SHARE = 0.09
FIRST_LABEL = datetime.datetime(2013, 12, 10, 6, 25, tzinfo=datetime.timezone.utc).timestamp()


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_onnx(fitted, metadata):
    return detector.as_onnx(fitted, "day_distance", metadata)


def fit(rows):
    """The detector fitted on rows that all lie before the first label."""
    if rows[-1][0] >= FIRST_LABEL:
        raise SystemExit(f"fit: the training rows reach {utc(rows[-1][0])}, behind the first label")
    samples = [x for x in detector.features(rows) if x is not None]
    return detector.Detector(samples), samples


def main(arguments):
    if len(arguments) != 2:
        raise SystemExit("usage: demo/fit.py RECORDING.csv MODEL.onnx")
    recording, target = arguments
    with open(recording, encoding="utf-8") as handle:
        total = sum(1 for _ in handle) - 1
    rows = detector.read_rows(recording, limit=int(total * TRAIN_SHARE))
    fitted, samples = fit(rows)
    digest = hashlib.sha256(b"".join(struct.pack("<qd", *row) for row in rows)).hexdigest()
    encoded = as_onnx(fitted, {
        "headwater.name": "machine-temperature",
        "headwater.version": "1",
        "headwater.fields": ",".join(detector.FIELDS),
        "headwater.units": "degF,degF,degF/s",
        "headwater.threshold": detector.ALARM_SCORE,
        "headwater.train_from": utc(rows[0][0]),
        "headwater.train_to": utc(rows[-1][0]),
        "headwater.train_rows": len(rows),
        "headwater.train_sha256": digest,
        "headwater.limit": f"{fitted.limit:.6g}",
        "headwater.quantile": detector.QUANTILE,
        "headwater.held_out_ratio": f"{fitted.held_out_ratio:.4g}",
    })
    with open(target, "wb") as handle:
        handle.write(encoded)
    print(f"model: {len(encoded)} bytes, fitted on {len(rows)} of {total} rows, {utc(rows[0][0])} to {utc(rows[-1][0])} "
          f"({len(samples)} with a day behind them)")
    print(f"       limit {fitted.limit:.2f}: the {detector.QUANTILE:.0%} quantile, raised {fitted.held_out_ratio:.2f} times "
          "because later rows of the training week exceeded it by so much")


if __name__ == "__main__":
    main(sys.argv[1:])
