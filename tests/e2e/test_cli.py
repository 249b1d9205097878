"""The commands as people and scripts use them: what they print, where, and how they end."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

from harness import PROGRAM, ROOT, Device, Edge, run_cli, wait_for
from json_schema import violations

MODEL = ROOT / "tests/data/models/anomaly.onnx"

GOOD = """\
edge: {id: cli, data_dir: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}}
sources:
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+/readings"], device: "topic[1]"}
pipelines:
  main:
    from: [direct]
    steps:
      - filter: {when: "temperature < 400.0"}
      - detect: {model: anomaly}
      - decide: {alert_when: "score > 0.8"}
    alerts: [out]
sinks:
  out: {type: stdout}
admin: {address: "127.0.0.1:0"}
health: {address: "127.0.0.1:0"}
"""

BAD = """\
edge: {id: cli, data_dri: ./data}
models:
  anomaly: {path: anomaly.onnx, inputs: {input: [temperature, pressure, vibration]}}
sources:
  direct:
    type: mqtt_lissen
    address: "127.0.0.1:0"
pipelines:
  main:
    from: [direkt]
    steps:
      - filter: {when: "temperature > "}
      - detect: {model: anomaly, max_rows: 0}
      - decide: {alert_when: "score > 'a'"}
store: {max_bytes: 10}
"""
BAD_TEXT = """\
edge.yaml:1:17: error: unknown option 'data_dri', did you mean 'data_dir'?
    1 | edge: {id: cli, data_dri: ./data}
      |                 ^^^^^^^^
edge.yaml:6:5: warning: source 'direct' feeds no pipeline
    6 |     type: mqtt_lissen
      |     ^
edge.yaml:6:11: error: no source of kind 'mqtt_lissen', did you mean 'mqtt_listen'?
    6 |     type: mqtt_lissen
      |           ^^^^^^^^^^^
edge.yaml:10:12: error: no source 'direkt' under sources:, did you mean 'direct'?
   10 |     from: [direkt]
      |            ^^^^^^
edge.yaml:12:39: error: expected a value, but the expression ends here
   12 |       - filter: {when: "temperature > "}
      |                                       ^
edge.yaml:13:44: error: max_rows: 0 is outside [1, 65536]
   13 |       - detect: {model: anomaly, max_rows: 0}
      |                                            ^
edge.yaml:15:20: error: max_bytes: '10' is not a size such as 64MiB: the unit is missing
   15 | store: {max_bytes: 10}
      |                    ^^
edge.yaml: 6 errors
"""


def reading(seq, **fields):
    return json.dumps({"seq": seq, "temperature": 60.0, "pressure": 101.0, "vibration": 0.5, **fields})


class Folder(unittest.TestCase):
    """A folder with a model, a config and some recordings, thrown away after each test."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="headwater-cli-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        (self.folder / "anomaly.onnx").write_bytes(MODEL.read_bytes())
        self.write("edge.yaml", GOOD)

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def cli(self, *arguments, **options):
        return run_cli(*arguments, cwd=self.folder, **options)


class General(Folder):
    def test_version_and_help(self):
        self.assertRegex(self.cli("--version"), r"^headwater \d+\.\d+\.\d+\n$")
        commands = ("run", "check", "simulate", "store", "expr", "reference", "top", "tap")
        text = self.cli("--help")
        for command in commands:
            self.assertIn(command, text)
            self.assertIn("Examples:", self.cli(command, "--help"), command)

    def test_wrong_usage_ends_with_64(self):
        out, error = self.cli("chek", status=64)
        self.assertEqual(out, "")
        self.assertEqual(error, "headwater: no command 'chek', did you mean 'check'?; see headwater --help\n")
        for arguments in ((), ("check",), ("check", "absent.yaml"), ("check", "edge.yaml", "--expalin"), ("store",),
                          ("store", "ls"), ("store", "ls", "absent"), ("simulate", "edge.yaml"),
                          ("tap", "--kind", "x")):
            with self.subTest(arguments):
                out, error = self.cli(*arguments, status=64)
                self.assertEqual(out, "")
                self.assertTrue(error)


