#!/usr/bin/env python3
"""Writes pumps.csv: two invented pumps, one reading a second for 12 minutes. The same file each time.

    ./make_data.py > pumps.csv

Minutes 0 to 7: both run well; at 6:00 pump-2's pressure sensor gives one impossible value. Minutes 8 to 10: the outlet
valve of pump-2 closes by a third, so flow and current fall, pressure rises, the casing shakes. From 7:30 on the cooling
of pump-1 fails. Nothing here is measured; levels and units are those of a small water pump on a test stand.
"""

import datetime
import math
import random
import sys

SECONDS = 720
FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
#          level, standard deviation, share of its last deviation that a value keeps
SIGNALS = {
    "vibration_1": (0.0270, 0.0006, 0.3),  # g
    "vibration_2": (0.0400, 0.0008, 0.3),  # g
    "current": (1.30, 0.05, 0.2),          # A
    "pressure": (2.40, 0.06, 0.4),         # bar
    "temperature": (65.0, 0.10, 0.9),      # °C, motor
    "flow": (32.0, 0.25, 0.5),             # l/min
}


def ramp(second, begin, end, edge=15):
    """0 outside of [begin, end], 1 inside, with flanks of `edge` seconds."""
    return max(0.0, min(1.0, (second - begin) / edge, (end - second) / edge))


def changed(name, value, device, second):
    if device == "pump-2":
        closed = ramp(second, 480, 600)
        value *= 1 + closed * {"vibration_1": 0.25, "vibration_2": 0.15, "current": -0.08, "pressure": 0.12,
                               "flow": -0.3}.get(name, 0.0)
        if name == "pressure" and second == 360:
            value = 99.9
    elif name == "temperature" and second > 450:
        value += 16 * (1 - math.exp(-(second - 450) / 120))
    return value


def main():
    chance = random.Random(1)
    deviation = {(device, name): 0.0 for device in ("pump-1", "pump-2") for name in SIGNALS}
    sys.stdout.write("timestamp,device_id," + ",".join(SIGNALS) + "\n")
    for second in range(SECONDS):
        at = (FIRST + datetime.timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for device in ("pump-1", "pump-2"):
            cells = []
            for name, (level, std, keep) in SIGNALS.items():
                last = deviation[device, name]
                deviation[device, name] = keep * last + math.sqrt(1 - keep * keep) * chance.gauss(0, std)
                value = changed(name, level + deviation[device, name], device, second)
                cells.append(f"{value:.4f}" if level < 1 else f"{value:.2f}")
            sys.stdout.write(f"{at},{device}," + ",".join(cells) + "\n")


if __name__ == "__main__":
    main()
