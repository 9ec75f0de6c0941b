"""A leg of your own beside the shipped ones: momentum over a year, a tenth of the account's risk on top."""

import math
from datetime import date
from typing import Annotated, NamedTuple

import backtrader as bt
from annotated_types import Ge, Gt

from hybrid_bt import HybridStrategy
from hybrid_bt.brain.legs import LEGS, each_asset
from hybrid_bt.feeds import load_bars, to_feeds


class MomentumParams(NamedTuple):
    """The keys of `[legs.momentum]` beside its share of risk at r = -1, 0 and +1."""

    lookback_bars: Annotated[int, Ge(2), "bars over which a price must have risen"] = 252
    risk_unit: Annotated[float, Gt(0), "volatility per year of a whole position"] = 0.2
    short: Annotated[float, Ge(0), "what is sold short of a price that has fallen"] = 0.5


class MomentumLeg:
    """Holds what has risen, shorts part of what has fallen. It knows neither cash nor fills; its memory is its own."""

    Params = MomentumParams

    def __init__(self, symbols, pairs, params):
        self.params, self.paths = params, [[] for _ in symbols]

    def wishes(self, view):
        for path, close, traded in zip(self.paths, view.closes, view.traded, strict=True):
            if traded:
                path[:] = [*path[-self.params.lookback_bars :], close]
        n_warm, year = max(sum(view.warm), 1), math.sqrt(view.bars_per_year)
        return each_asset(
            (1.0 if path[-1] > path[0] else -self.params.short) * self.params.risk_unit / (volatility * year) / n_warm
            if warm
            else 0.0
            for path, volatility, warm in zip(self.paths, view.volatility, view.warm, strict=True)
        )


LEGS["momentum"] = MomentumLeg  # a package of yours would name it as an entry point of the group hybrid_bt.brain.legs

if __name__ == "__main__":
    bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
    share = {"at_reversion": 0.0, "at_neutral": 0.1, "at_trend": 0.2}
    for legs in ({}, {"momentum": share | {"lookback_bars": 63}}):
        cerebro = bt.Cerebro()
        for feed in to_feeds(bars):
            cerebro.adddata(feed, name=feed._name)
        cerebro.broker.setcash(100_000)
        overrides = {"legs": legs}
        cerebro.addstrategy(HybridStrategy, pairs="KO:PEP,CVX:XOM", overrides=overrides, trade_from=date(2010, 1, 4))
        cerebro.run()
        print("with momentum" if legs else "without", f"{cerebro.broker.getvalue():,.2f}")
