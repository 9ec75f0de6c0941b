"""A rehearsal: the same training on an earlier span, tried on the bars behind it, for the manifest.

A shipped policy learns from every bar before the test span, so nothing there can validate it. What can be validated
is its recipe: the same settings and the first seed, trained up to an earlier day. The rehearsal's weights are dropped,
and its span lies inside the training span, so it takes no bars away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_bt.evidence.conditional import read_regime
from hybrid_bt.policy import FrozenPolicy
from hybrid_bt.texts import plain
from hybrid_bt.train.members import train_all
from hybrid_bt.train.pipeline import Lesson, gate_members, learn_gate, learn_sac, plain_score, sac_members
from hybrid_bt.train.practice import Member
from hybrid_bt.train.spec import GateSpec, SacSpec
from hybrid_bt.train.validation import GateValidation, SacValidation, Score

SEEDS = 1  #: the first so many are rehearsed: enough to see whether a recipe works, at a fair part of the time


def rehearse_sac(lesson: Lesson, spec: SacSpec, steps: int) -> dict[str, Any]:
    """Results for the manifest of `learn_sac`; none where the lesson names no rehearsal."""
    if lesson.rehearse_to is None:
        return {}
    early = _earlier(lesson)
    members = sac_members(early, early.history(), spec, steps)
    models = [one.model for one in train_all(_watched_at_the_end(members), lesson.tell)]
    validation = members[0].validation
    assert isinstance(validation, SacValidation)
    scores = [validation.score(model) for model in models]
    return _said(lesson, scores, validation.score_together(models), validation.reference(), {})


def rehearse_gate(lesson: Lesson, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int) -> dict[str, Any]:
    """Results for the manifest of `learn_gate`, with what r says on the unseen bars."""
    if lesson.rehearse_to is None:
        return {}
    early = _earlier(lesson)
    members = gate_members(early, early.history(), spec, sac_spec, steps, sac_steps)
    models = [one.model for one in train_all(_watched_at_the_end(members), lesson.tell)]
    validation = members[0].validation
    assert isinstance(validation, GateValidation)
    scores = [validation.score(model) for model in models]
    regime = validation.regime_of(models)
    reading = read_regime(regime[validation.first :], validation.history.bars, validation.first)
    more = {"best_constant_regime": members[0].base_regime, "regime": plain(reading._asdict())}
    return _said(lesson, scores, validation.score_regime(regime), validation.reference(), more)


def rehearsed_sac(lesson: Lesson, spec: SacSpec, steps: int, out: Path) -> FrozenPolicy:
    """`learn_sac` with the rehearsal that the lesson asks for."""
    return learn_sac(lesson, spec, steps, out, rehearse_sac(lesson, spec, steps))


def rehearsed_gate(
    lesson: Lesson, spec: GateSpec, sac_spec: SacSpec, steps: int, sac_steps: int, out: Path
) -> FrozenPolicy:
    """`learn_gate` with the rehearsal that the lesson asks for."""
    found = rehearse_gate(lesson, spec, sac_spec, steps, sac_steps)
    return learn_gate(lesson, spec, sac_spec, steps, sac_steps, out, found)


def _earlier(lesson: Lesson) -> Lesson:
    assert lesson.rehearse_to is not None
    folder = lesson.practice.checkpoint_dir
    practice = lesson.practice._replace(keep="last", patience=None, checkpoint_dir=folder and folder / "rehearsal")
    return lesson._replace(
        end=lesson.rehearse_to,
        valid_end=lesson.end,
        bars=lesson.bars.between(None, lesson.end),
        seeds=lesson.seeds[:SEEDS],
        practice=practice,
    )


def _watched_at_the_end(members: Sequence[Member]) -> list[Member]:
    """Without evaluations on the way: nothing is chosen by them."""
    return [member._replace(validation=None) for member in members]


def _said(
    lesson: Lesson, scores: Sequence[Score], together: Score, reference: Score, more: dict[str, Any]
) -> dict[str, Any]:
    sharpes = np.array([score.sharpe for score in scores])
    return {
        "rehearsal": {
            "train_end": str(lesson.rehearse_to),
            "valid_end": str(lesson.end),
            "ensemble": plain_score(together),
            "member_sharpes": plain(sharpes),
            "reference": plain_score(reference),
            **more,
        }
    }
