"""The picture of a training: how each seed did on validation, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_bt.files import whole_file
from hybrid_bt.report.style import GREY, INK, PALETTE, blank_figure, house_style, money, percent, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (("sharpe", "Sharpe ratio"), ("net_pnl", "net PnL"), ("max_drawdown", "max drawdown"))
HEIGHT_INCHES = 7.2
LINE = 0.14  # of a panel's height, between two names

Curve = Mapping[str, Sequence[float]]


def write_training_curves(
    curves: Mapping[str, Curve], reference: tuple[str, Mapping[str, float]], path: Path, *, title: str, note: str
) -> None:
    """Sharpe ratio, net PnL and drawdown against environment steps, a line for each training.

    Parameters
    ----------
    curves : mapping of name to columns
        `step`, `sharpe`, `net_pnl`, `max_drawdown`, of one length; the large dot is the highest Sharpe ratio.
    reference : (name, values)
        An account without learning, the dashed line.
    path : Path
        Appears whole or not at all.
    """
    with house_style():
        figure = blank_figure(title, note, HEIGHT_INCHES)
        grid = {"left": 0.075, "right": 0.85, "top": 0.87, "bottom": 0.075, "hspace": 0.28}
        axes = figure.subplots(len(PANELS), 1, sharex=True, gridspec_kw=grid)
        for axis, (column, label) in zip(axes, PANELS, strict=True):
            _draw_panel(axis, curves, column, reference[1][column])
            axis.set_title(label)
        axes[1].yaxis.set_major_formatter(money)
        axes[2].yaxis.set_major_formatter(lambda value, _: percent(value))
        axes[2].xaxis.set_major_formatter(money)
        axes[2].set_xlabel("environment steps")
        names = [
            *((name, PALETTE[k % len(PALETTE)]) for k, name in enumerate(curves)),
            (f"{reference[0]}, dashed", INK),
            ("large dot: best Sharpe", GREY),
        ]
        for k, (name, color) in enumerate(names):
            axes[0].text(1.01, 1.0 - LINE * k, name, color=color, size=8.5, va="top", transform=axes[0].transAxes)
        with whole_file(path) as part:
            save(figure, part)


def _draw_panel(axis: Axes, curves: Mapping[str, Curve], column: str, reference: float) -> None:
    for k, curve in enumerate(curves.values()):
        color, steps, values = PALETTE[k % len(PALETTE)], curve["step"], curve[column]
        axis.plot(steps, values, color=color, marker="o", markersize=2.5)
        best = max(range(len(steps)), key=curve["sharpe"].__getitem__)
        axis.plot(steps[best], values[best], color=color, marker="o", markersize=6)
    axis.axhline(reference, color=INK, linestyle="--", linewidth=1.1)
    axis.margins(x=0.02)
