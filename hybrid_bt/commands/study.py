"""`hybrid-bt study`: one command that answers "is this result real?"."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid_bt.commands import console
from hybrid_bt.commands.console import COUNT, FILE, Flag, Flags, command, flag, option, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared, task_of
from hybrid_bt.commands.tables import RUN_WIDTH, Table, printed, say
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.trials import LEDGER, append_trial, others_tried, read_trials, study_key, study_trial
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import end_days

if TYPE_CHECKING:
    from hybrid_bt.evidence.study import Findings, Plan
    from hybrid_bt.evidence.study.jobs import Lessons, Window

FAILED = 1  #: exit status: a cell failed
#: windows, seeds, resamples
PRESETS = {name: (10, 5, 1000) for name in ("full", "readme", "markets", "published")} | {"quick": (4, 2, 200)}
_PRESETS_HELP = (
    "quick: 4 windows, 2 seeds; full: 10 and 5; readme: both modes in full, and README's results are written; "
    "markets: --leave-one-out, and README's first table is written; published: the literature's table, and what costs "
    "and a bar leave of it."
)
_SCHEMES, _BACKENDS = click.Choice(["anchored", "rolling"]), click.Choice(["joblib", "dask", "ray"])
SAC_STEPS_PER_SECOND, PPO_STEPS_PER_SECOND = 4_000.0, 1_700.0  #: one thread; docs/research-log.md
_SHOWN = ("hybrid", "sac", "kalman", "gate r=0", "equal-weight", "vol-target", "inverse-vol", "12-1 momentum")
START_SECONDS = 8.0  #: of a window: imports, features, freezing, recording


@command(example="study --preset quick --jobs 2 --out study")
@shared("mode")
@option("--preset", type=click.Choice(list(PRESETS)), default="full", help=_PRESETS_HELP)
@shared("bars", "pairs", "markets", "span")
@flag("--leave-one-out", help="Judge each of --markets before 2010, with policies that had no part of it (--policies).")
@option("--policies", type=FILE, help="Folder: MARKET.onnx, and MARKET_gate.onnx where there is a gate.")
@option("--windows", type=COUNT, help="Walk-forward windows.  [default: the preset's]")
@option("--scheme", type=_SCHEMES, default="anchored", help="Training spans grow, or move on with the windows.")
@option("--purge-bars", type=click.IntRange(min=0), default=1, help="Bars cut from the end of training.")
@option("--embargo-bars", type=click.IntRange(min=0), default=5, help="Bars between training and window.")
@option(
    "--seeds",
    type=click.IntRange(min=0),
    help="Members of the ensembles that are looked at alone.  [default: the preset's]",
)
@flag("--retrain", help="Train policies for each window, or each market left out (extra `train`; long).")
@shared("steps")
@option("--resamples", type=click.IntRange(min=10), help="Of the bootstrap.  [default: the preset's]")
@shared("config", "in-sample", "jobs")
@option("--backend", type=_BACKENDS, default="joblib", help="Where cells run; the others need the extra of their name.")
@option(
    "--out",
    type=FILE,
    default=Path("study"),
    help="Folder of the report and of the cells, which a study started again finds there.",
)
@shared("seed", "ledger")
@option("--readme", type=FILE, default=Path("README.md"), help="With --preset readme or markets: the file.")
@flag("--check", help="With these: compare instead of writing; status 1 if they differ.")
def main(**flags: Flag) -> None:
    """Weigh a result: walk-forward windows, ablations, seeds, costs and delays on the same bars, with intervals.

    Writes study.html, CSV and PNG under --out. Status 1 if a cell failed.
    """
    if flags["backend"] != "joblib" or flags["jobs"] > 1:
        console.check_installed("a study side by side", "study", ["joblib"])
    writes, leaves_out = flags["preset"] in RENEWED, flags["leave_one_out"] or flags["preset"] == "markets"
    if flags["check"] and not writes:
        raise ConfigError("--check compares README's results: it goes with --preset readme or markets")
    for name in () if leaves_out or flags["preset"] == "published" else ("markets", "policies"):
        if flags[name]:
            raise ConfigError(f"--{name} goes with --leave-one-out, or with --preset markets or published")
    if writes:
        if not _renew(flags, RENEWED[flags["preset"]]) and flags["check"]:
            echo(f"{flags['readme']} does not hold what the commands print; run without --check", err=True)
            raise click.exceptions.Exit(FAILED)
        return
    if leaves_out or flags["preset"] == "published":
        from hybrid_bt.commands import study_markets

        said, failed = (study_markets.left_out_tables if leaves_out else study_markets.published_tables)(flags)
        say(*failed, *said)
        if failed:
            raise click.exceptions.Exit(FAILED)
        return
    from hybrid_bt.evidence.study.page import claim, verdicts

    out = flags["out"]
    found = _studied(_plan(flags, out), flags, out)
    if not flags["no_ledger"]:
        known = {"in_sample": found.plan.in_sample, "accounts": list(found.summaries)}
        append_trial(out.absolute().parent / LEDGER, study_trial(found.plan.task, found.summaries["hybrid"], **known))
    say(claim(found), *(f"- {text}" for text in verdicts(found)), f"study.html, CSV and PNG in {out}")
    if found.failures:
        raise click.exceptions.Exit(FAILED)


def _renew(flags: Flags, made: Callable[[Flags], dict[str, str]]) -> bool:
    """Make results in the README and docs/results.md anew; whether the pages held them already.

    They are blocks below HTML comments, written by the commands that they come from and by nothing else.
    """
    before = {}
    for page in (flags["readme"], flags["readme"].parent / "docs" / "results.md"):
        before[page] = page.read_text(encoding="utf-8")
    after = _replaced(before, made(flags))
    for page, text in after.items():
        if text != before[page] and not flags["check"]:
            write_whole(page, text.encode())
            say(f"wrote the results in {page}")
    return after == before


def _readme_blocks(flags: Flags) -> dict[str, str]:
    """The tables of `run` in both modes, and the study's intervals."""
    from hybrid_bt.backtest import run_backtest
    from hybrid_bt.commands.run import result_table
    from hybrid_bt.config.parts import MODES

    blocks, studies = {}, []
    for mode in MODES:
        with tempfile.TemporaryDirectory() as nowhere:  # the trials of a ledger that happens to lie here do not count
            plan = _plan({**flags, "mode": mode}, Path(nowhere) / "study")
        made = run_backtest(plan.task.market, mode=mode, config=plan.task.config)
        blocks[f"results {mode}"] = printed(result_table(made), width=RUN_WIDTH)
        studies.append(printed(_study_table(_studied(plan, flags, flags["out"] / mode))))
    return blocks | {"results study": "\n".join(studies)}


