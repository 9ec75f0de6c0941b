"""Pictures with one panel per symbol or pair: profit, hedge ratios, fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import by_symbol
from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.records import Fills, RunRecord
from hybrid_bt.report import marks
from hybrid_bt.report.style import BLUE, GREY, INK, ORANGE, VERMILLION, Margins, money, panels
from hybrid_bt.report.tables import hybrid_flows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NAMED_LINES = 3  # best and worst symbols that get a colour and a label
MOST_BARS = 30  # symbols in the bar chart
MOST_PAIRS = 12
MOST_DETAILED = 4  # symbols with a panel over the whole width
MOST_PANELS = 24  # symbols with a panel of their own
MOST_MARKS = 60  # fills marked in a small panel: more hide the price
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
    names, colors = record.bars.symbols, [BLUE if gain >= 0.0 else VERMILLION for gain in net[-1]]
    for symbol in order:
        if symbol not in named:
            left.plot(dates, net[:, symbol], color="#C8C8C8", linewidth=0.7, zorder=2)
    for symbol in named:
        left.plot(dates, net[:, symbol], color=colors[symbol], linewidth=1.2, zorder=3)
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
    note = f"blue long, orange short the spread; dashed: entry at \u00b1{record.entry_z:g}, dotted: exit at "
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
    axes.fill_between(dates, beta - half, beta + half, color=BLUE, alpha=0.22, linewidth=0)
    axes.plot(dates, beta, color=BLUE, linewidth=1.0)
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
    for level, style, color in ((record.entry_z, "--", VERMILLION), (record.exit_z, ":", GREY)):
        for sign in (1.0, -1.0):
            axes.axhline(sign * level, color=color, linewidth=0.9, linestyle=style, zorder=3)
    known = np.abs(zscore[np.isfinite(zscore)])
    reach = max(1.4 * record.entry_z, float(np.quantile(known, 0.999)) if len(known) else 0.0) or 1.0
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
    axes.yaxis.set_major_locator(marks.few_ticks(5))


def trades(record: RunRecord, dates: FloatArray, symbols: Sequence[str] = ()) -> Figure:
    """Price, fills and holding.

    Parameters
    ----------
    record : RunRecord
    dates : ndarray of shape (T,)
    symbols : sequence of str
        Up to four are drawn large, with the position below; by default the most traded ones are, in small.
    """
    fills, flows = record.accounts["hybrid"].fills, hybrid_flows(record)
    chosen = [record.bars.index_of(symbol) for symbol in dict.fromkeys(symbols)]
    draw = _large if 0 < len(chosen) <= MOST_DETAILED else _small
    figure, drawn = draw(record, fills, flows.exposure, chosen, dates)
    profit = by_symbol(record.accounts["hybrid"], flows)["pnl_net"]
    for symbol, axes in drawn.items():
        count = int((fills.symbol == symbol).sum())
        marks.panel_title(axes, record.bars.symbols[symbol], f"{count} fills, {money(float(profit[symbol]))} net")
    return figure


def _large(
    record: RunRecord, fills: Fills, exposure: FloatArray, chosen: list[int], dates: FloatArray
) -> tuple[Figure, dict[int, Axes]]:
    figure, grid = panels(
        record,
        "Fills on price:  \u25b2 buy  \u25bc sell",
        ((3.0, 1.1) if len(chosen) == 1 else (2.2, 0.9)) * len(chosen),
        margins=Margins(left=0.65, right=0.3, between=0.44),
        note="a mark's area is the share of equity traded",
    )
    drawn = dict(zip(chosen, (axes for (axes,) in grid[::2]), strict=True))
    for (symbol, price), (position,) in zip(drawn.items(), grid[1::2], strict=True):
        mine = fills.symbol == symbol
        marks.shade_in_sample(price, record, dates, label=True)
        price.plot(dates, record.bars.close[:, symbol], color=INK, linewidth=0.8, zorder=2)
        shares = _shares(record, fills)
        largest = float(shares[mine].max(initial=0.0)) or 1.0  # a mark of some eight points
        _marks(price, fills, mine, dates, np.maximum(64.0 * shares / largest, 2.0))
        _position(position, record, exposure[:, symbol], dates)
        marks.date_axis(price, dates, labels=False)
        marks.date_axis(position, dates)
        price.yaxis.set_major_locator(marks.few_ticks(6))
    return figure, drawn


def _shares(record: RunRecord, fills: Fills) -> FloatArray:
    """Notional of each fill as a share of that day's equity: comparable over years, as money would not be."""
    equity: FloatArray = record.accounts["hybrid"].equity[fills.bar]
    return np.divide(fills.notional, equity, out=np.zeros_like(equity), where=equity > 0.0)


