"""A disk that others fill, for some seconds under load, and give back: nothing acknowledged is lost, what is let go is on record, the
process lives, says what is wrong, and goes on by itself. Needs the right to mount a tmpfs; skipped and said otherwise."""

import json
import unittest

from small_disk import SIZE_MIB, run_full

RESUMES_S = 5


class FullDisk(unittest.TestCase):
    def run_and_check(self, policy, **options):
        report, refused = run_full(policy, 4, **options)
        if report is None:
            self.skipTest(f"no file system can be mounted here: {refused}")
        print(json.dumps(report))
        self.assertEqual(report["lost"], 0)
        self.assertEqual(report["corrupt"], 0)
        self.assertTrue(report["sound"])
        self.assertTrue(report["conserved"])
        self.assertLess(report["resume_s"], RESUMES_S)
        return report

    def not_ready(self, edge, _):
        ready = edge.get("health", "/readyz")
        self.assertEqual(ready[0], 503)
        self.assertIn("full", json.loads(ready[1])["reasons"]["store"])
        self.assertEqual(edge.get("health", "/livez")[0], 200, "a full disk is no reason to restart")
        self.assertIn(edge.status()["store"]["health"], ("full", "disk_full"))

    def test_block_waits_and_goes_on(self):
        report = self.run_and_check("block", looks=self.not_ready)
        self.assertGreater(report["stalled_s"], 0.5, "the disk was not full")
        self.assertEqual(report["gaps"], 0)

    def test_shed_oldest_goes_on_in_what_it_has(self):
        report = self.run_and_check("shed_oldest")
        self.assertGreater(report["gaps"], 0, "the disk was not full")
        self.assertEqual(report["stalled_s"], 0)

    def test_min_free_is_left_to_others(self):
        """Others leave less than `min_free`: the store takes no more blocks, though there are some, and its records still fit."""
        for policy in ("block", "shed_oldest"):
            with self.subTest(policy):
                used = []

                def look(edge, disk):
                    self.assertGreater(disk.free(), 4 << 20, "the store took what was left to others")
                    used.append(disk.used_by_edge())
                    if policy == "block":
                        self.not_ready(edge, disk)

                report = self.run_and_check(policy, min_free="8MiB", leave=5 << 20, looks=look)
                self.assertLess(used[0], (SIZE_MIB - 8) << 20)
                self.assertGreater(report["stalled_s"] if policy == "block" else report["gaps"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
