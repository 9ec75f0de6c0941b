"""quantstats' full report, written by a process of its own: the job, the process as it is seen from here, its inside.

quantstats drives pyplot, seaborn's global style and the environment, and takes seconds to import. In a process beside
the pictures it leaves the caller's matplotlib untouched, and two runs give the same bytes, because that process has a
fixed hash seed and clock and matplotlib's own defaults. It may begin before there is anything to report on, and imports
while the backtest runs; the claim is made there too, whose library imports most of what quantstats does.

`python -c CHILD` reads the name of a file that holds a pickled `PageJob`, puts the page in its place, and prints the
claim and quantstats' own headline metrics. quantstats and pandas are imported there and nowhere else in the tearsheet.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hybrid_bt.account import metrics
from hybrid_bt.account.metrics import FloatArray, StampArray
from hybrid_bt.account.records import RunRecord
from hybrid_bt.files.texts import escape, stamp_texts
from hybrid_bt.files.workers import end_with_parent
from hybrid_bt.report.style import color_of, run_text, sample_stamp

if TYPE_CHECKING:
    import pandas as pd

FEWEST_RETURNS = 2
FLAT = 1e-14  # see `metrics.RETURN_RESOLUTION`
LONGEST_SECONDS = 600.0  # a hundred times what it takes
# its environment; Agg would draw every figure a second time
FIXED = {"MPLBACKEND": "svg", "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import hybrid_bt.report as r; r.quantstats_page.main()"
)
#: where our first page goes
PLACE = "<!-- hybrid_bt: first page -->"
NETWORK = (
    re.compile(r"<link\b[^>]*>\s*"),  # favicon from quantstats' site
    re.compile(r"<script\b.*?</script>\s*", re.DOTALL),
    re.compile(r'\s+onload="[^"]*"'),  # calls a function that the page does not have
    re.compile(r"<\?xml[^>]*\?>\s*|<!DOCTYPE svg[^>]*>\s*"),  # not allowed inside HTML; the second names a URL
    re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL),
)
THEIR_COLORS = "#348dc1", "#fedd78"  # of the strategy and its benchmark
BODY = re.compile(r"<body[^>]*>")

Metrics = dict[str, dict[str, float]]  #: account -> metric -> value


class PageJob(NamedTuple):
    """What the other process is told."""

    path: str
    title: str
    subtitle: str
    days: list[str]
    returns: dict[str, list[float]]  #: the account and the one it is compared with: (D,) simple returns
    periods_per_year: int  #: quantstats' m
    claim: object = ""  #: whose text is asked for


def job_of(record: RunRecord, held: Mapping[str, FloatArray], path: Path, title: str) -> PageJob:
    """The page at `path` on accounts `held`, name -> equity (T,): the one reported on and its benchmark."""
    whole = " · ".join(filter(None, (sample_stamp(record), title)))
    return job_on(record.bars.stamps, held, path, whole, run_text(record))


def job_on(stamps: StampArray, held: Mapping[str, FloatArray], path: Path, title: str, subtitle: str) -> PageJob:
    """The same of accounts on bars with these stamps (T,)."""
    daily = {name: daily_returns(equity, stamps) for name, equity in held.items()}
    days = next(iter(daily.values()))[0]
    years = metrics.elapsed_years(days)
    returns = {name: moves.tolist() for name, (_, moves) in daily.items()}
    periods = max(round((len(days) - 1) / years), 2) if years > 0.0 else 252
    return PageJob(str(path.absolute()), title, subtitle, stamp_texts(days), returns, periods)


def daily_returns(equity: FloatArray, stamps: StampArray) -> tuple[StampArray, FloatArray]:
    """Days (D,), and the simple return on each (D,) as marked at its last bar, of equity (T,).

    Row 0 is the start value, and the first day counts from it where it has more bars than that one.
    """
    days = stamps.astype("datetime64[D]")
    last = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    rows = last if last[0] == 0 else np.concatenate(([0], last))
    return days[rows[1:]], metrics.simple_returns(equity[rows])


def why_not(returns: Mapping[str, list[float]]) -> str:
    """Why quantstats cannot report on these accounts; empty if it can."""
    for name, values in returns.items():
        moves = np.array(values)
        if len(moves) < FEWEST_RETURNS:
            return f"the run has {len(moves)} daily return(s), and statistics need at least {FEWEST_RETURNS}."
        if moves.std() < FLAT:
            return f"the daily returns of {name} never vary, so there is nothing to compare."
        if moves.min() <= -1.0:
            return f"the account {name} was ruined: a day's loss exceeded all it had, so ratios mean nothing."
        if moves.min() >= 0.0 and moves.max() > 1.0:
            return f"the daily returns of {name} look like prices to quantstats: no loss, and a day above 100 %."
    return ""


class Beside(contextlib.AbstractContextManager["Beside"]):
    """The other process as seen from here; it ends with the block.

    Parameters
    ----------
    *modules : str
        What the claim of its job will import.
    """

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path), str(os.getpid()), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **FIXED},
        )

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def ask(self, job: PageJob) -> None:
        """Set it to work. The name of a file fits into the pipe at once, whatever the other side is at."""
        Path(job.path).write_bytes(pickle.dumps(job))
        pipe, self._process.stdin = self._process.stdin, None
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError), pipe:  # it is gone; `outcome` says why
            pipe.write(os.fsencode(job.path))

    def outcome(self) -> tuple[str, str, Metrics]:
        """Why there is no page (empty if there is one), the claim, and quantstats' metrics."""
        try:
            printed, said = self._process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return f"quantstats took more than {LONGEST_SECONDS:g} s", "", {}
        if self._process.returncode:
            lines = said.decode(errors="replace").strip().splitlines() or [f"status {self._process.returncode}"]
            return f"quantstats failed: {lines[-1]}", "", {}
        claim, found = json.loads(printed)
        return "", claim, found


