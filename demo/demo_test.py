#!/usr/bin/env python3
"""Tests of the demo's scripts; no program needed.

The offline run below repeats the pipeline of demo/headwater.yaml in a few lines of Python: it keeps the
figures that README and demo/README.md state true, and is what the real run can be compared with.
"""

import builtins
import contextlib
import io
import json
import math
import os
import struct
import sys
import tempfile
import unittest

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, FOLDER)
import detector  # noqa: E402
import fit  # noqa: E402
import onnx_file  # noqa: E402
import score  # noqa: E402

RECORDING = os.path.join(FOLDER, "data", "machine_temperature_system_failure.csv")
WINDOWS = os.path.join(FOLDER, "data", "windows.json")


def fields_of(data):
    """[(field, value)] of one protobuf message."""
    at, out = 0, []

    def varint():
        nonlocal at
        shift = result = 0
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return result

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            out.append((key >> 3, varint()))
        else:
            size = varint()
            out.append((key >> 3, data[at:at + size]))
            at += size
    return out


def all_of(message, field):
    return [v for f, v in fields_of(message) if f == field]


def run_model(encoded, row):
    """Evaluates the written file on one row, by the meaning of its operators, in double."""
    graph = all_of(encoded, 7)[0]
    values = {"input": list(row)}
    shapes = {}
    for tensor in all_of(graph, 5):
        name = all_of(tensor, 8)[0].decode()
        dims, raw = all_of(tensor, 1), all_of(tensor, 9)[0]
        kind = "f" if all_of(tensor, 2)[0] == onnx_file.FLOAT else "q"
        values[name] = list(struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw))
        shapes[name] = dims
    for entry in all_of(graph, 1):
        inputs = [i.decode() for i in all_of(entry, 1)]
        kind = all_of(entry, 4)[0].decode()
        a = values[inputs[0]]
        b = values[inputs[1]] if len(inputs) > 1 else None

        def broadcast(operation):
            size = max(len(a), len(b))
            return [operation(a[i % len(a)], b[i % len(b)]) for i in range(size)]

        if kind == "Sub":
            result = broadcast(lambda x, y: x - y)
        elif kind == "Div":
            result = broadcast(lambda x, y: x / y)
        elif kind == "Mul":
            result = broadcast(lambda x, y: x * y)
        elif kind == "MatMul":
            rows, columns = shapes[inputs[1]]
            result = [sum(a[i] * b[i * columns + j] for i in range(rows)) for j in range(columns)]
        elif kind == "ReduceSum":
            result = [sum(a)]
        elif kind == "Exp":
            result = [math.exp(a[0])]
        else:
            raise AssertionError(kind)
        values[all_of(entry, 2)[0].decode()] = result
    return values["score"][0]


def episodes_of(rows, scores):
    """[(raised, cleared)] by the settings of headwater.yaml: 5 of 10, clear below 0.724 for 100 min, cooldown 6 h."""
    episodes, recent, active, clear_since, cleared_at = [], [], None, None, -math.inf
    for (at, _), value in zip(rows, scores):
        if value is None:
            continue
        if active is None:
            recent = (recent + [value > 0.8])[-10:]
            if sum(recent) >= 5 and at - cleared_at >= 6 * 3600:
                active, clear_since = at, None
        elif value < 0.724:
            clear_since = at if clear_since is None else clear_since
            if at - clear_since >= 100 * 60:
                episodes.append((active, at))
                active, recent, cleared_at = None, [], at
        else:
            clear_since = None
    if active is not None:
        episodes.append((active, max(at for at, _ in rows)))
    return episodes


