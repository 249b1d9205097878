"""Bad input: each file of these folders is a case with its expected message and outcome, no two of one check.

README.md says how a case is written. All cases run, and all that fail are told.
"""

import concurrent.futures
import os
import time
import unittest

import commands
import feeding
from case_files import HERE, shape_of

LEAST_CASES = 60
LONGEST_S = 60
ONLY = os.environ.get("CASE", "")      # a part of a case's name, to play few while writing them


def chosen(cases):
    return [case for case in cases if ONLY in case.name]


class BadInput(unittest.TestCase):
    longMessage = False

    @classmethod
    def setUpClass(cls):
        cls.begun = time.monotonic()
        cls.refused, cls.fed = commands.cases(), feeding.cases()

    def report(self, failures):
        if failures:
            self.fail(f"{len(failures)} cases:\n\n" + "\n\n".join(failures))

    def test_no_two_cases_fail_at_the_same_check(self):
        cases = self.refused + self.fed
        self.assertGreaterEqual(len(cases), LEAST_CASES)
        seen, failures = {}, []
        for case in cases:
            for message in case.messages:
                other = seen.setdefault(shape_of(message), case)
                if other is not case:
                    failures.append(f"{case.name} and {other.name} expect the same: {message}")
        self.report(failures)
        kinds = {case.name.split("/")[0] for case in cases}
        folders = {path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__")}
        self.assertEqual(kinds, folders, "a folder without a case, or one that is not played")
        print(f"{len(cases)} cases of {len(kinds)} kinds")

    def test_commands_refuse_them(self):
        cases = chosen(self.refused)

        def play(case):
            try:
                case.play(live)
            except Exception as error:  # of any kind: the other cases are played all the same
                return f"{case.name}: {error}"
            return None

        with commands.live_edge() as live, concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.report([failure for failure in pool.map(play, cases) if failure])

    def test_a_running_edge_counts_them_and_goes_on(self):
        failures = []
        with feeding.Target() as target:
            for case in chosen(self.fed):
                try:
                    case.play(target)
                except Exception as error:
                    failures.append(f"{case.name}: {error}")
                    target.hang_up()
                    if target.edge.process.poll() is not None:
                        failures.append("the edge has ended:\n" + "\n".join(target.edge.log[-20:]))
                        break
            if not failures:
                target.edge.stop()
                failures = feeding.dead_letters_as_expected(target)
                self.assertTrue(target.edge.verify()["ok"])
        self.report(failures)

    @classmethod
    def tearDownClass(cls):
        took = time.monotonic() - cls.begun
        print(f"took {took:.1f} s")
        if not ONLY and took > LONGEST_S:
            raise AssertionError(f"took {took:.0f} s, more than {LONGEST_S}")


if __name__ == "__main__":
    unittest.main()
