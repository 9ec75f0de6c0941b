"""A policy over a whole sequence in one call: ONNX's Scan around the graph of one step.

    recurrent    h0, c0, ..., observation (T, rows, features)  ->  h0_next, c0_next, ..., action (T, rows, 1)
    acting       previous (rows, 1), features (T, rows, features - 1), asked (T, rows, 1)  ->  kept (rows, 1), action

The body is the policy's own graph, byte for byte, its inputs and outputs in the order that Scan asks for. An acting
policy's last column is its own previous action, which a row that is not asked keeps; the body puts the column there:

    action_t = asked_t ? policy([features_t, float32(action_t-1)]) : action_t-1

The kernels that run are those of a single step, on arrays of the same shapes, so the bits are the same; what is saved
is the way in and out of onnxruntime on each bar.

`lean_graph` leaves in the body what a recurrent policy's memory takes part in, and puts what comes before it, and the
layers behind it, around the Scan, for all bars at once. That gives the same bits where a row of a product does not
depend on the rows beside it, which is onnxruntime's business: `policy_session` compares both before it trusts one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hybrid_bt.policies import wire

PREFIX = "sequence_"  #: of outer names: a subgraph may not use a name of the graph around it
STEP = "step_"  #: of names in the body of a lean graph
_AXIS = "sequence_axis"  # a constant


def sequence_graph(graph: bytes, n_lstm: int) -> bytes:
    """The graph of T steps of a recurrent policy.

    Parameters
    ----------
    graph : bytes
        Of one step, without the manifest.
    n_lstm : int
        Layers that remember.
    """
    step = wire.step_of(graph)
    memory = _memory(n_lstm)
    inputs, outputs = [*memory, "observation"], [*(f"{name}_next" for name in memory), "action"]
    body = wire.without(step, wire.INPUT, wire.OUTPUT)
    for number, names in ((wire.INPUT, inputs), (wire.OUTPUT, outputs)):
        infos = {wire.info_name(field.value): field.raw for field in step if field.number == number}
        body += b"".join(infos[name] for name in names)
    return wire.with_graph(graph, _outer(inputs, outputs, _scan(inputs, outputs, body)))


def acting_graph(graph: bytes) -> bytes:
    """The graph of T steps of a policy without memory that sees its own previous action.

    Parameters
    ----------
    graph : bytes
        Of one step, without the manifest.
    """
    step = wire.step_of(graph)
    inputs, outputs = ["previous", "features", "asked"], ["kept", "action"]
    before, features, asked, kept, said = ("acting_" + name for name in (*inputs, *outputs))
    short = "acting_previous_float32"
    body = [
        wire.node(b"Cast", [before], [short], wire.attribute(b"to", 1)),
        wire.node(b"Concat", [features, short], ["observation"], wire.attribute(b"axis", 1)),
        *(field.raw for field in step if field.number == wire.NODE),
        wire.node(b"Where", [asked, "action", before], [kept]),
        wire.node(b"Identity", [kept], [said]),
        wire.without(step, wire.NODE, wire.INPUT, wire.OUTPUT),
        _infos([before, features, asked], [kept, said], n_axes=2),
    ]
    scan = _scan(inputs, outputs, b"".join(body), n_scanned=2)
    return wire.with_graph(graph, _outer(inputs, outputs, scan))


def lean_graph(graph: bytes, n_lstm: int, members: int) -> bytes | None:
    """`sequence_graph` with no more inside the Scan than has to be; None for a policy built otherwise than ours.

    Parameters
    ----------
    graph, n_lstm
        As in `sequence_graph`.
    members : int
        Of the ensemble; one has no axis of its own.
    """
    step = wire.step_of(graph)
    memory = _memory(n_lstm)
    parts = _parted([_Node.of(field) for field in step if field.number == wire.NODE], memory)
    into = _read(parts.body) & _reached(["observation"], parts.before)  # constants are seen in the body as they stand
    out = _read(parts.behind) & _reached(memory, parts.body)
    if len(into) != 1 or len(out) != 1:
        return None
    (given,), (said,), time = into, out, 0 if members == 1 else 1
    inner = {name: STEP + name for name in [*memory, given, *(name for one in parts.body for name in one.outputs)]}
    after = [f"{name}_next" for name in memory]
    inputs, outputs = [STEP + name for name in (*memory, given)], [*(STEP + name for name in after), f"{STEP}said"]
    body = b"".join(one.renamed(inner) for one in parts.body)
    body += wire.node(b"Identity", [inner[said]], [f"{STEP}said"])
    body += _infos(inputs, outputs, n_axes=time + 2) + wire.string(wire.NAME, b"step")
    axes = [wire.attribute(name, [time]) for name in (b"scan_input_axes", b"scan_output_axes")]
    scanned = [*memory, f"{given}_by_bar"], [*after, f"{said}_by_bar"]
    whole = [
        wire.node(b"Squeeze", [f"{PREFIX}observation", f"{_AXIS}_of_rows"], ["observation"]),
        *(one.field.raw for one in parts.before),
        wire.node(b"Unsqueeze", [given, _AXIS], [f"{PREFIX}{given}_by_bar"]),
        _scan(*scanned, body, *axes),
        wire.node(b"Squeeze", [f"{PREFIX}{said}_by_bar", _AXIS], [said]),
        *(one.field.raw for one in parts.behind),
        wire.node(b"Unsqueeze", ["action", f"{_AXIS}_of_rows"], [f"{PREFIX}action"]),
        wire.without(step, wire.NODE, wire.INPUT, wire.OUTPUT, wire.NAME),
        wire.constant(_AXIS, time + 1),
        wire.constant(f"{_AXIS}_of_rows", 1),
    ]
    return wire.with_graph(graph, _outer([*memory, "observation"], [*after, "action"], b"".join(whole)))


class _Node(NamedTuple):
    """A node of a graph."""

    field: wire.Field
    inputs: list[str]
    outputs: list[str]

    @classmethod
    def of(cls, field: wire.Field) -> _Node:
        parts = list(wire.fields(field.value))
        sides = (wire.NODE_INPUT, wire.NODE_OUTPUT)
        return cls(field, *([p.value.decode() for p in parts if p.number == side] for side in sides))

    def renamed(self, names: dict[str, str]) -> bytes:
        """The node with some inputs and outputs by another name."""
        inputs, outputs = ([names.get(name, name) for name in side] for side in (self.inputs, self.outputs))
        rest = wire.without(wire.fields(self.field.value), wire.NODE_INPUT, wire.NODE_OUTPUT)
        return wire.wired(inputs, outputs, rest)


class _Parts(NamedTuple):
    """Nodes before the memory comes in, those that make the next one, and those that read it."""

    before: list[_Node]
    body: list[_Node]
    behind: list[_Node]


def _parted(nodes: Sequence[_Node], memory: Sequence[str]) -> _Parts:
    remembering, needed = _reached(memory, nodes), {f"{name}_next" for name in memory}
    for one in reversed(nodes):
        if needed & set(one.outputs):
            needed |= set(one.inputs)
    parts = _Parts([], [], [])
    for one in nodes:
        made = set(one.outputs)
        (parts.before if not made & remembering else parts.body if made & needed else parts.behind).append(one)
    return parts


def _reached(names: Sequence[str], nodes: Sequence[_Node]) -> set[str]:
    """Some values and all that is made of them."""
    reached = set(names)
    for one in nodes:
        if reached & set(one.inputs):
            reached |= set(one.outputs)
    return reached


def _read(nodes: Sequence[_Node]) -> set[str]:
    return {name for one in nodes for name in one.inputs}


def _memory(n_lstm: int) -> list[str]:
    return [f"{gate}{layer}" for layer in range(n_lstm) for gate in "hc"]


def _outer(inputs: Sequence[str], outputs: Sequence[str], fields: bytes) -> bytes:
    """A graph's fields with its name, inputs and outputs."""
    infos = _infos([PREFIX + name for name in inputs], [PREFIX + name for name in outputs])
    return fields + wire.string(wire.NAME, b"sequence") + infos


def _infos(inputs: Sequence[str], outputs: Sequence[str], n_axes: int = 0) -> bytes:
    infos = [wire.info(wire.INPUT, name, n_axes) for name in inputs]
    return b"".join(infos + [wire.info(wire.OUTPUT, name, n_axes) for name in outputs])


def _scan(inputs: Sequence[str], outputs: Sequence[str], body: bytes, *attributes: bytes, n_scanned: int = 1) -> bytes:
    said = [wire.attribute(b"body", body), wire.attribute(b"num_scan_inputs", n_scanned), *attributes]
    return wire.node(b"Scan", [PREFIX + name for name in inputs], [PREFIX + name for name in outputs], *said)
