"""What the documents show works: whole configs pass `headwater check`, links lead somewhere."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

DOCUMENTS = [harness.ROOT / "README.md", harness.ROOT / "AGENTS.md", *harness.ROOT.glob("demo/*.md"),
             *harness.ROOT.glob("examples/**/*.md"), *harness.ROOT.glob("docs/**/*.md")]


def configs(document):
    """The YAML blocks that are whole configs."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
    return [b for b in blocks if re.search(r"^pipelines:", b, re.M) and re.search(r"^sources:", b, re.M)]


class Documents(unittest.TestCase):
    def test_whole_configs_pass_check(self):
        checked = 0
        for document in DOCUMENTS:
            for text in configs(document):
                with self.subTest(document=document.name), tempfile.TemporaryDirectory() as folder:
                    # A model of three fields stands in for the reader's own.
                    for path in re.findall(r"path:\s*([\w./-]+\.onnx)", text):
                        target = pathlib.Path(folder, path)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(harness.ROOT / "tests/data/models/anomaly.onnx", target)
                    pathlib.Path(folder, "edge.yaml").write_text(text, encoding="utf-8")
                    done = subprocess.run([harness.PROGRAM, "check", "edge.yaml"], cwd=folder, capture_output=True,
                                          text=True, timeout=60)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    checked += 1
        self.assertGreaterEqual(checked, 1)  # README's

    def test_links_lead_to_files(self):
        for document in DOCUMENTS:
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
                if not re.match(r"[a-z]+:", target):
                    self.assertTrue((document.parent / target).exists(), f"{document}: {target}")


if __name__ == "__main__":
    unittest.main()
