"""Cerebros over a panel, in every feed class and run mode, with a probe inside."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hybrid_bt.audit.probe import Probe
from hybrid_bt.audit.trace import Trace
from hybrid_bt.bars import Bars
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies.framework import bt

Fill = Callable[[Any, Bars], None]  #: puts a strategy into a Cerebro


class RunMode(NamedTuple):
    """How Cerebro runs."""

    runonce: bool = True
    preload: bool = True
    exactbars: int = 0  #: 0 keeps everything, 1 as little as possible

    def __str__(self) -> str:
        return f"runonce={self.runonce} preload={self.preload} exactbars={self.exactbars}"


DEFAULT = RunMode()  #: Backtrader's own
RUN_MODES = tuple(RunMode(*values) for values in itertools.product((True, False), (True, False), (0, 1, -1, -2)))


def array_feeds(bars: Bars) -> list[Any]:
    """This package's own feeds."""
    return list(to_feeds(bars))


def pandas_feeds(bars: Bars) -> list[Any]:
    """Backtrader's PandasData; bars on which a symbol did not trade are left out."""
    feeds = []
    for i, symbol in enumerate(bars.symbols):
        rows = bars.traded[:, i]
        prices = {name: getattr(bars, name)[rows, i] for name in ("open", "high", "low", "close", "volume")}
        frame = pd.DataFrame(prices, index=pd.DatetimeIndex(bars.stamps[rows]))
        feeds.append(bt.feeds.PandasData(dataname=frame, name=symbol))
    return feeds


FEEDS: dict[str, Callable[[Bars], list[Any]]] = {"ArrayFeed": array_feeds, "PandasData": pandas_feeds}


def run(
    fill: Fill, bars: Bars, mode: RunMode = DEFAULT, feed: str = "ArrayFeed", *, cash: float = 1e6, own: bool = False
) -> Trace:
    """Trace of one run; an exception of the strategy ends it and stands in the trace.

    Parameters
    ----------
    fill : callable
        `fill(cerebro, bars)` adds the strategy, and whatever it needs beside the feeds of `bars`.
    own : bool
        Of this package: an exception is a bug and is not caught.
    """
    modes = mode._asdict() | {"stdstats": not own}  # Backtrader's own observers repeat what the probe reads
    cerebro = bt.Cerebro(**modes)
    cerebro.broker.setcash(cash)
    for data in FEEDS[feed](bars):
        cerebro.adddata(data, name=data._name)
    sink: list[Probe] = []
    cerebro.addanalyzer(Probe, sink=sink)
    fill(cerebro, bars)
    error: Exception | None = None
    try:
        cerebro.run()
    except Exception as raised:  # a stranger's strategy may raise anything, and where it does is evidence
        if own:
            raise
        error = raised
    if sink:
        return sink[0].trace(error)
    said = "" if error is None else f"raised {type(error).__name__}: {error}"
    return Trace((), np.empty((0, 0)), np.empty(0, "M8[ns]"), error=said or "no bar was run")
