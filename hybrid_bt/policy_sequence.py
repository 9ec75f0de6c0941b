"""A policy over a whole sequence in one call: ONNX's Scan around the graph of one step.

    recurrent    h0, c0, ..., observation (T, rows, features)  ->  h0_next, c0_next, ..., action (T, rows, 1)
    acting       previous (rows, 1), features (T, rows, features - 1), asked (T, rows, 1)  ->  kept (rows, 1), action

The body is the policy's own graph, byte for byte, its inputs and outputs in the order that Scan asks for. An acting
policy's last column is its own previous action, which a row that is not asked keeps; the body puts the column there:

    action_t = asked_t ? policy([features_t, float32(action_t-1)]) : action_t-1

The kernels that run are those of a single step, on arrays of the same shapes, so the bits are the same; what is saved
is the way in and out of onnxruntime on each bar. Written in protobuf's wire format by hand, as `policy_file` reads it,
since onnx is no part of the core.
"""

from __future__ import annotations

from typing import NamedTuple

from hybrid_bt.policy_file import _MODEL_GRAPH, _fields, _string, _varint

__all__ = ["acting_graph", "sequence_graph"]

# Field numbers of onnx.proto3.
_NODE = 1
_INPUT, _OUTPUT = 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TYPE = 1, 3, 6, 20
_INT, _GRAPH = 2, 5  # values of _ATTRIBUTE_TYPE
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_FLOAT, _BOOL, _DOUBLE = 1, 9, 11  # values of _TENSOR_KIND
_KINDS = {"observation": _FLOAT, "features": _FLOAT, "asked": _BOOL}  # of what is not double
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
    return _around(model, inputs, outputs, body, n_scanned=1)


def acting_graph(graph: bytes) -> bytes:
    """The graph of T steps of a policy without memory that sees its own previous action.

    Parameters
    ----------
    graph : bytes
        Of one step, without the manifest.
    """
    model = _raw(graph)
    step = next(_raw(field.value) for field in model if field.number == _MODEL_GRAPH)
    inputs, outputs = ["previous", "features", "asked"], ["kept", "action"]
    before, features, asked, kept, said = ("acting_" + name for name in (*inputs, *outputs))
    short = "acting_previous_float32"
    nodes = [
        _node(b"Cast", [before], [short], [_whole_number(b"to", _FLOAT)]),
        _node(b"Concat", [features, short], ["observation"], [_whole_number(b"axis", 1)]),
        *(field.value for field in step if field.number == _NODE),
        _node(b"Where", [asked, "action", before], [kept], []),
        _node(b"Identity", [kept], [said], []),
    ]
    body = b"".join(_string(_NODE, node) for node in nodes)
    body += b"".join(field.raw for field in step if field.number not in (_NODE, _INPUT, _OUTPUT))
    for number, names in ((_INPUT, (before, features, asked)), (_OUTPUT, (kept, said))):
        body += b"".join(_string(number, _info(name, n_axes=2)) for name in names)
    return _around(model, inputs, outputs, body, n_scanned=2)


def _around(model: list[_Raw], inputs: list[str], outputs: list[str], body: bytes, n_scanned: int) -> bytes:
    """The model with its graph replaced by a Scan over a body."""
    inner, outer = ([PREFIX + name for name in names] for names in (inputs, outputs))
    scan = [
        _attribute(b"body", _ATTRIBUTE_GRAPH, body, _GRAPH),
        _whole_number(b"num_scan_inputs", n_scanned),
    ]
    graph = _string(_NODE, _node(b"Scan", inner, outer, scan)) + _string(2, b"sequence")
    graph += b"".join(_string(_INPUT, _info(name)) for name in inner)
    graph += b"".join(_string(_OUTPUT, _info(name)) for name in outer)
    return b"".join(field.raw for field in model if field.number != _MODEL_GRAPH) + _string(_MODEL_GRAPH, graph)


def _raw(message: bytes) -> list[_Raw]:
    fields = list(_fields(message))
    ends = [*(field.start for field in fields[1:]), len(message)]
    return [_Raw(f.number, f.value, message[f.start : end]) for f, end in zip(fields, ends, strict=True)]


def _name(info: bytes) -> str:
    return next(field.value for field in _fields(info) if field.number == _INFO_NAME).decode()


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _node(kind: bytes, inputs: list[str], outputs: list[str], attributes: list[bytes]) -> bytes:
    node = b"".join(_string(_NODE_INPUT, name.encode()) for name in inputs)
    node += b"".join(_string(_NODE_OUTPUT, name.encode()) for name in outputs)
    return node + _string(_NODE_OP, kind) + b"".join(_string(_NODE_ATTRIBUTE, one) for one in attributes)


def _whole_number(name: bytes, value: int) -> bytes:
    return _string(_ATTRIBUTE_NAME, name) + _number(_ATTRIBUTE_INT, value) + _number(_ATTRIBUTE_TYPE, _INT)


def _attribute(name: bytes, number: int, value: bytes, kind: int) -> bytes:
    return _string(_ATTRIBUTE_NAME, name) + _string(number, value) + _number(_ATTRIBUTE_TYPE, kind)


def _info(name: str, n_axes: int = 0) -> bytes:
    """Name and number type; onnxruntime finds the shape itself, in a body if it is told how many axes there are."""
    tensor = _number(_TENSOR_KIND, _KINDS.get(name.split("_", 1)[1], _DOUBLE))
    tensor += _string(_TENSOR_SHAPE, _string(1, b"") * n_axes) if n_axes else b""
    return _string(_INFO_NAME, name.encode()) + _string(_INFO_TYPE, _string(_TYPE_TENSOR, tensor))
