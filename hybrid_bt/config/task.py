"""What a command begins with: a market, how it is traded, and what its bars say of that.

Where trading may begin, what is calibrated before it, and how many bars a year has are settled here and nowhere else,
so that a run, a study, a parity check and an evaluation of documents begin on the same bar with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from hybrid_bt.bars import Bars, Moment, instant, say_stamp
from hybrid_bt.bars.market import Market
from hybrid_bt.config import Config, Overrides, load_config
from hybrid_bt.config.build import LegMaker, Policies, build, training_end
from hybrid_bt.config.own_parts import CallablePolicy, own_legs, own_policies
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.kalman import KalmanParams, fit, follow_pair
from hybrid_bt.errors import BarsError, InSampleError
from hybrid_bt.policies.frozen import FrozenPolicy

if TYPE_CHECKING:
    from hybrid_bt.brain.hybrid import Hybrid
    from hybrid_bt.policies.sb3_policy import TrustedPolicy

Configured = Config | Overrides | str | Path | None  #: whole, or what is laid over the mode: keys, or a TOML file
LegGiven = LegMaker | str  #: a maker, or the name of a registered leg
#: whole, a function of observations, or a file
PolicyGiven: TypeAlias = "FrozenPolicy | TrustedPolicy | CallablePolicy | Callable[..., Any] | str | Path"


class Case(NamedTuple):
    """What is traded, and from where on."""

    market: Market  #: warm-up and trading bars
    mode: str
    config: Config  #: knows the bars per year
    policies: Policies
    legs: Mapping[str, LegMaker]  #: of the user's own, in the place of others
    start: date | None  #: as it was asked for
    allow_in_sample: bool
    row: int  #: of the first decision
    trained_until: date | None  #: last day that a policy was trained on
    fitted: list[KalmanParams] | None  #: of each pair, where they are fitted

    @property
    def traded(self) -> Bars:
        """The bars from the first decision on."""
        return self.market.bars.between(self.market.bars.stamps[self.row], None)

    @property
    def learner(self) -> str:
        """The algorithm that answers for the leg `sac`: of a policy, or of an agent in its place."""
        return str(getattr(self.legs.get("sac"), "learner", "") or self.policies.learner())

    def objects(self) -> dict[str, str]:
        """Policies and legs that are no frozen files -> what they are instead."""
        parts: dict[str, Any] = {**self.policies.loaded(), **self.legs}
        return {name: part.is_object for name, part in parts.items() if getattr(part, "is_object", "")}

    def leg_accounts(self) -> dict[str, str]:
        """Leg that is on -> its account: of the same name, and of `sac` that of what learned (a PPO is no `sac`)."""
        names, learner = {leg: leg for leg in self.config.legs_on()}, self.learner
        if "sac" in names:
            names["sac"] = learner if learner == "sac" or learner not in names else f"{learner} in sac"
        return names

    def brain(self) -> Hybrid:
        """A fresh one."""
        market = self.market
        return build(self.config, market.bars.symbols, market.pairs, self.policies, self.fitted, self.legs)


def prepare(
    market: Market,
    mode: str = "stable",
    *,
    config: Configured = None,
    policies: Policies | Mapping[str, PolicyGiven] | None = None,
    legs: Mapping[str, LegGiven] | None = None,
    start: Moment | None = None,
    allow_in_sample: bool = False,
    fills_later: bool = False,
) -> Case:
    """Load what is asked for, find the first bar that may be traded, and calibrate on those before it.

    Parameters are those of `hybrid_bt.run_backtest`; with `fills_later` the last bar may be the first decided on, for
    the bar that its orders fill on is still to come.

    Raises
    ------
    HybridError
        For bars, pairs, policies or spans that cannot be traded.
    """
    asked = as_config(mode, config)
    own = own_legs(asked, legs)
    loose = policies if isinstance(policies, Mapping) else {}
    loaded = own_policies(asked, None if isinstance(policies, Mapping) else policies, loose, own)
    trained_until = training_end(loaded, own)
    day = start if start is None or isinstance(start, date) else instant(start).astype("M8[us]").item().date()
    row = first_trading_row(market.bars, trained_until, day, allow_in_sample, fills_later)
    known = asked.for_stamps(market.bars.stamps[:row])
    if market.pairs_found:  # from here on the configuration says it
        market, known = replace(market, pairs_found=False), known.with_pairs_found(len(market.pairs))
    fitted = fit_pairs(market, row, known) if known.kalman.fit else None
    return Case(market, mode, known, loaded, own, day, allow_in_sample, row, trained_until, fitted)


def as_config(mode: str, given: Configured) -> Config:
    """A whole configuration as it is, else the mode's under what is laid over it."""
    if isinstance(given, Config):
        return given
    return load_config(mode, None, given) if isinstance(given, Mapping) else load_config(mode, given)


