"""How a model in training does on bars that it does not learn from: net, under the mode's own limits.

A validation reads what the model would have said bar by bar, previous action and LSTM carried, and trades it on paper
as the account of that name (`account.registry`). It draws no random number, so a training that is watched ends with
the same weights as one that is not. Whoever chooses by it makes its bars in-sample: the manifest names them, and a run
refuses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from datetime import date
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.conditional import read_regime
from hybrid_bt.account.metrics import max_drawdown, sharpe
from hybrid_bt.account.registry import Panel, account
from hybrid_bt.bars import Bars, instant
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.legs.sac import inverse_volatility, tilted
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import MarketHistory, read_panel
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, build
from hybrid_bt.envs import history_of
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.features import ASSET_FEATURES, CLIP, MARKET_FEATURES
from hybrid_bt.files.texts import plain
from hybrid_bt.train.ground import REGIME_SEES

FloatArray = NDArray[np.float64]
Model: TypeAlias = Any  #: of Stable-Baselines3, whose types are imported inside functions

SHIFTS = (0.2, 0.4, 0.6, 0.8)  #: of the span, by which r is moved in time


class Score(NamedTuple):
    """Of an account on the validation span, net of costs."""

    net_pnl: float  #: currency
    sharpe: float  #: per year; NaN for an account that never moved
    max_drawdown: float  #: fraction <= 0


class Evaluation(NamedTuple):
    """A score and when it was reached."""

    step: int  #: environment steps so far
    score: Score


@dataclass(frozen=True)
class Validation(ABC):
    """One account on the bars of a history from some row on."""

    history: MarketHistory
    first: int  #: row of the first decision that counts
    config: Config

    account: ClassVar[str]  #: its name in a run
    against: ClassVar[str] = ""  #: in a reading, the Sharpe ratio that the account's own is to be held against

    @property
    def bars(self) -> Bars:
        """Of the whole market."""
        return self.history.bars

    @abstractmethod
    def answers(self, models: Sequence[Model]) -> FloatArray:
        """What models say on all bars, the mean of several: an ensemble."""

    @abstractmethod
    def reference(self) -> Score:
        """Of answers without learning, under the same limits."""

    @abstractmethod
    def opinions(self, answers: FloatArray) -> Opinions:
        """Answers on all bars, as legs and gate would have given them."""

    def reading(self, models: Sequence[Model]) -> dict[str, Any]:
        """What else a manifest says of the answers."""
        return {}

    def score(self, models: Sequence[Model]) -> Score:
        """Of deterministic answers."""
        return self.score_of(self.answers(models))

    def score_of(self, answers: FloatArray) -> Score:
        """Of any answers."""
        bars, said = self.history.bars, self.opinions(answers).rows(slice(self.first, None))
        panel = Panel(bars.between(bars.stamps[self.first]), said, self.config.terms())
        equity = account(panel, self.account).equity
        rate = self.config.risk.bars_per_year
        return Score(float(equity[-1] - equity[0]), float(sharpe(equity, rate)), float(max_drawdown(equity)))


@dataclass(frozen=True)
class SacValidation(Validation):
    """The SAC leg alone; an answer is shares (T, N), the reference inverse volatility."""

    account = "sac"

    @classmethod
    def on(cls, market: Market, config: Config, spec: object, after: date | None) -> SacValidation:
        """A market, from behind a day on or from where it is warm."""
        history = history_of(market.bars, market.pairs, config)
        return cls(history, first_row(history, after), config)

    def answers(self, models: Sequence[Model]) -> FloatArray:
        history, params = self.history, self.config.tilt_params
        rows = history.assets.reshape(-1, history.assets.shape[-1])
        said = [model.predict(rows, deterministic=True)[0].astype(np.float64) for model in models]
        actions = np.mean(said, axis=0).reshape(history.warm.shape)
        return tilted(actions, [0.0] * actions.shape[1], history.volatility, history.warm, params)[0]

    def reference(self) -> Score:
        return self.score_of(inverse_volatility(self.history.volatility, self.history.warm))

    def opinions(self, answers: FloatArray) -> Opinions:
        return opinions_of_assets("sac", answers, self.history)


@dataclass(frozen=True)
class GateValidation(Validation):
    """The fused account where the base is tilted by the reversal of a week: what a SAC that learnt it would say.

    An answer is a path of r (T,), the reference r = 0.
    """

    legs: Opinions  #: on all bars

    account, against = "hybrid", "sharpe_of_own_mean"

    @classmethod
    def on(cls, market: Market, config: Config, spec: object, after: date | None) -> GateValidation:
        """As `SacValidation.on`."""
        history = history_of(market.bars, market.pairs, config)
        return cls(history, first_row(history, after), config, reversal_legs(history, market.pairs, config))

    def answers(self, models: Sequence[Model]) -> FloatArray:
        return np.asarray(np.mean([self._path(model) for model in models], axis=0))

    def _path(self, model: Model) -> FloatArray:
        """(T,) r, the LSTM run over all warm bars in one call."""
        import torch

        history, regime = self.history, np.zeros(self.history.bars.n_bars)
        warm = np.flatnonzero(history.market_warm)
        seen = history.market[warm][:, [MARKET_FEATURES.index(name) for name in REGIME_SEES]]
        with torch.no_grad():
            hidden, _ = model.policy.lstm_actor(torch.as_tensor(seen)[:, None, :])
            mean = model.policy.action_net(model.policy.mlp_extractor.forward_actor(hidden[:, 0, :]))
        regime[warm] = np.clip(mean[:, 0].numpy().astype(np.float64), -1.0, 1.0)
        return regime

    def reference(self) -> Score:
        return self.score_of(np.zeros(self.history.bars.n_bars))

    def opinions(self, answers: FloatArray) -> Opinions:
        return with_changes(self.legs, regime=answers)

    def reading(self, models: Sequence[Model]) -> dict[str, Any]:
        """What r says, and its Sharpe ratio beside those of the constant with its own mean, and of r from other days:
        only what it gains over both is timing."""
        r = self.answers(models)
        of = r[self.first :]
        still = np.full(len(r), of.mean())
        shifted = [r.copy() for _ in SHIFTS]
        for path, part in zip(shifted, SHIFTS, strict=True):
            path[self.first :] = np.roll(of, int(part * len(of)))
        seen = self.history.market[self.first :].astype(np.float64)
        return {
            "regime": plain(read_regime(of, seen, MARKET_FEATURES)._asdict()),
            "sharpe": self.score_of(r).sharpe,
            "sharpe_of_own_mean": self.score_of(still).sharpe,
            "sharpe_shifted": float(np.mean([self.score_of(path).sharpe for path in shifted])),
        }


class Reversal:
    """Stands where a SAC policy would: minus the return of a week less the market's."""

    is_recurrent = False

    def act(self, observations: FloatArray) -> FloatArray:
        """(rows, features) to (rows,)."""
        column = observations[:, ASSET_FEATURES.index("relative_5")]
        return np.asarray(-np.clip(column / CLIP, -1.0, 1.0))

    run = act

    def reset(self) -> None:
        """Nothing is remembered."""


def reversal_legs(history: MarketHistory, pairs: Sequence[str], config: Config) -> Opinions:
    """What the legs say on all bars where SAC is the reversal of a week."""
    sac: Any = Reversal()
    brain = build(config, history.bars.symbols, pairs, Policies(sac, None))
    return opinions(brain, read_panel(history.bars.close, brain.reader))


def first_row(history: MarketHistory, after: date | None) -> int:
    """Row of the first bar behind a day, or of the first warm one."""
    return int(np.argmax(history.market_warm)) if after is None else rows_after(history.bars, after)


def rows_after(bars: Bars, day: date) -> int:
    """Row of the first bar behind a day."""
    return int(np.searchsorted(bars.stamps, instant(day, whole=True), "right"))


def opinions_of_assets(name: str, wishes: FloatArray, history: MarketHistory) -> Opinions:
    """One leg that wishes (T, N) of the symbols of a history, and a neutral gate."""
    n_bars, blank = len(wishes), np.zeros((len(wishes), 0))
    seen = history.volatility, history.correlation, history.warm
    return Opinions((), layout_of([]), blank, np.zeros(0), blank, np.zeros(n_bars), *seen).with_base(name, wishes)
