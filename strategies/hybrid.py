"""The hybrid as a Backtrader strategy: a shell that feeds the brain and carries out its answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import backtrader as bt

from hybrid_bt.build import Policies, build, load_policies, taking_part, training_end
from hybrid_bt.config import Config, load_config, overridden
from hybrid_bt.errors import BarsError, ConfigError, InSampleError, did_you_mean
from hybrid_bt.features import WARMUP_BARS
from hybrid_bt.hybrid import Decision, Hybrid
from hybrid_bt.recording import Recorder
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.thinking import Thinking

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
    on_bar : callable, optional
        Called with no argument after each bar, for progress.
    compiled : bool, optional
        Make the opinions of all bars ahead, under numba, where every feed is preloaded: same bits, sooner. By default
        where the work is worth loading numba; False makes each on its own bar.

    Raises
    ------
    ConfigError
        Unknown parameter, mode, key or pair, or feeds of the same name.
    InSampleError
        If `trade_from` lies in the training span, or no bar lies behind it, unless `allow_in_sample`.
    BarsError
        If no bar lies behind `trade_from`.
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
        ("on_bar", None),
        ("compiled", None),
    )

    def __init__(self, **unknown: Any) -> None:
        if unknown:
            name = next(iter(unknown))
            raise ConfigError(f"HybridStrategy: no parameter {name!r}{did_you_mean(name, self.p._getkeys())}")
        self.symbols = _feed_names(self.datas)
        self.pair_names = _names(self.p.pairs)
        self.config = _config(self.p)
        policies: Policies = taking_part(self.p.policies or load_policies(self.config), self.config)
        self._thinking = Thinking(
            self,
            partial(build, self.config, self.symbols, self.pair_names, policies, self.p.kalman_params),
            self.p.compiled,
        )
        self.training_end = training_end(policies)
        self.recorder = Recorder(len(self.symbols), self.pair_names) if self.p.record else None
        self.first_traded_row: int | None = None
        self.decision: Decision | None = None
        self._target_orders = TargetOrders(self, self.config.order_rules())
        self._trade_from = self._first_traded_stamp()
        self._rows = 0
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

    @property
    def brain(self) -> Hybrid:
        """What decides, as it stands after the last bar. Whoever asks for it may change it, so from then on every
        opinion is made on its own bar; before that they may have been made ahead (`hybrid_bt.ahead`)."""
        return self._thinking.brain

    @brain.setter
    def brain(self, brain: Hybrid) -> None:
        self._thinking.brain = brain

    @property
    def clipped_observations(self) -> dict[str, int]:
        """Observation values that each policy had to clip so far."""
        return self._thinking.clipped()

    def prenext(self) -> None:
        self.next()  # a feed that has not begun yet must not keep the others waiting

    def next(self) -> None:
        self.decision = decision = self._thinking.decide(self._target_orders.delivered())
        if self.recorder is not None:
            self.recorder.append(decision, self._thinking.pair_rows(decision))
        if self.datetime[0] >= self._trade_from:
            if self.first_traded_row is None:
                self.first_traded_row = self._rows
            self._target_orders.send(decision.target)
        else:
            self._target_orders.skip()
        self._rows += 1
        if self._on_bar is not None:
            self._on_bar()

    def clear(self) -> None:
        """Forget the notices of this bar, which Backtrader would keep to the end of the run and never look at."""
        self._orderspending: list[Any] = []
        self._tradespending: list[Any] = []

    def stop(self) -> None:
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