IN_SHORT = ("account", "hybrid", "sac", "ridge", "pairs", "vol-target")  #: rows of the table in the README


def _market_blocks(flags: Flags) -> dict[str, str]:
    """The pooled table of the markets left out, and some rows of it in a text of few bytes."""
    from hybrid_bt.commands.study_markets import left_out_tables

    said, pooled = left_out_tables({**flags, "retrain": True})[0][:2]
    assert not isinstance(pooled, str)
    kept = [i for i, name in enumerate(pooled.head) if name != "less vol-target"]
    rows = [[row[i] for i in kept] for row in (pooled.head, *pooled.rows) if row[0] in IN_SHORT]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows)
    short = "".join(f"{line}\n" for line in lines)
    return {"results markets": printed(said, pooled), "results markets in short": short}


RENEWED = {"readme": _readme_blocks, "markets": _market_blocks}  #: preset -> what it writes into the pages


def _studied(plan: Plan, flags: Flags, out: Path) -> Findings:
    """Do the study and write its files."""
    from hybrid_bt.evidence.study import study
    from hybrid_bt.evidence.study.page import write_study
    from hybrid_bt.evidence.study.schedule import Runner

    with progress_bar(f"study of {plan.bars.name}, {plan.task.mode}") as bar:
        found = study(plan, Runner(out / "cells", flags["backend"], flags["jobs"], bar))
    write_study(found, out)
    return found


