"""The look-ahead audit: whatever was known at a bar must not move when later bars are cut off or altered.

trace         what a run left behind, bar by bar, and where two runs part
replays       one run against many futures and in other run modes; what was found, as table and JSON
cerebros      a trace out of any Backtrader strategy, in every feed class and run mode
watch         brain and risk manager under watch: recursions, features, LSTM state, decisions, documents
stack         this package's own stack, with Backtrader and without it
user          anybody's strategy

`check_leg`, here, is the audit of a leg alone: the checks that this package's own legs are tested by.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.brain.hybrid import checked_wishes
from hybrid_bt.brain.legs.base import Leg, View
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import LegMaker
from hybrid_bt.config.own_parts import registered
from hybrid_bt.equations.bundles import layout_of, net_into
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import LegError

SYMBOLS, PAIRS = ("AA", "BB", "CC", "DD"), [(0, 1), (2, 0)]
AFTER = 100  #: bars behind the warm-up
MISSING = 0.05  #: share of bars that a symbol does not have
CUTS = (1, AFTER // 2, AFTER - 1)  #: bars behind the warm-up from which the future is altered


def check_leg(maker: str | LegMaker, config: Config | None = None, seed: int = 0) -> None:
    """Drive a leg over random prices with gaps and a late listing, and refuse it where it breaks its contract.

    Wishes for symbols that are there, with finite amounts, on every bar, also on one without any prices; two legs of
    one maker answer alike and do not share memory; nothing before a bar changes when prices from that bar on do.

    Parameters
    ----------
    maker : str or callable
        Name of a registered leg, which has its default `Params`, or what `legs={"sac": maker}` takes: (symbols, pairs
        as columns (y, x), config) -> leg.
    config : Config, optional
        The stable mode's by default.

    Raises
    ------
    LegError
        The first promise that is broken, and on which bar. What the leg itself raises is not caught.
    """
    config = config or load_config("stable")
    maker = registered(maker) if isinstance(maker, str) else maker
    closes = _closes(seed)
    whole, again = _answers(maker, config, closes), _answers(maker, config, closes, beside=True)
    _check_alike("differs from run to run: let nothing random or shared decide", whole, again)
    for cut in CUTS:
        row, altered = WARMUP_BARS + cut, closes.copy()
        altered[row:] = 3.0 * altered[row:] ** 1.3
        seen = _answers(maker, config, altered)[:row]
        _check_alike(f"depends on prices from bar {row} on: read this and earlier views only", whole[:row], seen)


def _closes(seed: int) -> FloatArray:
    """(T, N) walks with gaps; the last symbol begins late, and one bar has nobody."""
    rng = np.random.default_rng(seed)
    shape = (WARMUP_BARS + AFTER, len(SYMBOLS))
    closes: FloatArray = 50.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.01, shape), axis=0))
    closes[rng.random(shape) < MISSING] = np.nan
    closes[:30, -1] = np.nan
    closes[WARMUP_BARS + AFTER // 4] = np.nan
    closes[0, :-1] = 50.0
    return closes


def _made(maker: LegMaker, config: Config) -> tuple[MarketReader, Any]:
    reader = MarketReader(len(SYMBOLS), PAIRS, [config.kalman_params] * len(PAIRS), config.spread_params)
    return reader, maker(SYMBOLS, list(PAIRS), config)


def _answers(maker: LegMaker, config: Config, closes: FloatArray, *, beside: bool = False) -> FloatArray:
    """(T, N) checked targets; `beside` another leg of the same maker that sees other prices between them."""
    (reader, leg), (other_reader, other) = _made(maker, config), _made(maker, config)
    found = []
    for t, row in enumerate(closes.tolist()):
        if beside:
            _targets(other, other_reader.read([1.0 + 1.0 / close for close in row]), t)
        found.append(_targets(leg, reader.read(row), t))
    return np.array(found)


def _targets(leg: Leg, view: View, t: int) -> list[float]:
    try:
        wishes, targets = checked_wishes(leg.wishes(view), len(SYMBOLS)), [0.0] * len(SYMBOLS)
        net_into(targets, [side for wish in wishes for side in wish.amounts], layout_of([[w.columns for w in wishes]]))
        return targets
    except LegError as error:
        raise LegError(f"leg: bar {t}: {error}") from None


def _check_alike(what: str, one: FloatArray, other: FloatArray) -> None:
    rows = np.flatnonzero((one != other).any(axis=1))
    if rows.size:
        raise LegError(f"leg: the answer on bar {rows[0]} {what}")
