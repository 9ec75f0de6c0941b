"""How a model in training does on bars that it does not learn from: net, under the mode's own limits.

A validation reads what the model would have said bar by bar, previous action and LSTM carried, and trades it on paper
by `hybrid_bt.replay_legs`. It draws no random number, so a training that is watched ends with the same weights as one
that is not. Choosing among checkpoints by it makes its bars in-sample: the manifest names them, and a run refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, instant
from hybrid_bt.config import Config
from hybrid_bt.features import CLIP
from hybrid_bt.fusion import FusionParams
from hybrid_bt.history import MarketHistory
from hybrid_bt.leg_replay import constant_weight, replay_legs
from hybrid_bt.legs.sac import exposure
from hybrid_bt.metrics import max_drawdown, sharpe
from hybrid_bt.records import Decisions, LegPaths

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import SAC

__all__ = ["Evaluation", "GateValidation", "SacValidation", "Score", "rows_after", "sac_targets"]

FloatArray = NDArray[np.float64]

RUN_IN_BARS = 252  #: bars before the span on which the policy's previous action settles


class Score(NamedTuple):
    """Of an account on the validation span, net of costs."""

    net_pnl: float  #: currency
    sharpe: float  #: per year; NaN for an account that never moved
    max_drawdown: float  #: fraction <= 0

    @property
    def rank(self) -> float:
        """What the best checkpoint has most of."""
        return -math.inf if math.isnan(self.sharpe) else self.sharpe


class Evaluation(NamedTuple):
    """A score and when it was reached."""

    step: int  #: environment steps so far
    score: Score


class SacValidation(NamedTuple):
    """The SAC leg alone, as in a run's account `sac`."""

    history: MarketHistory  #: run-in and validation bars
    first: int  #: row of the first decision that counts
    config: Config

    @classmethod
    def of(cls, history: MarketHistory, after: date, config: Config) -> SacValidation:
        """On the bars of a history that lie behind a date."""
        first = rows_after(history.bars, after)
        start = max(first - RUN_IN_BARS, 0)
        return cls(
            MarketHistory(history.bars.between(history.bars.stamps[start]), *_cut(history, start)),
            first - start,
            config,
        )

    def score(self, model: SAC) -> Score:
        """Of a model's deterministic actions."""

        return self.score_together([model])

    def score_together(self, models: Sequence[SAC]) -> Score:
        """Of the mean of several models' actions: an ensemble."""

        def act(observations: NDArray[np.float32]) -> FloatArray:
            actions = [model.predict(observations, deterministic=True)[0][:, 0].astype(np.float64) for model in models]
            mean: FloatArray = np.mean(actions, axis=0)
            return mean

        return self.score_targets(sac_targets(self.history, act, self.config))

    def reference(self) -> Score:
        """Of equal weight under the same limits, without learning: the hurdle."""
        warm = self.history.warm
        return self.score_targets(warm / np.maximum(warm.sum(axis=1, keepdims=True), 1))

    def score_targets(self, targets: FloatArray) -> Score:
        """Of any targets (T, N), the leg alone."""
        legs = _leg_paths(self.history, self.first, targets, np.zeros_like(targets), np.zeros(len(targets)))
        return _traded(legs, self.history.bars, self.first, self.config, constant_weight(1.0))