def _position(axes: Axes, record: RunRecord, held: FloatArray, dates: FloatArray) -> None:
    equity = record.accounts["hybrid"].equity
    share = np.divide(held, equity, out=np.zeros_like(held), where=equity > 0.0)
    for color, part in ((BLUE, np.maximum(share, 0.0)), (ORANGE, np.minimum(share, 0.0))):
        axes.fill_between(dates, part, 0.0, color=color, alpha=0.6, linewidth=0, step="post")
    marks.zero_line(axes)
    axes.set_title("position, share of equity: blue long, orange short", color=GREY)
    marks.shade_in_sample(axes, record, dates)
    marks.percent_axis(axes)
    axes.yaxis.set_major_locator(marks.few_ticks(4))


def _small(
    record: RunRecord, fills: Fills, exposure: FloatArray, chosen: list[int], dates: FloatArray
) -> tuple[Figure, dict[int, Axes]]:
    n = record.bars.n_symbols
    traded = np.bincount(fills.symbol, fills.notional, n)
    wanted = np.array(chosen or range(n))
    shown = np.sort(wanted[np.argsort(-traded[wanted], kind="stable")[:MOST_PANELS]]).tolist()
    columns = 3 if 4 < len(shown) <= 6 else min(4, max(len(shown), 1), 1 + len(shown) // 2)
    rows = -(-len(shown) // columns)
    busiest = int(np.bincount(fills.symbol, minlength=n)[shown].max(initial=0))
    said = [f"the {len(shown)} most traded of {n} symbols"] if len(shown) < n else []
    said += [f"marked: the {MOST_MARKS} largest fills of each, as shares of equity"] if busiest > MOST_MARKS else []
    figure, grid = panels(
        record,
        "Fills on price:  \u25b2 buy  \u25bc sell,  shaded while long (blue) or short (orange)",
        (3.6,) if len(shown) == 1 else (1.45 if columns > 3 else 2.1,) * rows,
        widths=(1.0,) * columns,
        margins=Margins(left=0.5, right=0.25, across=0.42, between=0.34),
        note="; ".join(said),
    )
    every = [axes for row in grid for axes in row]
    for axes in every[len(shown) :]:
        axes.remove()
    drawn = dict(zip(shown, every, strict=False))
    for place, (symbol, axes) in enumerate(drawn.items()):
        marks.shade_in_sample(axes, record, dates)
        marks.shade_positions(axes, dates, exposure[:, symbol])
        axes.plot(dates, record.bars.close[:, symbol], color=INK, linewidth=0.7, zorder=2)
        mine = _largest(fills.symbol == symbol, _shares(record, fills))
        points = np.clip(7.0 - 1.6 * np.log10(max(int(mine.sum()), 1)), 2.0, 6.0)  # large for few, small for many
        _marks(axes, fills, mine, dates, np.full(len(mine), float(points) ** 2))
        axes.yaxis.set_major_locator(marks.few_ticks(4))
        marks.date_axis(axes, dates, labels=place + columns >= len(shown), ticks=5 if columns > 2 else 8)
    return figure, drawn


def _largest(mine: BoolArray, shares: FloatArray) -> BoolArray:
    """Those of my fills that are marked, at most `MOST_MARKS`."""
    rows = np.flatnonzero(mine)
    marked = np.zeros_like(mine)
    marked[rows[np.argsort(-shares[rows], kind="stable")[:MOST_MARKS]]] = True
    return marked


def _marks(axes: Axes, fills: Fills, mine: BoolArray, dates: FloatArray, areas: FloatArray) -> None:
    for buys, marker, color in ((fills.size > 0.0, "^", BLUE), (fills.size <= 0.0, "v", VERMILLION)):
        rows = mine & buys
        looks: marks.Look = dict(marker=marker, color=color, linewidths=0, alpha=0.85, zorder=3)
        axes.scatter(dates[fills.bar[rows]], fills.price[rows], s=areas[rows], **looks)
