"""The picture of each leg's part of the profit; the figures are those of `attribution.csv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import RunRecord
from hybrid_bt.report.attribution import split_of
from hybrid_bt.report.marks import date_axis, label_ends, shade_in_sample
from hybrid_bt.report.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Margins, money, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["profit_split"]

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
HEIGHT_INCHES = 3.2


def profit_split(record: RunRecord, dates: FloatArray) -> Figure:
    """Accumulated parts: the market's above, everything smaller below on a scale of its own."""
    parts = {name: values.cumsum() for name, values in split_of(record).items()}
    figure, ((top,), (low,)) = panels(
        record, "What the profit is made of", (1.8, HEIGHT_INCHES), margins=Margins(left=0.65, right=1.95)
    )
    total = record.accounts["hybrid"].equity - record.start_value
    top.plot(dates, total, color=BLUE, linewidth=2.0)
    spare = iter(("#009E73", "#CC79A7", "#0072B2", "#D55E00") * len(parts))
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
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
        label_ends(axes, shown[axes])
    return figure
