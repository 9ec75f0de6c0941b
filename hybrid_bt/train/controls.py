"""Controls: what a learner must be able to do, and what it must not.

Three trainings of the SAC leg on the first two thirds of the training span, judged on its last third, net of costs:

- `tomorrow`: features hold the coming returns. The agent must win by far, or the learner does not learn.
- `shuffled`: each asset's returns in random order under its own features. Nothing can be known, so the agent must not
  beat buying and holding, or something leaks.
- `noise`: a feature holds random numbers. The agent must not beat buying and holding by it.

Accounts of different size are compared by their returns in units of their own volatility: z is the mean of the
difference over its standard error, with bars as the sample. It looks at nothing behind the training span.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.config import Config
from hybrid_bt.envs import Span, Track
from hybrid_bt.equations.book import Capital
from hybrid_bt.equations.features import CLIP
from hybrid_bt.train.spec import SacSpec, asset_env, played
from hybrid_bt.train.validation import Model

FloatArray = NDArray[np.float64]

LEARNED = 2 / 3  #: of each track's span
WINS_FROM, LUCK_UP_TO = 10.0, 3.0  #: z
LEAST_VOLATILITY = 1e-6  #: per bar
RUIN = 1e-9  #: stands for an equity that has no logarithm
SHUFFLE_SEED = 20_100  #: of the controls' own numbers; has nothing to do with the model's


class Control(NamedTuple):
    """One control's outcome."""

    name: str
    seed: int
    agent_sharpe: float  #: per year, on the judged third
    held_sharpe: float  #: of buying and holding the same assets
    z: float
    passed: bool


def run_controls(
    tracks: Sequence[Track], config: Config, spec: SacSpec, *, steps: int, seeds: Sequence[int]
) -> list[Control]:
    """All controls, a row for each seed.

    Parameters
    ----------
    tracks : sequence of Track
        Of the training span.
    steps : int
        Environment steps of each training.
    """
    return [_control(name, tracks, config, spec, steps, seed) for name in CONTROLS for seed in seeds]


def tomorrow(track: Track, rng: np.random.Generator) -> Track:
    """Two log returns in units of volatility, in place of two features.

    The one from the next open to the one after, which an order of this close earns, and the one to the next close,
    which the position earns until then: without it the reward of an order, which comes a bar later, is not foreseeable
    from the state it comes in, and no learner by temporal differences can tell what earned it.
    """
    orders, held = np.zeros(len(track.days)), np.append(_log_returns(track), 0.0)
    orders[:-2] = np.diff(np.log(track.opens[1:, 0]))
    unit = np.maximum(track.volatility[:, 0], LEAST_VOLATILITY)
    return _with_feature(_with_feature(track, orders / unit, 0), held / unit, 1)


def shuffled(track: Track, rng: np.random.Generator) -> Track:
    """The same returns in another order, under the old features; fills at the close, as there is no open to go with."""
    moves = rng.permutation(_log_returns(track))
    closes = np.exp(np.append(0.0, np.cumsum(moves)) + math.log(track.closes[0, 0]))[:, None]
    return track._replace(opens=closes, closes=closes)


def noise(track: Track, rng: np.random.Generator) -> Track:
    """Standard normal numbers in place of a feature."""
    return _with_feature(track, rng.standard_normal(len(track.days)), 0)


#: control -> how it alters a track, and whether the agent must win
CONTROLS: dict[str, tuple[Callable[[Track, np.random.Generator], Track], bool]] = {
    "tomorrow": (tomorrow, True),
    "shuffled": (shuffled, False),
    "noise": (noise, False),
}


def _control(name: str, tracks: Sequence[Track], config: Config, spec: SacSpec, steps: int, seed: int) -> Control:
    from hybrid_bt.train.models import new_sac

    alter, must_win = CONTROLS[name]
    rng = np.random.default_rng(SHUFFLE_SEED)
    altered = [alter(track, rng) for track in tracks]
    middles = [track.span.first + int(LEARNED * (track.span.last - track.span.first)) for track in altered]
    learned = [track._replace(span=Span(track.span.first, row)) for track, row in zip(altered, middles, strict=True)]
    model = new_sac(asset_env(learned, config, spec), spec, steps=steps, seed=seed).learn(steps)
    judged = [track._replace(span=Span(row + 1, track.span.last)) for track, row in zip(altered, middles, strict=True)]
    pairs = [_returns(model, track, config, spec) for track in judged]
    days = [track.days[track.span.first + 1 : track.span.last + 1] for track in judged]
    agent, held = (_mean_by_day(days, [pair[k] for pair in pairs]) for k in range(2))
    z = _z(agent, held)
    yearly = math.sqrt(config.risk.bars_per_year)
    passed = z > WINS_FROM if must_win else z < LUCK_UP_TO
    return Control(name, seed, yearly * _ratio(agent), yearly * _ratio(held), z, passed)


def _returns(model: Model, track: Track, config: Config, spec: SacSpec) -> tuple[FloatArray, FloatArray]:
    """Net log returns of the agent, at the mode's true costs, and of holding the asset, over the whole span."""
    env = asset_env([track], config, spec._replace(cost_multiple=1.0, episode_bars=None))
    steps = played(env, lambda seen: model.predict(seen, deterministic=True)[0])
    equity = [Capital().cash, *(max(env.account.equity, RUIN) for _ in steps)]
    held = _log_returns(track)[track.span.first : track.span.last]
    moves = np.diff(np.log(equity))
    return np.append(moves, np.zeros(len(held) - len(moves))), held


def _mean_by_day(days: list[NDArray[Any]], returns: list[FloatArray]) -> FloatArray:
    """Equal parts of all assets that have a bar on a day."""
    calendar, where = np.unique(np.concatenate(days), return_inverse=True)
    sums = np.bincount(where, np.concatenate(returns), len(calendar))
    return np.asarray(sums / np.bincount(where, minlength=len(calendar)))


def _ratio(returns: FloatArray) -> float:
    """Mean over standard deviation; 0 for an agent that holds nothing."""
    spread = float(returns.std(ddof=1))
    return float(returns.mean()) / spread if spread > 1e-12 else 0.0


def _z(agent: FloatArray, held: FloatArray) -> float:
    scaled = [one / spread if (spread := float(one.std(ddof=1))) > 1e-12 else one for one in (agent, held)]
    return _ratio(scaled[0] - scaled[1]) * math.sqrt(len(agent))


def _log_returns(track: Track) -> FloatArray:
    """(T - 1,), entry t from close t to close t + 1."""
    return np.asarray(np.diff(np.log(track.closes[:, 0])))


def _with_feature(track: Track, values: FloatArray, column: int) -> Track:
    features = track.features.copy()
    features[:, column] = np.clip(values, -CLIP, CLIP)
    return track._replace(features=features)
