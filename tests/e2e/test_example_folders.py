"""The folders of examples/, each from a fresh copy with nothing but the program: what their READMEs show is what happens.

SKAB=all measures the pump example on all 34 runs of SKAB and compares the README's table; otherwise three of them. Without
the data beside the repository these tests are skipped.
"""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import small_yaml
from harness import PROGRAM, ROOT, SHARED, Device, Edge, run_cli, wait_for
from json_schema import violations
from servers import Mosquitto, free_port

sys.path[:0] = [str(ROOT / "examples/pump"), str(ROOT / "demo")]
import fit as pump_fit  # noqa: E402

FOLDERS = sorted(path.parent for path in (ROOT / "examples").glob("*/edge.yaml"))
TOKENS = {"READINGS_TOKEN": "sesame", "WEBHOOK_TOKEN": "open"}


def fresh_copy(test, name):
    """The folder as git has it: no files of earlier runs."""
    holder = tempfile.TemporaryDirectory(prefix=f"headwater-{name}-")
    test.addCleanup(holder.cleanup)
    copy = pathlib.Path(holder.name, name)
    shutil.copytree(ROOT / "examples" / name, copy,
                    ignore=shutil.ignore_patterns("run", "data", "alerts.jsonl", "__pycache__"))
    return copy


def run_in(folder, *command, **env):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "HEADWATER": PROGRAM, **env})
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def shown(name, number=0):
    """A block of output in a README."""
    return re.findall(r"^```text\n(.*?)^```", (ROOT / "examples" / name / "README.md").read_text(), re.M | re.S)[number]


def stored(folder, *more):
    return [json.loads(line) for line in run_cli("store", "cat", folder, "--json", *more).splitlines()]


class All(unittest.TestCase):
    def test_each_passes_check_and_the_schema_for_editors(self):
        schema = json.loads(run_cli("reference", "--json-schema"))
        self.assertEqual([f.name for f in FOLDERS], ["http-webhook", "machine-temperature", "pump", "shared-broker"])
        for folder in FOLDERS:
            with self.subTest(folder.name):
                run_in(fresh_copy(self, folder.name), PROGRAM, "check", "edge.yaml", **TOKENS)
                self.assertEqual(violations(schema, small_yaml.load((folder / "edge.yaml").read_text())), [])

    def test_each_readme_is_short_and_names_only_files_that_are_there(self):
        for folder in FOLDERS:
            with self.subTest(folder.name):
                text = (folder / "README.md").read_text()
                self.assertLessEqual(len(text.splitlines()), 60)
                for name in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"^\| `([\w.-]+)`", text, re.M):
                    self.assertTrue((folder / name).exists(), name)


