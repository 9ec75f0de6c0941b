"""`hybrid-bt parity`: Backtrader against arrays, the whole stack, on the user's own data.

One side is Cerebro: feeds, strategy, broker. The other has neither: a session decides on every row of the panel, and
the accounting twin trades. Every number of the two must be equal.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import click
import numpy as np

from hybrid_bt.backtest.engines import Progress, Words, by_backtrader, by_replay
from hybrid_bt.bars import Bars
from hybrid_bt.commands.console import Flag, command, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared, task_of
from hybrid_bt.commands.tables import say
from hybrid_bt.config.facts import Quantity, quantities
from hybrid_bt.config.task import Case


class Difference(NamedTuple):
    """Largest difference of one quantity."""

    quantity: str
    largest: float  #: relative to the start value for money, absolute for the rest
    row: int  #: where it stands, -1 if there is none
    allowed: float
    at: str | None = None  #: stamp of that row


def compare(task: Case, progress: Progress | None = None) -> list[Difference]:
    """Differences of every quantity; on arrays each bar is decided when it comes, nothing ahead of it."""
    one, other = by_backtrader(task, Words(progress)), by_replay(task, compiled=False)
    found = [_largest(task.traded, said) for said in quantities(task.config.account.cash, one, other)]
    a, b = one.account, other.account
    for name, n, m in (("fills", len(a.fills), len(b.fills)), ("rejections", a.rejected, b.rejected)):
        found.append(Difference(name, float(abs(n - m)), -1, 0.0))
    return found


def _largest(bars: Bars, said: Quantity) -> Difference:
    gaps = said.gaps()
    row = int(np.argmax(gaps))
    if gaps[row] == 0.0:
        return Difference(said.name, 0.0, -1, said.allowed)
    return Difference(said.name, float(gaps[row]), row, said.allowed, str(bars.stamps[row].astype("datetime64[s]")))


@command("parity", example="parity --data us20 --start 2020-01-02")
@shared("mode", "bars", "pairs", "span", "config", "in-sample", "json")
def main(**flags: Flag) -> None:
    """Compare Backtrader's account with its replay on arrays, bar by bar: 0 equal, 1 a difference, 2 misuse."""
    task = task_of(flags)
    with progress_bar("parity") as progress:
        differences = compare(task, progress)
    traded = task.traded
    equal = all(difference.largest <= difference.allowed for difference in differences)
    title = f"{traded.name}, {task.mode}: {traded.n_bars} bars x {traded.n_symbols} symbols"
    if flags["as_json"]:
        found = [difference._asdict() for difference in differences]
        echo(json.dumps({"title": title, "equal": equal, "differences": found}))
    else:
        told = ((d.quantity, d.largest, f" on {d.at}" if d.at else "") for d in differences)
        lines = (f"  {quantity:18} largest difference {largest:.3g}{on}" for quantity, largest, on in told)
        say(title, *lines, "equal" if equal else "different", hang=4)
    raise click.exceptions.Exit(0 if equal else 1)
