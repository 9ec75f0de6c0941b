"""The pictures of a study: intervals, windows, costs, conditions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid_bt.account.conditional import Condition
from hybrid_bt.evidence import Interval, side_bps
from hybrid_bt.evidence.study import Findings
from hybrid_bt.evidence.study.schedule import COST_LEVELS_BPS
from hybrid_bt.files.texts import shown
from hybrid_bt.report.marks import zero_line
from hybrid_bt.report.style import COLORS, GREY, INK, account_line, blank_figure, color_of, house_style, percent, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_ACCOUNTS = ("hybrid", "vol-target", "equal-weight")


def write_pictures(found: Findings, folder: Path) -> list[Path]:
    """Draw all of `PICTURES` that have something to show into an existing folder."""
    written = []
    with house_style():
        for name, (title, draw) in PICTURES.items():
            figure = draw(found, title)
            if figure is not None:
                save(figure, folder / name)
                written.append(folder / name)
    return written


def _figure(
    found: Findings, title: str, note: str, height: float, columns: int = 1, left: float = 0.16
) -> tuple[Figure, list[Axes]]:
    figure = blank_figure(title, f"{found.plan.task.mode} on {shown(found.bars.name)} · {note}", height)
    grid = {"left": left, "right": 0.96, "top": 1 - 1.0 / height, "bottom": 0.5 / height, "wspace": 0.12}
    return figure, list(figure.subplots(1, columns, squeeze=False, gridspec_kw=grid)[0])


def _intervals(found: Findings, title: str) -> Figure:
    names = list(found.summaries)
    n, block = found.plan.n_resamples, found.draws.block_bars
    note = f"lines: 95 % intervals, stationary bootstrap, {n} resamples, blocks of {block:.0f} bars on average"
    figure, (left, right) = _figure(found, title, note, 1.6 + 0.28 * len(names), columns=2)
    for row, name in enumerate(reversed(names)):
        color = COLORS["hybrid"] if name == "hybrid" else INK
        _whisker(left, row, found.draws.interval("sharpe", name), color)
        if name != "vol-target":
            _whisker(right, row, found.draws.difference("sharpe", name, "vol-target"), color)
    left.set_title("Sharpe ratio")
    right.set_title("Sharpe ratio less that of vol-target, on the same bars")
    _name_rows(left, names)
    _name_rows(right, [""] * len(names))
    return figure


def _name_rows(axis: Axes, names: list[str]) -> None:
    """Of horizontal bars, the first on top."""
    axis.set_yticks(range(len(names)), names[::-1])
    axis.axvline(0.0, color=GREY, linewidth=0.8)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0, labelcolor=INK)


def _legend(axis: Axes) -> None:
    axis.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def _whisker(axis: Axes, row: int, interval: Interval, color: str) -> None:
    axis.plot([interval.low, interval.high], [row, row], color=color, linewidth=1.4)
    axis.plot(interval.estimate, row, color=color, marker="o", markersize=5)


def _windows(found: Findings, title: str) -> Figure:
    figure, (axis,) = _figure(found, title, "each window begins with the start value; Sharpe ratio", 4.6, left=0.07)
    width = 0.8 / len(WINDOW_ACCOUNTS)
    for k, name in enumerate(WINDOW_ACCOUNTS):
        places = np.arange(len(found.windows)) + (k - 1) * width
        heights = [summaries[name].sharpe for _, summaries in found.windows]
        axis.bar(places, heights, width * 0.9, color=color_of(name), label=name)
    starts = [window.name.split(" to ")[0][:7] for window, _ in found.windows]
    axis.set_xticks(range(len(starts)), [f"from {start}" for start in starts], size=7.5)
    zero_line(axis)
    axis.grid(axis="x", visible=False)
    _legend(axis)
    return figure


def _costs(found: Findings, title: str) -> Figure | None:
    if not found.costs:
        return None
    side = side_bps(found.plan.task.config.costs)
    note = f"growth a year, net; the dotted line is what the study charges, {side:g} bps"
    figure, (axis,) = _figure(found, title, note, 4.6, left=0.07)
    for name, summaries in found.costs.items():
        line = account_line(name, "")
        axis.plot(COST_LEVELS_BPS, [summary.cagr for summary in summaries], **line)
        end = COST_LEVELS_BPS[-1], summaries[-1].cagr
        axis.annotate(name, end, xytext=(-4, 4), textcoords="offset points", ha="right", color=line["color"])
    axis.axvline(side, color=GREY, linestyle=":", linewidth=1.0)
    zero_line(axis)
    axis.yaxis.set_major_formatter(lambda value, _: percent(value))
    axis.set_xlabel("costs, bps of notional per side")
    return figure


def _conditions(found: Findings, title: str) -> Figure:
    names = list(dict.fromkeys(row.condition for row in found.conditions))
    by = {(row.condition, row.account): row for row in found.conditions}
    note = "net: mean return a year by tercile (cut in hindsight), total return by year and in named spans"
    figure, (axis,) = _figure(found, title, note, 1.6 + 0.27 * len(names), left=0.19)
    drawn = "hybrid", "vol-target", "kalman"
    for k, name in enumerate(name for name in drawn if name in found.equity):
        places = np.arange(len(names))[::-1] + 0.26 * (1 - k)
        axis.barh(places, [_height(by[condition, name]) for condition in names], 0.24, color=color_of(name), label=name)
    _name_rows(axis, [f"{name}  ({by[name, 'hybrid'].bars} bars)" for name in names])
    axis.xaxis.set_major_formatter(lambda value, _: percent(value))
    _legend(axis)
    return figure


def _height(row: Condition) -> float:
    """Terciles are scattered bars, years and spans are not."""
    return row.return_per_year if row.condition.split()[0] in ("r", "volatility") else row.total_return


#: file name -> title and the function that draws it; None where there is nothing to show
PICTURES: dict[str, tuple[str, Callable[[Findings, str], Figure | None]]] = {
    "study_intervals.png": ("What each account is worth, and how sure that is", _intervals),
    "study_windows.png": ("Walk-forward windows", _windows),
    "study_costs.png": ("How much trading may cost", _costs),
    "study_conditions.png": ("Under which conditions", _conditions),
}
