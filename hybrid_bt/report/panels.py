"""Pictures with one panel per symbol or pair: profit, hedge ratios, fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.records import RunRecord
from hybrid_bt.report import marks
from hybrid_bt.report.style import COLORS, DASHED, DOTTED, GREY, INK, SOLID, Margins, money, panels
from hybrid_bt.report.tables import hybrid_flows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NAMED_LINES = 3  # best and worst symbols that get a colour and a label
DASHES = SOLID, DASHED, DOTTED  # of those
MOST_BARS = 30  # symbols in the bar chart
MOST_PAIRS = 12
BAND = 1.96  # standard deviations on either side of beta: 95 %


def pnl_per_ticker(record: RunRecord, dates: FloatArray) -> Figure:
    """Cumulative net profit of each symbol, the extremes named, and every symbol's final figure."""
    flows = hybrid_flows(record)
    net = flows.gross - flows.costs
    order = np.argsort(net[-1], kind="stable")
    shown = _extremes(order, MOST_BARS)
    figure, ((left, right),) = panels(
        record,
        "Net profit per symbol, account currency",
        (max(3.6, 0.2 * len(shown) + 0.3),),
        widths=(1.75, 1.0),
        margins=Margins(across=1.55, right=0.75),
        note="" if len(shown) == len(order) else f"{len(shown)} most extreme of {len(order)} symbols",
    )
    named = _extremes(order, 2 * NAMED_LINES)
    names, colors = record.bars.symbols, [INK if gain >= 0.0 else COLORS["alarm"] for gain in net[-1]]
    for symbol in order:
        if symbol not in named:
            left.plot(dates, net[:, symbol], color="#C8C8C8", linewidth=0.7, zorder=2)
    for rank, symbol in enumerate(named):
        look = {"color": colors[symbol], "linestyle": DASHES[rank % NAMED_LINES]}
        left.plot(dates, net[:, symbol], linewidth=1.2, zorder=3, **look)
    marks.zero_line(left)
    left.yaxis.set_major_formatter(money)
    marks.date_axis(left, dates, ticks=7)
    marks.shade_in_sample(left, record, dates, label=True)
    marks.label_ends(left, [(net[-1, s], f"{names[s]}  {money(net[-1, s])}", colors[s]) for s in named])
    marks.value_bars(right, [names[s] for s in shown], net[-1, shown], [colors[s] for s in shown])
    return figure


def _extremes(order: IntArray, most: int) -> IntArray:
    """The first and last entries, `most` in all, order kept."""
    if len(order) <= most:
        return order
    return np.concatenate([order[: most // 2], order[-(most - most // 2) :]])


def pairs(record: RunRecord, dates: FloatArray) -> Figure:
    """Hedge ratio with its 95 % band, and the z-score with entry, exit and position, pair by pair."""
    paths = record.pairs
    opened = (np.diff(paths.position, axis=0, prepend=0.0) != 0.0).sum(axis=0)
    shown = np.sort(np.argsort(-opened, kind="stable")[:MOST_PAIRS])
    note = f"shaded: dark long, light short the spread; dashed: entry at \u00b1{record.entry_z:g}, dotted: exit at "
    note += f"{record.exit_z:g}"
    if len(shown) < len(paths.names):
        note += f"; the {len(shown)} most traded of {len(paths.names)} pairs"
    figure, grid = panels(
        record,
        "Pairs: hedge ratio (95 % band) and z-score, shaded while held",
        (1.25 if len(shown) > 2 else 2.2,) * len(shown),
        widths=(1.0, 1.0),
        margins=Margins(left=0.55, right=0.25, across=0.5, between=0.34),
        note=note,
    )
    for row, (left, right) in enumerate(grid):
        pair = int(shown[row])
        _hedge_ratio(left, record, pair, dates)
        _zscore(right, record, pair, dates)
        entries = int(((paths.position[1:, pair] != 0) & (np.diff(paths.position[:, pair]) != 0)).sum())
        known = paths.beta[np.isfinite(paths.beta[:, pair]), pair]
        marks.panel_title(left, paths.names[pair], f"hedge ratio, last {known[-1] if len(known) else np.nan:.3g}")
        marks.panel_title(right, paths.names[pair], f"z-score, {entries} entries")
        for axes in (left, right):
            marks.date_axis(axes, dates, labels=row == len(grid) - 1, ticks=8)
            marks.shade_in_sample(axes, record, dates)
    return figure


def _hedge_ratio(axes: Axes, record: RunRecord, pair: int, dates: FloatArray) -> None:
    beta = record.pairs.beta[:, pair]
    half = BAND * np.sqrt(np.maximum(record.pairs.beta_var[:, pair], 0.0))
    axes.fill_between(dates, beta - half, beta + half, color=COLORS["kalman"], alpha=0.22, linewidth=0)
    axes.plot(dates, beta, color=COLORS["kalman"], linewidth=1.0)
    known = np.isfinite(beta) & np.isfinite(half)
    if known.any():  # a diffuse prior's first bars would squeeze the rest into a line
        low, high = np.quantile((beta - half)[known], 0.02), np.quantile((beta + half)[known], 0.98)
        room = 0.08 * (high - low) or 0.5
        axes.set_ylim(min(low, beta[known].min()) - room, max(high, beta[known].max()) + room)
    axes.yaxis.set_major_locator(marks.few_ticks(4))


def _zscore(axes: Axes, record: RunRecord, pair: int, dates: FloatArray) -> None:
    zscore = record.pairs.zscore[:, pair]
    marks.shade_positions(axes, dates, record.pairs.position[:, pair])
    axes.plot(dates, zscore, color=INK, linewidth=0.6, zorder=2)
    for level, style, color in ((record.entry_z, "--", COLORS["kalman"]), (record.exit_z, ":", GREY)):
        for sign in (1.0, -1.0):
            axes.axhline(sign * level, color=color, linewidth=0.9, linestyle=style, zorder=3)
    known = np.abs(zscore[np.isfinite(zscore)])
    reach = max(1.4 * record.entry_z, float(known.max(initial=0.0))) or 1.0
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
    axes.yaxis.set_major_locator(marks.few_ticks(5))
