"""What tests start beside the edge: certificates from the openssl program, a mosquitto broker, a receiver of batches."""

import hashlib
import http.server
import json
import pathlib
import shutil
import socket
import struct
import subprocess
import threading

from harness import wait_for
from raw_mqtt import PUBLISH, SUBACK, RawClient


def make_certificates(folder):
    """ca.pem, server.{pem,key} for localhost and 127.0.0.1, and client.{pem,key} with the common name press-1."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject, names in (("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                                 ("client", "/CN=press-1", "extendedKeyUsage=clientAuth")):
        (folder / "extensions").write_text(names + "\n")
        openssl("req", *key, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem")
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A broker on a port of its own, which it keeps over kill() and start()."""

    PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

    def __init__(self, folder, extra=""):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.extra = extra
        self.port = None
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        # Another process may take the port between the probe and the bind: then another one.
        for _ in range(5):
            port = self.port or free_port()
            config = self.folder / "mosquitto.conf"
            config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n{self.extra}\n")
            self.process = subprocess.Popen([self.PROGRAM, "-c", config], stdout=subprocess.DEVNULL,
                                            stderr=open(self.folder / "mosquitto.log", "ab"))
            answered = wait_for("mosquitto listens", lambda: self._listens(port) or self.process.poll() is not None, 20)
            if answered and self.process.poll() is None:
                self.port = port
                return
            if self.port:
                break
        raise AssertionError("mosquitto did not start:\n" + (self.folder / "mosquitto.log").read_text())

    @staticmethod
    def _listens(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Subscriber(threading.Thread):
    """Has a subscription at a broker at QoS 1, in a session of its own that outlives its connections.

    `got` is what has come, as (topic, payload) in order, repeats of the broker included.
    """

    def __init__(self, port, topic, tls=None, client_id="receiver"):
        super().__init__(daemon=True)
        self.got = []
        self._port, self._topic, self._tls, self._client_id = port, topic, tls, client_id
        self._subscribed = threading.Event()
        self._stopping = threading.Event()
        self.start()
        if not self._subscribed.wait(20):
            raise AssertionError(f"no subscription to {topic} within 20 s")

    def run(self):
        while not self._stopping.is_set():
            try:
                with RawClient(("127.0.0.1", self._port), tls=self._tls) as client:
                    client.connect(self._client_id, clean=False)
                    client.subscribe(self._topic)
                    self._receive(client)
            except (OSError, AssertionError):
                self._stopping.wait(0.05)

    def _receive(self, client):
        while not self._stopping.is_set():
            packet = client.take(0.2)
            if packet is None:
                if client.closed:
                    return
            elif packet.kind == SUBACK:
                self._subscribed.set()
            elif packet.kind == PUBLISH:
                length = struct.unpack(">H", packet.body[:2])[0]
                payload = packet.body[2 + length:]
                if packet.flags >> 1 & 3:
                    client.send(b"\x40\x02" + payload[:2])
                    payload = payload[2:]
                self.got.append((packet.body[2:2 + length].decode(), payload.decode()))

    def stop(self):
        self._stopping.set()
        self.join()


class Proxy:
    """Passes TCP connections on to `target` from a port of its own.

    `limits` says of the first connections how many bytes the client gets; the rest is kept from it, as by a link that died
    one way, until cut() ends the connection. Later connections have no limit.
    """

    def __init__(self, target, limits=()):
        self.target = target
        self.kept = 0                # bytes that a client did not get
        self._limits = list(limits)
        self._pairs = []
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._door.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                edge = socket.create_connection(self.target, timeout=5)
            except OSError:
                client.close()
                continue
            limit = self._limits.pop(0) if self._limits else None
            with self._lock:
                self._pairs.append((client, edge))
            threading.Thread(target=self._pass_on, args=(client, edge, None), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(edge, client, limit), daemon=True).start()

    def _pass_on(self, source, sink, limit):
        try:
            while data := source.recv(65536):
                if limit is not None:
                    self.kept += max(len(data) - limit, 0)
                    data = data[:limit]
                    limit -= len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self.kept = 0
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()


class Answer:
    """What a Receiver does with one request: a status, or one of the ways in which a link or server dies."""

    def __init__(self, status=200, headers=(), store=None, cut=None, until=None, patience=60):
        self.status, self.headers = status, dict(headers)
        self.store = status < 300 if store is None else store
        self.cut = cut        # bytes of the answer that go out before it closes; None: all
        self.until = until    # an Event to wait for before it answers, `patience` seconds at most
        self.patience = patience


OK = Answer()


class Receiver:
    """A receiver of upload batches as docs/formats/batch.md asks for: rows and ranges change together, repeats are dropped.

    `behave(number, header)` says what becomes of each request (header: the batch's own, with the number of its attempt from 0).
    What a batch holds is read by the zstd program, not by our code. `attempts` has every request that was read.
    """

    def __init__(self, behave=lambda number, header: OK, tls=None, token=None):
        self.behave, self.token = behave, token
        self.attempts = []       # (lane, first, last, stored or why not)
        self.lines = {}          # lane -> {sequence: line of a row}
        self.gaps = {}           # lane -> [gap]
        self.had = {}            # (spool, lane) -> sequences received, as a row or in a gap
        self.problems = []
        self._lock = threading.Lock()
        self._number = 0
        self._connections = set()
        self._server = None
        self._tls = tls
        self.port = free_port()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver._connections.add(self.connection)

            def finish(self):
                receiver._connections.discard(self.connection)
                super().finish()

            def do_POST(self):
                receiver._serve(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def url(self, scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}/v1/batches"

    def _serve(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        header, payload = split_batch(body)
        with self._lock:
            number, self._number = self._number, self._number + 1
        answer = self.behave(number, header)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            answer = Answer(401)
        if answer.until is not None:
            answer.until.wait(answer.patience)
        key = header["lane"], header["first"], header["last"]
        with self._lock:
            self.attempts.append((*key, "stored" if answer.store else answer.status))
            if answer.store:
                self._store(request.headers, header, payload)
        lines = [f"HTTP/1.1 {answer.status} -", "Content-Length: 10", *(f"{k}: {v}" for k, v in answer.headers.items())]
        raw = ("\r\n".join(lines) + "\r\n\r\n" + "0123456789").encode()
        request.wfile.write(raw if answer.cut is None else raw[:answer.cut])
        request.wfile.flush()
        if answer.cut is not None:
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)

    def _store(self, fields, header, payload):
        def check(good, what):
            if not good:
                self.problems.append(f"{what}: {header}")
        check(header["checksum"] == "sha256:" + hashlib.sha256(payload).hexdigest(), "checksum")
        for name in ("first", "last", "rows", "spool", "lane", "checksum"):
            check(fields[f"Headwater-{name.capitalize()}"] == str(header[name]), name)
        check(fields["Content-Type"] == "application/vnd.headwater.batch; version=1", "media type")
        lane, key = header["lane"], (header["spool"], header["lane"])
        had = self.had.setdefault(key, set())
        next_, rows = header["first"], 0
        for line in unpack(payload):
            gap = line.get("gap")
            first, last = (gap["first"], gap["last"]) if gap else (line["seq"], line["seq"])
            check(first == next_, f"hole at {next_}")
            next_ = last + 1
            rows += gap is None
            new = [n for n in range(first, last + 1) if n not in had]
            if not new:
                continue
            had.update(new)
            if gap:
                check(len(new) == last - first + 1, "a gap over rows that were stored")
                self.gaps.setdefault(lane, []).append(gap)
            else:
                self.lines.setdefault(lane, {})[line["seq"]] = line
        check(next_ == header["last"] + 1, "lines end early")
        check(rows == header["rows"], "rows")

    def rows(self, lane):
        """Row lines in the order of sequence."""
        with self._lock:
            return [line for _, line in sorted(self.lines.get(lane, {}).items())]

    def sequences(self, lane):
        with self._lock:
            return set(self.lines.get(lane, {}))

    def count(self, lane):
        with self._lock:
            return len(self.lines.get(lane, {}))


def split_batch(body):
    """The header of an upload batch, and its payload frame."""
    magic, size = struct.unpack("<II", body[:8])
    if magic != 0x184D2A58:
        raise AssertionError(f"no batch: {body[:8]!r}")
    return json.loads(body[8:8 + size]), body[8 + size:]


def unpack(compressed):
    """The JSON lines in a zstd file, by the zstd program. Payloads keep their bytes in line["raw"]."""
    done = subprocess.run(["zstd", "-dc"], input=compressed, capture_output=True, check=True)
    lines = []
    for text in done.stdout.decode().splitlines():
        line = json.loads(text)
        if "payload" in line:
            line["raw"] = text[text.index('"payload":') + len('"payload":'):-1]
        lines.append(line)
    return lines
