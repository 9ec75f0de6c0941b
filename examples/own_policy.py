"""Policies of your own: plain functions of observations in the place of the frozen networks."""

from datetime import date

import backtrader as bt
import numpy as np

from hybrid_bt import HybridStrategy
from hybrid_bt.config.own_parts import CallablePolicy
from hybrid_bt.equations.features import MARKET_FEATURES as MARKET
from hybrid_bt.equations.features import OBSERVATIONS
from hybrid_bt.feeds import load_bars, to_feeds

TREND = OBSERVATIONS["sac"].index("relative_63")
print("a row of an asset: ", ", ".join(OBSERVATIONS["sac"]))
print("the market's row:  ", ", ".join(MARKET))


def follow_the_trend(observations):
    """One row per asset in, one action in [-1, 1] per asset out."""
    return np.tanh(observations[:, TREND])


class PatientGate:
    """An object may remember; `reset` begins a run, and every run works on a copy of its own."""

    def reset(self):
        self.score = 0.0

    def __call__(self, observation):
        self.score += 0.05 * (np.tanh(observation[0, 0]) - self.score)
        return [self.score]


bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
cerebro = bt.Cerebro()
for feed in to_feeds(bars):
    cerebro.adddata(feed, name=feed._name)
cerebro.broker.setcash(100_000)
cerebro.addstrategy(
    HybridStrategy,
    pairs="KO:PEP,CVX:XOM",
    sac=CallablePolicy(follow_the_trend, trained_until=date(2009, 12, 31)),  # or sac="own.onnx"
    gate=PatientGate(),
)
(strategy,) = cerebro.run()
print(f"traded from row {strategy.first_traded_row} of {bars.n_bars}; value {cerebro.broker.getvalue():,.2f}")
