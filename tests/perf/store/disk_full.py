#!/usr/bin/env python3
"""A full disk for 60 s under load, then space again: what was acknowledged, stored, let go on record and lost, and when it went on.

    HEADWATER=build/release/headwater tests/perf/store/disk_full.py [--seconds 60] [--policy block]

Mounts a tmpfs, so it needs the right to. One JSON object for each policy; the exit status is 1 when anything was lost, the process
ended, or it took more than 5 s to go on.
"""

import argparse
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
os.environ["HW_PROGRAM"] = os.environ.get("HEADWATER", str(ROOT / "build/release/headwater"))
sys.path.insert(0, str(ROOT / "tests/e2e"))

from small_disk import run_full  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--policy", choices=["shed_oldest", "block"], action="append")
    chosen = parser.parse_args()
    bad = False
    for policy in chosen.policy or ["shed_oldest", "block"]:
        report, refused = run_full(policy, chosen.seconds)
        if report is None:
            print(f"SKIPPED: {refused}")
            return 77
        print(json.dumps(report))
        bad = bad or report["lost"] != 0 or report["resume_s"] > 5 or not report["sound"] or report["corrupt"] != 0
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
