"""`hybrid-bt audit`: does anything that is known at a bar depend on a later one?"""

from __future__ import annotations

import ast
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from hybrid_bt.audit import report
from hybrid_bt.audit.cerebros import run
from hybrid_bt.audit.documents import EVERY, audit_documents
from hybrid_bt.audit.replays import last_rows, measure_startup
from hybrid_bt.audit.stack import audit_stack, brain_trace
from hybrid_bt.audit.user import audit_strategy, fill_with, find_strategy
from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.console import AMOUNT, COUNT, command, flag, option, progress_bar
from hybrid_bt.errors import ConfigError
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.news.lexicon import LexiconScorer
from hybrid_bt.news.setup import SAMPLE, sample_path
from hybrid_bt.news.store import open_store
from hybrid_bt.options import Flags, market_of, shared
from hybrid_bt.task import Task, as_config, prepare

STRATEGY_BARS = 750  #: audited of a user's strategy, whose speed is unknown
NEWS_BARS = 600  #: audited of the risk manager
AFTER = (252, 504, 1008)  #: bars since a later start at which start-up sensitivity is told
STRATEGY_AFTER = (50, 100, 250)
STARTS = (252, 1000)  #: later first rows
STARTUP_BARS = 2600
#: what a decision is made of, for the start-up figures
TOLD = ("regime r", "leg target sac", "leg target kalman", "final target", "volatility", "pair zscore", "pair beta")
_BARS_HELP = f"Last bars; 0 is all.  [default: all; {STRATEGY_BARS} with --strategy]"


@command("audit")
@option("--strategy", metavar="module:Class", help="A Backtrader strategy of yours.  [default: the own stack]")
@option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Parameter of that strategy; repeatable.")
@shared("mode", "bars", "pairs")
@option("--bars", type=click.IntRange(min=0), help=_BARS_HELP)
@option("--every", type=COUNT, help="Bars between cuts.")
@option("--cash", type=AMOUNT, default=1e6, help="Start value of a strategy.")
@option("--jobs", type=COUNT, help="Processes for the own stack.  [default: 2, if there are]")
@option("--news", metavar="sample|PATH", help="Audit the risk manager on these documents instead.")
@flag("--json", "as_json", help="Print JSON, with every finding.")
def main(**flags: Any) -> None:
    """Replay on cut and altered futures: 0 nothing earlier moved, 1 a leak, 2 misuse."""
    began = time.perf_counter()
    if flags["news"] and flags["strategy"]:
        raise ConfigError("--news audits the risk manager, --strategy a strategy of yours; give one of them")
    way = _documents if flags["news"] else _strategy if flags["strategy"] else _stack
    subject, checks, forgetting = way(flags)
    say = report.as_json if flags["as_json"] else report.as_text
    click.echo(say(subject, checks, forgetting, time.perf_counter() - began))
    if any(check.findings for check in checks):
        raise click.exceptions.Exit(1)


def _last(bars: Bars, flags: Flags, default: int) -> Bars:
    return last_rows(bars, default if flags["bars"] is None else flags["bars"])


def _stack_of(flags: Flags, default: int) -> Task:
    """The stack on the last bars, which are not traded: their span, and how many a year has, are its own affair."""
    config, market = as_config(flags["mode"], None), market_of(flags)
    market = replace(market, bars=_last(market.bars, flags, default))
    return prepare(market, flags["mode"], config=config, allow_in_sample=True)._replace(config=config)


def _subject(name: str, bars: Bars) -> str:
    span = f"{say_stamp(bars.stamps[0])} to {say_stamp(bars.stamps[-1])}"
    return f"audit of {name} on {bars.name}, {bars.n_symbols} symbols, {bars.n_bars} bars, {span}"


def _stack(flags: Flags) -> tuple[str, Any, Any]:
    if flags["settings"]:
        raise ConfigError("--set is for a strategy of yours; name it with --strategy module:Class")
    stack = _stack_of(flags, 0)
    jobs = flags["jobs"] or min(2, os.cpu_count() or 1)
    with progress_bar("audit") as progress:
        checks = audit_stack(stack, flags["every"], jobs, progress)
    late = last_rows(stack.market.bars, STARTUP_BARS)
    brain = partial(brain_trace, stack)
    starts = [start for start in STARTS if start + AFTER[0] < late.n_bars]
    forgetting = measure_startup(brain, late, brain(late), starts, AFTER, TOLD.__contains__) if starts else []
    return _subject(f"the {flags['mode']} stack", stack.market.bars), checks, forgetting


def _documents(flags: Flags) -> tuple[str, Any, Any]:
    """The risk manager by the lexicon, on the last bars or as many as asked for."""
    stack = _stack_of(flags, WARMUP_BARS + NEWS_BARS)
    store = open_store(sample_path() if flags["news"] == SAMPLE else Path(flags["news"]))
    check = audit_documents(stack, list(store.documents()), LexiconScorer(), flags["every"] or EVERY)
    return _subject(f"the risk manager on {len(store)} documents", stack.market.bars), [check], []


def _strategy(flags: Flags) -> tuple[str, Any, Any]:
    strategy = find_strategy(flags["strategy"])
    fill = fill_with(strategy, _settings(flags["settings"]))
    bars, cash = _last(market_of(flags).bars, flags, STRATEGY_BARS), flags["cash"]
    with progress_bar("audit") as progress:
        checks = audit_strategy(flags["strategy"], fill, bars, flags["every"], cash, progress)

    replay = partial(run, fill, cash=cash)

    def own(quantity: str) -> bool:
        return not quantity.startswith(("data ", "observer ", "cash", "value"))

    starts = [bars.n_bars // 4, bars.n_bars // 2]
    forgetting = measure_startup(replay, bars, replay(bars), starts, STRATEGY_AFTER, own)
    return _subject(flags["strategy"], bars), checks, forgetting


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
