"""The results in README.md and docs/results.md, written by the commands that they come from and by nothing else.

Three blocks below HTML comments: the tables of `run` in both modes, and the study's intervals.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid_bt.backtest import run_backtest
from hybrid_bt.commands.console import WIDTH, progress_bar, table
from hybrid_bt.commands.run import result_table
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.study.doing import perform, write_study
from hybrid_bt.evidence.study.findings import Findings, Plan
from hybrid_bt.files import write_whole
from hybrid_bt.files.texts import end_days

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = ("hybrid", "sac", "kalman", "gate r=0", "equal-weight", "vol-target", "inverse-vol", "12-1 momentum")


def renew(file: Path, plans: Sequence[Plan], out: Path, *, check: bool, n_jobs: int) -> bool:
    """Make the blocks anew and put them into their pages, or compare only; whether the pages held them already.

    Parameters
    ----------
    file : Path
        The README; the other page is `docs/results.md` beside it.

    Raises
    ------
    ConfigError
        If a page cannot be read, or neither has a block.
    """
    before = {page: _read(page) for page in (file, file.parent / "docs" / "results.md")}
    blocks, studies = {}, []
    for plan in plans:
        mode = plan.task.mode
        made = run_backtest(plan.task.market, mode=mode, config=plan.task.config)
        blocks[f"results {mode}"] = _printed(result_table(made))
        with progress_bar(f"study of {plan.bars.name}, {mode}") as bar:
            found = perform(plan, out / mode, backend="joblib", n_jobs=n_jobs, progress=bar)
        write_study(found, out / mode)
        studies.append(_printed(_study_table(found)))
    after = _replaced(before, blocks | {"results study": "\n".join(studies)})
    for page, text in after.items():
        if text != before[page] and not check:
            write_whole(page, text.encode())
            click.echo(f"wrote the results in {page}")
    return after == before


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"readme: cannot read {page}: {error.strerror or error}; name it with --readme") from None


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
    return table(head, rows, left=("account",), title=title)


def _printed(drawn: Table) -> str:
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=WIDTH, soft_wrap=False, force_terminal=False, color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
