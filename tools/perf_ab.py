#!/usr/bin/env python3
"""Compares the speed of two revisions in one run: fails when the second is at least 10 % slower, beyond noise.

    tools/perf_ab.py BASE HEAD [--bench NAME ...] [--filter REGEX] [--rounds N] [--pipeline] [--json FILE]
    tools/perf_ab.py main HEAD
    tools/perf_ab.py build/before build/bench --bench decode_bench --pipeline

BASE and HEAD are each a revision, which is built in a worktree of its own (preset bench), or a folder that is built already.
Every *_bench program that both have is run in rounds; in each round one after the other, base first and head first in turn.
--pipeline: also CPU a reading of the whole program at full speed, one shape and the mixed corpus (tests/perf/hotpath).

The test, for each benchmark: the ratios head over base of each round's CPU time are paired measurements, so what slows both
down for a while cancels out. Slower means that their median is at least 1.10 and that the 95 % bootstrap interval of the
median lies above 1. What is slower is measured in as many rounds again, and counts only if it is slower in these as well.

Exit status: 0 nothing is slower, 1 something is, 2 it could not be measured.
"""

import argparse
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "build/perf_ab"
SLOWER = 1.10
RESAMPLES = 2000
LEAST_ROUNDS = 5  # below, an interval says nothing


class Trouble(Exception):
    pass


# ---- the test ----

def interval(ratios, seed=1):
    """95 % bootstrap interval of the median."""
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[round(RESAMPLES * 0.025)], medians[round(RESAMPLES * 0.975) - 1]


def judge(base, head):
    """base, head: the same benchmark in the same rounds, any unit of time."""
    if len(base) != len(head) or len(base) < LEAST_ROUNDS:
        raise Trouble(f"{len(base)} and {len(head)} rounds: at least {LEAST_ROUNDS} pairs are needed")
    ratios = [b / a for a, b in zip(base, head)]
    low, high = interval(ratios)
    median = statistics.median(ratios)
    return {"ratio": median, "low": low, "high": high, "slower": median >= SLOWER and low > 1}


def compare(measure, names, rounds):
    """measure(name, rounds) gives (base, head), lists of one number a round; for names found slower it is called again."""
    verdicts = {}
    for name in names:
        first = judge(*measure(name, rounds))
        if first["slower"]:
            again = judge(*measure(name, rounds))
            first.update(slower=again["slower"], again=again["ratio"])
        verdicts[name] = first
    return verdicts


# ---- what is built ----

def run(*command, cwd=ROOT):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(map(str, command))}\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout.strip()


class Side:
    """A build folder, perhaps of a worktree that goes with it."""

    def __init__(self, what):
        self.worktree = None
        folder = pathlib.Path(what)
        if folder.is_dir() and (folder / "CMakeCache.txt").exists():
            self.build, self.name = folder.resolve(), what
            return
        commit = run("git", "rev-parse", "--verify", f"{what}^{{commit}}")
        self.name = f"{what} ({commit[:10]})"
        self.worktree = WORK / commit
        if not self.worktree.exists():
            run("git", "worktree", "add", "--detach", self.worktree, commit)
            modules = ROOT / "third_party/node_modules"
            if modules.exists():
                (self.worktree / "third_party/node_modules").symlink_to(modules.resolve())
        print(f"building {self.name}", flush=True)
        run("cmake", "--preset", "bench", cwd=self.worktree)
        run("cmake", "--build", "--preset", "bench", cwd=self.worktree)
        self.build = self.worktree / "build/bench"

    def programs(self):
        return {path.name: path for path in sorted(self.build.rglob("*_bench")) if path.is_file()}

    def remove(self):
        if self.worktree is not None:
            subprocess.run(["git", "worktree", "remove", "--force", str(self.worktree)], cwd=ROOT, capture_output=True)


def bench_times(program, pattern, seconds):
    """CPU nanoseconds an iteration, by benchmark."""
    command = [program, "--benchmark_format=json", f"--benchmark_min_time={seconds}"]
    if pattern:
        command.append(f"--benchmark_filter={pattern}")
    # What is printed before the object is the library's warning about its own build.
    out = run(*command)
    units = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
    return {one["name"]: one["cpu_time"] * units[one["time_unit"]] for one in json.loads(out[out.index("{"):])["benchmarks"]
            if one.get("run_type", "iteration") == "iteration" and "error_occurred" not in one}


