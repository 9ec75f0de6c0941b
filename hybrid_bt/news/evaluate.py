"""Does the risk manager help? The same bars and opinions under other advice, with intervals.

What legs and gate said is asked for once; every variant settles it anew under its own advice and trades it on the
accounting twin. `placebo` gives the same advice on shuffled days: a manager that only holds less money in the market
does as well there. `delayed` gives it a bar late. Differences to `off` are drawn on the same bars (`evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.bars import Bars
from hybrid_bt.config import Config
from hybrid_bt.evidence.bootstrap import Interval, bootstrap
from hybrid_bt.hybrid import Hybrid, Opinion
from hybrid_bt.metrics import measures
from hybrid_bt.news.cache import Recorded
from hybrid_bt.news.manager import NEUTRAL_RISK, Advice
from hybrid_bt.news.stage import RiskStage
from hybrid_bt.target_replay import replay

__all__ = ["OFF", "Comparison", "Effect", "advice_of", "compare", "flip_rate", "shuffled"]

FloatArray = NDArray[np.float64]
OFF = "off"
FEWEST_BARS = 40  #: of a side of the cut-off; fewer say nothing
TAIL = 0.05  #: of the bars, for CVaR
MEASURES = ("sharpe", "cvar", "max_drawdown", "cagr", "volatility")


class Effect(NamedTuple):
    """One measure of one variant."""

    variant: str
    span: str
    measure: str
    value: Interval
    less_off: Interval


class Comparison(NamedTuple):
    """All effects, and of how many placebos the advice as given has the better Sharpe ratio."""

    effects: list[Effect]
    better_than_placebos: float
    multipliers: dict[str, float]  #: variant -> mean m


def compare(
    brain: Hybrid,
    opinions: Sequence[Opinion],
    advice: Mapping[str, Sequence[Advice]],
    traded: Bars,
    config: Config,
    *,
    given: str,
    n_placebos: int = 20,
    seed: int = 0,
    cutoff: np.datetime64 | None = None,
) -> Comparison:
    """Trade every variant and compare it with none.

    Parameters
    ----------
    opinions : T, of the traded bars
    advice : variant -> T
        `given` is the one that is delayed and shuffled.
    cutoff : datetime64, optional
        Knowledge cut-off of the model: effects before and after it are told apart.
    """
    advice = {**advice, "delayed": _delayed(advice[given])}
    rng = np.random.default_rng(seed)
    placebos = {f"placebo {i}": shuffled(advice[given], rng) for i in range(n_placebos)}
    paths = {OFF: _equity(brain, opinions, None, traded, config)[0]}
    multipliers = {}
    for name, one in {**advice, **placebos}.items():
        paths[name], multipliers[name] = _equity(brain, opinions, one, traded, config)
    returns = {name: np.diff(path) / path[:-1] for name, path in paths.items()}
    told = [OFF, *advice, *list(placebos)[:1]]
    effects = []
    for span, rows in _spans(traded.stamps[1:], cutoff).items():
        effects += _effects({name: returns[name][rows] for name in told}, span, traded, seed)
    sharpe = measures(traded.bars_per_year, 1.0)["sharpe"]
    ratios = {name: float(sharpe(values[:, None])[0]) for name, values in returns.items()}
    beaten = [ratios[given] > ratios[name] for name in placebos]
    means = {name: value for name, value in multipliers.items() if name in told}
    return Comparison(effects, float(np.mean(beaten)) if beaten else float("nan"), means)


def shuffled(advice: Sequence[Advice], rng: np.random.Generator) -> list[Advice]:
    """The same advice on other days, in one order for all."""
    return [advice[i] for i in rng.permutation(len(advice))]


def _delayed(advice: Sequence[Advice]) -> list[Advice]:
    n = len(advice[0].risk) if advice else 0
    return [Advice([NEUTRAL_RISK] * n, [0.0] * n), *advice[:-1]]


def _equity(
    brain: Hybrid, opinions: Sequence[Opinion], advice: Sequence[Advice] | None, traded: Bars, config: Config
) -> tuple[FloatArray, float]:
    """Equity (T,) and the mean multiplier of a variant."""
    held: list[float] | None = None
    wanted, factors = [], []
    for row, opinion in enumerate(opinions):
        decision = brain.settle(opinion, None if advice is None else advice[row], held)
        held = decision.target
        waits = decision.waits or [False] * len(held)
        wanted.append([np.nan if wait else target for wait, target in zip(waits, held, strict=True)])
        factors.append(1.0 if decision.managed is None else float(np.mean(decision.managed.multipliers)))
    cash, costs, rules = config.account.cash, config.trading_costs(), config.order_rules()
    return replay(np.array(wanted), traded, cash=cash, costs=costs, rules=rules).equity, float(np.mean(factors))


def _spans(stamps: NDArray[np.datetime64], cutoff: np.datetime64 | None) -> dict[str, Any]:
    whole: dict[str, Any] = {"whole span": np.ones(len(stamps), dtype=np.bool_)}
    if cutoff is None:
        return whole
    parts = {"before cut-off": stamps < cutoff, "after cut-off": stamps >= cutoff}
    return whole | {name: rows for name, rows in parts.items() if rows.sum() >= FEWEST_BARS}


def _effects(returns: dict[str, FloatArray], span: str, traded: Bars, seed: int) -> list[Effect]:
    years = len(next(iter(returns.values()))) / traded.bars_per_year
    asked = {**measures(traded.bars_per_year, years), "cvar": _cvar}
    draws = bootstrap(returns, {name: asked[name] for name in MEASURES}, seed=seed)
    return [
        Effect(name, span, measure, draws.interval(measure, name), draws.difference(measure, name, OFF))
        for name in returns
        for measure in MEASURES
    ]


def _cvar(returns: FloatArray) -> FloatArray:
    """Mean of the worst bars' returns."""
    worst = max(int(TAIL * len(returns)), 1)
    found: FloatArray = np.partition(returns, worst - 1, axis=0)[:worst].mean(axis=0)
    return found


def flip_rate(recorded: Sequence[Recorded]) -> float:
    """Share of symbols in questions asked more than once whose calls fall on both sides of neutral; NaN without any."""
    flips = asked = 0
    for one in recorded:
        if len(one.calls) < 2:
            continue
        for name in one.calls[0].symbols:
            sides = {call.symbols[name].risk > NEUTRAL_RISK for call in one.calls if name in call.symbols}
            asked += 1
            flips += len(sides) > 1
    return flips / asked if asked else float("nan")


def advice_of(stage: RiskStage, traded: Bars) -> list[Advice]:
    """What a fresh stage says on every traded bar."""
    return [stage.advise(stamp) for stamp in traded.stamps.astype("datetime64[us]").tolist()]
