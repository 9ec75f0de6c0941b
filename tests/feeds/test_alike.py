"""One history is one symbol: its pieces are joined, its copies refused, and other symbols are left alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_bt.bars.findings import counters
from hybrid_bt.commands.data import check_path
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.alike import base_of


def walk(n: int, seed: int, start: str = "2017-01-02", freq: str = "B") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n))), 4)
    columns = {
        "open": close,
        "high": close + 0.5,
        "low": close - 0.5,
        "close": close,
        "volume": rng.integers(900, 1100, n),
    }
    return pd.DataFrame(columns, index=pd.date_range(start, periods=n, freq=freq))


#: names of the pieces of SPY, by the first and last stamp and the number of each
NAMINGS: dict[str, Callable[[Any, Any, int], str]] = {
    "year": lambda first, last, n: f"SPY_{first:%Y}",
    "glued year": lambda first, last, n: f"SPY{first:%Y}",
    "year in front": lambda first, last, n: f"{first:%Y}-SPY",
    "month": lambda first, last, n: f"SPY-{first:%Y-%m}",
    "month without a mark": lambda first, last, n: f"SPY_{first:%Y%m}",
    "quarter": lambda first, last, n: f"SPY_{first:%Y}Q{(first.month + 2) // 3}",
    "span": lambda first, last, n: f"SPY_{first:%Y%m%d}_{last:%Y%m%d}",
    "span of years": lambda first, last, n: f"SPY.{first:%Y}-{last:%Y}",
    "counter": lambda first, last, n: f"SPY_{n}",
    "counter with zeros": lambda first, last, n: f"SPY-{n:03}",
}


@settings(max_examples=150, deadline=None)
@given(
    naming=st.sampled_from(sorted(NAMINGS)),
    freq=st.sampled_from(["B", "h", "5min", "W-FRI"]),
    cuts=st.sets(st.integers(2, 398), min_size=1, max_size=5),
    halved=st.booleans(),
)
def test_pieces_that_follow_one_another_are_the_whole(naming: str, freq: str, cuts: set[int], halved: bool) -> None:
    """Even where a split falls between them."""
    whole, edges = walk(400, 1, freq=freq), [0, *sorted(cuts), 400]
    if halved:
        whole.iloc[edges[1] :, :4] /= 2.0
        whole.iloc[edges[1] :, 4] *= 2
    parts = [whole.iloc[first:last] for first, last in pairwise(edges)]
    if any(len(part) < 2 for part in parts):
        return
    named = {NAMINGS[naming](part.index[0], part.index[-1], n): part for n, part in enumerate(parts, 1)}
    if len(named) < len(parts):  # two pieces of one name
        return
    other = walk(400, 2, freq=freq)
    bars, wanted = (load_bars({**one, "KO": other}, on_bad_data="mend") for one in (named, {"SPY": whole}))
    assert bars.sha256 == wanted.sha256 and bars.symbols == ("SPY", "KO")
    assert any("SPY" in note and "one history" in note and next(iter(named)) in note for note in bars.notes)


APART = {
    "numbers of a place": ("7203.T", "8306.T"),
    "numbers alone": ("600000", "600004"),
    "letters": ("SPY_A", "SPY_B"),
    "classes": ("BRK.A", "BRK.B"),
    "numbers within a name": ("S1", "S2"),
    "five digits": ("HK_00700", "HK_09988"),
}


@pytest.mark.parametrize("case", APART)
def test_names_that_are_of_other_companies_stay_apart(case: str) -> None:
    one, other = APART[case]
    whole = walk(400, 1)
    bars = load_bars({one: whole.iloc[:200], other: whole.iloc[200:] * 3.0})
    assert bars.symbols == (one, other) and "pieces" not in counters(bars.findings)


@pytest.mark.parametrize("gap", ["overlap", "far apart", "one of three overlaps"])
def test_spans_that_do_not_follow_one_another_are_not_joined(gap: str) -> None:
    whole = walk(600, 1)
    cuts = {"overlap": (200, 150), "far apart": (200, 240), "one of three overlaps": (200, 200)}[gap]
    frames = {"SPY_2018": whole.iloc[: cuts[0]], "SPY_2019": walk(600, 5).iloc[cuts[1] : 400]}
    if gap == "one of three overlaps":
        frames["SPY_2020"] = walk(600, 6).iloc[300:]
    assert load_bars(frames).symbols == tuple(frames)


def test_pieces_are_asked_for_by_the_name_of_the_whole(tmp_path: Path) -> None:
    whole = walk(500, 1).rename_axis("date")
    for year, part in whole.groupby(whole.index.year):
        part.to_csv(tmp_path / f"SPY_{year}.csv")
    walk(500, 2).rename_axis("date").to_csv(tmp_path / "KO.csv")
    assert load_bars(tmp_path, symbols=["SPY"]).sha256 == load_bars({"SPY": whole}).sha256
    assert load_bars(tmp_path).symbols == ("KO", "SPY")
    with pytest.raises(BarsError, match="no symbol 'SPX'"):
        load_bars(tmp_path, symbols=["SPX"])
    assert {one.symbol for one in check_path(tmp_path) if one.rule == "pieces"} == {"SPY"}


@given(st.text(max_size=12))
def test_base_of_a_name_is_a_name_with_letters_or_the_name(name: str) -> None:
    base = base_of(name)
    assert base == name or (any(map(str.isalpha, base)) and base_of(base) in (base, base_of(base)))


@settings(max_examples=60, deadline=None)
@given(
    n_symbols=st.integers(2, 12),
    factor=st.sampled_from([1.0, 100.0, 0.01, 0.85, 1.0 / 3.0]),
    pair=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    spans=st.tuples(st.integers(0, 150), st.integers(150, 300)),
    holes=st.booleans(),
)
def test_two_symbols_with_one_history_are_refused_by_name(
    n_symbols: int, factor: float, pair: tuple[int, int], spans: tuple[int, int], holes: bool
) -> None:
    """Whatever factor lies between them, however many there are, and where they share but a part of their bars."""
    frames = {f"A{chr(65 + i)}": walk(300, i) for i in range(n_symbols)}
    one, other = sorted(f"A{chr(65 + i % n_symbols)}" for i in pair)
    assert "copies" not in counters(load_bars(frames).findings)
    if one == other:
        return
    frames[other] = frames[one][["open", "high", "low", "close"]].iloc[spans[0] : spans[1]] * factor
    if holes:
        frames[other] = frames[other].drop(frames[other].index[2::5])
        frames[one] = frames[one].drop(frames[one].index[3::7])
    common = len(frames[one].index.intersection(frames[other].index))
    if common < 20:
        return
    for mode in ("fail", "mend"):
        with pytest.raises(BarsError, match=rf"{other} .*one history .*closes of {one} on all {common} bars"):
            load_bars(frames, on_bad_data=mode)  # type: ignore[arg-type]
    assert load_bars(frames, on_bad_data="warn").symbols == tuple(frames)


@pytest.mark.parametrize("kind", ["nearly equal", "one bar differs", "standing still", "few bars", "inverse"])
def test_symbols_that_are_merely_alike_are_left_alone(kind: str) -> None:
    one = walk(300, 1)[["close"]]
    other = {
        "nearly equal": lambda: one * np.exp(np.random.default_rng(4).normal(0.0, 2e-4, (300, 1))),
        "one bar differs": lambda: one * np.where(np.arange(300) == 77, 1.001, 1.0)[:, None],
        "standing still": lambda: one * 0.0 + 10.0,
        "few bars": lambda: one.iloc[:19],
        "inverse": lambda: 2500.0 / one,
    }[kind]()
    one = one * 0.0 + 12.0 if kind == "standing still" else one
    assert "copies" not in counters(load_bars({"KO": one, "PEP": other}).findings)


def test_a_download_that_was_mixed_up_is_told_group_by_group() -> None:
    """Forty files that hold ten histories: each of thirty is told once, with the one it copies."""
    frames = {f"A{chr(65 + i // 10)}{chr(65 + i % 10)}": walk(100, i % 10) for i in range(40)}
    found = [one for one in load_bars(frames, on_bad_data="warn").findings if one.rule == "copies"]
    assert {one.symbol for one in found} == set(frames) - {f"AA{chr(65 + i)}" for i in range(10)}
    assert len(found) == 30 and all(f" A{one.what.split()[3][1]}{one.symbol[2]} " in f" {one.what} " for one in found)


@pytest.mark.parametrize("symbols", [None, ["PEP", "KO"]])
def test_long_tables_of_several_files_are_one_history_a_symbol(symbols: list[str] | None, tmp_path: Path) -> None:
    frames = {"KO": walk(500, 1), "PEP": walk(500, 2)}
    long = pd.concat([frame.rename_axis("date").reset_index().assign(symbol=name) for name, frame in frames.items()])
    for year, part in long.groupby(long["date"].dt.year):
        part.to_csv(tmp_path / f"prices_{year}.csv", index=False)
    bars = load_bars(tmp_path, symbols=symbols)
    assert bars.sha256 == load_bars(frames, symbols=symbols).sha256
    long.iloc[:3].to_csv(tmp_path / "prices_more.csv", index=False)
    with pytest.raises(BarsError, match=r"KO comes from prices_more\.csv and from another file"):
        load_bars(tmp_path, symbols=symbols)
