"""The graph of one step as one of many steps: what carries no memory from bar to bar is done for all bars at once.

    x -> before -> | step 1 | -> h -> | step 2 | -> ... -> h, c        before, after: once, over an axis of bars
                   '---- h of each bar, joined ------> after -> action  steps: the nodes of one, as often as bars

The nodes are those of the file, over the same numbers, so the bits are those of a call a bar. Split and Concat along
the axis of rows, the last but one of every tensor of `policies.graph`, are all that is added.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from hybrid_bt.policies.file import (
    INITIALIZER,
    MODEL_GRAPH,
    NODE,
    NODE_ATTRIBUTE,
    NODE_INPUT,
    NODE_OP,
    NODE_OUTPUT,
    Field,
    fields,
    made,
    number,
)  # fmt: skip

TENSOR_NAME = 8  #: field of an initializer
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TYPE, INT = 1, 3, 20, 2  #: of an attribute, and the type of a whole number
ROWS = 2**64 - 2  #: axis -2, as protobuf writes it
_AXIS = made(NODE_ATTRIBUTE, made(ATTRIBUTE_NAME, "axis") + number(ATTRIBUTE_INT, ROWS) + number(ATTRIBUTE_TYPE, INT))


class _Node(NamedTuple):
    parts: tuple[Field, ...]
    inputs: frozenset[str]
    outputs: frozenset[str]

    def renamed(self, name: Callable[[str], str]) -> bytes:
        """The same node on other tensors."""
        tensors = NODE_INPUT, NODE_OUTPUT
        parts = (made(x.number, name(x.value.decode())) if x.number in tensors else x.raw for x in self.parts)
        return made(NODE, b"".join(parts))


def many_steps(model: bytes, memories: Collection[str], n_bars: int) -> bytes:
    """A model of one step, whose file was checked, as one of `n_bars` rows that carries `memories` from row to row."""
    graph = tuple(fields(next(x.value for x in fields(model) if x.number == MODEL_GRAPH)))
    nodes = [_read(x.value) for x in graph if x.number == NODE]
    after = {f"{memory}_next": memory for memory in memories}
    remembers, needed = set(memories), set(after)
    for node in nodes:
        remembers |= node.outputs if remembers & node.inputs else set()
    for node in reversed(nodes):
        needed |= node.inputs if needed & node.outputs else set()
    late = [node for node in nodes if remembers & node.inputs]
    steps = [node for node in late if needed & node.outputs]
    own = {name for node in steps for name in node.outputs}
    weights = _weights(graph, nodes)
    given = sorted({name for node in steps for name in node.inputs} - own - set(memories) - weights)
    told = sorted({name for node in late if node not in steps for name in node.inputs} & own)

    def at(bar: int) -> Callable[[str], str]:
        def name(tensor: str) -> str:
            if tensor in memories:
                return at(bar - 1)(f"{tensor}_next") if bar else tensor
            is_last = tensor in after and bar == n_bars - 1
            return f"{tensor}@{bar}" if tensor in given or (tensor in own and not is_last) else tensor

        return name

    def whole(tensor: str) -> str:
        return f"{tensor}@" if tensor in told else tensor

    bars = range(n_bars)
    made_of = [
        *(node.renamed(str) for node in nodes if node not in late),
        *(_along_rows("Split", [name], [at(bar)(name) for bar in bars]) for name in given),
        *(node.renamed(at(bar)) for bar in bars for node in steps),
        *(_along_rows("Concat", [at(bar)(name) for bar in bars], [whole(name)]) for name in told),
        *(node.renamed(whole) for node in late if node not in steps),
        *(x.raw for x in graph if x.number != NODE),
    ]
    return b"".join(made(MODEL_GRAPH, b"".join(made_of)) if x.number == MODEL_GRAPH else x.raw for x in fields(model))


def _read(node: bytes) -> _Node:
    parts = tuple(fields(node))
    names = (frozenset(x.value.decode() for x in parts if x.number == which) for which in (NODE_INPUT, NODE_OUTPUT))
    return _Node(parts, *names)


def _weights(graph: Iterable[Field], nodes: Iterable[_Node]) -> set[str]:
    """Tensors that no bar changes."""
    held = (fields(x.value) for x in graph if x.number == INITIALIZER)
    found = {x.value.decode() for parts in held for x in parts if x.number == TENSOR_NAME}
    for node in nodes:
        found |= node.outputs if node.inputs <= found else set()
    return found


def _along_rows(kind: str, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
    parts = *(made(NODE_INPUT, name) for name in inputs), *(made(NODE_OUTPUT, name) for name in outputs)
    return made(NODE, b"".join((*parts, made(NODE_OP, kind), _AXIS)))
