"""Write a run's files, all of them or none; where `run.json` lies, the files beside it are of the same run.

run.json says what was run, on what, with what, and over which span: sorted keys, valid JSON without NaN (null instead).
Everything that depends on the clock or the machine's speed stands under the one key `wall_clock`, so that the rest is
the same from run to run.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import hybrid_bt
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import plain, stamp_texts
from hybrid_bt.report import curves, panels, trades
from hybrid_bt.report.explorer import EXPLORER, write_explorer
from hybrid_bt.report.style import house_style, in_sample_spans, save
from hybrid_bt.report.tables import TABLES, write_table
from hybrid_bt.report.tearsheet import TEARSHEET, Tearsheet

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
    "costs.png": curves.costs,
    "attribution.png": curves.profit_split,
    "risk.png": curves.risk_manager,
}
VERSIONED = ("backtrader", "numpy", "onnxruntime")  # what a result may depend on; tools that only draw do not count
OUR_FILES = (*TABLES, *PICTURES, TEARSHEET, EXPLORER, "run.json")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def write_report(
    record: RunRecord,
    out: Path,
    *,
    plots: bool = True,
    claim: str = "",
    plot_symbols: Sequence[str] = (),
    tell: Callable[[str], None] = _to_stderr,
) -> list[Path]:
    """Write every file of the contract.

    Parameters
    ----------
    record : RunRecord
    out : Path
        Folder to write to; made, with its parents, if it does not exist. Files of an earlier run are replaced, and
        those of them that this run does not write (pictures, with `plots=False`) are removed. Other files stay.
    plots : bool
        Whether to write the pictures, the tearsheet and the explorer; without, neither matplotlib nor quantstats is
        imported.
    claim : str
        The sentence on top of the tearsheet (`hybrid_bt.evidence.claim`).
    plot_symbols : sequence of str
        Whose fills `trades.png` shows; by default the most traded ones'.
    tell : callable
        Hears in one line of what went wrong without spoiling the rest: quantstats missing or broken, or at odds with
        our own metrics. Standard error by default.

    Returns
    -------
    list of Path
        What was written. The same record gives the same bytes, the clock's fields in `run.json` aside.

    Raises
    ------
    ConfigError
        If `out` cannot be written to. Whatever the failure, `out` is left as it was.
    """
    out = Path(out)
    with whole_folder(out, OUR_FILES) as fresh:
        if plots:
            made = _draw_and_tell(record, fresh, claim, plot_symbols, tell)
        else:
            made = [write_table(record, name, fresh) for name in TABLES]
        text = json.dumps(run_document(record), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (fresh / "run.json").write_bytes((text + "\n").encode())
        return [out / name for name in (*(path.name for path in made), "run.json")]


def _draw_and_tell(
    record: RunRecord, folder: Path, claim: str, symbols: Sequence[str], tell: Callable[[str], None]
) -> list[Path]:
    """Everything but run.json; quantstats works beside."""
    with Tearsheet(record, folder, claim) as tearsheet:
        written = [write_picture(record, name, folder, symbols) for name in picture_names(record)]
        written += [write_table(record, name, folder) for name in TABLES]
        return [*written, write_explorer(record, folder), tearsheet.finish(tell)]


def picture_names(record: RunRecord) -> list[str]:
    """The pictures that this run has something to show in: pairs and a risk manager may be missing."""
    shown = {"pairs.png": bool(record.pairs.names), "risk.png": record.decisions.managed is not None}
    return [name for name in PICTURES if shown.get(name, True)]


def draw_picture(record: RunRecord, name: str, symbols: Sequence[str] = ()) -> Figure:
    """Draw one of `PICTURES`; `symbols` are those that the picture of fills shows."""
    from matplotlib.dates import date2num

    with house_style():
        dates = date2num(record.bars.stamps)  # type: ignore[no-untyped-call]
        draw = partial(trades.trades, symbols=symbols) if name == "trades.png" and symbols else PICTURES[name]
        return draw(record, dates)


def write_picture(record: RunRecord, name: str, folder: Path, symbols: Sequence[str] = ()) -> Path:
    """Draw one of `PICTURES` into an existing folder."""
    path = folder / name
    with house_style():
        save(draw_picture(record, name, symbols), path)
    return path


def run_document(record: RunRecord) -> dict[str, Any]:
    """The document as plain data. Keys of `record.facts` stand at the top level and add to or replace ours."""
    bars = record.bars
    stamps = stamp_texts(bars.stamps)
    spans = in_sample_spans(record.in_sample)
    ours: dict[str, Any] = {
        "config": record.config,
        "data": {"name": bars.name, "symbols": bars.symbols, "sha256": bars.sha256},
        "span": {
            "start": stamps[0],
            "end": stamps[-1],
            "bars": bars.n_bars,
            "bars_per_year": bars.bars_per_year,
            "in_sample": [{"start": stamps[first], "end": stamps[last]} for first, last in spans],
            "in_sample_bars": int(record.in_sample.sum()),
            "out_of_sample": not record.in_sample.any(),
        },
        "accounts": {
            name: {"fills": len(path.fills), "rejected": path.rejected} for name, path in record.accounts.items()
        },
        "benchmark": record.benchmark,
        "start_value": record.start_value,
        "notes": record.notes,
        "versions": _versions(),
        "wall_clock": {},
    }
    facts = record.facts
    both = {key: {**ours[key], **facts[key]} for key in ours.keys() & facts.keys() if isinstance(facts[key], Mapping)}
    document: dict[str, Any] = plain({**ours, **facts, **both})
    return document


def _versions() -> dict[str, str]:
    found = {"hybrid_bt": hybrid_bt.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
