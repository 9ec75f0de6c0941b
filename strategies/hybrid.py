"""The hybrid as a Backtrader strategy: a shell that feeds the brain and carries out its answer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import backtrader as bt

from hybrid_bt.build import Policies, build, load_policies, taking_part, training_end
from hybrid_bt.config import Config, load_config, overridden
from hybrid_bt.errors import BarsError, ConfigError, InSampleError, did_you_mean
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.recording import Recorder
from hybrid_bt.snapshot import fit_of
from hybrid_bt.strategies.account_guard import AccountGuard
from hybrid_bt.strategies.keeper import StateKeeper
from hybrid_bt.strategies.orders import TargetOrders

__all__ = ["HybridStrategy"]


class HybridStrategy(bt.Strategy):
    """Kalman pairs and a frozen SAC policy, mixed by a frozen regime gate, traded on every feed of a Cerebro.

    >>> cerebro.addstrategy(HybridStrategy, mode="stable", pairs=["KO:PEP"])

    Decisions are made at the close of a bar and fill at the next open of their feed. A feed that begins later, ends
    early or misses bars is traded only on bars that it delivers. Costs are those of the broker: give it a
    `SpreadFeeCommission`, or keep your own scheme.

    Parameters
    ----------
    mode : str
        `stable` or `aggressive`.
    pairs : sequence of str, or str with commas
        `Y:X` by feed name; without pairs the Kalman leg is idle.
    config : str, Path or Config, optional
        A TOML file that overrides the mode, or a whole configuration that replaces it; both are open to the
        overrides and switches below.
    overrides : mapping, optional
        `{section: {key: value}}` on top, for example `{"risk": {"volatility_target": 0.08}}`.
    use_kalman, use_sac, use_ppo_lstm : bool, optional
        Switch a part off; None keeps the mode's choice.
    trade_from : datetime or date, optional
        First bar that is traded. By default the first bar after the policies' training span (with `allow_in_sample`
        the first bar of all); earlier bars warm the recursions up.
    allow_in_sample : bool
        Trade bars that the policies were trained on.
    policies : Policies, optional
        Loaded policies instead of the configuration's files.
    kalman_params : sequence of KalmanParams, optional
        Fitted noise variances, one per pair.
    record : bool
        Keep every decision in `self.recorder`.
    state : str or Path, optional
        File that the whole state is kept in (and `FILE.journal` beside it). If it exists, the run goes on from it: see
        `hybrid_bt.strategies.keeper` and docs/keep-running.md.
    state_every : int
        Bars from one snapshot to the next.
    on_bar : callable, optional
        Called with no argument after each bar, for progress.

    Raises
    ------
    ConfigError
        Unknown parameter, mode, key or pair, or feeds of the same name.
    InSampleError
        If `trade_from` lies in the training span, or no bar lies behind it, unless `allow_in_sample`.
    BarsError
        If no bar lies behind `trade_from`.
    StateError
        If the state is damaged, newer than the code, in use, or of another run or other data.

    Attributes
    ----------
    decision : Decision or None
        The last one; `target` is what was sent, after the guard. None on bars that were taken from a state.
    guard : AccountGuard
        Its `triggers` and `failures`.
    keeper : StateKeeper or None
    """

    params = (
        ("mode", "stable"),
        ("pairs", ()),
        ("config", None),
        ("overrides", None),
        ("use_kalman", None),
        ("use_sac", None),
        ("use_ppo_lstm", None),
        ("trade_from", None),
        ("allow_in_sample", False),
        ("policies", None),
        ("kalman_params", None),
        ("record", False),
        ("state", None),
        ("state_every", 1),
        ("on_bar", None),
    )

    def __init__(self, **unknown: Any) -> None:
        if unknown:
            name = next(iter(unknown))
            raise ConfigError(f"HybridStrategy: no parameter {name!r}{did_you_mean(name, self.p._getkeys())}")
        self.symbols = _feed_names(self.datas)
        self.pair_names = _names(self.p.pairs)
        self.config = _config(self.p)
        policies: Policies = taking_part(self.p.policies or load_policies(self.config), self.config)
        self.brain: Hybrid = build(self.config, self.symbols, self.pair_names, policies, self.p.kalman_params)
        self.training_end = training_end(policies)
        self.guard = AccountGuard(self, self.config)
        self.recorder = Recorder(len(self.symbols), self.pair_names) if self.p.record else None
        self.first_traded_row: int | None = None
        self.decision: Decision | None = None
        self._target_orders = TargetOrders(self, self.config.order_rules())
        self._trade_from = self._first_traded_stamp()
        self._rows = 0
        self.keeper = self._keeper(policies)
        self._on_bar: Callable[[], None] | None = self.p.on_bar

    def _first_traded_stamp(self) -> float:
        """Backtrader's number of the first moment that may be traded."""
        free = datetime.min if self.training_end is None else _midnight_after(self.training_end)
        if self.p.allow_in_sample:
            free = datetime.min
        wanted = _as_datetime(self.p.trade_from) if self.p.trade_from else free
        if wanted < free:
            raise InSampleError(
                f"trade_from {wanted:%Y-%m-%d} lies in the policies' training span, which ends {self.training_end}: "
                f"trade from {free:%Y-%m-%d} on, or pass allow_in_sample=True and call the result in-sample"
            )
        return 0.0 if wanted == datetime.min else float(bt.date2num(wanted))

    def _keeper(self, policies: Policies) -> StateKeeper | None:
        if self.p.state is None:
            return None
        if self.p.state_every != int(self.p.state_every) or self.p.state_every < 1:
            raise ConfigError(f"state_every must be a whole number of bars from 1 on, not {self.p.state_every!r}")
        fit = fit_of(self.config, self.symbols, self.pair_names, policies, self.p.kalman_params, self._trade_from)
        return StateKeeper(self, self.p.state, int(self.p.state_every), fit)

    def start(self) -> None:
        if self.keeper is not None:
            self.keeper.start()

    def prenext(self) -> None:
        self.next()  # a feed that has not begun yet must not keep the others waiting

    def next(self) -> None:
        delivered = self._target_orders.delivered()
        closes = [feed.close[0] if has_bar else math.nan for feed, has_bar in zip(self.datas, delivered, strict=True)]
        sent = self.keeper.recall(closes) if self.keeper is not None else None
        if self.keeper is not None and sent is not None:
            self._repeat(self.keeper, sent)
        else:
            self._decide(closes, delivered)
        self._bar_is_over()

    def _bar_is_over(self) -> None:
        self._rows += 1
        if self._on_bar is not None:
            self._on_bar()

    def _decide(self, closes: Sequence[float], delivered: Sequence[bool]) -> None:
        """A new bar: ask the brain, let the guard look at it, send the orders, keep the state."""
        decision = self.brain.decide(closes)
        trading = self._is_traded()
        if trading:
            decision = self.guard.settled(decision, delivered)
        else:
            self.guard.passed()
        self.decision = decision
        if self.recorder is not None:
            self.recorder.add(decision, self.brain)
        if trading:
            self._target_orders.send(decision.target)
        else:
            self._target_orders.skip()
        if self.keeper is not None:
            self.keeper.keep(closes, decision)

    def _repeat(self, keeper: StateKeeper, sent: Sequence[float]) -> None:
        """A bar that the state has seen: no opinion is asked for, and orders go to a simulated broker only."""
        if keeper.resends and self._is_traded():
            self._target_orders.send(sent)
        else:
            self._target_orders.skip()
        keeper.end_past_bar()

    def _is_traded(self) -> bool:
        if self.datetime[0] < self._trade_from:
            return False
        if self.first_traded_row is None:
            self.first_traded_row = self._rows
        return True

    def begin_at(self, row: int) -> None:
        """Count bars on from `row`: the data begins there, not where the state began."""
        self._rows = row

    def own_state(self) -> dict[str, Any]:
        """What this shell remembers beside the brain, for `restore_own`."""
        ruined = self._target_orders.ruined
        return {"first_traded_row": self.first_traded_row, "ruined": ruined, "guard": self.guard.state()}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Go back to what `own_state` gave."""
        self.first_traded_row, self._target_orders.ruined = state["first_traded_row"], state["ruined"]
        self.guard.restore(state["guard"])

    def clear(self) -> None:
        """Forget the notices of this bar, which Backtrader would keep to the end of the run and never look at."""
        self._orderspending: list[Any] = []
        self._tradespending: list[Any] = []

    def stop(self) -> None:
        if self.keeper is not None:
            self.keeper.stop()
        if self.decision is None:
            return
        if self.first_traded_row is None and self.p.trade_from:
            raise BarsError(
                f"trade_from {_as_datetime(self.p.trade_from):%Y-%m-%d} lies behind the last of {self._rows} bars, "
                f"{self.datetime.date(0)}: give later bars or an earlier trade_from"
            )
        if self.first_traded_row is None:
            raise InSampleError(
                f"all {self._rows} bars lie in the policies' training span, which ends {self.training_end}: "
                "give later bars, or pass allow_in_sample=True and call the result in-sample"
            )
        if not any(self.decision.view.warm):
            warnings.warn(
                f"HybridStrategy: {self._rows} bars are fewer than the {WARMUP_BARS + 1} that the features need; "
                "nothing was traded",
                stacklevel=1,
            )


def _names(pairs: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for name in pairs.split(",") if name.strip()) if isinstance(pairs, str) else tuple(pairs)


def _feed_names(feeds: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(feed._name or f"data{i}" for i, feed in enumerate(feeds))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"two feeds are named {name!r}; give each its own: cerebro.adddata(feed, name=...)")
    return names


def _config(params: Any) -> Config:
    overrides: dict[str, dict[str, Any]] = {key: dict(values) for key, values in _mapping(params.overrides).items()}
    for section, flag in (("kalman", params.use_kalman), ("sac", params.use_sac), ("gate", params.use_ppo_lstm)):
        if flag is not None:
            overrides.setdefault(section, {})["enabled"] = bool(flag)
    if isinstance(params.config, Config):
        return overridden(params.config, overrides)
    return load_config(params.mode, params.config, overrides)


def _mapping(overrides: Mapping[str, Mapping[str, Any]] | None) -> Mapping[str, Mapping[str, Any]]:
    return overrides or {}


def _as_datetime(moment: date | datetime) -> datetime:
    return moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)


def _midnight_after(day: date) -> datetime:
    return _as_datetime(day) + timedelta(days=1)
