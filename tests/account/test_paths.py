"""An account gives back what it was given, to the sign of zero, however it keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.account.records import AccountPath, Fills

STEPS = st.lists(st.tuples(st.sampled_from([0.0, -0.0, np.nan, 1.5, -7.0]), st.integers(1, 9)), min_size=1, max_size=12)


@given(STEPS, STEPS, st.booleans(), st.integers(0, 120), st.integers(0, 120))
def test_what_seldom_changes_is_given_back_to_the_bit(
    one: list[tuple[float, int]], other: list[tuple[float, int]], is_held: bool, first: int, end: int
) -> None:
    columns = [np.repeat([value for value, _ in steps], [n for _, n in steps]) for steps in (one, other)]
    n_bars = min(map(len, columns))
    both = np.column_stack([column[:n_bars] for column in columns])
    path = AccountPath(
        both[:, 0].copy(), np.arange(n_bars) + 1.0, both if is_held else None, both[:, ::-1], Fills.of([])
    )
    assert path.cash.tobytes() == both[:, 0].tobytes() and path.borrow.tobytes() == both[:, ::-1].tobytes()
    assert path.held.tobytes() == path.size.tobytes() == both.tobytes() if is_held else path.held is None
    rows = slice(first, max(first, end))
    assert path.interest(rows).tobytes() == both[:, ::-1].copy()[rows].sum(axis=1).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        path.cash[0] = 1.0
