#!/usr/bin/env python3
"""Compares the alerts of a run with the labels of the recording; the only reader of the labels.

    demo/score.py RECORDING.csv WINDOWS.json ALERTS.jsonl

An episode lies inside a labelled window if it was raised there, else outside; a window is hit if an
episode was raised inside it. Rows: an alarm row is one between raised and cleared, both included; the
rows that the model was fitted on are left out.
"""

import datetime
import json
import os
import sys

import detector
import fit


def seconds(text):
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.timezone.utc)
    return at.timestamp()


def read_windows(path, recording):
    """[(first, last)] of the recording, in seconds; windows.json holds them by file name."""
    with open(path, encoding="utf-8") as handle:
        by_name = json.load(handle)
    for name, windows in by_name.items():
        if os.path.basename(name) == os.path.basename(recording):
            return [(seconds(first), seconds(last)) for first, last in windows]
    raise SystemExit(f"score: {path} has no windows for {os.path.basename(recording)}")


def read_episodes(path, end):
    """[(raised, cleared)] in order; an episode that is still active ends with the recording."""
    raised, episodes = {}, []
    with open(path, encoding="utf-8") as handle:
        for line in handle:
            alert = json.loads(line)
            at = seconds(alert["timestamp"])
            if alert["event"] == "raised":
                # A repeat of one alert is the same alert: receivers go by its id.
                raised.setdefault(alert["id"], [at, None])
            elif alert["event"] == "cleared" and alert["id"] in raised:
                raised[alert["id"]][1] = at
    for first, last in raised.values():
        episodes.append((first, end if last is None else last))
    return sorted(episodes)


def hours(value):
    return f"{value / 3600:.1f} h"


def report(rows, windows, episodes, train_rows):
    """The lines to print and the figures as a dictionary."""
    lines = []
    inside = [e for e in episodes if any(a <= e[0] <= b for a, b in windows)]
    outside = [e for e in episodes if e not in inside]
    hit = 0
    for index, (first, last) in enumerate(windows, 1):
        own = [e for e in episodes if first <= e[0] <= last]
        active = [e for e in outside if e[0] <= last and e[1] >= first]
        line = f"  window {index}, {fit.utc(first)[:16]} to {fit.utc(last)[:16]}: "
        if own:
            hit += 1
            line += f"hit {hours(own[0][0] - first)} after it opens"
        elif active:
            line += f"missed; an episode raised {hours(first - active[0][0])} before it was active in it"
        else:
            line += "missed"
        lines.append(line)
    test = rows[train_rows:]
    labelled = [any(a <= at <= b for a, b in windows) for at, _ in test]
    alarmed = [any(a <= at <= b for a, b in episodes) for at, _ in test]
    both = sum(a and b for a, b in zip(labelled, alarmed))
    figures = {
        "windows": len(windows),
        "hit": hit,
        "inside": len(inside),
        "outside": len(outside),
        "recall": both / max(1, sum(labelled)),
        "precision": both / sum(alarmed) if any(alarmed) else 0.0,
        "days": (rows[-1][0] - rows[0][0]) / 86400,
    }
    for first, last in outside:
        lines.append(f"  outside: {fit.utc(first)[:16]} to {fit.utc(last)[:16]}")
    return lines, figures


def main(arguments):
    if len(arguments) != 3:
        raise SystemExit("usage: demo/score.py RECORDING.csv WINDOWS.json ALERTS.jsonl")
    rows = detector.read_rows(arguments[0])
    windows = read_windows(arguments[1], arguments[0])
    episodes = read_episodes(arguments[2], max(at for at, _ in rows))
    lines, figures = report(rows, windows, episodes, int(len(rows) * fit.TRAIN_SHARE))
    print(f"Against the labels: {figures['hit']} of {figures['windows']} windows hit; "
          f"{figures['inside']} episodes inside, {figures['outside']} outside, in {figures['days']:.0f} days")
    print("\n".join(lines))
    print(f"  rows: recall {figures['recall']:.2f}, precision {figures['precision']:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
