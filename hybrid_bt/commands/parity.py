"""`hybrid-bt parity`: Backtrader against arrays, the whole stack, on the user's own data.

One side is Cerebro: feeds, strategy, broker. The other has neither: the brain is asked about every row of the panel
and its targets are replayed by the accounting twin. Every number of the two must be equal.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath
from hybrid_bt.account.registry import traded_at
from hybrid_bt.account.replay import replay_guarded
from hybrid_bt.backtest import Progress, trade
from hybrid_bt.bars import Bars
from hybrid_bt.brain.records import Decisions, record
from hybrid_bt.commands.console import Flag, command, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared, task_of
from hybrid_bt.config import Config
from hybrid_bt.config.task import Case
from hybrid_bt.equations import Pairs
from hybrid_bt.equations.guard_limits import is_active

TOLERANCE = 1e-9  #: relative; decisions must be equal to the bit


class Difference(NamedTuple):
    """Largest difference of one quantity."""

    quantity: str
    largest: float  #: relative to the start value for money, absolute for the rest
    row: int  #: where it stands, -1 if there is none
    allowed: float
    at: str | None = None  #: stamp of that row


def compare(task: Case, progress: Progress | None = None) -> list[Difference]:
    """Differences of every quantity."""
    config, market, traded = task.config, task.market, task.traded
    trading = trade(task, progress)
    recorder, broker = trading.recorder, trading.account
    brain = task.brain()
    streamed, recorded = recorder.decisions(trading.row), record(brain, market.bars, market.pairs).decisions(task.row)
    twin, sent = _twin(config, brain.reader.columns, streamed, recorded, traded)
    pairs = [(f"target of {leg}", streamed.legs[leg], recorded.legs[leg], 1.0, 0.0) for leg in streamed.legs] + [
        ("regime score r", streamed.regime, recorded.regime, 1.0, 0.0),
        ("final target", streamed.target, sent, 1.0, 0.0),
        ("cash", broker.cash, twin.cash, config.account.cash, TOLERANCE),
        ("position, shares", broker.size, twin.size, 1.0, TOLERANCE),
        ("equity", broker.equity, twin.equity, config.account.cash, TOLERANCE),
    ]
    found = [_largest(traded, *pair) for pair in pairs]
    for name, a, b in (("fills", len(broker.fills), len(twin.fills)), ("rejections", broker.rejected, twin.rejected)):
        found.append(Difference(name, float(abs(a - b)), -1, 0.0))
    return found


def _twin(
    config: Config, pairs: Pairs, streamed: Decisions, recorded: Decisions, traded: Bars
) -> tuple[AccountPath, NDArray[np.float64]]:
    """The account without Backtrader, and the targets that it was sent; through the guard where one is on."""
    terms = config.terms()
    if is_active(config.guard) or streamed.guard.any():
        given = terms.cash, terms.costs, terms.rules
        return replay_guarded(recorded, traded, pairs, config.guard, streamed.guard, given)
    return traded_at(terms, recorded.sent, traded, recorded.together), recorded.target


def _largest(
    bars: Bars, name: str, a: NDArray[np.float64], b: NDArray[np.float64], unit: float, allowed: float
) -> Difference:
    gaps = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b)).reshape(len(a), -1)
    gaps = np.nan_to_num(gaps, nan=np.inf).max(axis=1, initial=0.0) / unit  # NaN on one side only is no agreement
    row = int(np.argmax(gaps))
    if gaps[row] == 0.0:
        return Difference(name, 0.0, -1, allowed)
    return Difference(name, float(gaps[row]), row, allowed, str(bars.stamps[row].astype("datetime64[s]")))


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
        echo(title)
        for difference in differences:
            on = f" on {difference.at}" if difference.at else ""
            echo(f"  {difference.quantity:18} largest difference {difference.largest:.3g}{on}")
        echo("equal" if equal else "different")
    raise click.exceptions.Exit(0 if equal else 1)
