"""ONNX taken apart and put together in protobuf's wire format, by hand: neither onnx nor protobuf is part of the core.

message = fields,   field = varint tag (number << 3 | wire type), then varint | 8 bytes | length + bytes | 4 bytes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

# Field numbers of onnx.proto3.
MODEL_GRAPH, MODEL_METADATA = 7, 14
NODE, NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12  #: of a graph
NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE = 1, 2, 4, 5
_INT, _GRAPH, _INTS = (3, 2), (6, 5), (8, 7)  # of an attribute: the field of its value, and the type that it says
_ATTRIBUTE_NAME, _ATTRIBUTE_TYPE = 1, 20
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9  # of a tensor
_FLOAT, _INT64, _BOOL, _DOUBLE = 1, 7, 9, 11  # kinds of tensor
_KINDS = {"observation": _FLOAT, "features": _FLOAT, "asked": _BOOL}  # of inputs and outputs that are not double
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT = 10  # bytes of a 64-bit varint


class Field(NamedTuple):
    """A field of a message."""

    number: int
    value: bytes  #: empty for numbers: only lengths and strings are looked at
    raw: bytes  #: tag and all


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in order; IndexError where it breaks off, ValueError where it is no protobuf."""
    at = 0
    while at < len(message):
        start, value = at, b""
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _LENGTH:
            size, at = _read_varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise IndexError("message breaks off")
        if tag >> 3 == 0:
            raise ValueError("field 0")
        yield Field(tag >> 3, value, message[start:at])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and the place after it; IndexError past the end, ValueError if over-long."""
    value = 0
    for i in range(_MAX_VARINT):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("over-long varint")


def made(number: int, *values: int | str | bytes) -> bytes:
    """A field, once for each value: a whole number, a text, or a message."""
    out = bytearray()
    for value in values:
        if isinstance(value, int):
            out += _varint(number << 3 | _VARINT) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | _LENGTH) + _varint(len(content)) + content
    return bytes(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def step_of(model: bytes) -> list[Field]:
    """The fields of a model's graph."""
    return next(list(fields(field.value)) for field in fields(model) if field.number == MODEL_GRAPH)


def without(message: Iterable[Field], *numbers: int) -> bytes:
    """A message that lacks some fields."""
    return b"".join(field.raw for field in message if field.number not in numbers)


def with_graph(model: bytes, *graph: bytes) -> bytes:
    """A model with another graph, given in parts."""
    return without(fields(model), MODEL_GRAPH) + made(MODEL_GRAPH, b"".join(graph))


class Node(NamedTuple):
    """A node of a graph."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    rest: bytes  #: its other fields
    op: str

    @classmethod
    def read(cls, message: bytes) -> Node:
        """A node out of a graph's field."""
        parts = list(fields(message))
        texts = {n: [p.value.decode() for p in parts if p.number == n] for n in (NODE_INPUT, NODE_OUTPUT, NODE_OP)}
        rest = without(parts, NODE_INPUT, NODE_OUTPUT)
        return cls(texts[NODE_INPUT], texts[NODE_OUTPUT], rest, texts[NODE_OP][0])

    def field(self, names: dict[str, str] | None = None) -> bytes:
        """The field of a graph, some inputs and outputs by another name."""
        known = names or {}
        inputs, outputs = ([known.get(name, name) for name in side] for side in (self.inputs, self.outputs))
        return made(NODE, made(NODE_INPUT, *inputs) + made(NODE_OUTPUT, *outputs) + self.rest)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """A node of a graph."""
    return Node(inputs, outputs, made(NODE_OP, op) + b"".join(attributes), op).field()


def attribute(name: str, value: int | list[int] | bytes) -> bytes:
    """An attribute of a node: a whole number, several, or a graph."""
    number, kind = _INT if isinstance(value, int) else _INTS if isinstance(value, list) else _GRAPH
    said = made(number, *(value if isinstance(value, list) else [value]))
    return made(NODE_ATTRIBUTE, made(_ATTRIBUTE_NAME, name) + said + made(_ATTRIBUTE_TYPE, kind))


def constant(name: str, value: int, *, axes: int = 1) -> bytes:
    """One int64 in a graph, as a vector or, without axes, a scalar."""
    data = value.to_bytes(8, "little", signed=True)
    head = made(_DIMS, *[1] * axes) + made(_DATA_TYPE, _INT64)
    return made(INITIALIZER, head + made(_TENSOR_NAME, name) + made(_RAW_DATA, data))


def infos(inputs: Sequence[str], outputs: Sequence[str], n_axes: int = 0) -> bytes:
    """Names and number types of a graph's inputs and outputs.

    onnxruntime finds the shapes itself, in a body if it is told how many axes there are. The type is that of the name
    behind its prefix: `sequence_asked` is bool.
    """
    return b"".join(
        made(number, made(_INFO_NAME, name) + made(_INFO_TYPE, made(_TYPE_TENSOR, _tensor_type(name, n_axes))))
        for number, names in ((INPUT, inputs), (OUTPUT, outputs))
        for name in names
    )


def _tensor_type(name: str, n_axes: int) -> bytes:
    kind = made(_TENSOR_KIND, _KINDS.get(name.split("_", 1)[1], _DOUBLE))
    return kind + made(_TENSOR_SHAPE, made(1, b"") * n_axes) if n_axes else kind
