"""Frozen policies at run time: onnxruntime and numpy, neither torch nor pickle.

    a = FrozenPolicy.load("sac.onnx").act(x)      x (rows, features) -> a (rows,)

What happens to an observation is the same in training and here: clip to +-`observation_clip`, round to float32 (SB3
learns from float32 observations), then compute in float64. A network of float32 weights evaluated in float64
agrees with SB3's own float32 arithmetic to about 1e-6 (the freezer checks it), and with other libraries to 1e-14.

A recurrent policy carries its LSTM state (h, c) from call to call, for a fixed number of rows; `reset` begins an
episode, `state` and `restore` put a memory back after a call that failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.errors import PolicyError, did_you_mean
from hybrid_bt.manifest import Manifest
from hybrid_bt.policy_file import read_bytes, unpack
from hybrid_bt.policy_graph import member_graph
from hybrid_bt.policy_session import Call, bind, open_sequence, open_session, run_sequence

LONG_SEQUENCE = 64  #: bars from which a session of its own, some 10 ms to open, pays

FloatArray = NDArray[np.float64]


class FrozenPolicy:
    """An inert policy: ONNX network and manifest.

    Make one with `load` or `from_bytes`. An instance belongs to one account: it holds buffers and,
    if recurrent, memory.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Of the file, for messages.
    rows : int
        Rows of a recurrent policy, each with a memory of its own (the gate has one). Without memory any number of rows
        may come in each call, and this is not looked at.
    only : int, optional
        Answer with this member of an ensemble alone, see `member`.

    Attributes
    ----------
    manifest : Manifest
    sha256 : str
        Of the whole file, in hex.
    rows : int
    clipped_count : int
        Observation values that lay outside +-`observation_clip` so far.

    Raises
    ------
    PolicyError
        If the bytes are not an undamaged frozen policy of a known format.

    Examples
    --------
    >>> from hybrid_bt.build import policy_path
    >>> FrozenPolicy.load(policy_path("package:sac_stable.onnx")).manifest.train_end
    datetime.date(2009, 12, 31)
    """

    def __init__(self, data: bytes, name: str = "policy", rows: int = 1, only: int | None = None) -> None:
        if rows < 1:
            raise PolicyError(f"policy: a recurrent policy needs at least one row, got {rows}; give rows >= 1")
        self.manifest: Manifest = unpack(data, name)
        self.sha256: str = hashlib.sha256(data).hexdigest()
        self.rows: int = rows
        self.clipped_count: int = 0
        self._data, self._name = data, name
        self._clip = self.manifest.observation_clip
        self._surely_within = 0.999 * self._clip * self._clip  # of a sum of squares: no value is beyond the clip
        self._features = len(self.manifest.observation)
        #: whether the policy remembers earlier calls
        self.is_recurrent: bool = self.manifest.recurrent is not None
        self._only = only
        self._session = open_session(self._graph(), self.manifest, name)
        self._sequence: Any = None  # a session for many bars, opened when it is asked for
        self._calls: dict[int, Call] = {}
        recurrent = self.manifest.recurrent
        layers, hidden = (recurrent.n_lstm, recurrent.hidden) if recurrent else (0, 0)
        shape = (2, layers, self.manifest.members, rows, hidden)
        self._memory = np.zeros(shape)  # [0] is h, [1] is c
        self._memory_next = np.zeros(shape)

    @classmethod
    def load(cls, path: str | Path, *, rows: int = 1) -> Self:
        """Read a policy file; see the class for `rows` and errors."""
        return cls(read_bytes(Path(path)), Path(path).name, rows)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "policy", *, rows: int = 1) -> Self:
        """A policy from a file's bytes; see the class for `rows` and errors."""
        return cls(data, name, rows)

    def __repr__(self) -> str:
        manifest = self.manifest
        return f"FrozenPolicy({self._name!r}, kind={manifest.kind!r}, members={manifest.members}, {self.sha256[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _thaw, (self._data, self._name, self.rows, self._only, self.state(), self.clipped_count)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Columns of an observation, in order."""
        return self.manifest.observation

    def check_observation(self, names: Sequence[str]) -> None:
        """Refuse running code whose observation differs from the one trained on.

        Parameters
        ----------
        names : sequence of str
            Columns that the running code makes, in order.

        Raises
        ------
        PolicyError
            Naming the first column that is missing, unknown or out of order.
        """
        wanted, made = self.observation_names, tuple(names)
        new = [name for name in made if name not in wanted]
        for column, name in enumerate(wanted):
            if name not in made:
                raise PolicyError(
                    f"policy: {self._name} reads {name!r} (column {column}), which this code does not make; "
                    f"train and freeze the policy again{did_you_mean(name, new) if new else ''}"
                )
        for column, (name, there) in enumerate(zip_longest(made, wanted, fillvalue="nothing")):
            if name not in wanted:
                raise PolicyError(
                    f"policy: this code makes {name!r} (column {column}), which {self._name} does not read; "
                    "train and freeze the policy again"
                )
            if name != there:
                raise PolicyError(
                    f"policy: column {column} is {name!r}, but {self._name} reads {there!r} there; "
                    "keep the order of training"
                )

    def act(self, observations: ArrayLike) -> FloatArray:
        """Answer one bar.

        Parameters
        ----------
        observations : array of shape (rows, features)
            In the order of `observation_names`. Values beyond +-`observation_clip` are counted and clipped; the rest is
            rounded to float32.

        Returns
        -------
        ndarray of float64, shape (rows,)
            Deterministic actions within [`action_low`, `action_high`]; of an ensemble, the mean over its members.
            A row's action does not depend on the rows beside it, to the last bit.

        Raises
        ------
        PolicyError
            If the shape is wrong or a value is NaN or infinite. The memory is then as it was before the call.
        """
        x = self._matrix(observations)
        if not len(x) and not self.is_recurrent:
            return np.empty(0)
        call = self._calls.get(len(x)) or self._bind(len(x))
        if not np.vdot(x, x) < self._surely_within:  # a few rows pass at once; NaN fails this and the next
            np.abs(x, out=call.magnitude)
            if not call.magnitude.max() <= self._clip:
                x = self._clipped(x)
        return self._step(call, x)

    def run(self, sequence: ArrayLike) -> FloatArray:
        """Answer a sequence of bars of one row, carrying the memory: the same bits as one `act` per bar.

        Parameters
        ----------
        sequence : array of shape (T, features)

        Returns
        -------
        ndarray of float64, shape (T,)

        Raises
        ------
        PolicyError
            As `act`, before any bar is answered; or if this policy remembers more than one row.
        """
        if self.is_recurrent and self.rows != 1:
            raise PolicyError(
                f"policy: run() needs a memory of one row, {self._name} has {self.rows}; load with rows=1"
            )
        x = self._clipped(self._matrix(sequence)).astype(np.float32)
        if self.is_recurrent and len(x) >= LONG_SEQUENCE:
            return run_sequence(self._opened_sequence(), self._memory, self.manifest, x)
        call = self._calls.get(1) or self._bind(1)
        actions = np.empty(len(x))
        for t in range(len(x)):
            actions[t] = self._step(call, x[t : t + 1])[0]
        return actions

    def act_in_turn(self, features: FloatArray, asked: NDArray[np.bool_], previous: FloatArray) -> FloatArray:
        """`act` bar after bar, the last column of each observation being the action before.

        Parameters
        ----------
        features : array of shape (T, rows, features - 1)
        asked : array of shape (T, rows)
            A row that is not asked keeps its action; its features are not looked at.
        previous : array of shape (rows,)
            Actions before the first bar.

        Returns
        -------
        ndarray of float64, shape (T, rows)
            The same bits as one `act` a bar.

        Raises
        ------
        PolicyError
            As `act`, before any bar is answered; or if the policy has a memory, or clips its own actions.
        """
        if self.is_recurrent or max(abs(self.manifest.action_low), abs(self.manifest.action_high)) > self._clip:
            raise PolicyError(f"policy: {self._name} has a memory, or clips what it answered; ask it bar by bar")
        seen = np.zeros(features.shape, np.float32)
        seen[asked] = self._clipped(features[asked])
        given = {
            "sequence_previous": previous[:, np.newaxis],
            "sequence_features": seen,
            "sequence_asked": asked[:, :, np.newaxis],
        }
        actions: FloatArray = self._opened_sequence().run(["sequence_action"], given)[0][:, :, 0]
        return actions

    def member(self, index: int) -> Self:
        """One member of an ensemble as a policy of its own: what one seed would have done alone.

        The manifest and its training span stay those of the ensemble. Needs the library onnx (extra `study`).

        Raises
        ------
        PolicyError
            If there is no such member, or onnx is missing.
        """
        if not 0 <= index < self.manifest.members:
            raise PolicyError(
                f"policy: {self._name} has {self.manifest.members} member(s), no number {index}; count from 0"
            )
        only = index if self.manifest.members > 1 else None
        return type(self)(self._data, f"{self._name} member {index}", self.rows, only)

    def reset(self) -> None:
        """Forget: the next call begins an episode. `clipped_count` goes on."""
        self._memory[...] = 0.0

    def state(self) -> dict[str, FloatArray]:
        """A copy of the memory: `h` and `c` of shape (n_lstm, members, rows, hidden); empty without memory."""
        return {"h": self._memory[0].copy(), "c": self._memory[1].copy()} if self.is_recurrent else {}

    def restore(self, state: dict[str, FloatArray]) -> None:
        """Go back to what `state` gave.

        Raises
        ------
        PolicyError
            If the state is of another policy: other keys or shapes, or values that are not finite.
        """
        keys = ("h", "c") if self.is_recurrent else ()
        if set(state) != set(keys):
            raise PolicyError(
                f"policy: a state of {self._name} holds {keys}, got {sorted(state)}; give what state() gave"
            )
        for key in keys:
            array = np.asarray(state[key])
            if array.shape != self._memory.shape[1:] or not np.isfinite(array).all():
                raise PolicyError(
                    f"policy: state {key!r} of {self._name} must be finite, of shape {self._memory.shape[1:]}, "
                    f"got shape {array.shape}; give what state() gave"
                )
        for i, key in enumerate(keys):
            self._memory[i] = state[key]

    def _graph(self) -> bytes:
        return self._data if self._only is None else member_graph(self._data, self._only)

    def _opened_sequence(self) -> Any:
        if self._sequence is None:
            self._sequence = open_sequence(self._graph(), self.manifest, self._name)
        return self._sequence

    def _matrix(self, observations: ArrayLike) -> FloatArray:
        x = np.asarray(observations, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self._features:
            raise PolicyError(
                f"policy: {self._name} reads an array of shape (rows, {self._features}), got {x.shape}; "
                "one column per name in observation_names"
            )
        return x

    def _clipped(self, x: FloatArray) -> FloatArray:
        """Count and clip what lies outside; refuse what is no number."""
        finite = np.isfinite(x)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise PolicyError(
                f"policy: observation {self.observation_names[column]!r} of row {row} is {x[row, column]}; "
                "observations must be finite, so leave out bars whose features are not warm yet"
            )
        self.clipped_count += int(np.count_nonzero(np.abs(x) > self._clip))
        return np.clip(x, -self._clip, self._clip)

    def _bind(self, rows: int) -> Call:
        if self.is_recurrent and rows != self.rows:
            raise PolicyError(
                f"policy: {self._name} remembers {self.rows} row(s), got {rows}; "
                f"keep the rows, or load it with rows={rows}"
            )
        call = bind(self._session, self.manifest, rows, self._memory, self._memory_next)
        self._calls[rows] = call
        return call

    def _step(self, call: Call, x: FloatArray | NDArray[np.float32]) -> FloatArray:
        call.observation[...] = x  # rounds to float32
        self._session.run_with_iobinding(call.binding)
        if self.is_recurrent:
            self._memory[...] = self._memory_next
        return call.action.copy()


def _thaw(
    data: bytes, name: str, rows: int, only: int | None, state: dict[str, FloatArray], clipped_count: int
) -> FrozenPolicy:
    policy = FrozenPolicy(data, name, rows, only)
    policy.restore(state)
    policy.clipped_count = clipped_count
    return policy
