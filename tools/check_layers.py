#!/usr/bin/env python3
"""Checks the layout rules of the source tree; prints FILE:LINE: problem and exits 1 if there is any.

    tools/check_layers.py [ROOT]

The floors are FLOORS below. A library includes only lower floors, never a sibling on its own floor.
Other rules: includes are written from src/; a header that another library can reach pulls in no heavy
third-party header (one that only its own library's .cc files include may);
every .cc file is named by a CMakeLists.txt (a test that is in no target cannot fail); no file is
longer than MAX_LINES; some words say nothing in a path. Exceptions, each with its reason, stand in
tools/layers_exceptions.txt; an exception that is no longer needed is an error too.
"""

import os
import re
import subprocess
import sys

FLOORS = {
    "base": 0,
    "config": 1,
    "io": 2,
    "telemetry": 3,
    "data": 3,
    "expr": 4,
    "protocol": 4,
    "store": 4,
    "model": 4,
    "columnar": 4,
    "compute": 5,
    "pipeline": 5,
    "nodes": 6,
    "uplink": 6,
    "workbench": 7,
    "deploy": 7,
    "api": 7,
    "edge": 8,
    "hub": 8,
    "bench": 9,
    "torture": 9,
    "cli": 10,
    "web": 10,
}
# Folders whose subfolders are libraries of their own, on one floor: none includes another.
SPLIT = ("protocol",)
# Cost in every file that includes them; they stay in .cc files, behind a hidden class.
HEAVY = re.compile(
    r"^(yaml-cpp/|nlohmann/(?!json_fwd\.hpp)|boost/|onnxruntime|spdlog/|simdjson|CLI/|google/protobuf/)"
    r"|\.pb\.h$"
)
BANNED_WORDS = ("utils", "util", "common", "manager", "misc")
MAX_LINES = 1000
SOURCE_SUFFIXES = (".h", ".cc", ".c", ".py", ".sh", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".css", ".cmake")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
EXCEPTION_RULES = ("length", "heavy", "floor")


