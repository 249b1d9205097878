#!/usr/bin/env python3
"""Writes messages for measurements: MQTT 3.1.1 PUBLISH packets, QoS 1, one behind the other; packet ids from 1.

    corpus.py one|mixed OUT [--seed N] [--messages N] [--devices N]

one: one shape, three values, as the load generators of ../shared/peers send it.
mixed: at least 20 shapes (order of keys, white space, more fields, nested objects, arrays, escapes, text beyond ASCII, forms
of numbers), 5 % of the values null, in 10 % of the messages the keys shuffled, 1 % of the messages malformed. A device
keeps its shape; which device is next is random. Another seed gives other shapes, not only other values.
device_id, timestamp (RFC 3339), temperature, pressure and vibration are in every shape, at the top: the peers read them.
Of 1,000 readings one is an anomaly. Prints one JSON object: what is in the file.
"""

import argparse
import json
import random
import struct
import sys

SHAPES = 24
MOST_MESSAGES = 65_535  # packet ids
MODEL_INPUTS = ("temperature", "pressure", "vibration")

# name: value of a random generator. None of it is read by a model; all of it is decoded and stored.
MORE = {
    "seq": lambda r: r.randrange(10**6),
    "line": lambda r: r.choice(["hall 2", "hall 3", "yard"]),
    "site": lambda r: r.choice(["Köln Süd", "Łódź", "大阪"]),
    "note": lambda r: r.choice(['says \"hot\"', "tab\there", "path C:\\plc", "none"]),
    "ok": lambda r: r.random() < 0.98,
    "battery": lambda r: round(r.uniform(2.9, 4.2), 2),
    "rssi": lambda r: -r.randrange(40, 100),
    "firmware": lambda r: f"1.{r.randrange(9)}.{r.randrange(20)}",
    "drift": lambda r: r.uniform(-1, 1) * 1e-7,
    "energy": lambda r: r.uniform(0, 1e9),
    "motor": lambda r: {"rpm": r.randrange(1450, 1510), "current": round(r.uniform(3, 5), 3), "on": True},
    "gps": lambda r: {"lat": round(r.uniform(-90, 90), 6), "lon": round(r.uniform(-180, 180), 6)},
    "quality": lambda r: {"flags": {"stale": False, "manual": r.random() < 0.1}, "level": r.randrange(4)},
    "samples": lambda r: [round(r.gauss(0, 1), 3) for _ in range(4)],
    "tags": lambda r: ["press", r.choice(["a", "b"])],
    "mode": lambda r: r.choice(["auto", "hand", "off"]),
    "humidity": lambda r: round(r.uniform(20, 80), 1),
    "cycle": lambda r: r.randrange(10**9),
}
SPACES = ((",", ":"), (", ", ": "), (",", ": "), (" , ", " : "))


class Shape:
    def __init__(self, random):
        names = list(MODEL_INPUTS) + random.sample(sorted(MORE), random.randrange(0, 9))
        random.shuffle(names)
        front = ["device_id", "timestamp"]
        if random.random() < 0.3:
            front.reverse()
        self.names = front + names if random.random() < 0.8 else names + front
        self.separators = random.choice(SPACES)
        self.indent = random.choice([None, None, None, None, 1])
        self.digits = random.choice([1, 2, 3, 3, 4, 6, 15])
        self.ascii = random.random() < 0.2  # text beyond ASCII as \\u escapes
        self.zone = random.choice(["Z", "Z", "Z", "+01:00"])


class Readings:
    """Values of all devices: slow walks."""

    def __init__(self, random):
        self.random, self.values, self.index = random, {}, 0

    def next(self, device):
        t, p, v = self.values.get(device, (60.0, 101.0, 0.5))
        gauss = self.random.gauss
        t, p, v = 60 + (t - 60) * 0.99 + gauss(0, 0.05), 101 + (p - 101) * 0.99 + gauss(0, 0.02), 0.5 + (v - 0.5) * 0.99 + gauss(0, 0.003)
        self.values[device] = (t, p, v)
        self.index += 1
        return t + 80 if self.random.random() < 0.001 else t, p, v

    def time(self):
        i = self.index
        return f"2026-11-24T11:{i // 60_000 % 60:02}:{i // 1000 % 60:02}.{i % 1000:03}"


