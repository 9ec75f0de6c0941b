"""Tracks: the bars that an environment runs over, with what is known at each close; and where an episode begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import instant
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.history import MarketHistory


class Span(NamedTuple):
    """Rows on which an episode may begin and end: first <= row <= last."""

    first: int
    last: int


class AssetTrack(NamedTuple):
    """The bars of one asset on which it traded, and what is known at each close."""

    symbol: str
    observations: NDArray[np.float32]  #: (T, features) as `legs.sac.OBSERVATION`, with 0 for the previous action
    volatility: list[float]  #: (T,) per bar
    opens: list[list[float]]  #: (T, 1)
    closes: list[list[float]]  #: (T, 1)
    days: list[int]  #: (T,)
    span: Span


def asset_tracks(
    history: MarketHistory, start: str | np.datetime64, end: str | np.datetime64, least_close: float = 0.0
) -> list[AssetTrack]:
    """One track per symbol that has warm bars between two dates, both included.

    Parameters
    ----------
    least_close : float
        A symbol is used from the bar after its last close below this price: prices that were rounded to some decimals
        are coarse while they are small.
    """
    bars = history.bars
    tracks = []
    for i, symbol in enumerate(bars.symbols):
        traded = np.flatnonzero(bars.traded[:, i])
        stamps = bars.stamps[traded]
        inside = (stamps >= instant(start)) & (stamps <= instant(end)) & history.warm[traded, i]
        coarse = np.flatnonzero(inside & (bars.close[traded, i] < least_close))
        if coarse.size:
            inside[: coarse[-1] + 1] = False
        rows = np.flatnonzero(inside)
        if rows.size < 2:
            continue
        tracks.append(
            AssetTrack(
                symbol,
                np.pad(history.assets[traded, i], ((0, 0), (0, 1))),
                history.volatility[traded, i].tolist(),
                bars.open[traded, i : i + 1].tolist(),
                bars.close[traded, i : i + 1].tolist(),
                stamps.astype("datetime64[D]").astype(np.int64).tolist(),
                Span(int(rows[0]), int(rows[-1])),
            )
        )
    if not tracks:
        raise BarsError(
            f"training: no symbol has warm bars between {start} and {end}; choose an earlier start or more data"
        )
    return tracks


class PortfolioTrack(NamedTuple):
    """A market of N assets that one account trades."""

    symbols: tuple[str, ...]
    features: NDArray[np.float32]  #: (T, F), of every asset and of the market
    volatility: NDArray[np.float64]  #: (T, N) per bar
    correlation: NDArray[np.float64]  #: (T,)
    opens: NDArray[np.float64]  #: (T, N), NaN where a symbol has no bar
    closes: NDArray[np.float64]  #: (T, N), likewise
    days: NDArray[np.int64]  #: (T,)
    span: Span

    @property
    def symbol(self) -> str:
        """All of them, for messages."""
        return ", ".join(self.symbols)


def portfolio_track(history: MarketHistory, start: str | np.datetime64, end: str | np.datetime64) -> PortfolioTrack:
    """All symbols of a panel, with episodes on bars between two dates, both included, from where all symbols are warm.

    Features are `features.ASSET_FEATURES` of each symbol in turn, then `features.MARKET_FEATURES`.
    """
    bars = history.bars
    inside = (bars.stamps >= instant(start)) & (bars.stamps <= instant(end)) & history.warm.all(axis=1)
    rows = np.flatnonzero(inside)
    if rows.size < 2:
        raise BarsError(
            f"portfolio: all of {', '.join(bars.symbols)} are warm on {rows.size} bars between {start} and {end}; "
            "choose an earlier start, more data or fewer symbols"
        )
    return PortfolioTrack(
        bars.symbols,
        np.hstack([history.assets.reshape(bars.n_bars, -1), history.market]),
        history.volatility,
        history.correlation,
        bars.open,
        bars.close,
        bars.stamps.astype("datetime64[D]").astype(np.int64),
        Span(int(rows[0]), int(rows[-1])),
    )


class Episode(NamedTuple):
    """Where an episode runs."""

    track: int
    first: int  #: row of the first decision
    last: int  #: row that it is cut at


def draw_episode(
    rng: np.random.Generator,
    tracks: Sequence[AssetTrack | PortfolioTrack],
    episode_bars: int | None,
    options: Mapping[str, Any],
) -> Episode:
    """A random asset and start, or `options["track"]` and `options["row"]`; every episode has at least one step."""
    drawn = rng.integers(len(tracks))
    number = int(options.get("track", drawn))
    if not 0 <= number < len(tracks):
        raise ConfigError(f"episode: there is no track {number}; there are {len(tracks)}")
    span = tracks[number].span
    if episode_bars is None:
        first, length = int(options.get("row", span.first)), span.last
    else:
        drawn = rng.integers(span.first, max(span.last - episode_bars, span.first) + 1)
        first, length = int(options.get("row", drawn)), episode_bars
    if not span.first <= first < span.last:
        raise ConfigError(f"episode: row {first} of {tracks[number].symbol} is not in its span {tuple(span)}")
    return Episode(number, first, min(span.last, first + length))