class Check(Folder):
    def test_a_sound_config(self):
        out = self.cli("check", "edge.yaml")
        self.assertTrue(out.startswith("edge.yaml: ok\n"))
        for text in ("pipeline main: direct > decode > filter > detect > decide > store", "alerts to out",
                     "input  input: float32 [N, 3]", "loss window: none", "a day at 100 readings/s of 150 bytes"):
            self.assertIn(text, out)
        plan = json.loads(self.cli("check", "edge.yaml", "--json", "--rate", "1000", "--size", "300"))
        self.assertTrue(plan["ok"])
        self.assertEqual(plan["plan"]["pipelines"][0]["steps"], ["filter", "detect", "decide"])
        self.assertGreater(plan["plan"]["bytes_written_per_day"], 1000 * 300 * 86400)
        self.assertFalse((self.folder / "data").exists(), "check writes nothing")

    def test_the_disk_is_measured_on_demand(self):
        data = self.folder / "data"
        data.mkdir()
        quiet = json.loads(self.cli("check", "edge.yaml", "--json", "--rate", "1", "--measure-disk"))["plan"]["writes"]
        busy = json.loads(self.cli("check", "edge.yaml", "--json", "--rate", "5000", "--measure-disk"))["plan"]["writes"]
        self.assertGreater(quiet["commit_time_s"], 0)
        self.assertGreater(quiet["new_store_bytes_per_day"], quiet["bytes_per_day"])
        self.assertGreater(busy["commits_per_second"], quiet["commits_per_second"])
        self.assertEqual(list(data.iterdir()), [], "nothing stays behind")
        data.rmdir()
        self.assertIn("0.3 ms a commit", self.cli("check", "edge.yaml", "--measure-disk"), "no folder to measure in: an SSD's")
        self.assertFalse(data.exists())

    def test_every_mistake_at_once_with_place_and_nearest_name(self):
        self.write("edge.yaml", BAD)
        out, error = self.cli("check", "edge.yaml", status=65)
        self.assertEqual(out, "")
        self.assertEqual(error, BAD_TEXT)

    def test_mistakes_as_json(self):
        self.write("edge.yaml", BAD)
        out, error = self.cli("check", "edge.yaml", "--json", status=65)
        self.assertEqual(error, "")
        found = json.loads(out)
        self.assertFalse(found["ok"])
        errors = [d for d in found["diagnostics"] if d["severity"] == "error"]
        self.assertEqual(found["errors"], len(errors))
        self.assertEqual([(d["line"], d["column"]) for d in found["diagnostics"]],
                         [tuple(map(int, m)) for m in re.findall(r"^edge.yaml:(\d+):(\d+): ", BAD_TEXT, re.M)])
        self.assertIn("did you mean 'data_dir'", errors[0]["text"])
        # The run refuses it with the same text.
        out, error = self.cli("run", "edge.yaml", status=65)
        self.assertEqual((out, error), ("", BAD_TEXT.rsplit("\n", 2)[0] + "\n"))

    def test_explain_tells_the_origin_of_every_option(self):
        out = self.cli("check", "edge.yaml", "--explain", "--set", "edge.id=by-flag",
                       env={"BATCH_SIZE": "33", "HEADWATER_LOG_LEVEL": "warn"})
        line = lambda option: next(l.split() for l in out.splitlines() if l.split()[:1] == [option])
        self.assertEqual(line("edge.id"), ["edge.id", "by-flag", "flag", "--set"])
        self.assertEqual(line("edge.data_dir"), ["edge.data_dir", "./data", "file", "edge.yaml:1:27"])
        self.assertEqual(line("store.max_bytes")[2:], ["default"])
        self.assertEqual(line("pipelines.main.steps[1].detect.max_rows")[1:], ["33", "environment", "BATCH_SIZE"])
        self.assertEqual(line("log.level")[1:], ["warn", "environment", "HEADWATER_LOG_LEVEL"])

    def test_secrets_are_not_shown(self):
        self.write("edge.yaml", GOOD.replace('admin: {address: "127.0.0.1:0"}',
                                             'admin: {address: "127.0.0.1:0", token: "${TOKEN}"}'))
        for arguments in (("--explain",), ("--json",), ()):
            self.assertNotIn("open sesame", self.cli("check", "edge.yaml", *arguments, env={"TOKEN": "open sesame"}))
        _, error = self.cli("check", "edge.yaml", status=65)
        self.assertIn("TOKEN", error, "an unset variable is named")

    def test_what_a_config_refers_to_must_be_there_and_sound(self):
        def with_table(options):
            return GOOD.replace("      - detect", f"      - enrich: {{lookup: {{{options}}}}}\n      - detect")

        def listening(options):
            return GOOD.replace('device: "topic[1]"', f'device: "topic[1]", {options}')

        cases = {
            "a missing model": (GOOD.replace("path: anomaly.onnx", "path: absent.onnx"), "absent.onnx", 3),
            "a model that is none": (GOOD.replace("path: anomaly.onnx", "path: edge.yaml"), "edge.yaml", 3),
            "a missing table": (with_table("file: no.csv, key: id"), "no.csv", 11),
            "a broken table": (with_table("file: broken.csv, key: id"), "broken.csv", 11),
            "a table without the key": (with_table("file: fine.csv, key: idd"), "idd", 11),
            "a missing password file": (listening("password_file: absent"), "absent", 5),
            "a password file that is none": (listening("password_file: fine.csv"), "line 1", 5),
            "a missing certificate": (listening("tls: {certificate: no.pem, key: no.key}"), "no.pem", 5),
            "a rule that is no pattern": (listening('write_own: ["sensors/%x/readings"]'), "%x", 5),
            "a missing authority": (GOOD.replace("{type: stdout}", '{type: mqtt, url: "mqtts://b:8883", topic: a, '
                                                 'tls: {ca: no-ca.pem}}'), "no-ca.pem", 15),
            "an input that is no field": (GOOD.replace("vibration]", "vibration, speed]"), "input", 11),
        }
        self.write("broken.csv", 'id,site\npress-1,"hall 2\npress-2,x\n')
        self.write("fine.csv", "id,site\npress-1,hall 2\n")
        for what, (text, named, line) in cases.items():
            with self.subTest(what):
                self.write("edge.yaml", text)
                for command in ("check", "run"):
                    out, error = self.cli(command, "edge.yaml", status=65)
                    self.assertIn(named, error)
                    self.assertRegex(error, rf"edge\.yaml:{line}:\d+: error: ")


