"""An agent trained in FinRL, traded by Backtrader's broker: FinRL's state, and FinRL's trades.

    state  = [cash] + closes + holdings + indicator 1 of every ticker + indicator 2 of every ticker + ...
    trades = whole shares, action * hmax cut toward zero; the greatest sale first, then the greatest purchase;
             nothing is sold that is not held, nothing bought that the cash left over does not pay for

Tickers are in alphabetical order, as FinRL sorts them. Source: FinRL, `finrl/meta/env_stock_trading/
env_stocktrading.py` and `finrl/meta/preprocessor/preprocessors.py` (version 0.3.7).
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import BarsError, ConfigError, PolicyError, how_to_install
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.honesty import first_traded_stamp, refuse_cheating, refuse_unknown
from hybrid_bt.strategies.orders import Holdings
from hybrid_bt.strategies.rows import traded_feeds

#: `finrl.config.INDICATORS`, in stockstats' names
FINRL_INDICATORS = ("macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma")
_COLUMNS = ("open", "high", "low", "close", "volume")


def finrl_state(
    cash: float, closes: Sequence[float], holdings: Sequence[float], indicators: Sequence[Sequence[float]]
) -> NDArray[np.float32]:
    """FinRL's observation, of shape (1 + tickers * (2 + indicators),); of each indicator, the values of all tickers."""
    return np.array([cash, *closes, *holdings, *chain.from_iterable(indicators)], dtype=np.float32)


