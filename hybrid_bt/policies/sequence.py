"""Graphs made from a policy's graph of one step: a whole sequence in one call (ONNX's Scan), or one member alone.

    recurrent    h0, c0, ..., observation (T, 1, features)  ->  h0_next, c0_next, ..., action (T, 1, 1)

The kernels that run are those of a single step, on arrays of the same shapes, so the bits are the same; what is saved
is the way in and out of onnxruntime on each bar.

In the body of a recurrent one is only what its memory takes part in; what comes before it, and the layers behind it,
are around the Scan, for all bars at once. That gives the same bits where a row of a product does not depend on the rows
beside it, which is onnxruntime's business: `policies.session` compares before it trusts the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies import file as proto
from hybrid_bt.policies.file import Field, fields, made

PREFIX = "sequence_"  #: of outer names: a subgraph may not use a name of the graph around it
STEP = "step_"  #: of names in the body of a recurrent policy
# Further field numbers of onnx.proto3.
_INT, _GRAPH, _INTS = (3, 2), (6, 5), (8, 7)  # of an attribute: the field of its value, and the type that it says
_ATTRIBUTE_NAME, _ATTRIBUTE_TYPE = 1, 20
_INFO_NAME, _INFO_TYPE, _TYPE_TENSOR, _TENSOR_KIND, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9  # of a tensor
_FLOAT, _INT64, _BOOL, _DOUBLE = 1, 7, 9, 11  # kinds of tensor
_KINDS = {"observation": _FLOAT, "features": _FLOAT, "asked": _BOOL}  # of inputs and outputs that are not double
_AXIS, _ROWS_AXIS = "sequence_axis", "sequence_axis_of_rows"  # constants


def recurrent_graph(graph: bytes, n_lstm: int, members: int) -> bytes | None:
    """T steps of a recurrent policy; None for one that is built otherwise than ours.

    Parameters
    ----------
    graph : bytes
        The whole file, or the graph of one step.
    n_lstm : int
        Layers that remember.
    members : int
        Of the ensemble; one has no axis of its own.
    """
    step = _step_of(graph)
    memory = [f"{gate}{layer}" for layer in range(n_lstm) for gate in "hc"]
    after = [f"{name}_next" for name in memory]
    before, body, behind = _parted([_Node.read(field.value) for field in step if field.number == proto.NODE], memory)
    into = _read(body) & _reached(["observation"], before)  # constants are seen in the body as they stand
    out = _read(behind) & _reached(memory, body)
    if len(into) != 1 or len(out) != 1:
        return None
    (given,), (said,), time = into, out, 0 if members == 1 else 1
    inner = {name: STEP + name for name in [*memory, given, *(name for one in body for name in one.outputs)]}
    inputs, outputs = [STEP + name for name in (*memory, given)], [*(STEP + name for name in after), f"{STEP}said"]
    inside = [
        *(one.field(inner) for one in body),
        _node("Identity", [inner[said]], [f"{STEP}said"]),
        _infos(inputs, outputs, n_axes=time + 2),
        made(proto.NAME, "step"),
    ]
    axes = [_attribute(name, [time]) for name in ("scan_input_axes", "scan_output_axes")]
    scanned = [*memory, f"{given}_by_bar"], [*after, f"{said}_by_bar"]
    return _with_graph(
        graph,
        _node("Squeeze", [f"{PREFIX}observation", _ROWS_AXIS], ["observation"]),
        *(one.field() for one in before),
        _node("Unsqueeze", [given, _AXIS], [f"{PREFIX}{given}_by_bar"]),
        _scan(*scanned, inside, _attribute("num_scan_inputs", 1), *axes),
        _node("Squeeze", [f"{PREFIX}{said}_by_bar", _AXIS], [said]),
        *(one.field() for one in behind),
        _node("Unsqueeze", ["action", _ROWS_AXIS], [f"{PREFIX}action"]),
        _without(step, proto.NODE, proto.INPUT, proto.OUTPUT, proto.NAME),
        _constant(_AXIS, time + 1),
        _constant(_ROWS_AXIS, 1),
        _around([*memory, "observation"], [*after, "action"]),
    )


def member_graph(graph: bytes, index: int) -> bytes:
    """The graph of an ensemble with the mean over its members replaced by one of them; shapes stay."""
    step, picked = _step_of(graph), "member_index"
    nodes = [_Node.read(field.value) for field in step if field.number == proto.NODE]
    means = [one for one in nodes if one.op == "ReduceMean"]
    if len(means) != 1:
        raise PolicyError(f"policy: {len(means)} means over members in the graph, one was expected; freeze it again")
    one = _node("Gather", [means[0].inputs[0], picked], means[0].outputs, _attribute("axis", 0))
    others = [one if node is means[0] else node.field() for node in nodes]
    return _with_graph(graph, *others, _without(step, proto.NODE), _constant(picked, index, axes=0))


def _parted(nodes: Sequence[_Node], memory: Sequence[str]) -> tuple[list[_Node], list[_Node], list[_Node]]:
    """Nodes before the memory comes in, those that make the next one, and those that read it."""
    remembering, needed = _reached(memory, nodes), {f"{name}_next" for name in memory}
    for one in reversed(nodes):
        if needed & set(one.outputs):
            needed |= set(one.inputs)
    before, body, behind = list[_Node](), list[_Node](), list[_Node]()
    for one in nodes:
        made = set(one.outputs)
        (before if not made & remembering else body if made & needed else behind).append(one)
    return before, body, behind


def _reached(names: Sequence[str], nodes: Sequence[_Node]) -> set[str]:
    """Some values and all that is made of them."""
    reached = set(names)
    for one in nodes:
        if reached & set(one.inputs):
            reached |= set(one.outputs)
    return reached


def _read(nodes: Sequence[_Node]) -> set[str]:
    return {name for one in nodes for name in one.inputs}


def _scan(inputs: Sequence[str], outputs: Sequence[str], body: Sequence[bytes], *attributes: bytes) -> bytes:
    said = _attribute("body", b"".join(body))
    return _node("Scan", _outer(inputs), _outer(outputs), said, *attributes)


def _around(inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Name, inputs and outputs of the graph around a Scan."""
    return made(proto.NAME, "sequence") + _infos(_outer(inputs), _outer(outputs))