class Fit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rows = detector.read_rows(RECORDING)
        cls.train = int(len(cls.rows) * fit.TRAIN_SHARE)
        cls.fitted, cls.samples = fit.fit(cls.rows[:cls.train])

    def test_training_ends_before_the_first_label(self):
        first = score.read_windows(WINDOWS, RECORDING)[0][0]
        self.assertEqual(first, fit.FIRST_LABEL)
        self.assertLess(self.rows[self.train - 1][0], first)
        with self.assertRaises(SystemExit):
            fit.fit(self.rows[:self.train + 200])

    def test_fit_opens_the_recording_only(self):
        opened = []
        real = builtins.open

        def spy(path, *arguments, **named):
            opened.append(os.path.basename(str(path)))
            return real(path, *arguments, **named)

        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            builtins.open = spy
            try:
                fit.main([RECORDING, os.path.join(folder, "m.onnx")])
            finally:
                builtins.open = real
        self.assertEqual(set(opened), {os.path.basename(RECORDING), "m.onnx"})

    def test_later_rows_do_not_change_the_model(self):
        short, _ = fit.fit(self.rows[:self.train])
        self.assertEqual(short.limit, self.fitted.limit)
        self.assertEqual(len(detector.read_rows(RECORDING, limit=self.train)), self.train)

    def test_the_file_computes_what_was_fitted(self):
        encoded = fit.as_onnx(self.fitted, {"headwater.fields": ",".join(detector.FIELDS)})
        for x in [self.samples[0], self.samples[900], [60.0, 20.0, -5e-4], [100.0, 1.0, 0.0]]:
            self.assertAlmostEqual(run_model(encoded, x), self.fitted.score(x), delta=1e-5)

    def test_the_score_is_0_8_at_the_limit(self):
        x = list(self.fitted.distance.mean)
        step = math.sqrt(self.fitted.limit / self.fitted.distance.squared([x[0] + 1.0, x[1], x[2]]))
        self.assertAlmostEqual(self.fitted.score([x[0] + step, x[1], x[2]]), 0.8, places=9)

    def test_whitening_inverts_the_covariance(self):
        # Mean squared distance of the samples is the number of fields, less what shrinkage takes.
        mean = sum(self.fitted.distance.squared(x) for x in self.samples) / len(self.samples)
        self.assertAlmostEqual(mean, 3.0, delta=0.1)

    def test_features_have_the_windows_meaning(self):
        rows = [(t * 300, float(t)) for t in range(600)]
        out = detector.features(rows)
        self.assertIsNone(out[274])
        self.assertIsNotNone(out[275])
        mean, std, slope = out[599]  # 288 values: (t - 24 h, t]
        self.assertAlmostEqual(mean, sum(range(312, 600)) / 288)
        self.assertAlmostEqual(slope, 1 / 300)
        self.assertAlmostEqual(std, math.sqrt(288 * 289 / 12))
        self.assertIsNone(detector.features(rows[:400] + [(10, 1.0)])[400])

    def test_the_offline_run_hits_three_of_four_windows(self):
        scores = [None if x is None else self.fitted.score(x) for x in detector.features(self.rows)]
        episodes = episodes_of(self.rows, scores)
        _, figures = score.report(self.rows, score.read_windows(WINDOWS, RECORDING), episodes, self.train)
        self.assertEqual((figures["hit"], figures["inside"], figures["outside"]), (3, 3, 3), figures)
        self.assertAlmostEqual(figures["recall"], 0.727, delta=0.005)
        self.assertAlmostEqual(figures["precision"], 0.664, delta=0.005)


class Score(unittest.TestCase):
    ROWS = [(t * 300, 0.0) for t in range(100)]
    WINDOW = [(30 * 300, 39 * 300)]

    def figures(self, episodes):
        return score.report(self.ROWS, self.WINDOW, episodes, 10)[1]

    def test_counts_by_where_an_episode_was_raised(self):
        figures = self.figures([(20 * 300, 35 * 300), (36 * 300, 50 * 300)])
        self.assertEqual((figures["hit"], figures["inside"], figures["outside"]), (1, 1, 1))

    def test_an_episode_raised_before_a_window_does_not_hit_it(self):
        lines, figures = score.report(self.ROWS, self.WINDOW, [(20 * 300, 35 * 300)], 10)
        self.assertEqual((figures["hit"], figures["outside"]), (0, 1))
        self.assertIn("missed; an episode raised 0.8 h before", lines[0])

    def test_rows(self):
        figures = self.figures([(35 * 300, 44 * 300)])
        self.assertEqual(figures["recall"], 0.5)
        self.assertEqual(figures["precision"], 0.5)

    def test_rows_of_the_training_part_do_not_count(self):
        self.assertEqual(self.figures([(0, 9 * 300)])["precision"], 0.0)
        self.assertEqual(self.figures([])["precision"], 0.0)

    def test_reads_alerts_and_goes_by_their_id(self):
        alerts = [
            {"id": "a", "event": "raised", "timestamp": "1970-01-01T00:05:00Z"},
            {"id": "a", "event": "raised", "timestamp": "1970-01-01T00:05:00Z"},
            {"id": "a", "event": "cleared", "timestamp": "1970-01-01 00:10:00"},
            {"id": "b", "event": "raised", "timestamp": "1970-01-01T00:20:00Z"},
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "alerts.jsonl")
            with open(path, "w", encoding="utf-8") as handle:
                handle.writelines(json.dumps(a) + "\n" for a in alerts)
            self.assertEqual(score.read_episodes(path, 9000), [(300, 600), (1200, 9000)])


if __name__ == "__main__":
    unittest.main()
