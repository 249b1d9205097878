#!/usr/bin/env python3
"""Takes the files out of a guide:  extract.py GUIDE SOURCE_DIR OUT_DIR

Blocks whose info string names a file ("```cpp src/nodes/filter/deadband.h") are written to OUT_DIR under that name. A
"diff" block is applied to OUT_DIR's copy of the file in SOURCE_DIR: the lines without a plus must stand there one after
the other, exactly once; the lines with one are added between them. Exits with 1 and says where when something is amiss.
"""
import re
import sys
from pathlib import Path

FENCE = re.compile(r"^```(\w+) +(\S+)$")


class Amiss(Exception):
    pass


def blocks(text):
    """(line, language, file, body) of each block that names a file."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("```"):
            at += 1
            continue
        begin = at
        match = FENCE.match(lines[at])
        at += 1
        body = []
        while at < len(lines) and lines[at] != "```":
            body.append(lines[at])
            at += 1
        if at == len(lines):
            raise Amiss(f"{begin + 1}: the block does not end")
        at += 1
        if match:
            yield begin + 1, match.group(1), match.group(2), body


def find_once(lines, wanted, where):
    """Index of the run `wanted` in `lines`."""
    found = [i for i in range(len(lines) - len(wanted) + 1) if lines[i:i + len(wanted)] == wanted]
    if len(found) != 1:
        raise Amiss(f"{where}: these lines stand {len(found)} times in the file, not once:\n" + "\n".join(wanted))
    return found[0]


def apply(lines, diff, where):
    """`lines` with the added lines of one hunk."""
    if any(line[:1] not in (" ", "+") for line in diff):
        raise Amiss(f"{where}: a diff here has lines with a space or a plus in front only")
    context = [line[1:] for line in diff if line.startswith(" ")]
    if not context or len(context) == len(diff):
        raise Amiss(f"{where}: a diff has lines to find and lines to add")
    at = find_once(lines, context, where)
    return lines[:at] + [line[1:] for line in diff] + lines[at + len(context):]


def extract(guide, source, out):
    """Names of the files written."""
    written = []
    for line, language, name, body in blocks(guide.read_text(encoding="utf-8")):
        where = f"{guide.name}:{line}"
        target = out / name
        if not target.resolve().is_relative_to(out.resolve()):
            raise Amiss(f"{where}: '{name}' leads out of the folder")
        if language == "diff":
            origin = target if name in written else source / name
            if not origin.exists():
                raise Amiss(f"{where}: there is no file '{name}'")
            body = apply(origin.read_text(encoding="utf-8").splitlines(), body, where)
        elif name in written:
            raise Amiss(f"{where}: '{name}' comes twice")
        elif (source / name).exists():
            raise Amiss(f"{where}: '{name}' exists already in the repository")
        text = "\n".join(body) + "\n"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:  # else nothing is rebuilt
            target.write_text(text, encoding="utf-8")
        if name not in written:
            written.append(name)
    return written


def main():
    guide, source, out = (Path(argument) for argument in sys.argv[1:4])
    try:
        for name in extract(guide, source, out):
            print(name)
    except Amiss as problem:
        print(f"extract: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
