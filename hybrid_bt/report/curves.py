"""Pictures of an account over time: equity, exposures, regime, what a risk manager took, parts of profit, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.account.flows import exposures
from hybrid_bt.account.metrics import FloatArray, drawdown
from hybrid_bt.account.records import RunRecord
from hybrid_bt.equations.features import KEPT_FEATURES
from hybrid_bt.report import marks, style
from hybrid_bt.report.marks import Stack, percent_axis, zero_line
from hybrid_bt.report.style import (
    COLORS,
    DASHED,
    DOTTED,
    GREY,
    INK,
    PALE,
    SOLID,
    account_line,
    color_of,
    money,
    percent,
)
from hybrid_bt.report.tables import hybrid_flows, split_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REBASED = 100.0
LOG_ABOVE = 3.0  # ratio of highest to lowest curve from which equal moves look unequal on a linear axis
HURDLE = "vol-target"  #: what an account has to beat: the same risk, nothing learnt
#: caption, and whose colour; parts of one leg are told apart by their dashes
PARTS = {
    "sac_market": ("SAC, market", "sac", SOLID),
    "sac_selection": ("SAC, selection", "sac", DASHED),
    "kalman_spread": ("pairs, spread", "kalman", SOLID),
    "kalman_hedge_revision": ("pairs, hedge revision", "kalman", DOTTED),
    "kalman_market": ("pairs, market", "kalman", DASHED),
    "execution": ("execution", "vol-target", SOLID),
    "commissions": ("spread and fees", "costs", SOLID),
    "borrow": ("interest", "costs", DASHED),
}


def equity_drawdown(record: RunRecord, dates: FloatArray) -> Figure:
    """Every account rebased to 100, and below it how far hybrid, benchmark and hurdle lie under their peaks."""
    captions = {"": 3.6, "drawdown, deepest beside the name": 1.5}
    stack = Stack(record, dates, "Equity, start = 100, and drawdown", captions)
    top, low = stack.axes
    curves = {name: REBASED * path.equity / path.equity[0] for name, path in record.accounts.items()}
    for name, curve in curves.items():
        line = account_line(name, record.benchmark)
        top.plot(dates, curve, **line)
        stack.name(top, curve[-1], f"{name}  {curve[-1]:,.0f}", line["color"])
    _choose_scale(top, list(curves.values()))
    for name in dict.fromkeys(("hybrid", record.benchmark, *({HURDLE} & set(record.accounts)))):
        depth = drawdown(record.accounts[name].equity)
        line = account_line(name, record.benchmark)
        low.plot(dates, depth, **{**line, "linewidth": 1.0})
        if name == "hybrid":
            low.fill_between(dates, depth, 0.0, color=line["color"], alpha=0.2, linewidth=0)
        stack.name(low, depth[-1], f"{name}  {percent(depth.min(), digits=1)}", line["color"])
    percent_axis(low)
    low.set_ylim(top=0.0)
    return stack.finish(bold="hybrid")


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


def exposure(record: RunRecord, dates: FloatArray) -> Figure:
    """Gross and net exposure, the risk of each leg's part, and how much was traded."""
    flows, decisions = hybrid_flows(record), record.decisions
    year = np.sqrt(record.bars.bars_per_year)
    gross, net = exposures(flows.exposure, record.accounts["hybrid"].equity)
    turnover, window = _yearly_rate(record, flows.traded.sum(axis=1))
    captions = {
        "gross and net exposure, share of equity": 2.4,
        "volatility a year of each leg's part: its weight times its own volatility": 1.3,
        f"turnover a year, two-way, multiples of equity, over {window}": 1.3,
    }
    stack = Stack(record, dates, "Exposure and turnover of the hybrid", captions)
    top, middle, low = stack.axes
    stack.line(top, gross, f"gross  mean {percent(_mean(gross))}", COLORS["hybrid"], 0.9)
    stack.line(top, net, f"net  mean {percent(_mean(net))}", GREY, 0.9)
    for (leg, weight), risk in zip(decisions.weights.items(), decisions.risks.T, strict=True):
        part = weight * risk * year
        stack.line(middle, part, f"{leg}  mean {percent(_mean(part))}", color_of(leg), 0.9)
    whole = record.accounts["hybrid"].summary(record.bars).turnover_per_year
    stack.line(low, turnover, f"{whole:.2f} over the run", COLORS["hybrid"])
    zero_line(top)
    percent_axis(top)
    percent_axis(middle)
    middle.set_ylim(bottom=0.0)
    low.set_ylim(bottom=0.0)
    return stack.finish()


