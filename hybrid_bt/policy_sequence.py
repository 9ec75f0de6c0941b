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

from hybrid_bt.onnx_wire import (
    INPUT,
    NODE,
    NODE_INPUT,
    NODE_OUTPUT,
    OUTPUT,
    Raw,
    graph_attribute,
    info,
    info_name,
    node,
    raw,
    step_of,
    tensor,
    whole_number,
    whole_numbers,
    with_graph,
)
from hybrid_bt.policy_file import _string

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
    step = step_of(graph)
    memory = _memory(n_lstm)
    inputs, outputs = [*memory, "observation"], [*(f"{name}_next" for name in memory), "action"]
    body = b"".join(field.raw for field in step if field.number not in (INPUT, OUTPUT))
    for number, names in ((INPUT, inputs), (OUTPUT, outputs)):
        infos = {info_name(field.value): field.raw for field in step if field.number == number}
        body += b"".join(infos[name] for name in names)
    return with_graph(graph, _outer(inputs, outputs, _string(NODE, _scan(inputs, outputs, body))))


def acting_graph(graph: bytes) -> bytes:
    """The graph of T steps of a policy without memory that sees its own previous action.

    Parameters
    ----------
    graph : bytes
        Of one step, without the manifest.
    """
    step = step_of(graph)
    inputs, outputs = ["previous", "features", "asked"], ["kept", "action"]
    before, features, asked, kept, said = ("acting_" + name for name in (*inputs, *outputs))
    short = "acting_previous_float32"
    nodes = [
        node(b"Cast", [before], [short], [whole_number(b"to", 1)]),
        node(b"Concat", [features, short], ["observation"], [whole_number(b"axis", 1)]),
        *(field.value for field in step if field.number == NODE),
        node(b"Where", [asked, "action", before], [kept]),
        node(b"Identity", [kept], [said]),
    ]
    body = b"".join(_string(NODE, one) for one in nodes)
    body += b"".join(field.raw for field in step if field.number not in (NODE, INPUT, OUTPUT))
    body += _infos([before, features, asked], [kept, said], n_axes=2)
    return with_graph(graph, _outer(inputs, outputs, _string(NODE, _scan(inputs, outputs, body, n_scanned=2))))


def lean_graph(graph: bytes, n_lstm: int, members: int) -> bytes | None:
    """`sequence_graph` with no more inside the Scan than has to be; None for a policy built otherwise than ours.

    Parameters
    ----------
    graph, n_lstm
        As in `sequence_graph`.
    members : int
        Of the ensemble; one has no axis of its own.
    """
    step = step_of(graph)
    memory = _memory(n_lstm)
    parts = _parted([_Node.of(field) for field in step if field.number == NODE], memory)
    into = _read(parts.body) & _reached(["observation"], parts.before)  # constants are seen in the body as they stand
    out = _read(parts.behind) & _reached(memory, parts.body)
    if len(into) != 1 or len(out) != 1:
        return None
    (given,), (said,), time = into, out, 0 if members == 1 else 1
    inner = {name: STEP + name for name in [*memory, given, *(name for one in parts.body for name in one.outputs)]}
    after = [f"{name}_next" for name in memory]
    inputs, outputs = [STEP + name for name in (*memory, given)], [*(STEP + name for name in after), f"{STEP}said"]
    body = b"".join(_string(NODE, one.renamed(inner)) for one in parts.body)
    body += _string(NODE, node(b"Identity", [inner[said]], [f"{STEP}said"]))
    body += _infos(inputs, outputs, n_axes=time + 2) + _string(2, b"step")
    axes = [whole_numbers(name, [time]) for name in (b"scan_input_axes", b"scan_output_axes")]
    scanned = [*memory, f"{given}_by_bar"], [*after, f"{said}_by_bar"]
    nodes = [
        node(b"Squeeze", [f"{PREFIX}observation", f"{_AXIS}_of_rows"], ["observation"]),
        *(one.value for one in parts.before),
        node(b"Unsqueeze", [given, _AXIS], [f"{PREFIX}{given}_by_bar"]),
        _scan(*scanned, body, attributes=axes),
        node(b"Squeeze", [f"{PREFIX}{said}_by_bar", _AXIS], [said]),
        *(one.value for one in parts.behind),
        node(b"Unsqueeze", ["action", f"{_AXIS}_of_rows"], [f"{PREFIX}action"]),
    ]
    kept = b"".join(field.raw for field in step if field.number not in (NODE, INPUT, OUTPUT, 2))
    kept += _string(5, tensor(_AXIS, [time + 1])) + _string(5, tensor(f"{_AXIS}_of_rows", [1]))
    whole = b"".join(_string(NODE, one) for one in nodes) + kept
    return with_graph(graph, _outer([*memory, "observation"], [*after, "action"], whole))


class _Node(NamedTuple):
    """A node of a graph."""

    value: bytes
    inputs: list[str]
    outputs: list[str]

    @classmethod
    def of(cls, field: Raw) -> _Node:
        parts = raw(field.value)
        names = [[p.value.decode() for p in parts if p.number == number] for number in (NODE_INPUT, NODE_OUTPUT)]
        return cls(field.value, *names)

    def renamed(self, names: dict[str, str]) -> bytes:
        """Its fields, some inputs and outputs by another name."""
        return b"".join(
            _string(part.number, names.get(part.value.decode(), part.value.decode()).encode())
            if part.number in (NODE_INPUT, NODE_OUTPUT)
            else part.raw
            for part in raw(self.value)
        )


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
    return fields + _string(2, b"sequence") + _infos([PREFIX + i for i in inputs], [PREFIX + o for o in outputs])


def _infos(inputs: Sequence[str], outputs: Sequence[str], n_axes: int = 0) -> bytes:
    named = ((INPUT, inputs), (OUTPUT, outputs))
    return b"".join(_string(number, info(name, n_axes)) for number, names in named for name in names)


def _scan(
    inputs: Sequence[str], outputs: Sequence[str], body: bytes, n_scanned: int = 1, attributes: Sequence[bytes] = ()
) -> bytes:
    scan = [graph_attribute(b"body", body), whole_number(b"num_scan_inputs", n_scanned), *attributes]
    return node(b"Scan", [PREFIX + name for name in inputs], [PREFIX + name for name in outputs], scan)