class GateValidation(NamedTuple):
    """The fused account on recorded legs, as in a run's account `hybrid`."""

    history: MarketHistory  #: all bars: an LSTM remembers from the first warm one on
    first: int
    config: Config
    sac: FloatArray  #: (T, N) targets of the SAC leg
    kalman: FloatArray  #: (T, N)
    base_regime: float
    waits: NDArray[np.bool_] | None = None  #: (T, N) of the recorded legs: both sides of a pair trade or neither

    @classmethod
    def of(cls, history: MarketHistory, after: date, config: Config, legs: Decisions, base: float) -> GateValidation:
        """On the bars of a history that lie behind a date."""
        return cls(
            history, rows_after(history.bars, after), config, legs.legs["sac"], legs.legs["kalman"], base, legs.waits
        )

    def score(self, model: RecurrentPPO) -> Score:
        """Of a model's deterministic scores."""
        return self.score_regime(self.regime_of([model]))

    def regime_of(self, models: Sequence[RecurrentPPO]) -> FloatArray:
        """(T,) mean r of several models: an ensemble."""
        mean: FloatArray = np.mean([_regime(model, self.history) for model in models], axis=0)
        return mean

    def reference(self) -> Score:
        """Of the best constant r of the training span."""
        return self.score_regime(np.full(self.history.bars.n_bars, self.base_regime))

    def score_regime(self, regime: FloatArray) -> Score:
        """Of any path of r, (T,)."""
        legs = _leg_paths(self.history, self.first, self.sac, self.kalman, regime, self.waits)
        return _traded(legs, self.history.bars, self.first, self.config, self.config.fusion_params())


def rows_after(bars: Bars, day: date) -> int:
    """Row of the first bar behind a day."""
    return int(np.searchsorted(bars.stamps, instant(day, whole=True), "right"))


def sac_targets(history: MarketHistory, act: Callable[[NDArray[np.float32]], FloatArray], config: Config) -> FloatArray:
    """Targets (T, N) of `hybrid_bt.legs.sac.SacLeg` from recorded features, the previous action being 0 at first."""
    unit = config.risk_unit()
    n_bars, n_symbols = history.bars.close.shape
    actions, targets = np.zeros(n_symbols), np.zeros((n_bars, n_symbols))
    asked = history.warm & history.bars.traded
    for t in range(n_bars):
        rows = np.flatnonzero(asked[t])
        if rows.size:
            seen = np.column_stack([history.assets[t, rows], np.clip(actions[rows], -CLIP, CLIP)]).astype(np.float32)
            actions[rows] = act(seen)
        n_warm = int(history.warm[t].sum())
        for i in np.flatnonzero(history.warm[t]).tolist():
            targets[t, i] = exposure(float(actions[i]), float(history.volatility[t, i]), unit) / n_warm
    return targets


def _regime(model: RecurrentPPO, history: MarketHistory) -> FloatArray:
    """(T,) r, the LSTM run over all warm bars in one call."""
    import torch

    policy: Any = model.policy
    warm = np.flatnonzero(history.market_warm)
    with torch.no_grad():
        hidden, _ = policy.lstm_actor(torch.as_tensor(history.market[warm])[:, None, :])
        mean = policy.action_net(policy.mlp_extractor.forward_actor(hidden[:, 0, :]))
    regime = np.zeros(history.bars.n_bars)
    regime[warm] = np.clip(mean[:, 0].numpy().astype(np.float64), -1.0, 1.0)
    return regime


def _cut(history: MarketHistory, start: int) -> list[Any]:
    return [array[start:] for array in history[1:]]


def _leg_paths(
    history: MarketHistory,
    first: int,
    sac: FloatArray,
    kalman: FloatArray,
    regime: FloatArray,
    waits: NDArray[np.bool_] | None = None,
) -> LegPaths:
    nobody = np.zeros(kalman.shape, np.bool_) if waits is None else waits
    market = history.volatility[first:], history.correlation[first:]
    return LegPaths(sac[first:], kalman[first:], regime[first:], *market, nobody[first:])


def _traded(legs: LegPaths, bars: Bars, first: int, config: Config, fusion: FusionParams) -> Score:
    path = replay_legs(
        legs,
        bars.between(bars.stamps[first]),
        fusion=fusion,
        risk=config.risk_params(),
        cash=config.account.cash,
        costs=config.trading_costs(),
        rules=config.order_rules(),
    )
    equity = path.equity
    return Score(
        float(equity[-1] - equity[0]), float(sharpe(equity, config.bars_per_year)), float(max_drawdown(equity))
    )
