"""Opinions made ahead of the account, where every bar is in memory before the first one is traded.

What a part says at a close depends on bars up to it and on nothing else, so the recursions of a whole panel may run in
one compiled loop, and the opinion of bar t is then looked up instead of worked out: the same steps in the same order,
the same bits as `Hybrid.opine`. Policies answer many bars in one call, which hands SAC its own previous action on from
bar to bar.

No look-ahead: row t of everything here is a function of rows up to t, by the same source that runs bar by bar, and the
audit runs this path against cut and altered futures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.batch import choose
from hybrid_bt.features import CLIP
from hybrid_bt.history import NO_RULES, Panel, read_whole
from hybrid_bt.hybrid import Hybrid, Opinion
from hybrid_bt.legs.base import View
from hybrid_bt.legs.kalman import KalmanLeg
from hybrid_bt.legs.sac import SacLeg, exposures
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.reader import MarketReader
from hybrid_bt.recording import PAIR_FIELDS
from hybrid_bt.regime import Gate
from hybrid_bt.safe_policy import SafePolicy
from hybrid_bt.waiting import waiting_sides

__all__ = ["Ahead", "can_run_ahead"]

BARS_A_CALL = 512  #: that a policy answers at once
#: traded, warm, volatilities, correlation, SAC's actions and targets, the Kalman leg's targets, r
_Row = tuple[list[bool], list[bool], list[float], float, list[float], list[float], list[float], float]
DIRECTION = PAIR_FIELDS.index("position")
READING_SECONDS = 2e-5  # of a bar x symbol, interpreted


def can_run_ahead(brain: Any, closes: NDArray[np.float64], compiled: bool | None = None) -> bool:
    """Whether a brain's opinions on a panel can be made ahead, and whether that saves time.

    Only this package's own parts with frozen policies can: what a stranger's part remembers is not known. Closes must
    all be prices or NaN, so that a bad one is refused on its own bar.

    Parameters
    ----------
    compiled : bool, optional
        As in `hybrid_bt.replay`: by default where the work is worth loading numba; False keeps to bar by bar.
    """
    plain = (
        type(brain) is Hybrid
        and type(brain.reader) is MarketReader
        and (brain.sac is None or (type(brain.sac) is SacLeg and _foreseeable(brain.sac.policy, recurrent=False)))
        and (brain.kalman is None or type(brain.kalman) is KalmanLeg)
        and (brain.gate is None or (type(brain.gate) is Gate and _foreseeable(brain.gate.policy, recurrent=True)))
    )
    if not plain or not bool((np.isnan(closes) | ((closes > 0.0) & (closes < math.inf))).all()):
        return False
    return choose(compiled, closes.size * READING_SECONDS)


def _foreseeable(policy: Any, recurrent: bool) -> bool:
    """Whether many bars can be asked for at once, with features as the panel clips them."""
    if type(policy) is not SafePolicy or type(policy.policy) is not FrozenPolicy:
        return False
    if policy.is_recurrent and not recurrent:
        return False
    manifest = policy.manifest
    return bool(manifest.observation_clip == CLIP and max(abs(manifest.action_low), abs(manifest.action_high)) <= CLIP)


class Ahead:
    """Opinions of a panel, looked up row by row.

    Parameters
    ----------
    brain : Hybrid
        One that has seen nothing; its policies are asked, its reader and Kalman leg stay as they are.
    closes : (T, N)
        NaN where a symbol has no bar.
    """

    def __init__(self, brain: Hybrid, closes: NDArray[np.float64]) -> None:
        self.row = -1  #: of the last opinion
        self._brain, self._closes = brain, closes
        rules = brain.kalman.rules if isinstance(brain.kalman, KalmanLeg) else NO_RULES
        self._sides = brain.reader.columns
        self._panel: Panel = read_whole(closes, brain.reader, rules)
        self._traded: NDArray[np.bool_] = ~np.isnan(closes)
        self._asked: NDArray[np.bool_] = self._panel.warm & self._traded
        self._actions = np.zeros((1, closes.shape[1]))  # of SAC on the bars of its last call
        self._unit: Any = None  # by which SAC's actions of those bars became targets
        self._coming: list[_Row] = []  # what policies were asked for already, the next bar last
        self._views = _Views(closes, brain.reader)

    def closes(self, row: int) -> list[float]:
        """Of one bar, (N,)."""
        found: list[float] = self._closes[row].tolist()
        return found

    def next(self) -> Opinion | None:
        """Opinion at the close of the next row; None, for good, where a policy fails on it or soon after."""
        t = self.row + 1
        if not self._ask(t):
            return None
        traded, warm, volatilities, correlation, actions, sac, kalman, r = self._coming.pop()
        view: Any = _View(self._views, t, traded, warm, volatilities, correlation)
        leg: Any = self._brain.sac
        if leg is not None and leg.unit is not self._unit:  # it changed after these bars were asked for
            sac = leg.exposures(actions, view)
        self.row = t
        return Opinion(view, sac, kalman, r, self._waits(view, t))

    def skip(self) -> bool:
        """Pass over the next row without an opinion; False, for good, where `next` would be None."""
        if not self._ask(self.row + 1):
            return False
        self._coming.pop()
        self.row += 1
        return True

    def clipped(self) -> dict[str, int]:
        """Values that each policy's observations had out of range so far."""
        beyond, rows = self._panel.beyond, slice(self.row + 1)
        of_market = np.where(self._panel.market_warm[rows], beyond[rows, -1], 0)
        return {
            "sac": int(np.where(self._asked[rows], beyond[rows, :-1], 0).sum()),
            "gate": int(of_market.sum()),
        }

    def pair_rows(self) -> Sequence[float]:
        """`recording.pair_rows` after the last opinion."""
        rows: list[float] = self._panel.pairs[self.row].ravel().tolist()
        return rows

    def _ask(self, t: int) -> bool:
        """Have policies asked about row t; whether they answered."""
        if not self._coming:
            self._coming = self._rows(t) or []
        return bool(self._coming)

    def _rows(self, t: int) -> list[_Row] | None:
        """The rows from t on, one call of each policy long, in reverse; None where a policy fails on one of them."""
        panel, rows = self._panel, slice(t, t + BARS_A_CALL)
        actions: Any = np.zeros(panel.targets[rows].shape)
        leg: Any = self._brain.sac
        if leg is not None:
            actions, self._unit = self._act(leg.policy, t), leg.unit
        scores = self._scores(t)
        if actions is None or scores is None:
            return None
        self._actions = actions
        sac = actions if leg is None else exposures(actions, panel.volatility[rows], panel.warm[rows], leg.unit)
        columns = (self._traded, panel.warm, panel.volatility, panel.correlation)
        answers = (actions, sac, panel.targets[rows])
        lists = (*(column[rows].tolist() for column in columns), *(answer.tolist() for answer in answers), scores)
        return list(zip(*lists, strict=True))[::-1]

    def _act(self, policy: SafePolicy, t: int) -> NDArray[np.float64] | None:
        """SAC's actions (T, N) on the bars from t on, one call long; None where it fails on one of them."""
        asked, features = self._asked[t : t + BARS_A_CALL], self._panel.assets[t : t + BARS_A_CALL]
        rows = np.where(asked[:, :, np.newaxis], features, 0.0).astype(np.float32)

        def ask(_: Any) -> NDArray[np.float64]:
            return policy.act_in_turn(rows, asked, self._actions[-1]).ravel()  # type: ignore[no-any-return]

        actions = policy.tried(ask, range(asked.size))
        return None if actions is None else actions.reshape(asked.shape)

    def _waits(self, view: View, t: int) -> Sequence[bool]:
        """As `KalmanLeg.waits`."""
        if self._brain.kalman is None or not self._sides or all(view.traded):
            return ()
        directions = self._panel.pairs[:, :, DIRECTION]
        before = directions[t - 1].tolist() if t else [0.0] * len(self._sides)
        return waiting_sides(view.traded, self._sides, before, directions[t].tolist())

    def _scores(self, t: int) -> list[float] | None:
        """The gate's r on the bars from t on, 0 until the market is warm; None where it fails on one of them."""
        gate, warm = self._brain.gate, self._panel.market_warm[t : t + BARS_A_CALL]
        cold = len(warm) if gate is None else int(np.count_nonzero(~warm))  # warm once is warm for ever
        if gate is None or cold == len(warm):
            return [0.0] * cold
        policy: Any = gate.policy
        scores = policy.tried(policy.answer_sequence, self._panel.market[t + cold : t + len(warm)])
        return None if scores is None else [0.0] * cold + [min(max(r, -1.0), 1.0) for r in scores.tolist()]


class _Views:
    """The whole view of a row, states and all, for those few who look at it: read anew, and forward where possible."""

    def __init__(self, closes: NDArray[np.float64], reader: MarketReader) -> None:
        self._closes, self._origin = closes, reader
        self._reader, self._row = reader.anew(), -1
        self._view: View | None = None

    def at(self, row: int) -> View:
        if row < self._row:
            self._reader, self._row = self._origin.anew(), -1
        while self._row < row or self._view is None:
            self._row += 1
            self._view = self._reader.read(self._closes[self._row].tolist())
        return self._view


class _View:
    """A `View` whose states are read when they are asked for."""

    def __init__(
        self, views: _Views, row: int, traded: list[bool], warm: list[bool], volatilities: list[float], rho: float
    ) -> None:
        self._views, self._row = views, row
        self.traded, self.warm, self.volatilities, self.correlation = traded, warm, volatilities, rho

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._views.at(self._row), name)
