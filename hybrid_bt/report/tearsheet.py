"""tearsheet.html: our first page, and below it quantstats' full report, in one file that needs no network.

Where quantstats is missing, breaks or has nothing to say, the page is ours alone, and says why.

Headline metrics of an account stand there three times: ours, ours by quantstats' conventions (one return a day, a whole
number m of periods a year, (number of returns) / m years), quantstats' own. The first two differ by conventions alone,
which the table names. The last two come from two programs that were given the same returns and the same m, so any
difference between them that is not rounding is a defect of one of the two.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np

from hybrid_bt.account import metrics
from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.records import RunRecord
from hybrid_bt.account.registry import HURDLES
from hybrid_bt.files.texts import TEXT, escape, html_image, html_row, html_rows, html_table, real_minus, stamp_texts
from hybrid_bt.report import quantstats_page as quantstats
from hybrid_bt.report.style import COLORS, HEAD, TEXT_COLORS, in_sample_spans, run_text, sample_stamp
from hybrid_bt.report.tables import HEADLINES, headline_rows

TEARSHEET = "tearsheet.html"
ROUNDING = 1e-9  #: relative to the larger value; two orders of summation differ by some 1e-13
METRICS = ("total return", "CAGR", "Sharpe", "Sortino", "volatility", "max drawdown")
SHORT = 12  #: digits of a checksum
CHECKED = "account", "metric", "hybrid_bt", "same, quantstats' conventions", "quantstats", "unexplained", "convention"


class Sentence:
    """Text that is made when it is first asked for, or elsewhere (`made`)."""

    def __init__(self, make: Callable[[], str]) -> None:
        self.make, self.made = make, ""

    def __str__(self) -> str:
        self.made = self.made or self.make()
        return self.made


class Tearsheet:
    """A tearsheet in the making, quantstats' part of it in another process.

    Parameters
    ----------
    record : RunRecord
    folder : Path
        Existing; `tearsheet.html` is written there.
    claim : str or Sentence
        What stands on top (`hybrid_bt.evidence.ratios.claim`).
    beside : quantstats_page.Beside
        Where page and sentence are made.
    """

    def __init__(self, record: RunRecord, folder: Path, claim: str | Sentence, beside: quantstats.Beside) -> None:
        self.path = folder / TEARSHEET
        self._record, self._claim, self._beside = record, claim, beside
        other = record.benchmark if record.benchmark != "hybrid" else "benchmark"
        self._held = {"hybrid": record.accounts["hybrid"].equity, other: record.accounts[record.benchmark].equity}
        self._job = quantstats.job_of(record, self._held, self.path, _title(record))
        self.why = quantstats.why_not(self._job.returns)  #: nothing comes of the other process
        if not self.why:
            beside.ask(self._job._replace(claim=claim))

    def finish(self) -> Path:
        """Wait for the page, or write our own; warns of a failure, and of a difference that nobody can explain."""
        if not self.why:
            self.why, said, theirs = self._beside.outcome()
            if self.why:
                alone = "the page is ours alone, without quantstats' report"
                warnings.warn(f"tearsheet: {self.why}; {alone}", stacklevel=2)
            else:
                if isinstance(self._claim, Sentence):
                    self._claim.made = said
                self._put_first(theirs)
        if self.why:
            drawn = self.path.with_name("equity_drawdown.png")
            self.path.write_bytes(_alone(self._record, str(self._claim), self.why, drawn).encode())
        return self.path

    def _put_first(self, theirs: quantstats.Metrics) -> None:
        bars, found = self._record.bars, []
        for name, equity in self._held.items():
            own = ours(equity, bars.bars_per_year, metrics.elapsed_years(bars.stamps))
            same = alike(np.array(self._job.returns[name]), self._job.periods_per_year)
            found += [Compared(name, metric, own[metric], same[metric], theirs[name][metric]) for metric in METRICS]
        for check in found:
            if not check.agrees:
                differ = f"{check.theirs!r} to quantstats and {check.alike!r} by our formula under its conventions"
                said = f"tearsheet: {check.metric} of {check.account} is {differ}; one of the two is wrong"
                warnings.warn(said, stacklevel=2)
        table = cross_check(found, _reasons(self._record, len(self._job.days), self._job.periods_per_year))
        page = self.path.read_text(encoding="utf-8")
        first = first_page(self._record, str(self._claim), table)
        self.path.write_bytes(page.replace(quantstats.PLACE, first, 1).encode())


def first_page(record: RunRecord, claim: str, checked: str = "") -> str:
    """A `<section>` with its style, to stand before quantstats' report; `checked` is the HTML of the cross-check."""
    stamp, notes = sample_stamp(record), "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    shell = (resources.files("hybrid_bt.report") / "first_page.html").read_text(encoding="utf-8")
    return Template(shell).substitute(
        COLORS | TEXT_COLORS,
        title=escape(_title(record)),
        run=escape(run_text(record)),
        stamp=f'<p class="stamp">{escape(stamp)}</p>' if stamp else "",
        claim=f'<p class="claim">{escape(claim)}</p>' if claim else "",
        facts=html_table((), _facts(record), kinds=(TEXT, TEXT)),
        accounts=html_table(("account", *HEADLINES), hurdle_first(headline_rows(record)), chief="hybrid"),
        checked=checked,
        notes=f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "",
    )


