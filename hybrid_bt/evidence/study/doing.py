"""How a study is done: the spans on which it trades, its cells run, its findings written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.account.conditional import Condition
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.files import whole_folder
from hybrid_bt.account.metrics import Summary
from hybrid_bt.evidence.study.findings import Findings, Plan, study
from hybrid_bt.evidence.study.page import page
from hybrid_bt.evidence.study.pictures import write_pictures
from hybrid_bt.evidence.study.schedule import COST_LEVELS_BPS, HURDLES, Store, execute
from hybrid_bt.files.texts import csv_of_rows

Row = tuple[object, ...]
MEASURES = ("sharpe", "cagr", "max_drawdown", "volatility", "sortino")
RATIOS = ("psr", "dsr", "track_record_years")
SHOWN = ("sharpe", "cagr", "max_drawdown", "volatility", "turnover_per_year", "costs")
LEAST_BARS = 40  #: of a window; statistics of fewer bars say nothing


class Window(NamedTuple):
    """Rows of a panel, both ends included."""

    name: str
    first: int  #: row of the first decision
    last: int
    train_start: date  #: for policies that are trained for this window
    train_end: date


def split(
    bars: Bars,
    first: int,
    n_windows: int,
    *,
    scheme: Literal["anchored", "rolling"] = "anchored",
    purge_bars: int = 1,
    embargo_bars: int = 5,
) -> list[Window]:
    """Cut the bars from row `first` on into windows of equal length that follow one another.

    Parameters
    ----------
    scheme : anchored or rolling
        Training begins on the first bar of all, or moves on with the windows, as long as for the first of them.
    purge_bars : int
        Bars at the end of training whose rewards reach beyond it: a reward is earned over the next bar, so 1.
    embargo_bars : int
        Bars left out between training and window.

    Raises
    ------
    BarsError
        If the windows would be shorter than `LEAST_BARS`, or nothing lies before the first one.
    """
    rows = bars.n_bars - first
    if n_windows < 1 or rows // n_windows < LEAST_BARS:
        raise BarsError(
            f"study: {rows} bars give {n_windows} windows of {rows // max(n_windows, 1)}; "
            f"{LEAST_BARS} bars a window are the least, so ask for fewer windows or give a longer history"
        )
    gap = purge_bars + embargo_bars
    if first - gap < 1:
        raise BarsError(f"study: {first} bars before the first window, purge and embargo take {gap}; start later")
    edges = np.linspace(first, bars.n_bars, n_windows + 1).astype(int).tolist()
    days = bars.stamps.astype("datetime64[D]")
    found = []
    for begin, end in pairwise(edges):
        train_first = 0 if scheme == "anchored" else begin - first
        name, taught = f"{days[begin]} to {days[end - 1]}", (days[train_first], days[begin - 1 - gap])
        found.append(Window(name, begin, end - 1, *(day.item() for day in taught)))
    return found


def perform(
    plan: Plan, out: Path, *, backend: str, n_jobs: int, progress: Callable[[int, int], None] | None
) -> Findings:
    """Run the cells of a plan, those of an earlier study aside, and weigh them; `progress(done, of)` is told."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"study: {out} is a file; give a folder with --out")
    store = Store(out / "cells")
    return study(plan, partial(execute, store=store, backend=backend, n_jobs=n_jobs, progress=progress))


def _ablation(found: Findings) -> Iterator[Row]:
    measured = [f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high")]
    less = [f"sharpe_less_{hurdle}{part}" for hurdle in HURDLES for part in ("", "_low", "_high")]
    yield "account", *measured, *less, "turnover_per_year", "costs", *RATIOS
    for name, summary in found.summaries.items():
        ratios = found.ratios.get(name, {})
        yield (
            name,
            *(value for measure in MEASURES for value in found.draws.interval(measure, name)),
            *(value for hurdle in HURDLES for value in found.draws.difference("sharpe", name, hurdle)),
            summary.turnover_per_year,
            summary.costs,
            *(ratios.get(key, math.nan) for key in RATIOS),
        )


def _windows(found: Findings) -> Iterator[Row]:
    yield "window", "start", "end", "account", *SHOWN
    for number, (window, summaries) in enumerate(found.windows):
        start, end = window.name.split(" to ")
        for name, summary in summaries.items():
            yield number, start, end, name, *_shown(summary)


def _seeds(found: Findings) -> Iterator[Row]:
    yield "seed", "account", *SHOWN
    for seed in found.seeds:
        yield seed.number, seed.account, *_shown(seed.summary)
    for (account, measure), value in found.interquartile.items():
        yield f"IQM of windows {measure}", account, *value


def _costs(found: Findings) -> Iterator[Row]:
    yield "bps_per_side", "account", *SHOWN
    for name, summaries in found.costs.items():
        for bps, summary in zip(COST_LEVELS_BPS, summaries, strict=True):
            yield bps, name, *_shown(summary)
    for name, bps in found.break_even.items():
        yield bps, f"{name} breaks even", *("" for _ in SHOWN)


def _conditions(found: Findings) -> Iterator[Row]:
    yield Condition._fields
    yield from found.conditions


def _cells(found: Findings) -> Iterator[Row]:
    yield "cell", "failure"
    yield from found.failures.items()


def _shown(summary: Summary) -> Row:
    return tuple(getattr(summary, name) for name in SHOWN)


#: file name -> its rows, the header first
TABLES: dict[str, Callable[[Findings], Iterator[Row]]] = {
    "ablation.csv": _ablation,
    "windows.csv": _windows,
    "seeds.csv": _seeds,
    "costs.csv": _costs,
    "conditional.csv": _conditions,
    "failures.csv": _cells,
}


def write_study(found: Findings, out: Path) -> list[Path]:
    """Write the page, the tables and the pictures, all of them or none."""
    with whole_folder(out, tuple(TABLES)) as folder:
        pictures = write_pictures(found, folder)
        for table, rows in TABLES.items():
            (folder / table).write_text(csv_of_rows(rows(found)), encoding="utf-8", newline="")
        (folder / "study.html").write_text(page(found, pictures), encoding="utf-8", newline="")
        return [out / name for name in sorted(os.listdir(folder))]
