"""Intervals by the bootstrap, of accounts over time and of scores over seeds; and bootstrapped bars.

Accounts: the stationary block bootstrap (`blocks`). All accounts are drawn on the same bars, so the interval of a
difference is that of paired results.

Seeds: the interquartile mean and its stratified bootstrap interval. The mean of the middle half is steadier than the
mean of all and less wasteful than the median. Runs are drawn anew within each column (a window, a market), never
across. Source: Agarwal, R. et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS
34, section 4.

Bars: other histories that the same market might have had. Whole rows are drawn in the same way: what happened to all
symbols on a bar stays together. A row is a bar relative to the symbol's last close: its return, and the distances of
open, high and low from its own close. So low <= open, close <= high holds in every scenario as in the data, gaps keep
their size, and a symbol that missed a bar misses it wherever that bar is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.flows import marked_close
from hybrid_bt.account.metrics import FloatArray, Measure
from hybrid_bt.bars import Bars
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.blocks import RowArray, block_length, next_rows, stationary_rows
from hybrid_bt.files.texts import real_minus

LEVEL = 0.95
N_RESAMPLES, SEED_RESAMPLES = 1000, 2000
TRIMMED = 0.25  #: of the scores over seeds, from either end
UNKNOWN = "unknown"  #: what a sentence says where a table leaves a cell empty
FEWEST_BARS = 20  #: below this no block length can be estimated


class Interval(NamedTuple):
    """An estimate and the percentile interval of its resamples."""

    estimate: float
    low: float
    high: float

    def text(self, *, percent: bool = False, plus: bool = False) -> str:
        """`0.89 [0.33, 1.45]`, with a real minus, and none before zero; empty where there is no value."""
        if math.isnan(self.estimate):
            return ""
        scale, unit, digits = (100.0, " %", 1) if percent else (1.0, "", 2)
        estimate, low, high = (figure(scale * value, digits) for value in self)
        sign = "+" if plus and not estimate.startswith(real_minus("-")) else ""
        return f"{sign}{estimate}{unit} [{low}, {high}]"

    def said(self, *, percent: bool = False, plus: bool = False) -> str:
        """The same within a sentence."""
        return self.text(percent=percent, plus=plus) or UNKNOWN

    def verdict(self, better: str, worse: str) -> str:
        """Of a difference: an interval above 0 shows `better`, one below it `worse`, any other neither."""
        if self.low > 0.0:
            return f"there is evidence that {better}"
        return f"there is evidence {worse}" if self.high < 0.0 else f"no evidence that {better}"


def figure(value: float, digits: int = 2) -> str:
    """Fixed digits, a real minus, and none before zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0.0 else real_minus(text)


class Draws(NamedTuple):
    """Resampled measures of K series."""

    names: tuple[str, ...]  #: K
    estimates: dict[str, FloatArray]  #: measure -> (K,), on the series as they are
    resamples: dict[str, FloatArray]  #: measure -> (R, K)
    block_bars: float  #: mean length of a block

    def interval(self, measure: str, name: str) -> Interval:
        """Percentile interval of one series."""
        column = self.names.index(name)
        return percentile_interval(self.estimates[measure][column], self.resamples[measure][:, column])

    def difference(self, measure: str, name: str, other: str) -> Interval:
        """Percentile interval of `name` less `other`, drawn on the same bars."""
        a, b = self.names.index(name), self.names.index(other)
        estimate, draws = self.estimates[measure], self.resamples[measure]
        return percentile_interval(estimate[a] - estimate[b], draws[:, a] - draws[:, b])


