"""What a run says beside its result: its resolved configuration, the facts of `run.json`, notes for every reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import AccountPath, gap_notes, guard_notes
from hybrid_bt.bars import Bars, instant, say_stamp
from hybrid_bt.bars.findings import counters
from hybrid_bt.bars.stamps import is_intraday
from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.brain.legs.kalman import IdlePairs
from hybrid_bt.brain.records import Decisions, Opinions, PairPaths
from hybrid_bt.config.task import Case

TOLERANCE = 1e-9  #: of money, relative to the start value; decisions must be equal to the bit
NOTHING = "NOTHING WAS TRADED"  #: begins the note that is said even where no other is
_VERSIONED = ("pandas", "quantstats")  #: beside those that the report names itself

Plain = dict[str, Any]


class Trading(NamedTuple):
    """What comes of trading a case, by whatever engine; rows from the first bar traded on."""

    decisions: Decisions
    opinions: Opinions
    pairs: PairPaths
    account: AccountPath
    clipped: dict[str, int]  #: policy -> observation values out of range
    guard: dict[str, Any]  #: triggers, their first bars, failures; empty if nothing stood in the way
    resumed_after: str  #: stamp of the last bar that came from the state; empty if none did
    idle: IdlePairs  #: pairs that never opened


class Quantity(NamedTuple):
    """Bar by bar, of two accounts that should be one."""

    name: str
    one: FloatArray  #: (T,) or (T, N)
    other: FloatArray
    unit: float = 1.0  #: of what differs: the start value for money
    allowed: float = 0.0

    def gaps(self) -> FloatArray:
        """(T,) the largest difference on each bar; NaN on one side only is no agreement."""
        a, b = self.one, self.other
        gaps = np.where(np.isnan(a) & np.isnan(b), 0.0, np.abs(a - b)).reshape(len(a), -1)
        found: FloatArray = np.nan_to_num(gaps, nan=np.inf).max(axis=1, initial=0.0) / self.unit
        return found


def quantities(cash: float, one: Trading, other: Trading) -> Iterator[Quantity]:
    """What two engines must agree on, decisions first."""
    (mine, theirs), (a, b) = (
        (one.decisions, other.decisions),
        (one.account, other.account),
    )
    yield from (Quantity(f"target of {leg}", mine.legs[leg], theirs.legs[leg]) for leg in mine.legs)
    yield Quantity("regime score r", mine.regime, theirs.regime)
    yield Quantity("final target", mine.target, theirs.target)
    yield Quantity("cash", a.cash, b.cash, cash, TOLERANCE)
    yield Quantity("position, shares", a.size, b.size, 1.0, TOLERANCE)
    yield Quantity("equity", a.equity, b.equity, cash, TOLERANCE)


def in_sample_rows(task: Case, traded: Bars) -> NDArray[np.bool_]:
    """(T,) whether a policy was trained on the bar's date."""
    if task.trained_until is None:
        return np.zeros(traded.n_bars, dtype=np.bool_)
    return np.asarray(traded.stamps <= instant(task.trained_until, whole=True))


def resolved(task: Case, benchmark: str, seed: int, news: Mapping[str, Any] | None) -> Plain:
    """The whole configuration as plain data."""
    market, fitted = task.market, task.fitted
    variances = None if fitted is None else {p: q._asdict() for p, q in zip(market.pairs, fitted, strict=True)}
    return {
        "mode": task.mode,
        "data": market.name,
        "symbols": list(market.bars.symbols),
        "pairs": list(market.pairs),
        "start": None if task.start is None else task.start.isoformat(),
        "benchmark": benchmark,
        "allow_in_sample": task.allow_in_sample,
        "seed": seed,
        **task.config.numbers(),
        **({} if news is None else {"news": dict(news)}),
        "kalman_fitted": variances,
    }


