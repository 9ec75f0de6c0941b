"""`hybrid-bt pairs`: which pairs were alike on training bars, and what tests for cointegration say of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hybrid_bt.brain.pair_selection import MOST_DISTANCE, WINDOW_BARS, Candidate, find_pairs, judged
from hybrid_bt.commands.console import COUNT, DAY, FILE, Flag, Flags, command, option, write_out
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import LAST_TRAINING_DAY, market_of, markets_of, shared
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.texts import cell, csv_of_rows, end_days, plain

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars

_HEAD = ("pair", "distance", "hedge ratio", "p", "q", "half-life, bars", "drift of ratio", "chosen")


@command(example="pairs --data us20 --train-end 2009-12-31 --top 10")
@shared("bars", "markets")
@option("--train-start", type=DAY, help=f"First day looked at.  [default: {WINDOW_BARS} bars before the last]")
@option("--train-end", type=DAY, default=LAST_TRAINING_DAY, help="Last day looked at; nothing behind it is read.")
@option("--top", type=COUNT, default=20, help="How many of the nearest to list and test, beside those chosen.")
@option("--out", type=FILE, help="CSV file with the same pairs.")
@shared("json")
def main(**flags: Flag) -> None:
    """Choose the pairs whose log prices were most alike, as pairs="auto" of HybridStrategy does on the same bars.

    Distance is the mean squared gap of standardised log prices: 0 for copies, 2 for strangers, more for opposites. At
    most 20 pairs are chosen, 4 of a symbol, none beyond 0.3; "no room" had that many nearer ones. Tests for
    cointegration inform and choose nothing; they are made for the pairs listed, and q counts all others as p = 1. The
    text for --pairs of `hybrid-bt run` comes last.
    """
    if flags["markets"] and flags["train_start"]:
        raise ConfigError(f"--markets looks at the first {WINDOW_BARS} bars of each; drop --train-start")
    named = markets_of({**flags, "end": flags["train_end"]}) if flags["markets"] else []
    panels = [m.bars.between(None, m.bars.stamps[:WINDOW_BARS][-1]) for m in named] or [_panel(flags)]
    listed: list[dict[str, object]] = []
    for bars in panels:
        found = find_pairs(bars.symbols, bars.close, bars.n_bars)
        rows = judged(found, bars.close, flags["top"])
        of: dict[str, object] = {"market": bars.name} if named else {}
        listed += [of | c._asdict() for c in rows]
        if flags["as_json"]:
            continue
        first, last = end_days(bars.stamps)
        title = f"{len(rows)} of {len(found.alike)} pairs of {bars.name}, {first} to {last}, the nearest first"
        say(Table(_HEAD, [_cells(c) for c in rows], left=("pair",), title=title), *found.notes())
        if found.pairs:
            echo(f"--pairs={','.join(found.pairs)}")
    if flags["out"]:
        head = (*(["market"] if named else []), *Candidate._fields)
        write_out(flags["out"], csv_of_rows((head, *(row.values() for row in listed))).encode())
    if flags["as_json"]:
        echo(json.dumps([plain(row) for row in listed]))


def _panel(flags: Flags) -> Bars:
    """The last bars of one market, or those from --train-start on."""
    if flags["train_start"] and flags["train_end"] <= flags["train_start"]:
        raise ConfigError("--train-end is not after --train-start; exchange them or widen the span")
    bars = market_of(flags, end=flags["train_end"]).bars.between(flags["train_start"], None)
    if bars.n_symbols < 2:
        raise ConfigError(f"pairs: {bars.n_symbols} symbol makes no pair; name two or more with --symbols")
    return bars if flags["train_start"] else bars.between(bars.stamps[-WINDOW_BARS:][0], None)


def _cells(c: Candidate) -> tuple[str, ...]:
    refused = "negative" if c.hedge_ratio < 0.0 else "" if c.distance > MOST_DISTANCE else "no room"
    formats = {"distance": ".3f", "hedge_ratio": ".2f", "p_value": ".4f", "q_value": ".3f", "half_life_bars": ".0f"}
    numbers = (cell(getattr(c, name), how) for name, how in (formats | {"stability": "+.0%"}).items())
    return c.pair, *numbers, "yes" if c.chosen else refused
