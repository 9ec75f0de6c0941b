"""Controls: what a learner must be able to do, and what it must not.

Three trainings of SAC on the first two thirds of each market, judged on the last third:

- `tomorrow`: a feature is the label itself. The policy must earn by far, or the learner does not learn.
- `shuffled`: the rows of labels in random order under the features. Nothing can be known, so it must not earn.
- `noise`: every feature is random numbers. It must not earn.

What is earned on a bar is the mean over the symbols of z times the label, before costs; z is its mean over its standard
error, of every sixth bar: labels of neighbours overlap. It looks at nothing behind the training span.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.registry import relative
from hybrid_bt.equations.features import CLIP
from hybrid_bt.equations.tilt import score_bar
from hybrid_bt.train.ground import LABEL_BARS, Ground
from hybrid_bt.train.members import Event, Tell
from hybrid_bt.train.spec import SacSpec
from hybrid_bt.train.validation import Model

LEARNED = 2 / 3  #: of each market's usable bars
EARNS_FROM, LUCK_UP_TO = 10.0, 3.0  #: z
SEED = 20_100  #: of the controls' own numbers; has nothing to do with the model's


class Control(NamedTuple):
    """One control's outcome."""

    name: str
    seed: int
    earned: float  #: per bar, in units of relative risk
    z: float
    passed: bool


def run_controls(
    grounds: Sequence[Ground], spec: SacSpec, *, steps: int, seeds: Sequence[int], tell: Tell = lambda event: None
) -> list[Control]:
    """All controls, a row for each seed."""
    rows, asked = [], list(itertools.product(CONTROLS, seeds))
    for number, (name, seed) in enumerate(asked, 1):
        event = Event(f"control_seed{seed} {name}", seed, 0, steps, None, number, len(asked))
        tell(event)
        rows.append(_control(name, grounds, spec, steps, seed))
        tell(event._replace(step=steps))
    return rows


def tomorrow(ground: Ground, rng: np.random.Generator) -> Ground:
    """What comes, less the mean, in place of a feature."""
    features, told = ground.features.copy(), relative(ground.gains) / ground.risk / math.sqrt(LABEL_BARS)
    features[:, :, 0] = np.clip(told, -CLIP, CLIP)
    return ground._replace(features=features)


def shuffled(ground: Ground, rng: np.random.Generator) -> Ground:
    """Labels of other days, symbol by symbol the same day."""
    rows = np.flatnonzero(ground.usable.any(axis=1))
    gains = np.where(np.isfinite(ground.gains), ground.gains, 0.0)
    gains[rows] = gains[rng.permutation(rows)]
    return ground._replace(gains=gains)


def noise(ground: Ground, rng: np.random.Generator) -> Ground:
    """Standard normal numbers in place of all features."""
    drawn = rng.standard_normal(ground.features.shape)
    return ground._replace(features=np.clip(drawn, -CLIP, CLIP).astype(np.float32))


#: control -> how it alters a market, and whether the policy must earn
CONTROLS: dict[str, tuple[Callable[[Ground, np.random.Generator], Ground], bool]] = {
    "tomorrow": (tomorrow, True),
    "shuffled": (shuffled, False),
    "noise": (noise, False),
}


def _control(name: str, grounds: Sequence[Ground], spec: SacSpec, steps: int, seed: int) -> Control:
    from hybrid_bt.train.models import new_model

    alter, must_earn = CONTROLS[name]
    rng = np.random.default_rng(SEED)
    altered = [alter(ground, rng) for ground in grounds]
    parts = [_parts(ground) for ground in altered]
    model = new_model("sac", tuple(learned for learned, _ in parts), spec, steps=steps, seed=seed).learn(steps)
    paid = np.concatenate([_paid(model, judged) for _, judged in parts])
    z = float(paid.mean() / paid.std(ddof=1)) * math.sqrt(len(paid))
    return Control(name, seed, float(paid.mean()), z, z > EARNS_FROM if must_earn else z < LUCK_UP_TO)


def _parts(ground: Ground) -> tuple[Ground, Ground]:
    """To learn from, and to judge on behind it; no label of the first reaches into the second."""
    rows = np.flatnonzero(ground.usable.any(axis=1))
    first, row = rows[int(LEARNED * len(rows))], np.arange(len(ground.usable))[:, None]
    early, late = row < first - LABEL_BARS - 1, row >= first
    return ground._replace(usable=ground.usable & early), ground._replace(usable=ground.usable & late)


def _paid(model: Model, ground: Ground) -> NDArray[np.float64]:
    """On bars whose labels do not overlap."""
    rows = np.flatnonzero(ground.usable.sum(axis=1) > 1)[:: LABEL_BARS + 1]
    paid = np.zeros(len(rows))
    for k, row in enumerate(rows):
        there = np.flatnonzero(ground.usable[row])
        actions, z = model.predict(ground.features[row, there], deterministic=True)[0][:, 0], [0.0] * len(there)
        score_bar(z, actions.tolist(), [True] * len(there), 0.0)
        gains = ground.gains[row, there]
        paid[k] = np.mean(z * (gains - gains.mean()) / ground.risk[row, there])
    return paid
