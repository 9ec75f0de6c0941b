"""Each rule finds what it is for, mends it as it says, counts it, and leaves sound prices alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hybrid_bt.bars import Bars
from hybrid_bt.bars.findings import RULES, counters, refusal
from hybrid_bt.commands.data import check_path, main
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import SOURCES, load_bars, to_feeds

N = 60
Change = Callable[[pd.DataFrame], Any]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are looked for are not broken."""
    monkeypatch.setenv("COLUMNS", "400")


def sound(n: int = N, seed: int = 1, start: str = "2021-01-04") -> pd.DataFrame:
    """A random walk of business days with ranges and volume."""
    rng = np.random.default_rng(seed)
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n))), 4)
    open_ = np.round(close * np.exp(rng.normal(0.0, 0.003, n)), 4)
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) + 0.1,
        "low": np.minimum(open_, close) - 0.1,
        "close": close,
        "volume": np.round(rng.uniform(900.0, 1100.0, n)),
    }
    return pd.DataFrame(columns, index=pd.bdate_range(start, periods=n, name="date").strftime("%Y-%m-%d"))


def folder(tmp_path: Path, **frames: pd.DataFrame) -> Path:
    place = tmp_path / "own"
    place.mkdir(exist_ok=True)
    for symbol, frame in frames.items():
        frame.to_csv(place / f"{symbol}.csv")
    return place


def put(row: int, field: str, value: float) -> Change:
    def change(frame: pd.DataFrame) -> None:
        frame.iloc[row, frame.columns.get_loc(field)] = value

    return change


def renamed(names: Callable[[list[str]], list[str]]) -> Change:
    return lambda frame: frame.set_axis(names(list(frame.index)), axis=0).rename_axis("date")


def halved(frame: pd.DataFrame) -> None:
    frame.iloc[30:, :4] /= 2.0
    frame.iloc[30:, 4] *= 2.0