def percentile_interval(estimate: float, draws: FloatArray) -> Interval:
    """An estimate between the quantiles of its resamples that leave `LEVEL` of those that have a value."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Interval(float(estimate), math.nan, math.nan)
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return Interval(float(estimate), float(low), float(high))


def bootstrap(
    returns: Mapping[str, FloatArray], measures: Mapping[str, Measure], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Draws:
    """Resample simple returns of accounts on the same bars.

    Parameters
    ----------
    returns : account -> (T,)
    measures : measure -> function of (T, K)
        See `hybrid_bt.account.metrics.measures`.

    Raises
    ------
    ConfigError
        With fewer than `FEWEST_BARS` bars.
    """
    table = np.column_stack(list(returns.values()))
    if len(table) < FEWEST_BARS:
        raise ConfigError(
            f"bootstrap: {len(table)} returns are too few for an interval; give at least {FEWEST_BARS} bars"
        )
    length, n, rng = block_length(table), len(table), np.random.default_rng(seed)
    found = {name: np.empty((n_resamples, table.shape[1])) for name in measures}
    for row in range(n_resamples):
        starts = rng.integers(n, size=n)
        drawn = table[next_rows(starts, rng.random(n) <= 1.0 / max(round(length), 1))]
        for name, measure in measures.items():
            found[name][row] = measure(drawn)
    return Draws(tuple(returns), {name: measure(table) for name, measure in measures.items()}, found, length)


def interquartile_mean(scores: FloatArray) -> float:
    """Mean of the middle half of all scores, of any shape."""
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(scores, dtype=np.float64).ravel(), TRIMMED))


def interquartile_mean_interval(scores: FloatArray, *, seed: int = 0) -> Interval:
    """The interquartile mean and the percentile interval of its stratified resamples.

    Parameters
    ----------
    scores : ndarray of shape (seeds,) or (seeds, tasks)
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(table), size=(SEED_RESAMPLES, *table.shape))
    drawn = np.take_along_axis(table[None], picks, axis=1).reshape(SEED_RESAMPLES, -1)
    drawn.sort(axis=1)
    cut = int(TRIMMED * drawn.shape[1])
    means = drawn[:, cut : drawn.shape[1] - cut].mean(axis=1)
    return percentile_interval(interquartile_mean(table), means)


def bootstrap_bars(bars: Bars, n_scenarios: int, *, seed: int = 0, block_bars: float | None = None) -> list[Bars]:
    """Resample a panel.

    Parameters
    ----------
    bars : Bars
        T bars of N symbols; the panels have the same stamps, symbols, first row and shape. Stamps do not move with the
        rows: interest is charged by the calendar that is kept.
    n_scenarios : int
    seed : int
        The same seed gives the same panels; the first ones do not depend on how many are drawn.
    block_bars : float, optional
        Mean length of a block; by default `block_length` of the returns.

    Returns
    -------
    list of Bars, `n_scenarios` long
        For `hybrid_bt.account.replay.replay(targets, panel)`; targets of a strategy that reads prices
        have to be made on each panel.

    Raises
    ------
    ConfigError
        For fewer than 20 bars, no scenario, a block shorter than a bar, or a symbol without a bar on the first row.
    """
    if bars.n_bars < FEWEST_BARS:
        raise ConfigError(f"bootstrap: {bars.n_bars} bars are too few; give at least {FEWEST_BARS}")
    if n_scenarios < 1:
        raise ConfigError(f"bootstrap: at least one scenario, not {n_scenarios}")
    if not bars.traded[0].all():
        late = bars.symbols[int(np.argmin(bars.traded[0]))]
        raise ConfigError(f"bootstrap: {late} has no bar on the first row; begin where all symbols have one")
    last = marked_close(bars.close)
    returns = np.where(bars.traded[1:], np.log(last[1:] / last[:-1]), np.nan)
    length = block_length(np.nan_to_num(returns)) if block_bars is None else float(block_bars)
    if not length >= 1.0:
        raise ConfigError(f"bootstrap: a block lasts at least one bar, not {block_bars}")
    shapes = {field: getattr(bars, field)[1:] / bars.close[1:] for field in ("open", "high", "low")}
    rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(n_scenarios))
    drawn = (stationary_rows(rng, len(returns), length) for rng in rngs)
    return [_scenario(bars, returns, shapes, rows, number) for number, rows in enumerate(drawn)]


def _scenario(bars: Bars, returns: FloatArray, shapes: dict[str, FloatArray], rows: RowArray, number: int) -> Bars:
    drawn = returns[rows]
    close = bars.close.copy()
    close[1:] = np.where(np.isnan(drawn), np.nan, bars.close[0] * np.exp(np.cumsum(np.nan_to_num(drawn), axis=0)))
    prices = {}
    for field, shape in shapes.items():
        prices[field] = getattr(bars, field).copy()
        prices[field][1:] = close[1:] * shape[rows]
    volume = bars.volume.copy()
    volume[1:] = bars.volume[1:][rows]
    return replace(bars, name=f"{bars.name} bootstrap {number}", close=close, volume=volume, findings=(), **prices)
