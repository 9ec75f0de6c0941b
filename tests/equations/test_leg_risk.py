"""A leg's volatility is that of its own wishes, known at the close, and no smaller than that of what it wants now."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.leg_risk import GAIN, Seen, new_memory, risk_bars

LAYOUT = layout_of([[(0,), (1,)], [(0, 1)]])
PAIR_OF = [-1, -1, 0]


def risks_of(closes: list[list[float]], amounts: list[list[float]], sd: float = 0.0) -> list[list[float]]:
    risks = [[0.0, 0.0] for _ in closes]
    seen = Seen(closes, [[0.0, 0.0]] * len(closes), [0.0] * len(closes), [[sd]] * len(closes))
    risk_bars(new_memory(2, 2), seen, amounts, LAYOUT, PAIR_OF, risks)
    return risks


def test_realised_part_by_hand() -> None:
    wishes = [1.0, 0.0, 0.5, -0.5]
    found = risks_of([[100.0, 50.0], [101.0, 50.0], [101.0, 51.0]], [wishes] * 3)
    assert found[0] == [0.0, 0.0]
    # first profit: 1 % and 0.5 %; the plain average of two bars from then on
    assert found[1] == pytest.approx([0.01, 0.005])
    assert found[2] == pytest.approx([math.sqrt((0.01**2 + 0.0) / 2), math.sqrt((0.005**2 + 0.01**2) / 2)])


def test_wanted_part_of_a_pair_is_that_of_its_innovations() -> None:
    found = risks_of([[100.0, 50.0]], [[0.0, 0.0, 0.5, -0.4]], sd=0.02)
    assert found[0] == pytest.approx([0.0, 0.01])


def test_wanted_part_of_assets_has_the_common_correlation() -> None:
    risks = [[0.0, 0.0]]
    seen = Seen([[1.0, 1.0]], [[0.01, 0.02]], [0.5], [[0.0]])
    risk_bars(new_memory(2, 2), seen, [[0.5, 0.5, 0.0, 0.0]], LAYOUT, PAIR_OF, risks)
    assert risks[0][0] == pytest.approx(math.sqrt(0.5 * (0.005**2 + 0.01**2) + 0.5 * 0.015**2))


def test_average_becomes_exponential() -> None:
    n = 400
    closes = [[100.0 * 1.01 ** (t % 2), 50.0] for t in range(n)]
    found = np.array(risks_of(closes, [[1.0, 0.0, 0.0, 0.0]] * n))[:, 0]
    moves = np.diff(np.array(closes)[:, 0]) / np.array(closes)[:-1, 0]
    variance = 0.0
    for k, move in enumerate(moves, 1):
        variance += max(GAIN, 1.0 / k) * (move**2 - variance)
    assert found[-1] == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_missing_bar_earns_nothing_then_all_at_once() -> None:
    nan = math.nan
    found = risks_of([[100.0, 50.0], [nan, 50.0], [102.0, 50.0]], [[1.0, 0.0, 0.0, 0.0]] * 3)
    assert found[1][0] == 0.0 and found[2][0] == pytest.approx(0.02)
