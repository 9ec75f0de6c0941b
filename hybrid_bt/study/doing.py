"""How a study is done: a plan from flags, the spans on which it trades, its cells run, its findings written."""

from __future__ import annotations

import os
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click
import numpy as np

from hybrid_bt.console import load_asked, progress_bar
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.files import whole_folder
from hybrid_bt.guard_notes import numbers_of
from hybrid_bt.trials import LEDGER

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.config import Config
    from hybrid_bt.study.findings import Findings, Plan

#: windows, seeds, resamples
PRESETS = {"quick": (4, 2, 200), "full": (10, 5, 1000)}
SAC_STEPS_PER_SECOND, PPO_STEPS_PER_SECOND = 4_000.0, 1_700.0  #: one thread; docs/research-log.md
START_SECONDS = 8.0  #: of a window: imports, features, freezing, recording
LEAST_BARS = 40  #: of a window; statistics of fewer bars say nothing


class Window(NamedTuple):
    """Rows of a panel, both ends included."""

    name: str
    first: int  #: row of the first decision
    last: int
    train_start: date  #: for policies that are trained for this window
    train_end: date


def make_plan(flags: dict[str, Any]) -> Plan:
    """From flags to a plan; errors as `hybrid-bt run` has them."""
    from dataclasses import replace

    from hybrid_bt.build import load_policies, training_end
    from hybrid_bt.config import load_config
    from hybrid_bt.feeds.sample import sample_pairs
    from hybrid_bt.study.findings import Plan
    from hybrid_bt.trading_start import first_trading_row
    from hybrid_bt.trials import configuration_key, count_trials, read_trials

    n_windows, n_seeds, n_resamples = PRESETS[flags["preset"] if flags["preset"] in PRESETS else "full"]
    config = load_config(flags["mode"], flags["config"])
    start, end = (None if flags[name] is None else flags[name].date() for name in ("start", "end"))
    bars = load_asked(flags, end=end, trade_from=start)
    policies = load_policies(config)
    last_taught = training_end(policies)
    first = first_trading_row(bars, last_taught, start, flags["allow_in_sample"])
    config = config.for_stamps(bars.stamps[:first])
    cut = {name: flags[name] for name in ("scheme", "purge_bars", "embargo_bars")}
    windows = split(bars, first, flags["windows"] or n_windows, **cut)
    members = max((policy.manifest.members for policy in policies.loaded().values()), default=0)
    wanted = n_seeds if flags["seeds"] is None else flags["seeds"]
    if flags["seeds"] is not None and wanted > members:
        raise ConfigError(f"--seeds {wanted}: the policies have {members} members; ask for no more")
    pairs = tuple(flags["pairs"] or sample_pairs(flags["data"], bars.symbols))
    ledger = read_trials(flags["out"].absolute().parent / LEDGER)
    shas = {name: policy.sha256 for name, policy in policies.loaded().items()}
    first_day = bars.stamps[first].astype("datetime64[D]").item()
    key = configuration_key(configuration(flags["mode"], pairs, config), shas, str(first_day))
    plan = Plan(
        bars=bars,
        config=config,
        mode=flags["mode"],
        policies=policies,
        pairs=pairs,
        first=first,
        windows=tuple(windows),
        n_seeds=0 if flags["retrain"] else min(wanted, members),
        n_resamples=flags["resamples"] or n_resamples,
        seed=flags["seed"],
        n_trials_before=count_trials(ledger, bars.sha256, key),
        in_sample=last_taught is not None and first_day <= last_taught,
    )
    return replace(plan, lessons=_lessons(plan, flags)) if flags["retrain"] else plan


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


def _lessons(plan: Plan, flags: dict[str, Any]) -> tuple[Any, ...]:
    from hybrid_bt.study.jobs import Lessons

    seeds = tuple(range(flags["seeds"] or 1))
    sac_seconds = flags["sac_steps"] * (len(seeds) + 2) / SAC_STEPS_PER_SECOND
    seconds = sac_seconds + flags["ppo_steps"] * len(seeds) / PPO_STEPS_PER_SECOND + START_SECONDS
    minutes = seconds * len(plan.windows) / flags["jobs"] / 60.0
    click.echo(
        f"about {minutes:.0f} minutes for {len(plan.windows)} windows x {len(seeds)} seeds on cores of 2026; "
        "what is done is kept, so it may be interrupted",
        err=True,
    )
    return tuple(
        Lessons(w.train_start, w.train_end, flags["sac_steps"], flags["ppo_steps"], flags["mode"], seeds)
        for w in plan.windows
    )


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


def configuration(mode: str, pairs: tuple[str, ...], config: Config) -> dict[str, Any]:
    """What makes two studies the same trial."""
    return {"mode": mode, "pairs": list(pairs), **numbers_of(config)}
