"""Does the risk manager help? The same bars and opinions under other advice, with intervals.

What legs and gate said is asked for once; every variant settles it anew under its own advice and trades it on the
accounting twin. `placebo` gives the same advice on shuffled days: a manager that only holds less money in the market
does as well there. `delayed` gives it a bar late. Differences to `off` are drawn on the same bars (`evidence`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.account.metrics import FloatArray, measures
from hybrid_bt.account.registry import Terms, traded_at
from hybrid_bt.bars import Bars, BoolArray, Stamps, instant
from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs.base import Opinion
from hybrid_bt.brain.opinions import opinions_in_turn
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.config.task import Case
from hybrid_bt.equations.advice import NEUTRAL_RISK, Advice
from hybrid_bt.equations.waiting import withheld
from hybrid_bt.evidence import Interval, bootstrap
from hybrid_bt.files.texts import csv_of_rows, end_days
from hybrid_bt.news.answers import LEXICON, Recorded, RiskSetup
from hybrid_bt.news.desk import SAMPLE_NAME, RiskStage, open_desk

WHOLE = "whole span"
OFF, GIVEN, DELAYED = "off", "on", "delayed"  #: variants: no advice, as it is given, a bar late
FEWEST_BARS = 40  #: of a side of the cut-off; fewer say nothing
TAIL = 0.05  #: of the bars, for CVaR
MEASURES = ("sharpe", "cvar", "max_drawdown", "cagr", "volatility")
COLUMNS = ("span", "variant", "measure", "value", "low", "high", "less_off", "less_off_low", "less_off_high")
BARS_OF_COST = 1000.0


class Effect(NamedTuple):
    """One measure of one variant."""

    variant: str
    span: str
    measure: str
    value: Interval
    less_off: Interval


class AdviceEffect(NamedTuple):
    """What came of it."""

    title: str
    effects: list[Effect]
    said: list[str]  #: what else is to be known, in words

    @property
    def table(self) -> bytes:
        """The effects as CSV; floats read back exactly, NaN is empty."""
        rows = ((one.span, one.variant, one.measure, *one.value, *one.less_off) for one in self.effects)
        return csv_of_rows((COLUMNS, *rows)).encode()


def evaluate(
    task: Case, setup: RiskSetup, *, placebos: int, cutoff: np.datetime64 | None, masked: bool, seed: int
) -> AdviceEffect:
    """Compare the risk manager with none, with placebos, late, before and after the model's cut-off, and masked.

    Raises
    ------
    HybridError
        If documents, scorer or verdicts cannot be used.
    """
    bars, config, row, traded = task.market.bars, task.config, task.row, task.traded
    setups = _setups(setup, masked)
    stages = {name: open_desk(one, config.news, bars.symbols).stage(bars.stamps, row) for name, one in setups.items()}
    moments = traded.stamps.astype("datetime64[us]").tolist()
    advice = {name: [stage.advise(moment) for moment in moments] for name, stage in stages.items()}
    returns = _returns(task, traded, _variants(advice, placebos, seed))
    told = [name for name in returns if not name.startswith("placebo") or name == "placebo 0"]
    effects, short = list[Effect](), list[str]()
    for span, rows in _spans(traded.stamps[1:], cutoff).items():
        if rows.sum() >= FEWEST_BARS or span == WHOLE:
            effects += _effects({name: returns[name][rows] for name in told}, span, traded, seed)
        else:
            short.append(f"too few bars {span.split()[0]} the cut-off {cutoff} for a row of their own")
    stage = stages[GIVEN]
    first, last = end_days(traded.stamps)
    subject = f"{task.mode} on {task.market.name}, {first} to {last}, {stage.desk.answers.scorer} on {stage.desk.name}"
    beaten = _placebos_beaten(returns, traded)
    said = [
        f"better Sharpe ratio than {beaten:.0%} of {placebos} placebos on shuffled days",
        *_doubts(stage),
        *_gap(advice),
        *_recorded(stage, traded.n_bars),
        *short,
    ]
    return AdviceEffect(f"{subject}; differences to off, 95 % intervals", effects, said)


def _setups(setup: RiskSetup, masked: bool) -> dict[str, RiskSetup]:
    """`on`, the lexicon beside another scorer, and the mask."""
    found = {GIVEN: setup}
    if setup.scorer != LEXICON:
        found[LEXICON] = setup._replace(risk=LEXICON, scorer=LEXICON)
    return found | ({"masked": setup._replace(masked=True)} if masked else {})


def _variants(advice: Mapping[str, Sequence[Advice]], placebos: int, seed: int) -> dict[str, Sequence[Advice | None]]:
    """Variant -> its advice on each bar."""
    given, rng = advice[GIVEN], np.random.default_rng(seed)
    n = len(given[0].risk) if given else 0
    delayed = [Advice([NEUTRAL_RISK] * n, [0.0] * n), *given[:-1]]
    shuffled = {f"placebo {i}": [given[day] for day in rng.permutation(len(given))] for i in range(placebos)}
    return {OFF: [None] * len(given), **advice, DELAYED: delayed, **shuffled}


def _returns(task: Case, traded: Bars, variants: Mapping[str, Sequence[Advice | None]]) -> dict[str, FloatArray]:
    """Variant -> returns of its account, (T - 1,); `off` is the account `risk-off` of a run."""
    brain, terms = task.brain(), task.config.terms()
    spoken = list(opinions_in_turn(brain, [read_panel(task.market.bars.close, brain.reader)]))[task.row :]
    paths = {name: _equity(brain, spoken, advice, traded, terms) for name, advice in variants.items()}
    return {name: np.diff(path) / path[:-1] for name, path in paths.items()}


def _equity(
    brain: Hybrid, spoken: Sequence[Opinion], advice: Sequence[Advice | None], traded: Bars, terms: Terms
) -> FloatArray:
    held: list[float] | None = None
    wanted = []
    for row, opinion in enumerate(spoken):
        decision = brain.settle(opinion, advice[row], held)
        held = decision.target
        wanted.append(withheld(held, decision.waits))
    return traded_at(terms, np.array(wanted), traded).equity


def _spans(stamps: Stamps, cutoff: np.datetime64 | None) -> dict[str, BoolArray]:
    """Name -> its rows."""
    whole = {WHOLE: np.ones(len(stamps), dtype=np.bool_)}
    if cutoff is None:
        return whole
    after = stamps >= instant(cutoff)
    return whole | {"before cut-off": ~after, "after cut-off": after}


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
    return np.asarray(np.partition(returns, worst - 1, axis=0)[:worst].mean(axis=0))


def _placebos_beaten(returns: Mapping[str, FloatArray], traded: Bars) -> float:
    """Share of placebos whose Sharpe ratio is below that of the advice as given."""
    sharpe = measures(traded.bars_per_year, 1.0)["sharpe"]
    ratios = {name: float(sharpe(values[:, None])[0]) for name, values in returns.items()}
    return float(np.mean([ratios[GIVEN] > ratio for name, ratio in ratios.items() if name.startswith("placebo")]))


def _doubts(stage: RiskStage) -> list[str]:
    failed, asked = stage.counts["failures"], stage.counts["bars_with_documents"]
    hindsight = "The embedded documents were chosen in hindsight: nothing here is evidence."
    said = [hindsight] if stage.desk.name == SAMPLE_NAME else []
    return [*said, f"the scorer failed on {failed} of {asked} bars, {stage.chief_reason()}"] if failed else said


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
    sides = [
        {call.symbols[name].risk > NEUTRAL_RISK for call in one.calls if name in call.symbols}
        for one in recorded
        if len(one.calls) > 1
        for name in one.calls[0].symbols
    ]
    return sum(len(both) > 1 for both in sides) / len(sides) if sides else math.nan
