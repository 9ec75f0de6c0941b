"""One look for every picture: 1,200 pixels wide, colours that the colour-blind tell apart, labels on the lines.

Figures are matplotlib objects without pyplot: no global state, no window, nothing left open. Margins are given in
inches, which costs nothing where a layout engine doubles the time of twenty panels. The Okabe-Ito palette is from Okabe
and Ito (2008), Color Universal Design, four hues more from Paul Tol's schemes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import end_days, real_minus, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#222222", "#767676", "#BBBBBB"
#: one colour, one meaning, in every picture and page: accounts and the legs they are named after, sides, costs, alarms
COLORS = {
    "hybrid": "#0072B2",
    "sac": "#E69F00",
    "kalman": "#009E73",
    "gate-off": "#CC79A7",
    "inverse-vol": "#56B4E9",
    "vol-target": GREY,
    "equal-weight": INK,
    "benchmark": "#882255",
    "another": "#44AA99",  # account or leg
    "long": "#332288",
    "short": "#999933",
    "costs": "#8C510A",
    "alarm": "#D55E00",  # in sample, losses, highest risk
}
# thin lines carry a light colour, small text on white does not
TEXT_COLORS = {"sac": "#A06900", "gate-off": "#A8568A", "inverse-vol": "#277AA8", "kalman": "#00805C"}
TEXT_COLORS |= {"another": "#2B7F72", "short": "#77772A", "alarm": "#B84A00"}
#: what a page begins with, up to its title
HEAD = '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
HEAD += '<meta name="viewport" content="width=device-width, initial-scale=1">'
WIDTH_INCHES, DPI = 10.0, 120  # 1,200 pixels
HEADER_INCHES = 0.95  # title and subtitle
INDENT = 0.02  # of the width, before and behind the header

LONGEST_NAME = 24  # characters of the data's name in the subtitle
LONGEST_SUBTITLE = 150  # characters on a line

Dash = str | tuple[int, tuple[float, ...]]  #: as matplotlib has it
SOLID: Dash = "-"
DASHED: Dash = (0, (5, 1.2))
DOTTED: Dash = (0, (1.2, 1))
# width and dashes, so that lines are told apart without their colours; the hybrid is the one thick line
ACCOUNT_LINES: dict[str, tuple[float, Dash]] = {
    "hybrid": (2.0, SOLID),
    "sac": (1.0, SOLID),
    "kalman": (1.0, (0, (7, 1.2))),
    "gate-off": (1.0, DASHED),
    "inverse-vol": (1.0, DOTTED),
    "vol-target": (1.1, "-."),
    "equal-weight": (1.1, "--"),
    "benchmark": (1.1, (0, (7, 1.2, 1, 1.2))),
    "another": (1.0, (0, (2, 1.2))),
}


def color_of(name: str) -> str:
    """Of an account or a leg."""
    return COLORS.get(name, COLORS["another"])


def text_color(color: str) -> str:
    """Of small text beside a line of this colour."""
    return next((TEXT_COLORS[name] for name in TEXT_COLORS if COLORS[name] == color), color)


class Margins(NamedTuple):
    """Room around the panels, inches."""

    left: float = 0.75
    right: float = 0.35
    bottom: float = 0.4
    across: float = 0.6
    between: float = 0.32


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says; put back afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        with resources.as_file(resources.files("hybrid_bt.report") / "house.mplstyle") as file:
            matplotlib.rcParams.update(matplotlib.rc_params_from_file(file, use_default_template=False))
        yield


def panels(
    record: RunRecord,
    title: str,
    heights: Sequence[float],
    *,
    widths: Sequence[float] = (1.0,),
    margins: Margins = Margins(),  # noqa: B008 - a NamedTuple does not change
    note: str = "",
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with the run's header and a grid of panels that share their dates.

    Parameters
    ----------
    heights : sequence of float
        Of each row, inches.
    widths : sequence of float
        Of each column, in any unit.
    note : str
        Added to the subtitle.
    """
    rows, columns = len(heights), len(widths)
    height = HEADER_INCHES + sum(heights) + margins.between * (rows - 1) + margins.bottom
    run = run_text(record)
    between = " · " if len(run) + len(note) < LONGEST_SUBTITLE else "\n"
    figure = blank_figure(title, run + (f"{between}{note}" if note else ""), height)
    corner = 1.0 - INDENT, 1.0 - 0.14 / height
    figure.text(*corner, sample_stamp(record), size=11, weight="bold", color=COLORS["alarm"], va="top", ha="right")
    inner = WIDTH_INCHES - margins.left - margins.right
    grid = figure.add_gridspec(
        rows,
        columns,
        left=margins.left / WIDTH_INCHES,
        right=1.0 - margins.right / WIDTH_INCHES,
        top=1.0 - HEADER_INCHES / height,
        bottom=margins.bottom / height,
        hspace=margins.between / (sum(heights) / rows),
        wspace=margins.across / (max(inner - margins.across * (columns - 1), 1.0) / columns),
        height_ratios=heights,
        width_ratios=widths,
    )
    return figure, [[figure.add_subplot(grid[row, column]) for column in range(columns)] for row in range(rows)]


