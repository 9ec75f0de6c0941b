"""One evaluation for all commands: from what is traded and who scores to effects, words and a table.

`hybrid-bt news evaluate` prints it, `run --risk-evaluate` and `hybrid-bt study --risk ...` write it beside their own.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybrid_bt.advice import Advice
from hybrid_bt.bars import Bars
from hybrid_bt.build import Policies, build
from hybrid_bt.config import Config
from hybrid_bt.news.cache import Recording, Replay
from hybrid_bt.news.desk import Desk
from hybrid_bt.news.evaluate import Comparison, Effect, advice_of, compare, flip_rate
from hybrid_bt.news.masks import Masked
from hybrid_bt.news.setup import LEXICON, RiskSetup, open_desk
from hybrid_bt.news.stage import RiskStage, stage_of
from hybrid_bt.trading_start import fit_pairs

__all__ = ["Evaluation", "Questions", "Traded", "evaluate"]

COLUMNS = ("span", "variant", "measure", "value", "low", "high", "less_off", "less_off_low", "less_off_high")
GIVEN = "on"  #: the advice that is compared with none
BARS_OF_COST = 1000.0


class Traded(NamedTuple):
    """What is traded, and by whom."""

    bars: Bars  #: warm-up and trading bars
    row: int  #: of the first decision
    config: Config  #: settled for these stamps
    policies: Policies
    pairs: tuple[str, ...]
    mode: str


class Questions(NamedTuple):
    """What is asked beside the comparison itself."""

    placebos: int = 20
    cutoff: np.datetime64 | None = None  #: the model's knowledge cut-off
    masked: bool = True  #: also without names and dates
    seed: int = 0


class Evaluation(NamedTuple):
    """What came of it."""

    title: str
    effects: list[Effect]
    figures: dict[str, float]  #: name -> number, for `run.json`; what was not asked is missing
    said: list[str]  #: the same in words

    @property
    def table(self) -> bytes:
        """The effects as CSV."""
        return effects_csv(self.effects)


def evaluate(traded: Traded, setup: RiskSetup, asked: Questions) -> Evaluation:
    """Compare the risk manager with none, with placebos, late, and masked.

    Raises
    ------
    HybridError
        If documents, scorer or verdicts cannot be used, or the library arch (extra `study`) is missing.
    """
    bars, row, config = traded.bars, traded.row, traded.config
    desks = _desks(setup, config, bars.symbols, asked.masked)
    stages = {name: stage_of(desk(), bars.stamps, row) for name, desk in desks.items()}
    rest = bars.between(bars.stamps[row], None)
    advice = {name: advice_of(stage, rest) for name, stage in stages.items()}
    fitted = fit_pairs(bars, traded.pairs, row, config) if config.kalman.fit else None
    brain = build(config, bars.symbols, traded.pairs, traded.policies, fitted)
    opinions = [brain.opine(closes) for closes in bars.close.tolist()][row:]
    found = compare(
        brain, opinions, advice, rest, config,
        given=GIVEN, n_placebos=asked.placebos, seed=asked.seed, cutoff=asked.cutoff,
    )  # fmt: skip
    stage = stages[GIVEN]
    days = [str(rest.stamps[i].astype("datetime64[D]")) for i in (0, -1)]
    title = (
        f"{traded.mode} on {bars.name}, {days[0]} to {days[1]}, {stage.desk.answers.scorer} on {stage.desk.name}; "
        "differences to off, 95 % intervals"
    )
    figures = _figures(found, advice, stage, rest.n_bars)
    said = _said(figures, stage, asked.placebos)
    spans = {one.span for one in found.effects}
    missing = [side for side in ("before", "after") if asked.cutoff is not None and f"{side} cut-off" not in spans]
    said += [f"too few bars {side} the cut-off {asked.cutoff} for a row of their own" for side in missing]
    return Evaluation(title, found.effects, figures, said)


def _desks(setup: RiskSetup, config: Config, symbols: Sequence[str], masked: bool) -> dict[str, Callable[[], Desk]]:
    """`on`, the lexicon beside another scorer, and the mask."""
    found = {GIVEN: lambda: open_desk(setup, config.news, symbols)}
    if setup.scorer != LEXICON:
        plain = setup._replace(mode=LEXICON, scorer=LEXICON)
        found[LEXICON] = lambda: open_desk(plain, config.news, symbols)
    if masked:
        found["masked"] = lambda: open_desk(setup, config.news, symbols, wrap=Masked)
    return found


def _figures(found: Comparison, advice: dict[str, list[Advice]], stage: RiskStage, n_bars: int) -> dict[str, float]:
    figures = {"better_than_placebos": found.better_than_placebos}
    if "masked" in advice:
        pairs = zip(advice[GIVEN], advice["masked"], strict=True)
        gaps = [abs(a - b) for one, other in pairs for a, b in zip(one.risk, other.risk, strict=True)]
        figures["contamination_gap"] = float(np.mean(gaps))
    answers = stage.desk.answers
    if isinstance(answers, Recording | Replay):
        recorded = answers.recorded()
        rate = flip_rate(recorded)
        if not math.isnan(rate):
            figures["verdict_flip_rate"] = rate
        for name in ("prompt_tokens", "completion_tokens", "usd"):
            spent = math.fsum(one.usage.get(name, 0.0) for one in recorded)
            figures[f"{name}_per_1000_bars"] = spent * BARS_OF_COST / n_bars
    return figures


def _said(figures: dict[str, float], stage: RiskStage, placebos: int) -> list[str]:
    share = figures["better_than_placebos"]
    lines = [f"better Sharpe ratio than {share:.0%} of {placebos} placebos on shuffled days"]
    if stage.desk.is_sample:
        lines.append("The embedded documents were chosen in hindsight: nothing here is evidence.")
    if stage.counts["failures"]:
        lines.append(f"the scorer failed on {stage.counts['failures']} of {stage.counts['bars_with_documents']} bars")
    if "contamination_gap" in figures:
        gap = figures["contamination_gap"]
        lines.append(f"mean change of risk under the mask (contamination gap): {gap:.4f} points")
    if "verdict_flip_rate" in figures:
        lines.append(f"verdict flip rate between calls: {figures['verdict_flip_rate']:.1%}")
    if "usd_per_1000_bars" in figures:
        lines.append(
            f"per 1,000 bars: {figures['prompt_tokens_per_1000_bars']:,.0f} tokens in, "
            f"{figures['completion_tokens_per_1000_bars']:,.0f} out, {figures['usd_per_1000_bars']:.4f} US dollars"
        )
    return lines


def effects_csv(effects: Sequence[Effect]) -> bytes:
    """One row per span, variant and measure; floats read back exactly, NaN is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in effects:
        numbers: list[Any] = ["" if math.isnan(value) else repr(value) for value in (*one.value, *one.less_off)]
        writer.writerow((one.span, one.variant, one.measure, *numbers))
    return file.getvalue().encode()
