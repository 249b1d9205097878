"""Writes the small part of the ONNX file format that the demo's model needs (no onnx package).

Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

import struct

FLOAT, INT64 = 1, 7


def varint(value):
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if not value:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def number(field, value):
    return varint(field << 3) + varint(value)


def text(field, value):
    data = value if isinstance(value, bytes) else value.encode()
    return varint(field << 3 | 2) + varint(len(data)) + data


def floats(name, dims, values):
    """TensorProto of float32 in row order."""
    return (b"".join(number(1, d) for d in dims) + number(2, FLOAT) + text(8, name)
            + text(9, struct.pack(f"<{len(values)}f", *values)))


def ints(name, values):
    """TensorProto of one dimension of int64."""
    return number(1, len(values)) + number(2, INT64) + text(8, name) + text(9, struct.pack(f"<{len(values)}q", *values))


def node(kind, inputs, outputs):
    """NodeProto without attributes."""
    return (b"".join(text(1, i) for i in inputs) + b"".join(text(2, o) for o in outputs)
            + text(3, outputs[0]) + text(4, kind))


def value(name, dims):
    """ValueInfoProto of a float32 tensor; a dimension is a number or a name."""
    shape = b"".join(text(1, number(1, d) if isinstance(d, int) else text(2, d)) for d in dims)
    return text(1, name) + text(2, text(1, number(1, FLOAT) + text(2, shape)))


def model(name, nodes, constants, inputs, outputs, metadata, opset=13):
    """ModelProto of IR version 8."""
    graph = (b"".join(text(1, n) for n in nodes) + text(2, name) + b"".join(text(5, c) for c in constants)
             + b"".join(text(11, i) for i in inputs) + b"".join(text(12, o) for o in outputs))
    return (number(1, 8) + text(2, "headwater-demo") + text(7, graph) + text(8, number(2, opset))
            + b"".join(text(14, text(1, k) + text(2, str(v))) for k, v in metadata.items()))
