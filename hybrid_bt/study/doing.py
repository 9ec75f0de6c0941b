"""How a study is done: the spans on which it trades, its cells run, its findings written."""

from __future__ import annotations

import os
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from hybrid_bt.console import progress_bar
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.files import whole_folder

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.study.findings import Findings, Plan

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


def perform(plan: Plan, out: Path, *, backend: str, n_jobs: int) -> Findings:
    """Run the cells of a plan, those of an earlier study aside, and weigh them."""
    from hybrid_bt.study.findings import study
    from hybrid_bt.study.schedule import Store

    if out.exists() and not out.is_dir():
        raise ConfigError(f"study: {out} is a file; give a folder with --out")
    store = Store(out / "cells")
    with progress_bar(f"study of {plan.bars.name}, {plan.mode}") as bar:
        return study(plan, store, backend=backend, n_jobs=n_jobs, progress=bar)


def write_study(found: Findings, out: Path) -> list[Path]:
    """Write the page, the tables and the pictures, all of them or none."""
    from hybrid_bt.study.page import page
    from hybrid_bt.study.pictures import write_pictures
    from hybrid_bt.study.tables import TABLES
    from hybrid_bt.texts import csv_of_rows

    with whole_folder(out, tuple(TABLES)) as folder:
        pictures = write_pictures(found, folder)
        for table, rows in TABLES.items():
            (folder / table).write_text(csv_of_rows(rows(found)), encoding="utf-8", newline="")
        (folder / "study.html").write_text(page(found, pictures), encoding="utf-8", newline="")
        return [out / name for name in sorted(os.listdir(folder))]
