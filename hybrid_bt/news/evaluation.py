"""Does the risk manager help? The same bars and opinions under other advice, with intervals.

What legs and gate said is asked for once; every variant settles it anew under its own advice and trades it on the
accounting twin. `placebo` gives the same advice on shuffled days: a manager that only holds less money in the market
does as well there. `delayed` gives it a bar late. Differences to `off` are drawn on the same bars (`evidence`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.advice import NEUTRAL_RISK, Advice
from hybrid_bt.backtest import Request, Task, prepare
from hybrid_bt.bars import Bars, instant
from hybrid_bt.build import build
from hybrid_bt.config import Config
from hybrid_bt.evidence.bootstrap import Interval, bootstrap
from hybrid_bt.hybrid import Hybrid
from hybrid_bt.legs.base import Opinion
from hybrid_bt.metrics import measures
from hybrid_bt.news.answers import Recorded
from hybrid_bt.news.setup import LEXICON, RiskSetup, open_desk
from hybrid_bt.news.stage import RiskStage
from hybrid_bt.target_replay import replay
from hybrid_bt.texts import csv_of_rows, end_days
from hybrid_bt.waiting import withheld

FloatArray = NDArray[np.float64]
OFF, GIVEN, DELAYED = "off", "on", "delayed"  #: variants: no advice, as it is given, a bar late
FEWEST_BARS = 40  #: of a side of the cut-off; fewer say nothing
TAIL = 0.05  #: of the bars, for CVaR
MEASURES = ("sharpe", "cvar", "max_drawdown", "cagr", "volatility")
COLUMNS = ("span", "variant", "measure", "value", "low", "high", "less_off", "less_off_low", "less_off_high")
BARS_OF_COST = 1000.0


class Questions(NamedTuple):
    """What is asked beside the comparison itself."""

    placebos: int = 20
    cutoff: np.datetime64 | None = None  #: the model's knowledge cut-off
    masked: bool = True  #: also without names and dates
    seed: int = 0


class Effect(NamedTuple):
    """One measure of one variant."""

    variant: str
    span: str
    measure: str
    value: Interval
    less_off: Interval


class Evaluation(NamedTuple):
    """What came of it."""

    title: str
    effects: list[Effect]
    said: list[str]  #: what else is to be known, in words

    @property
    def table(self) -> bytes:
        """The effects as CSV; floats read back exactly, NaN is empty."""
        rows = ((one.span, one.variant, one.measure, *one.value, *one.less_off) for one in self.effects)
        return csv_of_rows((COLUMNS, *rows)).encode()


def evaluate(request: Request, setup: RiskSetup, asked: Questions) -> Evaluation:
    """Compare the risk manager with none, with placebos, late, and masked.

    Raises
    ------
    HybridError
        If documents, scorer or verdicts cannot be used, or the library arch (extra `study`) is missing.
    """
    task = prepare(request)
    bars, config, row = request.bars, task.request.config, task.row
    traded = bars.between(bars.stamps[row], None)
    stages = {
        name: open_desk(one, config.news, bars.symbols).stage(bars.stamps, row)
        for name, one in _setups(setup, asked.masked).items()
    }
    moments = traded.stamps.astype("datetime64[us]").tolist()
    advice = {name: [stage.advise(moment) for moment in moments] for name, stage in stages.items()}
    returns = _returns(task, traded, _variants(advice, asked))
    told = [name for name in returns if not name.startswith("placebo") or name == "placebo 0"]
    spans = _spans(traded.stamps[1:], asked.cutoff)
    effects = [
        effect
        for span, rows in spans.items()
        for effect in _effects({name: returns[name][rows] for name in told}, span, traded, asked.seed)
    ]
    stage = stages[GIVEN]
    first, last = end_days(traded.stamps)
    title = (
        f"{request.mode} on {bars.name}, {first} to {last}, {stage.desk.answers.scorer} on {stage.desk.name}; "
        "differences to off, 95 % intervals"
    )
    beaten = _placebos_beaten(returns, traded)
    said = [
        f"better Sharpe ratio than {beaten:.0%} of {asked.placebos} placebos on shuffled days",
        *_doubts(stage),
        *_gap(advice),
        *_recorded(stage, traded.n_bars),
        *_short(spans, asked.cutoff),
    ]
    return Evaluation(title, effects, said)


def _setups(setup: RiskSetup, masked: bool) -> dict[str, RiskSetup]:
    """`on`, the lexicon beside another scorer, and the mask."""
    found = {GIVEN: setup}
    if setup.scorer != LEXICON:
        found[LEXICON] = setup._replace(risk=LEXICON, scorer=LEXICON)
    return found | ({"masked": setup._replace(masked=True)} if masked else {})


def _variants(advice: Mapping[str, Sequence[Advice]], asked: Questions) -> dict[str, Sequence[Advice] | None]:
    """Variant -> its advice on each bar; None leaves the risk manager out."""
    given, rng = advice[GIVEN], np.random.default_rng(asked.seed)
    n = len(given[0].risk) if given else 0
    delayed = [Advice([NEUTRAL_RISK] * n, [0.0] * n), *given[:-1]]
    placebos = {f"placebo {i}": [given[day] for day in rng.permutation(len(given))] for i in range(asked.placebos)}
    return {OFF: None, **advice, DELAYED: delayed, **placebos}


def _returns(task: Task, traded: Bars, variants: Mapping[str, Sequence[Advice] | None]) -> dict[str, FloatArray]:
    """Variant -> returns of its account, (T - 1,)."""
    request, row, _, fitted = task
    bars, config = request.bars, request.config
    brain = build(config, bars.symbols, request.pairs, request.policies, fitted)
    opinions = [brain.opine(closes) for closes in bars.close.tolist()][row:]
    paths = {name: _equity(brain, opinions, advice, traded, config) for name, advice in variants.items()}
    return {name: np.diff(path) / path[:-1] for name, path in paths.items()}


def _equity(
    brain: Hybrid, opinions: Sequence[Opinion], advice: Sequence[Advice] | None, traded: Bars, config: Config
) -> FloatArray:
    held: list[float] | None = None
    wanted = []
    for row, opinion in enumerate(opinions):
        decision = brain.settle(opinion, None if advice is None else advice[row], held)
        held = decision.target
        wanted.append(withheld(held, decision.waits))
    cash, costs, rules = config.account.cash, config.costs, config.order_rules
    return replay(np.array(wanted), traded, cash=cash, costs=costs, rules=rules).equity


def _spans(stamps: NDArray[np.datetime64], cutoff: np.datetime64 | None) -> dict[str, Any]:
    """Name -> its rows."""
    whole: dict[str, Any] = {"whole span": np.ones(len(stamps), dtype=np.bool_)}
    if cutoff is None:
        return whole
    after = stamps >= instant(cutoff)
    parts = {"before cut-off": ~after, "after cut-off": after}
    return whole | {name: rows for name, rows in parts.items() if rows.sum() >= FEWEST_BARS}


def _effects(returns: dict[str, FloatArray], span: str, traded: Bars, seed: int) -> list[Effect]:
    years = len(returns[OFF]) / traded.bars_per_year
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


def _placebos_beaten(returns: Mapping[str, FloatArray], traded: Bars) -> float:
    """Share of placebos whose Sharpe ratio is below that of the advice as given."""
    sharpe = measures(traded.bars_per_year, 1.0)["sharpe"]
    ratios = {name: float(sharpe(values[:, None])[0]) for name, values in returns.items()}
    return float(np.mean([ratios[GIVEN] > ratio for name, ratio in ratios.items() if name.startswith("placebo")]))


def _doubts(stage: RiskStage) -> list[str]:
    lines = []
    if stage.desk.is_sample:
        lines.append("The embedded documents were chosen in hindsight: nothing here is evidence.")
    if stage.counts["failures"]:
        lines.append(f"the scorer failed on {stage.counts['failures']} of {stage.counts['bars_with_documents']} bars")
    return lines


def _gap(advice: Mapping[str, Sequence[Advice]]) -> list[str]:
    if "masked" not in advice:
        return []
    pairs = zip(advice[GIVEN], advice["masked"], strict=True)
    gap = float(np.mean([abs(a - b) for one, other in pairs for a, b in zip(one.risk, other.risk, strict=True)]))
    return [f"mean change of risk under the mask (contamination gap): {gap:.4f} points"]


def _recorded(stage: RiskStage, n_bars: int) -> list[str]:
    """What single calls differed in, and what they cost."""
    recorded = stage.desk.answers.recorded()
    rate = flip_rate(recorded)
    names = ("prompt_tokens", "completion_tokens", "usd")
    read, written, usd = (math.fsum(o.usage.get(name, 0.0) for o in recorded) * BARS_OF_COST / n_bars for name in names)
    lines = [] if math.isnan(rate) else [f"verdict flip rate between calls: {rate:.1%}"]
    if any(one.usage for one in recorded):
        lines.append(f"per 1,000 bars: {read:,.0f} tokens in, {written:,.0f} out, {usd:.4f} US dollars")
    return lines


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


def _short(spans: Mapping[str, Any], cutoff: np.datetime64 | None) -> list[str]:
    missing = [side for side in ("before", "after") if cutoff is not None and f"{side} cut-off" not in spans]
    return [f"too few bars {side} the cut-off {cutoff} for a row of their own" for side in missing]
