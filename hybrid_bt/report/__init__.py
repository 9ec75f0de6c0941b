"""A run as people read it: a table, pictures, a frame; and its files, all of them or none.

Where `run.json` lies, the files beside it are of the same run. It says what was run, on what, with what, and over which
span: sorted keys, valid JSON without NaN (null instead). Everything that depends on the clock or the machine's speed
stands under the one key `wall_clock`, so that the rest is the same from run to run.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import hybrid_bt
from hybrid_bt.account.records import RunRecord
from hybrid_bt.errors import check_names
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import coarse, end_days, plain, shown
from hybrid_bt.report import curves, fills, panels
from hybrid_bt.report.explorer import EXPLORER, write_explorer
from hybrid_bt.report.notebook import INLINE, cell_of
from hybrid_bt.report.quantstats_page import Beside
from hybrid_bt.report.style import house_style, in_sample_spans, object_stamp, save
from hybrid_bt.report.tables import HEADLINES, TABLES, headline_rows, write_table
from hybrid_bt.report.tearsheet import TEARSHEET, Sentence, Tearsheet

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Draw = Callable[[RunRecord, NDArray[np.float64]], "Figure"]

FILLS = "trades.png"
PICTURES: dict[str, Draw] = {
    "equity_drawdown.png": curves.equity_drawdown,
    "pnl_per_ticker.png": panels.pnl_per_ticker,
    FILLS: fills.trades,
    "pairs.png": panels.pairs,
    "regime.png": curves.regime,
    "exposures.png": curves.exposure,
    "costs.png": curves.costs,
    "attribution.png": curves.profit_split,
    "risk.png": curves.risk_manager,
}
VERSIONED = ("backtrader", "numpy", "onnxruntime")  # what a result may depend on; tools that only draw do not count
OUR_FILES = (*TABLES, *PICTURES, TEARSHEET, EXPLORER, "run.json")


def write_report(
    record: RunRecord,
    out: Path,
    *,
    plots: bool = True,
    claim: str | Sentence = "",
    plot_symbols: Sequence[str] = (),
    beside: Beside | None = None,
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
    claim : str or Sentence
        What stands on top of the tearsheet (`hybrid_bt.evidence.ratios.claim`).
    plot_symbols : sequence of str
        Whose fills `trades.png` shows; by default the most traded ones'.
    beside : Beside
        A process that has begun already, for what is made there of the tearsheet.

    Returns
    -------
    list of Path
        What was written. The same record gives the same bytes, the clock's fields in `run.json` aside.

    Warns
    -----
    UserWarning
        Of what spoilt the tearsheet alone: quantstats missing, broken, or at odds with our own metrics.

    Raises
    ------
    ConfigError
        If `out` cannot be written to. Whatever the failure, `out` is left as it was.
    """
    with whole_folder(out, OUR_FILES) as fresh:
        with _drawn(record, fresh, claim, plot_symbols, beside) if plots else nullcontext(list[Path]()) as drawn:
            made = [*drawn, *(write_table(record, name, fresh) for name in TABLES)]
        text = json.dumps(run_document(record), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (fresh / "run.json").write_bytes((text + "\n").encode(errors="backslashreplace"))
        return [out / name for name in (*(path.name for path in made), "run.json")]


@contextmanager
def _drawn(
    record: RunRecord, fresh: Path, claim: str | Sentence, symbols: Sequence[str], beside: Beside | None
) -> Iterator[list[Path]]:
    """Pictures and pages; that of quantstats, which another process makes, is there behind the block."""
    names = picture_names(record)
    with nullcontext(beside) if beside else Beside() as other:
        sheet = Tearsheet(record, fresh, claim, other)
        for name in names:
            write_picture(record, name, fresh, symbols)
        write_explorer(record, fresh)
        yield [fresh / name for name in (*names, EXPLORER, TEARSHEET)]
        sheet.finish()


def picture_names(record: RunRecord) -> list[str]:
    """The pictures that this run has something to show in: pairs and a risk manager may be missing."""
    shown = {"pairs.png": bool(record.pairs.names), "risk.png": record.decisions.managed is not None}
    return [name for name in PICTURES if shown.get(name, True)]


def draw_picture(record: RunRecord, name: str, symbols: Sequence[str] = ()) -> Figure:
    """Draw one of `PICTURES`; `symbols` are those that the picture of fills shows."""
    from matplotlib.dates import date2num

    with house_style():
        dates = date2num(record.bars.stamps)  # type: ignore[no-untyped-call]
        draw = partial(fills.trades, symbols=symbols) if name == FILLS and symbols else PICTURES[name]
        return draw(record, dates)


def write_picture(record: RunRecord, name: str, folder: Path, symbols: Sequence[str] = ()) -> Path:
    """Draw one of `PICTURES` into an existing folder."""
    path = folder / name
    with house_style():
        save(draw_picture(record, name, symbols), path)
    return path


def run_document(record: RunRecord) -> dict[str, Any]:
    """The document as plain data. Keys of `record.facts` stand at the top level and add to or replace ours."""
    bars, stamps = record.bars, coarse(record.bars.stamps)
    spans = in_sample_spans(record.in_sample)
    versions = {name: next((d.version for d in metadata.distributions(name=name)), "absent") for name in VERSIONED}
    ours: dict[str, Any] = {
        "config": record.config,
        "data": {"name": bars.name, "symbols": bars.symbols, "sha256": bars.sha256},
        "span": {
            "start": str(stamps[0]),
            "end": str(stamps[-1]),
            "bars": bars.n_bars,
            "bars_per_year": bars.bars_per_year,
            "in_sample": [{"start": str(stamps[first]), "end": str(stamps[last])} for first, last in spans],
            "in_sample_bars": int(record.in_sample.sum()),
            "out_of_sample": not record.in_sample.any(),
        },
        "accounts": {
            name: {"fills": len(path.fills), "rejected": path.rejected} for name, path in record.accounts.items()
        },
        "benchmark": record.benchmark,
        "start_value": record.start_value,
        "notes": record.notes,
        "versions": versions | {"hybrid_bt": hybrid_bt.__version__, "python": platform.python_version()},
        "wall_clock": {},
    }
    facts = record.facts
    both = {key: {**ours[key], **facts[key]} for key in ours.keys() & facts.keys() if isinstance(facts[key], Mapping)}
    return plain({**ours, **facts, **both})


@dataclass(frozen=True, eq=False, repr=False)
class Run(RunRecord):
    """What `run_backtest` gives: accounts and decisions, bar by bar, and what people read of them.

    It shows itself as the table that `hybrid-bt run` prints, in a notebook with pictures; its fields are those of
    `account.records.RunRecord`. Row 0 is the bar of the first decision; money is in the currency of the account, net of
    costs.

    Attributes
    ----------
    accounts : dict of AccountPath
        "hybrid" first, then what it is compared with: `equity` and `cash` (T,), `size` in shares (T, N), `fills`.
    decisions : Decisions
        What each leg, the gate and the limits wanted; targets are signed fractions of equity, (T, N).
    notes : tuple of str
        Caveats that every reader of the result must see.

    Raises
    ------
    ConfigError
        From `plot` for a picture that the run does not have, from `write` for a folder that cannot be written to.

    Examples
    --------
    >>> run = run_backtest("us20", start=date(2021, 1, 4))
    >>> f"{run.summary()['hybrid'].sharpe:.2f}", run.to_frame().columns[0]
    ('1.00', 'hybrid')
    """

    @property
    def title(self) -> str:
        """Mode, data, span, in- or out-of-sample, costs."""
        first, last = end_days(self.bars.stamps)
        costs, sample = self.config["costs"], "IN-SAMPLE" if self.in_sample.any() else "out of sample"
        sample = ", ".join(filter(None, (sample, object_stamp(self))))
        return shown(
            f"{self.config['mode']} on {self.config['data']}, {first} to {last}, {sample}, "
            f"net of {costs['spread_bps']:g} bps spread and {costs['fee_bps']:g} bps fee per side"
        )

    def table(self) -> list[tuple[str, ...]]:
        """The summary as texts, head first."""
        return [("account", *HEADLINES), *headline_rows(self)]

    def plot(self, name: str = "equity_drawdown") -> Figure:
        """The picture that `fig/NAME.png` holds, as a matplotlib figure."""
        known = [file.removesuffix(".png") for file in picture_names(self)]
        check_names([name], known, "plot: this run has no picture")
        return draw_picture(self, f"{name}.png")

    def write(self, folder: str | Path, *, plots: bool = True, plot_symbols: Sequence[str] = ()) -> list[Path]:
        """Every file of `hybrid-bt run --out FOLDER`; without `plots`, CSV and run.json only."""
        return write_report(self, Path(folder), plots=plots, plot_symbols=plot_symbols)

    def to_frame(self) -> pd.DataFrame:
        """Equity of each account at each close: a row a bar, a column an account."""
        import pandas as pd

        paths = {name: path.equity for name, path in self.accounts.items()}
        return pd.DataFrame(paths, index=pd.DatetimeIndex(self.bars.stamps, name="datetime"))

    def __repr__(self) -> str:
        rows = self.table()
        first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = ("  ".join((row[0].ljust(first), *map(str.rjust, row[1:], widths))) for row in rows)
        return "\n".join((self.title, *lines))

    def _repr_html_(self) -> str:
        with TemporaryDirectory() as folder:
            shown = [name for name in INLINE if name in picture_names(self)]
            drawn = [write_picture(self, name, Path(folder)) for name in shown]
            return cell_of(self.title, self.table(), self.notes, drawn)
