"""Devices that send numbered rows and know which of them were acknowledged, and what an observer said at that moment."""

import http.client
import json
import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

from raw_mqtt import PUBACK, PUBCOMP, PUBREC, Packet, RawClient  # noqa: E402

ID = re.compile(rb"row-[0-9]-[0-9]{6}")
TOKEN = "sesame"
# For the configuration of an edge: sources `direct` and `hook`, any free port.
SOURCES = """
  direct: {type: mqtt_listen, address: "127.0.0.1:0", topics: ["sensors/+"], device: "topic[1]", message_id: id}
  hook: {type: http, address: "127.0.0.1:0", token: sesame, device: device_id, message_id: id}
"""


def row(device, number):
    name = f"row-{device}-{number:06d}"
    return name, json.dumps({"id": name, "device_id": f"press-{device}", "value": 1.5, "note": "x" * 100})


class Device(threading.Thread):
    """`acknowledged` maps each row to what `observe()` returned when its acknowledgement had been read."""

    def __init__(self, number, rows, observe):
        super().__init__(daemon=True)
        self.number, self.rows, self.observe = number, rows, observe
        self.acknowledged = {}
        self.error = None

    def run(self):
        try:
            self.work()
        except (OSError, ConnectionError, http.client.HTTPException) as error:
            self.error = error


class MqttDevice(Device):
    """Publishes in a window; `sent` keeps, by packet id, which row went under it."""

    WINDOW = 50

    def __init__(self, number, address, qos, rows, observe=lambda: None):
        super().__init__(number, rows, observe)
        self.qos = qos
        self.client = RawClient(address)
        self.client.connect(f"press-{number}")
        self.port = self.client.socket.getsockname()[1]
        self.sent = {}
        self.settled = 0

    def work(self):
        next_row = 0
        while self.settled < self.rows:
            while next_row < self.rows and next_row - self.settled < self.WINDOW:
                name, payload = row(self.number, next_row)
                next_row += 1
                self.sent[next_row] = name
                self.client.publish(f"sensors/press-{self.number}", payload, self.qos, next_row)
            packet = self.client.take(20)
            if packet is None:
                return
            if packet.kind in (PUBACK, PUBREC):
                self.acknowledged[self.sent[packet.packet_id]] = self.observe()
            if packet.kind == PUBREC:
                self.client.release(packet.packet_id)
            elif packet.kind in (PUBACK, PUBCOMP):
                self.settled += 1

    def acknowledged_in(self, stream):
        """Takes whole packets off what the edge sent; the rows they acknowledge."""
        rows = []
        while True:
            length, size, at = 0, 1, 1
            while at < len(stream) and at < 5:
                length += (stream[at] & 0x7F) * size
                size *= 128
                at += 1
                if not stream[at - 1] & 0x80:
                    break
            else:
                return rows
            if len(stream) < at + length:
                return rows
            packet = Packet(stream[0], bytes(stream[at:at + length]))
            del stream[:at + length]
            if packet.kind in (PUBACK, PUBREC):
                rows.append(self.sent[packet.packet_id])

    def close(self):
        self.client.drop()


class HttpDevice(Device):
    """Posts some rows at a time; `sent` keeps which ones went with each request."""

    EACH = 20

    def __init__(self, number, address, rows, observe=lambda: None):
        super().__init__(number, rows, observe)
        self.connection = http.client.HTTPConnection(*address, timeout=20)
        self.connection.connect()
        self.port = self.connection.sock.getsockname()[1]
        self.sent = []

    def work(self):
        for first in range(0, self.rows, self.EACH):
            rows = [row(self.number, i) for i in range(first, first + self.EACH)]
            self.sent.append([name for name, _ in rows])
            self.connection.request("POST", "/readings", "[" + ",".join(payload for _, payload in rows) + "]",
                                    {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"})
            answer = self.connection.getresponse()
            answer.read()
            if answer.status != 200:
                return
            seen = self.observe()
            self.acknowledged.update((name, seen) for name, _ in rows)

    def acknowledged_in(self, stream):
        """Takes whole answers off what the edge sent; the rows they acknowledge."""
        rows = []
        while True:
            end = stream.find(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *([0-9]+)", stream[:end + 2]) if end >= 0 else None
            if length is None or len(stream) < end + 4 + int(length.group(1)):
                return rows
            good = stream.startswith(b"HTTP/1.1 200")
            del stream[:end + 4 + int(length.group(1))]
            names = self.sent.pop(0)
            rows += names if good else []

    def close(self):
        self.connection.close()