class Expr(Folder):
    def test_values(self):
        for text, kind, value in (("1 + 2 * 3", "int", 7), ("7 / 2.0", "double", 3.5), ('"a" + "b"', "string", "ab"),
                                  ('duration("90s") > duration("1m")', "bool", True),
                                  ('timestamp("2026-01-01T00:00:00Z") + duration("1h")', "timestamp",
                                   "2026-01-01T01:00:00Z")):
            with self.subTest(text):
                self.assertEqual(json.loads(self.cli("expr", text, "--json")), {"type": kind, "value": value})
        self.assertEqual(self.cli("expr", '"a" + "b"'), "ab\n")

    def test_errors_show_the_column(self):
        for text, column, words in (("1 +", 4, "expected a value"), ("temperature > 1", 1, "no field 'temperature'"),
                                    ('"a" + 1', 5, "string and int")):
            with self.subTest(text):
                _, error = self.cli("expr", text, status=65)
                self.assertIn(f"expr:1:{column}: ", error)
                self.assertIn(words, error)
                self.assertEqual(error.splitlines()[-1].index("^"), column + 1, "the caret stands under it")
                self.assertIn(words, json.loads(self.cli("expr", text, "--json", status=65)[0])["error"])

    def test_one_value_per_reading(self):
        rows = self.write("rows.jsonl",
                          '{"device_id": "press-1", "temperature": 81.5, "timestamp": "2026-01-01T00:00:30Z"}\n\n'
                          '{"device_id": "lathe-1", "temperature": 90}\n{"device_id": "press-2", "temperature": 20}\n')
        text = 'temperature > 80.0 && device.startsWith("press")'
        self.assertEqual(self.cli("expr", text, "--data", rows), "true\nfalse\nfalse\n")
        self.assertEqual(self.cli("expr", "temperature * 2.0", "--data", "-", stdin=rows.read_text()), "163\n180\n40\n")
        self.assertEqual(self.cli("expr", "time.getSeconds()", "--data", rows).splitlines()[0], "30")
        _, error = self.cli("expr", "temperatur > 80.0", "--data", rows, status=65)
        self.assertIn("did you mean 'temperature'?", error)
        self.cli("expr", "temperature", "--data", "absent.jsonl", status=66)
        _, error = self.cli("expr", "a", "--data", "-", stdin='{"a": 1}\n{"a": \n', status=65)
        self.assertIn("reading 2", error)