def hurdle_first(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The hybrid, then what it has to beat, then the others."""
    return sorted(rows, key=lambda row: (row[0] != "hybrid", row[0] not in HURDLES))


def _alone(record: RunRecord, claim: str, why: str, picture: Path) -> str:
    """A whole page: the same, why there is no more, and a picture if it exists."""
    image = html_image(picture, "Equity and drawdown") if picture.exists() else ""
    return (
        f"{HEAD}<title>{escape(_title(record))}</title></head>"
        f'<body style="margin:30px">{first_page(record, claim)}<section class="first"><p class="stamp">Without '
        f"quantstats' report: {escape(why)}</p>{image}<p>The tables beside this page hold everything that the run "
        "recorded.</p></section></body></html>\n"
    )


def _title(record: RunRecord) -> str:
    return f"hybrid against {record.benchmark}"


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    days = stamp_texts(record.bars.stamps.astype("datetime64[D]"))
    spans = [f"{days[first]} to {days[last]}" for first, last in in_sample_spans(record.in_sample)]
    trained = record.facts.get("span", {}).get("policies_trained_until")
    behind = f"; the policies were trained until {trained}" if trained else ""
    sample = f"IN SAMPLE: {', '.join(spans)}" if spans else "out of sample, all bars"
    checksum = record.facts.get("data", {}).get("sha256", record.bars.sha256)  # of the warm-up too, where it is known
    paid = record.accounts["hybrid"].summary(record.bars).costs
    policies = record.facts.get("policies", {})
    return [
        ("mode", str(record.config.get("mode", "not named"))),
        ("bars", f"{record.bars.n_bars:,} of {record.bars.n_symbols} symbols, {days[0]} to {days[-1]}"),
        ("sample", sample + behind),
        ("costs", f"{run_text(record).split(' · ')[-1]}; the hybrid paid {paid:,.0f}"),
        ("data", f"{record.bars.name}, sha256 {checksum[:SHORT]}"),
        *((name, f"{policy['file']}, sha256 {policy['sha256'][:SHORT]}") for name, policy in policies.items()),
    ]


class Compared(NamedTuple):
    """One metric of one account."""

    account: str
    metric: str
    ours: float  #: as in `summary_pnl.csv`
    alike: float  #: our formula, quantstats' conventions
    theirs: float  #: quantstats

    @property
    def unexplained(self) -> float:
        """Theirs less `alike`; 0.0 where neither has a value."""
        if math.isnan(self.alike) and math.isnan(self.theirs):
            return 0.0
        return self.theirs - self.alike

    @property
    def agrees(self) -> bool:
        """Nothing but rounding is unexplained."""
        return abs(self.unexplained) <= ROUNDING * max(1.0, abs(self.alike))

    def cells(self, reason: str) -> Iterator[str]:
        """The row below `CHECKED`."""
        yield from (self.account, self.metric)
        for value in (self.ours, self.alike, self.theirs):
            shown = f"{value:.4f}" if self.metric in ("Sharpe", "Sortino") else f"{value:.3%}"
            yield "none" if math.isnan(value) else real_minus(shown)
        yield from ("0" if self.unexplained == 0.0 else f"{self.unexplained:.0e}", reason)


def ours(equity: FloatArray, bars_per_year: float, years: float) -> dict[str, float]:
    """`METRICS` of an equity curve (T,) whose row 0 is the start value."""
    start, end = float(equity[0]), float(equity[-1])
    return {
        "total return": end / start - 1.0,
        "CAGR": metrics.cagr(start, end, years),
        "Sharpe": metrics.sharpe(equity, bars_per_year),
        "Sortino": metrics.sortino(equity, bars_per_year),
        "volatility": metrics.volatility(equity, bars_per_year),
        "max drawdown": metrics.max_drawdown(equity),
    }


def alike(returns: FloatArray, periods_per_year: float) -> dict[str, float]:
    """`METRICS` by our formulas from returns (D,), one a day, over D / periods_per_year years."""
    equity = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    return ours(equity, periods_per_year, len(returns) / periods_per_year)


def cross_check(found: Sequence[Compared], reasons: Mapping[str, str]) -> str:
    """The table in HTML, and whether the two programs agree; `reasons` say why conventions differ, by metric."""
    kinds = ("", TEXT, "", "", "", "", TEXT)
    rows = [html_row("th", CHECKED, kinds)]
    for check in found:
        mark = "" if check.agrees else ' class="bad"'
        rows.append(html_row("td", check.cells(reasons[check.metric]), (*kinds[:5], mark, TEXT)))
    agree = all(check.agrees for check in found)
    said = (
        "Two programs, the same returns: nothing is left unexplained."
        if agree
        else "The two programs DISAGREE beyond conventions and rounding: one of them is wrong."
    )
    return (
        f'<h2>Cross-check</h2><p class="{"grey" if agree else "stamp"}">{said} The first column stands in '
        "summary_pnl.csv, the third in the report below; between them lie conventions only.</p>"
        f"{html_rows(rows)}"
    )


def _reasons(record: RunRecord, n_days: int, m: int) -> dict[str, str]:
    """Metric -> the convention in which the two programs differ."""
    per_year, years = record.bars.bars_per_year, metrics.elapsed_years(record.bars.stamps)
    intraday = n_days != record.bars.n_bars - 1
    daily = "; returns by day instead of by bar" if intraday else ""
    found = dict.fromkeys(METRICS, f"√m with m = {per_year:.2f} as counted, against {m}{daily}")
    return found | {
        "total return": "the same",
        "CAGR": f"{years:.3f} calendar years, against {n_days} / {m} = {n_days / m:.3f}",
        "max drawdown": "at every bar, against each day's last" if intraday else "the same",
    }