def first_trading_row(
    bars: Bars,
    trained_until: date | None,
    start: date | None = None,
    allow_in_sample: bool = False,
    fills_later: bool = False,
) -> int:
    """Row of the first decision.

    Parameters
    ----------
    trained_until : date or None
        Last day that a policy was trained on.
    start : date, optional
        Asked for by the user; by default the first bar behind the training span on which the features are warm.

    Raises
    ------
    InSampleError
        If the start lies in the training span, or no bar lies behind it, and `allow_in_sample` is False.
    BarsError
        If there are fewer bars than the features need, or none from `start` on.
    """

    def day(at: int) -> str:
        return say_stamp(bars.stamps[at])

    if bars.n_bars <= WARMUP_BARS + 1:
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars} bars up to {day(-1)}; the features need {WARMUP_BARS + 1} "
            "to warm up and one more to trade; give a longer history"
        )
    warm = WARMUP_BARS  # row 252 has seen 252 returns
    free = 0
    if trained_until is not None and not allow_in_sample:
        free = int(np.searchsorted(bars.stamps, instant(trained_until, whole=True), "right"))
        if free >= bars.n_bars:
            raise InSampleError(
                f"all bars of {bars.name} (to {day(-1)}) lie in the policies' training span, which ends "
                f"{trained_until}; give later bars, other policies, or --allow-in-sample, which marks every output"
            )
    row = max(free, warm) if start is None else _row_of(bars, start)
    if row < free:
        raise InSampleError(
            f"start {start} lies in the policies' training span, which ends {trained_until}; start on "
            f"{day(max(free, warm))} or later, or give --allow-in-sample, which marks every output"
        )
    if row < warm:
        raise BarsError(
            f"start {start} leaves {row} bars to warm up, {WARMUP_BARS} are needed; start on {day(warm)} "
            "or later, or give an earlier history"
        )
    if row > bars.n_bars - (1 if fills_later else 2):
        raise BarsError(
            f"bars: {bars.name} has {bars.n_bars - row} bar(s) from {day(row)} on; a decision needs one more "
            "bar to fill on; give later bars or an earlier start"
        )
    return row


def _row_of(bars: Bars, start: date) -> int:
    row = int(np.searchsorted(bars.stamps, instant(start)))
    if row >= bars.n_bars:
        raise BarsError(
            f"start {start} is after the last bar of {bars.name}, {say_stamp(bars.stamps[-1])}; choose an earlier start"
        )
    return row


def fit_pairs(market: Market, row: int, config: Config) -> list[KalmanParams]:
    """Noise variances of each pair by maximum likelihood on the bars before a row, never after.

    Raises
    ------
    BarsError
        If a pair has fewer common bars before the start than the features need.
    """
    bars, found = market.bars, []
    for name, (y, x) in zip(market.pairs, market.columns, strict=True):
        both = np.flatnonzero(bars.traded[:row, y] & bars.traded[:row, x])
        if both.size < WARMUP_BARS:
            raise BarsError(
                f"pair {name}: {both.size} common bars before the trading start, {WARMUP_BARS} are needed to fit; "
                "drop --fit-kalman or start later"
            )
        logs = np.log(bars.close[both, y]), np.log(bars.close[both, x])
        found.append(fit(*logs, config.kalman_params, follow_pair))
    return found
