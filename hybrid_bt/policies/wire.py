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
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 6, 8, 20
_INT, _GRAPH, _INTS = 2, 5, 7  # values of _ATTRIBUTE_TYPE
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND, _TENSOR_SHAPE = 1, 2, 1, 1, 2
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


def string(number: int, value: bytes) -> bytes:
    """A field that holds a string, or a message."""
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


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


def with_graph(model: bytes, graph: bytes) -> bytes:
    """A model with another graph."""
    return without(fields(model), MODEL_GRAPH) + string(MODEL_GRAPH, graph)


def node(kind: bytes, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """A node of a graph."""
    return wired(inputs, outputs, b"".join([string(NODE_OP, kind), *attributes]))


def wired(inputs: Sequence[str], outputs: Sequence[str], rest: bytes) -> bytes:
    """A node of a graph: what goes in and comes out, and its other fields."""
    names = [string(NODE_INPUT, name.encode()) for name in inputs]
    names += [string(NODE_OUTPUT, name.encode()) for name in outputs]
    return string(NODE, b"".join(names) + rest)


def attribute(name: bytes, value: int | list[int] | bytes) -> bytes:
    """An attribute of a node: a whole number, several, or a graph."""
    if isinstance(value, int):
        said = _number(_ATTRIBUTE_INT, value) + _number(_ATTRIBUTE_TYPE, _INT)
    elif isinstance(value, list):
        said = b"".join(_number(_ATTRIBUTE_INTS, one) for one in value) + _number(_ATTRIBUTE_TYPE, _INTS)
    else:
        said = string(_ATTRIBUTE_GRAPH, value) + _number(_ATTRIBUTE_TYPE, _GRAPH)
    return string(NODE_ATTRIBUTE, string(_ATTRIBUTE_NAME, name) + said)


def constant(name: str, value: int) -> bytes:
    """A vector of one int64 in a graph."""
    data = value.to_bytes(8, "little", signed=True)
    return string(INITIALIZER, _number(1, 1) + _number(2, _INT64) + string(8, name.encode()) + string(9, data))


def info(number: int, name: str, n_axes: int = 0) -> bytes:
    """Name and number type of an INPUT or OUTPUT of a graph.

    onnxruntime finds the shape itself, in a body if it is told how many axes there are. The type is that of the name
    behind its prefix: `sequence_asked` is bool.
    """
    kind = _number(_TENSOR_KIND, _KINDS.get(name.split("_", 1)[1], _DOUBLE))
    kind += string(_TENSOR_SHAPE, string(1, b"") * n_axes) if n_axes else b""
    return string(number, string(_INFO_NAME, name.encode()) + string(_INFO_TYPE, string(_TYPE_TENSOR, kind)))


def info_name(message: bytes) -> str:
    """The name in an `info`."""
    return next(field.value for field in fields(message) if field.number == _INFO_NAME).decode()
