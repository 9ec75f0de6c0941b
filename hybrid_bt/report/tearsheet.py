"""tearsheet.html: quantstats' full report of the hybrid against the benchmark, in one file that needs no network.

quantstats drives pyplot, seaborn's global style and the environment, and takes seconds to import. It therefore works in
a process of its own, beside the pictures: the caller's matplotlib stays untouched, and two runs give the same bytes,
because that process has a fixed hash seed and clock and matplotlib's own defaults.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.collector import collector_paused, end_without_collecting
from hybrid_bt.metrics import elapsed_years
from hybrid_bt.records import RunRecord
from hybrid_bt.report.style import run_text
from hybrid_bt.report.tables import stamp_texts

__all__ = ["TEARSHEET", "Tearsheet", "daily_returns"]

TEARSHEET = "tearsheet.html"
FloatArray = NDArray[np.float64]

FEWEST_RETURNS = 2
FLAT = 1e-14  # see `metrics.RETURN_RESOLUTION`
LONGEST_SECONDS = 600.0  # a hundred times what it takes
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import hybrid_bt.report.tearsheet as t; t.main()"
NETWORK = (
    re.compile(r"<link\b[^>]*>\s*"),  # favicon from quantstats' site
    re.compile(r"<script\b.*?</script>\s*", re.DOTALL),
    re.compile(r'\s+onload="[^"]*"'),  # calls a function that the page does not have
    re.compile(r"<\?xml[^>]*\?>\s*|<!DOCTYPE svg[^>]*>\s*"),  # not allowed inside HTML; the second names a URL
    re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL),
)
MINIMAL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 sans-serif;max-width:40em;margin:3em auto;padding:0 1em;color:#222}}</style></head>
<body><h1>{title}</h1><p>{why}</p>
<p>The tables beside this page hold everything that the run recorded.</p></body></html>
"""


class Tearsheet:
    """A tearsheet in the making, in a process of its own; a context manager, so that no process outlives a failure.

    Parameters
    ----------
    record : RunRecord
    folder : Path
        Existing; `tearsheet.html` is written there.
    """

    def __init__(self, record: RunRecord, folder: Path) -> None:
        self.path = folder / TEARSHEET
        self._job: subprocess.Popen[bytes] | None = None
        job = _job(record, self.path)
        why = _why_not(record, np.array(job["strategy"]), np.array(job["benchmark"]))
        if why:
            page = MINIMAL.format(title=html.escape(job["title"]), why=html.escape(why))
            self.path.write_bytes(page.encode())
        else:
            self._job = _start(job)

    def __enter__(self) -> Tearsheet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._job is not None:
            if self._job.poll() is None:
                self._job.kill()
            self._job.communicate()

    def finish(self) -> Path:
        """Wait for the page.

        Raises
        ------
        RuntimeError
            With what quantstats said, if it failed.
        """
        if self._job is not None:
            _, said = self._job.communicate(timeout=LONGEST_SECONDS)
            if self._job.returncode:
                raise RuntimeError(f"tearsheet: quantstats failed:\n{said.decode(errors='replace')}")
        return self.path


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
    before, after = equity[rows[:-1]], equity[rows[1:]]
    return days[rows[1:]], np.divide(after, before, out=np.ones_like(before), where=before > 0.0) - 1.0


def _job(record: RunRecord, path: Path) -> dict[str, Any]:
    stamps = record.bars.stamps
    days, strategy = daily_returns(record.accounts["hybrid"].equity, stamps)
    benchmark = daily_returns(record.accounts[record.benchmark].equity, stamps)[1]
    years = elapsed_years(days)
    stamp = ""
    if record.in_sample.any():
        stamp = "IN SAMPLE · " if record.in_sample.all() else "PARTLY IN SAMPLE · "
    return {
        "path": str(path),
        "title": f"{stamp}hybrid against {record.benchmark}",
        "subtitle": run_text(record),
        "days": stamp_texts(days),
        "strategy": strategy.tolist(),
        "benchmark": benchmark.tolist(),
        "benchmark_name": record.benchmark if record.benchmark != "hybrid" else "benchmark",
        "periods_per_year": max(round((len(days) - 1) / years), 2) if years > 0.0 else 252,
    }


def _why_not(record: RunRecord, strategy: FloatArray, benchmark: FloatArray) -> str:
    """Why quantstats cannot report on this run; empty if it can."""
    if len(strategy) < FEWEST_RETURNS:
        return f"The run has {len(strategy)} daily return(s); statistics need at least {FEWEST_RETURNS}."
    for name, returns in (("hybrid", strategy), (record.benchmark, benchmark)):
        if returns.std() < FLAT:
            return f"The daily returns of {name} never vary, so there is nothing to compare: it did not trade."
        if returns.min() <= -1.0:
            return f"The account {name} was ruined: a day's loss exceeded all it had, so ratios mean nothing."
        if returns.min() >= 0.0 and returns.max() > 1.0:
            return f"The daily returns of {name} look like prices to quantstats: no loss, and a day above 100 %."
    return ""


def _start(job: dict[str, Any]) -> subprocess.Popen[bytes]:
    fixed = {
        "MPLBACKEND": "svg",  # Agg would draw every figure a second time
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryFile() as task:  # a pipe would break, and hide why, if the other side failed to start
        task.write(json.dumps(job).encode())
        task.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path)],
            stdin=task,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **fixed},
        )


def main() -> None:
    """Read a job from standard input and write its page."""
    end_without_collecting()
    with collector_paused():
        _render(json.load(sys.stdin))


def _render(job: dict[str, Any]) -> None:
    import logging

    import matplotlib
    import pandas as pd

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # a hundred lines about Arial
    warnings.simplefilter("ignore")
    matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
    import quantstats.reports
    from quantstats._plotting import core

    _mend_yearly_bars(core)
    matplotlib.rcParams["svg.hashsalt"] = "hybrid_bt"
    index = pd.DatetimeIndex(job["days"])
    quantstats.reports.html(  # type: ignore[no-untyped-call]
        pd.Series(job["strategy"], index, name="hybrid"),
        pd.Series(job["benchmark"], index, name=job["benchmark_name"]),
        output=job["path"],
        title=html.escape(job["title"]),
        parameters={"Run": html.escape(job["subtitle"])},
        strategy_title="hybrid",
        benchmark_title=job["benchmark_name"],
        periods_per_year=job["periods_per_year"],
        match_dates=False,
    )
    path = Path(job["path"])
    path.write_bytes(_mended(path.read_text(encoding="utf-8"), job["title"]).encode())


def _mend_yearly_bars(core: Any) -> None:
    """Give the chart of yearly returns its years as names.

    pandas 3 counts the bars of a yearly calendar from 1970 while quantstats labels them from 0, which puts labels and
    bars at opposite ends. quantstats takes an index of plain numbers, too.
    """
    resample: Any = getattr(core, "safe_resample", None)

    def with_years(data: Any, freq: str, *rest: Any, **more: Any) -> Any:
        sampled = resample(data, freq, *rest, **more)
        if freq == "YE" and rest == ("last",) and sampled.ndim == 2:
            sampled.index = sampled.index.year
        return sampled

    if resample is not None:
        core.safe_resample = with_years


def _mended(page: str, title: str) -> str:
    for pattern in NETWORK:
        page = pattern.sub("", page)
    page = page.replace("CAGR\ufe6a", "CAGR")  # a small percent sign that few fonts have
    return page.replace("Tearsheet (generated by QuantStats)", html.escape(title))
