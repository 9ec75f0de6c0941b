"""What a strategy may trade: from the first bar behind its policies' training on, at prices not known before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from numbers import Real
from os import PathLike
from typing import Any

import numpy as np

from hybrid_bt.config import Config
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import BarsError, ConfigError, HybridError, InSampleError, check_names
from hybrid_bt.feeds.framework import Framework, bt

#: what parameters may be; None of those that are optional
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("use_kalman", "use_sac", "use_ppo_lstm", "compiled"), int | np.bool_ | None),
    **dict.fromkeys(("allow_in_sample", "allow_cheating", "record", "own_feeds"), int | np.bool_),
    **{"mode": str, "env": str, "config": str | PathLike | Config | None, "state": str | PathLike | None},
    **dict.fromkeys(("overrides", "legs", "terms"), Mapping | None),
    **{"on_bar": Callable | None, "equity_share": Real, "kalman_params": tuple | list | None},
    **{"indicators": tuple | list, "hmax": Real},
}


def as_datetime(moment: date | datetime | str) -> datetime:
    """A day is its midnight; a text is a date or time in ISO 8601."""
    if isinstance(moment, str):
        with suppress(ValueError):
            return datetime.fromisoformat(moment)
    if not isinstance(moment, date):
        raise ConfigError(f"trade_from is {moment!r}; give a date, a datetime or a text such as '2010-01-04'")
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)


def first_traded_stamp(
    training_end: date | None, trade_from: date | datetime | str | None, allow_in_sample: bool
) -> float:
    """Backtrader's number of the first moment that may be traded.

    Raises
    ------
    InSampleError
        If `trade_from` lies in the training span and that is not allowed.
    """
    free = datetime.min if training_end is None else as_datetime(training_end) + timedelta(days=1)
    if allow_in_sample:
        free = datetime.min
    wanted = free if trade_from is None else as_datetime(trade_from)
    if wanted < free:
        raise InSampleError(
            f"trade_from {wanted:%Y-%m-%d} lies in the policies' training span, which ends {training_end}: "
            f"trade from {free:%Y-%m-%d} on, or pass allow_in_sample=True and call the result in-sample"
        )
    return 0.0 if wanted == datetime.min else float(bt.date2num(wanted))


def refuse_unknown(strategy: Framework, unknown: Mapping[str, object]) -> None:
    """Backtrader accepts any name for a parameter, and any value: name what is none, or cannot be its value."""
    owner = type(strategy).__name__
    check_names(unknown, strategy.p._getkeys(), f"{owner}: no parameter")
    for name, value in strategy.p._getkwargs().items():
        kind = KINDS.get(name, object)
        if not isinstance(value, kind):
            raise ConfigError(f"{owner}: {name} is {value!r}; give {getattr(kind, '__name__', kind)}")


def nothing_traded(
    trade_from: date | datetime | str | None, n_bars: int, training_end: date | None, last: date
) -> HybridError:
    """Why no bar of a run was traded."""
    if trade_from:
        return BarsError(
            f"trade_from {as_datetime(trade_from):%Y-%m-%d} lies behind the last of {n_bars} bars, {last}: "
            "give later bars or an earlier trade_from"
        )
    return InSampleError(
        f"all {n_bars} bars lie in the policies' training span, which ends {training_end}: "
        "give later bars, or pass allow_in_sample=True and call the result in-sample"
    )


def refuse(strategy: Framework, error: HybridError) -> None:
    """Raise it where the strategy runs alone; a warning beside others, which must not lose their results."""
    if len(strategy.cerebro.runningstrats) == 1:
        raise error
    warnings.warn(f"{type(strategy).__name__} stands idle: {error}", stacklevel=2)


def will_not_trade(strategy: Framework, feeds: Sequence[Framework], trade_from: float, end: date | None) -> bool:
    """Refuse, before the first bar, preloaded feeds that end before the first stamp traded; `end` is the training's."""
    ends = [feed.lines.datetime.array[feed.buflen() - 1] for feed in feeds if feed.buflen() > 0]
    if not strategy.cerebro._dopreload or not ends or max(ends) >= trade_from:
        return False
    n_bars = len({stamp for feed in feeds for stamp in feed.lines.datetime.array[: feed.buflen()]})
    refuse(strategy, nothing_traded(strategy.p.trade_from, n_bars, end, bt.num2date(max(ends)).date()))
    return True


def warn_of_cold(strategy: Framework, warm: Sequence[bool]) -> None:
    """Name the symbols whose features were never ready."""
    cold = [symbol for symbol, is_warm in zip(strategy.symbols, warm, strict=True) if not is_warm]
    if cold:
        few = f"{strategy.n_bars} bars" if len(cold) == len(warm) else f"The bars of {', '.join(cold)}"
        silent = "nothing was traded" if len(cold) == len(warm) else "only pairs trade them"
        needed = f"fewer than the {WARMUP_BARS + 1} that the features need"
        warnings.warn(f"{type(strategy).__name__}: {few} are {needed}; {silent}", stacklevel=1)


def cheats_of(strategy: Framework) -> tuple[str, ...]:
    """Which of `cheat_on_open` and `cheat_on_close` are on: orders fill at a price known when they were decided."""
    broker: Framework = getattr(strategy.broker, "p", None)
    on_open = strategy.cerebro.p.cheat_on_open or getattr(broker, "coo", False)
    asked = {"cheat_on_open": on_open, "cheat_on_close": getattr(broker, "coc", False)}
    return tuple(name for name, is_on in asked.items() if is_on)


def refuse_cheating(strategy: Framework, allowed: bool) -> tuple[str, ...]:
    """The cheats that are on: warned of where they are allowed, a ConfigError where they are not."""
    cheats = cheats_of(strategy)
    if cheats and not allowed:
        raise ConfigError(
            f"{type(strategy).__name__}: {' and '.join(cheats)} is on, so that orders fill or are checked at prices "
            "that no decision could have met; switch it off, or pass allow_cheating=True and say so beside the result"
        )
    if cheats:
        warnings.warn(
            f"{type(strategy).__name__}: {' and '.join(cheats)} is on: what this run earns could not have been earned",
            stacklevel=2,
        )
    return cheats