def quiet_half(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[30:, :4] /= 2.0
    return frame[["close"]]


def tick_inside(frame: pd.DataFrame) -> None:
    put(9, "low", round(min(frame["open"].iloc[9], frame["close"].iloc[9]) + 1e-4, 4))(frame)


def pounds(frame: pd.DataFrame) -> None:
    frame.iloc[30:, :4] /= 100.0


def stands(frame: pd.DataFrame) -> None:
    for field in ("open", "high", "low", "close"):
        frame.iloc[20:35, frame.columns.get_loc(field)] = 51.0


def at(clock: str) -> Change:
    return renamed(lambda days: [f"{day}{clock}" for day in days])


#: rule -> what breaks it in KO, first date found, bars left in KO after mend and after warn (None: refused)
BREAKS: dict[str, tuple[Change, str, int | None, int | None]] = {
    "unsorted": (lambda f: f.iloc[[0, 2, 1, *range(3, N)]], "2021-01-05", N, N),
    "duplicate": (lambda f: f.iloc[[0, 1, 1, *range(2, N)]], "2021-01-05", N, N),
    "no_price": (lambda f: f.assign(**{c: f[c].where(f.index != f.index[9]) for c in f}), "2021-01-15", N - 1, N - 1),
    "nan": (put(9, "high", np.nan), "2021-01-15", N, N - 1),
    "not_positive": (put(9, "close", 0.0), "2021-01-15", N - 1, N - 1),
    "low_above": (put(9, "low", 99.0), "2021-01-15", N, N - 1),
    "high_below": (put(9, "high", 1.0), "2021-01-15", N, N - 1),
    "volume_bad": (put(9, "volume", -5.0), "2021-01-15", N, N),
    "split": (halved, "2021-02-15", N, N),
    "time_zone": (at("T00:00:00-05:00"), "2021-01-04", N, N),
    "told_apart": (lambda f: pd.concat([f, f * 2.0]).sort_index(), "2021-01-04", None, None),
    "one_tick": (tick_inside, "2021-01-15", N, N),
    "unit": (pounds, "2021-02-15", N, N),
    "copies": (lambda f: np.round(sound(seed=2) * 4.0, 4), "2021-01-04", None, N),
    "begins": (
        renamed(lambda days: [f"{day}T22:00:00" for day in np.array(days, "M8[D]") - np.timedelta64(1, "D")]),
        "2021-01-03T22:00:00",
        N,
        N,
    ),
    "begins_of_weeks": (
        renamed(lambda days: list(pd.date_range("2015-01-05", periods=N, freq="7D").strftime("%Y-%m-%d"))),
        "2015-01-05",
        N,
        N,
    ),
    "mixed_clock": (at("T16:00:00"), "2021-01-04", N, N),
    "mixed_frequency": (lambda f: f.iloc[::2], "", None, N // 2),
    "jump": (quiet_half, "2021-02-15", N, N),
    "stale": (stands, "2021-02-02", N, N),
    "calendar_gap": (
        renamed(lambda days: days[:30] + list(pd.bdate_range("2022-01-03", periods=N - 30).strftime("%Y-%m-%d"))),
        "2021-02-12",
        N,
        N,
    ),
    "delisted": (lambda f: f.iloc[:40], "2021-02-26", 40, 40),
    "late_listing": (lambda f: f.iloc[20:], "2021-02-01", N - 20, N - 20),
    "missing_bars": (lambda f: f.drop(f.index[[5, 6]]), "2021-01-11", N - 2, N - 2),
    "unread": (lambda f: f.assign(dividend=0.1), "", N, N),
    "volume_missing": (lambda f: f.drop(columns="volume"), "2021-01-04", N, N),
    "too_few_bars": (lambda f: f.iloc[:1].assign(close=-1.0), "", None, None),
}


def broken(tmp_path: Path, rule: str) -> Path:
    frame = sound()
    changed = BREAKS[rule][0](frame)
    frame = frame if changed is None else changed
    alone = rule in ("calendar_gap", "begins_of_weeks")  # another symbol would fill the gaps
    return folder(tmp_path, KO=frame, **({} if alone else {"PEP": sound(seed=2)}))


@pytest.mark.parametrize("rule", BREAKS)
def test_rule_finds_its_break_and_dates_it(rule: str, tmp_path: Path) -> None:
    found = [one for one in check_path(broken(tmp_path, rule)) if one.rule == rule]
    assert len(found) == 1 or rule in ("mixed_clock", "short")
    assert found[0].first == BREAKS[rule][1]
    assert (found[0].symbol == "") == (rule in ("mixed_frequency", "calendar_gap", "unread"))


@pytest.mark.parametrize("rule", BREAKS)
@pytest.mark.parametrize("mode", ["mend", "warn"])
def test_each_break_is_mended_or_left_out_as_the_rule_says(rule: str, mode: Any, tmp_path: Path) -> None:
    left = BREAKS[rule][2 if mode == "mend" else 3]
    path = broken(tmp_path, rule)
    if left is None:
        with pytest.raises(BarsError):
            load_bars(path, on_bad_data=mode)
        return
    bars = load_bars(path, on_bad_data=mode)
    assert int(bars.traded[:, 0].sum()) == left
    entry = counters(bars.findings)[rule]
    assert entry["action"] == RULES[rule].action(mode)
    assert any(RULES[rule].wrong in note for note in bars.notes) == (entry["severity"] != "info")


@pytest.mark.parametrize("rule", [name for name in BREAKS if RULES[name].severity == "error"])
def test_errors_are_refused_by_default(rule: str, tmp_path: Path) -> None:
    with pytest.raises(BarsError):
        load_bars(broken(tmp_path, rule))


@pytest.mark.parametrize("rule", [name for name in BREAKS if RULES[name].severity != "error"])
def test_warnings_and_infos_change_nothing_by_default(rule: str, tmp_path: Path) -> None:
    path = broken(tmp_path, rule)
    assert load_bars(path).sha256 == load_bars(path, on_bad_data="mend").sha256


ROW_RULES = ("unsorted", "duplicate", "no_price", "nan", "not_positive", "low_above", "high_below", "volume_bad")


@pytest.mark.parametrize("rule", ROW_RULES)
def test_refusal_names_the_cell_that_the_check_finds(rule: str, tmp_path: Path) -> None:
    path = broken(tmp_path, rule)
    found = [one for one in check_path(path) if one.severity == "error"]
    assert found[0].rule == rule
    with pytest.raises(BarsError, match=re.escape(f"bars: {refusal(found[0])}, or give on_bad_data='mend'")):
        load_bars(path)
    if rule not in ("unsorted", "duplicate", "no_price"):
        frame = pd.read_csv(path / "KO.csv")
        columns = {field: frame[[field]] for field in ("open", "high", "low", "close", "volume")}
        with pytest.raises(BarsError, match=re.escape(f"bars: {refusal(found[0])}")):
            Bars.checked("own", ["KO"], frame["date"].to_numpy("M8[ns]"), **columns)


def test_every_rule_is_exercised() -> None:
    elsewhere = {"unreadable", "no_date", "off_calendar", "missing_sessions", "short", "short_session"}
    elsewhere |= {"mixed_zones", "pieces", "cold"}
    assert set(RULES) - elsewhere == set(BREAKS)


def test_sound_prices_give_infos_at_most(tmp_path: Path) -> None:
    path = folder(tmp_path, KO=sound(), PEP=sound(seed=2))
    assert {one.rule for one in check_path(path)} == {"short"}
    clean = load_bars(path)
    for mode in ("mend", "warn"):
        bars = load_bars(path, on_bad_data=mode)
        assert (bars.sha256, bars.notes) == (clean.sha256, clean.notes)


def test_split_is_rescaled_by_mend_and_kept_by_warn(tmp_path: Path) -> None:
    path = broken(tmp_path, "split")
    mended, kept = (load_bars(path, symbols=["KO"], on_bad_data=mode) for mode in ("mend", "warn"))
    whole = sound()
    assert mended.close[:, 0] == pytest.approx(whole["close"].to_numpy() / 2.0, rel=1e-12)
    assert mended.volume[:, 0] == pytest.approx(whole["volume"].to_numpy() * 2.0)
    assert kept.close[29, 0] == whole["close"].iloc[29]
    (found,) = (one for one in mended.findings if one.rule == "split")
    assert found.what.endswith("2 for 1")


def test_crash_with_much_money_traded_is_no_split(tmp_path: Path) -> None:
    frame = sound()
    frame.iloc[30:, :4] /= 2.0
    frame.iloc[30, 4] *= 20.0
    assert not {"split", "jump"} & {one.rule for one in check_path(folder(tmp_path, KO=frame))}


def test_nothing_is_carried_into_a_bar_that_is_left_out(tmp_path: Path) -> None:
    bars = load_bars(broken(tmp_path, "not_positive"), on_bad_data="mend")
    assert np.isnan(bars.close[9, 0]) and not np.isnan(bars.close[9, 1])
    assert bars.n_bars == N


def test_kept_row_of_a_repeated_date_is_the_last(tmp_path: Path) -> None:
    frame = sound()
    twice = frame.iloc[[9]].assign(close=frame["open"].iloc[9])
    path = folder(tmp_path, KO=pd.concat([frame.iloc[:10], twice, frame.iloc[10:]]))
    assert load_bars(path, on_bad_data="mend").close[9, 0] == frame["open"].iloc[9]


def test_findings_follow_the_symbols_that_are_selected(tmp_path: Path) -> None:
    bars = load_bars(broken(tmp_path, "high_below"), on_bad_data="mend")
    assert "high_below" in counters(bars.select(["KO"]).findings)
    assert "high_below" not in counters(bars.select(["PEP"]).findings)


def test_wrong_word_for_bad_data_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'mend'"):
        load_bars(folder(tmp_path, KO=sound()), on_bad_data="mends")  # type: ignore[arg-type]


# --- the exchange's own days, with a stand-in for exchange_calendars ---


def fake_exchange(monkeypatch: pytest.MonkeyPatch, closed: list[str], extra: list[str]) -> None:
    def get_calendar(name: str, start: str, end: str) -> Any:
        days = pd.bdate_range(start, end).difference(pd.DatetimeIndex(closed))
        return SimpleNamespace(sessions=days.union(pd.DatetimeIndex(extra)))

    module = SimpleNamespace(get_calendar_names=lambda: ["XNYS", "XTKS"], get_calendar=get_calendar)
    monkeypatch.setitem(sys.modules, "exchange_calendars", module)


def test_days_are_compared_with_the_exchange(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_exchange(monkeypatch, closed=["2021-01-18"], extra=["2021-01-23"])
    path = folder(tmp_path, KO=sound())
    found = {one.rule: one for one in check_path(path, calendar="XNYS")}
    assert (found["off_calendar"].bars, found["off_calendar"].first) == (1, "2021-01-18")
    assert (found["missing_sessions"].bars, found["missing_sessions"].first) == (1, "2021-01-23")
    assert {"off_calendar", "missing_sessions"} <= set(counters(load_bars(path, calendar="XNYS").findings))
    with pytest.raises(ConfigError, match="'XNY' is no exchange; did you mean 'XNYS'"):
        check_path(path, calendar="XNY")


def test_calendar_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(ConfigError, match=r"\.\[calendars\]"):
        check_path(folder(tmp_path, KO=sound()), calendar="XNYS")


# --- the command ---


def check(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def test_command_exits_0_on_sound_prices_1_on_findings_2_on_misuse(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert check(folder(tmp_path / "a", KO=sound())).exit_code == 0
    (tmp_path / "b").mkdir()
    result = check(broken(tmp_path / "b", "high_below"))
    assert result.exit_code == 1
    assert "error: KO 2021-01-15 high below open or close (1 bar): 1 against" in result.output
    assert "mend: high = greatest of the four" in result.output
    for arguments in ((tmp_path / "none",), (tmp_path / "a" / "own", "--mend"), (tmp_path / "a" / "own", "--out", "x")):
        result = check(*arguments)
        assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_report_as_json_holds_every_finding(tmp_path: Path) -> None:
    document = json.loads(check(broken(tmp_path, "split"), "--json").output)
    (split,) = (one for one in document["findings"] if one["rule"] == "split")
    assert (split["symbol"], split["first"], split["severity"]) == ("KO", "2021-02-15", "error")
    assert document["counts"]["split"]["bars"] == 1


def test_mended_files_load_clean_and_exactly(tmp_path: Path) -> None:
    path, out = broken(tmp_path, "split"), tmp_path / "mended"
    result = check(path, "--mend", "--out", out)
    assert result.exit_code == 1 and "2 mended files" in result.output
    assert load_bars(out).sha256 == load_bars(path, on_bad_data="mend").sha256
    assert check(out).exit_code == 0
    again = check(path, "--mend", "--out", out)
    assert again.exit_code == 2 and "not an empty folder" in again.output


def test_one_unreadable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    path = broken(tmp_path, "high_below")
    (path / "ZZZ.csv").write_text("date,close\n2021-01-04,abc\n")
    rules = {(one.symbol, one.rule) for one in check_path(path)}
    assert {("ZZZ", "unreadable"), ("KO", "high_below")} <= rules


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_source_that_run_takes_can_be_checked(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if source.startswith("olps"):
        pytest.importorskip("universal")
    if source == "yahoo":
        index = pd.bdate_range("2021-01-04", periods=30, name="Date")
        frame = (
            sound(30).set_index(index).rename(columns=str.title).assign(**{"Adj Close": sound(30)["close"].to_numpy()})
        )
        monkeypatch.setattr("yfinance.download", lambda *asked, **how: pd.concat({"KO": frame}, axis=1))
    asked = ["--symbols", "KO"] if source == "yahoo" else []
    told = check(source, *asked, "--json")
    assert told.exit_code in (0, 1) and json.loads(told.output)["path"] == source
    assert not [one for one in json.loads(told.output)["findings"] if one["severity"] == "error"]
    result = check(source, *asked, "--mend", "--out", tmp_path / "out")
    assert f"mended files in {tmp_path / 'out'}" in result.output, result.output
    result = check(f"{source}s")
    assert (result.exit_code, f"did you mean '{source}'" in result.output) == (2, True)


def test_rules_are_listed() -> None:
    result = check("--rules", "x")
    assert result.exit_code == 0
    assert all(name in result.output for name in RULES)


# --- frames and feeds in memory ---


def test_frames_and_feeds_give_the_bars_that_files_give(tmp_path: Path) -> None:
    frames = {"KO": sound(), "PEP": sound(seed=2)}
    wanted = load_bars(folder(tmp_path, **frames))
    indexed = {symbol: frame.set_index(pd.DatetimeIndex(frame.index)) for symbol, frame in frames.items()}
    assert load_bars(indexed).sha256 == wanted.sha256
    long = pd.concat([frame.reset_index().assign(symbol=symbol) for symbol, frame in frames.items()])
    assert load_bars(long).sha256 == wanted.sha256
    assert load_bars(long, symbols=["PEP"]).symbols == ("PEP",)
    assert load_bars(to_feeds(wanted)).sha256 == wanted.sha256
    stock = [bt.feeds.PandasData(dataname=frame, name=symbol) for symbol, frame in indexed.items()]
    assert load_bars(stock).sha256 == load_bars(stock).sha256 == wanted.sha256


def test_further_lines_of_a_feed_are_named() -> None:
    class Valued(bt.feeds.PandasData):  # type: ignore[misc]
        lines = ("pe",)
        params = (("pe", -1),)

    frame = sound().assign(pe=12.0)
    bars = load_bars(Valued(dataname=frame.set_index(pd.DatetimeIndex(frame.index)), name="KO"))
    assert any("pe (KO); not read" in note for note in bars.notes)


def test_filters_of_a_feed_are_honoured(tmp_path: Path) -> None:
    frame = sound().set_index(pd.DatetimeIndex(sound().index))
    feed = bt.feeds.PandasData(dataname=frame, name="KO")
    feed.addfilter_simple(lambda data: data.datetime.date(0).weekday() == 0)
    assert load_bars(feed).n_bars == sum(day.weekday() != 0 for day in frame.index)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "int is no source; give a source's name"),
        ({}, "nothing to read"),
        ({"KO": [1, 2]}, "KO is list, no DataFrame"),
        ([bt.feeds.PandasData(dataname=sound())], "needs a name of its own"),
    ],
)
def test_other_objects_are_refused(source: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        load_bars(source)


def test_intraday_bars_are_annualised_from_their_calendar() -> None:
    days = pd.bdate_range("2019-01-02", periods=40)
    stamps = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + 15 * i) for day in days for i in range(26)])
    rng = np.random.default_rng(3)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, len(stamps))))
    bars = load_bars({"KO": pd.DataFrame({"close": close}, index=stamps)})
    assert bars.bars_per_year == pytest.approx(26 * 261, rel=0.05)
    assert {one.rule for one in bars.findings} <= {"volume_missing", "short"}


