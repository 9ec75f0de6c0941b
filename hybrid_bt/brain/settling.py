"""From what legs said to what may be ordered: mixed, limited, kept where a bundle waits, and behind the guard.

A leg knows nothing of cash, weights or limits, so what it said once stays what it would say, and nothing in the mix or
the limits looks at the account: any account of recorded legs is `settle_panel`, then `account.replay.replay`. Row by
row it is what `Hybrid.settle` does, by the same functions. The guard of one account asks for its books where a rule
needs them, and counts what the rules do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.brain.journal import moment_of
from hybrid_bt.brain.laid import FloatArray
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.brain.records import KEPT_COLUMNS, Decisions, Opinions
from hybrid_bt.equations import Pairs
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.fusion import NOTHING, WHOLE, Line, RiskParams, Rows, legs_traded, settle_rows
from hybrid_bt.equations.guard import guard_step, initial_guard
from hybrid_bt.equations.guard_limits import RULES, GuardFacts, GuardParams, Wanted, held_weights, is_active, rule_names
from hybrid_bt.equations.tilt import lean_rows
from hybrid_bt.equations.waiting import tied_rows, together_rows, waiting_rows, withheld
from hybrid_bt.errors import ConfigError

SECONDS_PER_CELL = 1e-6  # of a bar x side or symbol, interpreted
MOST_TEXTS = 20  #: a policy that fails with another number each time must not fill the memory


class Mix(NamedTuple):
    """How much of each leg, bar by bar."""

    shares: FloatArray  #: (T, L) of the account's risk
    traded: tuple[bool, ...]  #: (L,) whether a leg has a part in it at all


class Targets(NamedTuple):
    """What may be ordered."""

    targets: FloatArray  #: (T, N) signed fractions of equity; NaN keeps what is held
    together: NDArray[np.int64]  #: (T, N) symbols of the same label are one decision


def mix_of(regime: ArrayLike, lines: Sequence[Line]) -> Mix:
    """The shares of all legs along a path of r, (T,)."""
    path = np.asarray(regime, dtype=np.float64)
    return Mix(np.stack([_along(path, *line) for line in lines], axis=1), legs_traded(lines))


def _along(r: FloatArray, at_reversion: float, at_neutral: float, at_trend: float) -> FloatArray:
    """`fusion.share_at` of a path."""
    slope = np.where(r < 0.0, at_neutral - at_reversion, at_trend - at_neutral)
    return np.where(r <= -1.0, at_reversion, np.where(r >= 1.0, at_trend, at_neutral + r * slope))


def alone(opinions: Opinions, name: str) -> Mix:
    """All of the account's risk to one leg and none to the others."""
    return mix_of(np.zeros(len(opinions.regime)), [WHOLE if leg == name else NOTHING for leg in opinions.names])


def settle_panel(
    opinions: Opinions, traded: NDArray[np.bool_], mix: Mix, risk: RiskParams, *, compiled: bool | None = None
) -> Targets:
    """What recorded legs come to.

    Parameters
    ----------
    traded : (T, N)
        Whether the symbol has a bar.
    mix : Mix
        `mix_of` a path of r, or one leg `alone`.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    ConfigError
        For arrays of another shape or with values that are not finite.
    """
    settled = _rows_of(opinions, traded, mix, risk, compiled, 1)[0]
    tied = tied_rows(opinions.amounts, opinions.before, opinions.layout, traded)
    together = together_rows(tied, opinions.layout, mix.traded, traded.shape[1])
    settled[waiting_rows(traded, together)] = np.nan
    return Targets(settled, together)


