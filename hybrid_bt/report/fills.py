"""Pictures of fills on prices, one panel per symbol, and what is held."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import by_symbol
from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.records import Fills, RunRecord
from hybrid_bt.report import marks, style
from hybrid_bt.report.style import COLORS, GREY, INK, Margins, money, panels
from hybrid_bt.report.tables import hybrid_flows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

BoolArray = NDArray[np.bool_]

MOST_DETAILED = 4  # symbols with a panel over the whole width
MOST_PANELS = 24  # symbols with a panel of their own
MOST_MARKS = 20  # fills marked in a small panel: more hide the price
STRIP = 0.3  # of a small panel's height, below the price, for what is held


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


def _shares_held(record: RunRecord, exposure: FloatArray) -> FloatArray:
    """(T, N) positions as fractions of equity."""
    equity = record.accounts["hybrid"].equity[:, np.newaxis]
    return np.divide(exposure, equity, out=np.zeros_like(exposure), where=equity > 0.0)


def _fill_sides(
    axes: Axes, dates: FloatArray, heights: FloatArray, zero: float, place: Transform | None = None
) -> None:
    """Fill from zero up what is long, down what is short; heights as the transform has them."""
    more: marks.Look = {} if place is None else {"transform": place}
    for color, part in ((COLORS["long"], np.maximum(heights, zero)), (COLORS["short"], np.minimum(heights, zero))):
        axes.fill_between(dates, part, zero, color=color, alpha=0.6, linewidth=0, step="post", **more)


def _position(axes: Axes, record: RunRecord, held: FloatArray, dates: FloatArray) -> None:
    _fill_sides(axes, dates, _shares_held(record, held[:, np.newaxis])[:, 0], 0.0)
    marks.zero_line(axes)
    axes.set_title("position, share of equity: above 0 long, below short", color=GREY)
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
    held = _shares_held(record, exposure)
    lowest, highest = float(held[:, shown].min(initial=0.0)), float(held[:, shown].max(initial=0.0))
    zero, per_height = (lowest / (lowest - highest), highest - lowest) if highest > lowest else (0.0, 1.0)
    said += [f"strip: position, one scale for all, {style.percent(lowest)} to {style.percent(highest)} of equity"]
    figure, grid = panels(
        record,
        "Fills on price:  \u25b2 buy  \u25bc sell,  and below it what is held",
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
        close = record.bars.close[:, symbol]
        axes.plot(dates, close, color=INK, linewidth=0.7, zorder=2)
        known = close[np.isfinite(close)]
        least = float(known.min()) if len(known) else 0.0
        room = float(np.ptp(known)) if len(known) else 0.0
        axes.set_ylim(bottom=least - (room or 1.0) * STRIP / (0.95 - STRIP))
        strip = STRIP * (zero + held[:, symbol] / per_height)
        _fill_sides(axes, dates, strip, STRIP * zero, axes.get_xaxis_transform())
        mine = _largest(fills.symbol == symbol, _shares(record, fills))
        points = np.clip(7.0 - 1.6 * np.log10(max(int(mine.sum()), 1)), 2.0, 6.0)  # large for few, small for many
        _marks(axes, fills, mine, dates, np.full(len(mine), float(points) ** 2))
        axes.yaxis.set_major_locator(marks.few_ticks(5))
        axes.yaxis.set_major_formatter(partial(_price, least))
        marks.date_axis(axes, dates, labels=place + columns >= len(shown), ticks=5 if columns > 2 else 8)
    return figure, drawn


def _price(least: float, value: float, _: object) -> str:
    """A tick of the price, none in the strip below it."""
    return f"{value:g}" if value >= least else ""


def _largest(mine: BoolArray, shares: FloatArray) -> BoolArray:
    """Those of my fills that are marked, at most `MOST_MARKS`."""
    rows = np.flatnonzero(mine)
    marked = np.zeros_like(mine)
    marked[rows[np.argsort(-shares[rows], kind="stable")[:MOST_MARKS]]] = True
    return marked


def _marks(axes: Axes, fills: Fills, mine: BoolArray, dates: FloatArray, areas: FloatArray) -> None:
    for buys, marker, color in ((fills.size > 0.0, "^", COLORS["long"]), (fills.size <= 0.0, "v", COLORS["short"])):
        rows = mine & buys
        looks: marks.Look = dict(marker=marker, color=color, linewidths=0, alpha=0.85, zorder=3)
        axes.scatter(dates[fills.bar[rows]], fills.price[rows], s=areas[rows], **looks)
