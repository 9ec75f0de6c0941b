"""The audit of this package's own stack, with Backtrader and without it."""

from __future__ import annotations

import importlib.util
import multiprocessing
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.audit.alterations import BROKER_FUTURES, FUTURES, last_rows
from hybrid_bt.audit.replays import Check, check_fills, check_futures, check_mode, cut_rows
from hybrid_bt.audit.trace import Column, OrderRow, Trace
from hybrid_bt.audit.watch import WatchedBrain
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, build
from hybrid_bt.config import Config
from hybrid_bt.errors import BarsError
from hybrid_bt.features import ASSET_FEATURES, MARKET_FEATURES, WARMUP_BARS
from hybrid_bt.opinions import opinions
from hybrid_bt.reader import read_panel
from hybrid_bt.recording import record
from hybrid_bt.strategies.framework import quietly
from hybrid_bt.target_replay import replay

LONG_HORIZON = 250  #: altered bars that those copies keep
LONG_CUTS = 3  #: cuts of the whole history; the dense ones are on shorter spans
DENSE_BARS = 150  #: bars behind the warm-up of a dense span
MODE_BARS = 40  #: of the span that is run in every run mode
MODE_SYMBOLS = 5
HORIZON = 20  #: altered bars that a copy keeps: longer than any memory that a decision could borrow from
CUT = ("cut",)
ALL = (*CUT, *(kind for kind in FUTURES if kind != "thinned"))
IN_TURN = tuple((*CUT, kind) for kind in BROKER_FUTURES)


class Stack(NamedTuple):
    """What is audited."""

    bars: Bars
    config: Config
    policies: Policies
    pairs: tuple[str, ...]


