"""What is put on a panel beside its curves: dates, labels at line ends, shaded spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import real_minus
from hybrid_bt.report import style
from hybrid_bt.report.style import COLORS, GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

Look = dict[str, Any]  #: keywords of matplotlib

FEWEST_BARS = 6  # room for as many, so that one symbol is not one giant bar
BESIDE_NAMES = style.Margins(right=1.7)
LABEL_GAP_POINTS = 11.0  # one line of small text
# How things on a panel look: spans in sample and their name, spans while something is held, names at line ends.
HATCHED: Look = dict(facecolor="#F3E9E4", edgecolor="#E3CFC5", hatch="///", linewidth=0, zorder=0)
PAPER = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1.5)
IN_SAMPLE: Look = dict(ha="center", va="top", color=COLORS["alarm"], clip_on=True, zorder=6, bbox=PAPER)
HELD: Look = dict(alpha=0.28, linewidths=0, antialiaseds=False, zorder=1)
AT_THE_END: Look = dict(
    xycoords="axes fraction", textcoords="offset points", va="center", size=8.5, annotation_clip=False
)
LEADER: Look = dict(arrowstyle="-", linewidth=0.9, shrinkA=1, shrinkB=0, relpos=(0.0, 0.5))
BESIDE: Look = dict(textcoords="offset points", va="center", size=8, color=GREY)
# Date labels by spacing (years, months, days, hours, minutes, seconds), and those of ticks that begin a larger unit.
TICKS = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
FIRST_TICKS = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]


def date_axis(axes: Axes, dates: FloatArray, *, labels: bool = True, ticks: int = 9) -> None:
    """Dates below, from the first bar to the last."""
    from matplotlib import dates as mdates

    locator = mdates.AutoDateLocator(minticks=min(3, ticks), maxticks=ticks)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        mdates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator, formats=TICKS, zero_formats=FIRST_TICKS, show_offset=False
        )
    )
    axes.set_xlim(dates[0], dates[-1] if dates[-1] > dates[0] else dates[0] + 1.0)
    axes.tick_params(axis="x", labelbottom=labels, length=3 if labels else 0)
    axes.tick_params(axis="y", length=0)


class Stack:
    """Panels one above another on the same dates; what is drawn is named at its right end.

    Parameters
    ----------
    captions : mapping of caption to height, inches
    margins : Margins
        On the right there is room for names.
    """

    def __init__(
        self,
        record: RunRecord,
        dates: FloatArray,
        title: str,
        captions: Mapping[str, float],
        margins: style.Margins = BESIDE_NAMES,
    ) -> None:
        self.figure, rows = style.panels(record, title, list(captions.values()), margins=margins)
        self.axes = [axes for (axes,) in rows]
        self._record, self._dates = record, dates
        self._names: dict[Axes, list[tuple[float, str, str]]] = {axes: [] for axes in self.axes}
        for axes, caption in zip(self.axes, captions, strict=True):
            axes.set_title(caption, color=GREY)

    def line(
        self, axes: Axes, values: FloatArray, text: str, color: str, width: float = 1.1, dash: style.Dash = style.SOLID
    ) -> None:
        """Draw (T,) values, and name them where they end."""
        axes.plot(self._dates, values, color=color, linewidth=width, linestyle=dash)
        self.name(axes, values[-1], text, color)

    def name(self, axes: Axes, height: float, text: str, color: str) -> None:
        """A text on the right at some height, in the data's units."""
        self._names[axes].append((float(np.nan_to_num(height)), text, color))

    def finish(self, bold: str = "") -> Figure:
        """Dates below the last panel, what is in sample hatched on all and named on the first, then the names."""
        for axes, names in self._names.items():
            date_axis(axes, self._dates, labels=axes is self.axes[-1])
            shade_in_sample(axes, self._record, self._dates, label=axes is self.axes[0])
            label_ends(axes, names, bold=bold)
        return self.figure


def zero_line(axes: Axes) -> None:
    """Where gains and losses meet."""
    axes.axhline(0.0, color=GREY, linewidth=0.8)


