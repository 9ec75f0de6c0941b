"""The look-ahead audit: whatever was known at a bar must not move when later bars are cut off or altered.

trace         what a run left behind, bar by bar, and where two runs part
replays       one run against many futures and in other run modes; what was found, as table and JSON
cerebros      a trace out of any Backtrader strategy, in every feed class and run mode
watch         brain and risk manager under watch: recursions, features, LSTM state, decisions, documents
stack         this package's own stack, with Backtrader and without it
user          anybody's strategy

`check_leg` and `check_feature`, here, are the audit of a leg or a feature alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.brain.hybrid import checked_wishes
from hybrid_bt.brain.legs.base import Leg, View
from hybrid_bt.brain.observing import Feature, Observation, Observer
from hybrid_bt.brain.reader import MarketReader
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import LegMaker
from hybrid_bt.config.own_parts import registered
from hybrid_bt.equations.bundles import layout_of, net_into
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.errors import ConfigError, HybridError, LegError

SYMBOLS, PAIRS = ("AA", "BB", "CC", "DD"), [(0, 1), (2, 0)]
AFTER = 100  #: bars behind the warm-up
MISSING = 0.05  #: share of bars that a symbol does not have
Numbers: TypeAlias = Callable[[FloatArray], FloatArray]  #: of closes, (T, N) or (T, 1)
MOST_CONSTANTS = 32  #: different numbers that a feature may begin with or be made of; more are a table
CUTS = (1, AFTER // 2, AFTER - 1)  #: bars behind the warm-up from which the future is altered


def check_leg(maker: str | LegMaker, config: Config | None = None, seed: int = 0) -> None:
    """Drive a leg over random prices with gaps and a late listing, and refuse it where it breaks its contract.

    Wishes for symbols that are there, with finite amounts, on every bar, also on one without any prices; two legs of
    one maker answer alike and do not share memory; nothing before a bar changes when prices from that bar on do.

    Parameters
    ----------
    maker : str or callable
        Name of a registered leg, which has its default `Params`, or what `legs={"sac": maker}` takes: (symbols, pairs
        as columns (y, x), config) -> leg.
    config : Config, optional
        The stable mode's by default.

    Raises
    ------
    LegError
        The first promise that is broken, and on which bar. What the leg itself raises is not caught.
    """
    config = config or load_config("stable")
    maker = registered(maker) if isinstance(maker, str) else maker
    of, again = partial(_answers, maker, config), partial(_answers, maker, config, beside=True)
    words = "leg: the answer", "let nothing random or shared decide", "views"
    _check_causal(words, of, again, _closes(seed), LegError)


def check_feature(feature: Feature, *, of_market: bool = False, seed: int = 0) -> None:
    """Drive a feature of one's own over random bars with gaps and a late listing, and refuse it where it is not causal.

    Two runs are alike; it reads nothing but its arguments and constants; nothing before a bar moves when prices from
    that bar on do, and something behind it does.

    Parameters
    ----------
    of_market : bool
        Whether it reads all symbols, as in `Observation.market`.

    Raises
    ------
    ConfigError
        What is wrong, with the first number that moves. What the feature itself raises is not caught.
    BarsError
        If it is not finite where it is ready.
    """
    who, closes = f"feature {feature}: the value", _closes(seed)
    closes = closes[~np.isnan(closes).all(axis=1)]  # a bar is somebody's
    of, words = partial(_values, feature, of_market), (who, "keep what it remembers in its state", "bars")
    reads = _check_causal(words, of, of, closes, ConfigError)
    for name, value in (("its start", feature.start), *_beside(feature.step, set())):
        is_plain = value is None or isinstance(value, ModuleType | int | float | str | np.number) or callable(value)
        is_state = name == "its start" or isinstance(value, tuple)
        if not is_plain and not (is_state and len({*map(repr, _flat(value))}) <= MOST_CONSTANTS):
            raise ConfigError(
                f"feature {feature} reads {name}, a {type(value).__name__}, which is none of its bars, and nobody can "
                f"tell what it was made of; keep what it remembers in its state, and {MOST_CONSTANTS} numbers at most "
                "in constants"
            )
    if not reads:
        raise ConfigError(f"{who} is the same whatever the prices: what else it was made of is not audited")


def _beside(step: Any, met: set[int]) -> Iterator[tuple[str, object]]:  # noqa: ANN401  whatever can be called
    """What a function reads that is no argument: names around it, defaults, parts of a partial or of its object, and
    what functions of the same module read that it calls.
    """
    step = getattr(step, "py_func", step)  # numba's
    if isinstance(step, partial):
        yield from (("an argument of a partial", one) for one in (*step.args, *step.keywords.values()))
        yield from _beside(step.func, met)
        return
    if not inspect.isfunction(step):
        yield from getattr(getattr(step, "__self__", step), "__dict__", {}).items()
        step = getattr(step, "__func__", type(step).__call__)
    if not inspect.isfunction(step) or id(step) in met:
        return
    met.add(id(step))
    around, defaults = inspect.getclosurevars(step), (*(step.__defaults__ or ()), *(step.__kwdefaults__ or {}).values())
    named = {**around.nonlocals, **around.globals}
    for module in [one for one in named.values() if isinstance(one, ModuleType)]:
        named |= {name: getattr(module, name) for name in around.unbound if hasattr(module, name)}
    for name, value in (*named.items(), *(("a default", one) for one in defaults)):
        yield name, value
        if getattr(value, "__module__", None) == step.__module__ and callable(value) and not inspect.isclass(value):
            yield from _beside(value, met)


def _flat(value: Any) -> Iterator[object]:  # noqa: ANN401  a state
    """Its numbers, those of an empty one none."""
    if isinstance(value, dict | tuple | list) or np.ndim(value):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _flat(one)
    else:
        yield value


def _check_causal(
    words: tuple[str, str, str], of: Numbers, again: Numbers, closes: FloatArray, kind: type[HybridError]
) -> bool:
    """Refuse numbers of closes that differ from run to run, or move when later closes do; whether any follows these.

    `words` are whose numbers they are, what to do against the former, and what may be read.
    """
    (who, remedy, earlier), whole, reads = words, of(closes), False
    _check_alike(who, f"differs from run to run: {remedy}", whole, again(closes), kind)
    for cut in CUTS:
        row, altered = WARMUP_BARS + cut, closes.copy()
        altered[row:] = 3.0 * altered[row:] ** 1.3
        seen = of(altered)
        why = f"depends on prices from bar {row} on: read this and earlier {earlier} only"
        _check_alike(who, why, whole[:row], seen[:row], kind)
        reads = reads or not np.array_equal(whole[row:], seen[row:])
    return reads


def _values(feature: Feature, of_market: bool, closes: FloatArray) -> FloatArray:
    """(T, N) or (T, 1) values of bars around closes; NaN where it is not ready."""
    seen = Observer(Observation((), (feature,)) if of_market else Observation((feature,)), SYMBOLS)
    found, before = [], closes[0]
    for close in closes:
        opened = np.where(np.isnan(before), close, np.sqrt(before * close))
        panel = np.stack([opened, 1.01 * np.fmax(opened, close), 0.99 * np.fmin(opened, close), close, 1e4 / close])
        is_ready, before = seen.read(panel), close
        found.append(seen.values() if is_ready else [np.nan] * (1 if of_market else len(SYMBOLS)))
    return np.array(found)


def _closes(seed: int) -> FloatArray:
    """(T, N) walks with gaps; the last symbol begins late, and one bar has nobody."""
    rng = np.random.default_rng(seed)
    shape = (WARMUP_BARS + AFTER, len(SYMBOLS))
    closes: FloatArray = 50.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.01, shape), axis=0))
    closes[rng.random(shape) < MISSING] = np.nan
    closes[:30, -1] = np.nan
    closes[WARMUP_BARS + AFTER // 4] = np.nan
    closes[0, :-1] = 50.0
    return closes


def _made(maker: LegMaker, config: Config) -> tuple[MarketReader, Any]:
    reader = MarketReader(len(SYMBOLS), PAIRS, [config.kalman_params] * len(PAIRS), config.spread_params)
    return reader, maker(SYMBOLS, list(PAIRS), config)


def _answers(maker: LegMaker, config: Config, closes: FloatArray, *, beside: bool = False) -> FloatArray:
    """(T, N) checked targets; `beside` another leg of the same maker that sees other prices between them."""
    (reader, leg), (other_reader, other) = _made(maker, config), _made(maker, config)
    found = []
    for t, row in enumerate(closes.tolist()):
        if beside:
            _targets(other, other_reader.read([1.0 + 1.0 / close for close in row]), t)
        found.append(_targets(leg, reader.read(row), t))
    return np.array(found)


def _targets(leg: Leg, view: View, t: int) -> list[float]:
    try:
        wishes, targets = checked_wishes(leg.wishes(view), len(SYMBOLS)), [0.0] * len(SYMBOLS)
        net_into(targets, [side for wish in wishes for side in wish.amounts], layout_of([[w.columns for w in wishes]]))
        return targets
    except LegError as error:
        raise LegError(f"leg: bar {t}: {error}") from None


def _check_alike(who: str, why: str, one: FloatArray, other: FloatArray, kind: type[HybridError]) -> None:
    moved = np.argwhere((one != other) & ~(np.isnan(one) & np.isnan(other)))
    if moved.size:
        at = tuple(moved[0])
        raise kind(f"{who} on bar {at[0]} {why} ({float(one[at])!r}, then {float(other[at])!r})")
