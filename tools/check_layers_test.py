#!/usr/bin/env python3
"""Tests of check_layers.py: each rule fails on a tree that breaks it and passes on one that does not."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_layers  # noqa: E402


def problems_of(tree):
    """The problems of a tree given as {path: text}, checked in a folder of its own."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as handle:
                handle.write(text)
        return check_layers.check(root, sorted(tree))


class CheckLayers(unittest.TestCase):
    def expect_one(self, tree, *words):
        found = problems_of(tree)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_a_lower_floor_may_be_included(self):
        self.assertEqual(problems_of({
            "src/base/result.h": "#pragma once\n#include <string>\n",
            "src/store/spool.h": '#pragma once\n#include "base/result.h"\n#include "store/lane.h"\n',
            "src/store/lane.h": "#pragma once\n",
        }), [])

    def test_a_higher_floor_may_not(self):
        self.expect_one({"src/store/spool.h": '\n#include "edge/agent.h"\n', "src/edge/agent.h": ""},
                        "src/store/spool.h:2:", "floor 4", "floor 8")

    def test_a_sibling_may_not(self):
        self.expect_one({"src/store/spool.h": '#include "model/session.h"\n', "src/model/session.h": ""},
                        "store includes its sibling model")

    def test_protocols_are_siblings(self):
        self.expect_one({"src/protocol/mqtt/a.h": '#include "protocol/http/b.h"\n', "src/protocol/http/b.h": ""},
                        "protocol/mqtt includes its sibling protocol/http")

    def test_an_include_is_written_from_src(self):
        self.expect_one({"src/store/spool.h": '#include "lane.h"\n', "src/store/lane.h": ""}, "not a path from src/")
        self.expect_one({"src/store/spool.h": '#include "../base/result.h"\n', "src/base/result.h": ""},
                        "not a path from src/")
        self.expect_one({"src/store/spool.h": "#include <base/result.h>\n", "src/base/result.h": ""}, "with quotes")

    def test_an_included_file_exists(self):
        self.expect_one({"src/store/spool.h": '#include "base/nothing.h"\n'}, "does not exist")

    def test_a_header_that_others_reach_pulls_in_nothing_heavy(self):
        def tree(include):
            return {
                "src/config/tree.h": f"#include <{include}>\n",
                "src/config/load.h": '#include "config/tree.h"\n',
                "src/edge/agent.h": '#include "config/load.h"\n',
            }
        self.expect_one(tree("yaml-cpp/yaml.h"), "src/config/tree.h:1:", "yaml-cpp/yaml.h")
        self.expect_one(tree("nlohmann/json.hpp"), "nlohmann/json.hpp")
        self.expect_one(tree("onnx.pb.h"), "onnx.pb.h")
        self.assertEqual(problems_of(tree("nlohmann/json_fwd.hpp")), [])

    def test_a_library_may_use_heavy_headers_inside(self):
        self.assertEqual(problems_of({
            "src/config/CMakeLists.txt": "hw_library(config SOURCES tree.cc)\n",
            "src/config/tree.h": "#include <yaml-cpp/yaml.h>\n",
            "src/config/tree.cc": '#include "config/tree.h"\n#include <yaml-cpp/yaml.h>\n'}), [])

    def test_a_test_stands_in_a_target(self):
        tree = {"src/base/CMakeLists.txt": "hw_test(base SOURCES # b_test.cc\n a_test.cc)\n", "src/base/a_test.cc": ""}
        self.assertEqual(problems_of(tree), [])
        self.expect_one({**tree, "src/base/b_test.cc": ""}, "src/base/b_test.cc:1:", "never runs")

    def test_cmake_may_name_a_file_of_a_subfolder_or_from_the_root(self):
        self.assertEqual(problems_of({
            "src/nodes/CMakeLists.txt": "hw_library(nodes SOURCES sinks/file.cc)\n", "src/nodes/sinks/file.cc": "",
            "tests/fuzz/main.cc": "", "tests/CMakeLists.txt": "add_executable(x ${CMAKE_SOURCE_DIR}/tests/fuzz/main.cc)\n",
        }), [])

    def test_cmake_names_what_must_not_compile_by_its_stem(self):
        tree = {"src/config/CMakeLists.txt": "add_test(compile_fail/${name}.cc)\nrefuses(missing)\n",
                "src/config/compile_fail/missing.cc": ""}
        self.assertEqual(problems_of(tree), [])
        self.expect_one({**tree, "src/config/compile_fail/other.cc": ""}, "other.cc")

    def test_a_long_file_needs_an_exception_with_a_reason(self):
        tree = {"src/base/long.h": "\n" * 1001}
        self.expect_one(tree, "1001 lines")
        self.assertEqual(problems_of({**tree, "tools/layers_exceptions.txt": "length src/base/long.h a table\n"}), [])
        self.assertEqual(len(problems_of({**tree, "tools/layers_exceptions.txt": "length src/base/long.h\n"})), 2)

    def test_an_exception_that_is_not_needed_is_a_problem(self):
        self.expect_one({"src/base/a.h": "", "tools/layers_exceptions.txt": "length src/base/a.h old\n"},
                        "not needed any more")

    def test_words_that_say_nothing(self):
        self.expect_one({"src/base/string_utils.h": ""}, "'utils'")
        self.assertEqual(problems_of({"src/store/commonality.h": ""}), [])

    def test_a_new_library_needs_a_floor(self):
        self.expect_one({"src/magic/a.h": ""}, "'magic' has no floor")


if __name__ == "__main__":
    unittest.main()
