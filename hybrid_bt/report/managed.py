"""A picture of what the risk manager read and took away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import RunRecord
from hybrid_bt.report.marks import date_axis, label_ends, percent_axis, shade_in_sample
from hybrid_bt.report.style import BLUE, GREY, INK, ORANGE, VERMILLION, Margins, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["risk_manager"]

FloatArray = NDArray[np.float64]


def risk_manager(record: RunRecord, dates: FloatArray) -> Figure:
    """Highest and mean risk, exposure proposed and final, and the regime score before and after."""
    managed = record.decisions.managed
    assert managed is not None  # the picture is asked for with a risk manager only
    figure, ((top,), (middle,), (low,)) = panels(
        record, "Risk manager: documents, exposure, regime", (1.7, 1.9, 1.5), margins=Margins(right=1.55)
    )
    top.plot(dates, managed.risk.max(axis=1), color=VERMILLION, linewidth=0.8)
    top.plot(dates, managed.risk.mean(axis=1), color=INK, linewidth=0.8)
    top.set_ylim(1.0, 5.0)
    top.set_title("risk read, 1 to 5, 3 is neutral", color=GREY)
    label_ends(top, [(4.0, "highest symbol", VERMILLION), (3.0, "mean", INK)])
    proposed, final = (np.abs(values).sum(axis=1) for values in (managed.proposed, record.decisions.target))
    middle.fill_between(dates, proposed, final, color=ORANGE, alpha=0.5, linewidth=0)
    middle.plot(dates, final, color=BLUE, linewidth=0.8)
    middle.set_title("gross target, and what was taken away", color=GREY)
    taken = 1.0 - final.sum() / proposed.sum() if proposed.sum() > 0.0 else 0.0
    label_ends(middle, [(float(final[-1]), f"final  {100 * taken:.1f}% taken", BLUE)])
    percent_axis(middle)
    low.plot(dates, managed.regime - record.decisions.regime, color=INK, linewidth=0.8)
    low.set_title("r' less r", color=GREY)
    for axes in (top, middle, low):
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
    return figure
