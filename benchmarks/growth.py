"""Time and peak memory as the data grows, each point in a process of its own.

    python -m benchmarks.growth replay N_BARS N_SYMBOLS | event N_BARS N_SYMBOLS | minutes PATH

prints the seconds of CPU that the work took after loading and compiling, and the MB that the bars themselves take.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.histories import History, write_history
from benchmarks.measure import Bound, Row, in_process
from benchmarks.panels import START_CASH, random_panel, symbols_of
from hybrid_bt.bars import Bars

__all__ = ["growth", "minutes"]

MINUTES = 288_000  #: bars; 22 MB of two symbols
LENGTHS = (2_000, 20_000, 200_000, 1_000_000)
WIDTHS = (2, 20, 100, 500)
BARS_OF_WIDTHS = 2_000
MILLION_SECONDS, MILLION_MB, MINUTES_MB = 2.0, 1_024.0, 250.0


def _replay(bars: Bars) -> float:
    from hybrid_bt.account.replay import replay

    rng = np.random.default_rng(0)
    targets = np.full(bars.close.shape, np.nan)
    rows = np.arange(0, bars.n_bars, 20)  # an order per asset every 20 bars
    targets[rows] = rng.uniform(-0.4, 0.4, (len(rows), bars.n_symbols)) / bars.n_symbols
    few = bars.between(bars.stamps[0], bars.stamps[99])
    replay(targets[:100], few, compiled=True)  # compiles
    before = time.process_time()
    replay(targets, bars, cash=START_CASH, compiled=True)
    return time.process_time() - before


def _event(bars: Bars) -> float:
    import backtrader as bt

    from hybrid_bt.feeds import to_feeds
    from hybrid_bt.strategies import HybridStrategy

    pairs = [f"{y}:{x}" for y, x in zip(bars.symbols[::2], bars.symbols[1::2], strict=False)][:10]
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed)
    cerebro.addstrategy(HybridStrategy, mode="stable", pairs=pairs, allow_in_sample=True)
    before = time.process_time()
    cerebro.run()
    return time.process_time() - before


def minute_bars(path: Path) -> Bars:
    """The file's bars, and a second leg that reverts to the first.

    High and low are widened where the file has them inside open and close, which checked bars refuse.
    """
    import pandas as pd

    frame = pd.read_csv(path, parse_dates=["date"]).sort_values("date")
    first = frame[["open", "high", "low", "close"]].to_numpy()
    rng = np.random.default_rng(0)
    gap, gaps = 0.0, []
    for shock in rng.normal(0.0, 2e-4, len(frame)).tolist():
        gap = 0.999 * gap + shock
        gaps.append(gap)
    second = 0.5 * first * np.exp(gaps)[:, np.newaxis]
    panel = np.stack([first, second], axis=1)
    names = path.stem.split("_")[0], "second"
    prices: dict[str, Any] = {"open": panel[:, :, 0], "high": panel.max(axis=2), "low": panel.min(axis=2)}
    return Bars.checked("minutes", names, frame["date"].to_numpy().astype("M8[ns]"), panel[:, :, 3], **prices)


def point(arguments: list[str]) -> None:
    """One measurement, in this process."""
    kind, *size = arguments
    if kind == "minutes":
        bars, work = minute_bars(Path(size[0])), _event
    else:
        bars = random_panel(int(size[0]), int(size[1]), "1m")
        work = {"replay": _replay, "event": _event}[kind]
    megabytes = 5 * bars.close.nbytes / 2**20
    print(work(bars), megabytes, bars.n_bars)


def _row(kind: str, size: list[str], what: str, bound: Bound, most: float = math.nan) -> list[Row]:
    took = in_process(["-m", "benchmarks.growth", kind, *size])
    seconds, megabytes, n_bars = map(float, took.printed.split())
    note = f"{seconds / n_bars * 1e6:.2f} us/bar, peak {took.peak:.0f} MB, bars {megabytes:.0f} MB"
    rows = [Row(what, "s", seconds, "", math.nan, bound, note)]
    if most == most:
        rows.append(Row(f"{what}, peak memory", "MB", took.peak, "", math.nan, Bound("figure", most)))
    return rows


def growth(quick: bool) -> list[Row]:
    """T from 2,000 to 1,000,000 bars of 2 assets; N from 2 to 500 assets over 2,000 bars."""
    none = Bound("figure", math.nan)
    rows = []
    for n_bars in LENGTHS[:1] if quick else LENGTHS:
        bounds = (Bound("figure", MILLION_SECONDS), MILLION_MB) if n_bars == LENGTHS[-1] else (none,)
        rows += _row("replay", [str(n_bars), "2"], f"replay, {n_bars:,} bars x 2 assets", *bounds)
    for n_symbols in () if quick else WIDTHS:
        rows += _row("replay", [str(BARS_OF_WIDTHS), str(n_symbols)], f"replay, 2,000 bars x {n_symbols} assets", none)
    for n_bars, n_symbols in () if quick else ((2_000, 2), (20_000, 2), (2_000, 20), (2_000, 100), (500, 500)):
        size = [str(n_bars), str(n_symbols)]
        rows += _row("event", size, f"event path, {n_bars:,} bars x {n_symbols} assets", none)
    return rows


def minutes(path: str | None) -> list[Row]:
    """A file of one-minute bars, or made-up ones, with a synthetic second leg, through Cerebro."""
    none, what = Bound("figure", math.nan), "event path, one-minute bars, 2 assets"
    if path is not None:
        return _row("minutes", [path], what, none, MINUTES_MB)
    with tempfile.TemporaryDirectory() as folder:
        made = History(MINUTES, 1)
        write_history(made, Path(folder, "data"))
        return _row("minutes", [f"{folder}/data/{symbols_of(1)[0]}.csv"], what, none, MINUTES_MB)


if __name__ == "__main__":
    point(sys.argv[1:])
