"""Your own prices: a folder of CSV files, checked first, then traded as Backtrader feeds or as a whole backtest."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from hybrid_bt import load_bars, run_backtest

random = np.random.default_rng(7)
days = pd.bdate_range("2015-01-01", periods=500)
common = random.normal(0.0003, 0.008, len(days))

with tempfile.TemporaryDirectory() as folder:
    for symbol in ("ALPHA", "BETA", "GAMMA"):
        close = 50 * np.exp(np.cumsum(common + random.normal(0.0, 0.006, len(days))))
        opens = close * np.exp(random.normal(0.0, 0.002, len(days)))
        frame = pd.DataFrame({"date": days, "open": opens, "close": close})
        frame["high"], frame["low"] = frame[["open", "close"]].max(axis=1), frame[["open", "close"]].min(axis=1)
        frame.to_csv(Path(folder) / f"{symbol}.csv", index=False)
    bars = load_bars(folder)  # refuses what cannot be traded on, by symbol, date and value

run = run_backtest(bars, pairs="ALPHA:BETA", config={"costs": {"spread_bps": 6.0}, "account": {"cash": 250_000.0}})
print(run)
print(run.to_frame().tail(2))
