"""`hybrid-bt study` over several markets: one left out after the other, and the literature's own table."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.account.metrics import FloatArray, Summary, summarise
from hybrid_bt.brain.pair_selection import WINDOW_BARS, with_found_pairs
from hybrid_bt.commands import console
from hybrid_bt.commands.console import Flags
from hybrid_bt.commands.options import LAST_TRAINING_DAY, MARKETS, markets_of
from hybrid_bt.commands.tables import Table
from hybrid_bt.config import Config
from hybrid_bt.config.build import Policies, load_policies, load_policy
from hybrid_bt.config.task import as_config
from hybrid_bt.errors import ConfigError, InSampleError, did_you_mean
from hybrid_bt.evidence import N_RESAMPLES
from hybrid_bt.evidence.study.jobs import Arrays
from hybrid_bt.evidence.study.leave_out import PLAIN, claim, leave_one_out, tables, write_left_out
from hybrid_bt.evidence.study.markets import PRINTED, SETS, MarketJob, PublishedJob, task_on
from hybrid_bt.evidence.study.schedule import Runner
from hybrid_bt.evidence.trials import LEDGER, append_trial, others_tried, read_trials, study_key, study_trial
from hybrid_bt.feeds import SOURCES, load_bars
from hybrid_bt.feeds.sample import DAYS, PREFIX
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import cell, csv_of_rows

if TYPE_CHECKING:
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
    how = {"n_resamples": flags["resamples"] or N_RESAMPLES, "seed": flags["seed"]}
    with console.progress_bar(f"{len(jobs)} markets, {flags['mode']}") as bar:
        found = leave_one_out(jobs, runner_of(flags, out, bar), left_out=folder is not None, **how)
    write_left_out(found, out)
    ledger = out.absolute().parent / LEDGER
    before = read_trials(ledger)
    tried = {key for job in jobs for key in others_tried(before, job.task.market.bars.sha256, study_key(job.task))}
    if not flags["no_ledger"]:
        for job in jobs:
            if job.name in found.traded:
                summary = _summary(job, found.traded[job.name][f"{PLAIN}:hybrid"])
                append_trial(ledger, study_trial(job.task, summary, left_out=found.left_out))
    failed = [f"{name} FAILED: {why}" for name, why in found.failures.items()]
    told = [f"{1 + len(tried)} configurations were tried on these markets."] if tried else []
    drawn = (Table(head, rows, left=head[:1], title=title) for title, head, rows in tables(found))
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
        found, failures = runner_of(flags, out, bar).run({job.name: job for job in jobs})
    failed = [f"{name} FAILED: {why}" for name, why in failures.items()]
    head, rows = published_table(jobs, found)
    write_whole(out / "published.csv", csv_of_rows((head, *rows)).encode())
    seen = (
        ""
        if flags["policies"]
        else "; the hybrid has the configuration's OWN policies, which may have learnt on these sets"
    )
    drawn = Table(head, rows, left=head[:2], keys=2, title=f"what 1 became{seen}")
    return [drawn, f"published.csv in {out}"], failed


def runner_of(flags: Flags, out: Path, progress: Callable[[int, int], None] | None) -> Runner:
    """Where the flags say that cells run, and that they are kept."""
    return Runner(out / "cells", flags["backend"], flags["jobs"], progress)


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
    console.check_trainers("training")
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


def _summary(job: MarketJob, returns: FloatArray) -> Summary:
    """Of the hybrid, by its returns."""
    equity = job.task.config.account.cash * np.cumprod(np.append(1.0, 1.0 + returns))
    return summarise(equity, job.task.traded.stamps, 252.0, traded_notional=math.nan, costs=math.nan)


def published_table(
    jobs: Sequence[PublishedJob], results: Mapping[str, Arrays]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: algorithm by set."""
    head = ("algorithm", "set", "printed", "replayed", "net", "a bar late", "from", "late since", "hybrid since")
    rows: list[tuple[str, ...]] = []
    for algorithm, printed in PRINTED.items():
        for job in jobs:
            if job.name in results:
                free, net, late, part, hybrid = (_wealth(value) for value in results[job.name][algorithm].tolist())
                known = printed[SETS.index(job.name)] if job.name in SETS else None
                day = str(job.task.traded.stamps[0])[:10]
                rows.append((algorithm, job.name, _wealth(known), free, net, late, day, part, hybrid))
    return head, rows


def _wealth(value: float | None) -> str:
    return "" if value is None else cell(value, ".2e" if value >= 1e4 else ".2f")
