"""Graphs taken apart and put together in protobuf's wire format, by hand, since onnx is no part of the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.policy_file import _MODEL_GRAPH, _fields, _string, _varint

# Field numbers of onnx.proto3.
NODE, INPUT, OUTPUT = 1, 11, 12  #: of a graph
NODE_INPUT, NODE_OUTPUT = 1, 2
_NODE_OP, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 6, 8, 20
_INT, _GRAPH, _INTS = 2, 5, 7  # values of _ATTRIBUTE_TYPE
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_FLOAT, _INT64, _BOOL, _DOUBLE = 1, 7, 9, 11  # kinds of tensor
_KINDS = {"observation": _FLOAT, "features": _FLOAT, "asked": _BOOL}  # of inputs and outputs that are not double


class Raw(NamedTuple):
    """A field of a message."""

    number: int
    value: bytes
    raw: bytes  #: tag and all


def raw(message: bytes) -> list[Raw]:
    """The fields of a message, in order."""
    fields = list(_fields(message))
    ends = [*(field.start for field in fields[1:]), len(message)]
    return [Raw(f.number, f.value, message[f.start : end]) for f, end in zip(fields, ends, strict=True)]


def step_of(graph: bytes) -> list[Raw]:
    """The fields of a model's graph."""
    return next(raw(field.value) for field in raw(graph) if field.number == _MODEL_GRAPH)


def with_graph(graph: bytes, fields: bytes) -> bytes:
    """A model with other fields in its graph."""
    return b"".join(field.raw for field in raw(graph) if field.number != _MODEL_GRAPH) + _string(_MODEL_GRAPH, fields)


def node(kind: bytes, inputs: Sequence[str], outputs: Sequence[str], attributes: Sequence[bytes] = ()) -> bytes:
    """A node's fields."""
    fields = b"".join(_string(NODE_INPUT, name.encode()) for name in inputs)
    fields += b"".join(_string(NODE_OUTPUT, name.encode()) for name in outputs)
    return fields + _string(_NODE_OP, kind) + b"".join(_string(_NODE_ATTRIBUTE, one) for one in attributes)


def whole_number(name: bytes, value: int) -> bytes:
    """An attribute's fields."""
    return _string(_ATTRIBUTE_NAME, name) + _number(_ATTRIBUTE_INT, value) + _number(_ATTRIBUTE_TYPE, _INT)


def whole_numbers(name: bytes, values: Sequence[int]) -> bytes:
    """An attribute's fields."""
    fields = b"".join(_number(_ATTRIBUTE_INTS, value) for value in values)
    return _string(_ATTRIBUTE_NAME, name) + fields + _number(_ATTRIBUTE_TYPE, _INTS)


def graph_attribute(name: bytes, fields: bytes) -> bytes:
    """An attribute's fields."""
    return _string(_ATTRIBUTE_NAME, name) + _string(_ATTRIBUTE_GRAPH, fields) + _number(_ATTRIBUTE_TYPE, _GRAPH)


def tensor(name: str, values: Sequence[int]) -> bytes:
    """The fields of a constant vector of int64."""
    data = b"".join(value.to_bytes(8, "little", signed=True) for value in values)
    return _number(1, len(values)) + _number(2, _INT64) + _string(8, name.encode()) + _string(9, data)


def info(name: str, n_axes: int = 0) -> bytes:
    """Name and number type; onnxruntime finds the shape itself, in a body if it is told how many axes there are.

    The type is that of the name behind its prefix: `sequence_asked` is bool.
    """
    fields = _number(_TENSOR_KIND, _KINDS.get(name.split("_", 1)[1], _DOUBLE))
    fields += _string(_TENSOR_SHAPE, _string(1, b"") * n_axes) if n_axes else b""
    return _string(_INFO_NAME, name.encode()) + _string(_INFO_TYPE, _string(_TYPE_TENSOR, fields))


def info_name(fields: bytes) -> str:
    """The name in an `info`."""
    return next(field.value for field in _fields(fields) if field.number == _INFO_NAME).decode()


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)