def few_ticks(count: int) -> Locator:
    """Up to `count` round ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, steps=[1, 2, 5, 10])


def percent_axis(axes: Axes) -> None:
    """Ticks at round percentages."""
    axes.yaxis.set_major_locator(few_ticks(7))
    axes.yaxis.set_major_formatter(lambda value, _: real_minus(f"{round(100 * value, 6):g}%"))


def shade_in_sample(axes: Axes, record: RunRecord, dates: FloatArray, *, label: bool = False) -> None:
    """Hatch the spans on which a policy was trained."""
    for first, last in style.in_sample_spans(record.in_sample):
        axes.axvspan(dates[first], dates[last], **HATCHED)
        if label:
            middle, across = (dates[first] + dates[last]) / 2, axes.get_xaxis_transform()
            axes.text(middle, 0.95, "in sample", transform=across, **IN_SAMPLE)


def shade_positions(axes: Axes, dates: FloatArray, position: FloatArray) -> None:
    """Where something is held long or short, over the panel's whole height."""
    from matplotlib.collections import PolyCollection

    across = axes.get_xaxis_transform()
    for color, held in ((COLORS["long"], position > 0.0), (COLORS["short"], position < 0.0)):
        spans = [(dates[first], dates[min(last + 1, len(dates) - 1)]) for first, last in style.in_sample_spans(held)]
        if spans:  # one collection for all: a patch for each took most of the drawing time
            corners = [((start, 0.0), (start, 1.0), (end, 1.0), (end, 0.0)) for start, end in spans]
            axes.add_collection(PolyCollection(corners, facecolors=color, transform=across, **HELD), autolim=False)


def label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]], *, bold: str = "") -> None:
    """Write each line's name at its right end, moved apart where they would overlap, with a lead to the line.

    Parameters
    ----------
    axes : Axes
        Limits and scale already final.
    labels : sequence of (y in data units, text, colour)
    bold : str
        Begins the text that stands out.
    """
    bottom, top = axes.transAxes.transform([(0.0, 0.0), (0.0, 1.0)])[:, 1]
    gap = LABEL_GAP_POINTS * axes.figure.dpi / 72.0
    wanted = sorted((float(axes.transData.transform((0.0, y))[1]), text, color) for y, text, color in labels)
    heights = _apart([height for height, _, _ in wanted], gap, float(bottom), float(top))
    for height, (end, text, color) in zip(heights, wanted, strict=True):
        weight = "bold" if bold and text.startswith(f"{bold}  ") else "normal"
        end = min(max(end, bottom), top)
        place, shift = (1.0, (end - bottom) / (top - bottom)), (14, (height - end) * 72.0 / axes.figure.dpi)
        look: Look = {"color": style.text_color(color), "weight": weight, "arrowprops": {**LEADER, "color": color}}
        axes.annotate(text, place, xytext=shift, **look, **AT_THE_END)


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Sorted heights moved as little as two passes allow so that neighbours are `gap` apart, topmost inside."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + gap) if placed else max(height, low))
    ceiling = high
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - gap
    return placed


def panel_title(axes: Axes, name: str, detail: str) -> None:
    """A name in bold on the left, what there is to say about it on the right."""
    axes.set_title(name, weight="bold", size=9, pad=3)
    axes.set_title(detail, loc="right", size=8, color=GREY, pad=3)


def value_bars(axes: Axes, names: list[str], values: FloatArray, colors: list[str]) -> None:
    """A bar for each name, its value written beside it, the last one on top."""
    places = np.arange(len(names))
    axes.barh(places, values, color=colors, height=0.7)
    axes.set_yticks(places, names)
    middle, half = (len(names) - 1) / 2, max(len(names), FEWEST_BARS) / 2 + 0.1
    axes.set_ylim(middle - half, middle + half)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    room = 0.3 * (high - low) or 1.0  # for the figure beside the longest bar
    axes.set_xlim(low - room if low < 0.0 else 0.0, high + room if high > 0.0 or low == 0.0 else 0.0)
    for place, value in zip(places, values, strict=True):
        shift, side = (3, "left") if value >= 0 else (-3, "right")
        axes.annotate(style.money(value), (value, place), xytext=(shift, 0), ha=side, **BESIDE)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False)
