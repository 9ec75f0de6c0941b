"""What an agent sees, as its author declares it: features by name, and one's own as pure steps.

The same step runs bar by bar in a strategy (`Observer`) and over a whole panel in an environment (`observed`), there
under numba where that is worth it and numba takes it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import count
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import FIELDS, Bars, say_stamp
from hybrid_bt.brain.legs.base import View
from hybrid_bt.brain.reader import FloatArray, MarketHistory, rounded
from hybrid_bt.equations import Written
from hybrid_bt.equations.compiled import have_numba
from hybrid_bt.equations.features import ASSET_FEATURES, MARKET_FEATURES
from hybrid_bt.errors import BarsError, ConfigError, Hint, check_names
from hybrid_bt.policies.manifest import ACCOUNT_FEATURES, portfolio_names

Singles = NDArray[np.float32]

OWN_SECONDS = 1.5e-6  # of a bar of a feature of one's own, interpreted
COMPILING_SECONDS = 1.0  # of one
ASSET_AXES = 2  #: of the bars of an asset
TRIED_BARS = 300  #: on which such a feature must be the same, compiled and interpreted


class Candle(NamedTuple):
    """A bar as a feature reads it: numbers of an asset that traded, or of the market arrays (N,) with NaN for prices
    and 0 for the volume of a symbol without a bar."""

    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any


class Feature(NamedTuple):
    """A causal number of one's own, clipped to +-5 as the others are.

    >>> def gap(before, bar):  # of the open, over the close before
    ...     return bar.close, 100.0 * (bar.open / before - 1.0)
    >>> Feature(gap, start=math.inf, warmup_bars=2).step(8.0, Candle(10.0, 11.0, 9.0, 10.5, 7.0))
    (10.5, 25.0)
    """

    step: Callable[[Any, Candle], tuple[Any, float]]  #: reads its arguments alone, and changes neither
    start: Any = ()  #: state before the first bar; for numba a number, or a tuple of numbers
    warmup_bars: int = 0  #: bars that the value is not finite for, or not to be used
    name: str = ""  #: by default that of the step

    def __str__(self) -> str:
        return self.name or getattr(self.step, "__name__", repr(self.step))


Named: TypeAlias = str | Feature | Callable[[Any, Candle], tuple[Any, float]]


class Observation(NamedTuple):
    """What an agent sees, by name: of each asset in turn, of the market, then what it holds of each asset.

    >>> Observation(asset=("relative_21",), market=("calm",), account=("weight",)).names(["KO", "PEP"])
    ['KO relative_21', 'PEP relative_21', 'calm', 'KO weight', 'PEP weight']
    """

    asset: tuple[Named, ...] = ()  #: of `features.ASSET_FEATURES`, or one's own, which read an asset's bars
    market: tuple[Named, ...] = ()  #: of `features.MARKET_FEATURES`, or one's own, which read all bars
    account: tuple[str, ...] = ()  #: of `ACCOUNT_FEATURES`

    def names(self, symbols: Sequence[str]) -> list[str]:
        """Of each number, in order."""
        return [*portfolio_names(symbols, *self.checked())]

    def checked(self) -> Observation:
        """Itself, of tuples, a function as a feature; ConfigError for none, or one that is not there or comes twice."""
        blocks: list[tuple[Any, ...]] = []
        for block, given, known in zip(self._fields, self, KNOWN, strict=True):
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise ConfigError(f"observation: {block} is {given!r}; give a tuple of features")
            blocks.append(tuple(Feature(one) if callable(one) else one for one in given))
            own = [one for one in blocks[-1] if isinstance(one, Feature)]
            named = [one for one in blocks[-1] if block == "account" or not isinstance(one, Feature)]
            check_names(named, known, f"observation: {block} has no feature")
            if bad := [one for one in own if not (callable(one.step) and type(n := one.warmup_bars) is int and n >= 0)]:
                raise ConfigError(f"observation: {bad[0]!r}; give a function, and a whole number of warmup_bars")
            if len({*(names := [*map(str, blocks[-1])])}) < len(names):
                raise ConfigError(f"observation: {block} names a feature twice: {', '.join(names)}")
        if not any(blocks):
            raise ConfigError("observation: there is nothing to be seen; name a feature")
        return Observation(*blocks)


KNOWN = ASSET_FEATURES, MARKET_FEATURES, ACCOUNT_FEATURES
OF_ASSET, OF_REGIME = Observation(ASSET_FEATURES), Observation((), MARKET_FEATURES)
OF_PORTFOLIO = Observation(ASSET_FEATURES, MARKET_FEATURES, ACCOUNT_FEATURES)


def features_of(step: Any, state: Any, rows: Any, values: Written) -> Any:  # noqa: ANN401  lists here, arrays compiled
    """Write the values of bars (T, 5) of an asset, or (T, 5, N) of the market; the state behind them."""
    for t in range(len(rows)):
        row = rows[t]
        state, values[t] = step(state, Candle(row[0], row[1], row[2], row[3], row[4]))
    return state


def _absorbed(feature: Feature, state: Any, rows: Any, values: Written) -> Any:  # noqa: ANN401  of any kind
    """`features_of`, interpreted; ConfigError where a step is none. What goes wrong inside it is its own."""
    try:
        return features_of(feature.step, state, rows, values)
    except (TypeError, ValueError) as error:
        inside = error.__traceback__ and error.__traceback__.tb_next
        if inside is not None and inside.tb_next is not None:
            raise
        rule = (
            f"feature {feature}: a step takes (state, bar) and gives (state, value), of which the value is one number"
        )
        raise ConfigError(f"{rule}; {error}") from error


class Observed(NamedTuple):
    """T bars of N symbols as an observation shows them; every row is known at its close."""

    assets: Singles  #: (T, N, features)
    market: Singles  #: (T, features)
    ready: NDArray[np.bool_]  #: (T, N) features of one's own have seen the bars that they need


def observed(history: MarketHistory, observation: Observation, *, compiled: bool | None = None) -> Observed:
    """All bars under an observation; a feature of one's own keeps its value where a symbol has no bar.
    ConfigError if there is no such feature, BarsError if one is not finite on a bar that it is ready on.
    """
    observation = observation.checked()
    own, (asset_block, market_block, _) = _owned(observation), observation
    bars, columns = history.bars, range(history.bars.n_symbols)
    compiled = bars.close.size * OWN_SECONDS > COMPILING_SECONDS if compiled is None else compiled
    panel = np.stack([getattr(bars, name) for name in FIELDS], axis=1) if any(own) else np.empty((bars.n_bars, 5, 0))
    each = [_values(bars, panel, own[0], i, compiled) for i in columns]
    market, market_ready = _values(bars, panel, own[1], None, compiled)
    return Observed(
        _seen(asset_block, ASSET_FEATURES, history.assets, np.stack([one for one, _ in each], axis=1)),
        _seen(market_block, MARKET_FEATURES, history.market, market),
        np.stack([ready for _, ready in each], axis=1) & market_ready[:, None],
    )


class Observer:
    """The same from one bar to the next, for `symbols`."""

    def __init__(self, observation: Observation, symbols: Sequence[str]) -> None:
        self.observation = observation.checked()
        own, self._owners = _owned(self.observation), [*symbols, "the market"]
        self._own = [*([own[0]] * len(symbols)), own[1]]  #: of each symbol, and of the market
        self._states = [[deepcopy(feature.start) for feature in mine] for mine in self._own]
        self._values, self._bars = [[0.0] * len(mine) for mine in self._own], [0] * len(self._own)
        self.has_own = any(own)  #: whether `read` looks at bars

    def read(self, bars: FloatArray) -> bool:
        """Absorb a bar, (5, N) open to volume with NaN where a symbol has none; whether all features are ready."""
        cell, is_ready = np.empty(1), True
        bars[4, np.isnan(bars[3])] = 0.0  # nothing is traded where there is no bar
        for i, mine in enumerate(self._own):
            is_market = i == len(self._own) - 1
            if mine and (is_market or bars[3, i] == bars[3, i]):
                self._bars[i] += 1
                row = bars if is_market else bars[:, i].tolist()
                for k, feature in enumerate(mine):
                    self._states[i][k] = _absorbed(feature, self._states[i][k], [row], cell)
                    self._values[i][k] = float(cell[0])
            is_ready = is_ready and all(self._bars[i] >= feature.warmup_bars for feature in mine)
        return is_ready

    def values(self) -> list[float]:
        """Of features of one's own, of each symbol, then of the market, once all are ready; BarsError for no number."""
        for owner, mine, values in zip(self._owners, self._own, self._values, strict=True):
            for feature, value in zip(mine, values, strict=True):
                if not math.isfinite(value):
                    raise _no_number(feature, owner, value)
        return [value for values in self._values for value in values]

    def see(self, view: View) -> Singles:
        """Features as an environment's: clipped, rounded, in the order of `Observation.names`; errors as `values`."""
        self.values()
        (asset_block, market_block, _), (*assets, market) = self.observation, self._values
        return np.append(
            _seen(asset_block, ASSET_FEATURES, rounded(view.features), np.array(assets)),
            _seen(market_block, MARKET_FEATURES, rounded(view.market), np.array(market)),
        )


