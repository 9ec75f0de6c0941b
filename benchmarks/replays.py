"""Replay against the event path, and against vectorbt and a bare compiled loop on the same orders."""

from __future__ import annotations

import importlib.util
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.event_path import stretch
from benchmarks.measure import Bound, Row, at_least, cpu_seconds, medians, missing, spend
from benchmarks.pairs_rule import FEE, bare_loop, order_sizes, positions
from benchmarks.panels import START_CASH, random_panel
from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import how_to_install

__all__ = ["event_path", "rivals"]

EQUAL = 1e-9  #: relative to the start value
FREE = Costs(spread_bps=0.0, fee_bps=FEE * 1e4, borrow_bps_per_year=0.0)


def _needs_numba(what: str) -> list[Row]:
    if importlib.util.find_spec("numba") is None:
        return [missing(what, f"not installed: {how_to_install('train')} (numba)")]
    return []


def event_path(quick: bool) -> list[Row]:
    """The same targets through Cerebro and through `replay`."""
    rows = _needs_numba("replay vs event path")
    return rows or [row for n in (2, 20) for row in _against_cerebro(n, quick)]


def _against_cerebro(n_symbols: int, quick: bool) -> list[Row]:
    from hybrid_bt.backtest.engines import by_backtrader
    from hybrid_bt.bars.market import Market
    from hybrid_bt.config.task import prepare

    bars, pairs = stretch(n_symbols, quick)
    first = 300
    task = prepare(Market(bars.name, bars, pairs), allow_in_sample=True)._replace(row=first)
    config = task.config
    trading = by_backtrader(task)  # loads numba
    event = medians({"event": lambda: by_backtrader(task)}, 3)["event"]
    account = trading.account
    decisions, traded = trading.decisions, bars.between(bars.stamps[first], None)
    targets = decisions.target
    given: dict[str, Any] = {
        "sides": decisions.together,
        "cash": config.account.cash,
        "costs": config.costs,
        "rules": config.order_rules,
        "compiled": True,
    }
    twin = replay(targets, traded, **given)  # compiles
    gap = float(np.max(np.abs(twin.equity - account.equity)) / config.account.cash)
    if gap > EQUAL:
        raise AssertionError(f"replay and Cerebro differ by {gap}")
    cold = medians({"one": lambda: replay(targets, traded, **given)}, 5)["one"] * 1e6 / traded.n_bars
    cost = medians({"one": lambda: replay(targets, traded, **given)}, 5, lambda work: spend(work, 0.05))
    event, one = event * 1e6 / traded.n_bars, cost["one"] * 1e6 / traded.n_bars
    bound = at_least(1_000.0) if n_symbols == 2 else Bound("faster", math.nan)
    note = f"equity differs by {gap:.0e}; a single call after a collection {cold:.2f} us/bar"
    return [
        Row(f"replay, {n_symbols} assets", "us/bar", one, "event path, hybrid", event, bound, note),
    ]


def rivals(quick: bool, vectorbt_python: str | None = None) -> list[Row]:
    """A shared pairs rule: orders known beforehand, accounts by each library, equity compared."""
    rows = _needs_numba("replay vs vectorbt")
    return rows or [row for n in (2, 30) for row in _on_pairs(n, quick, vectorbt_python)]


@cache
def _compiled_loop() -> Callable[..., None]:
    import numba

    compiled: Callable[..., None] = numba.njit(bare_loop)
    return compiled


def _on_pairs(n_symbols: int, quick: bool, vectorbt_python: str | None) -> list[Row]:
    bars = random_panel(1_000 if quick else 5_000, n_symbols)
    wanted = positions(bars, START_CASH)
    orders = order_sizes(wanted)
    loop = _compiled_loop()
    equity = np.empty(bars.n_bars)
    loop(bars.open, bars.close, orders, START_CASH, FEE, equity)
    targets = _as_targets(wanted, bars, equity)
    rules = OrderRules(lot=1.0)
    twin = replay(targets, bars, cash=START_CASH, costs=FREE, rules=rules, compiled=True)
    _check("the bare loop", twin.equity[-1], equity[-1])
    given: dict[str, Any] = {"cash": START_CASH, "costs": FREE, "rules": rules, "compiled": True}
    cost = medians(
        {
            "ours": lambda: replay(targets, bars, **given),
            "bare": lambda: loop(bars.open, bars.close, orders, START_CASH, FEE, equity),
        },
        7,
    )
    micro = 1e6 / bars.n_bars
    ours, bare = cost["ours"] * micro, cost["bare"] * micro
    note = f"equity equal, {np.count_nonzero(orders)} orders"
    what = f"replay, pairs rule, {n_symbols} assets"
    none = Bound("faster", math.nan)
    rows = [Row(what, "us/bar", ours, "bare compiled loop", bare, none, note)]
    theirs = _vectorbt(bars, orders, float(equity[-1]), vectorbt_python, lambda: replay(targets, bars, **given))
    if theirs is None:
        return [*rows, missing(f"{what} vs vectorbt", "not installed here: give --vectorbt PYTHON that has it")]
    ours, theirs_cost = (seconds * micro for seconds in theirs)
    return [*rows, Row(what, "us/bar", ours, "vectorbt from_orders", theirs_cost, at_least(10.0), "equity equal")]


def _as_targets(wanted: Any, bars: Bars, equity: Any) -> Any:
    """Fractions of equity that ask for whole shares: a third of a share more, which the lot rounds away.

    NaN where nothing changes: keep what is held.
    """
    nudged = wanted + np.sign(wanted) / 3.0
    targets = nudged * bars.close / equity[:, np.newaxis]
    targets[np.diff(wanted, axis=0, prepend=0.0) == 0.0] = np.nan
    return targets


def _check(name: str, ours: float, theirs: float) -> None:
    if abs(ours - theirs) > EQUAL * START_CASH:
        raise AssertionError(f"replay ends with {ours!r}, {name} with {theirs!r}")


def _vectorbt(bars: Bars, orders: Any, equity: float, python: str | None, ours: Any) -> tuple[float, float] | None:
    """Median CPU seconds of ours and of vectorbt, measured in turns."""
    if python is None and importlib.util.find_spec("vectorbt") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.npz"
        np.savez(path, opens=bars.open, closes=bars.close, orders=orders, cash=START_CASH, fee=FEE)
        script = Path(__file__).with_name("vectorbt_pairs.py")
        with subprocess.Popen(
            [python or sys.executable, str(script), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdin is not None and server.stdout is not None
            costs = []
            for _ in range(7):
                server.stdin.write("\n")
                server.stdin.flush()
                seconds, value = map(float, server.stdout.readline().split())
                _check("vectorbt", equity, value)
                costs.append((cpu_seconds(ours), seconds))
    mine, theirs = (statistics.median(column) for column in zip(*costs, strict=True))
    return mine, theirs
