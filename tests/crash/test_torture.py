"""headwater torture as a user runs it: simulated faults by a fixed seed, a few real ones, its report and its help.

SIMULATED and REAL say how many trials (2000 and 16), SEED the first.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.path.abspath(os.environ["HW_PROGRAM"])
SIMULATED = os.environ.get("SIMULATED", "2000")
REAL = os.environ.get("REAL", "16")
SEED = os.environ.get("SEED", "1")


class Torture(unittest.TestCase):
    def torture(self, *flags):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([PROGRAM, "torture", "--dir", folder, "--json", *flags],
                                  capture_output=True, text=True, timeout=1200)
            self.assertIn(done.returncode, (0, 74), done.stderr)
            report = json.loads(done.stdout)
            for log in sorted(pathlib.Path(folder).glob("*/*.log")) if report["failures"] else []:
                print(f"--- {log}\n" + log.read_text(errors="replace")[-4000:])
            self.assertEqual(report["failures"], [], done.stdout)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(os.listdir(folder), [], "what a good trial made is removed")
            return report

    def assert_clean(self, report):
        for what in ("lost", "duplicated", "reordered", "altered", "unexplained_gaps", "decided_otherwise"):
            self.assertEqual(report[what], 0, what)

    def test_simulated_faults_find_nothing_and_hit_every_cell(self):
        report = self.torture("--faults", "simulated", "--trials", SIMULATED, "--seed", SEED)
        self.assert_clean(report)
        self.assertEqual(report["trials"], int(SIMULATED))
        self.assertGreaterEqual(report["acked"], int(SIMULATED) * 1000)
        self.assertGreaterEqual(report["gaps"], 1, "some trials fill the store")
        for fault, cells in report["coverage"].items():
            for boundary, count in cells.items():
                self.assertGreater(count, 0, f"{fault} at {boundary}")
        self.assertLess(report["void"], report["trials"] / 5)

    def test_real_faults_find_nothing(self):
        report = self.torture("--faults", "real", "--trials", REAL, "--seed", SEED)
        self.assert_clean(report)
        self.assertGreaterEqual(report["acked"], int(REAL) * 1000)
        self.assertGreater(report["delivered"], int(REAL) * 100, "the uplink sends while the edge runs")
        for fault, count in report["real"].items():
            self.assertTrue(count > 0 or fault in report["skipped"], f"{fault} never struck")
        for fault, why in report["skipped"].items():
            print(f"skipped {fault}: {why}")

    def test_a_seed_does_the_same_again(self):
        reports = [self.torture("--faults", "simulated", "--trials", "40", "--seed", "77") for _ in range(2)]
        for report in reports:
            del report["seconds"]
        self.assertEqual(reports[0], reports[1])

    def test_a_fault_there_is_not_is_named(self):
        done = subprocess.run([PROGRAM, "torture", "--faults", "power_cit"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 65)
        self.assertIn("did you mean 'power_cut'", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
