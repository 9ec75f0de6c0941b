"""A mode of your own: a file over a shipped mode, overrides over the file, and costs that belong to them."""

import tempfile
from pathlib import Path

import backtrader as bt

from hybrid_bt import HybridStrategy, SpreadFeeCommission, load_config
from hybrid_bt.feeds import load_bars, to_feeds

MINE = """
[risk]
volatility_target = 0.06     # per year
gross_limit = 0.8            # sum of |target| of what is not hedged
hedged_gross_limit = 0.4     # of both sides of all pairs

[kalman]
entry_z = 2.0                # open a pair later
"""

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "mine.toml"
    file.write_text(MINE)
    config = load_config("stable", file, overrides={"account": {"rebalance_band": 0.01}})

bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
cerebro = bt.Cerebro()
for feed in to_feeds(bars):
    cerebro.adddata(feed, name=feed._name)
cerebro.broker.setcash(config.account.cash)
cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
cerebro.addstrategy(HybridStrategy, config=config, pairs="KO:PEP,CVX:XOM", record=True)
(strategy,) = cerebro.run()

gross = abs(strategy.recorder.decisions().target).sum(axis=1)
print(f"value {cerebro.broker.getvalue():,.2f}; gross exposure wanted at most {gross.max():.3f} of 1.2")
