"""The limits named are those that move the target, and the weights are what the legs were multiplied by."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from hybrid_bt.brain.hybrid import Hybrid
from hybrid_bt.brain.legs.base import Decision, Opinion, View, Wish
from hybrid_bt.brain.limits import LIMITS, Limits, listed
from hybrid_bt.brain.opinions import opinions_in_turn
from hybrid_bt.brain.reader import read_in_pieces
from hybrid_bt.brain.records import Recorder
from hybrid_bt.config.task import prepare
from hybrid_bt.equations.advice import Advice, Managed, ManagerParams
from hybrid_bt.feeds import as_market
from hybrid_bt.trade.words import reason, regime_words

Run = tuple[str, str, str, bool]
EVERY = 29  #: bars: one of these is looked at
DOCUMENTS = 1 << len(LIMITS)


class Hedges:
    """A base of hedges, one too large for the limits, and of one symbol alone."""

    warmup_bars = 0

    def __init__(self, *_: object) -> None: ...

    def wishes(self, view: View) -> list[Wish]:
        swing = 0.3 * np.sin(view.market[0] * 50.0)
        return [Wish((0, 1), (0.4, -0.3)), Wish((2, 1), (float(swing), 0.2)), Wish((3,), (0.5,))]


CASES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no gate": ({"gate": {"enabled": False}}, {}),
    "pairs alone": ({"sac": {"enabled": False}}, {}),
    "base alone": ({"kalman": {"enabled": False}}, {}),
    "base of hedges": ({}, {"sac": Hedges}),
    "strict": ({"risk": {"leg_scale_limit": 0.8, "hedged_gross_limit": 0.2, "gross_limit": 0.4}}, {}),
    "wide": ({"risk": {"scale_limit": 1.1, "gross_limit": 9.0, "asset_limit": 0.9}}, {}),
}


@cache
def decided(data: str, mode: str, case: str, is_advised: bool) -> tuple[Hybrid, list[tuple[Opinion, Decision]]]:
    config, legs = CASES[case]
    task = prepare(as_market(data, None), mode, config=config, legs=legs)
    brain, rng, found = task.brain(), np.random.default_rng(1), []
    brain._manager = ManagerParams(0.5, 0.0, 0.3)
    views = read_in_pieces(task.market.bars.close, brain.reader)
    for t, opinion in enumerate(opinions_in_turn(brain, views)):
        if t >= task.row and t % EVERY == 0:
            risk = rng.uniform(1.0, 5.0, task.market.bars.n_symbols).tolist()
            advice = Advice(risk, risk, rng.choice([-1.0, 1.0]), 0.5) if is_advised else None
            found.append((opinion, brain.settle(opinion, advice)))
    return brain, found


def proposed(decision: Decision) -> list[float]:
    return decision.managed.proposed if decision.managed else decision.target


def limits_of(brain: Hybrid, decisions: list[tuple[Opinion, Decision]]) -> Limits:
    recorder = Recorder(brain.reader.n_symbols, [str(columns) for columns in brain.reader.columns], tuple(brain.legs))
    for _, decision in decisions:
        recorder.append(decision)
    regime = [one.managed.regime if one.managed else one.regime for _, one in decisions]
    return Limits(recorder.opinions(), brain.lines, brain.risk, np.array(regime))


RUNS = [("us20", "stable", "plain", False), ("us20", "aggressive", "strict", False)]
RUNS += [("tech6", mode, case, mode == "stable") for mode in ("stable", "aggressive") for case in CASES]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: " ".join(map(str, run)))
def test_the_limits_named_are_those_that_move_the_target_when_raised(run: Run) -> None:
    brain, decisions = decided(*run)
    limits, targets = limits_of(brain, decisions), np.array([proposed(one) for _, one in decisions])
    named = limits.holding()
    assert np.allclose(limits.proposed(brain.risk)[0], targets, rtol=1e-12, atol=0.0)
    assert named.any()
    for bit, name in enumerate(LIMITS):
        raised = copy.copy(brain)
        raised.risk = brain.risk._replace(**{name: getattr(brain.risk, name) * 1.0001})
        others = [raised.settle(opinion, one.managed and one.managed.advice) for opinion, one in decisions]
        moved = np.abs(np.array([*map(proposed, others)]) - targets)
        assert ((moved > 1e-9) <= (named >> bit & 1)).all(), name
        alone = (named & (1 << len(LIMITS)) - 1) == 1 << bit
        assert ((moved > 1e-11) >= alone).all(), name
    for mask in np.unique(named).tolist():  # two that are met at once hold it together
        raised = copy.copy(brain)
        given = {name: getattr(brain.risk, name) * 1.0001 for bit, name in enumerate(LIMITS) if mask >> bit & 1}
        raised.risk = brain.risk._replace(**given)
        others = [raised.settle(opinion, one.managed and one.managed.advice) for opinion, one in decisions]
        assert (np.abs(np.array([*map(proposed, others)]) - targets)[named == mask] > 1e-11).all() or not given
    gross, plain = np.abs(targets).sum(axis=1), [sum(map(abs, brain.settle(said).target)) for said, _ in decisions]
    capped = np.isclose(gross, plain, rtol=1e-12) & [one.managed is not None for _, one in decisions]
    assert ((named & DOCUMENTS != 0).any(axis=1) <= capped).all()
    assert not run[-1] or run[2] == "pairs alone" or (named & DOCUMENTS).any()


def test_each_limit_is_met_somewhere() -> None:
    """The test above looks at every one of them."""
    named = [limits_of(*decided(*run)).holding() for run in RUNS]
    assert all(any((one >> bit & 1).any() for one in named) for bit in range(len(LIMITS) + 1))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_advised", [False, True])
def test_what_is_said_of_a_symbol_multiplies_and_adds_up_to_its_target(case: str, is_advised: bool) -> None:
    decisions = decided("tech6", "aggressive", case, is_advised)[1]
    market = as_market("tech6", None)
    for _, one in decisions:
        weights = [float(text.split(" weighs ")[1].split(",")[0].split()[0].rstrip(".;")) for text in told(one)]
        for i in range(len(one.target)):
            said = reason(i, one, market, "")
            if said.startswith("no bar"):
                continue
            wants = [float(part.split(" wants ")[1]) for part in said.split("; ") if " wants " in part]
            weighed = next(part for part in said.split("; ") if part.startswith("weighed"))
            mixed, *instead = (float(text) for text in weighed.removeprefix("weighed ").split(", in its place "))
            room = 0.00051 + 0.00005 * (sum(weights) + sum(map(abs, wants)))
            assert abs(sum(w * a for w, a in zip(weights, wants, strict=True)) - mixed) <= room, said
            left = instead[0] if instead else mixed
            assert f"{left:+.3f}" == f"{proposed(one)[i]:+.3f}"


def told(decision: Decision) -> list[str]:
    words = regime_words(decision)
    assert "All targets" not in words
    return [part for part in words.split(": ", 1)[1].split("; ") if " weighs " in part]


def test_limits_that_bind_together_are_named_together() -> None:
    """Raising one of two that are met at once moves nothing; tightening either does."""
    both = {"volatility_target": 1.0, "gross_limit": 0.5, "net_limit": 0.5, "asset_limit": 0.5}
    task = prepare(as_market("tech6", None), config={"risk": both, "kalman": {"enabled": False}})
    brain = task.brain()
    *_, last = opinions_in_turn(brain, read_in_pieces(task.market.bars.close, brain.reader))
    limits = limits_of(brain, [(last, brain.settle(last))])
    said = listed(limits.words(), int(limits.holding()[0, 0]))
    assert said == "the gross limit of 0.5 and the net limit of 0.5"


def test_what_stood_in_the_way_is_told_by_its_source() -> None:
    """A guard that only withheld what waits changed nothing; documents cut a pair for what was read of one side."""
    plain = decided("tech6", "aggressive", "plain", False)[1][-1][1]
    market, nobody = as_market("tech6", None), (float("nan"), *plain.target[1:])
    waits = plain._replace(wanted=list(plain.target), target=list(nobody), waits=(True, *[False] * 5))
    assert "waits" in reason(0, waits, market, "") and "guard" not in reason(0, waits, market, "")
    held = plain._replace(wanted=list(plain.target), target=list(nobody), guard=1)
    assert reason(0, held, market, "").endswith("; guard: what is held")
    cut = held._replace(target=[0.0625] * 6)
    assert reason(0, cut, market, "").endswith("; guard: +0.062")
    advice = Advice([3.0] * 6, [0.0] * 6, reasons=["mine", "of the other side", *[""] * 4])
    managed = Managed(advice, plain.regime, list(plain.target), [0.5, 0.5, *[1.0] * 4], [1, 1, 2, 3, 4, 5])
    assert "documents x 0.50: pair: of the other side" in reason(0, plain._replace(managed=managed), market, "")
    assert "documents" not in reason(2, plain._replace(managed=managed), market, "")
    assert "documents make it" not in regime_words(plain._replace(managed=managed))
    assert "documents make it +0.500: " in regime_words(plain._replace(managed=managed._replace(regime=0.5)))
