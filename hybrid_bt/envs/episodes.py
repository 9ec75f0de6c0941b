"""Tracks: the bars that an environment runs over, with what is known at each close; and where an episode begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, instant
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.observing import OF_ASSET, OF_PORTFOLIO, OF_REGIME, Observation, observed
from hybrid_bt.brain.reader import MarketHistory, MarketReader, read_history
from hybrid_bt.brain.records import Opinions
from hybrid_bt.config import Config
from hybrid_bt.equations.bundles import Layout
from hybrid_bt.equations.fusion import Line, legs_traded
from hybrid_bt.equations.waiting import tied_rows, together_rows, waiting_rows
from hybrid_bt.errors import BarsError, ConfigError, check_names

Day = str | np.datetime64
FloatArray = NDArray[np.float64]

OPTIONS = ("track", "row")  #: of `reset`
LEAST_BARS = 3  #: of a track: a decision, its fill, and the open up to which it earns


def reader_of(symbols: Sequence[str], pairs: Sequence[str], config: Config) -> MarketReader:
    """What an environment's features are read by, bar by bar; pairs are `Y:X`."""
    columns = resolve_pairs(pairs, symbols)
    return MarketReader(len(symbols), columns, [config.kalman_params] * len(columns), config.spread_params)


def history_of(bars: Bars, pairs: Sequence[str], config: Config) -> MarketHistory:
    """Features of all bars under a configuration."""
    return read_history(bars, reader_of(bars.symbols, pairs, config))


class Span(NamedTuple):
    """Rows on which an episode may begin and end: first <= row <= last; its last reward looks at the row behind."""

    first: int
    last: int


class Track(NamedTuple):
    """T bars of the N assets of one account, and what is known at each close."""

    symbols: tuple[str, ...]
    features: NDArray[np.float32]  #: (T, F)
    volatility: FloatArray  #: (T, N) per bar
    correlation: FloatArray  #: (T,)
    opens: FloatArray  #: (T, N), NaN where a symbol has no bar
    closes: FloatArray  #: (T, N), likewise
    days: NDArray[np.int64]  #: (T,)
    span: Span
    said: FloatArray = np.zeros((0, 0))  #: of a regime: (T, S + K) wishes side by side, and how risky each leg is
    layout: Layout = Layout((), (), ())  #: of those sides
    waits: tuple[NDArray[np.bool_], ...] = ()  #: of a regime: (T, N) whether a symbol waits for another
    lines: tuple[Line, ...] = ()  #: of a regime: the legs' shares of risk at r = -1, 0 and +1
    sides: NDArray[np.int64] | tuple[()] = ()  #: (T, N) labels of what trades as one decision; none: each symbol alone

    @property
    def symbol(self) -> str:
        """All of them, for messages."""
        return ", ".join(self.symbols)


def asset_tracks(
    history: MarketHistory, start: Day, end: Day, least_close: float = 0.0, seen: Observation = OF_ASSET
) -> list[Track]:
    """One track per symbol that has warm bars between two dates, both included; on the bars on which it traded.

    Parameters
    ----------
    seen : Observation
        Features in the order of its names, here and in the other tracks.
    least_close : float
        A symbol is used from the bar after its last close below this price: prices that were rounded to some decimals
        are coarse while they are small.
    """
    bars, between, (assets, market, ready) = history.bars, _between(history, start, end), observed(history, seen)
    tracks = []
    for i, symbol in enumerate(bars.symbols):
        traded = np.flatnonzero(bars.traded[:, i])
        inside = between[traded] & history.warm[traded, i] & ready[traded, i]
        coarse = np.flatnonzero(inside & (bars.close[traded, i] < least_close))
        if coarse.size:
            inside[: coarse[-1] + 1] = False
        if np.count_nonzero(inside) >= LEAST_BARS:
            features = np.hstack([assets[traded, i], market[traded]])
            tracks.append(_track(history, (symbol,), features, inside, traded[:, None], [i]))
    if not tracks:
        raise BarsError(
            f"training: no symbol has warm bars between {start} and {end}; choose an earlier start or more data"
        )
    return tracks


def portfolio_track(history: MarketHistory, start: Day, end: Day, seen: Observation = OF_PORTFOLIO) -> Track:
    """All symbols of a panel, with episodes on bars between two dates, both included, from where all are warm."""
    who = f"portfolio: all of {', '.join(history.bars.symbols)} are"
    return _whole(who, history, np.all(history.warm, axis=1), start, end, seen)


def regime_track(
    history: MarketHistory, said: Opinions, lines: tuple[Line, ...], start: Day, end: Day, seen: Observation = OF_REGIME
) -> Track:
    """The market and what all legs said, with episodes between two dates, both included.

    `lines` are the legs' shares of risk, which say who waits for the other side of a pair as well.
    """
    track = _whole("regime: the market is", history, history.market_warm, start, end, seen)
    traded, layout = history.bars.traded, said.layout
    tied = tied_rows(said.amounts, said.before, layout, traded)
    together = together_rows(tied, layout, legs_traded(lines), history.bars.n_symbols)
    said_rows, waits = np.hstack([said.amounts, said.risks]), waiting_rows(traded, together)
    return track._replace(said=said_rows, layout=layout, waits=(waits,), lines=lines, sides=together)


