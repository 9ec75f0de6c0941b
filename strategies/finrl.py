"""An agent trained in FinRL, traded by Backtrader's broker: FinRL's state, and FinRL's trades.

    state  = [cash] + closes + holdings + indicator 1 of every ticker + indicator 2 of every ticker + ...
    trades = whole shares, action * hmax cut toward zero; the greatest sale first, then the greatest purchase;
             nothing is sold that is not held, nothing bought that the cash left over does not pay for

Tickers are in alphabetical order, as FinRL sorts them. Source: FinRL, `finrl/meta/env_stock_trading/
env_stocktrading.py` and `finrl/meta/preprocessor/preprocessors.py` (version 0.3.7).
"""

from __future__ import annotations

import importlib.util
import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.errors import BarsError, ConfigError, PolicyError
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies.honesty import first_traded_stamp, refuse_cheating, refuse_unknown
from hybrid_bt.strategies.orders import Holdings
from hybrid_bt.strategies.rows import traded_feeds

#: `finrl.config.INDICATORS`, in stockstats' names
FINRL_INDICATORS = ("macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma")
_COLUMNS = ("open", "high", "low", "close", "volume")


class Purse(NamedTuple):
    """The account as FinRL sees it, tickers in its order."""

    cash: float
    closes: Sequence[float]
    holdings: Sequence[float]  #: shares, >= 0


