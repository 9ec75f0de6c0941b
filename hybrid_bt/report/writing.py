"""Write a run's files, all of them or none; where `run.json` lies, the files beside it are of the same run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hybrid_bt.files import whole_folder
from hybrid_bt.records import RunRecord
from hybrid_bt.report.explorer import EXPLORER, write_explorer
from hybrid_bt.report.pictures import PICTURES, picture_names, write_picture
from hybrid_bt.report.run_json import write_run_json
from hybrid_bt.report.tables import TABLES, write_table
from hybrid_bt.report.tearsheet import TEARSHEET, Tearsheet

__all__ = ["OUR_FILES", "write_report"]

EVALUATION = "risk_evaluation.csv"  #: written where the risk manager was evaluated
OUR_FILES = (*TABLES, EVALUATION, *PICTURES, TEARSHEET, EXPLORER, "run.json")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def write_report(
    record: RunRecord,
    out: Path,
    *,
    plots: bool = True,
    claim: str = "",
    plot_symbols: Sequence[str] = (),
    evaluation: bytes | None = None,
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
    evaluation : bytes, optional
        The table of the risk manager's evaluation.
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
        if evaluation is not None:
            made.append(fresh / EVALUATION)
            made[-1].write_bytes(evaluation)
        return [out / path.name for path in (*made, write_run_json(record, fresh))]


def _draw_and_tell(
    record: RunRecord, folder: Path, claim: str, symbols: Sequence[str], tell: Callable[[str], None]
) -> list[Path]:
    """Everything but run.json; quantstats works beside."""
    with Tearsheet(record, folder, claim) as tearsheet:
        written = [write_picture(record, name, folder, symbols) for name in picture_names(record)]
        written += [write_table(record, name, folder) for name in TABLES]
        return [*written, write_explorer(record, folder), tearsheet.finish(tell)]
