"""`hybrid-bt study` over several markets: one left out after the other, and the literature's own table."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.account.metrics import summarise
from hybrid_bt.brain.pair_selection import WINDOW_BARS, with_found_pairs
from hybrid_bt.commands import console
from hybrid_bt.commands.console import Flags
from hybrid_bt.commands.options import LAST_TRAINING_DAY, MARKETS, markets_of
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, load_policies, load_policy
from hybrid_bt.config.task import as_config
from hybrid_bt.errors import ConfigError, InSampleError, did_you_mean
from hybrid_bt.evidence.bootstrap import N_RESAMPLES
from hybrid_bt.evidence.study.leave_out import PLAIN, LeftOut, claim, leave_one_out, tables, write_left_out
from hybrid_bt.evidence.study.markets import MarketJob, task_on
from hybrid_bt.evidence.study.published import SETS, PublishedJob, published_table
from hybrid_bt.evidence.study.schedule import Store, execute
from hybrid_bt.evidence.trials import LEDGER, append_trial, configuration_key, others_tried, read_trials, trial_of
from hybrid_bt.feeds import SOURCES, load_bars
from hybrid_bt.feeds.olps import DAYS, PREFIX
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import csv_of_rows

if TYPE_CHECKING:
    from rich.table import Table

    from hybrid_bt.bars.market import Market

SEEDS = (0, 1, 2, 3, 4)  #: of the members of a policy of `--retrain`


def left_out_tables(flags: Flags) -> tuple[list[str | Table], list[str]]:
    """Do the study of `--leave-one-out` and write its files: the claim, the pooled table, what else there is to say;
    and the markets that failed."""
    config, out = as_config(flags["mode"], flags["config"]), flags["out"]
    markets = markets_of({**flags, "markets": flags["markets"] or MARKETS})
    folder = flags["policies"] or (out / "policies" if flags["retrain"] else None)
    if flags["retrain"] and folder is not None:
        _train(markets, config, flags, folder)
    jobs = jobs_of(markets, flags["mode"], config, given_policies(folder, config))
    how = {"n_resamples": flags["resamples"] or N_RESAMPLES, "seed": flags["seed"], "backend": flags["backend"]}
    with console.progress_bar(f"{len(jobs)} markets, {flags['mode']}") as bar:
        found = leave_one_out(jobs, out, left_out=folder is not None, n_jobs=flags["jobs"], progress=bar, **how)
    write_left_out(found, out)
    ledger = out.absolute().parent / LEDGER
    before = read_trials(ledger)
    tried = {key for job in jobs for key in others_tried(before, job.task.market.bars.sha256, _tried(job))}
    if not flags["no_ledger"]:
        for job in jobs:
            if job.name in found.traded:
                append_trial(ledger, _trial(job, found))
    failed = [f"{name} FAILED: {why}" for name, why in found.failures.items()]
    told = [f"{1 + len(tried)} configurations were tried on these markets."] if tried else []
    drawn = (console.table(head, rows, left=head[:1], title=title) for title, head, rows in tables(found))
    return [claim(found), *drawn, *told, f"markets.csv in {out}"], failed


def published_tables(flags: Flags) -> tuple[list[str | Table], list[str]]:
    """The literature's own table, replayed, and what is left of it beside the hybrid; and the sets that failed."""
    config, out = as_config(flags["mode"], flags["config"]), flags["out"]
    policies_of, jobs = given_policies(flags["policies"], config), []
    for name in flags["markets"] or tuple(f"{PREFIX}{name}" for name in SETS):
        if name.removeprefix(PREFIX) not in DAYS:
            raise ConfigError(f"--markets: {name} is no set of the literature{did_you_mean(name, SOURCES)}")
        bars = load_bars(name)
        row = min(WINDOW_BARS, bars.n_bars // 2)
        market = with_found_pairs(bars, row)
        jobs.append(PublishedJob(bars.name, task_on(market, flags["mode"], config, policies_of(market), row)))
    with console.progress_bar("the literature's table") as bar:
        results = execute(jobs, Store(out / "cells"), backend=flags["backend"], n_jobs=flags["jobs"], progress=bar)
    named = {job.name: result for job, result in zip(jobs, results, strict=True)}
    failed = [f"{name} FAILED: {result.failure}" for name, result in named.items() if result.failure]
    head, rows = published_table(jobs, {name: result.arrays for name, result in named.items() if result.arrays})
    write_whole(out / "published.csv", csv_of_rows((head, *rows)).encode())
    seen = (
        ""
        if flags["policies"]
        else "; the hybrid has the configuration's OWN policies, which may have learnt on these sets"
    )
    drawn = console.table(head, rows, left=head[:2], title=f"what 1 became{seen}")
    return [drawn, f"published.csv in {out}"], failed


def jobs_of(
    markets: Sequence[Market], mode: str, config: Config, policies_of: Callable[[Market], Policies]
) -> list[MarketJob]:
    """One a market, with the policies for it; the others teach ridge."""
    others = {market.name: tuple(other for other in markets if other is not market) for market in markets}
    return [MarketJob(m.name, task_on(m, mode, config, policies_of(m)), others[m.name]) for m in markets]


def given_policies(folder: Path | None, config: Config) -> Callable[[Market], Policies]:
    """Those of a folder: MARKET.onnx is the SAC policy for a market, MARKET_gate.onnx its gate, which may be missing;
    without a folder the configuration's own for all."""
    if folder is None:
        own = load_policies(config)
        return lambda market: own

    def found(market: Market) -> Policies:
        gate = _file_of(folder, market, "gate")
        sac = load_policy(str(_file_of(folder, market, "sac")), "sac") if config.sac.enabled else None
        given = Policies(sac, load_policy(str(gate), "gate") if config.gate.enabled and gate.exists() else None)
        for kind, policy in given.loaded().items():
            names = [read.name for read in getattr(policy.manifest, "markets", ())]
            if market.name in names or policy.manifest.data_sha256 == market.bars.sha256:
                raise InSampleError(f"--policies: the {kind} policy for {market.name} was trained on it; leave it out")
        return given

    return found


def _train(markets: Sequence[Market], config: Config, flags: Flags, folder: Path) -> None:
    """A SAC and a gate for each market that has no file yet, on the others' bars before 2010."""
    console.check_installed("training", "train", console.TRAINERS)
    from hybrid_bt.train.logbook import Logbook
    from hybrid_bt.train.members import Practice
    from hybrid_bt.train.pipeline import Lesson, learn

    folder.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind, part in (("sac", config.sac), ("gate", config.gate)) if part.enabled]
    for market, kind in itertools.product(markets, kinds):
        out = _file_of(folder, market, kind)
        if not out.exists():
            others, practice = tuple(m for m in markets if m is not market), Practice(jobs=flags["jobs"])
            steps = flags["sac_steps"], flags["ppo_steps"]
            lesson = Lesson(others, config, None, LAST_TRAINING_DAY, SEEDS, *steps, practice=practice)
            logbook = Logbook(out)
            with logbook.progress(sys.stderr.isatty()):
                learn(kind, lesson._replace(left_out=market.bars, tell=logbook.hear), out)


def _file_of(folder: Path, market: Market, kind: str) -> Path:
    return folder / (f"{market.name}.onnx" if kind == "sac" else f"{market.name}_{kind}.onnx")


def _configuration(job: MarketJob) -> dict[str, object]:
    return {"mode": job.task.mode, "pairs": list(job.task.market.pairs), **job.task.config.numbers()}


def _shas(job: MarketJob) -> dict[str, str]:
    return {name: policy.sha256 for name, policy in job.task.policies.loaded().items()}


def _tried(job: MarketJob) -> str:
    return configuration_key(_configuration(job), _shas(job), str(job.task.traded.stamps[0])[:10])


def _trial(job: MarketJob, found: LeftOut) -> dict[str, object]:
    """A line of the ledger."""
    bars, cash = job.task.traded, job.task.config.account.cash
    equity = cash * np.cumprod(np.append(1.0, 1.0 + found.traded[job.name][f"{PLAIN}:hybrid"]))
    summary = summarise(equity, bars.stamps, 252.0, traded_notional=math.nan, costs=math.nan)
    more = {"data_sha256": job.task.market.bars.sha256, "left_out": found.left_out}
    return trial_of("study", bars, _configuration(job), _shas(job), summary, **more)