def facts_of(task: Case, trading: Trading) -> Plain:
    """What `run.json` says of data, policies, spans, and of what happened."""
    bars, trained_until, objects = task.market.bars, task.trained_until, task.objects()
    agents = {place: maker.facts() for place, maker in task.legs.items() if hasattr(maker, "facts")}
    return {
        "versions": {name: metadata.version(name) for name in _VERSIONED},
        "data": {
            "sha256": bars.sha256,
            "start": say_stamp(bars.stamps[0]),
            "end": say_stamp(bars.stamps[-1]),
            "findings": counters(bars.findings),
        },
        "policies": {
            name: {
                "file": getattr(task.config, name).file,
                "sha256": policy.sha256,
                "gradient_steps": _steps_of(policy),
                **({"object": objects[name]} if name in objects else {}),
            }
            for name, policy in task.policies.loaded().items()
        },
        **({"legs": agents} if agents else {}),
        "span": {
            "warm_up_bars": task.row,
            "policies_trained_until": None if trained_until is None else trained_until.isoformat(),
        },
        "annualisation": {"reports": task.traded.bars_per_year, "decisions": task.config.risk.bars_per_year},
        "clipped_observations": trading.clipped,
        **({"guard": trading.guard} if trading.guard else {}),
    }


def _steps_of(policy: object) -> int | None:
    """Gradient steps that it learned for; None where nobody recorded them."""
    return getattr(getattr(policy, "manifest", None), "gradient_steps", None)


def wall_clock(seconds: float, resumed_after: str) -> Plain:
    """What differs from run to run."""
    known = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "backtest_seconds": seconds}
    return known | ({"resumed_after": resumed_after} if resumed_after else {})


def notes_of(task: Case, trading: Trading, in_sample: NDArray[np.bool_], gaps: Plain) -> list[str]:
    """Caveats that every reader of the result must see."""
    notes = list(task.market.bars.notes)
    if in_sample.any():
        lie = f"{int(in_sample.sum())} of {len(in_sample)} bars lie in the policies' training span"
        notes.append(f"IN-SAMPLE: {lie}; this is no out-of-sample result.")
    learned = {name: _steps_of(policy) for name, policy in task.policies.loaded().items()}
    notes += [f"The {name} policy learned for {steps:,} gradient steps." for name, steps in learned.items() if steps]
    notes += [f"OBJECT: {name} is no frozen file but {what}, trusted." for name, what in task.objects().items()]
    called = task.leg_accounts().get("sac", "sac")
    if called != "sac":
        notes.append(f"The policy of the leg sac is a {task.learner.upper()}: its account is `{called}`.")
    if is_intraday(task.traded.stamps):
        taken, traded = task.config.risk.bars_per_year, task.traded.bars_per_year
        odd = f" (those traded have {traded:.0f}: say it with risk.bars_per_year)" if traded > 1.5 * taken else ""
        rate = f"decisions take {taken:.0f} bars a year, as counted before trading{odd}"
        made = "Memories and pair rules count in bars; the shipped modes and policies were made for daily ones."
        notes.append(f"Intraday bars: {rate}. {made}")
    if task.config.kalman.enabled and not task.market.pairs:
        notes.append("No pairs were given, so the Kalman leg is idle; name some with --pairs Y:X.")
    notes += [*trading.idle.at_start, *trading.idle.at_end(), *_why_nothing(task, trading)]
    if trading.account.rejected:
        first = say_stamp(task.traded.stamps[trading.account.first_rejected or 0])
        what = f"{trading.account.rejected} orders of the hybrid were rejected for want of cash, the first on {first}"
        notes.append(f"{what}; what was still wanted on the next bar was sent again.")
    return [*notes, *gap_notes(gaps), *guard_notes(task.config.guard, trading.guard)]


def _why_nothing(task: Case, trading: Trading) -> list[str]:
    """What kept an account from any fill; nothing of one that traded, or whose orders were refused."""
    path, cash, rules = trading.account, task.config.account.cash, task.config.order_rules
    if len(path.fills) or path.rejected or path.size.any():
        return []
    targets = np.abs(np.nan_to_num(trading.decisions.target))
    wanted = float(np.nanmax(targets * cash / task.traded.close, initial=0.0))
    return [
        f"{NOTHING}: the largest position wanted on {task.traded.n_bars} bars was {wanted:,.6g} shares, by a cash of "
        f"{cash:,.10g}; orders are multiples of lot {rules.lot:,.10g}, of at least eps_trade {rules.eps_trade:,.10g} "
        f"shares and rebalance_band {rules.rebalance_band:g} of equity. Give more cash, lower these, or widen limits."
    ]
