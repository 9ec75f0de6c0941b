"""Cerebros of the hybrid, and what they must agree on."""

from __future__ import annotations

import itertools
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from brain_cases import PAIRS

from hybrid_bt.analyzers import Ledger
from hybrid_bt.bars import Bars
from hybrid_bt.strategies import HybridStrategy

EXACTBARS = (False, 1, -1, -2)


MODES = [
    dict(zip(("runonce", "preload", "exactbars"), values, strict=True))
    for values in itertools.product((True, False), (True, False), EXACTBARS)
]


def pandas_feeds(bars: Bars) -> list[Any]:
    feeds = []
    for i, symbol in enumerate(bars.symbols):
        rows = bars.traded[:, i]
        columns = {name: getattr(bars, name)[rows, i] for name in ("open", "high", "low", "close", "volume")}
        frame = pd.DataFrame(columns, index=pd.DatetimeIndex(bars.stamps[rows]))
        feeds.append(bt.feeds.PandasData(dataname=frame, name=symbol))
    return feeds


def assert_same_decisions(strategy: Any, wanted: Any) -> None:
    mine, theirs = strategy.recorder.decisions(), wanted.decisions()
    for name in ("regime", "fused", "target", "scale"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
    assert all(np.array_equal(mine.legs[leg], theirs.legs[leg]) for leg in mine.legs)
    assert np.array_equal(strategy.recorder.pairs().zscore, wanted.pairs().zscore, equal_nan=True)


def cerebro_of(feeds: Any, **modes: Any) -> Any:
    cerebro = bt.Cerebro(**{"stdstats": False, **modes})
    for feed in feeds:
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    return cerebro


def ran(cerebro: Any, **params: Any) -> Any:
    cerebro.addstrategy(HybridStrategy, **{"pairs": PAIRS, "record": True, **params})
    cerebro.addanalyzer(Ledger, _name="ledger")
    return cerebro.run()[-1]


def fills_of(strategy: Any) -> Any:
    return strategy.analyzers.ledger.path().fills
