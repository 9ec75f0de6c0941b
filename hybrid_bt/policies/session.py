"""One policy network in onnxruntime, on one thread, with bound buffers and the memory that it carries.

A bar is answered in this file alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.policies.file import refused
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sequence import many_steps

FloatArray = NDArray[np.float64]
Observations = NDArray[np.float64] | NDArray[np.float32]
Ort: TypeAlias = Any  #: something of onnxruntime, which has no types

ROWS_A_CALL = 8_192  #: of a network without one: what its layers hold of a row is kilobytes
BARS_A_CALL = 32  #: of a network with a memory; more save less than a bar each
BARS_WORTH_IT = 1_024  #: asked for in a row, from which on a graph of so many steps pays for its making


class Network:
    """A network and its memory.

    Parameters
    ----------
    graph : bytes
        A whole file, already checked by `policies.file.unpack`.
    manifest : Manifest
        What the network must look like.
    name : str
        Of the file, for messages.
    only : int, optional
        Member of an ensemble that answers in place of the mean of all.

    Attributes
    ----------
    is_recurrent : bool
        Whether the network remembers earlier calls.
    clipped_count : int
        Observation values that lay outside +-`observation_clip` so far.
    memory : ndarray of shape (2, n_lstm, members, 1, hidden)
        [0] is h, [1] is c; to be written in place.

    Raises
    ------
    PolicyError
        If onnxruntime refuses the network, or its inputs and outputs are not what the manifest says.
    """

    def __init__(self, graph: bytes, manifest: Manifest, name: str, only: int | None = None) -> None:
        self.manifest, self.is_recurrent, self.clipped_count = manifest, manifest.recurrent is not None, 0
        self._only, self._name, self._names = only, name, manifest.observation
        self._row, self._clip = (len(self._names),), manifest.observation_clip
        self._answer = slice(None) if manifest.actions > 1 else 0  # of the columns of an action
        self._surely_within = 0.999 * self._clip  # of the root of a sum of squares: no value is beyond the clip
        self._graph, self._session, self._asked = graph, _started(graph, name), 0
        _check_session(self._session, manifest, name, only is not None)
        #: rows (of a memory: bars) -> a run, and observation and action, which it reads and writes in place
        self._calls: dict[int, tuple[Callable[[], None], NDArray[np.float32], FloatArray]] = {}
        memory = manifest.recurrent
        self.memory = np.zeros((2, memory.n_lstm if memory else 0, manifest.members, 1, memory.hidden if memory else 0))
        self._memory_next = np.zeros_like(self.memory)

    def act(self, observations: ArrayLike) -> FloatArray:
        """Answer one bar.

        Parameters
        ----------
        observations : array of shape (rows, features)
            In the order of `manifest.observation`; one row for a recurrent policy. Values beyond +-`observation_clip`
            are counted and clipped; the rest is rounded to float32.

        Returns
        -------
        ndarray of float64, shape (rows,), or (rows, actions) where there are several
            Deterministic actions within [`action_low`, `action_high`]; of an ensemble, the mean over its members.
            A row's action does not depend on the rows beside it, to the last bit.

        Raises
        ------
        PolicyError
            If the shape is wrong or a value is NaN or infinite. The memory is then as it was before the call.
        """
        x = self._matrix(observations)
        rows = len(x)
        if self.is_recurrent and rows != 1:
            raise refused(self._name, f"remembers one row, got {rows}", "load one policy a row")
        if not rows:
            return np.empty((0, self.manifest.actions))[:, self._answer]
        # a few rows pass at once, one in half of numpy's time; NaN fails both
        length = math.hypot(*x[0].tolist()) if rows == 1 else math.sqrt(np.vdot(x, x))
        if not length < self._surely_within and not np.abs(x).max() <= self._clip:
            x = self._clipped(x)
        if rows <= ROWS_A_CALL:
            return self.step(x)
        return np.concatenate([self.step(x[first : first + ROWS_A_CALL]) for first in range(0, rows, ROWS_A_CALL)])

    def step(self, x: Observations) -> FloatArray:
        """Answer one bar, (rows, features) to (rows,) or (rows, actions); what is bound allocates nothing.

        Of a network with a memory rows are bars, one after the other.
        """
        run, observation, action = self._calls.get(len(x)) or self._bound(len(x))
        observation[...] = x  # rounds to float32
        run()
        if self.is_recurrent:
            self.memory[...] = self._memory_next
        return action.copy()

    def state(self) -> dict[str, FloatArray]:
        """A copy of the memory: `h` and `c` of shape (n_lstm, members, 1, hidden); empty without memory."""
        return dict(zip("hc", self.memory.copy(), strict=True)) if self.is_recurrent else {}

    def _pieces(self, x: FloatArray) -> Iterator[FloatArray]:
        """Of a sequence of bars, what one call of `step` answers."""
        self._asked += len(x)
        at_once = BARS_A_CALL if self._asked >= BARS_WORTH_IT else 1
        whole = len(x) - len(x) % at_once
        yield from x[:whole].reshape(-1, at_once, x.shape[1])
        yield from x[whole:, np.newaxis]

    def _bound(self, rows: int) -> tuple[Callable[[], None], NDArray[np.float32], FloatArray]:
        """A run on buffers for so many rows."""
        import onnxruntime as ort

        session = self._session
        if self.is_recurrent and rows > 1:
            names = [name for name, *_ in _memories(self.manifest)]
            session = _started(many_steps(self._graph, names, rows), self._name)
        binding, shape = session.io_binding(), _memory_shape(self.manifest, 1)
        observation = np.zeros((rows, len(self.manifest.observation)), np.float32)
        one = self._only is None
        shape_of = rows, self.manifest.actions
        answer = np.zeros(shape_of if one else (self.manifest.members, *shape_of))
        tensors: list[tuple[Ort, str, NDArray[Any]]] = [
            (binding.bind_input, "observation", observation),
            (binding.bind_output, "action" if one else "each", answer),
        ]
        for name, i, layer in _memories(self.manifest):
            tensors.append((binding.bind_input, name, self.memory[i, layer].reshape(shape)))
            tensors.append((binding.bind_output, f"{name}_next", self._memory_next[i, layer].reshape(shape)))
        for bind, name, array in tensors:
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        # as `InferenceSession.run_with_iobinding`, which makes options anew on each call, or reads those given through
        run = partial(session._sess.run_with_iobinding, binding._iobinding, ort.RunOptions())
        self._calls[rows] = run, observation, (answer if one else answer[self._only])[:, self._answer]
        return self._calls[rows]

    def _matrix(self, observations: ArrayLike) -> FloatArray:
        x = np.asarray(observations, dtype=np.float64)
        if x.shape[1:] != self._row:
            why = f"reads an array of shape (rows, {len(self._names)}), got {x.shape}"
            raise refused(self._name, why, "give one column per name in manifest.observation")
        return x

    def _clipped(self, x: FloatArray) -> FloatArray:
        """Count and clip what lies outside; refuse what is no number."""
        finite = np.isfinite(x)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            why = f"reads finite numbers, but {self._names[column]!r} of row {row} is {x[row, column]}"
            raise refused(self._name, why, "leave out bars whose features are not warm yet")
        self.clipped_count += int(np.count_nonzero(np.abs(x) > self._clip))
        return np.clip(x, -self._clip, self._clip)


def _started(graph: bytes, name: str) -> Ort:
    """A quiet session on the calling thread: a default one spins on every core for nets this small."""
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # fatal only: what goes wrong comes as an exception
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    refusals = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf)
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (*refusals, errors.NotImplemented, errors.RuntimeException) as error:
        why = f"is refused by onnxruntime {ort.__version__} ({error})"
        raise refused(name, why, "freeze it again, or upgrade onnxruntime") from error


def _memories(manifest: Manifest) -> list[tuple[str, int, int]]:
    """Name of each memory, and where it stands: h or c, layer."""
    layers = manifest.recurrent.n_lstm if manifest.recurrent else 0
    return [(f"{gate}{layer}", i, layer) for layer in range(layers) for i, gate in enumerate("hc")]


def _memory_shape(manifest: Manifest, rows: int | str) -> tuple[int | str, ...]:
    """Of one layer's h or c in the graph: a single member has no member axis."""
    hidden = manifest.recurrent.hidden if manifest.recurrent else 0
    return (rows, hidden) if manifest.members == 1 else (manifest.members, rows, hidden)


def _check_session(session: Ort, manifest: Manifest, name: str, apart: bool) -> None:
    """Compare the network's inputs and outputs with what the manifest says they are; `apart` needs each member's."""
    memory = "tensor(double)", list(_memory_shape(manifest, "rows"))
    names = [one for one, *_ in _memories(manifest)]
    inputs = {"observation": ("tensor(float)", ["rows", len(manifest.observation)]), **dict.fromkeys(names, memory)}
    outputs = {"action": ("tensor(double)", ["rows", manifest.actions]), **{f"{one}_next": memory for one in names}}
    if apart or any(node.name == "each" for node in session.get_outputs()):
        outputs["each"] = "tensor(double)", [manifest.members, "rows", manifest.actions]
    for wanted, nodes in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = {node.name: (node.type, node.shape) for node in nodes}
        for key in [*wanted, *found]:
            if wanted.get(key) != found.get(key):
                why = f"has a tensor {key!r} that is {found.get(key)}, its manifest says {wanted.get(key)}"
                raise refused(name, why, "freeze the policy again")
