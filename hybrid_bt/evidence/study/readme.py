"""The results in README.md, written by the commands that they come from and by nothing else.

Three blocks between HTML comments: the tables of `run` in both modes, and the study's intervals.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid_bt.backtest import run_backtest
from hybrid_bt.commands.console import WIDTH, table
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.commands.run import result_table
from hybrid_bt.evidence.study.doing import perform, write_study
from hybrid_bt.evidence.study.findings import Findings, Plan
from hybrid_bt.files.texts import end_days

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = ("hybrid", "sac", "kalman", "gate r=0", "equal-weight", "vol-target", "inverse-vol", "12-1 momentum")


def renew(file: Path, plans: Sequence[Plan], out: Path, *, check: bool, n_jobs: int) -> bool:
    """Make the blocks anew and put them into the file, or compare only; whether the file held them already.

    Raises
    ------
    ConfigError
        If the file cannot be read or lacks a block.
    """
    try:
        before = after = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"readme: cannot read {file}: {error.strerror or error}; name it with --readme") from None
    studies = []
    for plan in plans:
        mode = plan.task.mode
        made = run_backtest(plan.task.market, mode=mode, config=plan.task.config)
        after = _replaced(after, f"results {mode}", _printed(result_table(made)), file)
        found = perform(plan, out / mode, backend="joblib", n_jobs=n_jobs)
        write_study(found, out / mode)
        studies.append(_printed(_study_table(found)))
    after = _replaced(after, "results study", "\n".join(studies), file)
    if after != before and not check:
        write_whole(file, after.encode())
        click.echo(f"wrote the results in {file}")
    return after == before


def _replaced(text: str, name: str, block: str, file: Path) -> str:
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n```text\n).*?(```)", re.DOTALL)
    if not pattern.search(text):
        raise ConfigError(f"readme: {file} has no block '<!-- {name} -->' with a ```text fence after it; add one")
    return pattern.sub(lambda found: found[1] + block + found[2], text, count=1)


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
    return table(head, rows, left=("account",), title=title)


def _printed(drawn: Table) -> str:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=WIDTH, soft_wrap=False, force_terminal=False, color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
