"""Jumps: splits, units and crashes are told from one another by what was traded; and rows that are sound survive."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_bt.bars.findings import counters
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars

N, AT = 300, 150


def market(seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, N)))
    open_ = close * np.exp(rng.normal(0.0, 0.003, N))
    volume = np.round(1e6 * np.exp(rng.normal(0.0, 0.3, N)))
    columns = {"open": open_, "high": np.maximum(open_, close) * 1.002, "low": np.minimum(open_, close) * 0.998}
    return pd.DataFrame({**columns, "close": close, "volume": volume}, index=pd.bdate_range("2015-01-05", periods=N))


def jumped(frame: pd.DataFrame, ratio: float, shares: float, rush: float = 1.0) -> pd.DataFrame:
    """Prices divided by a ratio from a bar on, shares traded multiplied, and those of the first bar once more."""
    frame = frame.copy()
    frame.iloc[AT:, :4] /= ratio
    frame.iloc[AT:, 4] *= shares
    frame.iloc[AT, 4] *= rush
    return frame


def rules(frames: dict[str, pd.DataFrame], **how: Any) -> set[str]:
    return set(counters(load_bars(frames, on_bad_data="warn", **how).findings)) - {"late_listing", "cold"}


UNITS = [sign for unit in (50.0, 100.0, 1000.0) for sign in (unit, 1.0 / unit)]


@pytest.mark.parametrize("volume", ["as ever", "none", "zeros now and then"])
@pytest.mark.parametrize("ratio", UNITS)
def test_a_change_of_unit_is_refused_and_mended(ratio: float, volume: str) -> None:
    frame = jumped(market(), ratio, 1.0)
    if volume == "none":
        frame = frame.drop(columns="volume")
    elif volume == "zeros now and then":
        frame.loc[frame.index[::3], "volume"] = 0.0
    with pytest.raises(BarsError, match=r"KO 2015-08-03 the price is given in another unit.*on_bad_data='mend'"):
        load_bars({"KO": frame})
    mended = load_bars({"KO": frame}, on_bad_data="mend")
    whole = market()["close"].to_numpy()
    assert mended.close[:, 0] == pytest.approx(whole / ratio, rel=1e-9)
    if volume == "as ever":
        assert mended.volume[:, 0].tolist() == market()["volume"].tolist(), "shares are shares in any unit"


def test_some_bars_in_another_unit_are_brought_back() -> None:
    frame = market()
    frame.iloc[AT : AT + 5, :4] /= 100.0
    mended = load_bars({"KO": frame}, on_bad_data="mend").close[:, 0]
    assert mended == pytest.approx(market()["close"].to_numpy(), rel=1e-9)


@pytest.mark.parametrize("ratio", [50.0, 100.0, 0.02])
def test_a_split_by_such_a_factor_is_a_split(ratio: float) -> None:
    assert "split" in rules({"KO": jumped(market(), ratio, ratio)})


SMALL = (1.25, 1.5, 1.0 / 1.25, 1.0 / 1.5)
#: what speaks against a split: shares traded as before; a rush on that day; a day on which everything moved
EVIDENCE = list(itertools.product([True, False], repeat=3))


@pytest.mark.parametrize("ratio", SMALL)
@pytest.mark.parametrize(("shares", "quiet", "still"), EVIDENCE)
def test_a_small_ratio_is_a_split_only_if_everything_says_so(
    ratio: float, shares: bool, quiet: bool, still: bool
) -> None:
    move = 1.0 if still else 0.5 * (1.0 + ratio)
    frames = {"KO": jumped(market(), ratio, ratio if shares else 1.0 / ratio, 1.0 if quiet else 4.0)}
    frames |= {name: jumped(market(seed), move, 1.0) for name, seed in (("PEP", 2), ("XOM", 3), ("CVX", 4))}
    found = rules(frames)
    assert ("split" in found) == (shares and quiet and still)
    assert "split" in found or "jump" in found
    if "split" not in found:
        whole = load_bars(frames)
        assert whole.sha256 == load_bars(frames, on_bad_data="mend").sha256, "no crash is taken out of a backtest"
        assert any("a jump that may be" in note for note in whole.notes)
    else:
        with pytest.raises(BarsError, match="KO 2015-08-03 a jump that looks like an unadjusted split"):
            load_bars(frames)


@pytest.mark.parametrize("ratio", SMALL)
@pytest.mark.parametrize("volume", [True, False])
def test_a_small_ratio_without_shares_to_ask_is_a_warning(ratio: float, volume: bool) -> None:
    frame = jumped(market(), ratio, ratio).assign(**({} if volume else {"volume": 0.0}))
    assert ("split" in rules({"KO": frame}), "jump" in rules({"KO": frame})) == (volume, not volume)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    crash=st.floats(0.12, 0.6),
    rise=st.booleans(),
    rush=st.floats(4.0, 8.0),
    fade=st.floats(1.0, 3.0),
)
def test_no_crash_or_rally_is_divided_away(seed: int, crash: float, rise: bool, rush: float, fade: float) -> None:
    """A day of news: more is traded on it than usual, and for a while after it."""
    frame = jumped(market(seed % 50), 1.0 - crash if rise else 1.0 / (1.0 - crash), 1.0, 1.0)
    frame.iloc[AT:, 4] *= 1.0 + (fade - 1.0) * np.exp(-np.arange(N - AT) / 5.0)
    frame.iloc[AT, 4] *= 4.0 * rush  # a halved price leaves 8 times the money: below 3 times it would be a split
    frames = {"KO": frame, "PEP": market(seed % 50 + 1)}
    assert load_bars(frames).sha256 == load_bars(frames, on_bad_data="mend").sha256


# --- rows ---

BAD = {
    "no price": dict.fromkeys(("open", "high", "low", "close"), np.nan),
    "missing close": {"close": np.nan},
    "missing open": {"open": np.nan},
    "zero": {"close": 0.0},
    "negative": {"low": -1.0},
    "infinite": {"high": np.inf},
}


@settings(max_examples=100, deadline=None)
@given(
    bad=st.sampled_from(sorted(BAD)),
    row=st.integers(0, 59),
    first=st.booleans(),
    far=st.booleans(),
    mode=st.sampled_from(["mend", "warn"]),
)
def test_a_bad_row_never_displaces_the_sound_one_of_its_date(
    bad: str, row: int, first: bool, far: bool, mode: Any
) -> None:
    frame = market().iloc[:60]
    twin = frame.iloc[[row]].assign(**BAD[bad])
    table = pd.concat([twin, frame] if far and first else [frame, twin])
    if not far:
        table = pd.concat([frame.iloc[: row + (not first)], twin, frame.iloc[row + (not first) :]])
    assert load_bars({"KO": table}, on_bad_data=mode).sha256 == load_bars({"KO": frame}).sha256


def test_of_two_sound_rows_the_last_is_kept() -> None:
    frame = market().iloc[:60]
    table = pd.concat([frame.iloc[:31], frame.iloc[[30]].assign(close=frame["open"].iloc[30]), frame.iloc[31:]])
    assert load_bars({"KO": table}, on_bad_data="mend").close[30, 0] == frame["open"].iloc[30]


@settings(max_examples=60, deadline=None)
@given(
    a_day=st.integers(2, 12),
    days=st.integers(3, 30),
    column=st.sampled_from(["Time", "time as number", "contract", None]),
    mode=st.sampled_from(["fail", "mend", "warn"]),
)
def test_rows_that_another_column_tells_apart_are_never_dropped(
    a_day: int, days: int, column: str | None, mode: Any
) -> None:
    """As Backtrader's own file of 5 minutes has them: a date and a time, each in a column of its own."""
    dates = np.repeat(pd.bdate_range("2006-01-02", periods=days), a_day)
    frame = market().iloc[: len(dates)] if len(dates) <= N else pd.concat([market()] * 2).iloc[: len(dates)]
    frame = frame.assign(date=dates.strftime("%Y-%m-%d")).reset_index(drop=True)
    number = np.tile(np.arange(a_day), days)
    if column is not None:
        frame[column] = [f"09:{5 * n:02}:00" if column == "Time" else f"ES{n}" for n in number]
        frame[column] = 900 + 5 * number if column == "time as number" else frame[column]
    for table in (frame, frame.iloc[::-1]):
        try:
            bars = load_bars({"KO": table}, on_bad_data=mode)
        except BarsError as error:
            assert mode == "fail" or "mend'" not in str(error), "no advice that loses bars"
        else:
            assert int(bars.traded.sum()) == len(table)