def alternate(rounds, first, second):
    """Results of both, one of each a round; which goes first changes."""
    base, head = [], []
    for number in range(rounds):
        if number % 2 == 0:
            base.append(first())
            head.append(second())
        else:
            head.append(second())
            base.append(first())
    return base, head


def measure_benches(base, head, options):
    """{benchmark: (base, head)} of all programs that both have."""
    programs = {name: (path, head.programs()[name]) for name, path in base.programs().items() if name in head.programs()}
    if options.bench:
        missing = set(options.bench) - set(programs)
        if missing:
            raise Trouble(f"not in both builds: {', '.join(sorted(missing))}; there are {', '.join(programs) or 'none'}")
        programs = {name: programs[name] for name in options.bench}
    where, found = {}, {}
    for name, (one, other) in programs.items():
        print(f"running {name}", flush=True)
        before, after = alternate(options.rounds, lambda: bench_times(one, options.filter, options.seconds),
                                  lambda: bench_times(other, options.filter, options.seconds))
        for case in before[0]:
            if all(case in times for times in before + after):
                found[f"{name}: {case}"] = ([times[case] for times in before], [times[case] for times in after])
                where[f"{name}: {case}"] = (one, other, case)
    return found, where


def measure_pipeline(base, head, rounds, kind):
    sys.path.insert(0, str(ROOT / "tests/perf/hotpath"))
    import corpus
    import harness  # tests/e2e, made known by subjects
    import subjects
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{kind}.packets"
    corpus.write(path, kind)

    def one(side):
        harness.PROGRAM = str(side.build / "headwater")
        return subjects.ours(path, 500_000)["cpu"]
    return alternate(rounds, lambda: one(base), lambda: one(head))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--bench", nargs="+", metavar="NAME", help="programs; all that both have if not given")
    parser.add_argument("--filter", default="", help="benchmarks whose name matches")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="at least, of each benchmark in each round")
    parser.add_argument("--pipeline", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keeps the worktrees, to be used again")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds: at least {LEAST_ROUNDS}")
    sides = []
    try:
        for what in (options.base, options.head):
            sides.append(Side(what))
        base, head = sides
        found, where = measure_benches(base, head, options)
        pipelines = {f"pipeline: {kind}": kind for kind in ("one", "mixed")} if options.pipeline else {}

        def measure(name, rounds):
            if name in pipelines:
                return measure_pipeline(base, head, rounds, pipelines[name])
            if name in found:
                return found.pop(name)
            one, other, case = where[name]
            pattern = f"^{re.escape(case)}$"
            return alternate(rounds, lambda: bench_times(one, pattern, options.seconds)[case],
                             lambda: bench_times(other, pattern, options.seconds)[case])

        verdicts = compare(measure, [*found, *pipelines], options.rounds)
        if not verdicts:
            raise Trouble("no benchmark is in both builds")
    except (Trouble, OSError, ImportError) as why:
        print(f"perf_ab: {why}", file=sys.stderr)
        return 2
    finally:
        if not options.keep:
            for side in sides:
                side.remove()
    report(verdicts, sides)
    if options.json:
        options.json.write_text(json.dumps({"base": sides[0].name, "head": sides[1].name, "rounds": options.rounds, "benchmarks": verdicts}) + "\n")
    return 1 if any(one["slower"] for one in verdicts.values()) else 0


def report(verdicts, sides):
    print(f"CPU time, {sides[1].name} over {sides[0].name}: median and 95 % interval of paired rounds")
    for name, one in sorted(verdicts.items(), key=lambda item: -item[1]["ratio"]):
        mark = "SLOWER" if one["slower"] else "not slower when measured again" if "again" in one else ""
        print(f"{one['ratio']:7.3f}  [{one['low']:.3f}, {one['high']:.3f}]  {name}  {mark}")


if __name__ == "__main__":
    sys.exit(main())
