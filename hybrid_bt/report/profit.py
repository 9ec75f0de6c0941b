"""What the profit is made of, what trading took, and how much was traded, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import AccountPath, RunRecord
from hybrid_bt.report.attribution import fill_arrays, split_of
from hybrid_bt.report.marks import label_ends, percent_axis, share_dates
from hybrid_bt.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Margins,
    money,
    panels,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]


LINES = {
    "sac_market": ("SAC, market", ORANGE),
    "sac_selection": ("SAC, selection", VERMILLION),
    "kalman_spread": ("pairs, spread", GREEN),
    "kalman_hedge_revision": ("pairs, hedge revision", SKY),
    "kalman_market": ("pairs, market", PURPLE),
    "execution": ("execution", GREY),
    "commissions": ("spread and fees", "#8C510A"),
    "borrow": ("interest", "#444444"),
}
SPLIT_INCHES = 3.2


def profit_split(record: RunRecord, dates: FloatArray) -> Figure:
    """Accumulated parts: the market's above, everything smaller below on a scale of its own."""
    parts = {name: values.cumsum() for name, values in split_of(record).items()}
    figure, ((top,), (low,)) = panels(
        record, "What the profit is made of", (1.8, SPLIT_INCHES), margins=Margins(left=0.65, right=1.95)
    )
    total = record.accounts["hybrid"].equity - record.start_value
    top.plot(dates, total, color=BLUE, linewidth=2.0)
    spare = iter((SKY, GREEN, PURPLE, VERMILLION) * len(parts))
    shown = {top: [(total[-1], f"profit  {money(total[-1])}", BLUE)], low: []}
    for name, values in parts.items():
        text, color = LINES[name] if name in LINES else (name.replace("_", ", "), next(spare))
        axes = top if name == "sac_market" else low
        axes.plot(dates, values, color=color)
        shown[axes].append((values[-1], f"{text}  {money(values[-1])}", color))
    top.set_title("accumulated, account currency", color=GREY)
    low.set_title("the smaller parts, on a scale of their own; all parts sum to the profit", color=GREY)
    for axes in (top, low):
        axes.axhline(0.0, color=GREY, linewidth=0.8)
        axes.yaxis.set_major_formatter(money)
    share_dates(record, dates, top, low)
    for axes, labels in shown.items():
        label_ends(axes, labels)
    return figure


def costs(record: RunRecord, dates: FloatArray) -> Figure:
    """Costs of trading, short selling and leverage: accumulated, and as a yearly share of equity."""
    figure, ((top,), (low,)) = panels(record, "Costs of the hybrid", (2.6, 1.6), margins=Margins(right=1.55))
    path = record.accounts["hybrid"]
    commission, borrow = _per_bar(path, fill_arrays(path).commission), path.borrow.sum(axis=1)
    spread_and_fee, interest = commission.cumsum(), borrow.cumsum()
    top.stackplot(dates, spread_and_fee, interest, colors=(BLUE, ORANGE), alpha=0.75, linewidth=0)
    top.set_ylim(bottom=0.0)
    top.yaxis.set_major_formatter(money)
    top.set_title("accumulated, account currency", color=GREY)
    drag, window = yearly_rate(record, commission + borrow)
    low.plot(dates, drag, color=VERMILLION)
    low.set_ylim(bottom=0.0)
    percent_axis(low)
    low.set_title(f"share of equity that costs take in a year, over {window}", color=GREY)
    share_dates(record, dates, top, low)
    share = (spread_and_fee[-1] + interest[-1]) / record.start_value
    label_ends(
        top,
        [
            (spread_and_fee[-1] / 2, f"spread and fee  {money(spread_and_fee[-1])}", BLUE),
            (spread_and_fee[-1] + interest[-1] / 2, f"interest  {money(interest[-1])}", ORANGE),
            (spread_and_fee[-1] + interest[-1], f"{100 * share:.3g}% of the start", INK),
        ],
    )
    known = drag[np.isfinite(drag)]
    if len(known):
        label_ends(low, [(float(known[-1]), f"mean {percent(float(known.mean()), digits=2)}", VERMILLION)])
    return figure


def traded_per_bar(path: AccountPath) -> FloatArray:
    """Notional traded on each bar, buys and sells, (T,)."""
    fills = fill_arrays(path)
    return _per_bar(path, np.abs(fills.size * fills.price))


def _per_bar(path: AccountPath, amounts: FloatArray) -> FloatArray:
    """(T,) sums of what belongs to the fills, (K,)."""
    total = np.zeros(len(path.equity))
    np.add.at(total, fill_arrays(path).bar, amounts)
    return total


def yearly_rate(record: RunRecord, amounts: FloatArray) -> tuple[FloatArray, str]:
    """Amounts per bar as multiples of equity a year, over the trailing year, and the window in words.

    Returns
    -------
    ndarray of shape (T,), str
        NaN on the first quarter of the window: a rate per year from a few bars is noise that squeezes the rest.
    """
    year = round(record.bars.bars_per_year)
    long = record.bars.n_bars > year
    window = year if long else record.bars.n_bars
    equity = record.accounts["hybrid"].equity
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = _trailing(amounts, window) / _trailing(equity, window) * record.bars.bars_per_year
    rate[: window // 4] = np.nan
    return rate, "the trailing year" if long else "the span so far"


def _trailing(values: FloatArray, window: int) -> FloatArray:
    """Mean over up to `window` rows ending at each row."""
    total = np.concatenate(([0.0], values.cumsum()))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)
