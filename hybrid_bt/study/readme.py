"""The results in README.md, written by the commands that they come from and by nothing else.

Three blocks between HTML comments: the tables of `run` in both modes, and the study's intervals.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.announce import result_table
from hybrid_bt.console import WIDTH
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.study.doing import perform, write_study

if TYPE_CHECKING:
    from hybrid_bt.study.findings import Findings, Plan

__all__ = ["blocks", "renew"]

_SHOWN = ("hybrid", "sac", "kalman", "gate r=0", "equal-weight", "vol-target", "inverse-vol", "momentum")


def renew(file: Path, plans: Sequence[Plan], out: Path, *, check: bool, n_jobs: int) -> bool:
    """Make the blocks anew and put them into the file, or compare only.

    Returns
    -------
    bool
        Whether the file held them already.

    Raises
    ------
    ConfigError
        If the file cannot be read or lacks a block.
    """
    try:
        before = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"readme: cannot read {file}: {error.strerror or error}; name it with --readme") from None
    after = before
    for name, text in blocks(plans, out, n_jobs=n_jobs).items():
        after = _replaced(after, name, text, file)
    if after != before and not check:
        write_whole(file, after.encode())
        click.echo(f"wrote the results in {file}")
    return after == before


def _replaced(text: str, name: str, block: str, file: Path) -> str:
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n```text\n).*?(```)", re.DOTALL)
    if not pattern.search(text):
        raise ConfigError(f"readme: {file} has no block '<!-- {name} -->' with a ```text fence after it; add one")
    return pattern.sub(lambda found: found[1] + block + found[2], text, count=1)


def blocks(plans: Sequence[Plan], out: Path, *, n_jobs: int) -> dict[str, str]:
    """Name of a block -> its text."""
    found = {f"results {plan.mode}": _run_table(plan) for plan in plans}
    found["results study"] = "\n".join(_study_text(_studied(plan, out / plan.mode, n_jobs)) for plan in plans)
    return found


def _studied(plan: Plan, out: Path, n_jobs: int) -> Findings:
    found = perform(plan, out, backend="joblib", n_jobs=n_jobs)
    write_study(found, out)
    return found


def _run_table(plan: Plan) -> str:
    """What `python -m hybrid_bt.run --mode MODE` prints first."""
    from hybrid_bt.backtest import Request, backtest

    record = backtest(Request(plan.bars, plan.config, plan.policies, plan.pairs, mode=plan.mode))
    return _printed(result_table(record))


def _study_text(found: Findings) -> str:
    """Sharpe ratios with intervals, differences, and the seeds."""
    from rich.table import Table

    from hybrid_bt.study.words import interval

    first, last = (str(found.bars.stamps[row].astype("datetime64[D]")) for row in (0, -1))
    title = f"{found.plan.mode} on {found.bars.name}, {first} to {last}, out of sample, net; 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("account")
    for name in ("Sharpe", "less vol-target", "less equal-weight", "IQM of seeds"):
        table.add_column(name, justify="right")
    for name in _SHOWN:
        seeds = found.interquartile.get((name, "sharpe"))
        against = [
            "" if name == other else interval(found.draws.difference("sharpe", name, other), plus=True)
            for other in ("vol-target", "equal-weight")
        ]
        sharpe = interval(found.draws.interval("sharpe", name))
        table.add_row(name, sharpe, *against, "" if seeds is None else interval(seeds))
    return _printed(table)


def _printed(table: Any) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=WIDTH, soft_wrap=False, force_terminal=False, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