class Simulate(unittest.TestCase):
    def test_csv_and_jsonl(self):
        with Edge(GOOD, {"anomaly.onnx": MODEL}) as edge:
            to = "mqtt://%s:%d" % edge.address("direct")
            table = edge.folder / "machine.csv"
            table.write_text("timestamp,value,pressure,vibration,note\n" +
                             "".join(f"2026-01-01T00:00:{i:02d}Z,{60 + i / 10},101,0.5,\"a, b\"\n" for i in range(50)))
            summary = json.loads(run_cli("simulate", table, "--to", to, "--rename", "value", "temperature", "--device",
                                         "press-7", "--json"))
            self.assertEqual((summary["sent"], summary["acknowledged"], summary["refused"], summary["skipped_lines"]),
                             (50, 50, 0, 0))
            lines = edge.folder / "rows.jsonl"
            lines.write_text("".join(json.dumps({"device_id": f"press-{i % 2}", "seq": i, "temperature": 60}) + "\n"
                                     for i in range(40)) + '{"device_id": "press-0", "temperature": \n')
            begun = time.monotonic()
            summary = json.loads(run_cli("simulate", lines, "--to", to, "--rate", "40", "--json", "--client-id",
                                         "second"))
            self.assertGreaterEqual(time.monotonic() - begun, 0.95, "41 messages at 40 a second")
            self.assertEqual(summary["sent"], 41)
            text = run_cli("simulate", lines, "--to", to, "--devices", "3", "--repeat", "2", "--qos", "0")
            self.assertRegex(text, r"^246 messages sent, 246 acknowledged, 0 refused, 0 lines skipped, ")
            wait_for("all taken", lambda: (lambda s: s["received"] == 50 + 41 + 246 and s["in_flight"] == 0)(
                edge.status()["sources"][0]))
            edge.stop()
            rows = edge.rows("readings")
            first = [row for row in rows if row["device_id"] == "press-7"]
            self.assertEqual([json.loads(row["payload"])["temperature"] for row in first],
                             [60 + i / 10 for i in range(50)])
            self.assertEqual(json.loads(first[0]["payload"])["note"], "a, b")
            self.assertEqual(len(edge.rows("dead_letter")), 1 + 6)

    def test_a_receiver_that_is_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            rows = pathlib.Path(folder) / "rows.jsonl"
            rows.write_text('{"a": 1}\n')
            begun = time.monotonic()
            _, error = run_cli("simulate", rows, "--to", "mqtt://127.0.0.1:1", "--patience", "0.5", status=75)
            self.assertLess(time.monotonic() - begun, 10)
            self.assertIn("no acknowledgement for 0.5 s", error)
            run_cli("simulate", rows, "--to", "ftp://127.0.0.1", status=65)


