"""A recurrent policy over a whole sequence in one call: ONNX's Scan around the graph of one step.

    outer    h0, c0, ..., observation (T, rows, features)  ->  h0_next, c0_next, ..., action (T, rows, 1)
    body     the policy's own graph, byte for byte, its inputs and outputs in the order that Scan asks for

The kernels that run are those of a single step, on arrays of the same shapes, so the bits are the same; what is saved
is the way in and out of onnxruntime on each bar. Written in protobuf's wire format by hand, as `policy_file` reads it,
since onnx is no part of the core.
"""

from __future__ import annotations

from typing import NamedTuple

from hybrid_bt.policy_file import _MODEL_GRAPH, _fields, _string, _varint

__all__ = ["sequence_graph"]

# Field numbers of onnx.proto3.
_INPUT, _OUTPUT = 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TYPE = 1, 3, 6, 20
_INT, _GRAPH = 2, 5  # values of _ATTRIBUTE_TYPE
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND = 1, 2, 1, 1
_FLOAT, _DOUBLE = 1, 11  # values of _TENSOR_KIND
PREFIX = "sequence_"  #: of outer names: a subgraph may not use a name of the graph around it


class _Raw(NamedTuple):
    number: int
    value: bytes
    raw: bytes  # tag and all


def sequence_graph(graph: bytes, n_lstm: int) -> bytes:
    """The graph of T steps.

    Parameters
    ----------
    graph : bytes
        Of one step, without the manifest.
    n_lstm : int
        Layers that remember.
    """
    model = _raw(graph)
    step = next(_raw(field.value) for field in model if field.number == _MODEL_GRAPH)
    memory = [f"{gate}{layer}" for layer in range(n_lstm) for gate in "hc"]
    inputs, outputs = [*memory, "observation"], [*(f"{name}_next" for name in memory), "action"]
    body = b"".join(field.raw for field in step if field.number not in (_INPUT, _OUTPUT))
    for number, names in ((_INPUT, inputs), (_OUTPUT, outputs)):
        infos = {_name(field.value): field.raw for field in step if field.number == number}
        body += b"".join(infos[name] for name in names)
    outer = _string(1, _scan(inputs, outputs, body)) + _string(2, b"sequence")
    outer += b"".join(_string(_INPUT, _info(name)) for name in inputs)
    outer += b"".join(_string(_OUTPUT, _info(name)) for name in outputs)
    return b"".join(field.raw for field in model if field.number != _MODEL_GRAPH) + _string(_MODEL_GRAPH, outer)


def _raw(message: bytes) -> list[_Raw]:
    fields = list(_fields(message))
    ends = [*(field.start for field in fields[1:]), len(message)]
    return [_Raw(f.number, f.value, message[f.start : end]) for f, end in zip(fields, ends, strict=True)]


def _name(info: bytes) -> str:
    return next(field.value for field in _fields(info) if field.number == _INFO_NAME).decode()


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _scan(inputs: list[str], outputs: list[str], body: bytes) -> bytes:
    node = b"".join(_string(_NODE_INPUT, (PREFIX + name).encode()) for name in inputs)
    node += b"".join(_string(_NODE_OUTPUT, (PREFIX + name).encode()) for name in outputs)
    node += _string(_NODE_OP, b"Scan")
    step = _string(_ATTRIBUTE_NAME, b"body") + _string(_ATTRIBUTE_GRAPH, body) + _number(_ATTRIBUTE_TYPE, _GRAPH)
    scanned = _string(_ATTRIBUTE_NAME, b"num_scan_inputs") + _number(_ATTRIBUTE_INT, 1) + _number(_ATTRIBUTE_TYPE, _INT)
    return node + _string(_NODE_ATTRIBUTE, step) + _string(_NODE_ATTRIBUTE, scanned)


def _info(name: str) -> bytes:
    """Name and number type; onnxruntime finds the shape itself."""
    kind = _number(_TENSOR_KIND, _FLOAT if name == "observation" else _DOUBLE)
    return _string(_INFO_NAME, (PREFIX + name).encode()) + _string(_INFO_TYPE, _string(_TYPE_TENSOR, kind))
