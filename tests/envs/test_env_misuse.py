"""Every environment there is, misused: gymnasium's registry, lanes, and all that Stable-Baselines3 can step."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from hypothesis import given
from hypothesis import strategies as st
from small_specs import GATE, SAC

import hybrid_bt.envs as envs
from hybrid_bt.config import load_config
from hybrid_bt.envs import SAMPLE, ActionError, Episode, Lanes, LaneVectorEnv, Span, Task, Track, TradingEnv, history_of
from hybrid_bt.equations.env_step import BARRED, LAST, ROW
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds import load_bars
from hybrid_bt.train.bandits import GroupVecEnv, RegimeVecEnv
from hybrid_bt.train.ground import ground_of, regime_ground_of
from hybrid_bt.train.vec_envs import AlikeVecEnv, LaneVecEnv

NAMES = sorted(name for name in gym.registry if name.startswith("hybrid_bt/"))
BARS = load_bars("us20", symbols=SAMPLE).between("2000-01-01", "2003-12-31")
HISTORY = history_of(BARS, (), load_config("stable"))
N_STEPS = 4  # of an episode


@cache
def pattern(name: str) -> TradingEnv:
    env = gym.make(name, bars=BARS, pairs=["KO:PEP"], disable_env_checker=True).unwrapped
    assert isinstance(env, TradingEnv)
    return env


def made(name: str, compiled: bool) -> TradingEnv:
    like = pattern(name)
    return TradingEnv(like.kind, like.tracks, like.task, episode_bars=N_STEPS, compiled=compiled)


def by_name(name: str, compiled: bool) -> gym.Env[Any, Any]:
    return gym.make(name, bars=BARS, compiled=compiled, episode_bars=N_STEPS)


class Stepped:
    """One face for all: `begin`, `step`, and what an action looks like."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.ends = tuple(getattr(env, "ends", (-1.0, 1.0)))

    @property
    def shape(self) -> tuple[int, ...]:
        if isinstance(self.env, Lanes):
            return tuple(self.env.shape)
        own = tuple(self.env.action_space.shape)
        return (self.env.num_envs, *own) if isinstance(self.env, AlikeVecEnv) else own

    def begin(self) -> None:
        if isinstance(self.env, Lanes):
            for lane in range(self.env.n_lanes):
                first = self.env._spans[0].first
                self.env.begin(lane, Episode(0, first + lane, first + lane + N_STEPS))
        elif isinstance(self.env, AlikeVecEnv):
            self.env.seed(5)
            self.env.reset()
        else:
            self.env.reset(seed=5)

    def step(self, action: Any) -> list[Any]:
        """Arrays and numbers of an outcome, without infos."""
        return [np.array(part) for part in self.env.step(action) if not isinstance(part, dict | list)]

    def inside(self, seed: int) -> Any:
        return np.random.default_rng(seed).uniform(*self.ends, self.shape).astype(np.float32)


def every() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name in NAMES:
        for compiled in (False, True):
            how = f"{name} {'compiled' if compiled else 'interpreted'}"
            yield how, lambda name=name, compiled=compiled: made(name, compiled)
            yield f"{how} by name", lambda name=name, compiled=compiled: by_name(name, compiled)
            yield f"{how} lanes", lambda name=name, compiled=compiled: made(name, compiled).lanes(3)
            yield (
                f"{how} gymnasium's vector",
                lambda name=name, compiled=compiled: LaneVectorEnv(made(name, compiled), 3),
            )
            yield f"{how} vector", lambda name=name, compiled=compiled: LaneVecEnv(made(name, compiled), 3)
    yield "groups", lambda: GroupVecEnv([ground_of(HISTORY)], SAC)
    yield "windows", lambda: RegimeVecEnv([regime_ground_of(HISTORY)], GATE)


EVERY = dict(every())
ALL = pytest.mark.parametrize("how", EVERY)


def test_nothing_that_can_be_stepped_is_left_out() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    tried = {type(getattr(make(), "unwrapped", None) or make()) for make in EVERY.values()}
    mine = {kind for kind in below(AlikeVecEnv) if not kind.__name__.startswith(("_", "Alike"))}
    assert NAMES and {TradingEnv, Lanes, LaneVectorEnv} | mine <= tried


