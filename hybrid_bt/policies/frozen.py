"""Frozen policies at run time: onnxruntime and numpy, neither torch nor pickle.

    a = FrozenPolicy.load("sac.onnx").act(x)      x (rows, features) -> a (rows,), of a portfolio (rows, actions)

What happens to an observation is the same in training and here: clip to +-`observation_clip`, round to float32 (SB3
learns from float32 observations), then compute in float64. A network of float32 weights evaluated in float64
agrees with SB3's own float32 arithmetic to about 1e-6 (the freezer checks it), and with other libraries to 1e-14.

A recurrent policy reads one row and carries its LSTM state (h, c) from call to call; `reset` begins an episode, `state`
and `restore` put a memory back after a call that failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.policies.file import read_bytes, refused, unpack
from hybrid_bt.policies.session import Network

FloatArray = NDArray[np.float64]


class FrozenPolicy(Network):
    """An inert policy: ONNX network and manifest.

    Make one from a file with `load`. An instance belongs to one account: it holds buffers and, if recurrent, memory.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Of the file, for messages.
    only : int, optional
        Answer with this member of an ensemble alone, see `member`.

    Attributes
    ----------
    manifest : Manifest
    sha256 : str
        Of the whole file, in hex; of one member, of the file and its number.
    is_recurrent : bool
        Whether the policy remembers earlier calls.
    clipped_count : int
        Observation values that lay outside +-`observation_clip` so far.

    Raises
    ------
    PolicyError
        If the bytes are not an undamaged frozen policy of a known format.

    Examples
    --------
    >>> from hybrid_bt.config.build import policy_path
    >>> FrozenPolicy.load(policy_path("package:sac.onnx")).manifest.train_end
    datetime.date(2009, 12, 31)
    """

    def __init__(self, data: bytes, name: str = "policy", only: int | None = None) -> None:
        super().__init__(data, unpack(data, name), name, only)
        self.sha256 = hashlib.sha256(data if only is None else data + only.to_bytes(8)).hexdigest()
        self._made_of = data, name, only

    @classmethod
    def load(cls, path: str | Traversable) -> Self:
        """Read a policy file, which may lie within a zip; see the class for errors."""
        file = Path(path) if isinstance(path, str) else path
        return cls(read_bytes(file), file.name)

    def __repr__(self) -> str:
        manifest = self.manifest
        return f"FrozenPolicy({self._name!r}, kind={manifest.kind!r}, members={manifest.members}, {self.sha256[:12]})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._made_of, (self.state(), self.clipped_count)

    def __setstate__(self, carried: tuple[dict[str, FloatArray], int]) -> None:
        memory, self.clipped_count = carried
        self.restore(memory)

    def columns_in(self, names: Sequence[str]) -> list[int]:
        """As `Manifest.columns_in`."""
        return self.manifest.columns_in(names, self._name)

    def predict(
        self,
        observation: ArrayLike,
        state: Mapping[str, FloatArray] | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> tuple[FloatArray, Mapping[str, FloatArray] | None]:
        """Answer as a model of Stable-Baselines3 does, that has no memory of its own: (features,) to (actions,)."""
        if state is None or np.any(episode_start or False):
            self.reset()
        else:
            self.restore(state)
        return self.act(np.atleast_2d(observation)).reshape(-1), self.state() or None

    def run(self, sequence: ArrayLike) -> FloatArray:
        """Answer T bars of one row, (T, features) to (T,) or (T, actions), carrying the memory: the bits of `act`.

        Raises
        ------
        PolicyError
            As `act`, before any bar is answered.
        """
        x = self._clipped(self._matrix(sequence))
        return np.concatenate([self.step(piece) for piece in self._pieces(x)]) if len(x) else np.empty(0)

    def member(self, index: int) -> Self:
        """One member of an ensemble as a policy of its own: what one seed would have done alone.

        The manifest and its training span stay those of the ensemble.

        Raises
        ------
        PolicyError
            If there is no such member.
        """
        if not 0 <= index < self.manifest.members:
            raise refused(self._name, f"has {self.manifest.members} member(s), no number {index}", "count from 0")
        data, name, _ = self._made_of
        return type(self)(data, f"{name} member {index}", index if self.manifest.members > 1 else None)

    def reset(self) -> None:
        """Forget: the next call begins an episode. `clipped_count` goes on."""
        self.memory[...] = 0.0

    def restore(self, state: Mapping[str, FloatArray]) -> None:
        """Go back to what `state` gave.

        Raises
        ------
        PolicyError
            If the state is of another policy: other keys or shapes, or values that are not finite.
        """
        mine = self.state()
        shapes = {key: value.shape for key, value in mine.items()}
        given = {key: np.shape(value) for key, value in state.items()}
        if given != shapes or not all(np.isfinite(value).all() for value in state.values()):
            why = f"holds a state of finite numbers of the shapes {shapes}, got {given}"
            raise refused(self._name, why, "give what state() gave")
        for i, key in enumerate(mine):
            self.memory[i] = state[key]
