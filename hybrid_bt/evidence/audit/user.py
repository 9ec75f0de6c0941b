"""The audit of anybody's Backtrader strategy."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.errors import ConfigError, check_names, did_you_mean
from hybrid_bt.evidence.audit.cerebros import Fill, RunMode, run
from hybrid_bt.evidence.audit.replays import BROKER_FUTURES, Audit, Check, Progress, audit_of, cut_rows, last_rows
from hybrid_bt.evidence.audit.trace import Moved, Trace
from hybrid_bt.feeds import Prices, as_market
from hybrid_bt.feeds.framework import Framework, bt, quietly

LAST_BARS = 750  #: audited by default: the speed of a stranger is unknown
CUTS = 10  #: cuts by default
HORIZON = 40  #: altered bars that a copy keeps
MODE_TOLERANCE = 1e-9  #: relative; run modes may sum in another order
KINDS = tuple(tuple(dict.fromkeys(("cut", kind, BROKER_FUTURES[0]))) for kind in BROKER_FUTURES)
MODES = {
    "runonce=False": (RunMode(runonce=False), "ArrayFeed"),
    "preload=False": (RunMode(preload=False), "ArrayFeed"),
    "PandasData": (RunMode(), "PandasData"),
}


def find_strategy(name: str) -> Framework:
    """The class named `module:Class`; the current folder is searched first.

    Raises
    ------
    ConfigError
        With the nearest name, if the module or the class is not there, or is no Backtrader strategy; with the message
        of whatever the module raised on import.
    """
    module_name, colon, class_name = name.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigError(f"--strategy {name!r}: write module:Class, for example my_strategies:SmaCross")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = _module(module_name)
    found = getattr(module, class_name, None)
    if not _is_strategy(found):
        known = [key for key, value in vars(module).items() if _is_strategy(value)]
        what = "holds no" if found is None else "holds, but not as a Backtrader strategy,"
        hint = did_you_mean(class_name, known) if known else "; it has no strategy at all"
        raise ConfigError(f"--strategy: module {module_name} {what} {class_name!r}{hint}")
    return found


def _is_strategy(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, bt.Strategy) and thing is not bt.Strategy


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"--strategy: module {name} needs {error.name!r}, which is not installed") from error
        near = [path.stem for path in Path.cwd().glob("*.py")]
        hint = did_you_mean(name, near) if near else "; there is no Python file in the current folder"
        raise ConfigError(f"--strategy: no module {name!r} in the current folder or installed{hint}") from None
    except Exception as error:  # a stranger's module may raise anything
        raise ConfigError(f"--strategy: importing {name} raised {type(error).__name__}: {error}") from error


def fill_with(strategy: Framework, params: Mapping[str, object]) -> Fill:
    """Puts a strategy class into a Cerebro."""
    check_names(params, list(strategy.params._getkeys()), f"{strategy.__name__}: no parameter")
    return lambda cerebro, bars: cerebro.addstrategy(strategy, **params)


def audit_strategy(
    strategy: type | str,
    market: Prices | Bars | Market = "us20",
    *,
    params: Mapping[str, object] | None = None,
    last_bars: int = LAST_BARS,
    every: int | None = None,
    cash: float = 1e6,
    progress: Progress = None,
) -> Audit:
    """Look for look-ahead in a Backtrader strategy: it is run on bars whose future was cut off or altered.

    Parameters
    ----------
    strategy : class, or text "module:Class"
    market : str, Path, Bars, Market or DataFrame
        Prices, as `run_backtest` takes them.
    params : mapping
        Parameters of the strategy.
    last_bars : int
        How many bars are audited, from the end; 0 for all.
    every : int
        Bars between cuts; by default there are ten of them.
    cash : float
        Start value, currency.
    progress : callable
        Called as `progress(done, in_all)`.

    Returns
    -------
    Audit
        `findings` is empty where nothing moved; it shows itself as a table.

    Raises
    ------
    ConfigError
        If there is no such strategy or parameter, or the strategy fails on the full bars.

    Examples
    --------
    >>> import backtrader as bt
    >>> audit_strategy(bt.strategies.MA_CrossOver, last_bars=150, every=40).findings
    []
    """
    cls = find_strategy(strategy) if isinstance(strategy, str) else strategy
    if not _is_strategy(cls):
        raise ConfigError(f"audit: {cls!r} is no Backtrader strategy; give a class, or its name as module:Class")
    name = strategy if isinstance(strategy, str) else f"{cls.__module__}:{cls.__name__}"
    fill, bars = fill_with(cls, params or {}), last_rows(as_market(market).bars, last_bars)
    return audit_of(name, bars, check_strategy(name, fill, bars, every, cash, progress))


@quietly()
def check_strategy(
    name: str, fill: Fill, bars: Bars, every: int | None = None, cash: float = 1e6, progress: Progress = None
) -> list[Check]:
    """All checks of a strategy.

    Parameters
    ----------
    name : str
        For messages.
    fill : callable
        `fill(cerebro, bars)` adds the strategy, and feeds derived from `bars` if it needs some.
    every : int, optional
        Rows between cuts; by default there are `CUTS` of them.

    Raises
    ------
    ConfigError
        If the strategy raises on the full bars, or never reaches its `next`.
    """
    replay = partial(run, fill, cash=cash)
    full = replay(bars)
    altered = Check("altered futures")
    _judge_first_run(name, full, bars, altered)
    first = int((bars.stamps < full.stamps[full.first]).sum())
    cuts = cut_rows(first, bars.n_bars, every or max((bars.n_bars - first) // (CUTS + 1), 1))
    altered.futures(replay, bars, full, cuts, KINDS, HORIZON, progress)
    modes = Check("run modes and feeds")
    for how, (mode, feed) in MODES.items():
        modes.compare(how, full, replay(bars, mode, feed), tolerance=MODE_TOLERANCE)
    return [altered, modes]


def _judge_first_run(name: str, full: Trace, bars: Bars, check: Check) -> None:
    """A strategy that fails on its last bar, by index, reads past the end; any other failure is its own affair."""
    rows = len(full.stamps)
    if full.error and "IndexError" in full.error and 0 < rows == bars.n_bars - 1 and full.first < rows:
        moved = Moved(bars.stamps[-1], "-", "the last bar", "a bar behind it to read", full.error)
        check.note("future", "none", moved)
        return
    if full.error:
        where = f" on its bar number {rows + 1}" if rows else ""
        # with runonce an indicator whose period is longer than the data ends like this
        short = "give a longer history (--bars) or " if "IndexError" in full.error and not rows else ""
        raise ConfigError(f"{name} {full.error}{where}; {short}mend it before it is audited")
    if full.first >= rows - 2:
        raise ConfigError(f"{name}: `next` did not run on {rows} bars; give a longer history (--bars)")