def main() -> None:
    """The other process: import, read where a job lies, do it, print the claim and the metrics."""
    end_with_parent(int(sys.argv[2]))
    gc.disable()  # next to no cycles, and a process of its own
    atexit.register(gc.freeze)
    with contextlib.redirect_stdout(sys.stderr):  # quantstats prints at will
        import matplotlib

        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # a hundred lines about Arial
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        for module in ("quantstats.reports", *sys.argv[3:]):
            importlib.import_module(module)
        job: PageJob = pickle.loads(Path(os.fsdecode(sys.stdin.buffer.read())).read_bytes())
        found = str(job.claim), _render(job)
    print(json.dumps(found))


def _render(job: PageJob) -> Metrics:
    import matplotlib
    import pandas as pd
    import quantstats.reports
    from quantstats._plotting import core

    _mend_yearly_bars(core)
    matplotlib.rcParams["svg.hashsalt"] = "hybrid_bt"
    index = pd.DatetimeIndex(job.days)
    strategy, benchmark = accounts = [pd.Series(returns, index, name=name) for name, returns in job.returns.items()]
    found = {str(returns.name): _metrics(returns, job.periods_per_year) for returns in accounts}
    quantstats.reports.html(  # type: ignore[no-untyped-call]
        strategy,
        benchmark,
        output=job.path,
        title=escape(job.title),
        parameters={"Run": escape(job.subtitle), "Annualised with": f"{job.periods_per_year} days a year"},
        strategy_title=strategy.name,
        benchmark_title=benchmark.name,
        periods_per_year=job.periods_per_year,
        match_dates=False,
    )
    path = Path(job.path)
    path.write_bytes(_mended(path.read_text(encoding="utf-8"), job).encode())
    return found


def _metrics(returns: pd.Series, m: int) -> dict[str, float]:
    from quantstats import stats

    yearly: dict[str, Callable[..., float]]
    yearly = {"CAGR": stats.cagr, "Sharpe": stats.sharpe, "Sortino": stats.sortino, "volatility": stats.volatility}
    found = {metric: float(measure(returns, periods=m)) for metric, measure in yearly.items()}
    return found | {"total return": float(stats.comp(returns)), "max drawdown": float(stats.max_drawdown(returns))}


def _mend_yearly_bars(core: ModuleType) -> None:
    """Give the chart of yearly returns its years as names.

    pandas 3 counts the bars of a yearly calendar from 1970 while quantstats labels them from 0, which puts labels and
    bars at opposite ends. quantstats takes an index of plain numbers, too.
    """
    resample: Callable[..., pd.DataFrame] | None = getattr(core, "safe_resample", None)
    if resample is None:
        return

    def with_years(data: object, freq: str, *rest: object, **more: object) -> pd.DataFrame:
        sampled = resample(data, freq, *rest, **more)
        if freq == "YE" and rest == ("last",) and sampled.ndim == 2:
            sampled.index = sampled.index.year
        return sampled

    core.__dict__["safe_resample"] = with_years


def _mended(page: str, job: PageJob) -> str:
    for name, theirs in zip(job.returns, THEIR_COLORS, strict=True):
        page = page.replace(theirs, color_of(name))
    for pattern in NETWORK:
        page = pattern.sub("", page)
    page = page.replace("CAGR\ufe6a", "CAGR")  # a small percent sign that few fonts have
    page = page.replace("Tearsheet (generated by QuantStats)", escape(job.title))
    page, count = BODY.subn(lambda tag: tag[0] + PLACE, page, count=1)
    if not count:
        raise ValueError("quantstats' page has no <body> to put the first page into")
    return page