def one_message(readings, device):
    t, p, v = readings.next(device)
    return (f'{{"device_id":"{device}","timestamp":"{readings.time()}Z","temperature":{t:.3f},"pressure":{p:.3f},'
            f'"vibration":{v:.3f},"seq":{readings.index},"t0":123456789012345}}')


def with_nulls(random, value):
    if isinstance(value, dict):
        return {key: with_nulls(random, inner) for key, inner in value.items()}
    return None if random.random() < 0.05 else value


def mixed_message(random, shape, readings, device, counts):
    t, p, v = readings.next(device)
    fields = {"device_id": device, "timestamp": readings.time() + shape.zone}
    inputs = dict(zip(MODEL_INPUTS, (round(t, shape.digits), round(p, shape.digits), round(v, shape.digits))))
    names = list(shape.names)
    if random.random() < 0.1:
        random.shuffle(names)
        counts["shuffled"] += 1
    for name in names:
        if name not in fields:
            fields[name] = with_nulls(random, inputs[name] if name in inputs else MORE[name](random))
    message = {name: fields[name] for name in names}
    return json.dumps(message, separators=shape.separators, indent=shape.indent, ensure_ascii=shape.ascii)


def malformed(random, text):
    at = random.randrange(1, len(text) - 1)
    return random.choice([
        lambda: text[:at],                                # cut off
        lambda: text[:-1],                                # the last bracket is missing
        lambda: text[:-1] + ",}",
        lambda: text + "}",
        lambda: text.replace(":", " ", 1),
        lambda: text.replace('"temperature"', '"temperature', 1),
        lambda: text[:-1] + ',"x":NaN}',
        lambda: text[:-1] + ',"x":01}',
        lambda: "not json at all",
    ])()


def packet(topic, payload, packet_id):
    topic = topic.encode()
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", packet_id) + payload
    head, length = bytearray(b"\x32"), len(body)
    while True:
        head.append(length % 128 | (128 if length >= 128 else 0))
        length //= 128
        if length == 0:
            return bytes(head) + body


def write(path, kind, seed=1, messages=20_000, devices=None):
    """Writes the file; returns what is in it."""
    if not 1 <= messages <= MOST_MESSAGES:
        raise ValueError(f"1 to {MOST_MESSAGES} messages: each has a packet id of its own")
    devices = devices or (64 if kind == "one" else 1000)
    chance = random.Random(f"{kind} {seed}")
    readings = Readings(chance)
    counts = {"kind": kind, "seed": seed, "messages": messages, "devices": devices, "shapes": 1, "shuffled": 0, "malformed": 0}
    shapes = []
    if kind == "mixed":
        shapes = [Shape(chance) for _ in range(SHAPES)]
        counts["shapes"] = SHAPES
    size = 0
    with open(path, "wb") as out:
        for index in range(messages):
            if kind == "one":
                device = f"press-{index % devices:04}"
                text = one_message(readings, device)
            else:
                number = chance.randrange(devices)
                device = f"press-{number:04}"
                text = mixed_message(chance, shapes[number % SHAPES], readings, device, counts)
                if chance.random() < 0.01:
                    text = malformed(chance, text)
                    counts["malformed"] += 1
            payload = text.encode()
            size += len(payload)
            out.write(packet(f"site/1/{device}/m", payload, index + 1))
    counts["payload_bytes"] = round(size / messages, 1)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["one", "mixed"])
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--devices", type=int)
    options = parser.parse_args()
    print(json.dumps(write(options.out, options.kind, options.seed, options.messages, options.devices)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
