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


EVERY_PART = """
edge: {id: metrics, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}, outputs: {score: output}}
sources: {in: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["s/+"], device: "topic[1]"}}
pipelines:
  main:
    from: [in]
    steps:
      - enrich: {lookup: {file: assets.csv, key: device_id, take: [site]}}
      - window: {last: 60s, add: {mean: "mean(temperature)"}}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8"}
    alerts: [out]
sinks: {out: {type: file, path: alerts.jsonl}}
uplink: {type: file, dir: outbox}
health: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
"""


class Documents(unittest.TestCase):
    def test_every_metric_of_a_running_edge_is_in_the_reference(self):
        page = (harness.ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
        with harness.Edge(EVERY_PART, {"anomaly.onnx": harness.ROOT / "tests/data/models/anomaly.onnx",
                                       "assets.csv": b"device_id,site\npress-1,hall\n"}) as edge:
            text = edge.get("health", "/metrics")[1]
            edge.stop()
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.assertGreater(len(kinds), 50)
        for name, kind in kinds.items():
            with self.subTest(name):
                row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
                self.assertTrue(row.startswith(f"| `{name}` | {kind} |"), f"row: {row!r}, kind: {kind}")
                self.assertTrue(row.endswith(f"| {helps[name]} |"), f"row: {row!r}, help: {helps[name]!r}")

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