def brain_trace(stack: Stack, bars: Bars, *, panel: bool = False) -> Trace:
    """The stack without a framework: brain, recorder, replay, and with `panel` what reads a whole panel at once."""
    stack = stack._replace(config=stack.config.for_stamps(bars.stamps[: WARMUP_BARS // 2]))  # as the strategy does
    brain: Any = WatchedBrain(build(stack.config, bars.symbols, stack.pairs, stack.policies), bars.symbols, stack.pairs)
    rows = array("d")
    decide = brain.decide

    def decide_and_keep(closes: Any) -> Any:
        decision = decide(closes)
        rows.extend(brain.row)
        return decision

    brain.decide = decide_and_keep
    recorder = record(brain, bars, stack.pairs)
    columns, blocks = brain.columns(), [np.array(rows).reshape(bars.n_bars, -1)]
    for found, values in (*_recorded(recorder, bars), *(_panel(stack, brain, bars) if panel else ())):
        columns += found
        blocks.append(values.reshape(bars.n_bars, -1).astype(np.float64))
    path = replay(
        recorder.decisions().sent,
        bars,
        cash=stack.config.account.cash,
        costs=stack.config.costs,
        rules=stack.config.order_rules,
    )
    columns += [Column("replayed cash", "-"), Column("replayed equity", "-")]
    columns += [Column("replayed position", symbol) for symbol in bars.symbols]
    values = np.column_stack([*blocks, path.cash, path.equity, path.size])
    fills = list(path.fills)
    orders = [OrderRow(bars.stamps[f.bar], bars.symbols[f.symbol], "fill", f.size, f.price, np.nan) for f in fills]
    same_bar = [
        (bars.stamps[f.decided], bars.symbols[f.symbol], repr(f.price), repr(float(bars.open[f.bar, f.symbol])))
        for f in fills
        if f.bar <= f.decided or f.price != bars.open[f.bar, f.symbol]
    ]
    return Trace(tuple(columns), values, bars.stamps, orders, min(WARMUP_BARS, bars.n_bars - 1), same_bar)


def _recorded(recorder: Any, bars: Bars) -> list[tuple[list[Column], Any]]:
    """What the recorder says after the run: shows a row that was changed after it was decided."""
    decisions = recorder.decisions()
    vectors = {**decisions.legs, "fused": decisions.fused, "final": decisions.target}
    found: list[tuple[list[Column], Any]] = [
        ([Column(f"recorded target {name}", symbol) for symbol in bars.symbols], values)
        for name, values in vectors.items()
    ]
    return [*found, ([Column("recorded regime r", "-")], decisions.regime)]


def _panel(stack: Stack, brain: Any, bars: Bars) -> list[tuple[list[Column], Any]]:
    """What training and studies read: features and opinions over the whole panel at once."""
    panel = read_panel(bars.close, brain.reader)
    said = opinions(build(stack.config, bars.symbols, stack.pairs, stack.policies), panel)
    asset = [Column(f"panel feature {name}", symbol) for symbol in bars.symbols for name in ASSET_FEATURES]
    found: list[tuple[list[Column], Any]] = [
        (asset, panel.features),
        ([Column(f"panel feature {name}", "-") for name in MARKET_FEATURES], panel.market),
        ([Column("panel regime r", "-")], said.regime),
    ]
    names = ((Column(f"panel target {name}", symbol) for symbol in bars.symbols) for name in said.legs)
    return found + [(list(columns), targets) for columns, targets in zip(names, said.legs.values(), strict=True)]


def audit_stack(
    stack: Stack, every: int | None = None, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[Check]:
    """All checks of the stack.

    Parameters
    ----------
    every : int, optional
        Rows between cuts of the dense spans; by default 15 for arrays and 25 under Backtrader.

    jobs : int
        Processes.

    Raises
    ------
    BarsError
        If there are fewer bars than the features need to warm up and a few to audit.
    """
    least = WARMUP_BARS + MODE_BARS
    if stack.bars.n_bars < least:
        raise BarsError(
            f"bars: {stack.bars.name} has {stack.bars.n_bars} bars; the audit needs {least}: {WARMUP_BARS} to warm up "
            "and some to compare; give a longer history"
        )
    parts = list(PARTS)
    checks: list[Check] = []
    with _workers(jobs) as pool:
        # the longest first; a spawned worker shares no memory with onnxruntime's threads here
        for done, found in enumerate(pool.map(_carry_out, parts, [stack] * len(parts), [every] * len(parts))):
            checks += found
            if progress is not None:
                progress(done + 1, len(parts))
    return checks


@contextmanager
def _workers(jobs: int) -> Iterator[Any]:
    if jobs == 1:
        yield _Here()
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield pool


class _Here:
    """A pool of nobody."""

    map = staticmethod(map)


@quietly()
def _carry_out(part: str, stack: Stack, every: int | None) -> list[Check]:
    return PARTS[part](stack, every)


def _whole_history(stack: Stack, every: int | None) -> list[Check]:
    check, bars = Check("arrays, whole history"), stack.bars

    def run(panel: Bars) -> Trace:
        return brain_trace(stack, panel, panel=True)

    full = run(bars)
    step = max((bars.n_bars - WARMUP_BARS) // (LONG_CUTS + 1), 1)
    cuts = cut_rows(WARMUP_BARS + step - 1, bars.n_bars - step + 1, step)
    kinds = [("scaled",), ("shuffled",), ("cut",)]
    check_futures(check, run, bars, full, cuts, kinds, LONG_HORIZON)
    check_fills(check, full)
    return [check]


def _dense_arrays(stack: Stack, every: int | None) -> list[Check]:
    check, bars = Check("arrays, dense cuts"), last_rows(stack.bars, WARMUP_BARS + DENSE_BARS)
    full = brain_trace(stack, bars)
    cuts = cut_rows(WARMUP_BARS + 2, bars.n_bars, every or 15)
    check_futures(check, lambda panel: brain_trace(stack, panel), bars, full, cuts, [ALL], HORIZON)
    check_fills(check, full)
    return [check]


def _dense_cerebro(stack: Stack, every: int | None) -> list[Check]:
    check, bars = Check("Cerebro, dense cuts"), last_rows(stack.bars, WARMUP_BARS + DENSE_BARS)
    run = _runner(stack)
    full = run(bars)
    cuts = cut_rows(WARMUP_BARS + 2, bars.n_bars, every or 25)
    check_futures(check, run, bars, full, cuts, IN_TURN, HORIZON)
    check_fills(check, full)
    return [check]


def _dense_ahead(stack: Stack, every: int | None) -> list[Check]:
    """Opinions that were made ahead of the account: the path of preloaded feeds where numba is installed."""
    if importlib.util.find_spec("numba") is None:
        return []
    check, bars = Check("Cerebro, opinions ahead, dense cuts"), last_rows(stack.bars, WARMUP_BARS + DENSE_BARS)
    run = _runner(stack, ahead=True)
    full = run(bars)
    cuts = cut_rows(WARMUP_BARS + 2, bars.n_bars, every or 25)
    check_futures(check, run, bars, full, cuts, IN_TURN, HORIZON)
    check_fills(check, full)
    return [check]


def _all_modes(stack: Stack, feed: str) -> list[Check]:
    """Every run mode of a feed class: equal to ArrayFeed's first to the bit, and blind to one cut and one future."""
    from hybrid_bt.audit.cerebros import RUN_MODES

    symbols, pairs = _few(stack)
    small = stack._replace(bars=last_rows(stack.bars.select(symbols), WARMUP_BARS + MODE_BARS), pairs=pairs)
    bars, reference = small.bars, _runner(small)(small.bars)
    cuts = [WARMUP_BARS + MODE_BARS // 2, WARMUP_BARS + MODE_BARS - 7]
    check = Check(f"Cerebro, {len(RUN_MODES)} run modes, {feed}")
    for number, mode in enumerate(RUN_MODES):
        run = _runner(small, mode, feed)
        full = run(bars)
        check_mode(check, f"{feed} {mode}", reference, full, tolerance=0.0)
        before = len(check.findings)
        kinds = [CUT, (BROKER_FUTURES[number % len(BROKER_FUTURES)],)]
        check_futures(check, run, bars, full, cuts, kinds if number % 2 else kinds[::-1], HORIZON)
        check.findings[before:] = [f._replace(how=f"{f.how}, {mode}") for f in check.findings[before:]]
    return [check]


def _array_modes(stack: Stack, every: int | None) -> list[Check]:
    return _all_modes(stack, "ArrayFeed")


def _pandas_modes(stack: Stack, every: int | None) -> list[Check]:
    return _all_modes(stack, "PandasData")


def _runner(stack: Stack, mode: Any = None, feed: str = "ArrayFeed", *, ahead: bool = False) -> Callable[[Bars], Trace]:
    from hybrid_bt.audit.cerebros import RunMode, run
    from hybrid_bt.audit.hybrid import fill_with_hybrid

    fill = fill_with_hybrid(stack.config, stack.policies, stack.pairs, ahead=ahead)
    return lambda bars: run(fill, bars, mode or RunMode(), feed, cash=stack.config.account.cash, own=True)


def _few(stack: Stack) -> tuple[list[str], tuple[str, ...]]:
    """A handful of symbols, pairs first, and the pairs among them."""
    sides = [side for pair in stack.pairs for side in pair.split(":")]
    symbols = list(dict.fromkeys([*sides, *stack.bars.symbols]))[:MODE_SYMBOLS]
    return symbols, tuple(pair for pair in stack.pairs if set(pair.split(":")) <= set(symbols))


PARTS: dict[str, Callable[[Stack, int | None], list[Check]]] = {
    "whole history": _whole_history,
    "dense arrays": _dense_arrays,
    "dense Cerebro": _dense_cerebro,
    "opinions ahead": _dense_ahead,
    "array modes": _array_modes,
    "pandas modes": _pandas_modes,
}
