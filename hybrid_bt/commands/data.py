"""`hybrid-bt data check`: everything that is wrong with somebody's prices, in one list, and mended copies of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from hybrid_bt.bars.findings import ON_BAD_DATA, RULES, Finding, counters, say
from hybrid_bt.commands.console import FILE, Group, flag, listed, option
from hybrid_bt.commands.options import shared
from hybrid_bt.errors import BarsError, ConfigError, did_you_mean
from hybrid_bt.files import whole_folder

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.feeds.clock import StampedBy

FOUND = 1  #: exit status
_SORTED = {"error": 0, "warning": 1, "info": 2}


class Clock(TypedDict, total=False):
    """How stamps are read, as fields of `Handling`."""

    calendar: str | None
    time_zone: str | None
    stamps: StampedBy | None


def check_path(path: Path, symbols: Sequence[str] | None = None, **clock: Unpack[Clock]) -> list[Finding]:
    """All findings of a source, folder or file, worst first; a file that cannot be read is a finding, too.

    Raises
    ------
    BarsError
        If there is no such source or path, no table in it, or no such symbol.
    """
    from hybrid_bt.feeds import SOURCES, load_bars
    from hybrid_bt.feeds.files import rows_of_path
    from hybrid_bt.feeds.panel import Handling, inspect

    if str(path) in SOURCES:
        found = list(load_bars(str(path), symbols=symbols, on_bad_data="warn", **clock).findings)
    else:
        rows = rows_of_path(path, symbols, refusing=False, hint=did_you_mean(str(path), SOURCES))
        found = inspect(rows, Handling(**clock), refusing=False)[1]
    return sorted(found, key=lambda one: (_SORTED[one.severity], one.symbol))


def write_bars(bars: Bars, out: Path) -> list[Path]:
    """One CSV per symbol into a new folder, whole or not at all; numbers read back exactly.

    Raises
    ------
    ConfigError
        If the folder exists and holds anything, or cannot be written to.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out: {out} exists and is not an empty folder; give another with --out")
    with whole_folder(out) as fresh:
        for column, symbol in enumerate(bars.symbols):
            _write_symbol(bars, column, fresh / f"{symbol}.csv")
    return [out / f"{symbol}.csv" for symbol in bars.symbols]


def _write_symbol(bars: Bars, column: int, path: Path) -> None:
    from hybrid_bt.bars import FIELDS, say_stamp
    from hybrid_bt.files.texts import csv_of_columns

    rows = bars.traded[:, column].nonzero()[0]
    columns = [map(say_stamp, bars.stamps[rows]), *(getattr(bars, field)[rows, column] for field in FIELDS)]
    path.write_text(csv_of_columns(columns, ("date", *FIELDS)), encoding="utf-8", newline="")


@click.group("data", cls=Group)
def main() -> None:
    """Look into prices before they are traded."""


@main.command("check")
@click.argument("path", metavar="us20|yahoo|olps:NAME|PATH", type=FILE)
@listed("--symbols", help="Symbols.  [default: all]")
@shared("clock")
@flag("--mend", help="Write mended prices to --out.")
@option("--out", type=FILE, help="Folder for the mended prices, one CSV per symbol.")
@shared("json")
@flag("--rules", expose_value=False, is_eager=True, callback=lambda c, p, v: _rules(c, v),
      help="List what is looked for, and what is done about it.")  # fmt: skip
def check(
    path: Path, symbols: tuple[str, ...], mend: bool, out: Path | None, as_json: bool, **clock: Unpack[Clock]
) -> None:
    """Check prices, of any source that `run` takes: 0 clean, 1 findings, 2 misuse. Infos alone are clean."""
    from hybrid_bt.feeds import SOURCES, load_bars

    if mend != (out is not None):
        raise ConfigError("--mend and --out DIR belong together; give both or neither")
    found = check_path(path, symbols or None, **clock)
    written: list[Path] = []
    refusal = None
    if mend and out is not None:
        try:
            source = str(path) if str(path) in SOURCES else path
            bars = load_bars(source, symbols=symbols or None, on_bad_data="mend", **clock)
            written = write_bars(bars, out)
        except BarsError as error:
            refusal = str(error)
    if as_json:
        click.echo(json.dumps(_document(path, found, written, refusal), indent=2))
    else:
        _print(path, found, written, refusal)
    if any(one.severity != "info" for one in found):
        raise click.exceptions.Exit(FOUND)


def _document(path: Path, found: list[Finding], written: list[Path], refusal: str | None) -> dict[str, Any]:
    return {
        "path": str(path),
        "findings": [{"severity": one.severity, **one._asdict(), "mend": RULES[one.rule].mend} for one in found],
        "counts": counters(found),
        "written": [str(one) for one in written],
        "not_mended": refusal,
    }


def _print(path: Path, found: list[Finding], written: list[Path], refusal: str | None) -> None:
    for one in found:
        remedy = f"; mend: {RULES[one.rule].mend}" if one.severity == "error" else ""
        click.echo(say(one) + remedy)
    counts = [sum(one.severity == level for one in found) for level in _SORTED]
    click.echo(f"{path}: {counts[0]} errors, {counts[1]} warnings, {counts[2]} infos")
    if written:
        click.echo(f"{len(written)} mended files in {written[0].parent}")
    if refusal:
        click.echo(f"error: not mended: {refusal}", err=True)


def _rules(ctx: click.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        for name, rule in RULES.items():
            actions = "; ".join(f"{mode}: {rule.action(mode)}" for mode in ON_BAD_DATA[1:])
            click.echo(f"{rule.severity:8} {name:17} {rule.wrong} ({actions})")
        ctx.exit(0)
