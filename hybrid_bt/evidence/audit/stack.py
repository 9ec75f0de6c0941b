"""The audit of this package's own stack, with Backtrader and without it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np

from hybrid_bt.account.registry import traded_at
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.brain.records import Recorder, record
from hybrid_bt.config.task import Case
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import BarsError
from hybrid_bt.evidence.audit.cerebros import DEFAULT, RUN_MODES, RunMode, run
from hybrid_bt.evidence.audit.replays import BROKER_FUTURES, FUTURES, Check, Kinds, Progress, Run, cut_rows, last_rows
from hybrid_bt.evidence.audit.trace import NOBODY, Known, OrderRow, Trace, columns_of, filled_at_once
from hybrid_bt.evidence.audit.watch import WatchedBrain, fill_with_hybrid, seen
from hybrid_bt.feeds.framework import quietly
from hybrid_bt.files.workers import workers

LONG_HORIZON = 250  #: altered bars that those copies keep
LONG_CUTS = 3  #: cuts of the whole history; the dense ones are on shorter spans
DENSE_BARS = 150  #: bars behind the warm-up of a dense span
MODE_BARS = 40  #: of the span that is run in every run mode
MODE_SYMBOLS = 5
HORIZON = 20  #: altered bars that a copy keeps: longer than any memory that a decision could borrow from
CUT = ("cut",)
ALL = (*CUT, *(kind for kind in FUTURES if kind != "thinned"))
IN_TURN = tuple((*CUT, kind) for kind in BROKER_FUTURES)


def brain_trace(stack: Case, bars: Bars, *, panel: bool = False) -> Trace:
    """The stack without a framework: brain, recorder, replay, and with `panel` what reads a whole panel at once."""
    config = stack.config.for_stamps(bars.stamps[: WARMUP_BARS // 2])  # as the strategy does
    stack, symbols, pairs = stack._replace(config=config), bars.symbols, stack.market.pairs
    brain = WatchedBrain(stack.brain(), symbols, pairs)
    recorder = record(brain, bars, pairs)
    decisions = recorder.decisions()
    path = traded_at(config.terms(), decisions.sent, bars, decisions.together)
    paths = [*_recorded(recorder, bars), *(_panel(stack, brain, bars) if panel else ())]
    paths += [Known(["replayed cash"], NOBODY, path.cash), Known(["replayed equity"], NOBODY, path.equity)]
    paths.append(Known(["replayed position"], symbols, path.size))
    values = [np.reshape(each, (bars.n_bars, -1)) for each in (brain.numbers, *(kind.values for kind in paths))]
    orders = [OrderRow(bars.stamps[f.bar], symbols[f.symbol], "fill", f.size, f.price, np.nan) for f in path.fills]
    same_bar = [
        filled_at_once(bars.stamps[f.decided], symbols[f.symbol], f.price, float(bars.open[f.bar, f.symbol]))
        for f in path.fills
        if f.bar <= f.decided or f.price != bars.open[f.bar, f.symbol]
    ]
    first = min(WARMUP_BARS, bars.n_bars - 1)
    return Trace(columns_of([*brain.known, *paths]), np.column_stack(values), bars.stamps, orders, first, same_bar)


def _recorded(recorder: Recorder, bars: Bars) -> list[Known]:
    """What the recorder says after the run: shows a row that was changed after it was decided."""
    decisions = recorder.decisions()
    vectors = {**decisions.legs, "fused": decisions.fused, "final": decisions.target}
    found = [Known([f"recorded target {name}"], bars.symbols, values) for name, values in vectors.items()]
    return [*found, Known(["recorded regime r"], NOBODY, decisions.regime)]


def _panel(stack: Case, brain: WatchedBrain, bars: Bars) -> list[Known]:
    """What training and studies read: features and opinions over the whole panel at once."""
    panel = read_panel(bars.close, brain.reader)
    said = opinions(stack.brain(), panel)
    return [
        *seen(panel, bars.symbols, stack.market.pairs, "panel "),
        Known(["panel regime r"], NOBODY, said.regime),
        *(Known([f"panel target {name}"], bars.symbols, values) for name, values in said.legs.items()),
    ]


def audit_stack(stack: Case, every: int | None = None, jobs: int = 1, progress: Progress = None) -> list[Check]:
    """All checks of the stack.

    Parameters
    ----------
    every : int, optional
        Rows between cuts of the dense spans; by default 15 for arrays and 25 under Backtrader.

    jobs : int
        Processes.

    Raises
    ------
    ConfigError
        If one of them was killed from outside.
    BarsError
        If there are fewer bars than the features need to warm up and a few to audit.
    """
    bars, least = stack.market.bars, WARMUP_BARS + MODE_BARS
    if bars.n_bars < least:
        rule = f"the audit needs {least}: {WARMUP_BARS} to warm up and some to compare"
        raise BarsError(f"bars: {bars.name} has {bars.n_bars} bars; {rule}; give a longer history")
    checks: list[Check] = []
    # a spawned worker shares no memory with onnxruntime's threads here; there is none until something is submitted
    with workers(jobs, "audit", "free memory, or use fewer --jobs") as pool:
        for check in (pool.map if jobs > 1 else map)(partial(_carry_out, stack, every), PARTS):
            checks.append(check)
            if progress is not None:
                progress(len(checks), len(PARTS))
    return checks


@quietly()
def _carry_out(stack: Case, every: int | None, part: str) -> Check:
    return PARTS[part](stack, every)


def _whole_history(stack: Case, every: int | None) -> Check:
    bars, check, run = stack.market.bars, Check("arrays, whole history"), partial(brain_trace, stack, panel=True)
    step = max((bars.n_bars - WARMUP_BARS) // (LONG_CUTS + 1), 1)
    cuts = cut_rows(WARMUP_BARS + step - 1, bars.n_bars - step + 1, step)
    check.futures(run, bars, run(bars), cuts, [("scaled",), ("shuffled",), CUT], LONG_HORIZON)
    return check


def _dense(name: str, runner: Callable[[Case], Run], kinds: Kinds, usual: int, stack: Case, every: int | None) -> Check:
    bars, run = last_rows(stack.market.bars, WARMUP_BARS + DENSE_BARS), runner(stack)
    check = Check(f"{name}, dense cuts")
    cuts = cut_rows(WARMUP_BARS + 2, bars.n_bars, every or usual)
    check.futures(run, bars, run(bars), cuts, kinds, HORIZON)
    return check


def _all_modes(feed: str, stack: Case, every: int | None) -> Check:
    """Every run mode of a feed class: equal to ArrayFeed's first to the bit, and blind to one cut and one future."""
    small = stack._replace(market=_few(stack.market))
    bars, check = small.market.bars, Check(f"Cerebro, {len(RUN_MODES)} run modes, {feed}")
    reference, cuts = _runner(small)(bars), [WARMUP_BARS + MODE_BARS // 2, WARMUP_BARS + MODE_BARS - 7]
    for number, mode in enumerate(RUN_MODES):
        runner = _runner(small, mode, feed)
        full = runner(bars)
        check.compare(f"{feed} {mode}", reference, partial(lambda trace: trace, full))
        before = len(check.findings)
        kinds = [CUT, (BROKER_FUTURES[number % len(BROKER_FUTURES)],)]
        check.futures(runner, bars, full, cuts, kinds if number % 2 else kinds[::-1], HORIZON)
        check.findings[before:] = [f._replace(how=f"{f.how}, {mode}") for f in check.findings[before:]]
    return check


def _runner(stack: Case, mode: RunMode = DEFAULT, feed: str = "ArrayFeed", *, ahead: bool = False) -> Run:
    fill = fill_with_hybrid(stack.config, stack.policies, stack.market.pairs, ahead=ahead)
    return lambda bars: run(fill, bars, mode, feed, cash=stack.config.account.cash, own=True)


def _few(market: Market) -> Market:
    """The last bars of a handful of symbols, pairs first, and the pairs among them."""
    sides = [side for pair in market.pairs for side in pair.split(":")]
    symbols = list(dict.fromkeys([*sides, *market.bars.symbols]))[:MODE_SYMBOLS]
    pairs = tuple(pair for pair in market.pairs if set(pair.split(":")) <= set(symbols))
    return Market(market.name, last_rows(market.bars.select(symbols), WARMUP_BARS + MODE_BARS), pairs)


#: the longest first
PARTS: dict[str, Callable[[Case, int | None], Check]] = {
    "whole history": _whole_history,
    "dense arrays": partial(_dense, "arrays", lambda stack: partial(brain_trace, stack), [ALL], 15),
    "dense Cerebro": partial(_dense, "Cerebro", _runner, IN_TURN, 25),
    "opinions ahead": partial(_dense, "Cerebro, opinions ahead", partial(_runner, ahead=True), IN_TURN, 25),
    "array modes": partial(_all_modes, "ArrayFeed"),
    "pandas modes": partial(_all_modes, "PandasData"),
}
if importlib.util.find_spec("numba") is None:
    del PARTS["opinions ahead"]  # the path of preloaded feeds needs it
