"""`hybrid-bt study`: one command that answers "is this result real?"."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.console import (
    DAY,
    command,
    config_option,
    data_option,
    data_options,
    mode_option,
    pairs_option,
    ppo_steps_option,
    sac_steps_option,
    symbols_option,
    wide_console,
)
from hybrid_bt.errors import ConfigError
from hybrid_bt.study.doing import configuration, make_plan, perform, write_study
from hybrid_bt.trials import LEDGER

if TYPE_CHECKING:
    from hybrid_bt.study.findings import Findings

FAILED = 1  #: exit status: a cell failed


@command()
@mode_option
@click.option(
    "--preset",
    type=click.Choice(["quick", "full", "readme"]),
    default="full",
    show_default=True,
    help="quick: 4 windows, 2 seeds; full: 10 and 5; readme: both modes in full, and README's results are written.",
)
@data_option
@data_options
@symbols_option
@pairs_option
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
@click.option("--retrain", is_flag=True, help="Train policies for each window with these steps (extra `train`; long).")
@sac_steps_option
@ppo_steps_option
@click.option("--resamples", type=click.IntRange(min=10), help="Of the bootstrap.  [default: the preset's]")
@config_option
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
    _check_extra(flags)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if flags["check"] and flags["preset"] != "readme":
        raise ConfigError("--check compares README's results: it goes with --preset readme")
    if flags["preset"] == "readme":
        from hybrid_bt.config import MODES
        from hybrid_bt.study.readme import renew

        with tempfile.TemporaryDirectory() as nowhere:  # the trials of a ledger that happens to lie here do not count
            plans = [make_plan(flags | {"mode": mode, "out": Path(nowhere) / "study"}) for mode in MODES]
        same = renew(flags["readme"], plans, flags["out"], check=flags["check"], n_jobs=flags["jobs"])
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


def _check_extra(flags: dict[str, Any]) -> None:
    """Name what is missing before anything is computed."""
    wanted = ["arch", "onnx", *(["joblib"] if flags["backend"] != "joblib" or flags["jobs"] > 1 else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"a study needs {', '.join(missing)}: pip install 'hybrid_bt[study]'")


def _remember(found: Findings, out: Path) -> None:
    from hybrid_bt.trials import append_trial, trial_of

    plan = found.plan
    entry = trial_of(
        "study",
        found.bars,
        configuration(plan.mode, plan.pairs, plan.config),
        {name: policy.sha256 for name, policy in plan.policies.loaded().items()},
        found.summaries["hybrid"],
        data_sha256=plan.bars.sha256,
        in_sample=plan.in_sample,
        accounts=list(found.summaries),
    )
    append_trial(out.absolute().parent / LEDGER, entry)


def _print(found: Findings, out: Path) -> None:
    from hybrid_bt.study.words import claim, verdicts

    console = wide_console()
    console.print(claim(found), highlight=False, markup=False)
    for text in verdicts(found):
        console.print(f"- {text}", highlight=False, markup=False)
    console.print(f"study.html, CSV and PNG in {out}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
