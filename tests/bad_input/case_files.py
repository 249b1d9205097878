"""How the cases of bad input are written down: the headers of single files and the expect.yaml of a folder."""

import contextlib
import pathlib
import re
import sqlite3
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import small_yaml  # noqa: E402
from harness import ROOT  # noqa: E402


class Header:
    """The comment lines at the top of a case: `# expect: …`, `# given: …`, `# run: …`; others are for the reader.

    `mark` begins a comment. `body` is what follows the header; `text` is the whole file.
    """

    def __init__(self, path, mark="#"):
        self.path = path
        self.data = path.read_bytes()
        self.fields = {}
        at = 0
        while self.data[at:].startswith(mark.encode()):
            end = self.data.find(b"\n", at)
            end = len(self.data) if end < 0 else end
            line = self.data[at + len(mark):end].decode().strip()
            field = re.match(r"(expect|given|run|with|check|counted|grow): (.*)", line)
            if field:
                self.fields.setdefault(field[1], []).append(field[2])
            at = min(end + 1, len(self.data))
        self.body = self.data[at:]

    def all(self, name):
        return self.fields.get(name, [])

    @property
    def expect(self):
        return self.all("expect")


def listed_cases(folder):
    """(file, its entry in the folder's expect.yaml) of each file there; the entry is None when there is none."""
    entries = small_yaml.load((folder / "expect.yaml").read_text())
    names = sorted(p.name for p in folder.iterdir() if p.name not in ("expect.yaml", "config.yaml"))
    missing = sorted(set(entries) - set(names))
    if missing:
        raise AssertionError(f"{folder.name}/expect.yaml names files that are not there: {missing}")
    return [(folder / name, entries.get(name)) for name in names]


def shape_of(message):
    """A message without what differs between two runs into one check: places, quoted names and numbers."""
    text = re.sub(r"^\S*?:\d+(:\d+)?: ", "", message)
    text = re.sub(r"^\S+\.(csv|yaml|onnx)(:\d+)?: ", "", text)
    text = re.sub(r"'[^']*\w[^']*'|\"[^\"]*\w[^\"]*\"", "'…'", text)
    return re.sub(r"\d+(\.\d+)?", "0", text)


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _segment(version):
    """The first page of a spool's segment (docs/formats/spool.md), of another version of the format."""
    page = bytearray(4096)
    page[:8] = b"HWSPOOL1"
    page[8:12] = struct.pack("<I", version)
    page[16:32] = bytes(range(16))
    page[32:56] = struct.pack("<QQQ", 1, 65536, 4096)
    page[4092:] = struct.pack("<I", _crc32c(page[:4092]))
    return bytes(page)


def _model(name):
    """Small ONNX files that no test but this one needs."""
    sys.path.insert(0, str(ROOT / "tools"))
    import make_test_models as m

    def linear(width="N", weights=m.WEIGHTS_3, columns=3, outputs=None, inputs=None, **more):
        return m.model(
            [m.node("MatMul", ["x", "w"], ["y"])],
            [m.tensor("x", m.FLOAT, [width, columns])] if inputs is None else inputs,
            [m.tensor("y", m.FLOAT, [width, 1])] if outputs is None else outputs, [weights] if weights else [], **more)

    if name == "weights_elsewhere":
        where = m.block(13, m.block(1, "location") + m.block(2, "weights.bin"))
        dims = m.number(1, 3) + m.number(1, 1)
        return linear(weights=dims + m.number(2, m.FLOAT) + m.block(8, "w") + where + m.number(14, 1))
    if name == "no_outputs":
        return linear(outputs=[])
    if name == "no_weights":
        return linear(weights=None)
    if name == "wrong_width":
        return linear(columns=4)
    if name == "opset_99":
        return linear(opset=99)
    if name == "no_inputs":
        return m.model([m.node("Identity", ["w"], ["y"])], [], [m.tensor("y", m.FLOAT, [3, 1])], [m.WEIGHTS_3])
    raise AssertionError(f"no made model '{name}'")


def give(folder, line):
    """Makes one file of a case: `NAME = copy of PATH`, `… first 300 bytes of PATH`, `… text "…"`, `… empty`,
    `… folder`, `… model NAME`, `… sqlite SQL`, `… segment of version 9`."""
    name, what = (part.strip() for part in line.split("=", 1))
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if what == "folder":
        target.mkdir()
        return
    if what.startswith("sqlite "):
        with contextlib.closing(sqlite3.connect(target)) as database:
            database.executescript(what[7:])
        return
    if what == "empty":
        data = b""
    elif what.startswith("text "):
        data = what[5:].strip().strip('"').encode().decode("unicode_escape").encode()
    elif what.startswith("copy of "):
        data = (ROOT / what[8:]).read_bytes()
    elif part := re.fullmatch(r"first (\d+) bytes of (\S+)", what):
        data = (ROOT / part[2]).read_bytes()[:int(part[1])]
    elif what.startswith("model "):
        data = _model(what[6:])
    elif part := re.fullmatch(r"segment of version (\d+)", what):
        data = _segment(int(part[1]))
    else:
        raise AssertionError(f"not understood: given: {line}")
    target.write_bytes(data)
