"""Small files of prices, and reading what a run wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


N_BARS = 420


def write_prices(folder: Path, n_bars: int = N_BARS) -> Path:
    """Four random walks of business days from 2015 on; BBB follows AAA."""
    rng = np.random.default_rng(7)
    steps = rng.normal(3e-4, 0.012, (n_bars, len(SYMBOLS)))
    steps[:, 1] = 0.8 * steps[:, 0] + rng.normal(0.0, 0.006, n_bars)
    closes = 50.0 * np.exp(np.cumsum(steps, axis=0))
    days = np.busday_offset("2015-01-05", np.arange(n_bars), roll="forward")
    folder.mkdir(parents=True, exist_ok=True)
    for i, symbol in enumerate(SYMBOLS):
        opens = closes[:, i] * (1.0 + rng.normal(0.0, 0.002, n_bars))
        highs, lows = np.maximum(opens, closes[:, i]), np.minimum(opens, closes[:, i])
        rows = zip(days, opens, highs, lows, closes[:, i], strict=True)
        lines = [f"{day},{o!r},{h!r},{low!r},{c!r},1000" for day, o, h, low, c in rows]
        text = "date,open,high,low,close,volume\n" + "\n".join(lines).replace("np.float64(", "").replace(")", "")
        (folder / f"{symbol}.csv").write_text(text + "\n")
    return folder


def read(out: Path, table: str) -> list[dict[str, str]]:
    with (out / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))