def _rows_of(
    opinions: Opinions, traded: NDArray[np.bool_], mix: Mix, risk: RiskParams, compiled: bool | None, n_kept: int
) -> tuple[FloatArray, ...]:
    """Arrays of the fields of `Rows`, what stands beside the targets of T bars or of one."""
    (n_bars, n), layout = traded.shape, opinions.layout
    given = (
        _checked("what legs wish", opinions.amounts, (n_bars, len(layout.columns))),
        _checked("their risk", opinions.risks, (n_bars, len(opinions.names))),
        _checked("volatility", opinions.volatility, traded.shape),
        _checked("correlation", opinions.correlation, (n_bars,)),
    )
    shares, beside = _checked("the mix", mix.shares, (n_bars, len(opinions.names))), (n_kept, len(layout.columns))
    shapes = traded.shape, beside, (n_kept, len(opinions.names)), (n_kept,)
    blank = tuple(np.empty(shape) for shape in shapes)
    if choose(compiled, (given[0].size + traded.size) * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.panel import settle_all

        settle_all(Rows(*blank), given, layout, shares, risk)
        return blank
    lists: Any = [column.tolist() for column in blank]
    amounts, risks, volatility, correlation = (values.tolist() for values in given)
    settle_rows(Rows(*lists), (amounts, risks, volatility, correlation), layout, shares.tolist(), risk, [0.0] * n)
    return tuple(np.array(column).reshape(room.shape) for column, room in zip(lists, blank, strict=True))


def decided(
    opinions: Opinions, traded: NDArray[np.bool_], market: FloatArray, lines: Sequence[Line], risk: RiskParams
) -> Decisions:
    """What `Hybrid.settle` decides on each bar, from opinions of all of them; `market` as the gate could see it."""
    mix, layout, names = mix_of(opinions.regime, lines), opinions.layout, opinions.names
    targets, sides, weights, scales = _rows_of(opinions, traded, mix, risk, None, len(traded))
    legs = opinions.legs
    legs[names[0]] = replace(opinions, amounts=_leaned(opinions, mix.shares[:, 0])).legs[names[0]]
    fused = np.zeros(traded.shape)
    for leg, wanted in enumerate(legs.values()):
        fused += weights[:, leg, None] * wanted
    tied = tied_rows(opinions.amounts, opinions.before, layout, traded)
    together = together_rows(tied, layout, mix.traded, traded.shape[1])
    return Decisions(
        legs=legs,
        weights={name: np.ascontiguousarray(weights[:, leg]) for leg, name in enumerate(names)},
        regime=opinions.regime,
        fused=fused,
        target=targets,
        scale=scales,
        layout=layout,
        sides=sides,
        risks=opinions.risks,
        together=together.astype(np.min_scalar_type(traded.shape[1])),
        wanted=targets,
        guard=np.zeros(len(traded)),
        waits=waiting_rows(traded, together),
        market=market[:, list(KEPT_COLUMNS)],
    )


def _leaned(opinions: Opinions, shares: FloatArray) -> FloatArray:
    """(T, S) wishes of the base as r weighs them; others are 0. A base that is off stands as it wished."""
    by, leaned = np.where(shares == 0.0, 1.0, shares), np.zeros(opinions.amounts.shape)
    if choose(None, leaned.size * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.panel import lean_all

        lean_all(leaned, opinions.amounts, opinions.volatility, opinions.layout, by)
        return leaned
    rows: Any = leaned.tolist()
    lean_rows(rows, opinions.amounts.tolist(), opinions.volatility.tolist(), opinions.layout, by.tolist())
    return np.array(rows).reshape(leaned.shape)


def _checked(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != shape or not len(array):
        raise ConfigError(f"replay: {name} must be of shape {shape}, not {array.shape}; record it on these bars")
    if not np.isfinite(array).all():
        row = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ConfigError(f"replay: {name} is not finite at {row}; a leg answers with a number on every bar")
    return array


class Books(NamedTuple):
    """An account at the close of a bar."""

    equity: float
    sizes: Sequence[float]  #: (N,) signed shares held
    worth: Sequence[float]  #: (N,) of one share at its last close; not looked at where none is held
    delivered: Sequence[bool]  #: (N,) whether the symbol has a bar, so that an order for it can be sent


class AccountGuard:
    """Stands between decisions and orders, and counts what the rules do.

    Attributes
    ----------
    triggers : dict
        Rule -> number of bars on which it changed what was wanted; rules that never did are left out.
    first : dict
        Rule -> stamp of the first of those bars.
    failures : list of str
        What legs and gate did wrong, each text once, in order.
    """

    def __init__(self, params: GuardParams, band: float, moment: Callable[[float], datetime]) -> None:
        self.params, self._band, self._moment = params, band, moment
        self.is_active = is_active(params) or bool(params.kill_file)
        self._kill_file = Path(params.kill_file) if params.kill_file else None
        self._state = initial_guard()
        self.triggers: dict[str, int] = {}
        self.first: dict[str, float] = {}
        self.failures: list[str] = []

    def facts(self, stamp: float, books: Books, failed: bool) -> GuardFacts:
        """The account as the rules see it."""
        killed = self._kill_file is not None and self._kill_file.exists()
        equity, sizes, worth, delivered = books
        return GuardFacts(int(stamp), equity, held_weights(sizes, worth, equity), delivered, failed, killed)

    def settled(self, stamp: float, decision: Decision, facts: GuardFacts, pairs: Pairs) -> Decision:
        """The decision with the targets that may be sent, and what they were cut by; once on every bar traded."""
        targets, sides = list(withheld(decision.target, decision.waits)), list(decision.sides)
        wanted = Wanted(targets, sides, decision.opinion.layout, decision.together)
        self._state, mask = guard_step(self._state, wanted, facts, pairs, self.params, self._band)
        for name in rule_names(mask):
            self.triggers[name] = self.triggers.get(name, 0) + 1
            self.first.setdefault(name, stamp)
        waits = tuple(wait and target != target for wait, target in zip(decision.waits, targets, strict=False))
        return decision._replace(target=targets, sides=sides, waits=waits, wanted=decision.target, guard=mask)

    def told(self, stamp: float, failures: Sequence[str]) -> None:
        """Name each part that failed on a bar, once."""
        for text in failures:
            if text not in self.failures and len(self.failures) < MOST_TEXTS:
                self.failures.append(text)
                warnings.warn(f"HybridStrategy: {self._moment(stamp)} {text}", stacklevel=1)

    def report(self) -> dict[str, object]:
        """Plain data for `run.json`; empty where no limit is on and no policy failed."""
        if not (self.is_active or self.failures):
            return {}
        return {
            "triggers": {name: self.triggers[name] for name in RULES if name in self.triggers},
            "first": {name: moment_of(self.first[name]).isoformat() for name in RULES if name in self.first},
            "failures": list(self.failures),
        }
