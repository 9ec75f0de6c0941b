"""The yardstick: a strategy whose `next` does nothing, over us20 through Backtrader's own PandasData."""

import backtrader as bt
import pandas as pd

from hybrid_bt.feeds import load_bars


class Empty(bt.Strategy):
    """Does nothing."""

    def next(self) -> None:
        pass


def main() -> None:
    """Run it."""
    bars = load_bars("us20")
    cerebro = bt.Cerebro(stdstats=False)
    for i, symbol in enumerate(bars.symbols):
        close = pd.Series(bars.close[:, i], index=pd.DatetimeIndex(bars.stamps))
        frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 0.0})
        cerebro.adddata(bt.feeds.PandasData(dataname=frame), name=symbol)
    cerebro.addstrategy(Empty)
    cerebro.run()


if __name__ == "__main__":
    main()
