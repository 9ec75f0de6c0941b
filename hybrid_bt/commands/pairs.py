"""`hybrid-bt pairs`: look for pairs on training bars, and say how many of them luck would have found."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import click

from hybrid_bt.brain.pair_selection import USUAL, Bounds, Candidate, select_pairs
from hybrid_bt.commands.console import (
    AMOUNT,
    COUNT,
    DAY,
    FILE,
    Flag,
    command,
    option,
    progress_bar,
    say,
    table,
    write_out,
)
from hybrid_bt.commands.options import market_of, shared
from hybrid_bt.errors import ConfigError

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars

LEVEL = 0.05  #: of a single test, for the comparison with luck
LAST_TRAINING_DAY = date(2009, 12, 31)  #: of the shipped policies
_HEAD = ("pair", "hedge ratio", "p", "q", "Johansen / 95 %", "half-life, bars", "drift of ratio", "passes")


@command()
@shared("bars")
@option("--train-start", type=DAY, help="First day looked at.  [default: the first bar]")
@option("--train-end", type=DAY, default=LAST_TRAINING_DAY, help="Last day looked at; nothing behind it is read.")
@option("--fdr", type=click.FloatRange(0, 1), default=USUAL.fdr, help="Share of false finds allowed.")
@option("--max-half-life", type=AMOUNT, default=USUAL.half_life_bars, help="Slowest return, bars.")
@option("--max-drift", type=AMOUNT, default=USUAL.drift, help="Greatest relative change of the ratio.")
@option("--top", type=COUNT, default=10, help="How many to show.")
@option("--out", type=FILE, help="CSV file with all pairs.")
@shared("json")
def main(**flags: Flag) -> None:
    """Test every two symbols for cointegration on training bars, with control of false discoveries.

    A pair passes with q <= --fdr, a half-life and a stable hedge ratio. The text for --pairs of `hybrid-bt run` comes
    last. A pair that passes has moved together; it need not go on to.
    """
    from hybrid_bt.files.texts import csv_of_rows

    if flags["train_start"] and flags["train_end"] <= flags["train_start"]:
        raise ConfigError("--train-end is not after --train-start; exchange them or widen the span")
    bars = market_of(flags, end=flags["train_end"]).bars.between(flags["train_start"], None)
    if bars.n_symbols < 2:
        raise ConfigError(f"pairs: {bars.n_symbols} symbol makes no pair; name two or more with --symbols")
    with progress_bar(f"pairs of {bars.name}") as progress:
        found = select_pairs(bars, progress)
    most = Bounds(flags["fdr"], flags["max_half_life"], flags["max_drift"])
    passed = [c for c in found if c.passes(most)]
    if flags["out"]:
        write_out(flags["out"], csv_of_rows((found[0]._fields, *found)).encode())
    if flags["as_json"]:
        rows = [c._asdict() | {"passes": c in passed} for c in found]
        click.echo(json.dumps(rows).replace("Infinity", "null"))
        return
    _print(bars, found, passed, flags["top"])


def _print(bars: Bars, found: list[Candidate], passed: list[Candidate], top: int) -> None:
    from hybrid_bt.files.texts import end_days

    first, last = end_days(bars.stamps)
    rows = [(*_cells(c), "yes" if c in passed else "") for c in found[:top]]
    say(table(_HEAD, rows, left=("pair",), title=f"{len(found)} pairs of {bars.name}, {first} to {last}"))
    by_luck = sum(1 for c in found if c.p_value <= LEVEL)
    click.echo(f"{by_luck} of {len(found)} have p <= {LEVEL}; luck alone gives about {LEVEL * len(found):.0f}")
    click.echo(f"--pairs {','.join(c.pair for c in passed)}" if passed else "no pair passes")


def _cells(c: Candidate) -> tuple[str, ...]:
    return (
        c.pair,
        f"{c.hedge_ratio:.2f}",
        f"{c.p_value:.4f}",
        f"{c.q_value:.3f}",
        f"{c.johansen:.2f}",
        f"{c.half_life_bars:.0f}",
        f"{c.stability:+.0%}",
    )