def blank_figure(title: str, subtitle: str, height: float) -> Figure:
    """A page of `height` inches with its header and nothing else."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(INDENT, 1.0 - 0.14 / height, title, size=13, weight="bold", va="top")
    figure.text(INDENT, 1.0 - 0.42 / height, subtitle, size=8.5, color=GREY, va="top")
    return figure


def in_sample_spans(in_sample: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last row of each unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], in_sample, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


def sample_stamp(record: RunRecord) -> str:
    """What every page and picture of a run on training bars bears, or of one by an object; empty for any other."""
    sample = "IN SAMPLE" if record.in_sample.all() else "PARTLY IN SAMPLE" if record.in_sample.any() else ""
    return " · ".join(filter(None, (sample, object_stamp(record))))


def object_stamp(record: RunRecord) -> str:
    """Which policies and legs are no frozen files; empty if all are."""
    parts = {**record.facts.get("policies", {}), **record.facts.get("legs", {})}
    objects = [name.upper() for name, part in parts.items() if "object" in part]
    return f"{' AND '.join(objects)} AS AN OBJECT" if objects else ""


def run_text(record: RunRecord) -> str:
    """Data, span and costs in one line."""
    first, last = end_days(record.bars.stamps)
    name = record.bars.name
    name = shown(name)
    name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return f"{name} · {first} to {last} · net of costs{_cost_text(record.config)}"


def _cost_text(config: Mapping[str, Any]) -> str:
    costs = config.get("costs", {})
    names = ("spread_bps", "fee_bps", "borrow_bps_per_year", "financing_bps_per_year")
    spread, fee, borrow, financing = (costs.get(name) for name in names)
    if spread is None or fee is None:
        return ""
    shorts = "" if borrow is None else f", {borrow:g} bps a year on shorts"
    debit = f", {financing:g} on what is borrowed" if financing else ""
    return f": {spread / 2 + fee:g} bps a side (half of {spread:g} spread + {fee:g} fee){shorts}{debit}"


def account_line(name: str, benchmark: str) -> dict[str, Any]:
    """Line properties of an account; a benchmark is never thinner than its role deserves."""
    width, style = ACCOUNT_LINES.get(name, ACCOUNT_LINES["another"])
    return {
        "color": color_of(name),
        "linewidth": max(width, 1.5) if name == benchmark else width,
        "linestyle": style,
        "zorder": 4 if name == "hybrid" else 3,
    }


def percent(value: float, *, digits: int = 0) -> str:
    """`12%`, `-3%` with a real minus."""
    return real_minus(f"{value:.{digits}%}")


def money(value: float, _: object = None) -> str:
    """`1.2M`, `-35k`, `0`: for axes and labels."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return real_minus(f"{value / size:.3g}{letter}")
    return real_minus(f"{value:.3g}")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the picture alone."""
    # level 1 packs nearly as well as 6 here, in less time
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "hybrid_bt"}, pil_kwargs={"compress_level": 1})
