"""Reads the YAML that this repository's configs are written in: block mappings and lists, flow style, plain and quoted
scalars, comments. Anything else (anchors, block scalars, several documents) is an error, not a guess."""

import json
import re

_PLAIN = re.compile(r"""[^,\[\]{}:#"']([^,\[\]{}:#]|:(?=\S)|(?<=\S)#)*""")


def _scalar(text):
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", text):
        return float(text)
    return {"true": True, "false": False, "null": None, "~": None}.get(text, text)


class _Flow:
    """One value in flow style, from the front of a text."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def fail(self, what):
        raise ValueError(f"{what} at {self.text[self.at:self.at + 30]!r} in {self.text!r}")

    def space(self):
        while self.at < len(self.text) and self.text[self.at] in " \n":
            self.at += 1

    def take(self, mark):
        self.space()
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def value(self):
        if self.take("{"):
            out = {}
            while not self.take("}"):
                key = self.value()
                if not self.take(":"):
                    self.fail("expected ':'")
                out[key] = self.value()
                if not self.take(",") and not self.text.startswith("}", self.at):
                    self.fail("expected ',' or '}'")
            return out
        if self.take("["):
            out = []
            while not self.take("]"):
                out.append(self.value())
                if not self.take(",") and not self.text.startswith("]", self.at):
                    self.fail("expected ',' or ']'")
            return out
        if self.text.startswith('"', self.at):
            out, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
            return out
        if self.text.startswith("'", self.at):
            end = self.text.index("'", self.at + 1)
            out, self.at = self.text[self.at + 1:end], end + 1
            return out
        found = _PLAIN.match(self.text, self.at)
        if not found:
            self.fail("expected a value")
        self.at = found.end()
        return _scalar(found.group().strip())


def _whole(text):
    """A value that is the rest of its line."""
    if text[0] in "\"'[{":
        flow = _Flow(text)
        value = flow.value()
        flow.space()
        if flow.at != len(text) and text[flow.at] != "#":
            flow.fail("something behind the value")
        return value
    if text[0] in "&*!|>%@`":
        raise ValueError(f"not supported: {text!r}")
    return _scalar(re.split(r"\s#", text)[0].strip())


def _open_brackets(text):
    quoted = re.sub(r"\"([^\"\\]|\\.)*\"|'[^']*'", "", text)
    return sum(quoted.count(c) for c in "[{") - sum(quoted.count(c) for c in "]}")


class _Block:
    def __init__(self, text):
        self.lines = []          # (indent, text), flow values that span lines joined
        for line in text.splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if self.lines and _open_brackets(self.lines[-1][1]) > 0:
                indent, before = self.lines[-1]
                self.lines[-1] = (indent, before + " " + line.strip())
            else:
                self.lines.append((len(line) - len(line.lstrip()), line.strip()))
        self.at = 0

    def value(self, least):
        indent, text = self.lines[self.at] if self.at < len(self.lines) else (-1, "")
        if indent < least:
            return None
        if text.startswith("- "):
            out = []
            while self.at < len(self.lines) and self.lines[self.at][0] == indent and \
                    self.lines[self.at][1].startswith("- "):
                # The item stands where its own text begins.
                inner = self.lines[self.at][1][2:]
                self.lines[self.at] = (indent + 2 + len(inner) - len(inner.lstrip()), inner.lstrip())
                out.append(self.value(indent + 1))
            return out
        key = re.match(r"([A-Za-z0-9_.-]+):(\s|$)", text)
        if not key:
            self.at += 1
            return _whole(text)
        out = {}
        while self.at < len(self.lines) and self.lines[self.at][0] == indent:
            key = re.match(r"([A-Za-z0-9_.-]+):(\s+|$)(.*)", self.lines[self.at][1])
            if not key or key[1] in out:
                raise ValueError(f"no key, or one that was there: {self.lines[self.at][1]!r}")
            self.at += 1
            rest = re.sub(r"^#.*", "", key[3])
            out[key[1]] = _whole(rest) if rest else self.value(indent + 1)
        return out


def load(text):
    block = _Block(text)
    value = block.value(0)
    if block.at != len(block.lines):
        raise ValueError(f"not understood: {block.lines[block.at][1]!r}")
    return value
