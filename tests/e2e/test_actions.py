"""The sinks exec, http and file in the running program: receivers that fail in every way, scripts, rotation."""

import http.server
import json
import os
import signal
import socket
import socketserver
import threading
import time
import unittest

from harness import Device, Edge, wait_for

os.environ["no_proxy"] = "*"

CONFIG = """
edge: {id: actions, data_dir: ./data}
sources: {direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["#"], device: client_id, message_id: seq}}
pipelines:
  main:
    from: [direct]
    steps: [{decide: {alert_when: "v > 0.5"}}]
    alerts: [out]
sinks: {out: %s}
admin: {address: "127.0.0.1:0"}
"""


class Receiver:
    """An HTTP server that answers the n-th request by plan: a status, (status, headers), "half", "drop" or "slow".

    Behind the plan everything is 200. `got` has every request's body and headers, `taken` the bodies it said 200 to.
    """

    def __init__(self, plan=(), port=0):
        self.plan = list(plan)
        self.got = []
        self.taken = []
        self.times = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((json.loads(body), dict(self.headers)))
                receiver.times.append(time.monotonic())
                act = receiver.plan.pop(0) if receiver.plan else 200
                if act == "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if act == "slow":
                    receiver.released.wait(30)
                    self.close_connection = True
                    return
                if act == "half":
                    self.send_response(200)
                    self.send_header("Content-Length", "100")
                    self.end_headers()
                    self.wfile.write(b"half")
                    self.close_connection = True
                    return
                status, headers = act if isinstance(act, tuple) else (act, {})
                if status == 200:
                    receiver.taken.append(json.loads(body))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            block_on_close = False

            def process_request(self, request, client_address):
                receiver.connections.append(request)
                super().process_request(request, client_address)

        self.connections = []
        self.released = threading.Event()
        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def publish(edge, begin, end):
    device = Device(edge.address("direct"), "press-1")
    device.publish_all([("t", json.dumps({"seq": i, "v": 1.0})) for i in range(begin, end)])
    device.close()


def sink(edge):
    return edge.status()["sinks"][0]


def seqs(alerts):
    return [alert["raw_data"]["seq"] for alert in alerts]


class Http(unittest.TestCase):
    def receiver(self, *plan, port=0):
        made = Receiver(plan, port)
        self.addCleanup(made.close)
        return made

    def config(self, receiver, more=""):
        return CONFIG % (f'{{type: http, url: "http://127.0.0.1:{receiver.port}/a/${{device_id}}", token: "s3cret", '
                         f"max_backoff: 50ms{more}}}")

    def test_every_alert_arrives_once_and_in_order_whatever_the_receiver_does(self):
        receiver = self.receiver(500, 200, "drop", "half", 429, 503, 200, 200, "slow", 408, "half")
        with Edge(self.config(receiver, ", timeout: 300ms")) as edge:
            publish(edge, 0, 40)
            wait_for("all delivered", lambda: sink(edge)["delivered"] == 40)
            edge.stop()
        self.assertEqual(seqs(receiver.taken), list(range(40)))
        self.assertEqual(len({alert["id"] for alert in receiver.taken}), 40)
        for alert, headers in receiver.got:
            self.assertEqual(headers["Idempotency-Key"], alert["id"])
            self.assertEqual(headers["Authorization"], "Bearer s3cret")
        self.assertGreaterEqual(len(receiver.got), 48)
        self.assertNotIn("s3cret", "\n".join(edge.log))

    def test_a_receiver_that_goes_down_and_comes_back_gets_the_rest(self):
        receiver = self.receiver()
        with Edge(self.config(receiver)) as edge:
            publish(edge, 0, 5)
            wait_for("the first delivered", lambda: sink(edge)["delivered"] == 5)
            receiver.close()
            publish(edge, 5, 10)
            wait_for("trouble", lambda: sink(edge)["trouble"] and sink(edge)["retried"] > 0)
            self.assertEqual(sink(edge)["delivered"], 5)
            again = self.receiver(port=receiver.port)
            wait_for("the rest delivered", lambda: sink(edge)["delivered"] == 10)
            edge.stop()
        self.assertEqual(seqs(again.taken), list(range(5, 10)))

    def test_retry_after_is_waited_for(self):
        receiver = self.receiver((429, {"Retry-After": "2"}))
        with Edge(self.config(receiver)) as edge:
            publish(edge, 0, 3)
            wait_for("all delivered", lambda: sink(edge)["delivered"] == 3)
            edge.stop()
        self.assertEqual(seqs(receiver.taken), [0, 1, 2])
        self.assertGreaterEqual(receiver.times[1] - receiver.times[0], 1.9)

    def test_what_the_receiver_refuses_is_counted_and_holds_nothing_up(self):
        receiver = self.receiver(200, 400, 404, 200)
        with Edge(self.config(receiver)) as edge:
            publish(edge, 0, 4)
            wait_for("all answered", lambda: sink(edge)["delivered"] + sink(edge)["rejected"] == 4)
            self.assertEqual(sink(edge)["rejected"], 2)
            edge.stop()
        self.assertEqual(seqs(receiver.taken), [0, 3])

    def test_after_a_kill_of_the_edge_the_rest_is_sent(self):
        receiver = self.receiver(*["slow"] * 2)
        with Edge(self.config(receiver)) as edge:
            publish(edge, 0, 20)
            wait_for("the first is with the receiver", lambda: receiver.got)
            edge.kill()
            receiver.released.set()
            edge.start()
            wait_for("all delivered", lambda: sink(edge)["pending"] == 0)
            edge.stop()
        self.assertEqual(seqs(receiver.taken), list(range(20)))


