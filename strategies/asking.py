"""What strategies that ask a trained agent have in common: feeds, from when on, what the agent remembers, honesty."""

from __future__ import annotations

import inspect
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config.build import learned_until
from hybrid_bt.errors import BarsError, ConfigError, HybridError, PolicyError
from hybrid_bt.feeds.framework import bt
from hybrid_bt.strategies import honesty
from hybrid_bt.strategies.admission import admit
from hybrid_bt.strategies.rows import LateRows, bar_number, traded_feeds
from hybrid_bt.strategies.underway import Underway


class Asked:
    """An agent, asked bar after bar, with what it remembers.

    Parameters
    ----------
    agent : object with `predict`, or callable
        `predict(observation, state, episode_start, deterministic)` as Stable-Baselines3 has it, of which the two in
        the middle may be missing where nothing is remembered; or a function of the observation.
    owner : str
        Whose errors they are.
    """

    def __init__(self, agent: Any, owner: str) -> None:  # noqa: ANN401  of any library
        self._predict, self._agent, self._owner = getattr(agent, "predict", None), agent, owner
        if not callable(agent if self._predict is None else self._predict):
            raise ConfigError(f"{owner}: agent is {agent!r}; give a model with predict, or a function of what it sees")
        names = inspect.signature(self._predict).parameters if self._predict is not None else {}
        takes_any = "state" not in names and any(one.kind is one.VAR_KEYWORD for one in names.values())
        remembers = takes_any or {"episode_start", "state"} <= set(names)
        self._memory: dict[str, Any] = {"state": None, "episode_start": np.array([True])} if remembers else {}

    def act(self, observation: NDArray[np.float32], n_actions: int) -> NDArray[np.float64]:
        """Its answer, (n_actions,).

        Raises
        ------
        PolicyError
            If it is not so many finite numbers, or the agent remembers and takes no `state` back.
        """
        predict: Any = self._predict or (lambda seen, **_: (self._agent(seen), None))
        answer, memory, *_ = predict(observation, **self._memory, deterministic=True)
        if self._memory:
            self._memory = {"state": memory, "episode_start": np.array([False])}
        elif memory is not None:
            raise PolicyError(
                f"{self._owner}: the agent remembers, but its predict takes no state; give it the parameters of "
                "Stable-Baselines3, predict(observation, state, episode_start, deterministic)"
            )
        actions = np.asarray(answer).reshape(-1)
        if len(actions) != n_actions or actions.dtype.kind not in "fiu" or not np.isfinite(actions).all():
            raise PolicyError(
                f"{self._owner}: the agent answered {actions!r} to {n_actions} actions; one finite number each"
            )
        return actions


class AskingStrategy(bt.Strategy):
    """Asks `agent` on every bar on which there is something to see; what it sees and trades is the subclass's.

    Parameters
    ----------
    agent : object with `predict`, or callable
        As Stable-Baselines3 has it, or a function of the observation. What a recurrent agent remembers is carried
        from bar to bar, the first of which begins its episode.
    symbols : sequence of str, optional
        Feeds that the agent trades, in the order of its training; all by default.
    trained_until, trade_from, allow_in_sample
        Trading begins on the first bar after the training, or later; a frozen policy says itself when that ended.
    allow_cheating : bool
        Trade although cheat-on-open or cheat-on-close is on.
    """

    counts_own_fills = True
    needs = "give bars behind the training"  #: where the agent was never asked

    params: tuple[tuple[str, object], ...] = (
        *(("agent", None), ("symbols", None), ("trained_until", None), ("trade_from", None)),
        *(("allow_in_sample", False), ("allow_cheating", False)),
    )

    def __init__(self, **unknown: object) -> None:
        honesty.refuse_unknown(self, unknown)
        stated = self.p.trained_until
        self.trained_until = learned_until(self.p.agent) if stated is None else stated
        self.cheats = honesty.refuse_cheating(self, self.p.allow_cheating)
        self.symbols, self.feeds = self._ordered(*traded_feeds(self.datas, self.p.symbols))
        self.passed_over = admit(self, self.symbols, self.feeds)
        self.state: NDArray[np.float32] | None = None  #: that the agent saw last
        self._trade_from = honesty.first_traded_stamp(self.trained_until, self.p.trade_from, self.p.allow_in_sample)
        self.underway, self._rows = self._under_way(), LateRows(self.feeds, bar_number)
        self._n_rows, self._n_left_out = 0, 0  # that may be traded, and those of them on which nothing can be seen
        self._lacking: Counter[str] = Counter()  # rows left out by symbol

    def _ordered(self, symbols: tuple[str, ...], feeds: list[Any]) -> tuple[tuple[str, ...], list[Any]]:
        """In which order the agent knows them."""
        return symbols, feeds

    def _under_way(self) -> Underway:
        return Underway(self, self.feeds)

    def _reads(self, closes: Sequence[float]) -> bool:
        """Take in a row of closes, (N,) with NaN where a feed has no bar; whether the agent can be asked."""
        return False

    def _trade(self, closes: Sequence[float]) -> None:
        """Ask, and send orders."""

    def _prices(self, *fields: str) -> list[list[float]]:
        """Of the row that is read: of each field (N,), NaN where a feed has no bar."""
        at = [(feed, bar) for feed, bar in zip(self.feeds, self._row, strict=True)]
        return [
            [math.nan if bar != bar else getattr(feed, name)[int(bar) - len(feed)] for feed, bar in at]
            for name in fields
        ]

    def _pass(self) -> None:
        """A bar on which nothing is sent."""

    def start(self) -> None:
        self.underway.is_told = honesty.will_not_trade(self, self.feeds, self._trade_from, self.trained_until)

    def prenext(self) -> None:
        self.next()  # bars before a symbol is listed are counted too

    def next(self) -> None:
        may_trade = self.datetime[0] >= self._trade_from
        may_trade = may_trade and (self.underway.is_simulated or self.underway.are_live())
        rows, is_complete = self._rows.rows()
        for number, self._row in enumerate(rows, 1):
            (closes,) = self._prices("close")
            is_ready = self._reads(closes)
            self._n_rows += may_trade
            if not is_ready:
                lacking = [symbol for symbol, close in zip(self.symbols, closes, strict=True) if math.isnan(close)]
                self._n_left_out += may_trade and bool(lacking)
                self._lacking.update(lacking if may_trade else ())
            if is_ready and may_trade and is_complete and number == len(rows):
                self._trade(closes)
            else:
                self._pass()

    def stop(self) -> None:
        self.underway.end()
        lacking = "".join(f", {symbol} has none on {count}" for symbol, count in self._lacking.most_common(3))
        owner = type(self).__name__
        if lacking and self.state is not None:
            warnings.warn(
                f"{owner}: {self._n_left_out} of {self._n_rows} bars are left out{lacking}: the agent knows no day "
                "without all its symbols; leave such a symbol out (symbols), or trade from its listing on",
                stacklevel=1,
            )
        if self.state is not None or not len(self) or self.underway.is_told:
            return
        error: HybridError = BarsError(
            f"{owner}: the agent was asked on none of {len(self)} bars{lacking}; {self.needs}"
        )
        if self.datetime[0] < self._trade_from:
            error = honesty.nothing_traded(self.p.trade_from, len(self), self.trained_until, self.datetime.date(0))
        honesty.refuse(self, error)
