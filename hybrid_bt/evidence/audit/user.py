"""The audit of anybody's Backtrader strategy, which is imported as its author runs it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.errors import ConfigError, check_names, did_you_mean
from hybrid_bt.evidence.audit import replays
from hybrid_bt.evidence.audit.cerebros import Fill, RunMode, run
from hybrid_bt.evidence.audit.trace import Moved, Trace, check_repeatable, first_move
from hybrid_bt.feeds import Prices, as_market
from hybrid_bt.feeds.framework import Framework, bt, quietly

LAST_BARS = 750  #: audited by default: the speed of a stranger is unknown
CUTS = 10  #: cuts by default
HORIZON = 40  #: altered bars that a copy keeps
MODE_TOLERANCE = 1e-9  #: relative; run modes may sum in another order
KINDS = tuple(tuple(dict.fromkeys(("cut", kind, replays.BROKER_FUTURES[0]))) for kind in replays.BROKER_FUTURES)
#: futures of the same calendar, with seeds
OTHER_PRICES = (("scaled", 0), ("scaled", 1), ("scaled", 2), ("shuffled", 0), ("reversed", 0))
UNMOVED = (
    "orders came on the same bars and sides in every replay: they do not react to prices behind a cut, as where "
    "signals were made beforehand or come from the calendar; what those were made from is not audited"
)
MODES = {
    "runonce=False": (RunMode(runonce=False), "ArrayFeed"),
    "preload=False": (RunMode(preload=False), "ArrayFeed"),
    "PandasData": (RunMode(), "PandasData"),
}


@contextmanager
def strategy_named(name: str) -> Iterator[Framework]:
    """The class named `module:Class`, searched for in the current folder first, or `file.py:Class`.

    While it is imported and used, `sys.argv` and `sys.path` are those of a script that its author starts.

    Raises
    ------
    ConfigError
        With the nearest name, if the module or the class is not there, or is no Backtrader strategy; with the message
        of whatever the module raised on import.
    """
    module_name, _, class_name = name.rpartition(":")
    file = Path(module_name) if module_name.endswith(".py") else None
    if not class_name or not (file or all(map(str.isidentifier, module_name.split(".")))):
        words = "write module:Class or file.py:Class, for example my_strategies:SmaCross"
        raise ConfigError(f"--strategy {name!r}: {words}")
    before = sys.argv, sys.path
    folders = [str(Path.cwd()), *([str(file.parent.absolute())] if file else [])]
    sys.path = [*(folder for folder in folders[::-1] if folder not in sys.path), *sys.path]
    try:
        module = _module(module_name, file)
        found = getattr(module, class_name, None)
        if not _is_strategy(found):
            known = [key for key, value in vars(module).items() if _is_strategy(value)]
            what = "holds no" if found is None else "holds, but not as a Backtrader strategy,"
            hint = did_you_mean(class_name, known) if known else "; it has no strategy at all"
            raise ConfigError(f"--strategy: module {module_name} {what} {class_name!r}{hint}")
        yield found
    finally:
        sys.argv, sys.path = before


def _is_strategy(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, bt.Strategy) and thing is not bt.Strategy


def _module(name: str, file: Path | None) -> ModuleType:
    """Imported anew where it is a file; a script that ends by `sys.exit` is whole."""
    try:
        spec = spec_from_file_location(f"{file.stem} (script)", file) if file else find_spec(name)
        if spec is None or spec.loader is None or (file and not file.is_file()):
            raise ModuleNotFoundError(name=name)
        if spec.name in sys.modules and not file:
            return sys.modules[spec.name]
        sys.argv = [str(spec.origin)]
        module = sys.modules[spec.name] = module_from_spec(spec)
        try:
            with suppress(SystemExit):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]  # half of it
            raise
        return module
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
    progress: replays.Progress = None,
) -> replays.Audit:
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
        If there is no such strategy or parameter, or the strategy fails on the full bars, or is not repeatable.

    Examples
    --------
    >>> import backtrader as bt
    >>> audit_strategy(bt.strategies.MA_CrossOver, last_bars=150, every=40).findings
    []
    """
    bars = replays.last_rows(as_market(market).bars, last_bars)
    with strategy_named(strategy) if isinstance(strategy, str) else nullcontext(strategy) as cls:
        if not _is_strategy(cls):
            raise ConfigError(f"audit: {cls!r} is no Backtrader strategy; give a class, or its name as module:Class")
        name = strategy if isinstance(strategy, str) else f"{cls.__module__}:{cls.__name__}"
        checks = check_strategy(name, fill_with(cls, params or {}), bars, every, cash, progress)
        return replays.audit_of(name, bars, checks)


@quietly()
def check_strategy(
    name: str, fill: Fill, bars: Bars, every: int | None = None, cash: float = 1e6, progress: replays.Progress = None
) -> list[replays.Check]:
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
        If the strategy raises on the full bars, never reaches its `next`, or is not repeatable.
    """
    replay = partial(run, fill, cash=cash)
    full = replay(bars)
    altered = replays.Check("altered futures", doubted=True)
    _judge_first_run(name, full, bars, altered)
    check_repeatable(full, replay(bars))
    first = int((bars.stamps < full.stamps[full.first]).sum())
    cuts = replays.cut_rows(first, bars.n_bars, every or max((bars.n_bars - first) // (CUTS + 1), 1))
    altered.futures(replay, bars, full, cuts, KINDS, HORIZON, progress)
    modes = replays.Check("run modes and feeds", doubted=True)
    for how, (mode, feed) in MODES.items():
        modes.compare(how, full, partial(replay, bars, mode, feed), tol=MODE_TOLERANCE)
    if any(check.findings or check.lines for check in (altered, modes)):
        check_repeatable(full, replay(bars))
    cut = {int(np.searchsorted(bars.stamps, np.datetime64(one.cut))) for one in altered.findings if one.cut}
    if altered.findings and not any(_read_prices(replay, bars, row) for row in sorted(cut)):
        altered.findings = [one._replace(kind="end") if one.kind == "future" else one for one in altered.findings]
    if not full.orders:
        altered.notes.append("no order was sent, so nothing that trades was compared; give a longer history (--bars)")
    elif not altered.reacted:
        altered.notes.append(UNMOVED)
    return [altered, modes]


def _read_prices(run: replays.Run, bars: Bars, row: int) -> bool:
    """Whether prices from a row on move anything before it that acts, where the calendar stays."""
    plain, until = run(replays.rows_of(bars, slice(0, row + HORIZON))).acted(), bars.stamps[row]
    futures = (replays.alter(bars, row, kind, HORIZON, seed) for kind, seed in OTHER_PRICES)
    return any(first_move(plain, run(other).acted(), until) for other in futures)


def _judge_first_run(name: str, full: Trace, bars: Bars, check: replays.Check) -> None:
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