class Pump(unittest.TestCase):
    def setUp(self):
        self.folder = fresh_copy(self, "pump")

    def test_prints_what_its_readme_shows(self):
        printed = run_in(self.folder, PROGRAM, "run", "edge.yaml", "--exit-when-done")
        # The order of the two rules' lines depends on where batches were cut.
        self.assertEqual(sorted(printed.splitlines()), sorted(shown("pump").splitlines()))
        alerts = [json.loads(line) for line in (self.folder / "alerts.jsonl").read_text().splitlines()]
        self.assertEqual({alert["rule"] for alert in alerts}, {"anomaly", "overheated"})
        with open(self.folder / "pumps.csv", newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        impossible = [row for row in rows if float(row["pressure"]) > 25]
        self.assertEqual(len(impossible), 1)
        self.assertEqual(len(stored(self.folder / "data")), len(rows) - 1)

    def test_the_edge_scores_as_the_fit_computes(self):
        fitted, _ = pump_fit.fit(self.folder / "pumps.csv", 400)
        run_in(self.folder, PROGRAM, "run", "edge.yaml", "--exit-when-done")
        for device, rows in pump_fit.read(self.folder / "pumps.csv").items():
            expected = [None if x is None else fitted.score(x) for x in pump_fit.features(rows)]
            scores = [row["score"] for row in stored(self.folder / "data", "--device", device)]
            self.assertEqual([s is None for s in scores], [e is None for e in expected])
            for score, wanted in zip(scores, expected):
                if score is not None:
                    self.assertAlmostEqual(score, wanted, delta=2e-3)  # the model computes in float32

    def test_data_and_model_are_what_their_scripts_make(self):
        self.assertEqual(run_in(self.folder, sys.executable, "make_data.py"), (self.folder / "pumps.csv").read_text())
        fitted, samples = pump_fit.fit(self.folder / "pumps.csv", 400)
        self.assertEqual(pump_fit.as_onnx(fitted, samples), (self.folder / "model.onnx").read_bytes())

    def test_the_fit_has_the_windows_of_the_config(self):
        steps = small_yaml.load((self.folder / "edge.yaml").read_text())["pipelines"]["main"]["steps"]
        columns = [(name, call, window["last"], window["min_count"])
                   for window in (step["window"] for step in steps if "window" in step) for name, call in window["add"].items()]
        self.assertEqual(columns, [(name, f"{kind}({signal})", f"{seconds}s", least)
                                   for name, kind, signal, seconds, least in pump_fit.FEATURES])

    def test_skab(self):
        data = SHARED / "data/skab/data"
        if not data.exists():
            self.skipTest(f"{data} is not there: the pump example is not measured on SKAB")
        every = os.environ.get("SKAB") == "all"
        script = ROOT / "examples/pump/skab.py"
        table = run_in(self.folder, sys.executable, script, data, *([] if every else ["valve1/0", "valve2/1", "other/9"]))
        if every:
            self.assertEqual(table, shown("pump", 1))
        else:
            self.assertIn("3 runs, 2154 rows behind the first 400 of each, ", table)
            alarm = re.search(r"^the alarm of edge.yaml +([\d.]+)", table, re.M)
            flow = re.search(r"^limit on flow.* std +([\d.]+)", table, re.M)
            self.assertGreater(float(alarm.group(1)), float(flow.group(1)))


class MachineTemperature(unittest.TestCase):
    def test_prints_what_its_readme_shows(self):
        folder = fresh_copy(self, "machine-temperature")
        printed = run_in(folder, "./run.sh", PORT=str(free_port()))
        pace = re.compile(r", [\d.]+ s, \d+/s$", re.M)
        self.assertEqual(pace.sub("", printed), pace.sub("", shown("machine-temperature")))
        self.assertEqual(len(stored(folder / "run/data")), 1296)

    def test_data_and_model_come_from_the_demo(self):
        folder = ROOT / "examples/machine-temperature"
        whole = ROOT / "demo/data/machine_temperature_system_failure.csv"
        head, *rows = (folder / "recording.csv").read_text().splitlines()
        lines = whole.read_text().splitlines()
        self.assertEqual(head, lines[0])
        first = lines.index(rows[0])
        self.assertEqual(lines[first:first + len(rows)], rows)
        with tempfile.TemporaryDirectory() as made:
            run_in(made, sys.executable, ROOT / "demo/fit.py", whole, "model.onnx")
            self.assertEqual(pathlib.Path(made, "model.onnx").read_bytes(), (folder / "model.onnx").read_bytes())

    def test_a_taken_port_ends_it_at_once(self):
        folder = fresh_copy(self, "machine-temperature")
        with Edge((folder / "edge.yaml").read_text().replace(":1884", ":0").replace(":9465", ":0"),
                  {"model.onnx": folder / "model.onnx"}) as other:
            done = subprocess.run(["./run.sh"], cwd=folder, capture_output=True, text=True, timeout=20,
                                  env={**os.environ, "HEADWATER": PROGRAM, "PORT": str(other.address("devices")[1])})
            self.assertEqual(done.returncode, 75)
            self.assertIn("Address already in use", done.stderr)
            self.assertEqual(other.rows("readings"), [])


@unittest.skipIf(Mosquitto.PROGRAM is None, "mosquitto is not installed: the broker example is not run")
class SharedBroker(unittest.TestCase):
    TOTAL = 6000

    def edge(self, name, broker, *replace):
        text = (ROOT / "examples/shared-broker/edge.yaml").read_text()
        for old, new in (("{id: edge,", f"{{id: edge-{name},"), ("127.0.0.1:1883", f"127.0.0.1:{broker.port}"), *replace):
            self.assertIn(old, text)
            text = text.replace(old, new)
        return Edge(text + '\nadmin: {address: "127.0.0.1:0"}\n')

    @staticmethod
    def start(edge):
        before = len(edge.log)
        edge.start()
        wait_for("subscribed", lambda: any("msg=connected source=broker" in line for line in edge.log[before:]))

    def test_prints_that_nothing_is_lost(self):
        printed = run_in(fresh_copy(self, "shared-broker"), "./run.sh", PORT=str(free_port()))
        number = re.compile(r"(stored|edge-b) \d+|in [\d.]+ s|[\d.]+ s, \d+/s")
        self.assertEqual(number.sub("", printed), number.sub("", shown("shared-broker")))
        self.assertIn("different ids among them: 4000", printed)

    def test_one_edge_dies_and_the_other_goes_on(self):
        with tempfile.TemporaryDirectory() as folder, Mosquitto(folder) as broker, \
                self.edge("a", broker) as a, self.edge("b", broker) as b:
            for edge in (a, b):
                wait_for("subscribed", lambda: any("msg=connected source=broker" in line for line in edge.log))

            def count(edge):
                return edge.status()["sources"][0]["stored"]

            device = Device(("127.0.0.1", broker.port), "publisher")
            messages = [(f"sensors/press-{i % 5}/readings",
                         json.dumps({"id": f"m{i}", "temperature": 95.0 if i % 100 == 7 else 60.0})) for i in range(self.TOTAL)]
            device.publish_all(messages[:2000], 50)
            wait_for("both have a share", lambda: count(a) > 300 and count(b) > 300)
            device.publish_all(messages[2000:4000], 50)   # the broker has them; what of them is at b, or on its way?
            b.kill()
            at_kill = count(a)
            device.publish_all(messages[4000:], 50)
            device.close()
            self.assertEqual(len(device.acknowledged), self.TOTAL)
            wait_for("the other goes on", lambda: count(a) >= at_kill + 100)
            self.start(b)

            def ids():
                return [json.loads(row["payload"])["id"] for edge in (a, b) for row in edge.rows("readings")]

            wait_for("all are stored", lambda: len(set(ids())) == self.TOTAL)
            for edge in (a, b):
                wait_for("alerts are delivered", lambda: edge.status()["sinks"][0]["pending"] == 0)
                edge.stop()
            self.assertEqual(sorted(ids()), sorted(f"m{i}" for i in range(self.TOTAL)), "each at one edge, once")
            hot = [json.loads(row["payload"])["raw_data"]["id"] for edge in (a, b) for row in edge.rows("alerts")]
            self.assertEqual(sorted(hot), sorted(f"m{i}" for i in range(self.TOTAL) if i % 100 == 7))

    def test_without_a_kept_session_the_other_gets_all_that_is_new(self):
        forget = ("session_expiry: 7d", "session_expiry: 0s\n    clean_start: true")
        with tempfile.TemporaryDirectory() as folder, Mosquitto(folder) as broker, \
                self.edge("a", broker, forget) as a, self.edge("b", broker, forget) as b:
            for edge in (a, b):
                wait_for("subscribed", lambda: any("msg=connected source=broker" in line for line in edge.log))

            def publish(first, last):
                device = Device(("127.0.0.1", broker.port), "publisher")
                device.publish_all([("sensors/press-1/readings", json.dumps({"id": f"m{i}", "temperature": 60.0}))
                                    for i in range(first, last)], 50)
                device.close()

            def count(edge):
                return edge.status()["sources"][0]["acknowledged"]

            publish(0, 1000)
            wait_for("all of the first part", lambda: count(a) + count(b) == 1000)
            self.assertGreater(count(b), 0)
            share = count(a)
            b.kill()
            publish(1000, 2000)
            wait_for("all of the second part at the other", lambda: count(a) == share + 1000)


class HttpWebhook(unittest.TestCase):
    def test_prints_what_its_readme_shows(self):
        folder = fresh_copy(self, "http-webhook")
        port = free_port()
        printed = run_in(folder, "./run.sh", PORT=str(free_port()), WEBHOOK_PORT=str(port))
        self.assertEqual(printed.replace(f":{port}\n", ":8099\n"), shown("http-webhook"))
        self.assertEqual(len(stored(folder / "run/data")), 240)

    def test_alarms_wait_for_the_webhook_and_readings_need_the_token(self):
        folder = fresh_copy(self, "http-webhook")
        port = free_port()
        os.environ.update(TOKENS)
        text = (folder / "edge.yaml").read_text().replace("127.0.0.1:8088", "127.0.0.1:0")
        with Edge(text.replace("127.0.0.1:8099", f"127.0.0.1:{port}")) as edge:
            def post(token):
                host, at = edge.address("hook")
                request = urllib.request.Request(f"http://{host}:{at}/readings", (folder / "readings-1.json").read_bytes(),
                                                 {"Content-Type": "application/json", "Authorization": f"Bearer {token}"})
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)

            with self.assertRaises(urllib.error.HTTPError) as refused:
                post("guess")
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()
            self.assertEqual(post(TOKENS["READINGS_TOKEN"])["stored"], 80)
            for name in ("readings-2.jsonl", "readings-3.csv"):
                host, at = edge.address("hook")
                kind = {"jsonl": "application/x-ndjson", "csv": "text/csv"}[name.split(".")[1]]
                request = urllib.request.Request(f"http://{host}:{at}/readings", (folder / name).read_bytes(),
                                                 {"Content-Type": kind, "Authorization": "Bearer sesame"})
                urllib.request.urlopen(request, timeout=10).close()
            wait_for("both alarms are stored", lambda: len(edge.rows("alerts")) == 2)
            edge.kill()          # nobody was there to hear of them
            edge.start()
            receiver = subprocess.Popen([sys.executable, folder / "receiver.py", str(port)], stdout=subprocess.PIPE, text=True)
            self.addCleanup(receiver.stdout.close)
            self.addCleanup(receiver.wait)
            self.addCleanup(receiver.kill)
            heard = [receiver.stdout.readline().split()[1:3] for _ in range(3)]
            self.assertEqual(heard[1:], [["raised", "too_warm"], ["cleared", "too_warm"]])
            edge.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
