"""Random panels and small deterministic policies that tests of the brain share."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies
from hybrid_bt.config.task import Case, prepare
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.features import OBSERVATIONS

SYMBOLS = ("AA", "BB", "CC", "DD", "EE", "FF")
PAIRS = ("AA:BB", "CC:AA")
ACTIVE = {"kalman": {"entry_z": 1.0}}  #: pairs that trade often enough to be seen on a few hundred bars


def random_bars(
    n_bars: int = 400,
    n: int = 4,
    *,
    seed: int = 0,
    start: str = "2011-01-03",
    missing: float = 0.0,
    late: int = 0,
) -> Bars:
    """A panel of cointegrated walks on consecutive days.

    `missing` is the share of cells without a bar, `late` the row on which the last symbol begins. Row 0 is whole.
    """
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.normal(0.0003, 0.01, (n_bars, 1)), axis=0)
    gap = np.zeros((n_bars, n))
    for t in range(1, n_bars):
        gap[t] = 0.9 * gap[t - 1] + rng.normal(0.0, 0.01, n)
    close = rng.uniform(20.0, 120.0, n) * np.exp(common + gap)
    opens = close * np.exp(rng.normal(0.0, 0.004, close.shape))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0.0, 0.002, close.shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0.0, 0.002, close.shape)))
    gone = rng.random(close.shape) < missing
    gone[0] = gone[:, 0] = False
    gone[:late, n - 1] = True
    for values in (opens, high, low, close):
        values[gone] = np.nan
    stamps = np.datetime64(start, "ns") + np.arange(n_bars) * np.timedelta64(1, "D")
    return Bars.checked("random", SYMBOLS[:n], stamps, close, open=opens, high=high, low=low)


def targets_of(leg: Any, view: Any) -> list[float]:
    """What a leg's wishes come to for each symbol."""
    targets = [0.0] * len(view.traded)
    for columns, amounts in leg.wishes(view):
        for column, amount in zip(columns, amounts, strict=True):
            targets[column] += amount
    return targets


def opinions_of(legs: dict[str, Any], history: Any, risk: float = 0.01) -> Opinions:
    """Wishes (T, N) of symbols that each stand alone, on bars whose volatility, correlation and warmth are known."""
    n_bars, n = history.volatility.shape
    return Opinions(
        tuple(legs),
        layout_of([[(i,) for i in range(n)]] * len(legs)),
        np.hstack(list(legs.values())),
        np.zeros(n * len(legs)),
        np.full((n_bars, len(legs)), risk),
        np.zeros(n_bars),
        history.volatility,
        history.correlation,
        history.warm,
    )


def with_rows(bars: Bars, rows: Any) -> Bars:
    """The panel's rows, a slice."""
    fields = ("open", "high", "low", "close", "volume")
    return Bars(bars.name, bars.symbols, bars.stamps[rows], *(getattr(bars, field)[rows] for field in fields))


def altered_from(bars: Bars, row: int) -> Bars:
    """The same panel up to `row`, every price tripled, then squared in size, from there on."""
    prices = {field: getattr(bars, field).copy() for field in ("open", "high", "low", "close")}
    for values in prices.values():
        values[row:] = 3.0 * values[row:] ** 1.3
    return Bars(bars.name, bars.symbols, bars.stamps, **prices, volume=bars.volume)


class TiltPolicy:
    """Stands in for a frozen SAC: a squashed linear function of the observation."""

    clipped_count = 0

    def __init__(self, seed: int = 0) -> None:
        self.weights = np.random.default_rng(seed).normal(0.0, 0.4, len(OBSERVATIONS["sac"]))

    def act(self, observations: Any) -> Any:
        return np.array([np.tanh(float(np.sum(row * self.weights))) for row in observations])

    def reset(self) -> None:
        """Nothing to forget."""


class MemoryPolicy:
    """Stands in for a frozen gate: a leaky sum of what it has seen, so that a memory that leaks shows."""

    clipped_count = 0

    def __init__(self, seed: int = 1) -> None:
        self.weights = np.random.default_rng(seed).normal(0.0, 0.4, len(OBSERVATIONS["gate"]))
        self.memory = 0.0

    def act(self, observations: Any) -> Any:
        self.memory = 0.8 * self.memory + float(np.sum(observations[0] * self.weights))
        return np.array([np.tanh(self.memory)])

    def reset(self) -> None:
        self.memory = 0.0


def stand_ins() -> Policies:
    """Policies without a file behind them."""
    sac: Any = TiltPolicy()
    gate: Any = MemoryPolicy()
    return Policies(sac, gate)


def stack_of(bars: Bars, config: Config, policies: Policies | None = None) -> Case:
    """What `hybrid-bt audit` looks at: nothing is traded, and the bars per year are not settled yet."""
    market = Market("random", bars, PAIRS)
    task = prepare(market, config=config, allow_in_sample=True)._replace(config=config)
    return task if policies is None else task._replace(policies=policies)