def regime(record: RunRecord, dates: FloatArray) -> Figure:
    """The gate's score beside what it looks at, and what each leg's wishes were multiplied by."""
    captions = {
        "r of the gate: +1 trend, \u22121 mean reversion": 2.3,
        "standard deviations from the mean of the last three years": 1.5,
        "weight of each leg, in units of risk": 1.5,
    }
    stack = Stack(record, dates, "Regime score, turbulence, and weights of the legs", captions)
    top, middle, low = stack.axes
    score, weights, market = record.decisions.regime, record.decisions.weights, record.decisions.market
    for name, sign, words, color in (
        ("calm", -1.0, "volatility of the market", INK),
        ("dispersion", 1.0, "dispersion of the assets", GREY),
    ):
        stack.line(middle, sign * market[:, KEPT_FEATURES.index(name)], words, color, 0.8)
    zero_line(middle)
    top.plot(dates, score, color=INK, linewidth=0.8)
    for sign, name, color in ((1.0, "trend", GREY), (-1.0, "mean reversion", PALE)):
        top.fill_between(dates, score, 0.0, where=score * sign > 0.0, color=color, alpha=0.6, linewidth=0)
        stack.name(top, 0.5 * sign, name, GREY)
    top.set_ylim(-1.05, 1.05)
    for leg, weight in weights.items():
        stack.line(low, weight, f"{leg}  mean {_mean(weight):.2f}", color_of(leg), 0.9)
    low.set_ylim(bottom=0.0)
    return stack.finish()


def risk_manager(record: RunRecord, dates: FloatArray) -> Figure:
    """Highest and mean risk, exposure proposed and final, and the regime score before and after."""
    managed = record.decisions.managed
    assert managed is not None  # the picture is asked for with a risk manager only
    captions = {"risk read, 1 to 5, 3 is neutral": 1.7, "gross target, and what was taken away": 1.9, "r' less r": 1.5}
    stack = Stack(record, dates, "Risk manager: documents, exposure, regime", captions)
    top, middle, low = stack.axes
    for height, name, risk, color, dash in (
        (4.0, "highest symbol", managed.risk.max(axis=1), COLORS["alarm"], SOLID),
        (3.0, "mean", managed.risk.mean(axis=1), INK, DOTTED),  # where both are one, both are seen
    ):
        top.plot(dates, risk, color=color, linewidth=0.8, linestyle=dash)
        stack.name(top, height, name, color)
    top.set_ylim(1.0, 5.0)
    proposed, final = (np.abs(values).sum(axis=1) for values in (managed.proposed, record.decisions.target))
    taken = 1.0 - final.sum() / proposed.sum() if proposed.sum() > 0.0 else 0.0
    middle.fill_between(dates, proposed, final, color=PALE, linewidth=0)
    stack.line(middle, final, f"final  {100 * taken:.1f}% taken", COLORS["hybrid"], 0.8)
    percent_axis(middle)
    low.plot(dates, managed.regime - record.decisions.regime, color=INK, linewidth=0.8)
    return stack.finish()


def profit_split(record: RunRecord, dates: FloatArray) -> Figure:
    """Accumulated parts: the market's above, everything smaller below on a scale of its own."""
    captions = {
        "accumulated, account currency": 1.8,
        "the smaller parts, on a scale of their own; all parts sum to the profit": 3.2,
    }
    stack = Stack(record, dates, "What the profit is made of", captions, style.Margins(left=0.65, right=2.1))
    top, low = stack.axes
    parts = {name: values.cumsum() for name, values in split_of(record).items()}
    total = record.accounts["hybrid"].equity - record.start_value
    stack.line(top, total, f"profit  {money(total[-1])}", COLORS["hybrid"], 2.0)
    for name, values in parts.items():
        text, whose, dash = PARTS.get(name, (name.replace("_", ", "), "another", SOLID))
        axes = top if name == "sac_market" else low
        stack.line(axes, values, f"{text}  {money(values[-1])}", COLORS[whose], dash=dash)
    for axes in stack.axes:
        zero_line(axes)
        axes.yaxis.set_major_formatter(money)
    return stack.finish()


def costs(record: RunRecord, dates: FloatArray) -> Figure:
    """Costs of trading, short selling and leverage: accumulated, and as a yearly share of equity."""
    flows = hybrid_flows(record)
    commissions, interest = flows.commissions.sum(axis=1), flows.interest.sum(axis=1)
    drag, window = _yearly_rate(record, commissions + interest)
    captions = {"accumulated, account currency": 2.6, f"share of equity that costs take in a year, over {window}": 1.6}
    stack = Stack(record, dates, "Costs of the hybrid", captions)
    top, low = stack.axes
    looks: marks.Look = {"colors": (COLORS["costs"], PALE), "alpha": 0.75, "linewidth": 0}
    top.stackplot(dates, commissions.cumsum(), interest.cumsum(), **looks)
    top.set_ylim(bottom=0.0)
    top.yaxis.set_major_formatter(money)
    paid, owed = commissions.sum(), interest.sum()
    stack.name(top, paid / 2, f"spread and fee  {money(paid)}", COLORS["costs"])
    stack.name(top, paid + owed / 2, f"interest  {money(owed)}", GREY)
    stack.name(top, paid + owed, f"{100 * (paid + owed) / record.start_value:.3g}% of the start", INK)
    stack.line(low, drag, f"mean {percent(_mean(drag), digits=2)}", COLORS["costs"])
    low.set_ylim(bottom=0.0)
    percent_axis(low)
    return stack.finish()


def _yearly_rate(record: RunRecord, amounts: FloatArray) -> tuple[FloatArray, str]:
    """Amounts per bar as multiples of equity a year, (T,), over the trailing year, and the window in words.

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


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
