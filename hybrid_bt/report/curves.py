"""Pictures of an account over time: equity, exposures, regime, what a risk manager took, parts of profit, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import drawdown
from hybrid_bt.account.records import RunRecord
from hybrid_bt.report.attribution import exposures, marked_close, per_bar, split_of, yearly_rate
from hybrid_bt.report.marks import date_axis, label_ends, percent_axis, shade_in_sample, share_dates
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
    account_line,
    money,
    panels,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

REBASED = 100.0
LOG_ABOVE = 3.0  # ratio of highest to lowest curve from which equal moves look unequal on a linear axis
LABEL_ROOM = Margins(right=1.55)
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
    """Gross and net exposure, the factor that the limits put on the fused target, and how much was traded."""
    figure, ((top,), (middle,), (low,)) = panels(
        record, "Exposure and turnover of the hybrid", (2.4, 1.3, 1.3), margins=LABEL_ROOM
    )
    gross, net = exposures(record.accounts["hybrid"], marked_close(record.bars.close))
    scale = record.decisions.scale
    top.plot(dates, gross, color=BLUE, linewidth=0.9)
    top.plot(dates, net, color=ORANGE, linewidth=0.9)
    top.axhline(0.0, color=GREY, linewidth=0.8)
    top.set_title("gross and net exposure, share of equity", color=GREY)
    middle.plot(dates, scale, color=INK, linewidth=0.9)
    middle.set_ylim(0.0, 1.08 * max(1.0, float(np.nanmax(scale, initial=0.0))))
    middle.set_title("scale: factor of the volatility target and the limits on the fused target", color=GREY)
    turnover, window = yearly_rate(record, per_bar(record.accounts["hybrid"], "notional"))
    low.plot(dates, turnover, color=GREEN)
    low.set_ylim(bottom=0.0)
    low.set_title(f"turnover a year, two-way, multiples of equity, over {window}", color=GREY)
    share_dates(record, dates, top, middle, low)
    percent_axis(top)
    ends = (
        (_last(gross), f"gross  mean {percent(_mean(gross))}", BLUE),
        (_last(net), f"net  mean {percent(_mean(net))}", ORANGE),
    )
    label_ends(top, ends)
    label_ends(middle, [(_last(scale), f"mean {_mean(scale):.2f}", INK)])
    label_ends(low, [(_last(turnover), f"mean {_mean(turnover):.3g}", GREEN)])
    return figure


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
    low.set_ylim(0.0, max(1.0, float(np.max(sum(weights.values())))))
    low.set_title("weight of each leg in the fused target", color=GREY)
    share_dates(record, dates, top, low)
    label_ends(top, [(0.5, "trend", BLUE), (-0.5, "mean reversion", ORANGE)])
    below = 0.0
    labels = []
    for leg, weight in weights.items():
        labels.append((below + _last(weight) / 2, f"{leg}  mean {_mean(weight):.2f}", chosen[leg]))
        below += _last(weight)
    label_ends(low, labels)
    return figure


def risk_manager(record: RunRecord, dates: FloatArray) -> Figure:
    """Highest and mean risk, exposure proposed and final, and the regime score before and after."""
    managed = record.decisions.managed
    assert managed is not None  # the picture is asked for with a risk manager only
    figure, ((top,), (middle,), (low,)) = panels(
        record, "Risk manager: documents, exposure, regime", (1.7, 1.9, 1.5), margins=LABEL_ROOM
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
    share_dates(record, dates, top, middle, low)
    return figure


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
    figure, ((top,), (low,)) = panels(record, "Costs of the hybrid", (2.6, 1.6), margins=LABEL_ROOM)
    path = record.accounts["hybrid"]
    commission, borrow = per_bar(path, "commission"), path.borrow.sum(axis=1)
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
    label_ends(low, [(_last(drag), f"mean {percent(_mean(drag), digits=2)}", VERMILLION)])
    return figure


def _last(values: FloatArray) -> float:
    return float(np.nan_to_num(values[-1]))


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
