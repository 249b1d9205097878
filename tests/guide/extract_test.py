"""Tests of extract.py: a page that does not fit the repository is refused, with the place."""

import tempfile
import unittest
from pathlib import Path

import extract


class Extract(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "source/src").mkdir(parents=True)
        (self.root / "source/src/list.cc").write_text("a\nb\nc\nb\n", encoding="utf-8")

    def run_on(self, page):
        guide = self.root / "guide.md"
        guide.write_text(page, encoding="utf-8")
        return extract.extract(guide, self.root / "source", self.root / "out")

    def refused(self, page):
        with self.assertRaises(extract.Amiss) as caught:
            self.run_on(page)
        return str(caught.exception)

    def test_writes_named_blocks_and_leaves_others(self):
        self.assertEqual(self.run_on("text\n```cpp src/new.h\nint x;\n```\n```console\n$ ls\n```\n"), ["src/new.h"])
        self.assertEqual((self.root / "out/src/new.h").read_text(), "int x;\n")

    def test_diffs_of_one_file_add_up(self):
        self.run_on("```diff src/list.cc\n a\n+1\n```\n```diff src/list.cc\n c\n+2\n b\n```\n")
        self.assertEqual((self.root / "out/src/list.cc").read_text(), "a\n1\nb\nc\n2\nb\n")
        self.assertEqual((self.root / "source/src/list.cc").read_text(), "a\nb\nc\nb\n")

    def test_an_anchor_must_stand_there_once(self):
        self.assertIn("guide.md:1: these lines stand 0 times", self.refused("```diff src/list.cc\n d\n+1\n```\n"))
        self.assertIn("2 times", self.refused("```diff src/list.cc\n b\n+1\n```\n"))

    def test_names_what_else_is_amiss(self):
        self.assertIn("exists already", self.refused("```cpp src/list.cc\nx\n```\n"))
        self.assertIn("no file", self.refused("```diff src/none.cc\n a\n+1\n```\n"))
        self.assertIn("out of the folder", self.refused("```cpp ../x.cc\nx\n```\n"))
        self.assertIn("does not end", self.refused("```cpp src/x.cc\nx\n"))
        self.assertIn("twice", self.refused("```cpp src/x.cc\nx\n```\n```cpp src/x.cc\nx\n```\n"))
        self.assertIn("lines to add", self.refused("```diff src/list.cc\n a\n```\n"))
        self.assertIn("in front only", self.refused("```diff src/list.cc\n a\n-b\n```\n"))


if __name__ == "__main__":
    unittest.main()
