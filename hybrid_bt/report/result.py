"""A run as people read it: a table, pictures, files, a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_bt.account.metrics import Summary
from hybrid_bt.account.records import RunRecord
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.files.texts import end_days
from hybrid_bt.report.tables import HEADLINES, headline_rows, summaries
from hybrid_bt.report.writing import draw_picture, picture_names, write_report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Run(RunRecord):
    """What `run_backtest` gives: accounts and decisions, bar by bar, and what people read of them.

    It shows itself as the table that `hybrid-bt run` prints; its fields are those of `account.records.RunRecord`.
    Row 0 is the bar of the first decision; money is in the currency of the account, net of costs.

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
    ('1.19', 'hybrid')
    """

    @property
    def title(self) -> str:
        """Mode, data, span, in- or out-of-sample, costs."""
        first, last = end_days(self.bars.stamps)
        costs, sample = self.config["costs"], "IN-SAMPLE" if self.in_sample.any() else "out of sample"
        return (
            f"{self.config['mode']} on {self.config['data']}, {first} to {last}, {sample}, "
            f"net of {costs['spread_bps']:g} bps spread and {costs['fee_bps']:g} bps fee per side"
        )

    def summary(self) -> dict[str, Summary]:
        """Account -> its measures, fractions and money as in `summary_pnl.csv`."""
        return summaries(self)

    def table(self) -> list[tuple[str, ...]]:
        """The summary as texts, head first."""
        return [("account", *HEADLINES), *headline_rows(self)]

    def plot(self, name: str = "equity_drawdown") -> Figure:
        """The picture that `fig/NAME.png` holds, as a matplotlib figure."""
        known = [file.removesuffix(".png") for file in picture_names(self)]
        if name not in known:
            raise ConfigError(f"plot: this run has no picture {name!r}{did_you_mean(name, known)}")
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
        head, *rows = ([escape(cell) for cell in row] for row in self.table())
        body = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows)
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead><tr><th>{'</th><th>'.join(head)}</th></tr></thead><tbody>{body}</tbody></table>"
        )
