"""Who asks the frozen policies: the SAC leg about every asset in one call, the regime gate about the market.

The policy's action on an asset, beside those on the others, tilts an inverse-volatility portfolio
(`hybrid_bt.equations.tilt`). The policy sees features alone, never the account nor what it said before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.brain.legs.base import View, Wish
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES
from hybrid_bt.equations.tilt import TiltParams, tilt_bars
from hybrid_bt.errors import PolicyError

FloatArray = NDArray[np.float64]

SECONDS_PER_CELL = 1e-6  # of a bar x symbol, interpreted


class AssetPolicy(Protocol):
    """Anything that maps (n, features) observations to (n,) actions."""

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]: ...


class SacLeg:
    """A wish for each asset, long, of shares that sum to one; symbols that are not warm get 0, symbols without a bar
    keep their action. Without a policy it is inverse volatility.
    """

    Params = TiltParams

    def __init__(
        self,
        symbols: Sequence[str],
        pairs: Sequence[tuple[int, int]],
        params: TiltParams,
        policy: AssetPolicy | None = None,
    ) -> None:
        self.params, self.policy, self._seen = params, policy, seen_by(policy, ASSET_FEATURES)
        self.actions, self.scores = [0.0] * len(symbols), [0.0] * len(symbols)

    def wishes(self, view: View) -> list[Wish]:
        """One for each asset."""
        asked = [i for i, (warm, traded) in enumerate(zip(view.warm, view.traded, strict=True)) if warm and traded]
        if asked and self.policy is not None:
            rows = np.array([view.features[i] for i in asked])[:, self._seen]
            answers = checked_actions(self.policy, self.policy.act(rows), len(rows))
            for i, action in zip(asked, answers.tolist(), strict=True):
                self.actions[i] = action
        shares = [0.0] * len(self.actions)
        tilt_bars([shares], self.scores, [self.actions], [view.volatility], [view.warm], self.params)
        return [Wish((i,), (share,)) for i, share in enumerate(shares)]

    def wishes_of_bars(self, views: View) -> tuple[list[tuple[int]], FloatArray]:
        """All symbols, and what is wanted of them, (T, N); a policy without memory is asked once."""
        asked, policy = views.warm & views.traded, self.policy
        actions = np.tile(np.array(self.actions), (len(asked), 1))
        if policy is not None and asked.any():
            if policy.is_recurrent:  # type: ignore[attr-defined]
                raise PolicyError("the policy has a memory; ask it bar by bar")
            said = np.zeros(asked.shape)
            said[asked] = checked_actions(policy, policy.act(views.features[asked][:, self._seen]), int(asked.sum()))
            last = np.maximum.accumulate(np.where(asked, np.arange(len(asked))[:, None], -1), axis=0)
            actions = np.where(last >= 0, np.take_along_axis(said, np.maximum(last, 0), 0), actions)
        shares, self.scores = tilted(actions, self.scores, views.volatility, views.warm, self.params)
        self.actions = actions[-1].tolist()
        return [(i,) for i in range(asked.shape[1])], shares


def tilted(
    actions: FloatArray, scores: list[float], volatility: FloatArray, warm: NDArray[np.bool_], params: TiltParams
) -> tuple[FloatArray, list[float]]:
    """`tilt.tilt_bars` of arrays (T, N), and the scores behind them."""
    shares, after = np.zeros(actions.shape), list(scores)
    if choose(None, actions.size * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.panel import tilt_all

        return shares, tilt_all(shares, after, actions, volatility, warm, params)
    rows = [[0.0] * len(after) for _ in actions]
    tilt_bars(rows, after, actions.tolist(), volatility.tolist(), warm.tolist(), params)
    return np.array(rows), after


def inverse_volatility(volatility: FloatArray, warm: NDArray[np.bool_]) -> FloatArray:
    """The base without a tilt, (T, N)."""
    return tilted(np.zeros(volatility.shape), [0.0] * volatility.shape[1], volatility, warm, TiltParams(0.0, 0.0))[0]


class Gate:
    """Regime score of each bar, +1 trend and -1 mean reversion; neutral until the market's features are warm.

    It sees market features only, never targets or the account, so its scores do not depend on costs, weights or limits
    and can be recorded once. Where the policy fails, its memory is put back to what it was before, if it can be.
    """

    def __init__(self, policy: AssetPolicy) -> None:
        self.policy, self._seen = policy, seen_by(policy, MARKET_FEATURES)

    def score(self, view: View) -> float:
        """R in [-1, 1] at this close."""
        if not view.market_warm:
            return 0.0
        scores: list[float] = self._asked(self.policy.act, np.array([view.market])[:, self._seen]).tolist()
        return min(max(scores[0], -1.0), 1.0)

    def scores_of_bars(self, views: View) -> NDArray[np.float64]:
        """R of many bars, (T,): the same bits; where it raises, the memory is as it was before."""
        scores = np.zeros(len(views.market))
        warm = views.market_warm
        if warm.any():
            policy: Any = self.policy
            scores[warm] = np.clip(self._asked(policy.run, views.market[warm][:, self._seen]), -1.0, 1.0)
        return scores

    def _asked(self, ask: Callable[[FloatArray], ArrayLike], observations: NDArray[np.float64]) -> NDArray[np.float64]:
        policy: Any = self.policy
        before = policy.state() if hasattr(policy, "restore") else None
        try:
            return checked_actions(policy, ask(observations), len(observations))
        except Exception:
            if before is not None:
                policy.restore(before)
            raise


def seen_by(policy: object, names: Sequence[str]) -> list[int] | slice:
    """Columns that a policy observes: of a frozen one those in its manifest, in its order, of any other all."""
    columns = policy.columns_in(names) if hasattr(policy, "columns_in") else None
    return slice(None) if columns is None or columns == [*range(len(names))] else columns


def checked_actions(policy: object, actions: ArrayLike, rows: int) -> FloatArray:
    """Actions (rows,) as a policy may give them.

    Raises
    ------
    PolicyError
        For another shape, a NaN or infinite action, or one outside the policy's range (-1 to 1 where it names none).
    """
    found: FloatArray = np.asarray(actions, dtype=np.float64)
    if found.shape != (rows,):
        raise PolicyError(f"{rows} rows gave actions of shape {found.shape}")
    manifest = getattr(policy, "manifest", None)
    low, high = float(getattr(manifest, "action_low", -1.0)), float(getattr(manifest, "action_high", 1.0))
    for action in found.tolist():
        if not low <= action <= high:  # NaN is within no range
            raise PolicyError(f"action {action!r} is outside [{low:g}, {high:g}]")
    return found
