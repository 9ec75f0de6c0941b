"""`run --no-plots` of long histories, whole: files read, traded by either engine, tables written; by the clock."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from benchmarks.commands import RUN
from benchmarks.measure import Bound, Row, in_process
from benchmarks.panels import symbols_of

__all__ = ["History", "histories", "write_history"]

MINUTES_A_DAY = 390


class History(NamedTuple):
    """A folder of CSV files, and what a run of it may take."""

    n_bars: int
    n_symbols: int
    is_daily: bool = False
    limits: Mapping[str, tuple[float, float]] = MappingProxyType({})  #: engine -> s, MB


HISTORIES = (
    History(530_000, 1, False, {"backtrader": (35.0, 500.0), "replay": (8.0, 400.0)}),
    History(1_000_000, 2, False, {"backtrader": (60.0, 600.0), "replay": (math.nan, math.nan)}),
    History(5_040, 500, True, {"backtrader": (30.0, 1_200.0), "replay": (15.0, math.nan)}),
)


def histories(quick: bool) -> list[Row]:
    """Seconds by the clock and peak memory of each history and engine."""
    rows = []
    for history in () if quick else HISTORIES:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "data")
            write_history(history, data)
            for engine, (seconds, megabytes) in history.limits.items():
                given = ["--data", str(data), "--no-plots", "--allow-in-sample", "--no-ledger", "--engine", engine]
                if history.n_symbols == 2:
                    given += ["--pairs", ":".join(symbols_of(2))]
                took = in_process([*RUN, "-q", *given, "--out", f"{folder}/fig"])
                kind = "days" if history.is_daily else "minute bars"
                what = f"run, {history.n_bars:,} {kind} x {history.n_symbols}, {engine}"
                spent = f"by the clock; CPU {took.cpu:.1f} s"
                rows.append(Row(what, "s", took.wall, "", math.nan, Bound("figure", seconds), spent))
                rows.append(Row(f"{what}, peak", "MB", took.peak, "", math.nan, Bound("figure", megabytes)))
    return rows


def write_history(history: History, folder: Path) -> None:
    """Walks that share most of their moves, as CSV with open, high, low, close and volume; sessions for minute bars."""
    folder.mkdir()
    n_bars, rng = history.n_bars, np.random.default_rng(0)
    sd = 0.01 if history.is_daily else 2e-4
    common = rng.normal(0.0, sd, n_bars).cumsum()
    n_days = n_bars if history.is_daily else -(-n_bars // MINUTES_A_DAY)
    days = np.datetime64("2000-01-03" if history.is_daily else "2012-01-02") + np.arange(n_days * 2)
    days = days[np.is_busday(days)][:n_days]
    opening = np.arange(570, 570 + MINUTES_A_DAY)  # 09:30
    stamps = days if history.is_daily else (days[:, None].astype("M8[m]") + opening).reshape(-1)[:n_bars]
    texts = [text.replace("T", " ") for text in np.datetime_as_string(stamps).tolist()]
    for symbol in symbols_of(history.n_symbols):
        close = 100.0 * np.exp(common + 0.3 * rng.normal(0.0, sd, n_bars).cumsum())
        opens = close * np.exp(rng.normal(0.0, 1e-4, n_bars))
        high, low = np.maximum(opens, close) * 1.0001, np.minimum(opens, close) * 0.9999
        columns = (column.tolist() for column in (opens, high, low, close))
        with (folder / f"{symbol}.csv").open("w", encoding="utf-8") as file:
            file.write("date,open,high,low,close,volume\n")
            for text, o, h, l, c in zip(texts, *columns, strict=True):  # noqa: E741
                file.write(f"{text},{o:.4f},{h:.4f},{l:.4f},{c:.4f},1000\n")