# --- memory ---


def rows_of(stamps: np.ndarray, close: np.ndarray) -> str:
    rows = (f"{s},{c:.2f},{c + 1:.2f},{c - 1:.2f},{c:.2f},1000" for s, c in zip(stamps, close.tolist(), strict=True))
    return "date,open,high,low,close,volume\n" + "\n".join(rows)


@pytest.mark.parametrize(("n_bars", "n_symbols"), [(400_000, 1), (2_000, 100)])
def test_loading_takes_less_than_four_times_the_raw_size(n_bars: int, n_symbols: int, tmp_path: Path) -> None:
    stamps = np.datetime64("2010-01-04T09:30") + np.arange(n_bars) * np.timedelta64(1, "m")
    close = 50.0 + 0.01 * (np.arange(n_bars) % 997)
    for symbol in range(n_symbols):
        (tmp_path / f"S{symbol}.csv").write_text(rows_of(stamps, close + 0.01 * symbol))
    tracemalloc.start()
    bars = load_bars(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bars.close.shape == (n_bars, n_symbols)
    assert peak < 4.0 * 5 * 8 * n_bars * n_symbols


MEASURED = """
import re, sys
from pathlib import Path
import pandas as pd
from hybrid_bt.feeds import load_bars

def peak():  # getrusage would begin with the peak of the process that started this one
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

pd.read_csv(sys.argv[2], nrows=10)  # what reading costs once is no matter of size
load_bars(sys.argv[2])
before = peak()
bars = load_bars(sys.argv[1])
print(peak() - before, bars.close.size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("n_bars", "n_symbols"), [(1_000_000, 1), (5_040, 500)], ids=["minutes", "20 years of 500"])
def test_process_stays_below_four_times_the_raw_size(n_bars: int, n_symbols: int, tmp_path: Path) -> None:
    """As the operating system counts it, tables that pandas reads included."""
    step = np.timedelta64(1, "m") if n_symbols == 1 else np.timedelta64(1, "D")
    stamps = np.datetime64("2005-01-03T09:30" if n_symbols == 1 else "2005-01-03") + np.arange(n_bars) * step
    close = 50.0 + 0.01 * (np.arange(n_bars) % 997)
    place, small = tmp_path / "own", tmp_path / "small.csv"
    place.mkdir()
    for symbol in range(n_symbols):
        (place / f"S{symbol}.csv").write_text(rows_of(stamps, close + 0.01 * symbol))
    small.write_text(rows_of(stamps[:200], close[:200])[:5000].rsplit("\n", 1)[0])
    command = [sys.executable, "-c", MEASURED, str(place), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, cells = map(int, done.stdout.split())
    assert cells == n_bars * n_symbols
    assert peak < 4.0 * 5 * 8 * cells, f"{peak / (5 * 8 * cells):.2f} times"
    print(f"{peak / (5 * 8 * cells):.2f} times the raw size")


# --- objects ---


def ohlc() -> pd.DataFrame:
    return sound().set_index(pd.bdate_range("2021-01-04", periods=N))


def test_frames_of_every_shape_give_the_same_bars() -> None:
    plain = ohlc()
    wanted = load_bars({"KO": plain}).sha256
    text = plain.set_axis(plain.index.strftime("%Y-%m-%d")).rename_axis("Date")
    for frame in (
        text,
        plain.set_axis(pd.Index(plain.index.date, name="date")),
        plain.reset_index(names="Timestamp"),
        plain.convert_dtypes(),
        plain.astype(object),
        plain.rename_axis("date").astype("float64").sort_index(axis=1),
        plain.tz_localize("Asia/Tokyo"),
        plain.tz_localize("America/New_York").tz_convert("America/New_York"),
    ):
        assert load_bars({"KO": frame}).sha256 == wanted
    stock = bt.feeds.PandasData(dataname=plain.tz_localize("Asia/Tokyo"), name="KO")  # in UTC for Backtrader
    assert load_bars(stock).sha256 == wanted
    panel = pd.concat({"KO": plain, "PEP": plain.iloc[::-1].set_axis(plain.index)}, names=["symbol", "date"])
    assert load_bars(panel).symbols == ("KO", "PEP") and load_bars(panel, symbols=["KO"]).sha256 == wanted


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pd.DataFrame(), "has no columns"),
        ({"KO": ohlc().reset_index(drop=True)}, "no date column"),
        ({"KO": ohlc().astype(complex)}, "not a number"),
        ({"K/O": ohlc()}, "is no symbol name"),
        (pd.concat({"x": pd.concat({"KO": ohlc()}, axis=1)}, axis=1), "3 rows of headers"),
        (ohlc().assign(symbol=np.nan), "has no symbol"),
        (ohlc()["close"], "Series is no source"),
        ([1, 2], "list is no source"),
    ],
)
def test_frames_that_cannot_be_read_are_refused(source: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        load_bars(source)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bt.feeds.GenericCSVData(dataname="/nowhere.csv", name="KO"), "cannot be played: FileNotFoundError"),
        (lambda: bt.feeds.PandasData(dataname=pd.concat({"KO": ohlc()}, axis=1), name="KO"), "cannot be played"),
        (lambda: bt.feeds.PandasData(dataname=ohlc().iloc[:0], name="KO"), "delivered no bar"),
        (lambda: bt.feeds.PandasData(dataname=ohlc()), "needs a name"),
        (lambda: bt.feeds.PandasData(dataname=ohlc().assign(close=np.nan), name="KO"), "close is nan"),
    ],
)
def test_backtrader_feeds_that_cannot_be_played_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(BarsError, match=message):
        load_bars(make())


def test_bars_without_volume_are_counted() -> None:
    frame = ohlc()
    frame.iloc[[3, 7], frame.columns.get_loc("volume")] = np.nan
    assert counters(load_bars({"KO": frame}).findings)["volume_missing"]["bars"] == 2