class Store(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.edge = Edge(GOOD + "store: {segment: 256KiB, max_bytes: 64MiB}\n", {"anomaly.onnx": MODEL})
        cls.addClassCleanup(lambda: cls.edge.__exit__(None, None, None))
        cls.edge.start()
        device = Device(cls.edge.address("direct"), "press-1")
        messages = [(f"sensors/press-{seq % 3}/readings",
                     reading(seq, vibration=9.0 if seq % 100 == 7 else 0.5, pad="x" * 400)) for seq in range(2000)]
        device.publish_all(messages + [("sensors/press-1/readings", b"\xff\xfe no JSON")] * 3)
        device.close()
        wait_for("decided", lambda: cls.edge.status()["pipelines"][0]["rows"] == 2000)
        cls.data = cls.edge.folder / "data"
        cls.while_running = run_cli("store", "ls", cls.data)
        cls.edge.stop()

    def test_ls(self):
        self.assertIn("readings", self.while_running, "works beside a running edge")
        listing = json.loads(run_cli("store", "ls", self.data, "--json"))
        self.assertEqual(listing["lanes"]["readings"]["rows"], 2000)
        self.assertEqual(listing["lanes"]["alerts"]["rows"], 20)
        self.assertEqual(listing["lanes"]["dead_letter"]["rows"], 3)
        cursors = {c["consumer"]: c["upto"] for c in listing["cursors"]}
        self.assertEqual(cursors["decided/main/0"], 2000)
        self.assertEqual(cursors["sink/out"], 20)
        text = run_cli("store", "ls", self.data)
        self.assertRegex(text, r"readings +2000 +1 +2001 +0")

    def test_cat(self):
        rows = [json.loads(line) for line in run_cli("store", "cat", self.data, "--json").splitlines()]
        self.assertEqual([row["sequence"] for row in rows], list(range(1, 2001)))
        self.assertTrue(all(row["decided"] for row in rows))
        self.assertEqual([row["sequence"] for row in rows if row["alerted"]], [seq + 1 for seq in range(7, 2000, 100)])
        plain = run_cli("store", "cat", self.data, "--limit", "2", "--sequence", "8").splitlines()
        self.assertEqual([line.split("\t")[0] for line in plain], ["8", "9"])
        self.assertEqual(json.loads(plain[0].split("\t")[-1])["seq"], 7)
        of_one = run_cli("store", "cat", self.data, "--device", "press-2", "--json").splitlines()
        self.assertEqual({json.loads(line)["device_id"] for line in of_one}, {"press-2"})
        middle = rows[1000]["timestamp"]
        before = run_cli("store", "cat", self.data, "--to", middle).splitlines()
        after = run_cli("store", "cat", self.data, "--from", middle).splitlines()
        self.assertEqual(len(before) + len(after), 2000)
        dead = run_cli("store", "cat", self.data, "--lane", "dead_letter", "--json").splitlines()
        self.assertEqual([bytes.fromhex(json.loads(line)["payload_hex"]) for line in dead], [b"\xff\xfe no JSON"] * 3)
        self.assertEqual(len(run_cli("store", "cat", self.data, "--lane", "alerts").splitlines()), 20)
        run_cli("store", "cat", self.data, "--lane", "nonsense", status=65)
        run_cli("store", "cat", self.data, "--from", "yesterday", status=65)

    def test_export(self):
        target = self.edge.folder / "out.jsonl"
        run_cli("store", "export", self.data, "--out", target)
        self.assertEqual(len([json.loads(line) for line in target.read_text().splitlines()]), 2000)
        raw = run_cli("store", "export", self.data, "--out", "-", "--raw").splitlines()
        self.assertEqual([json.loads(line)["seq"] for line in raw], list(range(2000)))
        run_cli("store", "export", self.data, "--out", self.edge.folder / "no/such/folder", status=66)

    def test_verify_finds_one_flipped_byte(self):
        self.assertIn("SOUND", run_cli("store", "verify", self.data))
        segments = sorted((self.data / "spool").glob("*"), key=lambda f: f.stat().st_size)
        segment = next(f for f in segments if b"press-1" in f.read_bytes())
        original = segment.read_bytes()
        at = original.index(b"vibration", len(original) // 2)
        try:
            segment.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1:])
            out, _ = run_cli("store", "verify", self.data, status=74)
            self.assertIn("NOT SOUND", out)
            self.assertIn("DAMAGE", out)
            self.assertIn(segment.name, out)
            report = json.loads(run_cli("store", "verify", self.data, "--json", status=74)[0])
            self.assertFalse(report["ok"])
            self.assertEqual(report["damage"][0]["file"].rsplit("/")[-1], segment.name)
        finally:
            segment.write_bytes(original)
        self.assertIn("SOUND", run_cli("store", "verify", self.data))

    def test_repair_puts_the_lost_rows_on_record(self):
        self.assertIn("nothing to repair", run_cli("store", "repair", self.data))
        with tempfile.TemporaryDirectory() as folder:
            data = pathlib.Path(folder) / "data"
            shutil.copytree(self.data, data)
            segment = next(f for f in sorted((data / "spool").glob("*.log")) if b"press-1" in f.read_bytes())
            original = segment.read_bytes()
            at = original.index(b"vibration", len(original) // 2)
            segment.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1:])
            repaired = json.loads(run_cli("store", "repair", data, "--json"))
            self.assertEqual((repaired["changed"], repaired["before"]["ok"], repaired["after"]["ok"]),
                             (True, False, True))
            lost = sum(gap["rows"] for gap in repaired["recorded"] if gap["lane"] == "readings")
            self.assertGreater(lost, 0)
            rows = run_cli("store", "cat", data, "--json").splitlines()
            self.assertEqual(len(rows), 2000 - lost)
            text = run_cli("store", "verify", data)
            self.assertIn("damage on record", text)
            self.assertIn("SOUND", text)
            for segment in (data / "spool").glob("*.log"):
                whole = segment.read_bytes()
                segment.write_bytes(b"Z" * 8192 + whole[8192:])
            _, error = run_cli("store", "repair", data, status=74)
            self.assertIn("--force", error)
            self.assertIn("was renamed", run_cli("store", "repair", data, "--force"))
            self.assertEqual(len(list(data.glob("spool.damaged-*"))), 1)

    def test_nothing_that_is_a_store(self):
        with tempfile.TemporaryDirectory() as folder:
            for command in ("ls", "cat", "verify"):
                run_cli("store", command, folder, status=66)