def _whole(who: str, history: MarketHistory, warm: NDArray[np.bool_], start: Day, end: Day, seen: Observation) -> Track:
    """All symbols, with episodes on rows between two dates on which somebody is warm."""
    assets, market, ready = observed(history, seen)
    inside = _between(history, start, end) & warm & np.all(ready, axis=1)
    if (n := np.count_nonzero(inside)) < LEAST_BARS:
        raise BarsError(
            f"{who} warm on {n} bars between {start} and {end}; choose an earlier start, more data or fewer symbols"
        )
    features = np.hstack([*assets.swapaxes(0, 1), market])
    return _track(history, history.bars.symbols, features, inside)


def _between(history: MarketHistory, start: Day, end: Day) -> NDArray[np.bool_]:
    stamps = history.bars.stamps
    return (stamps >= instant(start)) & (stamps <= instant(end, whole=True))


def _track(
    history: MarketHistory,
    symbols: tuple[str, ...],
    features: NDArray[np.float32],
    inside: NDArray[np.bool_],
    rows: slice | NDArray[np.int64] = slice(None),
    columns: slice | list[int] = slice(None),
) -> Track:
    """Some rows and columns of a panel, with a span from the first row that is `inside` to the last but one."""
    bars, within = history.bars, np.flatnonzero(inside)
    return Track(
        symbols,
        features,
        history.volatility[rows, columns],
        history.correlation[rows].reshape(-1),
        bars.open[rows, columns],
        bars.close[rows, columns],
        bars.stamps[rows].reshape(-1).astype("datetime64[D]").astype(np.int64),
        Span(int(within[0]), int(within[-1]) - 1),
    )


def checked_tracks(tracks: Sequence[Track], mixes: bool) -> list[Track]:
    """Tracks of one shape, with recorded legs where an action mixes them; ConfigError for others."""
    if not tracks:
        raise ConfigError("environment: no track to trade on; give at least one")
    shapes = {(len(track.symbols), track.features.shape[1], str(track.layout), track.lines) for track in tracks}
    if len(shapes) > 1:
        raise ConfigError(
            f"environment: tracks differ in their assets, features or legs {sorted(shapes)}; make several"
        )
    if mixes and not tracks[0].waits:
        raise ConfigError("environment: a regime mixes recorded legs, and the track has none; see regime_track")
    for track in tracks:
        n, legs = len(track.days), len(track.layout.columns) + len(track.lines)
        wide = track.opens, track.closes, track.volatility, *track.waits, *([track.sides] if len(track.sides) else [])
        fits = {np.shape(part) for part in wide} == {(n, len(track.symbols))} and len(track.features) == n
        fits = fits and len(track.correlation) == n and np.shape(track.said) == ((n, legs) if legs else (0, 0))
        if not (fits and 0 <= track.span.first < track.span.last < n - 1):
            raise ConfigError(
                f"environment: parts of {track.symbol} are not of one shape, or the span {tuple(track.span)} does not "
                f"fit {n} rows; rewards look one row behind it"
            )
    return list(tracks)


class Episode(NamedTuple):
    """Where an episode runs."""

    track: int
    first: int  #: row of the first decision
    last: int  #: row that it is cut at


def seeded(seed: int | None) -> np.random.Generator:
    """Randomness as an environment that was reset with this seed has it."""
    return gym.utils.seeding.np_random(seed)[0]


def box(low: float, high: float, *shape: int) -> gym.spaces.Box:
    """Observations or actions between two ends."""
    return gym.spaces.Box(low, high, shape, np.float32)


def draw_episode(
    rng: np.random.Generator, tracks: Sequence[Track], episode_bars: int | None, options: Mapping[str, Any]
) -> Episode:
    """A random track and start, or `options["track"]` and `options["row"]`; every episode has at least one step.

    Raises
    ------
    ConfigError
        For options that there are not, that are no whole numbers, or that lie outside the tracks or a track's span.
    """
    check_names(options, OPTIONS, "episode: there is no option")
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ConfigError(f"episode: {name} must be a whole number, not {value!r}; leave it out to have one drawn")
    drawn = int(rng.integers(len(tracks)))
    number = int(options.get("track", drawn))
    if not 0 <= number < len(tracks):
        raise ConfigError(f"episode: there is no track {number}; there are {len(tracks)}, the first is 0")
    first, last = span = tracks[number].span
    if episode_bars is not None:
        drawn = int(rng.integers(first, max(last - episode_bars, first) + 1))
    row = int(options.get("row", first if episode_bars is None else drawn))
    if not first <= row < last:
        raise ConfigError(
            f"episode: row {row} of {tracks[number].symbol} is not in its span {tuple(span)}; "
            f"choose one from {first} to {last - 1}"
        )
    return Episode(number, row, last if episode_bars is None else min(last, row + episode_bars))
