"""What `run` says when it is done: a table for people, one JSON object for machines, or nothing."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hybrid_bt.console import wide_console
from hybrid_bt.records import RunRecord

if TYPE_CHECKING:
    from rich.table import Table


class Talk(NamedTuple):
    """How much is said; at most one of the three is set."""

    as_json: bool = False  #: one JSON object instead of the table
    quiet: bool = False  #: nothing at all; errors still go to standard error
    verbose: bool = False  #: the files and the seconds as well
    claim: str = ""  #: a sentence to put beside the result (`hybrid_bt.evidence.claim`)


def announce(record: RunRecord, paths: list[Path], out: Path, talk: Talk) -> None:
    """Say what came of a run on standard output.

    Parameters
    ----------
    record : RunRecord
    paths : list of Path
        What was written to `out`.
    talk : Talk
    """
    if talk.as_json:
        said = {"claim": talk.claim} if talk.claim else {}
        click.echo(json.dumps(result_document(record, paths) | said))
    elif not talk.quiet:
        _print(record, paths, out, talk)


def open_page(paths: list[Path]) -> None:
    """Show a run's page in the browser: the explorer, else whatever was written last."""
    pages = [path for path in paths if path.name == "explorer.html"] or paths[-1:]
    webbrowser.open(pages[0].resolve().as_uri())


def headline(record: RunRecord) -> str:
    """Mode, data, span, in- or out-of-sample, costs."""
    from hybrid_bt.texts import end_days

    first, last = end_days(record.bars.stamps)
    costs, sample = record.config["costs"], "IN-SAMPLE" if record.in_sample.any() else "out of sample"
    return (
        f"{record.config['mode']} on {record.config['data']}, {first} to {last}, {sample}, "
        f"net of {costs['spread_bps']:g} bps spread and {costs['fee_bps']:g} bps fee per side"
    )


def result_document(record: RunRecord, paths: list[Path]) -> dict[str, Any]:
    """The table as plain data: fractions and account currency, as in `summary_pnl.csv`."""
    from hybrid_bt.report.tables import summaries
    from hybrid_bt.texts import plain

    document: dict[str, Any] = plain(
        {
            "title": headline(record),
            "accounts": {name: summary._asdict() for name, summary in summaries(record).items()},
            "bars_per_year": record.bars.bars_per_year,
            "out_of_sample": not record.in_sample.any(),
            "notes": list(record.notes),
            "files": [str(path) for path in paths],
        }
    )
    return document


def result_table(record: RunRecord) -> Table:
    """The summary, one row an account, as rich draws it."""
    from rich.table import Table

    from hybrid_bt.report.tables import HEADLINES, headline_rows

    table = Table(title=headline(record), title_justify="left")
    table.add_column("account")
    for name in HEADLINES:
        table.add_column(name, justify="right")
    for row in headline_rows(record):
        table.add_row(*row)
    return table


def _print(record: RunRecord, paths: list[Path], out: Path, talk: Talk) -> None:
    """The summary table, what it claims, then what every reader must know."""
    console = wide_console()
    console.print(result_table(record))
    console.print(f"annualised with {record.bars.bars_per_year:.1f} bars a year", highlight=False, markup=False)
    if talk.claim:
        console.print(talk.claim, highlight=False, markup=False)
    for note in record.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    if talk.verbose:
        for path in paths:
            console.print(f"{path} {path.stat().st_size:,} bytes", highlight=False, markup=False)
        console.print(f"backtest {record.facts['wall_clock']['backtest_seconds']:.2f} s", highlight=False, markup=False)
    console.print(f"{len(paths)} files in {out}", highlight=False, markup=False)
