"""What trading took, and how much was traded, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import AccountPath, RunRecord
from hybrid_bt.report.attribution import fill_arrays
from hybrid_bt.report.marks import date_axis, label_ends, percent_axis, shade_in_sample
from hybrid_bt.report.style import BLUE, GREY, INK, ORANGE, VERMILLION, Margins, money, panels, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["costs", "traded_per_bar", "yearly_rate"]

FloatArray = NDArray[np.float64]


def costs(record: RunRecord, dates: FloatArray) -> Figure:
    """Costs of trading, short selling and leverage: accumulated, and as a yearly share of equity."""
    figure, ((top,), (low,)) = panels(record, "Costs of the hybrid", (2.6, 1.6), margins=Margins(right=1.55))
    path = record.accounts["hybrid"]
    commission, borrow = _commission_per_bar(path), path.borrow.sum(axis=1)
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
    for axes in (top, low):
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
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
    traded = np.zeros(len(path.equity))
    np.add.at(traded, fills.bar, np.abs(fills.size * fills.price))
    return traded


def _commission_per_bar(path: AccountPath) -> FloatArray:
    fills = fill_arrays(path)
    paid = np.zeros(len(path.equity))
    np.add.at(paid, fills.bar, fills.commission)
    return paid


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
