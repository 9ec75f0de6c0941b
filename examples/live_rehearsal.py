"""A rehearsal of live trading: history first, then bars that arrive late and one symbol after another."""

import backtrader as bt

from hybrid_bt import HybridStrategy
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.rehearsal import RehearsalStore


class Live(HybridStrategy):
    def notify_data(self, data, status, *args, **kwargs):
        print(f"{data._name}: {data._getstatusname(status)}")


bars = load_bars("us20", symbols=["KO", "PEP", "CVX", "XOM"]).between("2008-06-02", "2012-12-31")
store = RehearsalStore(bars, latency=3, history=900)
cerebro = bt.Cerebro()
cerebro.addstore(store)
for feed in store.feeds():
    cerebro.adddata(feed, name=feed._name)
cerebro.broker.setcash(100_000)
cerebro.addstrategy(Live, pairs="KO:PEP,CVX:XOM", record=True)
(strategy,) = cerebro.run()
print(f"{len(strategy)} calls of Backtrader, {len(strategy.recorder.decisions().target)} rows of {bars.n_bars}")
