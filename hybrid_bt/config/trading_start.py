"""Where trading may begin, and what may be calibrated before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from hybrid_bt.bars import Bars, instant, say_stamp
from hybrid_bt.config import Config
from hybrid_bt.config.build import resolve_pairs
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.kalman import KalmanParams, fit, follow_pair
from hybrid_bt.errors import BarsError, InSampleError


def first_trading_row(
    bars: Bars, trained_until: date | None, start: date | None = None, allow_in_sample: bool = False
) -> int:
    """Row of the first decision.

    Parameters
    ----------
    trained_until : date or None
        Last day that a policy was trained on.
    start : date, optional
        Asked for by the user; by default the first bar behind the training span on which the features are warm.

    Raises
    ------
    InSampleError
        If the start lies in the training span, or no bar lies behind it, and `allow_in_sample` is False.
    BarsError
        If there are fewer bars than the features need, or none from `start` on.
    """

    def day(at: int) -> str:
        return say_stamp(bars.stamps[at])

    if bars.n_bars <= WARMUP_BARS + 1:
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars} bars up to {day(-1)}; the features need {WARMUP_BARS + 1} "
            "to warm up and one more to trade; give a longer history"
        )
    warm = WARMUP_BARS  # row 252 has seen 252 returns
    free = 0
    if trained_until is not None and not allow_in_sample:
        free = int(np.searchsorted(bars.stamps, instant(trained_until, whole=True), "right"))
        if free >= bars.n_bars:
            raise InSampleError(
                f"all bars of {bars.name} (to {day(-1)}) lie in the policies' training span, which ends "
                f"{trained_until}; give later bars, other policies, or --allow-in-sample, which marks every output"
            )
    row = max(free, warm) if start is None else _row_of(bars, start)
    if row < free:
        raise InSampleError(
            f"start {start} lies in the policies' training span, which ends {trained_until}; start on "
            f"{day(max(free, warm))} or later, or give --allow-in-sample, which marks every output"
        )
    if row < warm:
        raise BarsError(
            f"start {start} leaves {row} bars to warm up, {WARMUP_BARS} are needed; start on {day(warm)} "
            "or later, or give an earlier history"
        )
    if row > bars.n_bars - 2:
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars - row} bar(s) from {day(row)} on; a decision needs one more "
            "bar to fill on; give later bars or an earlier start"
        )
    return row


def _row_of(bars: Bars, start: date) -> int:
    row = int(np.searchsorted(bars.stamps, instant(start)))
    if row >= bars.n_bars:
        raise BarsError(
            f"start {start} is after the last bar of {bars.name}, {say_stamp(bars.stamps[-1])}; choose an earlier start"
        )
    return row


def fit_pairs(bars: Bars, pairs: Sequence[str], start_row: int, config: Config) -> list[KalmanParams]:
    """Noise variances of each pair by maximum likelihood on the bars before `start_row`, never after.

    Raises
    ------
    BarsError
        If a pair has fewer common bars before the start than the features need.
    """
    found = []
    for name, (y, x) in zip(pairs, resolve_pairs(pairs, bars.symbols), strict=True):
        both = np.flatnonzero(bars.traded[:start_row, y] & bars.traded[:start_row, x])
        if both.size < WARMUP_BARS:
            raise BarsError(
                f"pair {name}: {both.size} common bars before the trading start, {WARMUP_BARS} are needed to fit; "
                "drop --fit-kalman or start later"
            )
        logs = np.log(bars.close[both, y]), np.log(bars.close[both, x])
        found.append(fit(*logs, config.kalman_params, follow_pair))
    return found
