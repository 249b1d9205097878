#!/usr/bin/env python3
"""Writes the small ONNX models of tests/data/models that tests need beside the real ones.

Usage: tools/make_test_models.py [DIR]        default tests/data/models

An ONNX file is a protobuf message; the few fields that these models use are written here byte by byte, so that no
package is needed. Field numbers are those of onnx.proto3 (IR version 8). The output is the same on every run.
"""

import pathlib
import struct
import sys

FLOAT, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 6, 7, 8, 9, 10, 11


# --- protobuf wire format -------------------------------------------------------------------------------------------


def varint(value):
    value &= (1 << 64) - 1  # negative numbers are written as 64-bit two's complement
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, content):
    if isinstance(content, str):
        content = content.encode()
    return varint(field << 3 | 2) + varint(len(content)) + content


def float32(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


# --- ONNX messages --------------------------------------------------------------------------------------------------


def attribute(name, value):
    """AttributeProto: int, float, str, or a list of one of them."""
    many = isinstance(value, list)
    first = value[0] if many else value
    if isinstance(first, int):
        kind, fields = (7, [number(8, v) for v in value]) if many else (2, [number(3, value)])
    elif isinstance(first, float):
        kind, fields = (6, [float32(7, v) for v in value]) if many else (1, [float32(2, value)])
    else:
        kind, fields = (8, [block(9, v) for v in value]) if many else (3, [block(4, value)])
    return block(1, name) + b"".join(fields) + number(20, kind)


def node(op, inputs, outputs, domain="", **attributes):
    out = b"".join(block(1, name) for name in inputs)
    out += b"".join(block(2, name) for name in outputs)
    out += block(3, f"{op}_{outputs[0]}") + block(4, op)
    out += b"".join(block(5, attribute(name, value)) for name, value in attributes.items())
    return out + (block(7, domain) if domain else b"")


def constant(name, kind, dims, values):
    """TensorProto with raw data."""
    code = {FLOAT: "f", INT32: "i", INT64: "q", DOUBLE: "d"}[kind]
    out = b"".join(number(1, dim) for dim in dims) + number(2, kind) + block(8, name)
    return out + block(9, struct.pack(f"<{len(values)}{code}", *values))


def tensor_type(kind, dims):
    """TypeProto of a tensor. A dimension is a number or a symbolic name; dims None: no shape at all."""
    shape = b""
    if dims is not None:
        shape = block(2, b"".join(block(1, block(2, d) if isinstance(d, str) else number(1, d)) for d in dims))
    return block(1, number(1, kind) + shape)


def map_sequence_type(key):
    """TypeProto of sequence(map(key, float)), what ZipMap gives."""
    return block(4, block(1, block(5, number(1, key) + block(2, tensor_type(FLOAT, [])))))


def value(name, type_proto):
    return block(1, name) + block(2, type_proto)


def tensor(name, kind, dims):
    return value(name, tensor_type(kind, dims))


def model(nodes, inputs, outputs, constants=(), metadata=None, version=0, name="test", opset=11, domains=()):
    graph = b"".join(block(1, n) for n in nodes) + block(2, name)
    graph += b"".join(block(5, c) for c in constants)
    graph += b"".join(block(11, i) for i in inputs) + b"".join(block(12, o) for o in outputs)
    out = number(1, 6) + block(2, "make_test_models")
    out += number(5, version) if version else b""
    out += block(7, graph) + block(8, block(1, "") + number(2, opset))
    out += b"".join(block(8, block(1, domain) + number(2, 1)) for domain in domains)
    for key, text in (metadata or {}).items():
        out += block(14, block(1, key) + block(2, text))
    return out


# --- the models -----------------------------------------------------------------------------------------------------

WEIGHTS_3 = constant("w", FLOAT, [3, 1], [1.0, 10.0, 100.0])  # so that a sum shows the order of its terms


def linear(rows, **more):
    return model(
        [node("MatMul", ["x", "w"], ["y"])], [tensor("x", FLOAT, [rows, 3])], [tensor("y", FLOAT, [rows, 1])],
        [WEIGHTS_3], **more)


def classifier(classes, zipmap, width=2):
    """LinearClassifier, as skl2onnx writes a logistic regression: label and probabilities."""
    ids = {"classlabels_ints": classes} if isinstance(classes[0], int) else {"classlabels_strings": classes}
    key = INT64 if isinstance(classes[0], int) else STRING
    count = len(classes)
    # Class k gets logit k × (x0 - x1).
    coefficients = [c for k in range(count) for c in (float(k), float(-k))]
    nodes = [
        node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", coefficients=coefficients,
             intercepts=[0.0] * count, multi_class=1, post_transform="SOFTMAX", **ids)
    ]
    outputs = [tensor("label", key, ["N"])]
    if zipmap:
        nodes.append(node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", **{
            name.replace("_ints", "_int64s"): labels for name, labels in ids.items()}))
        outputs.append(value("probabilities", map_sequence_type(key)))
    else:
        nodes.append(node("Identity", ["p"], ["probabilities"]))
        outputs.append(tensor("probabilities", FLOAT, ["N", count]))
    return model(nodes, [tensor("x", FLOAT, ["N", width])], outputs, domains=["ai.onnx.ml"])