def finrl_trades(
    shares: NDArray[np.int64], cash: float, closes: Sequence[float], holdings: Sequence[float], costs: Sequence[float]
) -> list[tuple[int, float]]:
    """Orders as (ticker, signed whole shares), in the order in which FinRL carries them out.

    Parameters
    ----------
    shares : (tickers,)
        That the agent asks for, signed.
    holdings : (tickers,)
        Shares, >= 0.
    costs : (tickers,)
        Fraction of the value traded, which decides how much the cash pays for.
    """
    order = np.argsort(shares)
    trades: list[tuple[int, float]] = []
    for i in [*order[: int((shares < 0).sum())].tolist(), *order[::-1][: int((shares > 0).sum())].tolist()]:
        if shares[i] < 0:
            size = -int(min(-shares[i], max(holdings[i], 0.0)))
        else:
            size = int(min(max(cash // (closes[i] * (1.0 + costs[i])), 0.0), shares[i]))
        cash -= closes[i] * size * (1.0 + math.copysign(costs[i], size))
        if size:
            trades.append((i, size))
    return trades


class FinRLStrategy(bt.Strategy):
    """Asks an agent what it would have been asked in FinRL's `StockTradingEnv`, and trades its answer.

    >>> cerebro.addstrategy(FinRLStrategy, agent=PPO.load("agent"), hmax=100, trained_until=date(2020, 7, 31))

    FinRL fills at the very close that the agent saw. Here orders fill at the next open, under the broker's costs,
    sales before purchases; what a gap makes too dear the broker refuses. To see FinRL's own arithmetic,
    `broker.set_coc(True)` and pass `allow_cheating=True`.

    Parameters
    ----------
    agent : object with `predict`, or callable
        `predict(state, deterministic=True)` as Stable-Baselines3 has it, or a function of the state; one action in
        [-1, 1] per ticker. Normalisation of observations is the agent's own matter. What a recurrent agent remembers
        is carried from bar to bar, the first of which begins its episode.
    symbols : sequence of str, optional
        Feeds that the agent trades, in the order of its training: alphabetical by default, as FinRL sorts them.
    indicators : sequence of str
        In the order of training. One that a feed has as a line is read from there; the others are computed by
        stockstats from the bars up to this one only, some 8 ms for each feed and bar: give lines where it is too slow.
    hmax : int
        Shares of an action of 1.
    trained_until, trade_from, allow_in_sample
        Trading begins on the first bar after the training, or later.
    allow_cheating : bool
        Trade although cheat-on-open or cheat-on-close is on.

    Raises
    ------
    ConfigError, InSampleError
        As `HybridStrategy`; or if stockstats is needed and not installed, or does not know an indicator.
    PolicyError
        If the agent's answer is not one finite action per ticker, or it remembers and takes no `state` back.
    """

    counts_own_fills = True

    params = (
        *(("agent", None), ("symbols", None), ("indicators", FINRL_INDICATORS), ("hmax", 100)),
        *(("trained_until", None), ("trade_from", None), ("allow_in_sample", False), ("allow_cheating", False)),
    )

    def __init__(self, **unknown: object) -> None:
        refuse_unknown(self, unknown)
        if not callable(getattr(self.p.agent, "predict", self.p.agent)):
            raise ConfigError(
                f"FinRLStrategy: agent is {self.p.agent!r}; give a model with predict, or a function of the state"
            )
        self.cheats = refuse_cheating(self, self.p.allow_cheating)
        symbols, feeds = traded_feeds(self.datas, self.p.symbols)
        named = zip(symbols, feeds, strict=True)
        ordered = named if self.p.symbols else sorted(named, key=lambda one: one[0])
        self.symbols, self.feeds = zip(*ordered, strict=True)
        self.indicators = [_Indicators(feed, tuple(self.p.indicators)) for feed in self.feeds]
        self.state: NDArray[np.float32] | None = None  #: that the agent saw last
        self._memory = _first_memory(self.p.agent)
        self._trade_from = first_traded_stamp(self.p.trained_until, self.p.trade_from, self.p.allow_in_sample)
        self._holdings, self._lengths = Holdings(len(self.feeds)), [0] * len(self.feeds)

    def next(self) -> None:
        before, self._lengths = self._lengths, [len(feed) for feed in self.feeds]
        if any(now == old for now, old in zip(self._lengths, before, strict=True)):
            return  # FinRL knows no day on which a ticker is missing
        for indicators in self.indicators:
            indicators.keep()
        if self.datetime[0] >= self._trade_from:
            values = list(zip(*(indicators.values() for indicators in self.indicators), strict=True))
            if np.isfinite(values).all():  # FinRL would fill them from the future
                self._trade(values)

    def _trade(self, values: Sequence[Sequence[float]]) -> None:
        alone = len(self.cerebro.runningstrats) == 1  # the account's shares are its own
        held = [
            float(self.broker.getposition(feed).size) if alone else self._holdings.size(i)
            for i, feed in enumerate(self.feeds)
        ]
        cash, closes = self.broker.getcash(), [feed.close[0] for feed in self.feeds]
        schemes = [self.broker.getcommissioninfo(feed) for feed in self.feeds]
        costs = [scheme.getcommission(1, close) / close for scheme, close in zip(schemes, closes, strict=True)]
        self.state = finrl_state(cash, closes, held, values)
        shares = (self._actions(self.state) * self.p.hmax).astype(int)
        for i, size in finrl_trades(shares, cash, closes, held, costs):
            self._holdings.add(i, (self.buy if size > 0 else self.sell)(self.feeds[i], size=abs(size)))

    def _actions(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        predict = getattr(self.p.agent, "predict", lambda state, **_: (self.p.agent(state), None))
        answer, memory, *_ = predict(state, **self._memory, deterministic=True)
        if self._memory:
            self._memory = {"state": memory, "episode_start": np.array([False])}
        elif memory is not None:
            raise PolicyError(
                "FinRLStrategy: the agent remembers, but its predict takes no state; give it the parameters of "
                "Stable-Baselines3, predict(observation, state, episode_start, deterministic)"
            )
        actions = np.asarray(answer).reshape(-1)
        if len(actions) != len(self.feeds) or not np.isfinite(actions).all():
            raise PolicyError(
                f"FinRLStrategy: the agent answered {actions!r} to {len(self.feeds)} tickers; one finite action each"
            )
        return actions

    def stop(self) -> None:
        if self.state is None and len(self):
            raise BarsError(
                f"FinRLStrategy: the agent was asked on none of {len(self)} bars; every ticker needs a bar on a day "
                "behind the training, and enough of them for its indicators"
            )


def _first_memory(agent: object) -> dict[str, Any]:
    """What an agent is told of an episode before it, where it takes that: by names, or by any name."""
    predict = getattr(agent, "predict", None)
    names = inspect.signature(predict).parameters if predict is not None else {}
    takes_any = "state" not in names and any(one.kind is one.VAR_KEYWORD for one in names.values())
    return (
        {"state": None, "episode_start": np.array([True])}
        if takes_any or {"episode_start", "state"} <= set(names)
        else {}
    )


class _Indicators:
    """Indicators of one feed on its bars so far: its own lines of those names, else stockstats."""

    def __init__(self, feed: Framework, names: Sequence[str]) -> None:
        self.feed, self.computed = feed, [name for name in names if not hasattr(feed.lines, name)]
        self.known, self.bars = dict.fromkeys(names, math.nan), array("d")
        if self.computed and importlib.util.find_spec("stockstats") is None:
            raise ConfigError(
                f"FinRL: indicators need stockstats: {how_to_install('finrl')}, or feeds with a line for each"
            )

    def keep(self) -> None:
        """Remember the feed's bar."""
        if self.computed:
            self.bars.extend(getattr(self.feed, name)[0] for name in _COLUMNS)

    def values(self) -> list[float]:
        """At this bar; a value that is NaN is the last one that was not, as FinRL fills them."""
        computed = self._from_stockstats() if self.computed else {}
        for name in self.known:
            value = computed[name] if name in computed else getattr(self.feed.lines, name)[0]
            if math.isfinite(value):
                self.known[name] = value
        return list(self.known.values())

    def _from_stockstats(self) -> dict[str, float]:
        import pandas as pd
        from stockstats import StockDataFrame

        bars = np.array(self.bars).reshape(-1, len(_COLUMNS))
        frame = StockDataFrame.retype(pd.DataFrame(bars, columns=list(_COLUMNS)))
        try:
            return {name: float(frame[name].iloc[-1]) for name in self.computed}
        except (KeyError, UserWarning) as error:
            raise ConfigError(
                f"FinRL: stockstats has no indicator {error}, and the feed has no line of that name"
            ) from None