def _owned(observation: Observation) -> list[list[Feature]]:
    """Features of one's own, of assets and of the market."""
    return [[one for one in block if isinstance(one, Feature)] for block in observation[:2]]


def _seen(block: Sequence[Named], known: Sequence[str], made: Singles, own: FloatArray) -> Singles:
    """Columns of a block in its order."""
    number = count(len(known))
    columns = [known.index(one) if isinstance(one, str) else next(number) for one in block]
    every: Singles = np.concatenate([made, rounded(own)], axis=-1)
    return every[..., np.array(columns, np.int64)]


def _values(
    bars: Bars, panel: FloatArray, own: Sequence[Feature], column: int | None, compiled: bool
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(T, features) of one's own, of a symbol or, without a column, of the market; and (T,) where they are ready."""
    has_bar = np.ones(bars.n_bars, np.bool_) if column is None else bars.traded[:, column]
    values, ready, seen = np.zeros((bars.n_bars, len(own))), np.ones(bars.n_bars, np.bool_), np.cumsum(has_bar)
    for k, feature in enumerate(own):
        known = _run(feature, panel if column is None else panel[has_bar, :, column], compiled)
        values[:, k] = np.append(known, 0.0)[seen - 1]  # before its first bar the 0 that stands last
        here = seen >= feature.warmup_bars
        if (bad := np.flatnonzero(here & ~np.isfinite(values[:, k]))).size:
            owner = "the market" if column is None else bars.symbols[column]
            raise _no_number(feature, owner, values[bad[0], k], f" on {say_stamp(bars.stamps[bad[0]])}")
        ready &= here
    return values, ready


def _no_number(feature: Feature, owner: str, value: float, when: str = "") -> BarsError:
    return BarsError(
        f"feature {feature} of {owner} is {float(value)!r}{when}, ready after {feature.warmup_bars} bars; give a "
        "finite number, or more warmup_bars"
    )


def _run(feature: Feature, rows: FloatArray, compiled: bool) -> FloatArray:
    """A feature over bars, (T, 5) or (T, 5, N)."""
    values, tried = np.empty(len(rows)), np.empty(min(len(rows), TRIED_BARS))
    listed = rows.tolist() if rows.ndim == ASSET_AXES else list(rows)  # numbers, which CPython reads faster, or arrays
    if len(rows) and compiled and have_numba():
        from hybrid_bt.equations.compiled.panel import observe_all

        bars = np.ascontiguousarray(rows)
        if observe_all(features_of, feature.step, f"feature {feature}", feature.start, bars, values):
            _absorbed(feature, deepcopy(feature.start), listed[:TRIED_BARS], tried)
            if np.array_equal(tried, values[:TRIED_BARS], equal_nan=True):
                return values
            warnings.warn(f"feature {feature}: numba rounds otherwise, so it runs as plain Python", Hint, stacklevel=2)
    _absorbed(feature, deepcopy(feature.start), listed, values)
    return values
