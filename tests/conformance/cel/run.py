#!/usr/bin/env python3
"""Holds our expressions to the CEL specification:  run.py HW_CEL_CASES

Every case of the npm package @bufbuild/cel-spec runs, in one process. Those in exclusions.txt do not
count; of the others, 98 % must pass, and each that does not is printed. An entry of exclusions.txt
that names no case, or a single case that gives the value it should, is an error as well.

Exit code: 0, 1 on failure, 77 (skipped) when node or the package is missing: tools/setup.sh test.
"""
import collections
import json
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PASS_AT_LEAST = 0.98
SKIPPED = 77


def read_exclusions(path):
    """Entry -> reason, in order."""
    entries = {}
    reason = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            reason = line.strip("[]")
        elif not reason or line in entries:
            raise SystemExit(f"{path.name}:{number}: '{line}' is without a reason or there twice")
        else:
            entries[line] = reason
    return entries


def match(case_id, entries):
    """The entry that excludes a case: itself, its section or its suite; None."""
    suite, section, _ = case_id.split("/", 2)
    for entry in (case_id, f"{suite}/{section}/*", f"{suite}/*"):
        if entry in entries:
            return entry
    return None


def judge(outcomes, entries):
    """Prints the account; returns the exit code."""
    excluded = collections.Counter()
    used = set()
    complaints = []
    passed = 0
    failures = []
    for outcome in outcomes:
        entry = match(outcome["id"], entries)
        if entry is not None:
            used.add(entry)
            excluded[entries[entry]] += 1
            # An error that is wanted may also come from what we do not have at all.
            if entry == outcome["id"] and outcome["outcome"] == "pass" and not outcome["error"]:
                complaints.append(f"{entry} passes: take it out of exclusions.txt")
        elif outcome["outcome"] == "pass":
            passed += 1
        else:
            failures.append(outcome)
    complaints += [f"exclusions.txt: '{entry}' names no case" for entry in entries if entry not in used]
    asked = passed + len(failures)
    print(f"{len(outcomes)} cases, {sum(excluded.values())} excluded by {len(entries)} entries:")
    for reason, count in excluded.most_common():
        print(f"  {count:5d}  {reason}")
    print(f"{passed} of {asked} others pass")
    for failure in failures:
        print(f"  {failure['outcome']}: {failure['id']}: {failure['detail']}")
    for complaint in complaints:
        print(complaint)
    good = asked > 0 and passed >= PASS_AT_LEAST * asked and not complaints
    return 0 if good else 1


def main():
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules/@bufbuild/cel-spec").is_dir():
        print("skipped: the specification's cases are not here; run tools/setup.sh test")
        return SKIPPED
    cases = subprocess.run([node, "cases.mjs"], cwd=HERE, stdout=subprocess.PIPE, check=True).stdout
    answers = subprocess.run([sys.argv[1]], input=cases, stdout=subprocess.PIPE, check=True).stdout
    outcomes = [json.loads(line) for line in answers.splitlines()]
    if len(outcomes) != len(cases.splitlines()):
        print(f"{len(cases.splitlines())} cases, but {len(outcomes)} answers")
        return 1
    return judge(outcomes, read_exclusions(HERE / "exclusions.txt"))


if __name__ == "__main__":
    sys.exit(main())