def models():
    yield "linear", linear("N")
    yield "linear_1x3", linear(1)
    yield "linear_32x3", linear(32)
    yield "linear_described", linear(
        "N", version=7, name="graph",
        metadata={"headwater.fields": "temperature, pressure, vibration", "headwater.name": "press", "units": "C,bar,g"})
    yield "linear_unshaped", model(
        [node("MatMul", ["x", "w"], ["y"])], [tensor("x", FLOAT, None)], [tensor("y", FLOAT, None)], [WEIGHTS_3])
    # Nine fields: more than are gathered at once. The bits of the score say which were 1.
    yield "wide", model(
        [node("MatMul", ["x", "w"], ["y"])], [tensor("x", FLOAT, ["N", 9])], [tensor("y", FLOAT, ["N", 1])],
        [constant("w", FLOAT, [9, 1], [float(1 << i) for i in range(9)])])
    yield "one_row", model(
        [node("Mul", ["x", "w"], ["m"]), node("ReduceSum", ["m"], ["y"], axes=[0], keepdims=1)],
        [tensor("x", FLOAT, [3])], [tensor("y", FLOAT, [1])], [constant("w", FLOAT, [3], [1.0, 10.0, 100.0])])
    yield "rank1", model(
        [node("Add", ["x", "x"], ["y"])], [tensor("x", DOUBLE, ["N"])], [tensor("y", DOUBLE, ["N"])])
    # y = a0 + a1 + n as float64, twice = 2n as int64.
    yield "two_in_two_out", model(
        [node("ReduceSum", ["a"], ["s"], axes=[1], keepdims=1), node("Cast", ["n"], ["d"], to=DOUBLE),
         node("Add", ["s", "d"], ["y"]), node("Add", ["n", "n"], ["twice"])],
        [tensor("a", DOUBLE, ["N", 2]), tensor("n", INT64, ["N", 1])],
        [tensor("y", DOUBLE, ["N", 1]), tensor("twice", INT64, ["N", 1])])
    # picked = on ? n : -1, echo = text, not_on = !on
    yield "mixed_types", model(
        [node("Where", ["on", "n", "minus"], ["picked"]), node("Identity", ["text"], ["echo"]),
         node("Not", ["on"], ["not_on"])],
        [tensor("text", STRING, ["N", 1]), tensor("on", BOOL, ["N", 1]), tensor("n", INT32, ["N", 1])],
        [tensor("picked", INT32, ["N", 1]), tensor("echo", STRING, ["N", 1]), tensor("not_on", BOOL, ["N"] + [1])],
        [constant("minus", INT32, [1], [-1])])
    # One column a tensor, as skl2onnx does for data frames; the fields are the tensors' names.
    yield "by_column", model(
        [node("Sub", ["temperature", "pressure"], ["score"])],
        [tensor("temperature", FLOAT, ["N", 1]), tensor("pressure", FLOAT, ["N", 1])],
        [tensor("score", FLOAT, ["N", 1])])
    # The window's values times 1, 8, 64, … in their order: as octal digits the sum shows them (exact in float32).
    yield "window_4x2", model(
        [node("Flatten", ["x"], ["f"], axis=1), node("MatMul", ["f", "w"], ["y"])],
        [tensor("x", FLOAT, ["N", 4, 2])], [tensor("y", FLOAT, ["N", 1])],
        [constant("w", FLOAT, [8, 1], [8.0**i for i in range(8)])])
    yield "window_open", model(
        [node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)],
        [tensor("x", DOUBLE, ["N", "W", 2])], [tensor("y", DOUBLE, ["N", 2])])
    yield "classes_3", model(
        [node("Softmax", ["x"], ["p"], axis=1)], [tensor("x", FLOAT, ["N", 3])], [tensor("p", FLOAT, ["N", 3])])
    yield "zipmap_int", classifier([0, 1], True)
    yield "zipmap_string", classifier(["broken", "fine"], True)
    yield "zipmap_3", classifier([0, 1, 2], True)
    yield "classifier_tensor", classifier([0, 1], False)
    # Refuses a call that has an index outside 0 … 3.
    yield "picky", model(
        [node("Gather", ["table", "index"], ["y"])], [tensor("index", INT64, ["N", 1])], [tensor("y", FLOAT, ["N", 1])],
        [constant("table", FLOAT, [4], [0.0, 10.0, 20.0, 30.0])])
    yield "logarithm", model(
        [node("Log", ["x"], ["y"])], [tensor("x", FLOAT, ["N", 1])], [tensor("y", FLOAT, ["N", 1])])
    yield "sums_rows", model(
        [node("ReduceSum", ["x"], ["y"], axes=[0], keepdims=1)], [tensor("x", FLOAT, ["N", 3])],
        [tensor("y", FLOAT, [1, 3])])
    yield "image", model(
        [node("Identity", ["x"], ["y"])], [tensor("x", FLOAT, ["N", 3, 8, 8])], [tensor("y", FLOAT, ["N", 3, 8, 8])])
    yield "float16", model(
        [node("Identity", ["x"], ["y"])], [tensor("x", FLOAT16, ["N", 3])], [tensor("y", FLOAT16, ["N", 3])])
    yield "many_outputs", model(
        [node("Identity", ["x"], ["first"]), node("Neg", ["x"], ["second"])], [tensor("x", FLOAT, ["N", 1])],
        [tensor("first", FLOAT, ["N", 1]), tensor("second", FLOAT, ["N", 1])])
    # Autoencoders: 3 values through 1 and back, h = (2a + b + c) / 4, y = (h, 2h, h / 2); a window at half its size; a
    # reconstruction of another shape, and of float64.
    yield "autoencoder", model(
        [node("MatMul", ["x", "encode"], ["h"]), node("MatMul", ["h", "decode"], ["y"])],
        [tensor("x", FLOAT, ["N", 3])], [tensor("y", FLOAT, ["N", 3])],
        [constant("encode", FLOAT, [3, 1], [0.5, 0.25, 0.25]), constant("decode", FLOAT, [1, 3], [1.0, 2.0, 0.5])])
    yield "autoencoder_window", model(
        [node("Mul", ["x", "half"], ["y"]), node("Flatten", ["y"], ["flat"], axis=1)],
        [tensor("x", FLOAT, ["N", 2, 2])], [tensor("y", FLOAT, ["N", 2, 2]), tensor("flat", FLOAT, ["N", 4])],
        [constant("half", FLOAT, [1], [0.5])])
    yield "autoencoder_double", model(
        [node("Mul", ["x", "half"], ["y"]), node("ReduceSum", ["y"], ["sum"], axes=[1], keepdims=1)],
        [tensor("x", DOUBLE, ["N", 2]), tensor("n", INT64, ["N", 1])],
        [tensor("y", DOUBLE, ["N", 2]), tensor("sum", DOUBLE, ["N", 1])], [constant("half", DOUBLE, [1], [0.5])])
    yield "unknown_operator", model(
        [node("NoSuchOperator", ["x"], ["y"])], [tensor("x", FLOAT, ["N", 1])], [tensor("y", FLOAT, ["N", 1])])
    yield "unknown_domain", model(
        [node("Denoise", ["x"], ["y"], domain="com.example")], [tensor("x", FLOAT, ["N", 1])],
        [tensor("y", FLOAT, ["N", 1])], domains=["com.example"])


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "tests/data/models")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in models():
        (folder / f"{name}.onnx").write_bytes(content)


if __name__ == "__main__":
    main()
