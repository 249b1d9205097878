"""headwater model inspect, verify, bench, optimize --graph: what they print, how they end, what they leave on disk."""

import json
import os
import pathlib
import random
import subprocess
import tarfile
import tempfile
import unittest

from harness import PROGRAM, ROOT, SHARED, run_cli

MODELS = ROOT / "tests/data/models"
MLP = MODELS / "mlp_sensor3.onnx"
ROWS = "temperature,pressure,vibration\n" + "".join(f"{60 + i % 7},{3 + i % 5},{i % 3}\n" for i in range(24))
INPUT = "input=temperature,pressure,vibration"

# Verdicts of docs/guide/optimize.md.
KEPT, INVALID, UNSUPPORTED, VERIFY_FAILED = 10, 20, 21, 30


class ModelTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.rows = self.dir / "rows.csv"
        self.rows.write_text(ROWS)

    def names(self):
        return sorted(path.name for path in self.dir.iterdir())


class Inspect(ModelTest):
    def test_as_text_json_and_picture(self):
        self.assertIn("Gemm", run_cli("model", "inspect", MLP))
        made = json.loads(run_cli("model", "inspect", MLP, "--json"))
        self.assertTrue(made["runs"])
        self.assertEqual([port["type"] for port in made["inputs"]], ["float32 [batch, 3]"])
        self.assertGreater(made["flops"], 1000)
        self.assertTrue(run_cli("model", "inspect", MLP, "--dot", "-").startswith("digraph"))
        run_cli("model", "inspect", MLP, "--svg", self.dir / "m.svg", "--no-run")
        self.assertIn("<svg", (self.dir / "m.svg").read_text())

    def test_models_that_do_not_load_are_still_shown(self):
        made = json.loads(run_cli("model", "inspect", MODELS / "unknown_domain.onnx", "--json"))
        self.assertFalse(made["runs"])
        self.assertIn("custom_domain", [problem["kind"] for problem in made["problems"]])

    def test_broken_files_end_with_20(self):
        whole = MLP.read_bytes()
        rng = random.Random(7)
        crashes = 0
        for i in range(40):
            broken = bytearray(whole[: rng.randrange(len(whole))])
            for _ in range(rng.randrange(4)):
                if broken:
                    broken[rng.randrange(len(broken))] = rng.randrange(256)
            (self.dir / "b.onnx").write_bytes(bytes(broken))
            done = subprocess.run([PROGRAM, "model", "inspect", str(self.dir / "b.onnx")], capture_output=True, timeout=60)
            self.assertIn(done.returncode, (0, INVALID), done.stderr)
            crashes += done.returncode < 0
            done = subprocess.run([PROGRAM, "model", "optimize", "--graph", str(self.dir / "b.onnx"), "-o",
                                   str(self.dir / "o.onnx"), "--allow-synthetic"], capture_output=True, timeout=60)
            self.assertIn(done.returncode, (0, KEPT, INVALID, UNSUPPORTED, VERIFY_FAILED), done.stderr)
            if done.returncode not in (0, KEPT):
                self.assertFalse((self.dir / "o.onnx").exists())
            (self.dir / "o.onnx").unlink(missing_ok=True)
        self.assertEqual(self.names(), ["b.onnx", "rows.csv"])


class Verify(ModelTest):
    def test_a_model_equals_itself(self):
        done = json.loads(run_cli("model", "verify", MLP, MLP, "--data", self.rows, "--input", INPUT, "--json"))
        self.assertEqual((done["samples"], done["worst_snr_db"], done["passed"]), (24, None, True))
        self.assertFalse(done["synthetic"])
        self.assertEqual(len(done["data_sha256"]), 64)

    def test_says_what_is_missing(self):
        self.assertIn("--allow-synthetic", run_cli("model", "verify", MLP, MLP, status=INVALID)[1])
        self.assertIn("Say --input input=", run_cli("model", "verify", MLP, MLP, "--data", self.rows, status=INVALID)[1])

    def test_another_model_fails(self):
        whole = MLP.read_bytes()
        ends = {}
        for at in range(200, len(whole) - 8, 60):  # most of the file is weights
            other = bytearray(whole)
            other[at:at + 8] = bytes(byte ^ 0x41 for byte in other[at:at + 8])
            (self.dir / "other.onnx").write_bytes(bytes(other))
            done = subprocess.run([PROGRAM, "model", "verify", MLP, self.dir / "other.onnx", "--data", self.rows,
                                   "--input", INPUT, "--min-snr", "120"], capture_output=True, text=True, timeout=60)
            ends[done.returncode] = done.stderr
        self.assertIn(VERIFY_FAILED, ends)
        self.assertIn("differs more than allowed", ends[VERIFY_FAILED])
        self.assertLessEqual(set(ends), {0, INVALID, UNSUPPORTED, VERIFY_FAILED})