def _outer(names: Sequence[str]) -> list[str]:
    return [PREFIX + name for name in names]


def _step_of(model: bytes) -> list[Field]:
    """The fields of a model's graph."""
    return next(list(fields(field.value)) for field in fields(model) if field.number == proto.MODEL_GRAPH)


def _without(message: Iterable[Field], *numbers: int) -> bytes:
    """A message that lacks some fields."""
    return b"".join(field.raw for field in message if field.number not in numbers)


def _with_graph(model: bytes, *graph: bytes) -> bytes:
    """A model with another graph, given in parts."""
    return _without(fields(model), proto.MODEL_GRAPH) + made(proto.MODEL_GRAPH, b"".join(graph))


class _Node(NamedTuple):
    """A node of a graph."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    rest: bytes  #: its other fields
    op: str

    @classmethod
    def read(cls, message: bytes) -> _Node:
        """A node out of a graph's field."""
        parts = list(fields(message))
        texts = {
            n: [p.value.decode() for p in parts if p.number == n]
            for n in (proto.NODE_INPUT, proto.NODE_OUTPUT, proto.NODE_OP)
        }
        rest = _without(parts, proto.NODE_INPUT, proto.NODE_OUTPUT)
        return cls(texts[proto.NODE_INPUT], texts[proto.NODE_OUTPUT], rest, texts[proto.NODE_OP][0])

    def field(self, names: dict[str, str] | None = None) -> bytes:
        """The field of a graph, some inputs and outputs by another name."""
        known = names or {}
        inputs, outputs = ([known.get(name, name) for name in side] for side in (self.inputs, self.outputs))
        return made(proto.NODE, made(proto.NODE_INPUT, *inputs) + made(proto.NODE_OUTPUT, *outputs) + self.rest)


def _node(op: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """A node of a graph."""
    return _Node(inputs, outputs, made(proto.NODE_OP, op) + b"".join(attributes), op).field()


def _attribute(name: str, value: int | list[int] | bytes) -> bytes:
    """An attribute of a node: a whole number, several, or a graph."""
    number, kind = _INT if isinstance(value, int) else _INTS if isinstance(value, list) else _GRAPH
    said = made(number, *(value if isinstance(value, list) else [value]))
    return made(proto.NODE_ATTRIBUTE, made(_ATTRIBUTE_NAME, name) + said + made(_ATTRIBUTE_TYPE, kind))


def _constant(name: str, value: int, *, axes: int = 1) -> bytes:
    """One int64 in a graph, as a vector or, without axes, a scalar."""
    data = value.to_bytes(8, "little", signed=True)
    head = made(_DIMS, *[1] * axes) + made(_DATA_TYPE, _INT64)
    return made(proto.INITIALIZER, head + made(_TENSOR_NAME, name) + made(_RAW_DATA, data))


def _infos(inputs: Sequence[str], outputs: Sequence[str], n_axes: int = 0) -> bytes:
    """Names and number types of a graph's inputs and outputs.

    onnxruntime finds the shapes itself, in a body if it is told how many axes there are. The type is that of the name
    behind its prefix: `sequence_asked` is bool.
    """
    return b"".join(
        made(number, made(_INFO_NAME, name) + made(_INFO_TYPE, made(_TYPE_TENSOR, _tensor_type(name, n_axes))))
        for number, names in ((proto.INPUT, inputs), (proto.OUTPUT, outputs))
        for name in names
    )


def _tensor_type(name: str, n_axes: int) -> bytes:
    kind = made(_TENSOR_KIND, _KINDS.get(name.split("_", 1)[1], _DOUBLE))
    return kind + made(_TENSOR_SHAPE, made(1, b"") * n_axes) if n_axes else kind
