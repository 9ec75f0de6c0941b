"""The PNG files of a run: file name -> the function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.records import RunRecord
from hybrid_bt.report import curves, panels, profit, trades
from hybrid_bt.report.style import house_style, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[RunRecord, NDArray[np.float64]], "Figure"]

PICTURES: dict[str, Draw] = {
    "equity_drawdown.png": curves.equity_drawdown,
    "pnl_per_ticker.png": panels.pnl_per_ticker,
    "trades.png": trades.trades,
    "pairs.png": panels.pairs,
    "regime.png": curves.regime,
    "exposures.png": curves.exposure,
    "costs.png": profit.costs,
    "attribution.png": profit.profit_split,
    "risk.png": curves.risk_manager,
}


def picture_names(record: RunRecord) -> list[str]:
    """The pictures that this run has something to show in: pairs and a risk manager may be missing."""
    shown = {"pairs.png": bool(record.pairs.names), "risk.png": record.decisions.managed is not None}
    return [name for name in PICTURES if shown.get(name, True)]


def write_picture(record: RunRecord, name: str, folder: Path, symbols: Sequence[str] = ()) -> Path:
    """Draw one of `PICTURES` into an existing folder; `symbols` are those that the picture of fills shows."""
    from matplotlib.dates import date2num

    path = folder / name
    with house_style():
        dates = date2num(record.bars.stamps)  # type: ignore[no-untyped-call]
        draw = partial(trades.trades, symbols=symbols) if name == "trades.png" and symbols else PICTURES[name]
        save(draw(record, dates), path)
    return path