class Bench(ModelTest):
    def test_a_model_against_itself(self):
        out = run_cli("model", "bench", MLP, MLP, "--data", self.rows, "--input", INPUT, "--seconds", "0.3", "--batch",
                      "1,8", "--svg", self.dir / "b.svg", "--json")
        made = json.loads(out)
        self.assertEqual([(row["batch"], row["threads"]) for row in made["measurements"]], [(1, 1)] * 2 + [(8, 1)] * 2)
        self.assertGreater(made["models"][0]["peak_bytes"], made["models"][0]["runtime_bytes"])
        for pair in made["side_by_side"]:
            self.assertAlmostEqual(pair["cpu"]["ratio"], 1, delta=0.1)
        self.assertIn("<svg", (self.dir / "b.svg").read_text())

    def test_limits_hold_or_are_refused(self):
        out = subprocess.run([PROGRAM, "model", "bench", MLP, "--data", self.rows, "--input", INPUT, "--seconds", "0.3",
                              "--limit-cpu", "500m", "--json"], capture_output=True, text=True, timeout=60)
        if out.returncode == 75:
            self.assertIn("control groups", out.stderr)
            self.skipTest("no rights to make a control group: " + out.stderr.strip())
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual(json.loads(out.stdout)["limits"], "cpu 500m")
        left = [name for name in os.listdir("/sys/fs/cgroup/cpu") if name.startswith("headwater-bench-")]
        self.assertEqual(left, [])


class Optimize(ModelTest):
    def test_a_tidy_model_is_kept(self):
        run_cli("model", "optimize", "--graph", MLP, "-o", self.dir / "o.onnx", "--data", self.rows, "--input", INPUT,
                status=KEPT)
        self.assertEqual((self.dir / "o.onnx").read_bytes(), MLP.read_bytes())

    def test_a_custom_domain_is_refused(self):
        out = run_cli("model", "optimize", "--graph", MODELS / "unknown_domain.onnx", "-o", self.dir / "o.onnx",
                      "--allow-synthetic", status=UNSUPPORTED)
        self.assertIn("nothing written", out[0])
        self.assertEqual(self.names(), ["rows.csv"])


@unittest.skipUnless((SHARED / "models").is_dir(), "the folder of real models is not there")
class RealModels(ModelTest):
    """Outcome of optimize --graph for each: converted, kept, or refused with nothing written."""

    EXPECTED = {
        "debsec_bert": (0, 14), "dtln_2": (0, 13), "gbt_sensor3": (KEPT, 13), "magika_v3_3": (0, 15),
        "mlp_digits": (KEPT, 13), "mlp_sensor3": (KEPT, 13), "mnist12": (0, 13), "ppocr2_cls": (0, 13),
        "silero_vad_v5": (0, 16), "ultraface_rfb320": (0, 13), "style_candy": (UNSUPPORTED, 0),
        "superres_prepost": (UNSUPPORTED, 0),
    }

    def test_all(self):
        with tarfile.open(SHARED / "models/feeds.tar.xz") as feeds:
            feeds.extractall(self.dir / "feeds")
        for name, (status, opset) in self.EXPECTED.items():
            with self.subTest(name):
                model, out = SHARED / f"models/{name}.onnx", self.dir / f"{name}.onnx"
                data = self.dir / "feeds" / name
                inputs = ("--data", data) if data.is_dir() else ("--allow-synthetic",)
                made = run_cli("model", "optimize", "--graph", model, "-o", out, *inputs, "--json", status=status)
                report = json.loads(made if status == 0 else made[0])
                self.assertEqual(report["verdict"], status)
                self.assertEqual(out.exists(), status != UNSUPPORTED)
                if status == 0:
                    self.assertEqual(report["opset_after"], opset)
                    self.assertLessEqual(out.stat().st_size, model.stat().st_size + 1024)
                    verified = json.loads(run_cli("model", "verify", model, out, *inputs, "--min-snr", "80", "--json"))
                    self.assertTrue(verified["passed"])

    def test_style_candy_works_where_the_opset_stays(self):
        made = json.loads(run_cli("model", "inspect", SHARED / "models/style_candy.onnx", "--no-run", "--json"))
        self.assertIn("old_opset", [problem["kind"] for problem in made["problems"]])


if __name__ == "__main__":
    unittest.main()
