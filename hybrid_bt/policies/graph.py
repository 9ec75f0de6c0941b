"""ONNX graphs of frozen policies, written by hand from plain numpy weights (needs `onnx`, extra `train`).

The k members of an ensemble are stacked: one MatMul of shape (k, in, out) does the work of k, with no more nodes than
one member has. Everything is computed in float64. The weights are stored as float32 where that is exact, with a Cast
that onnxruntime folds away when the file is loaded.

    MLP      y = act(x W + b), layer by layer
    LSTM     i, f, g, o = x Wx + h Wh + b;   c' = sigmoid(f) c + sigmoid(i) tanh(g);   h' = sigmoid(o) tanh(c')
             sigmoid(z) = (1 + tanh(z / 2)) / 2, so that one Tanh serves all four gates (onnxruntime's LSTM has no
             double kernel); the halving of weights is exact in floating point
    scaling  clip((x - mean) / std, -c, c), before everything else  (SB3's VecNormalize)
    heads    squash: low + (tanh(mu) + 1) / 2 * (high - low)  (SAC, TD3);   clip: mu clipped to [low, high]  (PPO)

onnxruntime's Tanh works on packets of up to 8 doubles and gives the rest of an array other last bits, so a row's answer
would hang on how many rows came with it. Layers that end in a Tanh are therefore padded with zeros to a multiple of 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.manifest import Scaling

if TYPE_CHECKING:
    import onnx

FloatArray = NDArray[np.float64]
Activation = Literal["relu", "tanh", "leaky_relu", "sigmoid", "silu", "none"]
Head = Literal["squash", "clip"]
Attribute: TypeAlias = Any  #: of a node: whole numbers

OPSET, IR_VERSION = 17, 8  # old enough for every onnxruntime >= 1.19
PACKET = 8  # doubles in an AVX-512 register
LEAK = 0.01  # torch's default slope of LeakyReLU below zero
ENDS_IN_TANH = ("tanh", "sigmoid", "silu")


class Dense(NamedTuple):
    """One layer of an MLP: act(x W + b)."""

    weight: FloatArray  #: (in, out)
    bias: FloatArray  #: (out,)
    activation: Activation


class Lstm(NamedTuple):
    """One layer of an LSTM, gates in the order i, f, g, o (torch's)."""

    weight_x: FloatArray  #: (in, 4 hidden)
    weight_h: FloatArray  #: (hidden, 4 hidden)
    bias: FloatArray  #: (4 hidden,)


class Actor(NamedTuple):
    """What answers in one model."""

    lstms: list[Lstm]  #: stacked; none for a network without memory
    layers: list[Dense]  #: behind them; the last has an output for each action, and no activation
    head: Head  #: how the last layer's output becomes an action


def actor_graph(members: Sequence[Actor], *, low: float, high: float, scaling: Scaling | None = None) -> bytes:
    """Graph of one step of an ensemble of k members, of the same shapes, activations and head.

    Returns
    -------
    bytes
        Serialised ONNX model: `observation` (rows, in) float32 -> `action` (rows, actions) float64, the members' mean
        within `low` and `high`, and of several members `each` (k, rows, actions). With LSTMs, `h0`, `c0`, ... are
        further inputs and `h0_next`, ... further outputs: (k, rows, hidden), or (rows, hidden) for one member.

    Raises
    ------
    PolicyError
        If members differ in shape, shapes do not chain, or a weight is not finite.
    """
    lstms, layers, head = members[0]
    graph = _Graph(len(members))
    x = graph.observation(scaling)
    for index, stacked in enumerate(_transposed([member.lstms for member in members])):
        x = graph.lstm(x, index, stacked)
    graph.head(graph.dense(x, [member.layers for member in members], head), low, high, members[0])
    shape = len(lstms[0].weight_x if lstms else layers[0].weight), layers[-1].weight.shape[1]
    return graph.serialise(shape, len(lstms), len(lstms[0].weight_h) if lstms else 0)


class _Graph:
    """Nodes and weights in the making; tensors are numbered as they come, so equal input gives equal bytes."""

    def __init__(self, members: int) -> None:
        import onnx

        self._onnx, self.members = onnx, members
        self.double: int = onnx.TensorProto.DOUBLE
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, inputs: list[str], output: str = "", n_outputs: int = 1, **attributes: Attribute) -> str:
        """Append a node; returns its (first) output."""
        first = output or f"t{len(self.nodes)}"
        outputs = [first, *(f"{first}_{i}" for i in range(1, n_outputs))]
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, **attributes))
        return first

    def constant(self, array: ArrayLike) -> str:
        """A float64 tensor, stored as float32 where that is exact."""
        value = np.ascontiguousarray(array, dtype=np.float64)
        if not np.isfinite(value).all():
            raise PolicyError("freeze: a weight is NaN or infinite; the training diverged, train again")
        with np.errstate(over="ignore"):
            short = value.astype(np.float32)
        if not np.array_equal(short, value):
            return self._tensor(value)
        return self.op("Cast", [self._tensor(short)], to=self.double)

    def observation(self, scaling: Scaling | None) -> str:
        """The input in float64, scaled."""
        x = self.op("Cast", ["observation"], to=self.double)
        if scaling is None:
            return x
        shifted = self.op("Add", [x, self.constant(-np.array(scaling.mean))])
        scaled = self.op("Mul", [shifted, self.constant(1.0 / np.array(scaling.std))])
        return self.op("Clip", [scaled, self.constant(-scaling.clip), self.constant(scaling.clip)])

    def affine(self, x: str, weight: str, offset: str) -> str:
        """X W + offset; Gemm does both at once, but knows no member axis."""
        if self.members == 1:
            return self.op("Gemm", [x, weight, offset])
        return self.op("Add", [self.op("MatMul", [x, weight]), offset])

    def stack(self, arrays: Sequence[FloatArray]) -> FloatArray:
        """Members' weights as (k, ...), or without that axis for one member; vectors become rows."""
        rows = [np.atleast_2d(array) for array in arrays]
        if len(shapes := {array.shape for array in rows}) != 1:
            raise PolicyError(f"freeze: members differ in shape, {sorted(shapes)}; one net_arch for all")
        return rows[0] if self.members == 1 else np.stack(rows)

    def dense(self, x: str, members: Sequence[Sequence[Dense]], head: Head) -> str:
        """The layers; the last is linear, its unpadded width the number of actions."""
        for layers in _transposed([_padded(member, head) for member in members]):
            weight, bias = self.stack([d.weight for d in layers]), self.stack([d.bias for d in layers])
            x = self.affine(x, self.constant(weight), self.constant(bias))
            activation = layers[0].activation
            if any(layer.activation != activation for layer in layers):
                raise PolicyError("freeze: members differ in activation; use one activation_fn for all")
            x = self.activated(x, activation)
        return x

    def activated(self, x: str, activation: Activation) -> str:
        match activation:
            case "relu":
                return self.op("Relu", [x])
            case "tanh":
                return self.op("Tanh", [x])
            case "leaky_relu":  # relu(x) - leak relu(-x): ONNX's own has no double kernel
                below = self.op("Relu", [self.op("Mul", [x, self.constant(-1.0)])])
                return self.op("Add", [self.op("Relu", [x]), self.op("Mul", [below, self.constant(-LEAK)])])
            case "sigmoid":
                return self.sigmoid(x)
            case "silu":
                return self.op("Mul", [x, self.sigmoid(x)])
            case "none":
                return x

    def sigmoid(self, x: str) -> str:
        half = self.constant(0.5)
        tanh = self.op("Tanh", [self.op("Mul", [x, half])])
        return self.op("Add", [self.op("Mul", [tanh, half]), half])

    def lstm(self, x: str, index: int, layers: Sequence[Lstm]) -> str:
        """One step of one layer; returns its new h."""
        hidden = len(layers[0].weight_h)
        half = np.repeat([0.5, 0.5, 1.0, 0.5], hidden)  # i, f and o are sigmoids, g is a tanh
        offset = np.repeat([0.5, 0.5, 0.0, 0.5], hidden)
        weight_x = self.constant(self.stack([layer.weight_x * half for layer in layers]))
        weight_h = self.constant(self.stack([layer.weight_h * half for layer in layers]))
        bias = self.constant(self.stack([layer.bias * half for layer in layers]))
        z = self.affine(f"h{index}", weight_h, self.affine(x, weight_x, bias))
        gates = self.op("Add", [self.op("Mul", [self.op("Tanh", [z]), self.constant(half)]), self.constant(offset)])
        i = self.op("Split", [gates, self.integers(*[hidden] * 4)], n_outputs=4, axis=-1)
        f, g, o = f"{i}_1", f"{i}_2", f"{i}_3"
        kept, fresh = self.op("Mul", [f, f"c{index}"]), self.op("Mul", [i, g])
        c = self.op("Add", [kept, fresh], f"c{index}_next")
        return self.op("Mul", [o, self.op("Tanh", [c])], f"h{index}_next")

    def head(self, mu: str, low: float, high: float, actor: Actor) -> None:
        """From the members' last layer to their actions and the mean."""
        box = [self.constant(low), self.constant(high)]
        if actor.head == "clip":
            x = self.op("Clip", [mu, *box])
        else:
            n_actions = actor.layers[-1].weight.shape[1]  # the rest is padding
            x = self.op("Slice", [self.op("Tanh", [mu]), *map(self.integers, (0, n_actions, -1))])  # start, end, axis
            half, middle = 0.5 * (high - low), 0.5 * (high + low)
            if (half, middle) != (1.0, 0.0):
                x = self.op("Add", [self.op("Mul", [x, self.constant(half)]), self.constant(middle)])
            if middle + half > high or middle - half < low:  # by rounding
                x = self.op("Clip", [x, *box])
        if self.members > 1:
            self.nodes[-1].output[0] = "each"
            self.op("Clip", [self.op("ReduceMean", ["each"], axes=[0], keepdims=0), *box])  # rounding again
        self.nodes[-1].output[0] = "action"

    def serialise(self, shape: tuple[int, int], n_lstm: int, hidden: int) -> bytes:
        helper, proto, info = self._onnx.helper, self._onnx.TensorProto, self._onnx.helper.make_tensor_value_info
        memory: list[Any] = ["rows", hidden] if self.members == 1 else [self.members, "rows", hidden]
        gates = [f"{gate}{layer}" for layer in range(n_lstm) for gate in "hc"]
        inputs = [info("observation", proto.FLOAT, ["rows", shape[0]]), *(info(g, proto.DOUBLE, memory) for g in gates)]
        after = [info(f"{gate}_next", proto.DOUBLE, memory) for gate in gates]
        each = [info("each", proto.DOUBLE, [self.members, "rows", shape[1]])] if self.members > 1 else []
        outputs = [info("action", proto.DOUBLE, ["rows", shape[1]]), *each, *after]
        graph = helper.make_graph(self.nodes, "policy", inputs, outputs, self.weights)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="hybrid_bt")
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def integers(self, *values: int) -> str:
        return self._tensor(np.array(values, dtype=np.int64))

    def _tensor(self, array: NDArray[Any]) -> str:
        self.weights.append(self._onnx.numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name


def _transposed(members: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Member by layer -> layer by member."""
    if len({len(member) for member in members}) != 1:
        raise PolicyError(f"freeze: members with {[len(m) for m in members]} layers; give each the same layers")
    return list(zip(*members, strict=True))


def _padded(member: Sequence[Dense], head: Head) -> list[Dense]:
    """Widen layers that end in a Tanh to whole packets; the added units feed nothing."""
    layers, extra = [], 0
    for index, layer in enumerate(member):
        ends_in_tanh = layer.activation in ENDS_IN_TANH or (head == "squash" and index == len(member) - 1)
        weight = np.pad(layer.weight, ((0, extra), (0, 0)))
        extra = -layer.weight.shape[1] % PACKET if ends_in_tanh else 0
        layers.append(Dense(np.pad(weight, ((0, 0), (0, extra))), np.pad(layer.bias, (0, extra)), layer.activation))
    if member[-1].activation != "none":
        raise PolicyError("freeze: the last layer must be linear; use an MlpPolicy")
    return layers
