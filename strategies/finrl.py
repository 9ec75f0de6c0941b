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
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError, how_to_install
from hybrid_bt.feeds.framework import Framework
from hybrid_bt.strategies.asking import Asked, AskingStrategy

#: `finrl.config.INDICATORS`, in stockstats' names
FINRL_INDICATORS = ("macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma")
MOST_SHARES = 1e15  #: that are counted to the last one
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


class FinRLStrategy(AskingStrategy):
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
    BarsError
        If the agent was asked on no bar. Bars without all tickers are left out, and counted in a warning.
    """

    needs = "every ticker needs a bar on a day behind the training, and enough of them for its indicators"

    params = (("indicators", FINRL_INDICATORS), ("hmax", 100))

    def __init__(self, **unknown: object) -> None:
        super().__init__(**unknown)
        self.agent = Asked(self.p.agent, "FinRLStrategy")
        if not 0 < self.p.hmax <= MOST_SHARES:
            raise ConfigError(
                f"FinRLStrategy: hmax is {self.p.hmax!r}; give shares above 0 and at most {MOST_SHARES:g}"
            )
        if not all(isinstance(name, str) for name in self.p.indicators):
            raise ConfigError(f"FinRLStrategy: indicators are {self.p.indicators!r}; give names")
        self.indicators = [_Indicators(feed, tuple(self.p.indicators)) for feed in self.feeds]
        self._values: list[tuple[float, ...]] = []  # of each indicator, all tickers

    def _ordered(self, symbols: tuple[str, ...], feeds: list[Framework]) -> tuple[tuple[str, ...], list[Framework]]:
        if self.p.symbols:
            return symbols, feeds
        names, ordered = zip(*sorted(zip(symbols, feeds, strict=True), key=lambda one: one[0]), strict=True)
        return names, list(ordered)

    def _reads(self, closes: Sequence[float]) -> bool:
        if any(math.isnan(close) for close in closes):  # FinRL knows no day on which a ticker is missing
            return False
        for indicators in self.indicators:
            indicators.keep()
        if self.datetime[0] < self._trade_from:
            return False
        self._values = list(zip(*(indicators.values() for indicators in self.indicators), strict=True))
        return bool(np.isfinite(self._values).all())  # FinRL would fill them from the future

    def _trade(self, closes: Sequence[float]) -> None:
        positions = [float(self.broker.getposition(feed).size) for feed in self.feeds]
        held = [self.underway.size(i, position) for i, position in enumerate(positions)]
        cash = self.broker.getcash()
        schemes = [self.broker.getcommissioninfo(feed) for feed in self.feeds]
        costs = [scheme.getcommission(1, close) / close for scheme, close in zip(schemes, closes, strict=True)]
        self.state = finrl_state(cash, closes, held, self._values)
        actions = self.agent.act(self.state, len(self.feeds))
        trades = finrl_trades((actions * self.p.hmax).astype(int), cash, closes, held, costs)
        for i, size in trades:
            order = (self.buy if size > 0 else self.sell)(self.feeds[i], size=abs(size))
            self.underway.add(i, order, positions[i])
        if self.underway.awaits_first and actions.max() > 0.0 and not any(held):
            i = int(actions.argmax())
            self.underway.came_to_nothing(
                f"{self.symbols[i]} is wanted for an action of {actions[i]:.3g} at a price of {closes[i]:,.2f}; the "
                f"lot is 1, cash {cash:,.2f}, hmax {self.p.hmax} shares: give more cash, or the training's hmax"
            )


class _Indicators:
    """Indicators of one feed on its bars so far: its own lines of those names, else stockstats."""

    def __init__(self, feed: Framework, names: Sequence[str]) -> None:
        self.feed, self.computed = feed, [name for name in names if not hasattr(feed.lines, name)]
        self.ago = -1 if feed.replaying else 0  # of the last bar that is complete
        self.known, self.bars = dict.fromkeys(names, math.nan), array("d")
        if self.computed and importlib.util.find_spec("stockstats") is None:
            raise ConfigError(
                f"FinRL: indicators need stockstats: {how_to_install('finrl')}, or feeds with a line for each"
            )

    def keep(self) -> None:
        """Remember the feed's bar."""
        if self.computed:
            self.bars.extend(getattr(self.feed, name)[self.ago] for name in _COLUMNS)

    def values(self) -> list[float]:
        """At this bar; a value that is NaN is the last one that was not, as FinRL fills them."""
        computed = self._from_stockstats() if self.computed else {}
        for name in self.known:
            value = computed[name] if name in computed else getattr(self.feed.lines, name)[self.ago]
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
