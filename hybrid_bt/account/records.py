"""What a run leaves behind: plain records that accounts write and reports read, and what their readers must know.

Shapes: T bars from the trading start (row 0 is the bar of the first decision, on which nothing is held yet), N symbols,
P pairs. A decision made on row t may fill on row t + 1 at the earliest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import Summary, summarise
from hybrid_bt.bars import Bars
from hybrid_bt.brain.limits import Limits
from hybrid_bt.brain.records import Decisions, PairPaths
from hybrid_bt.equations import Pairs
from hybrid_bt.equations.guard_limits import GuardParams

FloatArray = NDArray[np.float64]


class Fill(NamedTuple):
    """One executed order."""

    bar: int  #: row on which it filled, at that row's open
    decided: int  #: row of the decision it came from
    symbol: int  #: column
    size: float  #: signed shares
    price: float
    commission: float  #: spread and fee, >= 0


#: of `Fill`'s fields, in arrays
FILL_TYPES = (np.int64, np.int64, np.int64, np.float64, np.float64, np.float64)


class Fills(Sequence[Fill]):
    """Fills kept as columns, 56 bytes each; a `Fill` is made when it is looked at.

    Parameters
    ----------
    columns : sequence of six (F,) arrays
        In the order of `Fill`'s fields, which are attributes.
    """

    def __init__(self, columns: Sequence[NDArray[Any]]) -> None:
        self.columns = tuple(columns)
        self.bar, self.decided, self.symbol, self.size, self.price, self.commission = self.columns
        self.notional: FloatArray = np.abs(self.size * self.price)  #: worth of what was bought or sold

    @classmethod
    def of(cls, fills: Iterable[Fill]) -> Fills:
        """The same fills as columns."""
        columns = list(zip(*fills, strict=True)) or [()] * len(Fill._fields)
        return cls([np.array(column, dtype=kind) for column, kind in zip(columns, FILL_TYPES, strict=True)])

    def later(self, rows: int) -> Fills:
        """The same fills in rows counted from `rows` on."""
        return Fills((self.bar - rows, self.decided - rows, *self.columns[2:]))

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, index: int) -> Fill: ...
    @overload
    def __getitem__(self, index: slice) -> Fills: ...
    def __getitem__(self, index: int | slice) -> Fill | Fills:
        if isinstance(index, slice):
            return Fills([column[index] for column in self.columns])
        return Fill(*(column[index].item() for column in self.columns))

    def __iter__(self) -> Iterator[Fill]:
        return map(Fill._make, zip(*(column.tolist() for column in self.columns), strict=True))

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of the same fills."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list: equal to tuples that hash otherwise

    def __repr__(self) -> str:
        return f"Fills({list(self)!r})"


class _Stairs(NamedTuple):
    """An array, (T, ...), as the rows on which it changes; without them as it is."""

    starts: NDArray[np.intp] | None
    values: Any

    @classmethod
    def of(cls, values: Any) -> _Stairs:  # noqa: ANN401
        if values is not None:
            bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)  # 0.0 is not -0.0
            starts = np.flatnonzero(np.append(True, (bits[1:] != bits[:-1]).any(axis=tuple(range(1, bits.ndim)))))
            if 2 * len(starts) < len(bits):
                return cls(starts, values[starts])
        return cls(None, values)

    def rows(self, first: int, end: int) -> Any:  # noqa: ANN401
        """Read-only: what is written into rows that are made anew would be lost."""
        if self.values is None:
            return None
        found = self.values[first:end]
        if self.starts is not None:
            steps = slice(np.searchsorted(self.starts, first, "right") - 1, np.searchsorted(self.starts, end))
            found = np.repeat(self.values[steps], np.diff(np.maximum(self.starts[steps], first), append=end), axis=0)
        found.flags.writeable = False
        return found


class _Seldom(NamedTuple):
    """A field of an account that changes with fills and days: kept as stairs, made anew where it is looked at."""

    name: str

    def __get__(self, path: AccountPath, owner: object) -> Any:  # noqa: ANN401
        return path.__dict__[self.name].rows(0, len(path.equity))

    def __set__(self, path: AccountPath, values: FloatArray | None) -> None:
        path.__dict__[self.name] = _Stairs.of(values)


@dataclass(frozen=True, eq=False)
class AccountPath:
    """One account, bar by bar, as marked at each close; all but equity seldom changes."""

    cash: FloatArray  #: (T,) equity less the market value of what is held; below 0 the debit balance
    equity: FloatArray  #: (T,)
    held: FloatArray | None  #: (T, N) signed shares held at the close; None where they are the sum of the fills
    borrow: FloatArray  #: (T, N) interest of each position on each bar; negative where it was paid
    fills: Fills  #: in the order in which they happened
    rejected: int = 0  #: orders that the margin check refused, or that the fill cancelled for want of cash
    first_rejected: int | None = None  #: row of the first of them; known of an account at Backtrader's broker

    @property
    def size(self) -> FloatArray:
        """(T, N) signed shares held at the close; where fills say it, made anew each time."""
        if (held := self.held) is None:
            held = np.zeros(self.borrow.shape)
            held[self.fills.bar, self.fills.symbol] = self.fills.size  # a symbol fills at most once a bar
            np.cumsum(held, axis=0, out=held)
        return held

    def interest(self, rows: slice = slice(None)) -> FloatArray:
        """(T,) of all positions on each bar; of all bars, or of some in a row."""
        return np.asarray(self.__dict__["borrow"].rows(*rows.indices(len(self.equity))[:2]).sum(axis=1))

    def summary(self, bars: Bars) -> Summary:
        """Every measure, net of commissions and interest; `bars` are the T that it traded."""
        traded, paid = float(self.fills.notional.sum()), float(self.fills.commission.sum() + self.borrow.sum())
        return summarise(self.equity, bars.stamps, bars.bars_per_year, traded_notional=traded, costs=paid)


for _name in ("cash", "held", "borrow"):
    setattr(AccountPath, _name, _Seldom(_name))


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything a report needs; nothing in it refers to Backtrader."""

    bars: Bars  #: the T traded bars only
    accounts: dict[str, AccountPath]  #: `hybrid` first, then the baselines
    decisions: Decisions
    limits: Limits  #: which of them hold each target: `holding()`, a mask (T, N), and `words()`, one a bit
    pairs: PairPaths
    entry_z: float  #: |zscore| at which a pair opens
    exit_z: float  #: |zscore| at which it closes
    benchmark: str  #: key of the account that curves are drawn against
    start_value: float
    in_sample: NDArray[np.bool_]  #: (T,) True where a policy was trained on that date
    config: dict[str, Any]  #: the whole resolved configuration, as plain data
    facts: dict[str, Any] = field(default_factory=dict)  #: versions, hashes, spans, counts: goes to run.json
    notes: tuple[str, ...] = ()  #: caveats that every reader of the result must see

    def summary(self) -> dict[str, Summary]:
        """Account -> its measures, fractions and money as in `summary_pnl.csv`; `hybrid` first."""
        return {name: path.summary(self.bars) for name, path in self.accounts.items()}


