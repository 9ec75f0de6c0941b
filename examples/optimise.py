"""Many configurations with Cerebro's optimiser, on all processors; what is found is in-sample by nature."""

import backtrader as bt

from hybrid_bt import HybridStrategy
from hybrid_bt.analyzers import Drawdown, TurnoverCosts
from hybrid_bt.feeds import load_bars, to_feeds

if __name__ == "__main__":  # the processes import this file
    bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
    cerebro = bt.Cerebro()
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(100_000)
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.optstrategy(
        HybridStrategy,
        pairs="KO:PEP,CVX:XOM",  # a text: a list would be taken for alternatives
        mode=["stable", "aggressive"],
        overrides=[{"kalman": {"entry_z": entry}} for entry in (1.0, 2.0)],
    )
    cerebro.addanalyzer(Drawdown, _name="drawdown")
    cerebro.addanalyzer(TurnoverCosts, _name="turnover")
    for (run,) in cerebro.run(maxcpus=2):
        drawdown, turnover = (getattr(run.analyzers, name).get_analysis() for name in ("drawdown", "turnover"))
        print(
            f"{run.p.mode:11s}{run.p.overrides}  max drawdown {drawdown['max_drawdown']:7.2%}  "
            f"turnover {turnover['turnover_per_year']:5.1f} a year  costs {turnover['costs']:9,.2f}"
        )
