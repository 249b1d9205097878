"""What tests start beside the edge: certificates from the openssl program, and a mosquitto broker."""

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
