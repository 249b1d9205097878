"""An MQTT client of bare packets, 3.1.1 and 5, for what a well-behaved client library would not do.

Each call sends or takes one packet, so a test says exactly what is on the wire and when.
"""

import select
import socket
import struct
import time

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 5, 6, 7, 9, 13, 14


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    length, head = len(body), bytearray([first])
    while True:
        head.append(length % 128 | (0x80 if length >= 128 else 0))
        length //= 128
        if not length:
            return bytes(head) + body


def connect_packet(client_id, version=4, clean=True, keep_alive=60, username=None, password=None, expiry=None,
                   will=None, will_delay=0):
    """`will` is (topic, payload)."""
    flags = (0x02 if clean else 0) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    flags |= 0x04 if will else 0
    properties = b""
    if version == 5:
        properties = b"" if expiry is None else b"\x11" + struct.pack(">I", expiry)
        properties = bytes([len(properties)]) + properties
    body = string("MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive) + properties + string(client_id)
    if will:
        delay = b"\x18" + struct.pack(">I", will_delay) if will_delay else b""
        body += (bytes([len(delay)]) + delay if version == 5 else b"") + string(will[0]) + string(will[1])
    for field in (username, password):
        if field is not None:
            body += string(field)
    return packet(0x10, body)


def publish_packet(topic, payload, qos=0, packet_id=0, dup=False, version=4):
    body = string(topic) + (struct.pack(">H", packet_id) if qos else b"") + (b"\x00" if version == 5 else b"")
    data = payload if isinstance(payload, bytes) else payload.encode()
    return packet(0x30 | (8 if dup else 0) | qos << 1, body + data)


class Packet:
    """One that came in: kind (the constants above), flags and the fields that answers have."""

    def __init__(self, first, body):
        self.kind, self.flags, self.body = first >> 4, first & 15, body

    @property
    def packet_id(self):
        return struct.unpack(">H", self.body[:2])[0]

    def as_publish(self, version=4):
        """Of PUBLISH: (topic, payload, qos, packet id, dup)."""
        length = struct.unpack(">H", self.body[:2])[0]
        topic, rest, qos, packet_id = self.body[2:2 + length].decode(), self.body[2 + length:], self.flags >> 1 & 3, 0
        if qos:
            packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
        if version == 5:
            rest = rest[1 + rest[0]:]   # properties of less than 128 bytes
        return topic, rest, qos, packet_id, bool(self.flags & 8)

    @property
    def reason(self):
        """Of PUBACK, PUBREC, PUBREL and PUBCOMP: 0 where it is left out. Of DISCONNECT too."""
        if self.kind == DISCONNECT:
            return self.body[0] if self.body else 0
        return self.body[2] if len(self.body) > 2 else 0


class RawClient:
    def __init__(self, address, version=4, tls=None, server_name="localhost"):
        """Connects the socket only. `tls` is an ssl.SSLContext."""
        self.version = version
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
        self._in = b""

    def send(self, data):
        self.socket.sendall(data)

    def connect(self, client_id, **options):
        """Sends CONNECT; returns (session present, reason or return code)."""
        self.send(connect_packet(client_id, version=self.version, **options))
        answer = self.expect(CONNACK)
        self.connack = answer.body
        return bool(answer.body[0] & 1), answer.body[1]

    def publish(self, topic, payload, qos=0, packet_id=0, dup=False):
        self.send(publish_packet(topic, payload, qos, packet_id, dup, self.version))

    def acknowledge(self, packet_id):
        self.send(packet(0x40, struct.pack(">H", packet_id)))

    def release(self, packet_id):
        self.send(packet(0x62, struct.pack(">H", packet_id)))

    def subscribe(self, topic_filter, packet_id=1, qos=1):
        properties = b"\x00" if self.version == 5 else b""
        self.send(packet(0x82, struct.pack(">H", packet_id) + properties + string(topic_filter) + bytes([qos])))

    def ping(self):
        self.send(b"\xc0\x00")

    def take(self, timeout=20):
        """The next packet; None when none came in time or the edge has closed the connection (then `closed`)."""
        end = time.monotonic() + timeout
        while True:
            whole = self.take_parsed()
            if whole is not None:
                return whole
            left = end - time.monotonic()
            pending = getattr(self.socket, "pending", lambda: 0)()
            if not pending and not select.select([self.socket], [], [], max(left, 0))[0]:
                return None
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.closed = True
                return None
            self._in += data

    closed = False

    def expect(self, kind, timeout=20):
        got = self.take(timeout)
        if got is None or got.kind != kind:
            what = f"packet type {got.kind}" if got else "the end of the connection" if self.closed else "nothing"
            raise AssertionError(f"expected packet type {kind}, got {what}")
        return got

    def expect_end(self, timeout=20):
        """Takes packets until the edge closes; returns the last one, or None."""
        last, end = None, time.monotonic() + timeout
        while True:
            got = self.take(max(end - time.monotonic(), 0))
            if got is None:
                if not self.closed:
                    raise AssertionError(f"the connection is open after {timeout} s")
                return last
            last = got

    def take_parsed(self):
        """The next packet of what was read already, or None."""
        length, shift = 0, 0
        for i in range(1, min(5, len(self._in))):
            length |= (self._in[i] & 0x7F) << shift
            shift += 7
            if not self._in[i] & 0x80:
                end = 1 + i + length
                if len(self._in) < end:
                    return None
                whole = Packet(self._in[0], self._in[1 + i:end])
                self._in = self._in[end:]
                return whole
        return None

    def close(self):
        try:
            self.socket.sendall(b"\xe0\x00")
        except OSError:
            pass
        self.socket.close()

    def drop(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