def finrl_state(purse: Purse, indicators: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """FinRL's observation, of shape (1 + tickers * (2 + indicators),); of each indicator, the values of all tickers."""
    flat = [value for values in indicators for value in values]
    return np.array([purse.cash, *purse.closes, *purse.holdings, *flat], dtype=np.float32)


def finrl_trades(
    actions: ArrayLike, purse: Purse, hmax: int, buy_costs: Sequence[float], sell_costs: Sequence[float]
) -> list[tuple[int, float]]:
    """Orders as (ticker, signed whole shares), in the order in which FinRL carries them out.

    Parameters
    ----------
    actions : (tickers,)
        In [-1, 1].
    hmax : int
        Shares of an action of 1.
    buy_costs, sell_costs : (tickers,)
        Fraction of the value traded, which decides how much the cash pays for.
    """
    shares, cash = (np.asarray(actions) * hmax).astype(int), purse.cash
    order = np.argsort(shares)
    trades: list[tuple[int, float]] = []
    for i in [*order[: int((shares < 0).sum())].tolist(), *order[::-1][: int((shares > 0).sum())].tolist()]:
        if shares[i] < 0:
            size = -int(min(-shares[i], max(purse.holdings[i], 0.0)))
            cash -= purse.closes[i] * size * (1.0 - sell_costs[i])
        else:
            price = purse.closes[i] * (1.0 + buy_costs[i])
            size = int(min(max(cash // price, 0.0), shares[i]))
            cash -= purse.closes[i] * size * (1.0 + buy_costs[i])
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
        [-1, 1] per ticker. Normalisation of observations is the agent's own matter.
    symbols : sequence of str, optional
        Feeds that the agent trades, in the order of its training: alphabetical by default, as FinRL sorts them.
    indicators : sequence of str
        In the order of training. One that a feed has as a line is read from there; the others are computed by
        stockstats from the bars up to this one only, some 8 ms for each feed and bar: give lines where it is too slow.
    hmax : int
        Shares of an action of 1.
    buy_cost_pct, sell_cost_pct : float, optional
        Fractions that FinRL was given; by default what the broker's commission schemes charge.
    turbulence_threshold : float, optional
        From that turbulence on everything is sold; read from a line `turbulence` of the first symbol's feed.
    trained_until, trade_from, allow_in_sample
        Trading begins on the first bar after the training, or later.
    allow_cheating : bool
        Trade although cheat-on-open or cheat-on-close is on.

    Raises
    ------
    ConfigError, InSampleError
        As `HybridStrategy`; or if stockstats is needed and not installed, or does not know an indicator.
    PolicyError
        If the agent's answer is not one finite action per ticker.
    """

    counts_own_fills = True

    params = (
        *(("agent", None), ("symbols", None), ("indicators", FINRL_INDICATORS), ("hmax", 100)),
        *(("buy_cost_pct", None), ("sell_cost_pct", None), ("turbulence_threshold", None)),
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
        if self.p.turbulence_threshold is not None and not hasattr(self.feeds[0].lines, "turbulence"):
            raise ConfigError(f"FinRLStrategy: feed {self.symbols[0]!r} has no line `turbulence`; add it to the feed")
        self.state: NDArray[np.float32] | None = None  #: that the agent saw last
        self._trade_from = first_traded_stamp(self.p.trained_until, self.p.trade_from, self.p.allow_in_sample)
        self._holdings = Holdings(len(self.feeds))

    def next(self) -> None:
        moved = [indicators.moved_on() for indicators in self.indicators]
        if not all(moved):
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
        purse = Purse(self.broker.getcash(), [feed.close[0] for feed in self.feeds], held)
        self.state = finrl_state(purse, values)
        trades = finrl_trades(self._actions(self.state), purse, self.p.hmax, *self._costs(purse))
        limit = self.p.turbulence_threshold
        if limit is not None and self.feeds[0].lines.turbulence[0] >= limit:
            trades = [(i, -size) for i, size in enumerate(held) if size > 0]
        for i, size in trades:
            self._holdings.add(i, (self.buy if size > 0 else self.sell)(self.feeds[i], size=abs(size)))

    def _actions(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        predict = getattr(self.p.agent, "predict", None)
        answer = predict(state, deterministic=True)[0] if predict else self.p.agent(state)
        actions = np.asarray(answer).reshape(-1)
        if len(actions) != len(self.feeds) or not np.isfinite(actions).all():
            raise PolicyError(
                f"FinRLStrategy: the agent answered {actions!r} to {len(self.feeds)} tickers; one finite action each"
            )
        return actions

    def _costs(self, purse: Purse) -> list[list[float]]:
        schemes = [self.broker.getcommissioninfo(feed) for feed in self.feeds]
        charged = [scheme.getcommission(1, close) / close for scheme, close in zip(schemes, purse.closes, strict=True)]
        given = self.p.buy_cost_pct, self.p.sell_cost_pct
        return [charged if cost is None else [float(cost)] * len(charged) for cost in given]

    def stop(self) -> None:
        if self.state is None and len(self):
            raise BarsError(
                f"FinRLStrategy: the agent was asked on none of {len(self)} bars; every ticker needs a bar on a day "
                "behind the training, and enough of them for its indicators"
            )


class _Indicators:
    """Indicators of one feed on its bars so far: its own lines of those names, else stockstats."""

    def __init__(self, feed: Framework, names: Sequence[str]) -> None:
        self.feed, self.names = feed, names
        self.lines = [name for name in names if hasattr(feed.lines, name)]
        self.computed = [name for name in names if name not in self.lines]
        self.known = dict.fromkeys(names, math.nan)
        self.bars, self.length = array("d"), 0
        if self.computed and importlib.util.find_spec("stockstats") is None:
            raise ConfigError(
                "FinRL: indicators need stockstats: pip install 'hybrid_bt[finrl]', or feeds with a line for each"
            )

    def moved_on(self) -> bool:
        """Whether the feed has a bar that was not there when this was asked last."""
        before, self.length = self.length, len(self.feed)
        return self.length > before

    def keep(self) -> None:
        """Remember the feed's bar."""
        if self.computed:
            self.bars.extend(getattr(self.feed, name)[0] for name in _COLUMNS)

    def values(self) -> list[float]:
        """At this bar; a value that is NaN is the last one that was not, as FinRL fills them."""
        fresh = {name: getattr(self.feed.lines, name)[0] for name in self.lines}
        if self.computed:
            fresh |= self._from_stockstats()
        self.known |= {name: value for name, value in fresh.items() if math.isfinite(value)}
        return [self.known[name] for name in self.names]

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
