"""One policy network in onnxruntime: a session on one thread, and calls with bound buffers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies.manifest import Manifest
from hybrid_bt.policies.sequence import acting_graph, lean_graph, sequence_graph

FloatArray = NDArray[np.float64]

CHECKED_BARS = 97  #: on which two graphs of a sequence must agree


class Call(NamedTuple):
    """Buffers bound to a session, for one number of rows; onnxruntime reads and writes them in place."""

    binding: Any  #: onnxruntime's IOBinding
    observation: NDArray[np.float32]  #: (rows, features), input
    magnitude: FloatArray  #: (rows, features), scratch
    action: FloatArray  #: (rows,), output


def open_session(data: bytes, manifest: Manifest, name: str) -> Any:
    """A quiet session on the calling thread: a default one spins on every core for nets this small.

    Parameters
    ----------
    data : bytes
        The whole file, already checked by `policy_file.unpack`.
    manifest : Manifest
        What the network must look like.
    name : str
        Of the file, for messages.

    Raises
    ------
    PolicyError
        If onnxruntime refuses the network, or its inputs and outputs are not what the manifest says.
    """
    session = _start(data, name)
    _check_session(session, manifest, name)
    return session


def open_sequence(graph: bytes, manifest: Manifest, name: str) -> Any:
    """A session that answers a whole sequence in one call; see `policy_sequence`.

    Parameters
    ----------
    graph : bytes
        Of one step, already opened once by `open_session`.
    """
    if manifest.recurrent is None:
        return _start(acting_graph(graph), name)
    whole = _start(sequence_graph(graph, manifest.recurrent.n_lstm), name)
    built = lean_graph(graph, manifest.recurrent.n_lstm, manifest.members)
    if built is None:
        return whole
    lean = _start(built, name)
    return lean if _same_bits(whole, lean, manifest) else whole


def _same_bits(one: Any, other: Any, manifest: Manifest) -> bool:
    """Whether two sessions give the same answers and memories, on observations of all sizes."""
    rng = np.random.default_rng(0)
    features, clip = len(manifest.observation), manifest.observation_clip
    sizes = np.exp(rng.uniform(-6.0, 3.0, (CHECKED_BARS, 1)))
    bars = np.clip(rng.normal(size=(CHECKED_BARS, features)) * sizes, -clip, clip).astype(np.float32)
    layers = manifest.recurrent.n_lstm if manifest.recurrent else 0
    memory, memory_of_other = (np.zeros((2, layers, *_member_shape(manifest, 1))) for _ in range(2))
    answers = run_sequence(one, memory, manifest, bars)
    return np.array_equal(answers, run_sequence(other, memory_of_other, manifest, bars)) and np.array_equal(
        memory, memory_of_other
    )


def run_sequence(session: Any, memory: FloatArray, manifest: Manifest, sequence: NDArray[np.float32]) -> FloatArray:
    """Answer T bars of one row and carry the memory.

    Parameters
    ----------
    memory : ndarray of shape (2, n_lstm, members, 1, hidden)
        Written.
    sequence : ndarray of shape (T, features)

    Returns
    -------
    ndarray of shape (T,)
    """
    shape = _memory_shape(manifest, 1)
    layers = [memory[i, layer] for layer in range(memory.shape[1]) for i in range(2)]
    given = {node.name: value.reshape(shape) for node, value in zip(session.get_inputs(), layers, strict=False)}
    *after, action = session.run(None, {**given, session.get_inputs()[-1].name: sequence[:, np.newaxis]})
    for layer, value in zip(layers, after, strict=True):
        layer[...] = value.reshape(layer.shape)
    answers: FloatArray = action[:, 0, 0]
    return answers


def _start(data: bytes, name: str) -> Any:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # fatal only: what goes wrong comes as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    refusals = (
        ort_errors.Fail,
        ort_errors.InvalidArgument,
        ort_errors.InvalidGraph,
        ort_errors.InvalidProtobuf,
        ort_errors.NotImplemented,
        ort_errors.RuntimeException,
    )
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except refusals as error:
        raise PolicyError(
            f"policy: onnxruntime {ort.__version__} refuses {name} ({error}); freeze it again, or upgrade onnxruntime"
        ) from error


def bind(session: Any, manifest: Manifest, rows: int, memory: FloatArray, memory_next: FloatArray) -> Call:
    """Bind buffers, so that a call allocates nothing.

    Parameters
    ----------
    rows : int
    memory, memory_next : ndarray of shape (2, n_lstm, members, rows, hidden), C-contiguous
        Read and written by each call; [0] is h, [1] is c. They must outlive the call.
    """
    observation = np.zeros((rows, len(manifest.observation)), dtype=np.float32)
    action = np.zeros((rows, 1))
    binding = session.io_binding()
    _bind_array(binding.bind_input, "observation", observation)
    _bind_array(binding.bind_output, "action", action)
    shape = _memory_shape(manifest, rows)
    for i, gate in enumerate("hc"):
        for layer in range(memory.shape[1]):
            _bind_array(binding.bind_input, f"{gate}{layer}", memory[i, layer].reshape(shape))
            _bind_array(binding.bind_output, f"{gate}{layer}_next", memory_next[i, layer].reshape(shape))
    return Call(binding, observation, np.zeros(observation.shape), action[:, 0])


def _bind_array(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _member_shape(manifest: Manifest, rows: Any) -> tuple[Any, ...]:
    """Of one layer's h or c, a single member among them."""
    return manifest.members, rows, manifest.recurrent.hidden if manifest.recurrent else 0


def _memory_shape(manifest: Manifest, rows: Any) -> tuple[Any, ...]:
    """Of one layer's h or c in the graph: a single member has no member axis."""
    members, *others = _member_shape(manifest, rows)
    return tuple(others) if members == 1 else (members, *others)


def _check_session(session: Any, manifest: Manifest, name: str) -> None:
    """Compare the network's inputs and outputs with what the manifest says they are."""
    inputs: dict[str, tuple[str, list[Any]]] = {"observation": ("tensor(float)", ["rows", len(manifest.observation)])}
    outputs: dict[str, tuple[str, list[Any]]] = {"action": ("tensor(double)", ["rows", 1])}
    for layer in range(manifest.recurrent.n_lstm if manifest.recurrent else 0):
        for gate in "hc":
            inputs[f"{gate}{layer}"] = ("tensor(double)", list(_memory_shape(manifest, "rows")))
            outputs[f"{gate}{layer}_next"] = inputs[f"{gate}{layer}"]
    for wanted, nodes in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = {node.name: (node.type, node.shape) for node in nodes}
        for key in [*wanted, *found]:
            if wanted.get(key) != found.get(key):
                raise PolicyError(
                    f"policy: tensor {key!r} of {name} is {found.get(key)}, its manifest says {wanted.get(key)}; "
                    "freeze the policy again"
                )
