"""`hybrid-bt study`: one command that answers "is this result real?"."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.console import Command, comma_list, mode_option, progress_bar
from hybrid_bt.errors import ConfigError
from hybrid_bt.trials import LEDGER

if TYPE_CHECKING:
    from hybrid_bt.config import Config
    from hybrid_bt.study.findings import Findings, Plan

__all__ = ["main"]

DAY = click.DateTime(formats=["%Y-%m-%d"])
FAILED = 1  #: exit status: a cell failed
PRESETS = {"quick": (4, 2, 200), "full": (10, 5, 1000)}  #: windows, seeds, resamples


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@mode_option
@click.option(
    "--preset",
    type=click.Choice(["quick", "full", "readme"]),
    default="full",
    show_default=True,
    help="quick: 4 windows, 2 seeds; full: 10 and 5; readme: both modes in full, and README's results are written.",
)
@click.option(
    "--data", default="us20", show_default=True, metavar="us20|tech6|yahoo|PATH", help="As in `hybrid-bt run`."
)
@click.option("--symbols", callback=comma_list, metavar="A,B,C", help="Symbols to trade.  [default: all]")
@click.option("--pairs", callback=comma_list, metavar="Y:X,...", help="Pairs.  [default: the sample's own]")
@click.option("--start", type=DAY, help="First day traded.  [default: the first out-of-sample bar]")
@click.option("--end", type=DAY, help="Last day.  [default: the last bar]")
@click.option("--windows", type=click.IntRange(min=1), help="Walk-forward windows.  [default: the preset's]")
@click.option(
    "--scheme",
    type=click.Choice(["anchored", "rolling"]),
    default="anchored",
    show_default=True,
    help="Training spans grow, or move on with the windows.",
)
@click.option(
    "--purge-bars", type=click.IntRange(min=0), default=1, show_default=True, help="Bars cut from the end of training."
)
@click.option(
    "--embargo-bars", type=click.IntRange(min=0), default=5, show_default=True, help="Bars between training and window."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    help="Members of the ensembles that are looked at alone.  [default: the preset's]",
)
@click.option("--retrain", is_flag=True, help="Train policies for each window (extra `train`; long).")
@click.option(
    "--sac-steps",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="With --retrain: steps per SAC training.",
)
@click.option(
    "--ppo-steps",
    type=click.IntRange(min=1),
    default=40_000,
    show_default=True,
    help="With --retrain: steps per gate training.",
)
@click.option("--resamples", type=click.IntRange(min=10), help="Of the bootstrap.  [default: the preset's]")
@click.option("--config", type=click.Path(), help="TOML file that overrides the mode.")
@click.option(
    "--allow-in-sample", is_flag=True, help="Study bars that the policies were trained on; every output is marked."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cells side by side.")
@click.option(
    "--backend",
    type=click.Choice(["joblib", "dask", "ray"]),
    default="joblib",
    show_default=True,
    help="Where cells run; the others need the extra of their name.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("study"),
    show_default=True,
    help="Folder of the report and of the cells, which a study started again finds there.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of shuffles and resamples.")
@click.option("--no-ledger", is_flag=True, help="Add no line to runs.jsonl, which lies beside --out.")
@click.option(
    "--readme",
    type=click.Path(path_type=Path),
    default=Path("README.md"),
    show_default=True,
    help="With --preset readme: the file.",
)
@click.option(
    "--check", is_flag=True, help="With --preset readme: compare instead of writing; status 1 if they differ."
)
@click.pass_context
def main(context: click.Context, /, **flags: Any) -> None:
    """Weigh a result: walk-forward windows, ablations, seeds, costs and delays on the same bars, with intervals.

    Writes study.html, CSV and PNG under --out. Status 1 if a cell failed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if flags["check"] and flags["preset"] != "readme":
        raise ConfigError("--check compares README's results: it goes with --preset readme")
    if flags["preset"] == "readme":
        from hybrid_bt.study.readme import renew

        same = renew(flags["readme"], flags["out"], check=flags["check"], n_jobs=flags["jobs"])
        if not same and flags["check"]:
            click.echo(f"{flags['readme']} does not hold what the commands print; run without --check", err=True)
            context.exit(FAILED)
        return
    plan = make_plan(flags)
    found = perform(plan, flags["out"], backend=flags["backend"], n_jobs=flags["jobs"])
    write_study(found, flags["out"])
    if not flags["no_ledger"]:
        _remember(found, flags["out"])
    _print(found, flags["out"])
    if found.failures:
        context.exit(FAILED)


