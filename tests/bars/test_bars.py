"""Bars refuse what cannot be traded on, by symbol, date and value, and never change once made."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError

STAMPS = np.array(["2021-03-01", "2021-03-02", "2021-03-03", "2021-03-04"], dtype="M8[ns]")


def prices() -> dict[str, np.ndarray]:
    close = np.array([[10.0, 20.0], [11.0, 21.0], [12.0, 22.0], [13.0, 23.0]])
    return {"close": close, "open": close - 0.5, "high": close + 1.0, "low": close - 1.0, "volume": close * 100.0}


def make(**changes: object) -> Bars:
    arguments = {"name": "test", "symbols": ["KO", "PEP"], "stamps": STAMPS, **prices(), **changes}
    return Bars.checked(**arguments)  # type: ignore[arg-type]


def with_cell(field: str, value: float) -> dict[str, np.ndarray]:
    columns = prices()
    columns[field][2, 1] = value
    return columns


def test_good_prices_pass_unchanged() -> None:
    bars = make()
    for field, values in prices().items():
        assert np.array_equal(getattr(bars, field), values)
        assert getattr(bars, field).flags.c_contiguous
    assert (bars.n_bars, bars.n_symbols, bars.symbols) == (4, 2, ("KO", "PEP"))
    assert bars.traded.all()


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, -np.inf])
def test_price_that_is_not_positive_and_finite_is_named(field: str, value: float) -> None:
    with pytest.raises(
        BarsError, match=rf"PEP 2021-03-03 {field} is {value!r}; prices must be finite and above 0; mend the value"
    ):
        make(**with_cell(field, value))


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_partly_missing_bar_is_named(field: str) -> None:
    with pytest.raises(BarsError, match=f"PEP 2021-03-03 {field} is nan; a bar has all four prices or none"):
        make(**with_cell(field, np.nan))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("low", 21.8, "low is 21.8; low must not exceed the open"),
        ("high", 21.9, "high is 21.9; high must not be below the close"),
        ("volume", -5.0, "volume is -5.0; volume must be finite and not negative"),
        ("volume", np.inf, "volume is inf"),
    ],
)
def test_bar_outside_its_own_range_is_named(field: str, value: float, rule: str) -> None:
    with pytest.raises(BarsError, match=f"PEP 2021-03-03 {rule}"):
        make(**with_cell(field, value))


def test_rounding_of_the_range_is_forgiven() -> None:
    assert make(**with_cell("high", 22.0 * (1 - 1e-10))).n_bars == 4


def test_missing_volume_is_zero() -> None:
    assert make(**with_cell("volume", np.nan)).volume[2, 1] == 0.0
    assert not make(volume=None).volume.any()


def test_missing_bar_is_nan_in_all_prices_and_not_traded() -> None:
    columns = prices()
    for field in ("open", "high", "low", "close"):
        columns[field][2, 1] = np.nan
    assert np.argwhere(~make(**columns).traded).tolist() == [[2, 1]]


def test_close_alone_fills_the_other_prices() -> None:
    bars = make(open=None, high=None, low=None)
    assert bars.open is bars.close and bars.high is bars.close and bars.low is bars.close


def test_an_infinite_volume_is_told_as_it_is() -> None:
    volume = np.ones_like(make().volume)
    volume[1, 0] = -np.inf
    with pytest.raises(BarsError, match="volume is -inf"):
        make(volume=volume)


def test_some_of_open_high_low_is_refused() -> None:
    with pytest.raises(BarsError, match="only some of open, high and low"):
        make(high=None)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 2, 1, 3], "test 2021-03-02 comes after 2021-03-03; dates must increase; sort"),
        ([0, 1, 1, 3], "test 2021-03-02 appears twice; keep one"),
    ],
)
def test_stamps_out_of_order_or_repeated_are_named(order: list[int], message: str) -> None:
    with pytest.raises(BarsError, match=message):
        make(stamps=STAMPS[order])


@pytest.mark.parametrize(
    "stamps",
    [
        STAMPS.astype(str),
        STAMPS.astype(np.int64),
        STAMPS[:, None],
        np.array([datetime.datetime(2021, 3, day, tzinfo=datetime.UTC) for day in (1, 2, 3, 4)]),
    ],
)
def test_stamps_of_another_kind_are_refused(stamps: np.ndarray) -> None:
    with pytest.raises(BarsError, match="datetime64 without time zone"):
        make(stamps=stamps)


def test_missing_stamps_are_refused() -> None:
    stamps = STAMPS.copy()
    stamps[1] = np.datetime64("NaT", "ns")
    with pytest.raises(BarsError, match="row 2 has no date"):
        make(stamps=stamps)


@pytest.mark.parametrize("unit", ["D", "s", "us"])
@pytest.mark.parametrize("far", ["1500-03-01", "1677-12-31", "2262-01-01", "3021-03-04", "9999-12-31"])
def test_far_stamps_are_refused_by_name_and_not_wrapped_around(far: str, unit: str) -> None:
    with pytest.raises(BarsError, match=f"dates outside 1678 to 2261, the first {far}; mend"):
        make(stamps=np.array([*STAMPS[:3].astype("M8[D]").astype(str), far], dtype=f"M8[{unit}]"))


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (["KO", "KO"], "'KO' twice"),
        (["KO", ""], "'' is no symbol name"),
        (["KO", "A B"], "no symbol name"),
        (["KO", "A:B"], "no symbol name"),
        (["KO", "../x"], "no symbol name"),
        (["KO"], "shape"),
        (["KO", 3], "no symbol name"),
    ],
)
def test_bad_symbols_are_refused(symbols: list[str], message: str) -> None:
    with pytest.raises(BarsError, match=message):
        make(symbols=symbols)


@pytest.mark.parametrize("symbol", ["BRK.B", "BRK-B", "^GSPC", "EURUSD=X", "ES=F", "Müll"])
def test_symbols_in_the_wild_are_accepted(symbol: str) -> None:
    assert make(symbols=["KO", symbol]).index_of(symbol) == 1


def test_too_few_bars_wrong_shapes_and_text_are_refused() -> None:
    one = {field: values[:1] for field, values in prices().items()}
    with pytest.raises(BarsError, match=r"holds 1 bar\(s\); at least 2"):
        make(stamps=STAMPS[:1], **one)
    with pytest.raises(BarsError, match=r"close has shape \(4,\); expected \(bars, symbols\) = \(4, 2\)"):
        make(close=prices()["close"][:, 0], open=None, high=None, low=None, volume=None)
    with pytest.raises(BarsError, match="close must hold numbers"):
        make(close=[["a", "b"]] * 4)


def test_symbol_or_date_without_any_price_is_refused() -> None:
    close = prices()["close"]
    empty = dict.fromkeys(("open", "high", "low", "volume"))
    nothing = np.where([False, True], np.nan, close)
    with pytest.raises(BarsError, match="PEP has no bar at all"):
        make(close=nothing, **empty)
    close[1] = np.nan
    with pytest.raises(BarsError, match="2021-03-02 holds no price of any symbol"):
        make(close=close, **empty)


def test_bars_cannot_change_and_leave_the_callers_arrays_alone() -> None:
    mine = prices()
    bars = make(**mine)
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0, 0] = 1.0
    mine["close"][0, 0] = 99.0
    assert bars.close[0, 0] == 10.0
    with pytest.raises(AttributeError):
        bars.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(bars)).close[0, 0] = 1.0


def test_sha256_depends_on_content_alone() -> None:
    first = make().sha256
    assert first == make(name="other", notes=("a note",)).sha256 == pickle.loads(pickle.dumps(make())).sha256
    assert first != make(symbols=["KO", "PFE"]).sha256
    assert first != make(stamps=STAMPS + np.timedelta64(1, "D")).sha256
    for field in ("open", "high", "low", "close", "volume"):
        assert first != make(**with_cell(field, float(np.nextafter(prices()[field][2, 1], 0.0)))).sha256


def test_select_keeps_the_order_asked_for() -> None:
    swapped = make().select(["PEP", "KO"])
    assert swapped.symbols == ("PEP", "KO")
    assert np.array_equal(swapped.high, prices()["high"][:, ::-1]) and swapped.high.flags.c_contiguous
    with pytest.raises(BarsError, match="did you mean 'PEP'"):
        make().select(["PEPP"])
    with pytest.raises(BarsError, match="each symbol once"):
        make().select(["KO", "KO"])


def test_between_includes_both_ends() -> None:
    cut = make().between("2021-03-02", datetime.date(2021, 3, 3))
    assert cut.close[:, 0].tolist() == [11.0, 12.0]
    assert make().between(end="2021-03").n_bars == 4
    assert make().between(np.datetime64("2021-03-03")).n_bars == 2


@pytest.mark.parametrize(("first", "last"), [("1500-01-01", "9999-12-31"), ("0001", "9999"), ("1677-12", "2262-01")])
def test_between_takes_dates_that_no_bar_can_bear_for_no_bounds(first: str, last: str) -> None:
    assert make().between(first, last).n_bars == 4
    assert make().between(datetime.date.min, datetime.date.max).n_bars == 4


def test_between_counts_an_end_day_whole_on_intraday_bars() -> None:
    stamps = STAMPS[:1] + np.arange(4) * np.timedelta64(10, "h")  # 00:00, 10:00, 20:00, then 06:00 of the next day
    assert make(stamps=stamps).between(end="2021-03-01").n_bars == 3
    assert make(stamps=stamps).between(end=datetime.datetime(2021, 3, 1, 10)).n_bars == 2


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2022-01-01", None, "choose dates within 2021-03-01..2021-03-04"),
        ("2021-03-03", "2021-03-02", "has 0 bar"),
        ("9999-12-31", None, "has 0 bar"),
        (None, "1500-01-01", "has 0 bar"),
        ("soon", None, "'soon' is no date; write YYYY-MM-DD"),
        (np.datetime64("NaT", "D"), None, "is no date; write YYYY-MM-DD"),
        (datetime.datetime(2021, 3, 1, tzinfo=datetime.UTC), None, "time zone"),
    ],
)
def test_between_refuses_empty_spans_and_bad_dates(start: object, end: object, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        make().between(start, end)  # type: ignore[arg-type]


def test_bars_per_year_counts_intervals_over_elapsed_time() -> None:
    stamps = np.datetime64("2000-01-01", "ns") + np.arange(1462) * np.timedelta64(1, "D")  # four years, one leap
    bars = Bars.checked("daily", ["KO"], stamps, np.ones((1462, 1)))
    assert bars.bars_per_year == pytest.approx(365.25, rel=1e-12)


@given(row=st.integers(0, 3), column=st.integers(0, 1), value=st.floats(max_value=0.0) | st.just(np.inf))
def test_no_bad_price_passes_anywhere(row: int, column: int, value: float) -> None:
    close = prices()["close"]
    close[row, column] = value
    with pytest.raises(BarsError, match=f"{['KO', 'PEP'][column]} 2021-03-0{row + 1} "):
        make(close=close)