def _plan(flags: Flags, out: Path) -> Plan:
    """What the flags ask for; errors as `hybrid-bt run` has them."""
    from hybrid_bt.evidence.study import Plan
    from hybrid_bt.evidence.study.jobs import split

    n_windows, n_seeds, n_resamples = PRESETS[flags["preset"]]
    task = task_of(flags)
    if flags["retrain"] and task.config.sac.enabled:
        from hybrid_bt.train.spec import SacSpec, check_steps

        check_steps("--sac-steps", flags["sac_steps"], SacSpec().learning_starts)
    bars, ledger = task.market.bars, out.absolute().parent / LEDGER
    cut = {name: flags[name] for name in ("scheme", "purge_bars", "embargo_bars")}
    windows = split(bars, task.row, flags["windows"] or n_windows, **cut)
    members = max((policy.manifest.members for policy in task.policies.loaded().values()), default=0)
    wanted = n_seeds if flags["seeds"] is None else flags["seeds"]
    if flags["seeds"] is not None and wanted > members:
        raise ConfigError(f"--seeds {wanted}: the policies have {members} members; ask for no more")
    return Plan(
        task=task,
        windows=tuple(windows),
        lessons=_lessons(windows, flags) if flags["retrain"] else (),
        n_seeds=0 if flags["retrain"] else min(wanted, members),
        n_resamples=flags["resamples"] or n_resamples,
        seed=flags["seed"],
        n_trials_before=len(others_tried(read_trials(ledger), bars.sha256, study_key(task))),
    )


def _lessons(windows: list[Window], flags: Flags) -> tuple[Lessons, ...]:
    from hybrid_bt.evidence.study.jobs import Lessons

    seeds, steps = tuple(range(flags["seeds"] or 1)), (flags["sac_steps"], flags["ppo_steps"])
    sac_seconds = steps[0] * (len(seeds) + 2) / SAC_STEPS_PER_SECOND
    seconds = sac_seconds + steps[1] * len(seeds) / PPO_STEPS_PER_SECOND + START_SECONDS
    say(
        f"about {seconds * len(windows) / flags['jobs'] / 60.0:.0f} minutes for {len(windows)} windows x {len(seeds)} "
        "seeds on cores of 2026; what is done is kept, so it may be interrupted",
        err=True,
    )
    return tuple(Lessons(w.train_start, w.train_end, *steps, seeds) for w in windows)


def _replaced(pages: Mapping[Path, str], blocks: Mapping[str, str]) -> dict[Path, str]:
    found = dict(pages)
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n```text\n).*?(```)", re.DOTALL)
        homes = [page for page, text in found.items() if pattern.search(text)]
        if not homes:
            listed = " nor ".join(map(str, pages))
            raise ConfigError(f"readme: neither {listed} has '<!-- {name} -->' with a ```text fence after it; add one")
        for page in homes:
            found[page] = pattern.sub(rf"\g<1>{block}\g<2>", found[page], count=1)
    return found


def _study_table(found: Findings) -> Table:
    """Sharpe ratios with intervals, differences, and the seeds."""
    first, last = end_days(found.bars.stamps)
    title = f"{found.plan.task.mode} on {found.bars.name}, {first} to {last}, out of sample, net; 95 % intervals"
    head = ("account", "Sharpe", "less vol-target", "less equal-weight", "IQM of seeds")
    rows = []
    for name in _SHOWN:
        seeds = found.interquartile.get((name, "sharpe"))
        less = (
            "" if name == other else found.draws.difference("sharpe", name, other).text(plus=True)
            for other in ("vol-target", "equal-weight")
        )
        rows.append((name, found.draws.interval("sharpe", name).text(), *less, "" if seeds is None else seeds.text()))
    return Table(head, rows, left=("account",), title=title)
