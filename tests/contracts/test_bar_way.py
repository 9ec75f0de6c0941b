"""A reader who follows one bar through the house turns few pages: bounds on files entered and passings between them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import backtrader as bt

import hybrid_bt
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.strategies import HybridStrategy

OUT_OF_SAMPLE = 5_043  #: row of us20 behind the shipped policies' training span
HOUSE = Path(hybrid_bt.__file__).resolve().parent.parent
MOST_FILES, MOST_PASSINGS = 13, 60
WARM, BARS = 290, 360  #: bars behind the warm-up and in all
BAND = {"account": {"rebalance_band": 0.05}}  #: so wide that most bars need no order


def file_of(frame: FrameType | None) -> str | None:
    """The house's file of a call, None for any other."""
    name = frame.f_code.co_filename if frame else ""
    path = Path(name).resolve() if name.startswith("/") else None
    inside = path is not None and path.is_relative_to(HOUSE) and "tests" not in path.relative_to(HOUSE).parts
    return str(path) if inside else None


def test_bar_passes_few_files() -> None:
    found: dict[int, tuple[Counter[str], Counter[tuple[str, str]], int]] = {}

    class Followed(HybridStrategy):
        def next(self) -> None:
            files: Counter[str] = Counter()
            passings: Counter[tuple[str, str]] = Counter()

            def follow(frame: FrameType, event: str, _: Any) -> None:
                here, before = file_of(frame), file_of(frame.f_back)
                if event == "call" and here is not None:
                    files[here] += 1
                    if before is not None and before != here:
                        passings[before, here] += 1

            row = self.n_bars
            if row >= WARM:
                sys.setprofile(follow)
            try:
                super().next()
            finally:
                sys.setprofile(None)
            found[row] = files, passings, sum("market_order" in name for name in files)

    cerebro = bt.Cerebro(stdstats=False)
    bars = load_bars("us20", symbols=("KO", "PEP", "CVX", "XOM", "PG"))
    first = OUT_OF_SAMPLE - WARM
    for feed in to_feeds(bars.between(bars.stamps[first], bars.stamps[first + BARS - 1])):
        cerebro.adddata(feed, name=feed._name)
    cerebro.addstrategy(Followed, pairs=["KO:PEP", "CVX:XOM"], compiled=False, overrides=BAND)
    cerebro.run()
    warm = [found[row] for row in range(WARM + 5, BARS)]  # what is looked up once is known by then
    quiet = [files for files, _, orders in warm if not orders]
    assert quiet and max(map(len, quiet)) <= MOST_FILES, "\n".join(sorted(max(quiet, key=len)))
    # an order is made by a file of its own, which looks at the feed; what it costs decides whether cash carries it
    assert max(len(files) for files, _, _ in warm) <= MOST_FILES + 3
    assert max(sum(passings.values()) for _, passings, _ in warm) <= MOST_PASSINGS