class Exec(unittest.TestCase):
    def edge(self, script, more="", extra="", name="out"):
        config = CONFIG % f'{{type: exec, command: ["./{name}.sh"]{more}}}' + extra
        edge = Edge(config, {"out.sh": ("#!/bin/sh\n" + script).encode()})
        (edge.folder / "out.sh").chmod(0o755)
        return edge

    def test_each_alert_runs_the_program_once(self):
        for send in ("durable", "early"):
            with self.subTest(send=send), self.edge(
                    'cat > "alert-$HEADWATER_ALERT_ID.part" && mv "alert-$HEADWATER_ALERT_ID.part" '
                    '"alert-$HEADWATER_ALERT_ID-$HEADWATER_DEVICE_ID-$HEADWATER_EVENT"', f", send: {send}") as edge:
                publish(edge, 0, 20)
                wait_for("all run", lambda: sink(edge)["delivered"] == 20)
                edge.stop()
                alerts = [(path.name, json.loads(path.read_text())) for path in edge.folder.glob("alert-*")]
                self.assertEqual(sorted(seqs(alert for _, alert in alerts)), list(range(20)))
                for name, alert in alerts:
                    self.assertEqual(name, f"alert-{alert['id']}-press-1-alert")

    def test_75_is_tried_again_and_another_status_is_not(self):
        with self.edge('line=$(cat); case "$line" in *\'"seq": 1\'*) exit 3;; esac\n'
                       'if ! [ -e tried ]; then touch tried; exit 75; fi\nexit 0', ", max_running: 1") as edge:
            publish(edge, 0, 3)
            wait_for("all answered", lambda: sink(edge)["delivered"] + sink(edge)["rejected"] == 3)
            self.assertEqual((sink(edge)["delivered"], sink(edge)["rejected"]), (2, 1))
            self.assertGreaterEqual(sink(edge)["retried"], 1)
            edge.stop()

    def test_old_alerts_are_expired_and_never_run(self):
        with self.edge("echo >> runs; exec sleep 0.5", ", max_running: 1, max_age: 200ms") as edge:
            publish(edge, 0, 400)
            wait_for("all answered", lambda: sink(edge)["delivered"] + sink(edge)["expired"] == 400)
            runs = len((edge.folder / "runs").read_text().splitlines())
            self.assertEqual(runs, sink(edge)["delivered"])
            self.assertLess(runs, 10)
            edge.stop()

    def test_what_was_not_run_before_a_crash_is_not_run_after_it(self):
        with self.edge("echo $$ > pid; echo >> runs; exec sleep 600", ", max_running: 1, max_age: 1h, timeout: 1h") as edge:
            publish(edge, 0, 10)
            wait_for("one runs", lambda: (edge.folder / "runs").exists())
            edge.kill()
            os.kill(int((edge.folder / "pid").read_text()), signal.SIGKILL)
            (edge.folder / "out.sh").write_text("#!/bin/sh\necho >> later\n")
            edge.start()
            wait_for("the old ones are passed", lambda: sink(edge)["expired"] == 10)
            publish(edge, 10, 11)
            wait_for("the new one is run", lambda: sink(edge)["delivered"] == 1)
            edge.stop()
            self.assertEqual((edge.folder / "later").read_text(), "\n")

    def test_a_program_that_hangs_is_killed_and_counted(self):
        with self.edge("sleep 600 & echo $! > pid.part; mv pid.part pid; wait", ", timeout: 300ms") as edge:
            publish(edge, 0, 1)
            wait_for("refused", lambda: sink(edge)["rejected"] == 1)
            pid = int((edge.folder / "pid").read_text())

            def gone():
                try:
                    with open(f"/proc/{pid}/stat") as stat:
                        return ") Z" in stat.read()
                except OSError:
                    return True

            wait_for("the whole group is gone", gone)
            edge.stop()

    def test_a_missing_program_is_counted(self):
        with self.edge("", name="nowhere") as edge:
            publish(edge, 0, 2)
            wait_for("refused", lambda: sink(edge)["rejected"] == 2)
            edge.stop()


class File(unittest.TestCase):
    def test_files_turn_over_and_lines_stay_whole(self):
        with Edge(CONFIG % "{type: file, path: alerts.jsonl, max_bytes: 2KiB, keep: 50}") as edge:
            publish(edge, 0, 30)
            wait_for("half delivered", lambda: sink(edge)["delivered"] == 30)
            edge.stop()
            edge.start()
            publish(edge, 30, 60)
            wait_for("all delivered", lambda: sink(edge)["pending"] == 0)
            edge.stop()
            files = sorted(edge.folder.glob("alerts.jsonl*"), key=lambda path: -int(path.suffix[1:] if path.suffix[1:].isdigit() else 0))
            self.assertGreater(len(files), 5)
            lines = []
            for path in files:
                self.assertLessEqual(path.stat().st_size, 2048)
                lines += [json.loads(line) for line in path.read_text().splitlines()]
            self.assertEqual(seqs(lines), list(range(60)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