def bad_actions(shape: tuple[int, ...], ends: tuple[float, float]) -> dict[str, Any]:
    whole, n = np.zeros(shape, np.float32), shape[-1]
    one_bad = {
        f"one {value}": np.where(np.arange(whole.size).reshape(shape) == whole.size - 1, np.float32(value), whole)
        for value in (math.nan, math.inf, -math.inf)
    }
    return one_bad | {
        "none": None,
        "a number": 0.5,
        "numpy's number": np.float32(0.5),
        "a text": "0" * n,
        "texts": np.full(shape, "0.5"),
        "nones": np.full(shape, None),
        "objects": whole.astype(object),
        "complex": whole.astype(complex),
        "truths": whole.astype(bool),
        "dates": whole.astype("M8[D]"),
        "too many": np.zeros((*shape[:-1], n + 1), np.float32),
        "one axis more": whole[None],
        "one axis less": whole.reshape(-1)[0],
        "empty": [],
        "a dict": {},
        "a generator": (0.0 for _ in range(n)),
        "ragged": [[0.1], [0.2, 0.3]],
        "too large for float32": np.full(shape, 1e300),
        "too large for a float": [10**400] * n,
    }


@ALL
def test_a_bad_action_is_one_error_and_moves_nothing(how: str) -> None:
    env, straight = Stepped(EVERY[how]()), Stepped(EVERY[how]())
    env.begin()
    straight.begin()
    for seed, (what, action) in enumerate(bad_actions(env.shape, env.ends).items()):
        with pytest.raises(ActionError, match=r"action: finite numbers of shape \(.*\) from .* to .*, not ") as caught:
            env.step(action)
        assert isinstance(caught.value, ConfigError) and isinstance(caught.value, InvalidAction), what
        if seed < N_STEPS - 1:
            for mine, theirs in zip(env.step(env.inside(seed)), straight.step(env.inside(seed)), strict=True):
                assert np.array_equal(mine, theirs), what


@ALL
def test_good_actions_of_other_types_and_layouts_are_the_same_action(how: str) -> None:
    outcomes = []
    for form in (
        lambda a: a,
        lambda a: a.tolist(),
        lambda a: a.astype(np.float64),
        lambda a: np.stack([a, a], axis=-1)[..., 0],
        np.asfortranarray,
        lambda a: a.astype(">f4"),
        lambda a: np.frombuffer(a.tobytes(), np.float32).reshape(a.shape),  # may not be written
    ):
        env = Stepped(EVERY[how]())
        env.begin()
        outcomes.append([part for seed in range(3) for part in env.step(form(env.inside(seed)))])
    for other in outcomes[1:]:
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(outcomes[0], other, strict=True))


@ALL
def test_an_action_outside_the_range_is_its_nearer_end(how: str) -> None:
    outside, inside = Stepped(EVERY[how]()), Stepped(EVERY[how]())
    outside.begin()
    inside.begin()
    for end, value in zip(inside.ends, (-1e38, 1.01), strict=True):
        given = np.full(inside.shape, value, np.float32), np.full(inside.shape, end, np.float32)
        for mine, theirs in zip(outside.step(given[0]), inside.step(given[1]), strict=True):
            assert np.array_equal(mine, theirs)


@ALL
def test_it_begins_before_it_is_stepped(how: str) -> None:
    env = Stepped(EVERY[how]())
    for other in (env.env, copy.deepcopy(env.env), pickle.loads(pickle.dumps(env.env))):
        with pytest.raises(ResetNeeded):
            Stepped(other).step(env.inside(0))
    env.begin()
    env.step(env.inside(0))


@pytest.mark.parametrize("how", [how for how in EVERY if "vector" not in how and "/" in how])
def test_behind_the_end_there_is_nothing(how: str) -> None:
    env = Stepped(EVERY[how]())
    env.begin()
    for seed in range(N_STEPS):
        env.step(env.inside(seed))
    for other in (env.env, copy.deepcopy(env.env), pickle.loads(pickle.dumps(env.env))):
        for _ in range(3):
            with pytest.raises(ResetNeeded):
                Stepped(other).step(env.inside(0))
        if isinstance(other, Lanes):  # nor by the bare kernel
            state, seen = other.state(), np.zeros(other.n_seen, np.float32)
            assert other.one(env.inside(0)[0], seen)[1] == BARRED and not seen.any()
            assert all(np.array_equal(mine, now) for mine, now in zip(state, other.state(), strict=True))


