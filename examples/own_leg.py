"""A leg of your own in the place of the SAC leg: momentum over three months, scaled by volatility."""

import math
from datetime import date

import backtrader as bt

from hybrid_bt import HybridStrategy
from hybrid_bt.feeds import load_bars, to_feeds

LOOKBACK_BARS = 63
BARS_PER_YEAR = 252


class MomentumLeg:
    """Holds what has risen, shorts half of what has fallen, each asset with the same risk.

    A leg is a causal signal: it sees the market at a close and answers with targets, signed fractions of equity. It
    knows neither cash nor fills, and keeps whatever memory it needs.
    """

    def __init__(self, symbols, pairs, config):
        self.risk_unit = config.risk_unit.risk_unit  # volatility per year of a whole position
        self.logs = [[] for _ in symbols]

    def targets(self, view):
        for path, asset, traded in zip(self.logs, view.assets, view.traded, strict=True):
            if traded:
                path[:] = [*path[-LOOKBACK_BARS:], asset.log_close]
        n_warm = max(sum(view.warm), 1)
        return [
            self.signal(path) * self.risk_unit / (volatility * math.sqrt(BARS_PER_YEAR)) / n_warm if warm else 0.0
            for path, volatility, warm in zip(self.logs, view.volatilities, view.warm, strict=True)
        ]

    def signal(self, path):
        return 1.0 if path[-1] > path[0] else -0.5


if __name__ == "__main__":
    bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
    for legs in ({}, {"sac": MomentumLeg}):
        cerebro = bt.Cerebro()
        for feed in to_feeds(bars):
            cerebro.adddata(feed, name=feed._name)
        cerebro.broker.setcash(100_000)
        cerebro.addstrategy(HybridStrategy, pairs="KO:PEP,CVX:XOM", legs=legs, trade_from=date(2010, 1, 4))
        cerebro.run()
        print("with", "momentum" if legs else "the frozen SAC policy", f"{cerebro.broker.getvalue():,.2f}")