class Reference(unittest.TestCase):
    def test_pages(self):
        self.assertIn("alert_when", run_cli("reference", "decide"))
        self.assertIn("max_bytes", run_cli("reference", "store"))
        everything = run_cli("reference")
        for kind in ("mqtt_listen", "filter", "enrich", "window", "detect", "decide", "stdout"):
            self.assertIn(kind, everything)
        _, error = run_cli("reference", "decid", status=66)
        self.assertIn("did you mean 'decide'?", error)

    def test_the_json_schema_takes_good_configs_and_refuses_bad_ones(self):
        schema = json.loads(run_cli("reference", "--json-schema"))
        good = {"edge": {"id": "a"}, "sources": {"in": {"type": "file", "path": "x.jsonl"}},
                "pipelines": {"main": {"from": ["in"], "steps": [{"decide": {"alert_when": "score > 0.8"}}]}}}
        self.assertEqual(violations(schema, good), [])
        for path, value in ((("edge", "idd"), "a"), (("workers",), "many"), (("pipelines", "main", "from"), 5),
                            (("sources", "in", "type"), "flie")):
            bad = json.loads(json.dumps(good))
            at = bad
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            with self.subTest(path):
                self.assertNotEqual(violations(schema, bad), [])


class Running(unittest.TestCase):
    def test_top_shows_the_uplink_and_what_is_in_trouble(self):
        down = 'uplink: {type: http, url: "http://127.0.0.1:1/batches", every: 200ms}\n'
        with Edge(GOOD + down, {"anomaly.onnx": MODEL}) as edge:
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(seq)) for seq in range(5)])
            admin = "http://%s:%d" % edge.address("admin")

            def shown():
                text = run_cli("top", "--once", "--admin", admin)
                lane = next(line.split() for line in text.splitlines() if line.startswith("readings"))
                return text if lane[2] == "5" and lane[-1] != "0" else None
            self.assertIn("to http://127.0.0.1:1/batches", wait_for("a retry of five rows", shown))
            edge.stop()

    def test_top_and_tap(self):
        with Edge(GOOD, {"anomaly.onnx": MODEL}) as edge:
            admin = "http://%s:%d" % edge.address("admin")
            text = run_cli("top", "--once", "--admin", admin)
            for word in ("cli", "ready", "direct", "main", "store ok", "sink out"):
                self.assertIn(word, text)
            self.assertEqual(json.loads(run_cli("top", "--json", "--admin", admin))["edge_id"], "cli")
            for kind, limit in (("readings", 3), ("alerts", 2)):
                tap = subprocess.Popen([PROGRAM, "tap", "--admin", admin, "--kind", kind, "--limit", str(limit),
                                        "--rate", "1000"], stdout=subprocess.PIPE, text=True)
                device = Device(edge.address("direct"), "press-1")
                seq = 0

                def published_and_ended():
                    nonlocal seq
                    device.publish_all([("sensors/press-1/readings", reading(seq, vibration=9.0))])
                    seq += 1
                    return tap.poll() is not None

                wait_for("the tap ends by itself", published_and_ended)
                self.assertEqual(tap.returncode, 0)
                events = [json.loads(line) for line in tap.stdout]
                tap.stdout.close()
                device.close()
                self.assertEqual(len(events), limit)
                for event in events:
                    self.assertEqual(event["device_id"], "press-1")
                    self.assertIn("anomaly_score" if kind == "alerts" else "payload", event)
            edge.stop()
            run_cli("top", "--once", "--admin", admin, status=75)
            run_cli("tap", "--admin", admin, status=75)

    def test_sigterm_under_load_stores_all_that_was_acknowledged(self):
        with Edge(GOOD, {"anomaly.onnx": MODEL}) as edge:
            device = Device(edge.address("direct"), "press-1")
            for seq in range(300):
                device.send("sensors/press-1/readings", reading(seq), seq)
            edge.process.send_signal(signal.SIGTERM)
            try:
                for seq in range(300, 20_000):
                    device.send("sensors/press-1/readings", reading(seq), seq)
                    device.poll()
                while device.poll(10):
                    pass
            except OSError:
                pass
            self.assertEqual(edge.process.wait(30), 0)
            edge._reader.join()
            self.assertLess(len(device.acknowledged), 20_000)
            stored = [json.loads(row["payload"])["seq"] for row in edge.rows("readings")]
            self.assertEqual(stored, list(range(len(stored))))
            self.assertLessEqual(set(device.acknowledged), set(stored))
            self.assertTrue(all(row["decided"] for row in edge.rows("readings")), "what was taken is decided")
            self.assertTrue(edge.verify()["ok"])

    def test_a_data_dir_has_one_edge(self):
        with Edge(GOOD, {"anomaly.onnx": MODEL}) as edge:
            _, error = run_cli("run", "edge.yaml", cwd=edge.folder, status=75)
            self.assertIn(str(edge.process.pid), error)
            self.assertIn("data", error)
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(1))])
            edge.stop()
            self.assertEqual(len(edge.rows("readings")), 1)

    def test_a_data_dir_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory(prefix="headwater-cli-") as name:
            folder = pathlib.Path(name)
            (folder / "anomaly.onnx").write_bytes(MODEL.read_bytes())
            (folder / "edge.yaml").write_text(GOOD)
            (folder / "file").write_text("in the way")
            _, error = run_cli("run", "edge.yaml", "--set", "edge.data_dir=./file/data", cwd=folder, status=66)
            self.assertIn("file/data", error)
            if os.geteuid() != 0:
                (folder / "data").mkdir()
                (folder / "data").chmod(stat.S_IRUSR | stat.S_IXUSR)
                _, error = run_cli("run", "edge.yaml", cwd=folder, status=73)
                self.assertIn("data", error)

    def test_a_port_that_is_taken_is_named(self):
        with Edge(GOOD, {"anomaly.onnx": MODEL}) as edge:
            for option, listener in (("sources.direct.address", "direct"), ("admin.address", "admin"),
                                     ("health.address", "health")):
                taken = "%s:%d" % edge.address(listener)
                _, error = run_cli("run", "edge.yaml", "--set", f"{option}={taken}", "--set", "edge.data_dir=./other",
                                   cwd=edge.folder, status=(65, 75))
                self.assertIn(taken, error)
                self.assertIn("in use", error)

    def test_flags_and_environment_hold_in_every_part_of_a_running_edge(self):
        edge = Edge(GOOD, {"anomaly.onnx": MODEL})
        for setting in ("sources.direct.message_id=seq", "pipelines.main.steps[0].filter.when=temperature < 50.0",
                        "pipelines.main.steps[2].decide.alert_when=score > 0.001", "sinks.out.format=json"):
            edge.extra += ["--set", setting]
        os.environ["BATCH_SIZE"] = "2"
        self.addCleanup(os.environ.pop, "BATCH_SIZE")
        with edge:
            device = Device(edge.address("direct"), "press-1")
            device.publish_all([("sensors/press-1/readings", reading(seq, temperature=t)) for seq, t in
                                ((1, 40), (1, 40), (2, 60), (3, 40), (4, 40), (5, 40))])
            wait_for("delivered", lambda: edge.status()["sinks"][0]["delivered"] == 4)
            status = edge.status()
            self.assertEqual({k: status["sources"][0][k] for k in ("duplicate", "filtered", "stored")},
                             {"duplicate": 1, "filtered": 1, "stored": 4})
            self.assertGreaterEqual(status["pipelines"][0]["model_calls"], 2, "calls of two rows at most")
            edge.stop()
            alerts = [json.loads(line) for line in (edge.folder / "stdout.txt").read_text().splitlines()]
            self.assertEqual([alert["raw_data"]["seq"] for alert in alerts], [1, 3, 4, 5])

    def test_neither_payloads_nor_passwords_reach_the_log(self):
        config = GOOD.replace('device: "topic[1]"', 'device: "topic[1]", password_file: passwords').replace(
            'admin: {address: "127.0.0.1:0"}', 'admin: {address: "127.0.0.1:0", token: "${TOKEN}"}')
        config += "log: {level: debug}\n"
        passwords = ("press-1:$7$101$hWAAioxdnsID7Nal$r3tSxJgbfndvcc0tE2kGqLHES+XLyimhelg8J07OIOZNsV7O6P9sF3bdU/"
                     "iYSx3xBeJLOKkc7pybeH5q+3w1SQ==\n")
        os.environ["TOKEN"] = "open-sesame"
        self.addCleanup(os.environ.pop, "TOKEN")
        with Edge(config, {"anomaly.onnx": MODEL, "passwords": passwords.encode()}) as edge:
            device = Device(edge.address("direct"), "press-1", username="press-1", password="correct horse")
            self.assertEqual(device.refused, 0)
            topic = "sensors/press-1/readings"
            device.publish_all([(topic, reading(1, secret="tok-4711")), (topic, '{"secret": "tok-4711", '),
                                (topic, b"\xff tok-4711"), (topic, reading(2, temperature="tok-4711")),
                                (topic, reading(3, vibration=9.0, secret="tok-4711"))])
            wait_for("decided", lambda: 'scored_readings_total{pipeline="main"} 2' in edge.get("health", "/metrics")[1])
            device.close()
            wrong = Device(edge.address("direct"), "press-1", username="press-1", password="battery staple")
            self.assertNotEqual(wrong.refused, 0)
            self.assertEqual(edge.get("admin", "/api/v1/status")[0], 401)
            self.assertNotIn("tok-4711", edge.get("health", "/metrics")[1])
            edge.stop()
            log = "\n".join(edge.log)
            for secret in ("tok-4711", "correct horse", "battery staple", "open-sesame", passwords[12:40]):
                self.assertNotIn(secret, log)
            self.assertGreater(len(edge.log), 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