def make_plan(flags: dict[str, Any]) -> Plan:
    """From flags to a plan; errors as `hybrid-bt run` has them."""
    from dataclasses import replace as with_changes

    from hybrid_bt.build import load_policies, training_end
    from hybrid_bt.config import load_config
    from hybrid_bt.feeds import load_bars
    from hybrid_bt.feeds.sample import sample_pairs
    from hybrid_bt.study.findings import Plan
    from hybrid_bt.study.windows import split
    from hybrid_bt.trading_start import first_trading_row
    from hybrid_bt.trials import configuration_key, count_trials, read_trials

    n_windows, n_seeds, n_resamples = PRESETS[flags["preset"] if flags["preset"] in PRESETS else "full"]
    config = load_config(flags["mode"], flags["config"])
    start, end = (None if flags[name] is None else _day(flags[name]) for name in ("start", "end"))
    bars = load_bars(flags["data"], symbols=flags["symbols"] or None, end=end, trade_from=start)
    policies = load_policies(config)
    first = first_trading_row(bars, training_end(policies), start, flags["allow_in_sample"])
    last_taught = training_end(policies)
    windows = split(
        bars,
        first,
        flags["windows"] or n_windows,
        scheme=flags["scheme"],
        purge_bars=flags["purge_bars"],
        embargo_bars=flags["embargo_bars"],
    )
    members = max((policy.manifest.members for policy in policies.loaded().values()), default=0)
    wanted = n_seeds if flags["seeds"] is None else flags["seeds"]
    if flags["seeds"] is not None and wanted > members:
        raise ConfigError(f"--seeds {wanted}: the policies have {members} members; ask for no more")
    pairs = tuple(flags["pairs"] or sample_pairs(flags["data"], bars.symbols))
    ledger = read_trials(flags["out"].absolute().parent / LEDGER)
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
        n_trials_before=count_trials(
            ledger, bars.sha256, configuration_key(_configuration(flags["mode"], pairs, config))
        ),
        in_sample=last_taught is not None and bars.stamps[first].astype("datetime64[D]").item() <= last_taught,
    )
    return with_changes(plan, lessons=_lessons(plan, flags)) if flags["retrain"] else plan


def _lessons(plan: Plan, flags: dict[str, Any]) -> tuple[Any, ...]:
    from hybrid_bt.study.jobs import Lessons

    seeds = tuple(range(flags["seeds"] or 1))
    seconds = (flags["sac_steps"] * (len(seeds) + 2) / SAC_STEPS_PER_SECOND) + flags["ppo_steps"] * len(
        seeds
    ) / PPO_STEPS_PER_SECOND
    hours = seconds * len(plan.windows) / flags["jobs"] / 3600.0
    click.echo(
        f"about {hours:.1f} h for {len(plan.windows)} windows x {len(seeds)} seeds, two cores of the kind of 2026",
        err=True,
    )
    return tuple(
        Lessons(w.train_start, w.train_end, flags["sac_steps"], flags["ppo_steps"], flags["mode"], seeds)
        for w in plan.windows
    )


SAC_STEPS_PER_SECOND, PPO_STEPS_PER_SECOND = 4_000.0, 1_700.0  # one thread; docs/research-log.md


def perform(plan: Plan, out: Path, *, backend: str, n_jobs: int) -> Findings:
    """Run the cells of a plan, those of an earlier study aside, and weigh them."""
    from hybrid_bt.study.findings import study
    from hybrid_bt.study.schedule import Store

    if out.exists() and not out.is_dir():
        raise ConfigError(f"study: {out} is a file; give a folder with --out")
    store = Store(out / "cells")
    with progress_bar(f"study of {plan.bars.name}, {plan.mode}") as bar:
        tell = None if bar is None else (lambda stage, done, total: bar(done, total))
        return study(plan, store, run={"backend": backend, "n_jobs": n_jobs}, progress=tell)


def write_study(found: Findings, out: Path) -> list[Path]:
    """Write the page, the tables and the pictures, each whole or not at all."""
    from hybrid_bt.study.page import page
    from hybrid_bt.study.pictures import write_pictures
    from hybrid_bt.study.tables import TABLES, csv_text

    with tempfile.TemporaryDirectory(prefix=".study-", dir=out) as name:
        folder = Path(name)
        pictures = write_pictures(found, folder)
        for table, rows in TABLES.items():
            (folder / table).write_text(csv_text(rows(found)), encoding="utf-8", newline="")
        (folder / "study.html").write_text(page(found, pictures), encoding="utf-8", newline="")
        written = sorted(folder.iterdir())
        for path in written:
            os.replace(path, out / path.name)
    return [out / path.name for path in written]


def _remember(found: Findings, out: Path) -> None:
    from hybrid_bt import __version__
    from hybrid_bt.report.run_json import plain
    from hybrid_bt.trials import append_trial, configuration_key

    plan, summary = found.plan, found.summaries["hybrid"]
    config = _configuration(plan.mode, plan.pairs, plan.config)
    entry = {
        "command": "study",
        "version": __version__,
        "mode": plan.mode,
        "data": plan.bars.name,
        "data_sha256": plan.bars.sha256,
        "policies": {name: policy.sha256 for name, policy in plan.policies.loaded().items()},
        "config": config,
        "config_sha256": configuration_key(config),
        "span": [str(found.bars.stamps[row].astype("datetime64[D]")) for row in (0, -1)],
        "in_sample": plan.in_sample,
        "accounts": list(found.summaries),
        "result": {name: getattr(summary, name) for name in ("cagr", "sharpe", "max_drawdown", "volatility")},
    }
    append_trial(out.absolute().parent / LEDGER, plain(entry))


def _configuration(mode: str, pairs: tuple[str, ...], config: Config) -> dict[str, Any]:
    """What makes two studies the same trial."""
    return {"mode": mode, "pairs": list(pairs), **config.model_dump(mode="json")}


def _print(found: Findings, out: Path) -> None:
    from rich.console import Console

    from hybrid_bt.study.words import claim, verdicts

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(claim(found), highlight=False, markup=False)
    for text in verdicts(found):
        console.print(f"- {text}", highlight=False, markup=False)
    console.print(f"study.html, CSV and PNG in {out}", highlight=False, markup=False)


def _day(moment: datetime) -> Any:
    return moment.date()


if __name__ == "__main__":
    main()
