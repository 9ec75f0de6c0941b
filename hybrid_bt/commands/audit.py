"""`hybrid-bt audit`: does anything that is known at a bar depend on a later one?"""

from __future__ import annotations

import ast
import os
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import click

from hybrid_bt.bars.market import Market
from hybrid_bt.commands.console import AMOUNT, COUNT, Flag, Flags, command, flag, option, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import market_of, markets_of, shared
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.config.task import Case, as_config, prepare
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.audit.replays import Audit, audit_of, last_rows
from hybrid_bt.evidence.audit.stack import audit_stack
from hybrid_bt.evidence.audit.user import LAST_BARS, audit_strategy
from hybrid_bt.evidence.audit.watch import EVERY, audit_documents
from hybrid_bt.news.lexicon import LexiconScorer
from hybrid_bt.news.store import documents_named

_BARS = click.IntRange(min=0)
NEWS_BARS = 600  #: audited of the risk manager


@command("audit", example="audit --strategy my_strategy.py:MyStrategy --symbols KO,PEP")
@option("--strategy", metavar="module|file.py:Class", help="A Backtrader strategy of yours.  [default: the own stack]")
@option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Parameter of that strategy; repeatable.")
@shared("mode", "bars", "markets", "pairs")
@option("--bars", type=_BARS, help=f"Last bars; 0 is all.  [default: all; {LAST_BARS} with --strategy]")
@option("--every", type=COUNT, help="Bars between cuts.")
@option("--cash", type=AMOUNT, default=1e6, help="Start value of a strategy.")
@option("--jobs", type=COUNT, help="Processes for the own stack.  [default: 2, if there are]")
@option("--news", metavar="sample|PATH", help="Audit the risk manager on these documents instead.")
@flag("--json", "as_json", help="Print JSON, with every finding.")
def main(**flags: Flag) -> None:
    """Replay on cut and altered futures: 0 nothing earlier moved, 1 a leak, 2 misuse."""
    if flags["news"] and flags["strategy"]:
        raise ConfigError("--news audits the risk manager, --strategy a strategy of yours; give one of them")
    if flags["settings"] and not flags["strategy"]:
        raise ConfigError("--set is for a strategy of yours; name it with --strategy module:Class")
    if flags["markets"] and (flags["news"] or flags["strategy"]):
        raise ConfigError("--markets audits the own stack on each of them; drop --news and --strategy")
    way = _documents if flags["news"] else _strategy if flags["strategy"] else _stack
    audits = [_stack(flags, market) for market in markets_of(flags)] if flags["markets"] else [way(flags)]
    for found in audits:
        if flags["as_json"]:
            echo(*found.as_json().splitlines())
        else:
            head, *rows = found.table()
            say(Table(head, rows, left=("check", "result"), title=found.subject), *found.words(), hang=4)
    if any(found.findings for found in audits):
        raise click.exceptions.Exit(1)


def _stack_of(flags: Flags, default: int, market: Market | None = None) -> Case:
    """The stack on the last bars, which are not traded: their span, and how many a year has, are its own affair."""
    config, market = as_config(flags["mode"], None), market or market_of(flags)
    market = replace(market, bars=last_rows(market.bars, default if flags["bars"] is None else flags["bars"]))
    return prepare(market, flags["mode"], config=config, allow_in_sample=True)._replace(config=config)


def _stack(flags: Flags, market: Market | None = None) -> Audit:
    stack, jobs = _stack_of(flags, 0, market), flags["jobs"] or min(2, os.cpu_count() or 1)
    with progress_bar("audit") as progress:
        checks = audit_stack(stack, flags["every"], jobs, progress)
    return audit_of(f"the {stack.mode} stack", stack.market.bars, checks)


def _documents(flags: Flags) -> Audit:
    """The risk manager by the lexicon, on the last bars or as many as asked for."""
    stack = _stack_of(flags, WARMUP_BARS + NEWS_BARS)
    store = documents_named(flags["news"])
    check = audit_documents(stack, list(store.documents()), LexiconScorer(), flags["every"] or EVERY)
    return audit_of(f"the risk manager on {len(store)} documents", stack.market.bars, [check])


def _strategy(flags: Flags) -> Audit:
    params, how = _settings(flags["settings"]), {name: flags[name] for name in ("every", "cash")}
    how["last_bars"] = LAST_BARS if flags["bars"] is None else flags["bars"]
    with progress_bar("audit") as progress, redirect_stdout(sys.stderr):  # it may print; the answer is ours
        return audit_strategy(flags["strategy"], market_of(flags), params=params, progress=progress, **how)


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`name=value`, the value as Python writes it, else as text."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--set {pair!r}: write NAME=VALUE, for example --set period=20")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
