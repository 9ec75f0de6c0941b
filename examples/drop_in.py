"""The hybrid in a Backtrader project: the two marked lines are all that is new."""

import backtrader as bt

from hybrid_bt import HybridStrategy  # 1
from hybrid_bt.feeds import load_bars, to_feeds

bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")

cerebro = bt.Cerebro()
for feed in to_feeds(bars):  # any feeds: PandasData, CSV files, a live store
    cerebro.adddata(feed, name=feed._name)
cerebro.broker.setcash(100_000)
cerebro.broker.setcommission(commission=0.0005)  # your costs stay yours
cerebro.addstrategy(HybridStrategy, mode="stable", pairs="KO:PEP,CVX:XOM")  # 2
cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
(strategy,) = cerebro.run()

start = bars.stamps[strategy.first_traded_row]
print(f"traded from {start:.10}: the policies were trained until {strategy.training_end}")
print(f"value {cerebro.broker.getvalue():,.2f}, trades closed {strategy.analyzers.trades.get_analysis().total.closed}")
