"""`hybrid-bt data check`: everything that is wrong with somebody's prices, in one list, and mended copies of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from hybrid_bt.bars import say_stamp
from hybrid_bt.bars.findings import ON_BAD_DATA, RULES, Finding, counters
from hybrid_bt.bars.findings import say as told
from hybrid_bt.bars.stamps import bars_per_year
from hybrid_bt.commands.console import FILE, Flag, Group, flag, listed, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.tables import say
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean
from hybrid_bt.files import OURS, whole_folder

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.feeds.reading import Told

FOUND = 1  #: exit status
SHOWN = 3  #: files whose reading is told
_SORTED = {"error": 0, "warning": 1, "info": 2}


class Checked(NamedTuple):
    """What a look at a source told."""

    found: list[Finding]  #: worst first
    read: Told  #: how each file was understood; nothing for a named source
    span: str  #: how many bars there are, and how many a year


def check_path(path: Path, symbols: Sequence[str] | None = None, **clock: Flag) -> list[Finding]:
    """All findings of a folder or file, worst first; a file that cannot be read is a finding, too."""
    return checked(path, symbols, **clock).found


def checked(source: Path, symbols: Sequence[str] | None = None, **clock: Flag) -> Checked:
    """A folder, a file or a source of `load_bars`, with everything that is wrong with it.

    Raises
    ------
    BarsError
        If there is no such path, no table in it, or no such symbol.
    """
    from hybrid_bt.feeds import SOURCES, load_bars
    from hybrid_bt.feeds.files import rows_of_path
    from hybrid_bt.feeds.panel import Handling, inspect
    from hybrid_bt.feeds.reading import Told

    told = Told()
    if str(source) in SOURCES:
        bars = load_bars(str(source), symbols=symbols, on_bad_data="warn", **clock)
        found, stamps, names = list(bars.findings), bars.stamps, bars.symbols
    else:
        hint = did_you_mean(str(source), SOURCES)
        date_format = clock.get("date_format")
        rows = rows_of_path(source, symbols, refusing=False, hint=hint, date_format=date_format, told=told)
        series, found = inspect(rows, Handling(**clock), refusing=False)
        names = tuple(series)
        stamps = np.unique(np.concatenate([np.empty(0, "M8[ns]"), *(one.stamps for one in series.values())]))
    span = f"{len(names)} symbols, {len(stamps)} bars"
    if len(stamps) > 1:
        span += f", {say_stamp(stamps[0])} to {say_stamp(stamps[-1])}, {bars_per_year(stamps):.0f} a year"
    calendar = clock.get("calendar")
    span += f", compared with {calendar}" if calendar else ""
    return Checked(sorted(found, key=lambda one: (_SORTED[one.severity], one.symbol)), told, span)


def write_bars(bars: Bars, out: Path) -> list[Path]:
    """One CSV per symbol into a new folder, whole or not at all; numbers read back exactly.

    Raises
    ------
    ConfigError
        If the folder exists and holds anything, or cannot be written to.
    """
    if out.exists() and (not out.is_dir() or any(not one.name.startswith(OURS) for one in out.iterdir())):
        raise ConfigError(f"out: {out} exists and is not an empty folder; give another with --out")
    with whole_folder(out) as fresh:
        for column, symbol in enumerate(bars.symbols):
            _write_symbol(bars, column, fresh / f"{symbol}.csv")
    return [out / f"{symbol}.csv" for symbol in bars.symbols]


def _write_symbol(bars: Bars, column: int, path: Path) -> None:
    from hybrid_bt.bars import FIELDS
    from hybrid_bt.files.texts import csv_of_columns

    rows = bars.traded[:, column].nonzero()[0]
    columns = [map(say_stamp, bars.stamps[rows]), *(getattr(bars, field)[rows, column] for field in FIELDS)]
    path.write_text(csv_of_columns(columns, ("date", *FIELDS)), encoding="utf-8", newline="")


@click.group("data", cls=Group, epilog="Example: hybrid-bt data check my_prices.csv --mend --out mended")
def main() -> None:
    """Look into prices before they are traded."""


@main.command("check", epilog="Example: hybrid-bt data check my_prices.csv --mend --out mended")
@click.argument("source", type=FILE, metavar="PATH|us20|yahoo|...")
@listed("--symbols", help="Symbols.  [default: all]")
@shared("clock", "json")
@flag("--explain", help="Say which rules decided how each file was read.")
@flag("--mend", help="Write mended prices to --out.")
@option("--out", type=FILE, help="Folder for the mended prices, one CSV per symbol.")
@flag("--rules", expose_value=False, is_eager=True, callback=lambda c, p, v: _rules(c, v),
      help="List what is looked for, and what is done about it.")  # fmt: skip
def check(
    source: Path, symbols: tuple[str, ...], mend: bool, out: Path | None, explain: bool, as_json: bool, **clock: Flag
) -> None:
    """Check the prices at PATH, or of a named source: 0 clean, 1 findings, 2 misuse. Infos alone are clean."""
    from hybrid_bt.feeds import SOURCES, load_bars

    if mend != (out is not None):
        raise ConfigError("--mend and --out DIR belong together; give both or neither")
    seen = checked(source, symbols or None, **clock)
    written: list[Path] = []
    refusal = None
    if mend and out is not None:
        named = str(source) if str(source) in SOURCES else source
        try:
            written = write_bars(load_bars(named, symbols=symbols or None, on_bad_data="mend", **clock), out)
        except BarsError as error:
            refusal = str(error)
    if as_json:
        echo(*json.dumps(_document(source, seen, written, refusal), indent=2).splitlines())
    else:
        _print(source, seen, written, refusal, explain=explain)
    if any(one.severity != "info" for one in seen.found):
        raise click.exceptions.Exit(FOUND)


def _document(source: Path, seen: Checked, written: list[Path], refusal: str | None) -> dict[str, Any]:
    return {
        "path": str(source),
        "read": [one._asdict() for one in seen.read],
        "span": seen.span,
        "findings": [{"severity": one.severity, **one._asdict(), "mend": RULES[one.rule].mend} for one in seen.found],
        "counts": counters(seen.found),
        "written": [str(one) for one in written],
        "not_mended": refusal,
    }


def _print(source: Path, seen: Checked, written: list[Path], refusal: str | None, *, explain: bool) -> None:
    for one in seen.found:
        remedy = f"; mend: {RULES[one.rule].mend}" if one.severity == "error" else ""
        say(told(one) + remedy, hang=4)
    shown = seen.read if explain else seen.read[:SHOWN]
    for reading in shown:
        say(*reading.lines(explain=explain), hang=4)
    if len(shown) < len(seen.read):
        say(f"and {len(seen.read) - len(shown)} more files; --explain shows all")
    say(f"{source}: {seen.span}")
    counts = [sum(one.severity == level for one in seen.found) for level in _SORTED]
    say(f"{source}: {counts[0]} errors, {counts[1]} warnings, {counts[2]} infos")
    if written:
        say(f"{len(written)} mended files in {written[0].parent}")
    if refusal:
        echo(f"error: not mended: {refusal}", err=True)


def _rules(ctx: click.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        for name, rule in RULES.items():
            actions = "; ".join(f"{mode}: {rule.action(mode)}" for mode in ON_BAD_DATA[1:])
            say(f"{rule.severity:8} {name:17} {rule.wrong} ({actions})", hang=4)
        ctx.exit(0)
