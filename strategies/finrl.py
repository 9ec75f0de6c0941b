"""An agent trained in FinRL, traded by Backtrader's broker."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hybrid_bt.errors import BarsError, ConfigError, PolicyError, did_you_mean
from hybrid_bt.strategies.cheating import refuse_cheating
from hybrid_bt.strategies.finrl_state import FINRL_INDICATORS, FinrlIndicators, Purse, finrl_state, finrl_trades
from hybrid_bt.strategies.first_bar import first_traded_stamp
from hybrid_bt.strategies.framework import bt
from hybrid_bt.strategies.holdings import Holdings
from hybrid_bt.strategies.hybrid import traded_feeds


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
        In the order of training; see `FinrlIndicators`.
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
        As `HybridStrategy`.
    PolicyError
        If the agent's answer is not one finite action per ticker.
    """

    counts_own_fills = True

    params = (
        ("agent", None),
        ("symbols", None),
        ("indicators", FINRL_INDICATORS),
        ("hmax", 100),
        ("buy_cost_pct", None),
        ("sell_cost_pct", None),
        ("turbulence_threshold", None),
        ("trained_until", None),
        ("trade_from", None),
        ("allow_in_sample", False),
        ("allow_cheating", False),
    )

    def __init__(self, **unknown: Any) -> None:
        if unknown:
            name = next(iter(unknown))
            raise ConfigError(f"FinRLStrategy: no parameter {name!r}{did_you_mean(name, self.p._getkeys())}")
        self._ask = _asking(self.p.agent)
        self.cheats = refuse_cheating(self, self.p.allow_cheating)
        symbols, feeds = traded_feeds(self.datas, self.p.symbols)
        order = range(len(symbols)) if self.p.symbols else sorted(range(len(symbols)), key=symbols.__getitem__)
        self.symbols, self.feeds = tuple(symbols[i] for i in order), [feeds[i] for i in order]
        self.indicators = FinrlIndicators(self.feeds, self.p.indicators)
        if self.p.turbulence_threshold is not None and not hasattr(self.feeds[0].lines, "turbulence"):
            raise ConfigError(f"FinRLStrategy: feed {self.symbols[0]!r} has no line `turbulence`; add it to the feed")
        self.state: Any = None  #: that the agent saw last
        self._trade_from = first_traded_stamp(self.p.trained_until, self.p.trade_from, self.p.allow_in_sample)
        self._lengths = [0] * len(self.feeds)
        self._holdings = Holdings(len(self.feeds))

    def next(self) -> None:
        before, self._lengths = self._lengths, [len(feed) for feed in self.feeds]
        if not all(now > then for now, then in zip(self._lengths, before, strict=True)):
            return  # FinRL knows no day on which a ticker is missing
        self.indicators.keep()
        if self.datetime[0] >= self._trade_from:
            self._trade()

    def _trade(self) -> None:
        values = self.indicators.values()
        if not all(math.isfinite(value) for row in values for value in row):
            return  # FinRL would fill them from the future
        purse = Purse(
            self.broker.getcash(),
            [feed.close[0] for feed in self.feeds],
            [self._held(i) for i in range(len(self.feeds))],
        )
        self.state = finrl_state(purse, values)
        actions = self._actions()
        trades = (
            [(i, -size) for i, size in enumerate(purse.holdings) if size > 0]
            if self._is_turbulent()
            else finrl_trades(actions, purse, self.p.hmax, *self._costs(purse))
        )
        for i, size in trades:
            order = (self.buy if size > 0 else self.sell)(self.feeds[i], size=abs(size))
            self._holdings.add(i, order)

    def _held(self, i: int) -> float:
        """Shares of the account where it trades alone, beside other strategies its own."""
        if len(self.cerebro.runningstrats) > 1:
            return self._holdings.size(i)
        return float(self.broker.getposition(self.feeds[i]).size)

    def _actions(self) -> Any:
        actions = np.asarray(self._ask(self.state)).reshape(-1)
        if len(actions) != len(self.feeds) or not np.isfinite(actions).all():
            raise PolicyError(
                f"FinRLStrategy: the agent answered {actions!r} to {len(self.feeds)} tickers; one finite action each"
            )
        return actions

    def _is_turbulent(self) -> bool:
        limit = self.p.turbulence_threshold
        return limit is not None and self.feeds[0].lines.turbulence[0] >= limit

    def _costs(self, purse: Purse) -> tuple[list[float], list[float]]:
        schemes = [self.broker.getcommissioninfo(feed) for feed in self.feeds]
        charged = [scheme.getcommission(1, close) / close for scheme, close in zip(schemes, purse.closes, strict=True)]
        given = self.p.buy_cost_pct, self.p.sell_cost_pct
        buy, sell = (charged if cost is None else [float(cost)] * len(charged) for cost in given)
        return buy, sell

    def stop(self) -> None:
        if self.state is None and len(self):
            raise BarsError(
                f"FinRLStrategy: the agent was asked on none of {len(self)} bars; every ticker needs a bar on a day "
                "behind the training, and enough of them for its indicators"
            )


def _asking(agent: Any) -> Any:
    """The agent as a function of the state."""
    predict = getattr(agent, "predict", None)
    if predict is not None:
        return lambda state: predict(state, deterministic=True)[0]
    if not callable(agent):
        raise ConfigError(f"FinRLStrategy: agent is {agent!r}; give a model with predict, or a function of the state")
    return agent
