#!/usr/bin/env python3
"""Tests of perf_ab.py's verdicts, on times that were recorded once: nothing is measured here, so nothing flickers.

The recordings: one build against itself, 11 rounds, on a machine with other work.
"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import perf_ab  # noqa: E402

SAME = {
    "simdjson_dom": ([82610.5, 82390.0, 83296.3, 84104.6, 82671.0, 83102.6, 84482.1, 82996.3, 84024.4, 83467.2, 83552.5],
                     [82608.4, 83134.0, 83131.0, 83906.6, 84638.5, 82658.9, 84015.5, 83046.7, 83558.5, 82659.6, 82637.2]),
    "walk": ([173136.3, 181272.0, 177033.3, 177734.5, 173329.2, 177177.8, 178127.3, 179556.4, 178446.6, 176173.3, 173868.1],
             [171549.5, 172559.9, 173581.1, 172384.7, 180906.8, 173922.1, 179923.5, 178568.1, 174440.5, 176579.7, 174493.2]),
    "batch_1": ([307.7, 305.6, 305.9, 305.3, 305.8, 309.0, 305.7, 306.7, 307.2, 308.6, 308.2],
                [306.2, 306.6, 305.1, 306.2, 307.2, 309.5, 319.5, 309.5, 315.4, 306.0, 320.5]),
}


def times(values, factor):
    return [value * factor for value in values]


class Verdict(unittest.TestCase):
    def test_the_same_build_is_not_slower(self):
        for name, (base, head) in SAME.items():
            self.assertFalse(perf_ab.judge(base, head)["slower"], name)
            self.assertFalse(perf_ab.judge(head, base)["slower"], name)

    def test_a_planted_slowdown_of_20_percent_is_found(self):
        for name, (base, head) in SAME.items():
            verdict = perf_ab.judge(base, times(head, 1.2))
            self.assertTrue(verdict["slower"], name)
            self.assertAlmostEqual(verdict["ratio"], 1.2, delta=0.03)

    def test_5_percent_is_not_enough(self):
        for name, (base, head) in SAME.items():
            self.assertFalse(perf_ab.judge(base, times(head, 1.05))["slower"], name)

    def test_faster_is_fine(self):
        base, head = SAME["walk"]
        self.assertFalse(perf_ab.judge(base, times(head, 0.5))["slower"])

    def test_a_few_rounds_of_other_load_are_noise(self):
        base, head = SAME["walk"]
        disturbed = [value * (3 if index in (1, 4, 9) else 1) for index, value in enumerate(head)]
        self.assertFalse(perf_ab.judge(base, disturbed)["slower"])

    def test_load_that_slows_both_down_cancels_out(self):
        base, head = SAME["walk"]
        load = [1, 1, 1, 2, 2, 2, 2, 1, 1, 3, 3]
        self.assertFalse(perf_ab.judge([a * b for a, b in zip(base, load)], [a * b for a, b in zip(head, load)])["slower"])
        self.assertTrue(perf_ab.judge([a * b for a, b in zip(base, load)], [a * b * 1.2 for a, b in zip(head, load)])["slower"])

    def test_a_median_whose_interval_reaches_1_is_noise(self):
        self.assertFalse(perf_ab.judge([100] * 9, [95, 98, 99, 100, 112, 118, 120, 125, 130])["slower"])

    def test_too_few_rounds_are_refused(self):
        with self.assertRaises(perf_ab.Trouble):
            perf_ab.judge([1, 1, 1], [2, 2, 2])
        with self.assertRaises(perf_ab.Trouble):
            perf_ab.judge([1] * 9, [1] * 8)

    def test_the_interval_is_the_same_each_time(self):
        ratios = [1.0, 1.1, 0.9, 1.3, 1.05]
        self.assertEqual(perf_ab.interval(ratios), perf_ab.interval(ratios))


class Comparison(unittest.TestCase):
    def test_what_is_slower_once_is_measured_again(self):
        asked = []

        def measure(name, rounds):
            asked.append((name, rounds))
            base, head = SAME["walk"]
            slow = name == "slow" or (name == "once" and asked.count((name, rounds)) == 1)
            return base, times(head, 1.2 if slow else 1)
        verdicts = perf_ab.compare(measure, ["same", "once", "slow"], 11)
        self.assertEqual([name for name, _ in asked], ["same", "once", "once", "slow", "slow"])
        self.assertEqual({name: one["slower"] for name, one in verdicts.items()}, {"same": False, "once": False, "slow": True})

    def test_which_goes_first_changes_from_round_to_round(self):
        order = []
        base, head = perf_ab.alternate(4, lambda: order.append("a") or len(order), lambda: order.append("b") or len(order))
        self.assertEqual("".join(order), "abbaabba")
        self.assertEqual((base, head), ([1, 4, 5, 8], [2, 3, 6, 7]))


if __name__ == "__main__":
    unittest.main()
