"""tearsheet.html: our first page, and below it quantstats' full report, in one file that needs no network.

quantstats drives pyplot, seaborn's global style and the environment, and takes seconds to import. It therefore works in
a process of its own, beside the pictures: the caller's matplotlib stays untouched, and two runs give the same bytes,
because that process has a fixed hash seed and clock and matplotlib's own defaults.

Where quantstats is missing, breaks or has nothing to say, the page is ours alone, and says why.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import elapsed_years, simple_returns
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import plain, stamp_texts
from hybrid_bt.report.first_page import alone, ours, run_facts, yearly_returns
from hybrid_bt.report.style import run_text

TEARSHEET = "tearsheet.html"
FloatArray = NDArray[np.float64]

FEWEST_RETURNS = 2
FLAT = 1e-14  # see `metrics.RETURN_RESOLUTION`
LONGEST_SECONDS = 600.0  # a hundred times what it takes
# its environment; Agg would draw every figure a second time
FIXED = {"MPLBACKEND": "svg", "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import hybrid_bt.report.quantstats_page as q; q.main()"
)


class Tearsheet(AbstractContextManager["Tearsheet"]):
    """A tearsheet in the making, in a process of its own; a context manager, so that no process outlives a failure.

    Parameters
    ----------
    record : RunRecord
    folder : Path
        Existing; `tearsheet.html` is written there.
    claim : str
        The sentence on top (`hybrid_bt.evidence.claim`).
    """

    def __init__(self, record: RunRecord, folder: Path, claim: str = "") -> None:
        self.path = folder / TEARSHEET
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._task = _task(record, self.path, claim)
        self._why = _why_not(self._task["returns"])
        if not self._why:
            self._process = _start(self._task)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.communicate()

    def finish(self, tell: Callable[[str], None]) -> Path:
        """Wait for the page, or write our own; `tell` hears of a failure and of a difference nobody can explain."""
        if self._process is not None:
            self._why, unexplained = _outcome(self._process)
            for said in unexplained:
                tell(f"tearsheet: {said}")
            if self._why:
                tell(f"tearsheet: {self._why}; the page is ours alone, without quantstats' report")
        if self._why:
            self.path.write_bytes(self._own_page().encode())
        return self.path

    def _own_page(self) -> str:
        drawn = self.path.with_name("equity_drawdown.png")
        picture = ""
        if drawn.exists():
            picture = f"data:image/png;base64,{base64.b64encode(drawn.read_bytes()).decode()}"
        facts = self._task["first"]
        why = f"Without quantstats' report: {self._why}"
        return alone(facts, why, yearly_returns(self._record, facts["held"]), picture)


def daily_returns(equity: FloatArray, stamps: NDArray[np.datetime64]) -> tuple[NDArray[np.datetime64], FloatArray]:
    """Simple returns from day to day, as marked at each day's last bar.

    Parameters
    ----------
    equity : ndarray of shape (T,)
        Row 0 is the start value.
    stamps : ndarray of datetime64, shape (T,)

    Returns
    -------
    days : ndarray of datetime64[D], shape (D,)
    returns : ndarray of shape (D,)
        The first day counts from the start value where it has more bars than that one.
    """
    days = stamps.astype("datetime64[D]")
    last = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    rows = last if last[0] == 0 else np.concatenate(([0], last))
    return days[rows[1:]], simple_returns(equity[rows])


def _task(record: RunRecord, path: Path, claim: str) -> dict[str, Any]:
    """Everything that the other process is told, as plain data."""
    bars = record.bars
    days, _ = daily_returns(record.accounts["hybrid"].equity, bars.stamps)
    years = elapsed_years(days)
    held = {"hybrid": "hybrid", record.benchmark if record.benchmark != "hybrid" else "benchmark": record.benchmark}
    equity = {name: record.accounts[account].equity for name, account in held.items()}
    m = max(round((len(days) - 1) / years), 2) if years > 0.0 else 252
    first = run_facts(record, claim, held, n_days=len(days), periods_per_year=m)
    task = {
        "path": str(path),
        "subtitle": run_text(record),
        "days": stamp_texts(days),
        "returns": {name: daily_returns(curve, bars.stamps)[1] for name, curve in equity.items()},
        "ours": {name: ours(curve, bars.bars_per_year, elapsed_years(bars.stamps)) for name, curve in equity.items()},
        "periods_per_year": m,
        "first": first,
        "title": " · ".join(filter(None, (first["stamp"], first["title"]))),
    }
    told: dict[str, Any] = plain(task)
    return told


def _why_not(accounts: dict[str, list[float]]) -> str:
    """Why quantstats cannot report on these returns; empty if it can."""
    for name, values in accounts.items():
        returns = np.array(values)
        if len(returns) < FEWEST_RETURNS:
            return f"the run has {len(returns)} daily return(s), and statistics need at least {FEWEST_RETURNS}."
        if returns.std() < FLAT:
            return f"the daily returns of {name} never vary, so there is nothing to compare: it did not trade."
        if returns.min() <= -1.0:
            return f"the account {name} was ruined: a day's loss exceeded all it had, so ratios mean nothing."
        if returns.min() >= 0.0 and returns.max() > 1.0:
            return f"the daily returns of {name} look like prices to quantstats: no loss, and a day above 100 %."
    return ""


def _start(task: dict[str, Any]) -> subprocess.Popen[bytes]:
    with tempfile.TemporaryFile() as file:  # a pipe would break, and hide why, if the other side failed to start
        file.write(json.dumps(task).encode())
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path)],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **FIXED},
        )


def _outcome(process: subprocess.Popen[bytes]) -> tuple[str, list[str]]:
    """Why there is no page (empty if there is one), and which differences are unexplained."""
    try:
        printed, said = process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"quantstats took more than {LONGEST_SECONDS:g} s", []
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or [f"status {process.returncode}"]
        return f"quantstats failed: {lines[-1]}", []
    unexplained: list[str] = json.loads(printed)
    return "", unexplained
