"""A market: prices under a name, and the pairs among its symbols."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars, Moment
from hybrid_bt.errors import ConfigError, did_you_mean


@dataclass(frozen=True, eq=False)
class Market:
    """Prices under a name, and the pairs that the Kalman leg trades on them.

    Parameters
    ----------
    name : str
        What results call it.
    bars : Bars
    pairs : sequence of str, or text "Y:X,..."
        The dependent and the hedge asset of each; none by default, which leaves the Kalman leg idle.
    pairs_found : bool
        Whether a rule chose them: few carry little then (`Config.with_pairs_found`).

    Raises
    ------
    ConfigError
        If a pair is not `Y:X`, names an unknown symbol or one symbol twice, or comes twice.

    Examples
    --------
    >>> bars = load_bars("us20", symbols=["KO", "PEP"])
    >>> Market("drinks", bars, pairs="KO:PEP").columns
    [(0, 1)]
    """

    name: str
    bars: Bars
    pairs: tuple[str, ...] = ()
    pairs_found: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", names_of(self.pairs))
        resolve_pairs(self.pairs, self.bars.symbols)

    def until(self, end: Moment) -> Market:
        """The same market up to a moment, included."""
        return replace(self, bars=self.bars.between(None, end))

    @property
    def columns(self) -> list[tuple[int, int]]:
        """Columns (y, x) of each pair."""
        return resolve_pairs(self.pairs, self.bars.symbols)


#: where markets trade; of others nobody knows, so they are taken to be everywhere
COUNTRIES = {"us20": "US", "tech6": "US", "nyse_o": "US", "nyse_n": "US", "sp500": "US", "djia": "US", "tse": "CA"}


def may_teach(bars: Bars, left_out: Bars, reach_bars: int) -> NDArray[np.bool_]:
    """Rows (T,) of one market that may teach what is judged on another: all of another country's, none of the same
    country's that lie in its span, or whose labels reach into it from `reach_bars` before."""
    here, there = COUNTRIES.get(bars.name), COUNTRIES.get(left_out.name)
    rows = np.ones(bars.n_bars, dtype=np.bool_)
    if here is None or there is None or here == there:
        first = int(np.searchsorted(bars.stamps, left_out.stamps[0])) - reach_bars
        rows[max(first, 0) : np.searchsorted(bars.stamps, left_out.stamps[-1], "right")] = False
    return rows


def names_of(pairs: str | Iterable[str | Sequence[str]]) -> tuple[str, ...]:
    """Names out of several of them, or out of a text with commas; two in a tuple or list are a pair, `Y:X`.

    Raises
    ------
    ConfigError
        For anything else.
    """
    if isinstance(pairs, str):
        return tuple(name.strip() for name in pairs.split(",") if name.strip())
    if not isinstance(pairs, Iterable):
        raise ConfigError(f"{pairs!r} is no names; give a text with commas or a list of texts")
    return tuple(one if isinstance(one, str) else _joined(one) for one in pairs)


def _joined(sides: Sequence[str]) -> str:
    if isinstance(sides, (tuple, list)) and len(sides) == 2 and all(isinstance(side, str) for side in sides):
        return ":".join(sides)
    raise ConfigError(f"{sides!r} is no name; give texts, and of a pair 'Y:X' or ('Y', 'X')")


def resolve_pairs(pairs: Sequence[str], symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Columns (y, x) of pairs named `Y:X`.

    Raises
    ------
    ConfigError
        If a name is not `Y:X`, names an unknown symbol, the same symbol twice, or comes twice.
    """
    columns = {symbol: i for i, symbol in enumerate(symbols)}
    found: list[tuple[int, int]] = []
    for name in pairs:
        sides = _sides(name, columns)
        for side in sides:
            if side not in columns:
                hint = did_you_mean(side, symbols)
                raise ConfigError(f"pair {name!r}: symbol {side!r} is not among those traded{hint}")
        pair = columns[sides[0]], columns[sides[1]]
        if pair[0] == pair[1]:
            raise ConfigError(f"pair {name!r}: a symbol cannot hedge itself; name two symbols")
        if pair in found or pair[::-1] in found:
            raise ConfigError(f"pair {name!r} comes twice (in either order); name each pair once")
        found.append(pair)
    return found


def _sides(name: str, symbols: Collection[str]) -> tuple[str, str]:
    """Y and X of `Y:X`; a symbol may hold colons itself where that leaves one reading only."""
    parts = name.split(":")
    cuts = [(":".join(parts[:i]), ":".join(parts[i:])) for i in range(1, len(parts))]
    known = [cut for cut in cuts if cut[0] in symbols and cut[1] in symbols]
    if len(known) > 1:
        readings = " or ".join(f"{y!r} against {x!r}" for y, x in known)
        raise ConfigError(f"pair {name!r} can be read as {readings}; give the feeds other names")
    if not known and (len(cuts) != 1 or not all(parts)):
        raise ConfigError(f"pair {name!r}: write Y:X, for example KO:PEP")
    return (known or cuts)[0]