def orphans_closed(traded: NDArray[np.bool_], sides: Pairs, position: NDArray[np.float64]) -> list[int]:
    """How often each pair was closed as an orphan, (P,); only a rule for orphans closes a pair without both bars."""
    found = []
    for p, (y, x) in enumerate(sides):
        direction = np.nan_to_num(position[:, p])
        closed = (direction[:-1] != 0.0) & (direction[1:] == 0.0)
        found.append(int(np.count_nonzero(closed & ~(traded[1:, y] & traded[1:, x]))))
    return found


def gap_counts(
    traded: Bars, decisions: Decisions, pairs: PairPaths, sides: Pairs, account: AccountPath
) -> dict[str, Any]:
    """What bars that are missing did to an account, for `run.json`; all over the same T bars.

    Returns
    -------
    dict
        `missing_bars`, `withheld` (bars x symbols on which no order was allowed), `orphans_closed` by pair, and
        `stranded`: shares at the end in symbols whose bars ended before.
    """
    left = account.size[-1]
    ended = ~traded.traded[-1] & (left != 0.0)
    closed = orphans_closed(traded.traded, sides, pairs.position)
    return {
        "missing_bars": int(np.count_nonzero(~traded.traded)),
        "withheld": int(np.count_nonzero(decisions.waits)),
        "orphans_closed": {name: count for name, count in zip(pairs.names, closed, strict=True) if count},
        "stranded": {traded.symbols[i]: float(left[i]) for i in np.flatnonzero(ended)},
    }


def gap_notes(counts: dict[str, Any]) -> list[str]:
    """What a reader of the result must know of them."""
    notes = []
    if counts["orphans_closed"]:
        listed = ", ".join(f"{name} {count}" for name, count in counts["orphans_closed"].items())
        notes.append(f"Pairs closed as orphans, one side having no bar for long: {listed}.")
    if counts["stranded"]:
        listed = ", ".join(f"{symbol} {size:g}" for symbol, size in counts["stranded"].items())
        notes.append(f"Shares held at the end in symbols without a last bar, valued at their last close: {listed}.")
    return notes


def guard_notes(params: GuardParams, report: dict[str, Any]) -> list[str]:
    """What a reader of a run must know of its guard, from the triggers, their first bars and the failures."""
    if not report:
        return []
    triggers, first = report["triggers"], report["first"]
    notes = []
    failed = triggers.get("policy_failure", 0)
    if report["failures"]:
        more = "" if len(report["failures"]) == 1 else f" (and {len(report['failures']) - 1} other texts in run.json)"
        moved = f"the account was moved to its safe rule, {params.on_policy_failure}"
        notes.append(f"POLICY FAILURE on {failed} traded bars: {report['failures'][0]}{more}; {moved}.")
    seen = [name for name in triggers if name != "policy_failure"]
    hits = [f"{name} on {triggers[name]} bars from {first[name][:10]} on" for name in seen]
    if params != GuardParams():
        changed = f"changed targets: {', '.join(hits)}" if hits else "is on and changed no target"
        notes.append(f"The guard {changed}.")
        notes.append("The accounts beside the hybrid are replayed without the guard.")
    return notes
