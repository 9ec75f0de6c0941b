"""The hybrid as a Backtrader strategy: a shell that feeds the brain and carries out its answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars.market import names_of
from hybrid_bt.brain.hybrid import Decision, Hybrid
from hybrid_bt.brain.recording import Recorder
from hybrid_bt.config import Config, load_config, overridden
from hybrid_bt.config.build import Policies, build, training_end
from hybrid_bt.config.own_parts import own_legs, own_policies
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.guard_limits import GuardFacts
from hybrid_bt.equations.waiting import withheld
from hybrid_bt.errors import BarsError, ConfigError, InSampleError, did_you_mean
from hybrid_bt.feeds.framework import bt
from hybrid_bt.strategies.account_guard import AccountGuard
from hybrid_bt.strategies.found_pairs import FoundPairs
from hybrid_bt.strategies.gathering import Gathering
from hybrid_bt.strategies.honesty import as_datetime, first_traded_stamp, refuse_cheating
from hybrid_bt.strategies.keeper import StateKeeper
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.own_feeds import give_room, take_own_feeds, warn_of_company
from hybrid_bt.strategies.thinking import Thinking


class HybridStrategy(bt.Strategy):
    """Kalman pairs and a frozen SAC policy, mixed by a frozen regime gate, traded on every feed of a Cerebro.

    >>> cerebro = bt.Cerebro()
    >>> cerebro.addstrategy(HybridStrategy, mode="stable", pairs=["KO:PEP"])
    0

    Decisions are made at the close of a bar and fill at the next open of their feed. A feed that begins later, ends
    early or misses bars is traded only on bars that it delivers, and so is the other side of a pair that is open with
    it. Costs are those of the broker: give it a `SpreadFeeCommission`, or keep your own scheme.

    Parameters
    ----------
    mode : str
        `stable` or `aggressive`.
    pairs : sequence of str, or str with commas
        `Y:X` by feed name; without pairs the Kalman leg is idle. `"auto"` looks for cointegrated pairs on the bars
        before the first traded one, once; see `hybrid_bt.brain.pair_selection`.
    symbols : sequence of str, or str with commas, optional
        Names of the feeds that are traded, in this order; all by default. Name them where a feed is only looked at by
        others, such as a resampled one.
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
    sac, gate : path, FrozenPolicy or callable, optional
        One of the two instead: a file, a loaded policy, or a function of observations
        (`hybrid_bt.config.own_parts.CallablePolicy`).
    legs : mapping, optional
        Legs of your own in the place of `sac` or `kalman`: `{"sac": MyLeg}`, see `hybrid_bt.config.own_parts`.
    kalman_params : sequence of KalmanParams, optional
        Fitted noise variances, one per pair.
    allow_cheating : bool
        Trade although cheat-on-open or cheat-on-close is on; `self.cheats` names it.
    equity_share : float
        Targets are fractions of this share of the account, (0, 1]; for several strategies in one Cerebro.
    own_feeds : bool
        Trade on twins of the feeds, so that strategies beside this one neither see nor sell what it holds
        (`hybrid_bt.strategies.own_feeds`). Backtrader's simulated broker only.
    history : (T0, N) array, optional
        Closes before the feeds' first bar, oldest first, NaN where a symbol has none. The recursions read them as they
        would read bars, sooner than Backtrader delivers any; nothing of them is traded, recorded or counted.
    news : object with `advise(moment) -> Advice`, optional
        What documents say at a close (`hybrid_bt.news.stage.RiskStage`), asked on every traded bar.
    record : bool
        Keep every decision in `self.recorder`.
    state : str or Path, optional
        File that the whole state is kept in. If it exists, the run goes on from it: see `hybrid_bt.strategies.keeper`
        and docs/keep-running.md.
    on_bar : callable, optional
        Called with no argument after each bar, for progress.
    compiled : bool, optional
        Make the opinions of all bars ahead, under numba, where every feed is preloaded: same bits, sooner. By default
        where the work is worth loading numba; False makes each on its own bar.

    Raises
    ------
    ConfigError
        Unknown parameter, mode, key, pair or symbol, feeds of the same name, or a cheat that was not allowed.
    InSampleError
        If `trade_from` lies in the training span, or no bar lies behind it, unless `allow_in_sample`.
    BarsError
        If no bar lies behind `trade_from`.
    StateError
        If the state is damaged, newer than the code, in use, or of another run or other data.

    Attributes
    ----------
    decision : Decision or None
        The last one; `target` is what was sent, after the guard.
    guard : AccountGuard
        Its `triggers` and `failures`.
    keeper : StateKeeper or None
    """

    counts_own_fills = True  #: another strategy's positions on the same feeds are not taken for its own

    params = (
        ("mode", "stable"),
        ("pairs", ()),
        ("symbols", None),
        ("config", None),
        ("overrides", None),
        ("use_kalman", None),
        ("use_sac", None),
        ("use_ppo_lstm", None),
        ("trade_from", None),
        ("allow_in_sample", False),
        ("policies", None),
        ("sac", None),
        ("gate", None),
        ("legs", None),
        ("kalman_params", None),
        ("allow_cheating", False),
        ("equity_share", 1.0),
        ("own_feeds", False),
        ("history", None),
        ("news", None),
        ("record", False),
        ("state", None),
        ("on_bar", None),
        ("compiled", None),
    )

    def __init__(self, **unknown: Any) -> None:
        if unknown:
            name = next(iter(unknown))
            raise ConfigError(f"HybridStrategy: no parameter {name!r}{did_you_mean(name, self.p._getkeys())}")
        self._twins = take_own_feeds(self) if self.p.own_feeds else {}
        self.cheats = refuse_cheating(self, self.p.allow_cheating)
        self.symbols, self.feeds = traded_feeds(self.datas, self.p.symbols)
        self.config = _config(self.p)
        legs = own_legs(self.config, self.p.legs)
        policies: Policies = own_policies(self.config, self.p.policies, self.p.sac, self.p.gate, legs)
        self._finding = FoundPairs() if self.p.pairs == "auto" else None
        self.pair_names = () if self._finding else names_of(self.p.pairs)
        self._build = partial(build, symbols=self.symbols, policies=policies, legs=legs)
        self._thinking = Thinking(
            self,
            partial(self._build, self.config, pairs=self.pair_names, kalman_params=self.p.kalman_params),
            False if self._finding else self.p.compiled,
            self._history(),
        )
        self.training_end = training_end(policies)
        self.guard = AccountGuard(self, self._thinking, self.config)
        self.recorder = self._new_recorder() if self.p.record else None
        self.first_traded_row: int | None = None
        self.decision: Decision | None = None
        self._clock = self.lines.datetime  # found once: `self.datetime` is looked for on every use
        self._last = [0.0] * len(self.symbols)  # targets of the last traded bar, for what documents advise
        self.target_orders = TargetOrders(self, self.config.order_rules, self.feeds, _share(self.p.equity_share))
        self.trade_from = first_traded_stamp(self.training_end, self.p.trade_from, self.p.allow_in_sample)
        self._gathering = Gathering(self.feeds)
        self.n_bars = 0  #: that are over
        #: numbers of the bars before trading, where they are to say how many a year has
        self._early: list[float] | None = [] if self.config.auto_rate else None
        self.keeper = None if self.p.state is None else StateKeeper(self, self.p.state, policies)
        self._on_bar: Callable[[], None] | None = self.p.on_bar

    def qbuffer(self, savemem: int = 0, replaying: bool = False) -> None:
        for feed in self.datas if savemem > 0 else ():
            give_room(feed)
        super().qbuffer(savemem, replaying)

    def _new_recorder(self) -> Recorder:
        return Recorder(len(self.symbols), self.pair_names, tuple(self.config.legs_enabled()))

    def _history(self) -> NDArray[np.float64]:
        if self.p.history is None:
            return np.empty((0, len(self.symbols)))
        if self._finding is not None or self.p.state is not None:
            raise ConfigError("history: pairs='auto' and state need every bar as a bar of the feeds; leave history out")
        closes = np.asarray(self.p.history, dtype=np.float64)
        if closes.ndim != 2 or closes.shape[1] != len(self.symbols):
            raise ConfigError(f"history must be closes of shape (T0, {len(self.symbols)}), not {closes.shape}")
        if (closes <= 0.0).any() or np.isinf(closes).any():
            raise ConfigError("history: closes must be finite and above 0; NaN where a symbol has no bar")
        return closes

    def getdatabyname(self, name: str) -> Any:
        feed = super().getdatabyname(name)
        return self._twins.get(feed, feed)

    def start(self) -> None:
        warn_of_company(self, self.symbols, self.feeds)
        if self.keeper is not None:
            self.keeper.start()

    @property
    def brain(self) -> Hybrid:
        """What decides, as it stands after the last bar.

        Whoever asks for it may change it, so from then on every opinion is made on its own bar; before that they may
        have been made ahead (`hybrid_bt.brain.opinions`).
        """
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
        rows, is_complete = self._gathering.rows()
        for number, closes in enumerate(rows, 1):
            if self.keeper is None or not self.keeper.recall(closes):
                self._new_bar(closes, may_trade=is_complete and number == len(rows))
            self._bar_is_over()

    def _new_bar(self, closes: list[float], may_trade: bool) -> None:
        """Decide, send the orders, keep the state."""
        stamp = self._clock[0]
        trades = stamp >= self.trade_from
        advice = self.advise(stamp) if trades else None
        look = partial(self.guard.look, self.target_orders) if trades and may_trade else None
        seen, sent = self.decide(stamp, closes, advice, look)
        self.carry_out(stamp, sent)
        if self.keeper is not None:
            self.keeper.keep(closes, advice, seen, sent)

    def decide(
        self,
        stamp: float,
        closes: Sequence[float],
        advice: Advice | None,
        look: Callable[[bool], GuardFacts | None] | None,
    ) -> tuple[GuardFacts | None, Sequence[float] | None]:
        """Ask brain and guard at the close of a bar, of this one or, going on from a state, of one that is past.

        Parameters
        ----------
        stamp : float
            Backtrader's number.
        look : callable, optional
            As `AccountGuard.settled` takes it; None on a bar on which nothing is to be sent.

        Returns
        -------
        What the guard saw of the account, and the targets to be sent, (N,).
        """
        if self.n_bars == 0:
            self.guard.passed(stamp, self._thinking.remember())
        if self._early is not None:
            self._count_bar(stamp)
        if self._finding is not None:
            self._find_pairs(self._finding, stamp, closes)
        decision, seen, sent = self._thinking.decide(stamp, closes, advice, self._last), None, None
        if look is None:
            self.guard.passed(stamp, decision.failures)
        else:
            decision, seen = self.guard.settled(stamp, decision, look)
            sent = withheld(decision.target, decision.waits)
            if self.first_traded_row is None:
                self.first_traded_row = self.n_bars
            if advice is not None:
                self._last = [old if new != new else new for old, new in zip(self._last, decision.target, strict=True)]
        self.decision = decision
        if self.recorder is not None:
            self.recorder.append(decision)
        return seen, sent

    def carry_out(self, stamp: float, sent: Sequence[float] | None, *, send: bool = True) -> None:
        """Send targets; without `send`, or before the first bar traded, let the bar pass."""
        if sent is not None and send:
            self.target_orders.send(sent)
        elif sent is not None or stamp < self.trade_from:
            self.target_orders.skip()

    def _bar_is_over(self) -> None:
        self.n_bars += 1
        if self._on_bar is not None:
            self._on_bar()

    def advise(self, stamp: float) -> Advice | None:
        """What documents say at a close, where anybody reads them."""
        return None if self.p.news is None else self.p.news.advise(self.moment(stamp))

    def moment(self, stamp: float) -> datetime:
        """Date and time of Backtrader's number, as the feeds have them."""
        return bt.num2date(stamp, self._clock._tz)  # type: ignore[no-any-return]

    def _find_pairs(self, finding: FoundPairs, stamp: float, closes: Sequence[float]) -> None:
        """Keep the bars before the trading start; there, find the pairs and bring a brain with them up to date."""
        if stamp < self.trade_from:
            finding.keep(self.moment(stamp), closes)
            return
        self.pair_names = finding.names(self.symbols)
        self.brain = self._build(self.config, pairs=self.pair_names, kalman_params=self.p.kalman_params)
        self.recorder = self._new_recorder() if self.p.record else None
        for row in finding.closes:
            decision = self.brain.decide(row)
            if self.recorder is not None:
                self.recorder.append(decision)
        self._finding = None

    def _count_bar(self, stamp: float) -> None:
        """Settle the bars per year on the first bar traded; no earlier than a pair can open."""
        early: list[float] = self._early or []
        if stamp >= self.trade_from and len(early) >= WARMUP_BARS // 2:
            stamps = np.array([bt.num2date(number) for number in early], dtype="M8[s]")
            self.config = self.config.for_stamps(stamps)
            self._thinking.take_rate(self.config.risk.bars_per_year)
            self._early = None
        else:
            early.append(stamp)
            self._early = early

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
                f"trade_from {as_datetime(self.p.trade_from):%Y-%m-%d} lies behind the last of {self.n_bars} bars, "
                f"{self.datetime.date(0)}: give later bars or an earlier trade_from"
            )
        if self.first_traded_row is None:
            raise InSampleError(
                f"all {self.n_bars} bars lie in the policies' training span, which ends {self.training_end}: "
                "give later bars, or pass allow_in_sample=True and call the result in-sample"
            )
        if not any(self.decision.view.warm):
            warnings.warn(
                f"HybridStrategy: {self.n_bars} bars are fewer than the {WARMUP_BARS + 1} that the features need; "
                "nothing was traded",
                stacklevel=1,
            )