def tracked_files(root):
    """Paths of git's files and of new files that it does not ignore; all files where git is absent."""
    try:
        listing = subprocess.run(
            ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
            check=True, capture_output=True,
        ).stdout.decode()
        return sorted(p for p in listing.split("\0") if p and os.path.isfile(os.path.join(root, p)))
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if f not in (".git", "build", "node_modules", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
        return sorted(found)


def library_of(path):
    """'src/store/spool.h' is in 'store', 'src/protocol/mqtt/codec.h' in 'protocol/mqtt'."""
    parts = path.split("/")
    if len(parts) < 3 or parts[0] != "src":
        return None
    if parts[1] in SPLIT and len(parts) > 3:
        return parts[1] + "/" + parts[2]
    return parts[1]


def read_exceptions(text, problems):
    """Lines 'RULE PATH reason': {(rule, path)}; '#' starts a comment."""
    exceptions = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        parts = line.split(None, 2)
        if len(parts) < 3 or parts[0] not in EXCEPTION_RULES:
            problems.append(
                f"tools/layers_exceptions.txt:{number}: write 'RULE PATH reason' with RULE one of "
                + ", ".join(EXCEPTION_RULES))
            continue
        exceptions[(parts[0], parts[1])] = number
    return exceptions


def named_in_cmake(files, read):
    """Every path that CMake's files name, resolved from the folder of the file that names it."""
    named = set()
    for path in files:
        if os.path.basename(path) != "CMakeLists.txt" and not path.endswith(".cmake"):
            continue
        folder = os.path.dirname(path)
        text = re.sub(r"#[^\n]*", "", read(path))
        for token in re.findall(r"[\w./${}+-]+\.(?:cc|c)\b", text):
            token = token.replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")
            if token.startswith("${CMAKE_SOURCE_DIR}/"):
                named.add(token[len("${CMAKE_SOURCE_DIR}/"):])
            else:
                named.add(os.path.normpath(os.path.join(folder, token)))
        if "compile_fail/" in text:
            # Files that must not compile are named by their stem, as arguments of a function.
            named.update(os.path.join(folder, "compile_fail", word + ".cc") for word in re.findall(r"\w+", text))
    return named


def reachable_from_outside(headers, includes):
    """The headers of src/ that some file of another library, or of tests/, includes, directly or not."""
    public = set()
    pending = [
        target for path, targets in includes.items() for target in targets
        if target in headers and library_of(target) != library_of(path)
    ]
    while pending:
        header = pending.pop()
        if header not in public:
            public.add(header)
            pending += [target for target in includes.get(header, []) if target in headers]
    return public


def check(root, files=None):
    """All problems of the tree as 'path:line: text', in the order of paths."""
    problems = []
    if files is None:
        files = tracked_files(root)
    known = set(files)

    def read(path):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as handle:
            return handle.read()

    exceptions_path = "tools/layers_exceptions.txt"
    exceptions = read_exceptions(read(exceptions_path) if exceptions_path in known else "", problems)
    used = set()

    def report(rule, path, line, text):
        if (rule, path) in exceptions:
            used.add((rule, path))
            return
        problems.append(f"{path}:{line}: {text}")

    named = named_in_cmake(files, read)
    sources = [p for p in files if p.startswith(("src/", "tests/")) and p.endswith((".h", ".cc"))]
    includes = {
        path: ["src/" + m.group(2) for m in map(INCLUDE.match, read(path).splitlines()) if m and m.group(1) == '"']
        for path in sources
    }
    public = reachable_from_outside({p for p in sources if p.endswith(".h") and p.startswith("src/")}, includes)
    for path in files:
        words = [w for part in path.split("/") for w in re.split(r"[_.-]", part.lower())]
        if path.startswith(("src/", "tests/", "tools/", "demo/")):
            for word in BANNED_WORDS:
                if word in words:
                    problems.append(f"{path}:1: '{word}' in a path says nothing; name what it does")
        parts = path.split("/")
        if parts[0] == "src" and len(parts) > 2 and parts[1] not in FLOORS:
            problems.append(f"{path}:1: '{parts[1]}' has no floor; add it to FLOORS in tools/check_layers.py")
            continue
        if not path.endswith(SOURCE_SUFFIXES):
            continue
        in_code = parts[0] in ("src", "tests")
        by_its_test = path.startswith("tests/e2e/")  # a peer program that a Python test compiles
        if in_code and path.endswith((".cc", ".c")) and path not in named and not by_its_test:
            what = "this test never runs" if path.endswith("_test.cc") else "it is never compiled"
            problems.append(f"{path}:1: no CMakeLists.txt names it, so {what}")
        text = read(path)
        lines = text.splitlines()
        if len(lines) > MAX_LINES:
            report("length", path, len(lines), f"{len(lines)} lines; the limit is {MAX_LINES}, aim for 600")
        if in_code and path.endswith((".h", ".cc")):
            check_includes(path, lines, known, public, report)

    for (rule, path), number in sorted(exceptions.items()):
        if (rule, path) not in used:
            problems.append(f"{exceptions_path}:{number}: '{rule} {path}' is not needed any more; remove it")
    return problems


def check_includes(path, lines, known, public, report):
    library = library_of(path)
    floor = FLOORS[library.split("/")[0]] if library else None
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, target = match.group(1) == '"', match.group(2)
        if path in public and HEAVY.search(target):
            report("heavy", path, number,
                   f"other libraries reach this header, and it includes {target}; hide that behind a class in a .cc file")
        ours = "src/" + target in known or target.split("/")[0] in FLOORS and "/" in target
        if not quoted:
            if "src/" + target in known:
                report("floor", path, number, f'write "{target}" with quotes; <> is for other projects')
            continue
        if not ours:
            if path.startswith("tests/") and target.startswith("tests/") and target in known:
                continue
            report("floor", path, number,
                   f'"{target}" is not a path from src/; write for example "base/result.h", and <> for other projects')
            continue
        if "src/" + target not in known and not target.endswith(".pb.h") and "generated" not in target:
            report("floor", path, number, f'"{target}" does not exist in src/')
            continue
        other = library_of("src/" + target)
        if floor is None or other is None or other == library:
            continue
        if other.split("/")[0] == library and library in SPLIT or library.split("/")[0] == other:
            continue  # a split folder's own files
        other_floor = FLOORS[other.split("/")[0]]
        if other_floor > floor:
            report("floor", path, number,
                   f"{library} (floor {floor}) includes {other} (floor {other_floor}), which stands above it")
        elif other_floor == floor:
            report("floor", path, number, f"{library} includes its sibling {other} (both on floor {floor})")


def main(arguments):
    root = arguments[0] if arguments else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    problems = check(root)
    for problem in problems:
        print(problem)
    if problems:
        print(f"check_layers: {len(problems)} problem(s); the rules stand in tools/check_layers.py and docs/architecture.md")
        return 1
    print("check_layers: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
