"""Records of runs that were never traded: random bars, accounts by the book, and readers of what is written."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from hybrid_bt.account.records import AccountPath, Fill, Fills, RunRecord
from hybrid_bt.bars import Bars
from hybrid_bt.brain.laid import netted
from hybrid_bt.brain.limits import Limits
from hybrid_bt.brain.records import Decisions, Opinions, PairPaths
from hybrid_bt.config import load_config
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.features import KEPT_FEATURES

T, SYMBOLS, PAIRS = 90, ("KO", "PEP", "A$B"), ("KO:PEP",)
START = 1_000_000.0
ACCOUNTS = ("hybrid", "sac", "kalman", "gate-off", "equal-weight", "vol-target", "inverse-vol")
TABLES = ("summary_pnl", "per_ticker_pnl", "equity", "fills", "decisions", "pairs", "attribution", "conditional")


def make_bars(t: int = T, *, minutes: int = 1440, seed: int = 0) -> Bars:
    rng = np.random.default_rng(seed)
    stamps = np.datetime64("2020-01-01", "ns") + np.arange(t) * np.timedelta64(minutes, "m")
    close = 50.0 * np.exp(rng.normal(0, 0.02, (t, len(SYMBOLS))).cumsum(axis=0))
    open_ = close * np.exp(rng.normal(0, 0.002, close.shape))
    close[:5, 2] = open_[:5, 2] = np.nan  # begins later
    close[-1, 1] = open_[-1, 1] = np.nan  # misses its last bar
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return Bars("toy", SYMBOLS, stamps, open_, high, low, close, np.zeros_like(close))


def make_account(bars: Bars, *, every: float, seed: int) -> AccountPath:
    """Cash by the book: pay for what fills, pay its costs, pay for shorts; random sizes, longs and shorts."""
    rng = np.random.default_rng(seed)
    t, n = bars.close.shape
    cash, held, mark = START, np.zeros(n), np.zeros(n)
    paths = np.zeros(t), np.zeros(t), np.zeros((t, n)), np.zeros((t, n))
    fills = []
    for row in range(t):
        owed = np.where(held < 0, -held * mark * 0.01 / 365, 0.0)
        cash -= owed.sum()
        for symbol in range(n):
            price = float(bars.open[row, symbol])
            if row and rng.random() < every and not math.isnan(price):
                size = float(rng.choice([-held[symbol] or 100.0, 1500.0, -1500.0]))
                fills.append(Fill(row, row - 1, symbol, size, price, abs(size) * price * 2e-4))
                cash -= size * price + fills[-1].commission
                held[symbol] += size
        mark = np.where(np.isnan(bars.close[row]), mark, bars.close[row])
        for column, value in zip(paths, (cash, cash + float(held @ mark), held, owed), strict=True):
            column[row] = value
    return AccountPath(*paths, Fills.of(fills), 2)


def make_record(
    t: int = T, *, minutes: int = 1440, every: float = 0.1, in_sample: int = 0, pairs: tuple[str, ...] = PAIRS
) -> RunRecord:
    bars = make_bars(t, minutes=minutes)
    n, p = len(SYMBOLS), len(pairs)
    rng = np.random.default_rng(1)
    r = np.tanh(rng.normal(0, 1, t))
    layout = layout_of([[(i,) for i in range(n)], [(0, 1)] * p])
    amounts = rng.normal(0, 0.1, (t, n + 2 * p))
    legs = netted(("sac", "kalman"), amounts, layout, (t, n))
    weights = {"sac": np.full(t, 0.8), "kalman": 0.5 - 0.3 * r}
    sides = amounts * np.stack([*[weights["sac"]] * n, *[weights["kalman"]] * 2 * p], axis=1)
    fused = sum(weights[leg][:, None] * legs[leg] for leg in legs)
    risks, together = np.full((t, 2), 0.01), np.tile(np.arange(n), (t, 1))
    path = rng.normal(0, 1, (8, t, p)).cumsum(axis=1) * 0.1
    path[:, :7] = np.nan  # before the pair's first bar
    return RunRecord(
        bars=bars,
        accounts={name: make_account(bars, every=every, seed=k) for k, name in enumerate(ACCOUNTS)},
        decisions=Decisions(
            *(legs, weights, r, fused, 0.8 * fused, np.full(t, 0.8), layout, 0.8 * sides, risks, together),
            wanted=0.8 * fused,
            guard=np.zeros(t),
            waits=np.zeros((t, n), np.bool_),
            market=rng.normal(size=(t, len(KEPT_FEATURES))),
        ),
        limits=Limits(
            Opinions(("sac", "kalman"), layout, amounts, np.zeros(n + 2 * p), risks, r, *_seen(t, n)),
            load_config("stable").lines(),
            load_config("stable").risk,
            r,
        ),
        pairs=PairPaths(
            pairs, path[0], path[1], path[2] ** 2, path[3], 1 + path[4] ** 2, path[5], 5 * path[6], np.sign(path[7])
        ),
        entry_z=2.0,
        exit_z=0.5,
        benchmark="equal-weight",
        start_value=START,
        in_sample=np.arange(t) < in_sample,
        config={"costs": {"spread_bps": 2.0, "fee_bps": 1.0}, "limit": math.inf, "out": Path("fig")},
        facts={"seed": 0, "warnings": {"rejected": np.int64(2)}, "data": {"source": "test"}, "wall_clock": {"s": 1.0}},
        notes=("survivors only",),
    )


def _seen(t: int, n: int) -> tuple[np.ndarray, ...]:
    return np.full((t, n), 0.01), np.full(t, 0.3), np.ones((t, n), np.bool_)


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with open(folder / f"{table}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(folder: Path, table: str, name: str) -> np.ndarray:
    return np.array([float(row[name]) if row[name] else math.nan for row in rows(folder, table)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
