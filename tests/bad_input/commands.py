"""Cases that a command must refuse: configs, expressions, lookup tables, models, starts of the edge, arguments.

play(case) gives back what was printed as list of lines, and raises AssertionError where that is not what the case
expects. `messages` of a case are what must differ from all other cases.
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile

from case_files import HERE, Header, give, listed_cases
from harness import PROGRAM, Edge

LIMIT_S = 30
# A caret line under a message: `   12 | text` or `      | ^`.
CARET = re.compile(r" *\d* \|( |$)")

# Lines that tell no cause: notes, warnings that come with an error, the count behind them, the way to the help.
IN_COMMON = re.compile(r"warning: |^ *= |: \d+ errors?$|^Run with --help")


def printed(folder, arguments, env=None):
    """(exit status, lines of standard error without log and the lines that show a place) of a run that ends by itself."""
    done = subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, timeout=LIMIT_S,
                          env={**os.environ, **(env or {})})
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if not CARET.match(line)]
    if done.returncode < 0:
        raise AssertionError(f"{arguments} was ended by signal {-done.returncode}: {lines}")
    return done.returncode, [line for line in lines if not line.startswith("ts=")]


def fits(line, expected):
    """`…` in an expected line stands for words that are not ours: of ONNX Runtime, of a system's folder."""
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("…")), line) is not None


def compare(what, got, expected):
    if got[0] != expected[0] or len(got[1]) != len(expected[1]) or not all(map(fits, got[1], expected[1])):
        raise AssertionError(f"{what} gave {got[0]} and\n  " + "\n  ".join(got[1]) +
                             f"\nexpected {expected[0]} and\n  " + "\n  ".join(expected[1]))


class CommandCase:
    """What is common: a folder with the given files, an exit status and exact lines of standard error."""

    def __init__(self, path, expect, given=()):
        self.path = path
        self.name = f"{path.parent.name}/{path.name}"
        self.given = given
        exits = [line for line in expect if line.startswith("exit ")]
        if len(exits) != 1 or len(expect) < 2:
            raise AssertionError(f"{self.name}: expected are one 'exit STATUS' and the lines that are printed")
        self.status = int(exits[0].split()[1])
        # A line that begins with a place stands for one of this file: "3:5: error: …".
        self.lines = [f"{path.name}:{line}" if re.match(r"\d+:\d+: ", line) else line
                      for line in expect if line not in exits]

    @property
    def messages(self):
        return [line for line in self.lines if not IN_COMMON.search(line)]

    def play(self, live):
        with tempfile.TemporaryDirectory(prefix="headwater-bad-") as folder:
            folder = pathlib.Path(folder)
            for line in self.given:
                give(folder, line)
            self.play_in(folder, live)

    def check_and_run(self, folder, name):
        """`check` and `run` say the same; `check` counts its errors behind it."""
        errors = sum(": error: " in line or line.startswith("error: ") for line in self.lines)
        count = f"{name}: {errors} error{'' if errors == 1 else 's'}"
        compare("check", printed(folder, ["check", name]), (self.status, self.lines + [count]))
        compare("run", printed(folder, ["run", name]), (self.status, self.lines))


class Config(CommandCase):
    """A config as users write them; `check` and `run` refuse it with the same lines."""

    def __init__(self, path):
        header = Header(path)
        super().__init__(path, header.expect, header.all("given"))
        self.data = header.data

    def play_in(self, folder, live):
        (folder / self.path.name).write_bytes(self.data)
        self.check_and_run(folder, self.path.name)
        if (folder / "data").exists():
            raise AssertionError("a refused config has made its data_dir")


class Start(Config):
    """A sound config that cannot start: `run` sees it, `check` at most warns. ${LIVE_…} are of an edge that runs."""

    def play_in(self, folder, live):
        (folder / self.path.name).write_bytes(self.data)
        env = {"LIVE_DATA": str(live.folder / "data"), "LIVE_ADDRESS": "%s:%d" % live.address("direct")}
        warnings = [line for line in self.lines if line.startswith("warning: ")]
        compare("check", printed(folder, ["check", self.path.name], env), (0, warnings))
        errors = [line for line in self.lines if line not in warnings]
        compare("run", printed(folder, ["run", self.path.name], env), (self.status, errors))


class Expression(CommandCase):
    """An expression: `headwater expr` names the place in it, and a config with it is refused for the same reason."""

    def __init__(self, path):
        header = Header(path, "//")
        super().__init__(path, header.expect)
        self.expression = header.body.decode().removesuffix("\n")
        self.lines = ["headwater: " + line.replace(path.name, "expr", 1) for line in self.lines]

    def play_in(self, folder, live):
        code, lines = printed(folder, ["expr", "--", self.expression])
        compare("expr", (code, lines[:1]), (self.status, self.lines))
        (folder / "edge.yaml").write_text(
            "edge: {id: bad, data_dir: ./data}\nsources: {in: {type: file, path: readings.jsonl}}\n"
            "pipelines:\n  main: {from: [in], steps: [{enrich: {set: {x: %s}}}]}\n" %
            json.dumps(self.expression, ensure_ascii=False))
        reason = re.sub(r"^headwater: expr:\d+:\d+: ", "", self.lines[0])
        code, lines = printed(folder, ["check", "edge.yaml"])
        compare("check", (code, [re.sub(r"^edge.yaml:4:\d+: ", "", line) for line in lines]),
                (65, [f"error: {reason}", "edge.yaml: 1 error"]))


class Lookup(CommandCase):
    """A lookup table, read by the config.yaml of the folder."""

    def __init__(self, path, entry):
        super().__init__(path, [f"exit {entry['exit']}", f"9:26: error: {path.name}{entry['error']}"])
        self.lines = [line.replace(path.name, "config.yaml", 1) for line in self.lines]

    def play_in(self, folder, live):
        (folder / self.path.name).write_bytes(self.path.read_bytes())
        config = (self.path.parent / "config.yaml").read_text().replace("TABLE", self.path.name)
        (folder / "config.yaml").write_text(config)
        self.check_and_run(folder, "config.yaml")


class Arguments(CommandCase):
    """A command line: `# run: store cat data --lane x`, in a folder with the given files."""

    def __init__(self, path):
        header = Header(path)
        super().__init__(path, header.expect, header.all("given"))
        self.arguments = header.all("run")[0].split()

    def play_in(self, folder, live):
        code, lines = printed(folder, self.arguments)
        lines = [line for line in lines if not line.startswith(" ")]     # an expression and its caret
        compare(" ".join(self.arguments), (code, lines), (self.status, self.lines))


def cases():
    found = [Config(path) for kind in ("config", "model") for path in sorted((HERE / kind).iterdir())]
    found += [Start(path) for path in sorted((HERE / "start").iterdir())]
    found += [Expression(path) for path in sorted((HERE / "expression").iterdir())]
    found += [Arguments(path) for path in sorted((HERE / "command").iterdir())]
    for path, entry in listed_cases(HERE / "lookup"):
        if entry is None:
            raise AssertionError(f"lookup/{path.name} has no entry in expect.yaml")
        found.append(Lookup(path, entry))
    return found


def live_edge():
    """What the cases of start/ find in use."""
    return Edge('edge: {id: live, data_dir: ./data}\nsources: {direct: {type: mqtt_listen, address: "127.0.0.1:0"}}\n'
                "pipelines: {main: {from: [direct], steps: []}}\n")
