"""Agents of the registered environments: by what algorithm, what they learn on, and how they are judged.

Several seeds are one agent, whose answer is the mean of theirs. For a portfolio that learns from several markets each
is dealt into portfolios of as many symbols, which then know neither names nor pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.metrics import Summary, summarise
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.config import Config, load_config
from hybrid_bt.envs import Episode, Span, TradingEnv, declared, ready_env
from hybrid_bt.train.spec import AgentSpec
from hybrid_bt.train.validation import Model, Score

DEALT = 2_009  #: seed of the dealing of symbols
#: an action without learning: all assets alike, an asset at its full risk, a neutral regime
HELD = {"Asset": 1.0, "Regime": 0.0}


class World(NamedTuple):
    """A market as an environment."""

    bars: Bars
    env: TradingEnv
    rows: tuple[NDArray[np.int64], ...]  #: of each track, the rows of the bars that its own are


def world_of(
    spec: AgentSpec, market: Market, start: date | None = None, teaches: NDArray[np.bool_] | None = None
) -> World | None:
    """Of all bars from a day on, or of those that are in a mask; None where no step is left.

    Raises
    ------
    BarsError
        Without a mask, if the market is not warm.
    """
    tracks, rows, envs = [], [], []
    given = {"mode": spec.mode, "episode_bars": spec.episode_bars, "start": start and str(start), **spec.terms}
    for part in _dealt(spec, market):
        envs.append(ready_env(spec.env, part.bars, pairs=part.pairs, **given))
        for track in envs[-1].tracks:
            traded = np.flatnonzero(part.bars.traded[:, part.bars.index_of(track.symbols[0])])
            own = traded if len(traded) == len(track.days) else np.arange(part.bars.n_bars)
            spans = [track.span] if teaches is None else _spans(track.span, teaches[own])
            tracks += [track._replace(span=span) for span in spans]
            rows += [own] * len(spans)
    if not tracks:
        return None
    env = TradingEnv(envs[0].kind, tracks, envs[0].task, episode_bars=spec.episode_bars)
    return World(market.bars, env, tuple(rows))


def world_taught(
    market: Market, config: Config, spec: AgentSpec, start: date | None, teaches: NDArray[np.bool_] | None
) -> TradingEnv | None:
    """What an agent learns on; parameters as `world_of`."""
    world = world_of(spec, market, start, teaches)
    return world and world.env


def _dealt(spec: AgentSpec, market: Market) -> list[Market]:
    """Portfolios of as many symbols as a spec asks for; the market as it stands where it asks for none."""
    n, symbols = spec.n_assets, market.bars.symbols
    if not n:
        return [market]
    order = np.random.default_rng(DEALT).permutation(len(symbols))
    hands = [order[k : k + n] for k in range(0, len(symbols) - n + 1, n)]
    return [Market(market.name, market.bars.select([symbols[i] for i in sorted(hand)])) for hand in hands]


def _spans(span: Span, teaches: NDArray[np.bool_]) -> list[Span]:
    """The parts of a span that teach; a reward looks one row behind its span."""
    inside = np.zeros(len(teaches) + 1, np.int64)
    inside[span.first : span.last + 2] = teaches[span.first : span.last + 2]
    edges = np.diff(inside, prepend=0)
    pieces = zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)
    return [Span(first, end - 2) for first, end in pieces if end - 2 > first]


class Ensemble:
    """Models that learned the same, each with the moments that it learned under; its answer is the mean of theirs."""

    def __init__(self, members: Sequence[tuple[Model, Any]]) -> None:
        self.members = tuple(members)

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Sequence[Any] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Sequence[Any]]:
        """As Stable-Baselines3; the state is theirs."""
        said = [
            model.predict(
                observation if scaling is None else scaling.normalize_obs(observation),
                state=None if state is None else state[k],
                episode_start=episode_start,
                deterministic=deterministic,
            )
            for k, (model, scaling) in enumerate(self.members)
        ]
        return np.mean([answer for answer, _ in said], axis=0, dtype=np.float32), [memory for _, memory in said]


class AgentValidation(NamedTuple):
    """Accounts of a world, one a track, each over its whole span from the same cash."""

    world: World
    held: float  #: action of the reference
    against: str = "sharpe_held"  #: in a reading, what the agent's Sharpe ratio is to be held against

    @classmethod
    def on(cls, market: Market, config: Config, spec: AgentSpec, after: date | None) -> AgentValidation:
        """A market, from behind a day on or from where it is warm."""
        world = world_of(spec, market, None if after is None else after + timedelta(days=1))
        assert world is not None
        return cls(world, HELD.get(spec.env, 1.0 / len(world.env.tracks[0].symbols)))

    @property
    def bars(self) -> Bars:
        """Of the whole market."""
        return self.world.bars

    def score(self, models: Sequence[Model]) -> Score:
        """Of deterministic answers."""
        return _score(self.summary(models))

    def summary(self, models: Sequence[Model]) -> Summary:
        """The same, with all measures; turnover and costs are not known."""
        return self.account(Ensemble([(model, model.get_vec_normalize_env()) for model in models]))

    def reference(self) -> Score:
        """Of an action without learning that is held throughout."""
        return _score(self.account(self))

    def predict(self, seen: NDArray[np.float32], **_: object) -> tuple[NDArray[np.float32], None]:
        """The reference's answer."""
        low, high = self.world.env.task.low, self.world.env.task.high
        shape = len(seen), *(self.world.env.action_space.shape or ())
        return np.full(shape, min(max(self.held, low), high), np.float32), None

    def reading(self, models: Sequence[Model]) -> dict[str, Any]:
        """Beside the reference."""
        found, held = self.score(models), self.reference()
        return {**found._asdict(), "sharpe_held": held.sharpe}

    def account(self, agent: Any) -> Summary:  # noqa: ANN401  whatever has `predict`
        """Of all accounts together."""
        (bars, env, rows), n = self.world, len(self.world.rows)
        lanes, spans = env.lanes(n), [track.span for track in env.tracks]
        seen = np.stack([lanes.begin(k, Episode(k, *span)) for k, span in enumerate(spans)])
        paths = np.full((n, bars.n_bars), np.nan)
        for k, (row, span) in enumerate(zip(rows, spans, strict=True)):
            paths[k, : row[span.first] + 1] = lanes.account(k).equity
        state, start, live = None, np.ones(n, np.bool_), dict(enumerate(span.first for span in spans))
        while live:
            asked, state = agent.predict(seen, state=state, episode_start=start, deterministic=True)
            seen, start = lanes.step(asked)[0].copy(), np.zeros(n, np.bool_)
            for k in live:
                live[k] += 1
                paths[k, rows[k][live[k]]] = lanes.account(k).equity
            for k in tuple(lanes.waiting):
                live.pop(k, None)
                seen[k], start[k] = lanes.begin(k, Episode(k, *spans[k])), True
        known = np.maximum.accumulate(np.where(np.isnan(paths), 0, np.arange(bars.n_bars)), axis=1)
        equity = np.take_along_axis(paths, known, 1).mean(axis=0)
        first = min(int(row[span.first]) for row, span in zip(rows, spans, strict=True))
        last = max(int(row[span.last]) for row, span in zip(rows, spans, strict=True)) + 1
        rate = env.task.unit.bars_per_year
        return summarise(equity[first:last], bars.stamps[first:last], rate, traded_notional=np.nan, costs=np.nan)


def _score(of: Summary) -> Score:
    return Score(of.pnl, of.sharpe, of.max_drawdown)


def observation_of(spec: AgentSpec, symbols: Sequence[str]) -> tuple[str, ...]:
    """Names of what an agent sees; of a portfolio that is dealt, symbols are numbers."""
    kind, _ = declared(spec.env, load_config(spec.mode), spec.terms)
    names = [str(number) for number in range(spec.n_assets)] or symbols
    return tuple(kind.observation.names(names) if kind.per_asset else map(str, sum(kind.observation, ())))
