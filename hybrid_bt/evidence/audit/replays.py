"""One run against many futures and in other run modes, and what was found, as it is said: a short table, or JSON.

A future is a copy of a panel that shares its past: cut off behind some bar, or altered from there on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.bars import FIELDS, Bars, say_stamp
from hybrid_bt.evidence.audit.trace import Leak, Moved, Trace, check_repeatable, first_move
from hybrid_bt.files.texts import shown

LEAST_FACTOR, LARGEST_FACTOR = 1.3, 2.5  # far outside of what rounding or a clip could swallow
ASKED_AGAIN = 5  #: findings of a strategy that are made again
MAX_FINDINGS = 5  #: told in full; JSON holds all
#: kind of finding, worst first -> what is said of it in the end
FINDING_KINDS = {
    "future": "LEAK FOUND",
    "same bar": "LEAK FOUND",
    "end": "KNOWS WHERE THE DATA END: no price behind it, but how many bars there are, or their dates, moved orders",
    "run mode": "RUN MODES DIFFER",
}
Rng: TypeAlias = np.random.Generator
Run: TypeAlias = Callable[[Bars], Trace]
Kinds: TypeAlias = Sequence[Sequence[str]]  #: alterations of the first, second, ... cut, in turn
Stamp: TypeAlias = np.datetime64 | None
Progress: TypeAlias = Callable[[int, int], None] | None
Rows: TypeAlias = NDArray[np.int64]


def rows_of(bars: Bars, rows: slice | Rows) -> Bars:
    """The panel's rows, by slice or index."""
    return _changed(bars, lambda values: values[rows], stamps=bars.stamps[rows])


def last_rows(bars: Bars, n_bars: int) -> Bars:
    """The last so many bars; all for 0."""
    return rows_of(bars, slice(max(bars.n_bars - n_bars, 0), None)) if n_bars > 0 else bars


def _changed(bars: Bars, change: Callable[[FloatArray], FloatArray], **others: NDArray[Any]) -> Bars:
    return replace(bars, **{field: change(getattr(bars, field)) for field in FIELDS} | others)


def _reordered(order: Callable[[Rows, Rng], Rows], bars: Bars, row: int, rng: Rng) -> Bars:
    """Prices of other rows on the same calendar."""
    rows = np.r_[0:row, order(np.arange(row, bars.n_bars), rng)]
    return _changed(bars, lambda values: values[rows])