@pytest.mark.parametrize("column", ["contract", "source"])
def test_even_two_rows_are_told_apart_by_words(column: str, tmp_path: Path) -> None:
    frame = market().iloc[:60].rename_axis("date").reset_index()
    table = (
        pd.concat([frame, frame.iloc[[40]].assign(close=frame["open"])]).assign(**{column: "a"}).reset_index(drop=True)
    )
    table.loc[60, column] = "b"
    table.to_csv(tmp_path / "ES.csv", index=False)
    for source in (tmp_path, {"ES": table}):
        with pytest.raises(BarsError, match=f"which the column '{column}' tells apart"):
            load_bars(source, on_bad_data="mend")  # type: ignore[arg-type]
    table[column] = "a"
    assert load_bars({"ES": table}, on_bad_data="mend").n_bars == 60


@settings(max_examples=100, deadline=None)
@given(
    digits=st.integers(2, 5),
    price=st.sampled_from([1.1, 25.0, 110.0, 1800.0]),
    row=st.integers(0, 59),
    field=st.sampled_from(["low", "high"]),
    ticks=st.integers(1, 400),
    mode=st.sampled_from(["fail", "mend", "warn"]),
)
def test_one_tick_is_mended_with_a_warning_and_more_is_refused(
    digits: int, price: float, row: int, field: str, ticks: int, mode: Any
) -> None:
    frame = (market().iloc[:60, :4] * price / 50.0).round(digits)
    frame["high"], frame["low"] = frame.max(axis=1), frame.min(axis=1)
    inside = 10.0**-digits * ticks * (1 if field == "low" else -1)
    whole, place = frame.copy(), frame.columns.get_loc(field)
    frame.iloc[row, place] = round(
        frame[["open", "close"]].iloc[row].agg("min" if field == "low" else "max") + inside, digits
    )
    whole.iloc[row, place] = whole[["open", "close"]].iloc[row].agg("min" if field == "low" else "max")
    small = ticks == 1 and 10.0**-digits <= 1.99e-4 * frame.iloc[row].min()
    if small:
        bars = load_bars({"EURUSD": frame}, on_bad_data=mode)
        assert bars.sha256 == load_bars({"EURUSD": whole}).sha256 and "one_tick" in counters(bars.findings)
        assert any("lies a tick inside" in note for note in bars.notes)
    elif mode == "fail" and (ticks > 1 or 10.0**-digits > 2.01e-4 * frame.iloc[row].max()):
        with pytest.raises(
            BarsError, match=f"EURUSD .*{field} (must not exceed|must not be below)|EURUSD .* (low|high) is"
        ):
            load_bars({"EURUSD": frame})