def _share(share: float) -> float:
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"equity_share must lie above 0 and at most at 1, not {share!r}")
    return float(share)


def traded_feeds(feeds: Sequence[Any], wanted: str | Sequence[str] | None) -> tuple[tuple[str, ...], list[Any]]:
    """Names and feeds to trade; a feed without a name is `data` and its number."""
    names = tuple(f"data{i}" if feed._name in (None, "") else str(feed._name) for i, feed in enumerate(feeds))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"two feeds are named {name!r}; give each its own: cerebro.adddata(feed, name=...)")
    symbols = names if wanted is None else names_of(wanted)
    if not symbols:
        raise ConfigError("symbols is empty; name the feeds to trade, or leave it out for all")
    for i, symbol in enumerate(symbols):
        if symbol not in names or symbol in symbols[:i]:
            rule = "comes twice" if symbol in names else f"is not a feed{did_you_mean(symbol, names)}"
            raise ConfigError(f"symbols: {symbol!r} {rule}")
    return symbols, [feeds[names.index(symbol)] for symbol in symbols]


def _config(params: Any) -> Config:
    overrides: dict[str, dict[str, Any]] = {key: dict(values) for key, values in (params.overrides or {}).items()}
    for section, flag in (("kalman", params.use_kalman), ("sac", params.use_sac), ("gate", params.use_ppo_lstm)):
        if flag is not None:
            overrides.setdefault(section, {})["enabled"] = bool(flag)
    if isinstance(params.config, Config):
        return overridden(params.config, overrides)
    return load_config(params.mode, params.config, overrides)
