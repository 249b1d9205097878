#!/usr/bin/env python3
"""The demo against the real program: it must decide what the same pipeline in Python decides.

HW_PROGRAM names the program.
"""

import os
import subprocess
import sys
import tempfile
import unittest

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, FOLDER)
import demo_test  # noqa: E402
import detector  # noqa: E402
import fit  # noqa: E402
import score  # noqa: E402


class Demo(unittest.TestCase):
    def test_the_edge_decides_as_the_same_pipeline_in_python(self):
        rows = detector.read_rows(demo_test.RECORDING)
        fitted, _ = fit.fit(rows[:int(len(rows) * fit.TRAIN_SHARE)])
        scores = [None if x is None else fitted.score(x) for x in detector.features(rows)]
        expected = demo_test.episodes_of(rows, scores)
        with tempfile.TemporaryDirectory() as folder:
            work = os.path.join(folder, "demo")
            ran = subprocess.run(
                [sys.executable, os.path.join(FOLDER, "run.py"), "--rate", "6000", "--folder", work, "--any-port"],
                env={**os.environ, "HEADWATER": os.environ["HW_PROGRAM"]}, capture_output=True, text=True, timeout=200)
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
            episodes = score.read_episodes(os.path.join(work, "alerts.jsonl"), rows[-1][0])
        self.assertEqual(episodes, expected)
        self.assertIn(f"readings in      {len(rows)} in ", ran.stdout)
        self.assertIn(f"scored           {sum(s is not None for s in scores)};", ran.stdout)
        self.assertIn("received = the sum of all outcomes", ran.stdout)
        self.assertIn("3 of 4 windows hit; 3 episodes inside, 3 outside", ran.stdout)


if __name__ == "__main__":
    if "HW_PROGRAM" not in os.environ:
        sys.exit("run_test: HW_PROGRAM must name the headwater program")
    unittest.main()