def _scaled(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every symbol up or down by its own factor, so that signs turn as well as sizes."""
    factors = np.ones(bars.close.shape)
    factors[row:] = rng.uniform(LEAST_FACTOR, LARGEST_FACTOR, bars.n_symbols) ** rng.choice((-1.0, 1.0), bars.n_symbols)
    return _changed(bars, lambda values: values * factors)


def _missing(bars: Bars, row: int, rng: Rng) -> Bars:
    """The next bar NaN for all symbols, then half of the cells: symbols that do not trade."""
    gone = np.zeros(bars.close.shape, dtype=np.bool_)
    gone[row:] = rng.random((bars.n_bars - row, bars.n_symbols)) < 0.5
    gone[row] = True
    return _changed(bars, lambda values: np.where(gone, np.nan, values), volume=np.where(gone, 0.0, bars.volume))


def _thinned(bars: Bars, row: int, rng: Rng) -> Bars:
    """Every other bar missing for all symbols: NaN in a form that Backtrader's broker can value."""
    return rows_of(bars, np.r_[0:row, row + 1 : bars.n_bars : 2])


#: name -> (bars, first altered row, generator) -> bars
FUTURES: dict[str, Callable[[Bars, int, Rng], Bars]] = {
    "shuffled": partial(_reordered, lambda later, rng: np.roll(rng.permutation(later), 1)),
    "reversed": partial(_reordered, lambda later, rng: later[::-1]),
    "scaled": _scaled,
    "nan": _missing,
    "thinned": _thinned,
}
#: those that hold no NaN: Backtrader would value a position at NaN and never recover
BROKER_FUTURES = ("scaled", "shuffled", "reversed", "thinned")


def alter(bars: Bars, row: int, kind: str, horizon: int, seed: int = 0) -> Bars:
    """The panel up to `row`, then at most `horizon` bars of another future.

    Parameters
    ----------
    row : int
        First row that is altered, or missing.
    kind : str
        "cut", or a key of `FUTURES`.
    """
    if kind == "cut":
        return rows_of(bars, slice(0, row))
    return FUTURES[kind](rows_of(bars, slice(0, row + horizon)), row, np.random.default_rng(row + seed))


@dataclass
class Check:
    """What one part of the audit did and found."""

    name: str
    doubted: bool = False  #: whether a run may differ from run to run
    bars: int = 0
    replays: int = 0
    values: int = 0  #: numbers compared
    orders: int = 0  #: orders compared
    findings: list[Leak] = field(default_factory=list)
    lines: list[Leak] = field(default_factory=list)  #: the like of indicators and observers, where nothing else moved
    notes: list[str] = field(default_factory=list)
    result = property(lambda self: f"found {len(self.findings)}" if self.findings else "clean")
    reacted: bool = False  #: whether orders behind a cut came on other bars or sides where prices there were others

    def compare(
        self,
        how: str,
        full: Trace,
        run: Callable[[], Trace],
        *,
        cut: Stamp = None,
        until: Stamp = None,
        tol: float = 0.0,
    ) -> None:
        """Count what a run shares with the full one up to `until`, by default the cut, and note where they part.

        Without a cut they are run modes, compared from the first `next` on. The first few times that they part, a run
        that is `doubted` is made again, and refused where it is not the same.
        """
        other = run()
        until, start = cut if until is None else until, full.first if cut is None else 0
        rows = len(full.stamps) if until is None else int((full.stamps < until).sum())
        self.bars = max(self.bars, len(full.stamps))
        self.replays += 1
        self.values += rows * len(full.columns)
        self.orders += int(sum(order.stamp <= full.stamps[rows - 1] for order in full.orders)) if rows else 0
        moved = first_move(full, other, until, start=start, tolerance=tol)
        if moved and self.doubted and len(self.findings + self.lines) < ASKED_AGAIN:
            check_repeatable(other, run())
        acted = moved and first_move(full.acted(), other.acted(), until, start=start, tolerance=tol)
        for one in dict.fromkeys((moved, acted)):  # the line that moved an order, if one did, and that order
            self.note("run mode" if cut is None else "future", how, one, cut, self.findings if acted else self.lines)
        if cut is not None and np.array_equal(other.stamps, full.stamps[: len(other.stamps)]):
            sides = ([o[:3] for o in t.orders if cut <= o.stamp <= other.stamps[-1]] for t in (full, other))
            self.reacted |= next(sides) != next(sides)

    def futures(
        self, run: Run, bars: Bars, full: Trace, cuts: list[int], kinds: Kinds, horizon: int, progress: Progress = None
    ) -> None:
        """Replay copies with another future and compare all that lies before it; look at the fills of the full run.

        Parameters
        ----------
        full : Trace
            Of `run(bars)`.
        horizon : int
            Bars behind the cut that an altered copy keeps.
        """
        for moved in full.same_bar[:1]:
            self.note("same bar", "none", moved)
        for number, row in enumerate(cuts):
            for kind in kinds[number % len(kinds)]:
                copy = alter(bars, row, kind, horizon)
                # an unfinished weekly bar that is handed out at the end of a cut belongs to its last bar
                until = bars.stamps[row - 1] if copy.n_bars == row and full.unfinished else None
                self.compare(kind, full, partial(run, copy), cut=bars.stamps[row], until=until)
            if progress is not None:
                progress(number + 1, len(cuts))

    def note(
        self, kind: str, how: str, moved: Moved | None, cut: Stamp = None, where: list[Leak] | None = None
    ) -> None:
        """Add a finding, if something moved."""
        if moved is not None:
            said = "" if cut is None else say_stamp(cut)
            found = Leak(self.name, kind, how, said, say_stamp(moved.stamp), *moved[1:])
            (self.findings if where is None else where).append(found)


def cut_rows(first: int, n_bars: int, every: int) -> list[int]:
    """Every `every`-th row behind `first` that leaves a bar to alter, the last such row first among equals."""
    return list(range(n_bars - 1, first + 1, -every))[::-1]


class Audit(NamedTuple):
    """What an audit looked at and found; it shows itself as a table."""

    subject: str
    checks: Sequence[Check]

    @property
    def findings(self) -> list[Leak]:
        """Whatever moved that must not; empty where nothing did. What moved no order stands in the checks' `lines`."""
        return [finding for check in self.checks for finding in check.findings]

    def __repr__(self) -> str:
        wide = [max(map(len, column)) for column in zip(*self.table(), strict=True)]
        rows = (f"  {row[0]:{wide[0]}}  {' '.join(map(str.rjust, row[1:], wide[1:]))}" for row in self.table())
        return "\n".join([self.subject, *rows, *self.words()])

    def table(self) -> list[tuple[str, ...]]:
        """A head and a row for each check."""
        rows = ((c.name, *(f"{n:,}" for n in (c.bars, c.replays, c.values, c.orders)), c.result) for c in self.checks)
        return [("check", "bars", "replays", "numbers compared", "orders", "result"), *rows]

    def words(self) -> list[str]:
        """What is to be said of them; the verdict comes last."""
        named = _told([line for check in self.checks for line in check.lines], "line, ")
        notes = (f"  note: {note}" for check in self.checks for note in check.notes)
        clean = "clean: lines moved, and no order with them" if any(check.lines for check in self.checks) else "clean"
        found = (said for kind, said in FINDING_KINDS.items() if kind in {f.kind for f in self.findings})
        return [*_told(self.findings), *named, *notes, next(found, clean)]

    def as_json(self) -> str:
        """The same with every finding."""
        leaks = ("findings", "lines")
        told = [vars(c) | {name: [one._asdict() for one in getattr(c, name)] for name in leaks} for c in self.checks]
        return json.dumps({"subject": self.subject, "clean": not self.findings, "checks": told}, indent=2)


def audit_of(name: str, bars: Bars, checks: Sequence[Check]) -> Audit:
    """What was found in what was audited, on which bars."""
    span = f"{say_stamp(bars.stamps[0])} to {say_stamp(bars.stamps[-1])}"
    subject = f"audit of {name} on {bars.name}, {bars.n_symbols} symbols, {bars.n_bars} bars, {span}"
    return Audit(shown(subject), checks)


def _told(findings: list[Leak], what: str = "") -> Iterator[str]:
    """The first finding of each kind and quantity, worst kind and earliest bar first."""
    first: dict[tuple[str, str], Leak] = {}
    for finding in sorted(findings, key=lambda finding: ([*FINDING_KINDS].index(finding.kind), finding.bar)):
        first.setdefault((finding.kind, finding.quantity), finding)
    for finding in list(first.values())[:MAX_FINDINGS]:
        before, after = finding.before, finding.after
        values = f"{after} instead of {before}" if finding.kind == "same bar" else f"{before} became {after}"
        yield f"  {what}{finding.kind}: first on {finding.bar}, {finding.symbol}, {finding.quantity}: {values}"
        if finding.cut:
            yield f"      when the bars from {finding.cut} on were {finding.how.replace('cut', 'cut off', 1)}"
        elif finding.kind == "run mode":
            yield f"      the second one under {finding.how}"
    if len(first) > MAX_FINDINGS:
        yield f"  and {len(first) - MAX_FINDINGS} more quantities (--json lists all findings)"
