"""The hybrid as a Backtrader strategy: rows of closes in, a session, orders out."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import partial
from operator import attrgetter

from hybrid_bt.bars.market import names_of
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.session import Session
from hybrid_bt.config.build import Policies, training_end
from hybrid_bt.config.own_parts import own_config, own_history, own_legs, own_policies, setup_of
from hybrid_bt.equations.advice import Advice
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds.framework import Framework, bt
from hybrid_bt.strategies import honesty, seated
from hybrid_bt.strategies.admission import admit
from hybrid_bt.strategies.broker_state import goes_on, is_lasting, open_journal, read_account, read_prices
from hybrid_bt.strategies.observers import thoughts_of
from hybrid_bt.strategies.orders import TargetOrders
from hybrid_bt.strategies.rows import LateRows, rows_ahead, take_own_feeds, traded_feeds, warn_of_company


class HybridStrategy(bt.Strategy):
    """Kalman pairs and a frozen SAC policy, mixed by a frozen regime gate, traded on every feed of a Cerebro.

    >>> cerebro = bt.Cerebro()
    >>> cerebro.addstrategy(HybridStrategy, mode="stable", pairs=["KO:PEP"])
    0

    Decisions are made at the close of a bar and fill at the next open of their feed. A feed is traded only on bars that
    it delivers, and so is the other side of a pair that is open with it. Costs are those of the broker: give it a
    `SpreadFeeCommission`, or keep your own scheme. `cerebro.plot()` shows r, weights, z and targets as observers.

    Parameters: what is traded, with what (from `policies` on), when (from `trade_from` on), how (from `record` on).

    Parameters
    ----------
    mode : str
        `stable` or `aggressive`.
    pairs : sequence of str, or str with commas
        `Y:X` by feed name; without pairs the Kalman leg is idle. `"auto"` takes those that were most alike on the
        bars before the first traded one, once (`hybrid_bt.brain.pair_selection`).
    symbols : sequence of str, or str with commas, optional
        Names of the feeds that are traded, in this order; all by default.
    config : str, Path or Config, optional
        A TOML file that overrides the mode, or a whole configuration that replaces it.
    overrides : mapping, optional
        `{section: {key: value}}` on top, for example `{"risk": {"volatility_target": 0.08}}`.
    use_kalman, use_sac, use_ppo_lstm : bool, optional
        Switch a part off; None keeps the mode's choice.
    policies : Policies, optional
        Loaded policies instead of the configuration's files.
    sac, gate : path, FrozenPolicy or callable, optional
        One of the two instead: a file, a loaded policy, or a function of observations (`own_parts.CallablePolicy`).
    legs : mapping, optional
        Legs of your own in the place of `sac` or `kalman`: `{"sac": MyLeg}` (`hybrid_bt.config.own_parts`), or an agent
        that learned in an environment: `{"sac": model}` (`hybrid_bt.strategies.Agent`).
    kalman_params : sequence of KalmanParams, optional
        Fitted noise variances, one per pair.
    news : object with `advise(moment) -> Advice`, optional
        What documents say at a close (`hybrid_bt.news.desk.RiskStage`), asked on every traded bar.
    trade_from : datetime or date, optional
        First bar that is traded; earlier ones warm the recursions up. By default the first bar after the policies'
        training span (with `allow_in_sample` the first bar of all). With a broker that is not Backtrader's simulated
        one, no bar is traded while a feed is not LIVE either.
    allow_in_sample : bool
        Trade bars that the policies were trained on.
    allow_cheating : bool
        Trade although cheat-on-open or cheat-on-close is on; `self.cheats` names it.
    history : (T0, N) array, optional
        Closes before the feeds' first bar, oldest first, NaN where a symbol has none; the recursions alone read them.
    record : bool
        Keep every decision in `self.recorder`.
    state : str or Path, optional
        File that the run is kept in. If it exists, the run goes on from it: docs/keep-running.md.
    compiled : bool, optional
        Make the opinions of all bars ahead, under numba, where every feed is preloaded: same bits, sooner. By default
        where the work is worth loading numba; False makes each on its own bar.
    equity_share : float
        Targets are fractions of this share of the account, (0, 1]; for several strategies in one Cerebro.
    own_feeds : bool
        Trade on twins of the feeds, which other strategies neither see nor sell (`strategies.rows`); simulated broker.
    on_bar : callable, optional
        Called with no argument after each bar, for progress.

    Raises
    ------
    ConfigError
        Unknown parameter, mode, key, pair or symbol, feeds of the same name, or a cheat that was not allowed.
    InSampleError
        If `trade_from` lies in the training span, or no bar lies behind it, unless `allow_in_sample`.
    BarsError
        If no bar lies behind `trade_from`. Both before the first bar where feeds are preloaded, else at the end; beside
        other strategies the last two are warnings.
    StateError
        If the state is damaged, newer than the code, in use, or of another run or other data.

    Attributes
    ----------
    session : Session
        What decides: its `decision`, `guard`, `recorder` and `brain` are this strategy's.
    passed_over : Counter
        Bars by symbol that were not later than the last of their feed (`hybrid_bt.strategies.admission`).
    resumed_after : str
        Stamp of the last bar that was taken from the state; empty where nothing was.
    """

    counts_own_fills = True  #: another strategy's positions on the same feeds are not taken for its own

    params = (
        *(("mode", "stable"), ("pairs", ()), ("symbols", None), ("config", None), ("overrides", None)),
        *(("use_kalman", None), ("use_sac", None), ("use_ppo_lstm", None)),
        *(("policies", None), ("sac", None), ("gate", None), ("legs", None), ("kalman_params", None), ("news", None)),
        *(("trade_from", None), ("allow_in_sample", False), ("allow_cheating", False), ("history", None)),
        *(("record", False), ("state", None), ("compiled", None), ("equity_share", 1.0), ("own_feeds", False)),
        ("on_bar", None),
    )

    def __init__(self, **unknown: object) -> None:
        honesty.refuse_unknown(self, unknown)
        self._twins = take_own_feeds(self) if self.p.own_feeds else {}
        if self.p.news is not None and not hasattr(self.p.news, "advise"):
            raise ConfigError(f"HybridStrategy: news is {self.p.news!r}; give an object with advise(moment)")
        self.cheats = honesty.refuse_cheating(self, self.p.allow_cheating)
        self.symbols, self.feeds = traded_feeds(self.datas, self.p.symbols)
        self.passed_over = admit(self, self.symbols, self.feeds)
        self.symbol_of = dict(zip(self.feeds, self.symbols, strict=True))
        switches = {"kalman": self.p.use_kalman, "sac": self.p.use_sac, "gate": self.p.use_ppo_lstm}
        self.config = own_config(self.p.mode, self.p.config, self.p.overrides, switches)
        legs = own_legs(self.config, seated(self.p.legs))
        own = {"sac": self.p.sac, "gate": self.p.gate}
        self.policies: Policies = own_policies(self.config, self.p.policies, own, legs)
        self.training_end = training_end(self.policies, legs)
        self.trade_from = honesty.first_traded_stamp(self.training_end, self.p.trade_from, self.p.allow_in_sample)
        if self.p.history is not None and (self.p.pairs == "auto" or self.p.state is not None):
            raise ConfigError("history: pairs='auto' and state need every bar as a bar of the feeds; leave history out")
        setup = setup_of(
            self.config, self.symbols, names_of(self.p.pairs), self.policies, legs, self.p.kalman_params
        )._replace(trade_from=self.trade_from, moment=self.moment)
        self.session = Session(
            setup,
            compiled=self.p.compiled,
            bars_ahead=partial(rows_ahead, self.cerebro, self.feeds),
            history=own_history(self.p.history, len(self.symbols)),
            record=self.p.record,
        )
        self.guard = self.session.guard
        limit = f", risk.asset_limit {self.config.risk.asset_limit:g} of equity"
        self.target_orders = TargetOrders(self, self.config.order_rules, self.feeds, self.p.equity_share, limit)
        self._underway = self.target_orders.underway
        self.n_bars, self.resumed_after = 0, ""  #: bars that are over
        self.resends = False  #: whether targets of the state's bars go to the broker again
        self._late_rows = late if (late := LateRows(self.feeds)).are_needed else None
        self._closes = [feed.lines.close for feed in self.feeds]  # found once: a feed's `__getattr__` costs more
        self._lengths = [0] * len(self.feeds)
        self._moments = self.lines.datetime  # found once: `self.datetime` is looked for on every use
        self._on_bar: Callable[[], None] | None = self.p.on_bar
        self._thoughts = thoughts_of(self)

    decision = property(attrgetter("session.decision"), doc="The last one; its target is what was sent.")
    recorder = property(attrgetter("session.recorder"), doc="All decisions, where they are recorded.")
    pair_names = property(attrgetter("session.pairs"), doc="The pairs that are traded.")
    first_traded_row = property(attrgetter("session.first_traded_row"), doc="Number of the first bar traded.")
    clipped_observations = property(
        lambda self: self.session.decider.clipped(), doc="Observation values that each policy had to clip so far."
    )

    @property
    def brain(self) -> Hybrid:
        """What decides, as it stands after the last bar; asking for it ends the making of opinions ahead."""
        return self.session.decider.brain

    @brain.setter
    def brain(self, brain: Hybrid) -> None:
        self.session.decider.brain = brain

    def moment(self, stamp: float) -> datetime:
        """Date and time of Backtrader's number, as the feeds have them."""
        return bt.num2date(stamp, self._moments._tz)  # type: ignore[no-any-return]

    def getdatabyname(self, name: str) -> Framework:
        feed = super().getdatabyname(name)
        return self._twins.get(feed, feed)

    def start(self) -> None:
        warn_of_company(self, self.symbols, self.feeds)
        told = honesty.will_not_trade(self, self.feeds, self.trade_from, self.training_end)
        self._underway.is_told = told
        if self.p.state is not None:
            self.session.journal = open_journal(self)

    def prenext(self) -> None:
        self.next()  # a feed that has not begun yet must not keep the others waiting

    def next(self) -> None:
        before, self._lengths = self._lengths, [close.lencount for close in self._closes]
        if self._late_rows is not None:
            rows, is_complete = self._late_rows.rows()
            for number, closes in enumerate(rows, 1):
                self._bar(closes, may_trade=is_complete and number == len(rows))
        elif self._lengths != before:  # else a bar of a feed that is not traded
            came = zip(self._closes, self._lengths, before, strict=True)
            self._bar([close[0] if now > old else math.nan for close, now, old in came], may_trade=True)
        if self._thoughts is not None:
            self._thoughts.see()

    def _bar(self, closes: list[float], may_trade: bool) -> None:
        session, orders, stamp = self.session, self.target_orders, self._moments[0]
        journal, sent = session.journal, None
        if journal is None or not goes_on(self, journal, stamp, closes):
            trades = stamp >= self.trade_from and (self._underway.is_simulated or self._underway.are_live())
            advice = self.advise(stamp) if trades and self.p.news is not None else None
            sent = session.bar(stamp, closes, orders.books if may_trade and trades else None, advice)
            if sent is not None:
                orders.send(sent, session.together)
            if journal is not None:
                session.keep(read_account(self), read_prices(self, closes), lasting=is_lasting(self))
        if sent is None and may_trade:
            orders.skip()
        self.n_bars = session.n_bars
        if self._on_bar is not None:
            self._on_bar()

    def advise(self, stamp: float) -> Advice:
        """What documents say at a close; only where somebody reads them."""
        return self.p.news.advise(self.moment(stamp))  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Forget the notices of this bar, which Backtrader would keep to the end of the run and never look at."""
        self._orderspending: list[Framework] = []
        self._tradespending: list[Framework] = []

    def stop(self) -> None:
        if self.session.journal is not None:
            if self.n_bars:
                self.session.journal.end(self._moments[0])
            self.session.journal.close()
        self._underway.end()
        if self._thoughts is not None:
            self._thoughts.show()
        if self.first_traded_row is not None and self.decision is not None:
            honesty.warn_of_cold(self, self.decision.view.warm)
        elif self.decision is not None and not self._underway.is_told:
            last = self.datetime.date(0)
            honesty.refuse(self, honesty.nothing_traded(self.p.trade_from, self.n_bars, self.training_end, last))
