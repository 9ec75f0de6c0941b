"""Pictures of an account over time: equity and drawdown, exposures, costs, regime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.metrics import drawdown
from hybrid_bt.records import AccountPath, RunRecord
from hybrid_bt.report.attribution import exposures, fill_arrays, marked_close
from hybrid_bt.report.marks import date_axis, label_ends, percent_axis, shade_in_sample
from hybrid_bt.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    VERMILLION,
    Margins,
    account_line,
    money,
    panels,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["costs", "equity_drawdown", "exposure", "regime"]

FloatArray = NDArray[np.float64]

REBASED = 100.0
LOG_ABOVE = 3.0  # ratio of highest to lowest curve from which equal moves look unequal on a linear axis
LABEL_ROOM = Margins(right=1.55)


def equity_drawdown(record: RunRecord, dates: FloatArray) -> Figure:
    """Every account rebased to 100, and below it how far hybrid and benchmark lie under their peaks."""
    figure, ((top,), (low,)) = panels(record, "Equity, start = 100, and drawdown", (3.6, 1.5), margins=LABEL_ROOM)
    curves = {name: REBASED * path.equity / path.equity[0] for name, path in record.accounts.items()}
    for name, curve in curves.items():
        top.plot(dates, curve, **account_line(name, record.benchmark))
    _choose_scale(top, list(curves.values()))
    date_axis(top, dates, labels=False)
    ends = {name: f"{name}  {curve[-1]:,.0f}" for name, curve in curves.items()}
    colors = {name: account_line(name, record.benchmark)["color"] for name in curves}
    label_ends(top, [(curves[name][-1], ends[name], colors[name]) for name in curves], bold=ends["hybrid"])
    _underwater(low, record, dates)
    for axes in (top, low):
        shade_in_sample(axes, record, dates, label=axes is top)
    return figure


def _choose_scale(axes: Axes, curves: list[FloatArray]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    lowest, highest = min(curve.min() for curve in curves), max(curve.max() for curve in curves)
    if lowest > 0.0 and highest / lowest > LOG_ABOVE:
        axes.set_yscale("log")
        subs = (1.0, 2.0, 5.0) if highest / lowest > 20.0 else (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(lowest * 0.95, highest * 1.05)
        axes.set_title("log scale", color=GREY)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))


def _underwater(axes: Axes, record: RunRecord, dates: FloatArray) -> None:
    labels = []
    for name in dict.fromkeys(("hybrid", record.benchmark)):
        depth = drawdown(record.accounts[name].equity)
        line = account_line(name, record.benchmark)
        axes.plot(dates, depth, **{**line, "linewidth": 1.0})
        if name == "hybrid":
            axes.fill_between(dates, depth, 0.0, color=line["color"], alpha=0.2, linewidth=0)
        labels.append((float(depth[-1]), f"{name}  {percent(depth.min(), digits=1)}", line["color"]))
    percent_axis(axes)
    axes.set_title("drawdown, deepest beside the name", color=GREY)
    axes.set_ylim(top=0.0)
    date_axis(axes, dates)
    label_ends(axes, labels, bold=labels[0][1])


def exposure(record: RunRecord, dates: FloatArray) -> Figure:
    """Gross and net exposure, and the factor that the limits put on the fused target."""
    figure, ((top,), (low,)) = panels(
        record, "Exposure of the hybrid, fraction of equity", (2.6, 1.5), margins=LABEL_ROOM
    )
    gross, net = exposures(record.accounts["hybrid"], marked_close(record.bars.close))
    top.plot(dates, gross, color=BLUE, linewidth=0.9)
    top.plot(dates, net, color=ORANGE, linewidth=0.9)
    top.axhline(0.0, color=GREY, linewidth=0.8)
    low.plot(dates, record.decisions.scale, color=INK, linewidth=0.9)
    low.set_ylim(0.0, 1.08 * max(1.0, float(np.nanmax(record.decisions.scale, initial=0.0))))
    low.set_title("scale: factor of the volatility target and the limits on the fused target", color=GREY)
    for axes in (top, low):
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
    percent_axis(top)
    means = [_mean(values) for values in (gross, net, record.decisions.scale)]
    label_ends(
        top,
        [
            (_last(gross), f"gross  mean {percent(means[0])}", BLUE),
            (_last(net), f"net  mean {percent(means[1])}", ORANGE),
        ],
    )
    label_ends(low, [(_last(record.decisions.scale), f"mean {means[2]:.2f}", INK)])
    return figure


def costs(record: RunRecord, dates: FloatArray) -> Figure:
    """What trading, short selling and leverage took, accumulated, and how much was traded."""
    figure, ((top,), (low,)) = panels(record, "Costs and turnover of the hybrid", (2.6, 1.6), margins=LABEL_ROOM)
    path = record.accounts["hybrid"]
    traded, commission = _per_bar(path)
    spread_and_fee, borrow = commission.cumsum(), path.borrow.sum(axis=1).cumsum()
    top.stackplot(dates, spread_and_fee, borrow, colors=(BLUE, ORANGE), alpha=0.75, linewidth=0)
    top.set_ylim(bottom=0.0)
    top.yaxis.set_major_formatter(money)
    top.set_title("accumulated costs, account currency", color=GREY)
    window, name = _window(record)
    yearly = _trailing(traded, window) / _trailing(path.equity, window) * record.bars.bars_per_year
    yearly[: window // 4] = np.nan  # a rate per year from a few bars is noise that squeezes the rest
    low.plot(dates, yearly, color=GREEN)
    low.set_ylim(bottom=0.0)
    low.set_title(f"turnover a year, two-way, multiples of equity, over {name}", color=GREY)
    for axes in (top, low):
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
    share = (spread_and_fee[-1] + borrow[-1]) / record.start_value
    label_ends(
        top,
        [
            (spread_and_fee[-1] / 2, f"spread and fee  {money(spread_and_fee[-1])}", BLUE),
            (spread_and_fee[-1] + borrow[-1] / 2, f"interest  {money(borrow[-1])}", ORANGE),
            (spread_and_fee[-1] + borrow[-1], f"{100 * share:.3g}% of the start", INK),
        ],
    )
    return figure


def _per_bar(path: AccountPath) -> tuple[FloatArray, FloatArray]:
    fills, bars = fill_arrays(path), len(path.equity)
    notional = np.abs(fills.size * fills.price)
    traded, commission = np.zeros(bars), np.zeros(bars)
    np.add.at(traded, fills.bar, notional)
    np.add.at(commission, fills.bar, fills.commission)
    return traded, commission


def _window(record: RunRecord) -> tuple[int, str]:
    year = round(record.bars.bars_per_year)
    return (year, "the trailing year") if record.bars.n_bars > year else (record.bars.n_bars, "the span so far")


def _trailing(values: FloatArray, window: int) -> FloatArray:
    """Mean over up to `window` rows ending at each row."""
    total = np.concatenate(([0.0], values.cumsum()))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


def regime(record: RunRecord, dates: FloatArray) -> Figure:
    """The gate's score and the fusion weights that follow from it."""
    figure, ((top,), (low,)) = panels(record, "Regime score and fusion weights", (2.3, 1.8), margins=LABEL_ROOM)
    score = record.decisions.regime
    top.plot(dates, score, color=INK, linewidth=0.8)
    for sign, color in ((1.0, BLUE), (-1.0, ORANGE)):
        top.fill_between(dates, score, 0.0, where=score * sign > 0.0, color=color, alpha=0.35, linewidth=0)
    top.set_ylim(-1.05, 1.05)
    top.set_title("r of the gate: +1 trend, \u22121 mean reversion", color=GREY)
    weights = record.decisions.weights
    colors = {"sac": BLUE, "kalman": ORANGE}
    spare = iter((GREEN, PURPLE, VERMILLION, GREY) * len(weights))
    chosen = {leg: colors.get(leg) or next(spare) for leg in weights}
    low.stackplot(dates, *weights.values(), colors=list(chosen.values()), alpha=0.6, linewidth=0)
    low.set_ylim(0.0, 1.0)
    low.set_title("weight of each leg in the fused target", color=GREY)
    for axes in (top, low):
        date_axis(axes, dates, labels=axes is low)
        shade_in_sample(axes, record, dates, label=axes is top)
    label_ends(top, [(0.5, "trend", BLUE), (-0.5, "mean reversion", ORANGE)])
    below = 0.0
    labels = []
    for leg, weight in weights.items():
        labels.append((below + _last(weight) / 2, f"{leg}  mean {_mean(weight):.2f}", chosen[leg]))
        below += _last(weight)
    label_ends(low, labels)
    return figure


def _last(values: FloatArray) -> float:
    return float(np.nan_to_num(values[-1]))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