@ALL
def test_copies_and_pickles_go_on_to_the_same_bits_and_leave_the_first_alone(how: str) -> None:
    env = Stepped(EVERY[how]())
    env.begin()
    env.step(env.inside(0))
    copies = [Stepped(copy.deepcopy(env.env)), Stepped(pickle.loads(pickle.dumps(env.env)))]
    copies.append(Stepped(pickle.loads(pickle.dumps(copies[0].env))))
    steps = [env.inside(seed) for seed in (1, 2, 3)]
    theirs = [[part for action in steps for part in other.step(action)] for other in copies]
    mine = [part for action in steps for part in env.step(action)]  # last: it stands where it stood
    for other in theirs:
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [False, True])
def test_no_episode_leaves_its_span(name: str, compiled: bool) -> None:
    env = made(name, compiled)
    lanes, (first, last) = env.lanes(2), env.tracks[0].span
    for lane, bad in (
        *((lane, Episode(0, first, last)) for lane in (-1, 2, 10**9)),
        *((0, Episode(track, first, last)) for track in (-1, len(env.tracks))),
        *((0, Episode(0, *rows)) for rows in ((first - 1, last), (-5, last), (first, last + 1), (last, last))),
        (0, Episode(0, first + 5, first + 4)),
    ):
        with pytest.raises(ConfigError, match=r"lanes and . tracks are counted from 0, and a step or more lies"):
            lanes.begin(lane, bad)
    assert lanes.waiting == {0, 1} and not any(part.any() for part in lanes.state())
    lanes.begin(0, Episode(0, first, last))
    for column, value in ((ROW, 10**9), (LAST, 10**9), (ROW, -1)):
        state = lanes.state()
        state[2][0, column] = value
        with pytest.raises(ConfigError, match="state is of others"):
            lanes.restore(state)
    with pytest.raises(ConfigError, match="state is of others"):
        lanes.restore(env.lanes(3).state())


@given(st.integers(-5, 12), st.integers(-5, 12))
def test_a_span_lies_within_its_track(first: int, last: int) -> None:
    rows = 8
    known = np.zeros((rows, 0), np.float32), np.full((rows, 1), 0.01), np.zeros(rows)
    prices = np.full((rows, 1), 10.0)
    track = Track(("A",), *known, prices, prices, np.arange(rows), Span(first, last))
    if 0 <= first < last < rows - 1:
        env = TradingEnv(envs.PORTFOLIO, [track], episode_bars=None)
        env.reset(seed=0)
        for step in range(last - first):
            assert env.step(np.zeros(1, np.float32))[3] == (step == last - first - 1)
    else:
        with pytest.raises(ConfigError, match="does not fit 8 rows; rewards look one row behind it"):
            TradingEnv(envs.PORTFOLIO, [track])


@pytest.mark.parametrize("part", ["features", "volatility", "correlation", "opens", "closes", "waits", "sides", "said"])
@pytest.mark.parametrize("name", ["Regime", "Portfolio"])
def test_parts_of_a_track_that_are_too_short_or_narrow_are_refused(name: str, part: str) -> None:
    track = pattern(f"hybrid_bt/{name}-v0").tracks[0]
    given = getattr(track, part)
    if name == "Portfolio" and part in ("waits", "sides", "said"):
        given = np.zeros(track.closes.shape, np.int64) if part == "sides" else None
    if given is None:
        return
    for cut in ((given[0][:-1],), (given[0][:, :-1],)) if part == "waits" else (given[:-1], given[..., :-1]):
        if part == "features" and len(cut) == len(given):
            continue  # as many as there are
        with pytest.raises(ConfigError, match=r"environment: parts of .* are not of one shape"):
            TradingEnv(envs.SPECS[name], [track._replace(**{part: cut})])


def test_what_float32_loses_on_the_way_to_the_range_is_no_error() -> None:
    """SB3 answers low + (a + 1) / 2 (high - low) in float32, which may lie a bit above `high`."""
    rng, beyond, tracks = np.random.default_rng(0), 0, pattern("hybrid_bt/Asset-v0").tracks
    for low, high in rng.uniform(-3.0, 3.0, (300, 2)).astype(np.float32):
        if low >= high:
            continue
        top = np.array([low + np.float32(1.0) * (high - low)], np.float32)
        beyond += bool(top[0] > high)
        env = TradingEnv(envs.ASSET, tracks, Task(low=float(low), high=float(high)), compiled=False)
        env.reset(seed=0)
        env.step(top)
        mine = env.account
        env.reset(seed=0)
        env.step(np.array([high], np.float32))
        assert mine == env.account
        if beyond > 3:
            break
    assert beyond > 3