def test_a_symbol_with_fewer_bars_than_the_warm_up_is_named_wherever_bars_come_from(tmp_path: Path) -> None:
    for name, frame in {"KO": market(), "PEP": market(2), "NEW": market(3).iloc[-19:]}.items():
        frame.rename_axis("date").to_csv(tmp_path / f"{name}.csv")
    for source in (tmp_path, {name: pd.read_csv(tmp_path / f"{name}.csv") for name in ("KO", "PEP", "NEW")}):
        (note,) = (note for note in load_bars(source).notes if "warm the features" in note)  # type: ignore[arg-type]
        assert "NEW 2016-" in note and "19 bars" in note


@pytest.mark.parametrize("door", ["files", "frames", "long frame", "feeds"])
def test_empty_rows_around_the_prices_of_a_joined_table_are_no_bars(door: str, tmp_path: Path) -> None:
    frames = {"KO": market(), "NEW": market(2).iloc[40:-20]}
    joined = {name: frame.reindex(market().index) for name, frame in frames.items()}
    if door == "files":
        for name, frame in joined.items():
            frame.rename_axis("date").to_csv(tmp_path / f"{name}.csv")
    long = pd.concat([frame.rename_axis("date").reset_index().assign(symbol=name) for name, frame in joined.items()])
    feeds = [bt.feeds.PandasData(dataname=frame, name=name) for name, frame in joined.items()]
    source: Any = {"files": tmp_path, "frames": joined, "long frame": long, "feeds": feeds}[door]
    assert load_bars(source).sha256 == load_bars(frames).sha256
    joined["NEW"].iloc[100] = np.nan
    with pytest.raises(BarsError, match="NEW 2015-05-25 open is nan"):
        load_bars(joined)


@pytest.mark.parametrize("name", ["K\u0000O", "KO\u200b", "Mu\u0308ll", "K\u00adO", "\u202eKO", "KO\u0000"])
def test_names_that_cannot_be_told_by_looking_are_refused(name: str) -> None:
    with pytest.raises(BarsError, match="is no symbol name"):
        load_bars({"PEP": market(), name: market(2)})
