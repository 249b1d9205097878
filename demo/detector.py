"""The demo's detector: features over the last day, a shrinkage Mahalanobis distance, its limit.

The edge computes the same features (demo/headwater.yaml, step `window`) and runs the same arithmetic
as an ONNX model; here they serve to fit it. Everything is Python's standard library.
"""

import csv
import datetime
import math

import onnx_file

FIELDS = ["mean_24h", "std_24h", "slope_24h"]  # °F, °F, °F per second
WINDOW_SECONDS = 24 * 3600
MIN_COUNT = 276  # 23 h of 5-minute rows: a shorter past gives no features (min_count in headwater.yaml)
QUANTILE = 0.99
ALARM_SCORE = 0.8  # what the score is at the limit


def read_rows(path, limit=None):
    """[(seconds since 1970, value)] in the order of the file; times without a zone are UTC."""
    rows = []
    with open(path, newline="", encoding="utf-8") as handle:
        for record in csv.DictReader(handle):
            if limit is not None and len(rows) >= limit:
                break
            at = datetime.datetime.fromisoformat(record["timestamp"]).replace(tzinfo=datetime.timezone.utc)
            rows.append((int(at.timestamp()), float(record["value"])))
    return rows


def features(rows):
    """One [mean, std, slope] a row, over (t - 24 h, t]; None where the edge gives null.

    That is where the window holds fewer than MIN_COUNT values and where a row is older than one
    before it (late).
    """
    out = []
    window = []
    for at, value in rows:
        if window and at < window[-1][0]:
            out.append(None)
            continue
        window.append((at, value))
        while window[0][0] <= at - WINDOW_SECONDS:
            window.pop(0)
        count = len(window)
        if count < MIN_COUNT:
            out.append(None)
            continue
        mean = math.fsum(v for _, v in window) / count
        std = math.sqrt(math.fsum((v - mean) ** 2 for _, v in window) / (count - 1))
        middle = sum(t - at for t, _ in window) / count
        spread = math.fsum((t - at - middle) ** 2 for t, _ in window)
        slope = math.fsum((t - at - middle) * (v - mean) for t, v in window) / spread
        out.append([mean, std, slope])
    return out


def quantile(values, share):
    """Linear between the two nearest ranks."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def cholesky(matrix):
    """Lower triangle L with L·Lᵀ = matrix, which is positive definite."""
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(lower[i][k] * lower[j][k] for k in range(j))
            lower[i][j] = math.sqrt(rest) if i == j else rest / lower[j][j]
    return lower


def inverse_lower(lower):
    """Inverse of a lower triangle."""
    size = len(lower)
    out = [[0.0] * size for _ in range(size)]
    for i in range(size):
        out[i][i] = 1.0 / lower[i][i]
        for j in range(i):
            out[i][j] = -sum(lower[i][k] * out[k][j] for k in range(j, i)) / lower[i][i]
    return out


class Distance:
    """Squared Mahalanobis distance from normal, with Ledoit-Wolf shrinkage towards independence."""

    def __init__(self, samples):
        count, size = len(samples), len(samples[0])
        self.mean = [math.fsum(x[j] for x in samples) / count for j in range(size)]
        self.scale = [math.sqrt(math.fsum((x[j] - self.mean[j]) ** 2 for x in samples) / count) for j in range(size)]
        z = [[(x[j] - self.mean[j]) / self.scale[j] for j in range(size)] for x in samples]
        covariance = [[math.fsum(r[i] * r[j] for r in z) / count for j in range(size)] for i in range(size)]
        target = sum(covariance[i][i] for i in range(size)) / size
        off = sum((covariance[i][j] - (target if i == j else 0.0)) ** 2 for i in range(size) for j in range(size))
        noise = sum(
            math.fsum((r[i] * r[j] - covariance[i][j]) ** 2 for r in z) for i in range(size) for j in range(size)
        ) / count**2
        self.shrinkage = min(1.0, noise / off) if off > 0 else 1.0
        shrunk = [
            [(1 - self.shrinkage) * covariance[i][j] + (self.shrinkage * target if i == j else 0.0) for j in range(size)]
            for i in range(size)
        ]
        root = inverse_lower(cholesky(shrunk))
        # Columns of the whitening matrix: distance² = |z · whiten|².
        self.whiten = [[root[j][i] for j in range(size)] for i in range(size)]

    def squared(self, x):
        z = [(x[j] - self.mean[j]) / self.scale[j] for j in range(len(x))]
        return sum(sum(z[i] * self.whiten[i][j] for i in range(len(z))) ** 2 for j in range(len(z)))


class Detector:
    """A distance and the limit at which its score is ALARM_SCORE.

    The limit is the 99 % quantile on the rows it was fitted on, times how much too low such a limit
    was on later rows: fitted on the first 70 %, measured on the last 30 %. In-sample limits promise
    far fewer false alarms than they keep.
    """

    def __init__(self, samples):
        cut = int(len(samples) * 0.7)
        early = Distance(samples[:cut])
        kept = quantile([early.squared(x) for x in samples[:cut]], QUANTILE)
        later = quantile([early.squared(x) for x in samples[cut:]], QUANTILE)
        self.held_out_ratio = later / kept
        self.distance = Distance(samples)
        self.limit = quantile([self.distance.squared(x) for x in samples], QUANTILE) * max(1.0, self.held_out_ratio)

    def score(self, x):
        return 1.0 - math.exp(math.log(1.0 - ALARM_SCORE) / self.limit * self.distance.squared(x))


def as_onnx(fitted, name, metadata):
    """score = 1 - exp(ln(0.2) · |((input - mean) / scale) · whiten|² / limit), in float32."""
    distance = fitted.distance
    size = len(distance.mean)
    return onnx_file.model(
        name,
        nodes=[
            onnx_file.node("Sub", ["input", "mean"], ["centred"]),
            onnx_file.node("Div", ["centred", "scale"], ["z"]),
            onnx_file.node("MatMul", ["z", "whiten"], ["white"]),
            onnx_file.node("Mul", ["white", "white"], ["squares"]),
            onnx_file.node("ReduceSum", ["squares", "axes"], ["distance"]),
            onnx_file.node("Mul", ["distance", "rate"], ["exponent"]),
            onnx_file.node("Exp", ["exponent"], ["normal"]),
            onnx_file.node("Sub", ["one", "normal"], ["score"]),
        ],
        constants=[
            onnx_file.floats("mean", [size], distance.mean),
            onnx_file.floats("scale", [size], distance.scale),
            onnx_file.floats("whiten", [size, size], [v for row in distance.whiten for v in row]),
            onnx_file.ints("axes", [1]),
            onnx_file.floats("rate", [1], [math.log(1 - ALARM_SCORE) / fitted.limit]),
            onnx_file.floats("one", [1], [1.0]),
        ],
        inputs=[onnx_file.value("input", ["rows", size])],
        outputs=[onnx_file.value("score", ["rows", 1])],
        metadata=metadata,
    )
