"""`hybrid-bt news`: documents in, looked at, and checked; the risk manager against none, placebos, late and masked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from hybrid_bt.commands.console import COUNT, DAY, FILE, Flag, Group, flag, listed, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import setup_of, shared, task_of
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.errors import ConfigError, NewsError
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import cell
from hybrid_bt.news import FIELDS, US_PER_DAY, Document, instant_us, say_us
from hybrid_bt.news.intake import read_documents
from hybrid_bt.news.store import DocumentStore, open_store

if TYPE_CHECKING:
    from hybrid_bt.evidence.advice_effect import Effect

Option: TypeAlias = Any  #: what click made of a flag
FOUND = 1  #: exit status of `check`
_SNIPPET = 90  #: characters of a title or text in a list
TABLE = "news_effects.csv"
SHOWN = ("sharpe", "cvar", "max_drawdown")

store_option = option("--store", type=FILE, default=Path("news.db"), help="Store of documents.")


@click.group("news", cls=Group, epilog="Example: hybrid-bt news add archive.jsonl --store news.db")
def main() -> None:
    """Keep documents for the risk manager: news, filings, notes, with the moment at which each was known."""


@main.command("add", epilog="Example: hybrid-bt news add archive.jsonl --store news.db")
@click.argument("paths", nargs=-1, required=True, type=FILE)
@store_option
@listed("--symbols", help="Symbols of documents that name none.")
@option("--source", help="Source of documents that name none.")
@option("--on-bad-file", type=click.Choice(["fail", "skip"]), default="fail",
        help="A file that cannot be read: add nothing at all, or leave it out and say so.")  # fmt: skip
def add(paths: tuple[Path, ...], store: Path, symbols: tuple[str, ...], source: str | None, on_bad_file: str) -> None:
    """Add documents from JSONL, JSON, CSV, Parquet, RSS, Atom, or folders of text and PDF; duplicates are counted."""
    given = {"symbols": list(symbols) or None, "source": source}
    defaults = {key: value for key, value in given.items() if value}
    skipped: list[str] = []
    bad = skipped if on_bad_file == "skip" else None
    fresh = not store.exists()
    try:
        with DocumentStore(store, write=True) as documents:
            added, duplicates = documents.add(one for path in paths for one in read_documents(path, defaults, bad))
            n = len(documents)
    except NewsError:
        for end in ("", "-wal", "-shm") if fresh else ():
            store.with_name(store.name + end).unlink(missing_ok=True)  # nothing was added, so nothing is left either
        raise
    for reason in skipped:
        echo(f"skipped: {' '.join(reason.split())}", err=True)
    say(f"{added} added, {duplicates} duplicates, {len(skipped)} skipped; {store} holds {n} documents")


@main.command("list", epilog="Example: hybrid-bt news list --symbols KO --since 2020-01-01")
@store_option
@listed("--symbols", help="About these symbols.")
@option("--since", type=DAY, help="Published on this day or later.")
@option("--until", type=DAY, help="Published before this day.")
@option("--limit", type=COUNT, default=50, help="At most so many.")
@flag("--json", "as_json", help="One JSON object a line, as `add` reads it.")
def list_documents(store: Path, as_json: bool, limit: int, symbols: tuple[str, ...], **bounds: date | None) -> None:
    """List documents by their publication."""
    with open_store(store) as documents:
        chosen = (d for d in _between(documents, **bounds) if not symbols or set(symbols) & set(d.symbols))
        for number, document in enumerate(chosen):
            if number == limit:
                echo(f"... more; --limit {2 * limit} shows them", err=True)
                break
            echo(json.dumps(_plain(document))) if as_json else say(_line(document), hang=4)


@main.command("show", epilog="Example: hybrid-bt news show 3f2a9c --store news.db")
@click.argument("name")
@store_option
@shared("json")
def show(name: str, store: Path, as_json: bool) -> None:
    """Show one document by its id or the beginning of its sha256."""
    with open_store(store) as documents:
        plain = _plain(documents.find(name))
    if as_json:
        echo(*json.dumps(plain, indent=2).splitlines())
        return
    for key, value in plain.items():
        if key != "text":
            say(f"{key:14} {', '.join(value) if isinstance(value, list) else value}", hang=4)
    say("", *plain["text"].splitlines())


@main.command("check", epilog="Example: hybrid-bt news check --store news.db")
@store_option
@shared("json")
def check(store: Path, as_json: bool) -> None:
    """Look for what makes documents doubtful as a record of what was known: 0 nothing, 1 something, 2 misuse."""
    with open_store(store) as documents:
        found = _counts(documents)
    if as_json:
        echo(*json.dumps(found, indent=2).splitlines())
    else:
        for key, value in found.items():
            say(f"{key.replace('_', ' '):40} {value}", hang=4)
    if found["without_first_seen_at"] or found["seen_before_published"] or found["seen_over_a_year_late"]:
        raise click.exceptions.Exit(FOUND)


def _counts(documents: DocumentStore) -> dict[str, Any]:
    everyone = list(documents.documents())
    seen = [(d.first_seen_at, d.published_at) for d in everyone if d.first_seen_at is not None]
    return {
        "documents": len(everyone),
        "first_published": say_us(everyone[0].published_at) if everyone else "",
        "last_published": say_us(everyone[-1].published_at) if everyone else "",
        "about_the_market": sum(not d.symbols for d in everyone),
        "symbols": len({symbol for d in everyone for symbol in d.symbols}),
        "without_first_seen_at": len(everyone) - len(seen),
        "seen_before_published": sum(first < published for first, published in seen),
        "seen_over_a_year_late": sum(first > published + 365 * US_PER_DAY for first, published in seen),
        "sha256": documents.sha256(),
    }


def _between(documents: DocumentStore, since: date | None, until: date | None) -> Iterator[Document]:
    bounds = {f"published_at {sign} ?": day for sign, day in ((">=", since), ("<", until)) if day}
    return documents.documents(" AND ".join(["1", *bounds]), [instant_us(day, "the day") for day in bounds.values()])


def _plain(document: Document) -> dict[str, Any]:
    seen = document.first_seen_at
    moments = {"published_at": say_us(document.published_at), "first_seen_at": None if seen is None else say_us(seen)}
    return {name: getattr(document, name) for name in FIELDS} | {"symbols": list(document.symbols)} | moments


def _line(document: Document) -> str:
    said = " ".join((document.title or document.text).split())[:_SNIPPET]
    return f"{say_us(document.published_at)}  {document.id:20} {','.join(document.symbols) or 'market':12} {said}"


@main.command("evaluate", epilog="Example: hybrid-bt news evaluate --risk lexicon --start 2021-01-04")
@shared("mode", "bars", "pairs", "span", "in-sample", "config", "risk")
@option("--placebos", type=click.IntRange(1, 1000), default=20, help="Shuffles of the advice.")
@option("--cutoff", type=DAY, help="The model's knowledge cut-off: effects before and after are told apart.")
@option("--masked/--no-masked", default=True, help="Also without names and dates.")
@shared("seed")
@option("--out", type=FILE, help=f"Folder for {TABLE}.")
def evaluate(placebos: int, cutoff: date | None, masked: bool, seed: int, out: Path | None, **flags: Flag) -> None:
    """Compare the risk manager with none: Sharpe, CVaR, drawdown with intervals, placebo, delay, mask, flips, cost."""
    setup = setup_of(flags)
    if setup is None:
        raise ConfigError("evaluate needs a risk manager; say --risk lexicon, replay, record or live")
    import numpy as np

    from hybrid_bt.evidence.advice_effect import evaluate as compared

    after = None if cutoff is None else np.datetime64(cutoff)
    found = compared(task_of(flags), setup, placebos=placebos, cutoff=after, masked=masked, seed=seed)
    say(found.title, _effects_table(found.effects), *found.said)
    if out is not None:
        with whole_folder(out) as fresh:
            (fresh / TABLE).write_bytes(found.table)


def _effects_table(effects: list[Effect]) -> Table:
    head = [title for name in SHOWN for title in (name.replace("_", " "), "less off")]
    rows: dict[tuple[str, str], dict[str, Effect]] = {}
    for one in effects:
        rows.setdefault((one.span, one.variant), {})[one.measure] = one
    cells = [(*both, *(cell for name in SHOWN for cell in _effect_cells(found[name]))) for both, found in rows.items()]
    return Table(("span", "variant", *head), cells, left=("span", "variant"), keys=2)


def _effect_cells(effect: Effect) -> tuple[str, str]:
    scale, unit = (1.0, "") if effect.measure == "sharpe" else (100.0, "%")
    value, gap = effect.value, effect.less_off
    difference = f"{scale * gap.estimate:+.2f} [{scale * gap.low:.2f}, {scale * gap.high:.2f}]{unit}"
    return cell(value.estimate, f".2{unit or 'f'}"), difference if gap.estimate == gap.estimate else ""
