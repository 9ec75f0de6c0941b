"""Graphs made from a policy's graph of one step: a whole sequence in one call (ONNX's Scan), or one member alone.

    recurrent    h0, c0, ..., observation (T, 1, features)  ->  h0_next, c0_next, ..., action (T, 1, 1)
    acting       previous (rows, 1), features (T, rows, features - 1), asked (T, rows, 1)  ->  kept (rows, 1), action

The kernels that run are those of a single step, on arrays of the same shapes, so the bits are the same; what is saved
is the way in and out of onnxruntime on each bar.

An acting policy's body is its own graph, byte for byte. Its last column is its own previous action, which a row that is
not asked keeps; the body puts the column there:

    action_t = asked_t ? policy([features_t, float32(action_t-1)]) : action_t-1

In the body of a recurrent one is only what its memory takes part in; what comes before it, and the layers behind it,
are around the Scan, for all bars at once. That gives the same bits where a row of a product does not depend on the rows
beside it, which is onnxruntime's business: `policy_session` compares before it trusts the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies import wire
from hybrid_bt.policies.wire import Node

PREFIX = "sequence_"  #: of outer names: a subgraph may not use a name of the graph around it
STEP = "step_"  #: of names in the body of a recurrent policy
_AXIS, _ROWS_AXIS = "sequence_axis", "sequence_axis_of_rows"  # constants


def acting_graph(graph: bytes) -> bytes:
    """T steps of a policy without memory that sees its own previous action; `graph` is the whole file."""
    step = wire.step_of(graph)
    inputs, outputs = ["previous", "features", "asked"], ["kept", "action"]
    before, features, asked, kept, said = ("acting_" + name for name in (*inputs, *outputs))
    short = "acting_previous_float32"
    body = [
        wire.node("Cast", [before], [short], wire.attribute("to", 1)),
        wire.node("Concat", [features, short], ["observation"], wire.attribute("axis", 1)),
        *(field.raw for field in step if field.number == wire.NODE),
        wire.node("Where", [asked, "action", before], [kept]),
        wire.node("Identity", [kept], [said]),
        wire.without(step, wire.NODE, wire.INPUT, wire.OUTPUT),
        wire.infos([before, features, asked], [kept, said], n_axes=2),
    ]
    scan = _scan(inputs, outputs, body, wire.attribute("num_scan_inputs", 2))
    return wire.with_graph(graph, scan, _around(inputs, outputs))


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
    step = wire.step_of(graph)
    memory = [f"{gate}{layer}" for layer in range(n_lstm) for gate in "hc"]
    after = [f"{name}_next" for name in memory]
    before, body, behind = _parted([Node.read(field.value) for field in step if field.number == wire.NODE], memory)
    into = _read(body) & _reached(["observation"], before)  # constants are seen in the body as they stand
    out = _read(behind) & _reached(memory, body)
    if len(into) != 1 or len(out) != 1:
        return None
    (given,), (said,), time = into, out, 0 if members == 1 else 1
    inner = {name: STEP + name for name in [*memory, given, *(name for one in body for name in one.outputs)]}
    inputs, outputs = [STEP + name for name in (*memory, given)], [*(STEP + name for name in after), f"{STEP}said"]
    inside = [
        *(one.field(inner) for one in body),
        wire.node("Identity", [inner[said]], [f"{STEP}said"]),
        wire.infos(inputs, outputs, n_axes=time + 2),
        wire.made(wire.NAME, "step"),
    ]
    axes = [wire.attribute(name, [time]) for name in ("scan_input_axes", "scan_output_axes")]
    scanned = [*memory, f"{given}_by_bar"], [*after, f"{said}_by_bar"]
    return wire.with_graph(
        graph,
        wire.node("Squeeze", [f"{PREFIX}observation", _ROWS_AXIS], ["observation"]),
        *(one.field() for one in before),
        wire.node("Unsqueeze", [given, _AXIS], [f"{PREFIX}{given}_by_bar"]),
        _scan(*scanned, inside, wire.attribute("num_scan_inputs", 1), *axes),
        wire.node("Squeeze", [f"{PREFIX}{said}_by_bar", _AXIS], [said]),
        *(one.field() for one in behind),
        wire.node("Unsqueeze", ["action", _ROWS_AXIS], [f"{PREFIX}action"]),
        wire.without(step, wire.NODE, wire.INPUT, wire.OUTPUT, wire.NAME),
        wire.constant(_AXIS, time + 1),
        wire.constant(_ROWS_AXIS, 1),
        _around([*memory, "observation"], [*after, "action"]),
    )


def member_graph(graph: bytes, index: int) -> bytes:
    """The graph of an ensemble with the mean over its members replaced by one of them; shapes stay."""
    step, picked = wire.step_of(graph), "member_index"
    nodes = [Node.read(field.value) for field in step if field.number == wire.NODE]
    means = [one for one in nodes if one.op == "ReduceMean"]
    if len(means) != 1:
        raise PolicyError(f"policy: {len(means)} means over members in the graph, one was expected; freeze it again")
    one = wire.node("Gather", [means[0].inputs[0], picked], means[0].outputs, wire.attribute("axis", 0))
    others = [one if node is means[0] else node.field() for node in nodes]
    return wire.with_graph(graph, *others, wire.without(step, wire.NODE), wire.constant(picked, index, axes=0))


def _parted(nodes: Sequence[Node], memory: Sequence[str]) -> tuple[list[Node], list[Node], list[Node]]:
    """Nodes before the memory comes in, those that make the next one, and those that read it."""
    remembering, needed = _reached(memory, nodes), {f"{name}_next" for name in memory}
    for one in reversed(nodes):
        if needed & set(one.outputs):
            needed |= set(one.inputs)
    before, body, behind = list[Node](), list[Node](), list[Node]()
    for one in nodes:
        made = set(one.outputs)
        (before if not made & remembering else body if made & needed else behind).append(one)
    return before, body, behind


def _reached(names: Sequence[str], nodes: Sequence[Node]) -> set[str]:
    """Some values and all that is made of them."""
    reached = set(names)
    for one in nodes:
        if reached & set(one.inputs):
            reached |= set(one.outputs)
    return reached


def _read(nodes: Sequence[Node]) -> set[str]:
    return {name for one in nodes for name in one.inputs}


def _scan(inputs: Sequence[str], outputs: Sequence[str], body: Sequence[bytes], *attributes: bytes) -> bytes:
    said = wire.attribute("body", b"".join(body))
    return wire.node("Scan", _outer(inputs), _outer(outputs), said, *attributes)


def _around(inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Name, inputs and outputs of the graph around a Scan."""
    return wire.made(wire.NAME, "sequence") + wire.infos(_outer(inputs), _outer(outputs))


def _outer(names: Sequence[str]) -> list[str]:
    return [PREFIX + name for name in names]
