"""Write a run's files, all of them or none.

Everything is rendered into a temporary folder on the same disk first. Only when the last file is whole do they move
into place, and if a move fails, the moves before it are taken back.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hybrid_bt.errors import ConfigError
from hybrid_bt.records import RunRecord
from hybrid_bt.report.explorer import EXPLORER, write_explorer
from hybrid_bt.report.pictures import PICTURES, picture_names, write_picture
from hybrid_bt.report.run_json import write_run_json
from hybrid_bt.report.tables import TABLES, write_table
from hybrid_bt.report.tearsheet import TEARSHEET, Tearsheet

__all__ = ["OUR_FILES", "write_report"]

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
    workshop = _workshop(out)
    try:
        fresh = workshop / "fresh"
        fresh.mkdir()
        if plots:
            made = _draw_and_tell(record, fresh, claim, plot_symbols, tell)
        else:
            made = [write_table(record, name, fresh) for name in TABLES]
        names = [path.name for path in (*made, write_run_json(record, fresh))]
        try:
            _put(fresh, out, names, workshop / "earlier")
        except OSError as error:
            raise ConfigError(_cannot_write(out, error)) from error
        return [out / name for name in names]
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _draw_and_tell(
    record: RunRecord, folder: Path, claim: str, symbols: Sequence[str], tell: Callable[[str], None]
) -> list[Path]:
    """Everything but run.json; quantstats works beside."""
    with Tearsheet(record, folder, claim) as tearsheet:
        written = [write_picture(record, name, folder, symbols) for name in picture_names(record)]
        written += [write_table(record, name, folder) for name in TABLES]
        return [*written, write_explorer(record, folder), tearsheet.finish(tell)]


def _workshop(out: Path) -> Path:
    """A temporary folder from which a rename reaches `out`: inside it, or in the nearest folder that exists."""
    home = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    try:
        return Path(tempfile.mkdtemp(prefix=".hybrid-bt-", dir=home))
    except OSError as error:
        raise ConfigError(_cannot_write(out, error)) from error


def _put(fresh: Path, out: Path, names: Iterable[str], earlier: Path) -> None:
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh, out)
        return
    earlier.mkdir()
    for name in OUR_FILES:
        if (out / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
    # run.json goes first and comes last: where it lies, everything beside it is of the same run, whatever was killed
    old = [name for name in reversed(OUR_FILES) if (out / name).is_symlink() or (out / name).exists()]
    moves = [(out / name, earlier / name) for name in old] + [(fresh / name, out / name) for name in names]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            os.replace(source, target)
            done.append((source, target))
    except BaseException:  # an interrupt, too, must not leave half of each run
        for source, target in reversed(done):
            os.replace(target, source)
        raise


def _cannot_write(out: Path, error: OSError) -> str:
    return f"out: cannot write to {out}: {error.strerror or error}; give another folder with --out"
