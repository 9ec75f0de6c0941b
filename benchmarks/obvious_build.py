"""The main job the obvious way: PandasData, SB3's `predict` per asset and bar, `order_target_percent`, quantstats.

    python -m benchmarks.obvious_build --symbols KO,PEP --bars 2500 [--data FOLDER] [--plots]

The same bars, features, filter and mix as the hybrid; what differs is how each part is driven. It has less to do than
`hybrid-bt run`: one account in place of seven and a file in place of nine, no checks of data, untrained models of the
shipped policies' architecture with one member each instead of five, made in place of being loaded.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from benchmarks.models import gate_model, sac_model
from benchmarks.panels import START_CASH, pandas_feeds
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.legs import KalmanLeg
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.config import load_config
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.features import MARKET_FEATURES
from hybrid_bt.equations.fusion import Said, Settled, leg_shares, settle_bar
from hybrid_bt.equations.leg_risk import Seen, new_memory, risk_bars
from hybrid_bt.equations.tilt import tilt_bars
from hybrid_bt.feeds import load_bars
from hybrid_bt.train.ground import REGIME_SEES

__all__ = ["main"]


class ObviousHybrid(bt.Strategy):
    """One model call per asset, one for the gate, on every bar."""

    params = (("pair", ""), ("sac", None), ("gate", None))

    def __init__(self) -> None:
        config = load_config("stable")
        names = [feed._name for feed in self.datas]
        pairs = resolve_pairs([self.p.pair], names)
        self.reader = MarketReader(len(names), pairs, [config.kalman_params], config.spread_params)
        self.kalman = KalmanLeg(names, pairs, config.pair_rules)
        self.mix, self.risk, self.tilt = config.lines(), config.risk, config.tilt_params
        self.layout = layout_of([[(i,) for i in range(len(names))], pairs])
        self.legs = new_memory(2, len(names))
        self.actions, self.scores = [0.0] * len(names), [0.0] * len(names)
        self.memory: Any = None
        self.values: list[float] = []
        self.targets: list[list[float]] = []

    def next(self) -> None:
        view, n = self.reader.read([feed.close[0] for feed in self.datas]), len(self.datas)
        self.values.append(self.broker.getvalue())
        for i, row in enumerate(view.features):
            if view.warm[i]:
                seen = np.array(row, dtype=np.float32)
                self.actions[i] = float(self.p.sac.predict(seen, deterministic=True)[0][0])
        shares, risks, r = [0.0] * n, [0.0] * 2, 0.0
        tilt_bars([shares], self.scores, [self.actions], [view.volatility], [view.warm], self.tilt)
        amounts = shares + [amount for wish in self.kalman.wishes(view) for amount in wish.amounts]
        sds = [pair.innovation_sd for pair in view.pairs]
        whose = [-1] * n + list(range(len(view.pairs)))
        seen_of_legs = Seen([view.closes], [view.volatility], [view.correlation], [sds])
        risk_bars(self.legs, seen_of_legs, [amounts], self.layout, whose, [risks])
        if view.market_warm:
            market = np.array([view.market[MARKET_FEATURES.index(name)] for name in REGIME_SEES], dtype=np.float32)
            start = np.array([self.memory is None])
            score, self.memory = self.p.gate.predict(market, state=self.memory, episode_start=start, deterministic=True)
            r = float(np.reshape(score, -1)[0])
        out = Settled([0.0] * n, [0.0] * len(amounts), [0.0] * 2)
        said = Said(amounts, risks, view.volatility, view.correlation)
        settle_bar(out, said, self.layout, leg_shares(r, self.mix), self.risk, [0.0] * n)
        self.targets.append(list(out.targets))
        for feed, share in zip(self.datas, out.targets, strict=True):
            self.order_target_percent(feed, share)


def main() -> None:
    """Run it and write what an obvious build writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", default="KO,PEP")
    parser.add_argument("--bars", type=int, default=2_500)
    parser.add_argument("--data", help="folder of SYMBOL.csv with the columns date and close; us20 if left out")
    parser.add_argument("--plots", action="store_true")
    given = parser.parse_args()
    symbols = given.symbols.split(",")
    bars = _read(given.data, symbols) if given.data else load_bars("us20", symbols=symbols)
    bars = bars.between(bars.stamps[-given.bars], None)
    cerebro = bt.Cerebro()
    cerebro.broker.setcash(START_CASH)
    cerebro.broker.setcommission(commission=0.0003)
    for feed in pandas_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(ObviousHybrid, pair=":".join(symbols[:2]), sac=sac_model(), gate=gate_model())
    for analyzer in (bt.analyzers.SharpeRatio, bt.analyzers.DrawDown, bt.analyzers.TradeAnalyzer, bt.analyzers.PyFolio):
        cerebro.addanalyzer(analyzer)
    (strategy,) = cerebro.run()
    values = pd.Series(strategy.values, index=pd.DatetimeIndex(bars.stamps), name="hybrid")
    with tempfile.TemporaryDirectory() as folder:
        _report(values, bars, Path(folder), given.plots)
    print(values.iloc[-1])


def _read(folder: str, symbols: list[str]) -> Bars:
    """A file a symbol, by pandas."""
    files = [pd.read_csv(Path(folder) / f"{symbol}.csv", index_col="date", parse_dates=["date"]) for symbol in symbols]
    closes = pd.concat([file["close"] for file in files], axis=1)
    return Bars.checked("own", symbols, closes.index.to_numpy("M8[ns]"), closes.to_numpy())


def _report(values: pd.Series, bars: Bars, out: Path, plots: bool) -> None:
    import quantstats as qs

    returns = values.pct_change().fillna(0.0)
    benchmark = pd.Series(bars.close.mean(axis=1), index=values.index, name="benchmark").pct_change().fillna(0.0)
    values.to_csv(out / "equity.csv")
    qs.reports.metrics(returns, benchmark=benchmark, mode="basic", display=False)
    if plots:
        qs.reports.html(returns, benchmark=benchmark, output=str(out / "tearsheet.html"), match_dates=False)


if __name__ == "__main__":
    main()
