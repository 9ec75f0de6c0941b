"""Yahoo with recorded frames: fetched politely, kept on disk, compared, and never trusted half-written."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from places import ROOT

from hybrid_bt.commands.run import main as run_main
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.panel import Handling, Query
from hybrid_bt.feeds.snapshots import cache_folder, read_latest
from hybrid_bt.feeds.yahoo import WARM_UP, load_yahoo, warm_up_start

SOURCE = "hybrid_bt.feeds.yahoo"


class Yahoo:
    """Answers like yfinance.download from one made-up history, and writes down what it was asked."""

    def __init__(self, *, change: Any = None, failures: tuple[Exception | str, ...] = ()) -> None:
        self.asked: list[tuple[tuple[str, ...], str, str]] = []
        self.change, self.failures = change, list(failures)

    def __call__(self, symbols: list[str], *, start: str, end: str, **options: Any) -> pd.DataFrame:
        self.asked.append((tuple(symbols), start, end))
        print("[*****100%*****] noise of the library")
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            logging.getLogger("yfinance").error(failure)
            return pd.DataFrame()
        index = pd.bdate_range(start, pd.Timestamp(end) - pd.Timedelta(days=1), name="Date")
        days = (index - pd.Timestamp("1990-01-01")).days.to_numpy(dtype=float)
        columns = {}
        for symbol in sorted(symbols):
            place = (ord(symbol[0]) - ord("K")) % 16
            close = 50.0 + place + np.sin(days / (50.0 + place))
            for field, values in {"Adj Close": close / 2, "Close": close, "High": close + 1, "Low": close - 1}.items():
                columns[field, symbol] = values
            columns["Open", symbol], columns["Volume", symbol] = close, close * 0 + 1000.0
        frame = pd.DataFrame(columns, index=index)
        changed = None if self.change is None else self.change(frame)
        return frame if changed is None else changed


def load(
    cache: Path, yahoo: Any, symbols: tuple[str, ...] = ("KO", "PEP"), *, start: str = "2021-03-01", sleep: Any = float,
    end: str = "2021-03-31", **options: Any,
) -> Any:  # fmt: skip
    query = Query(symbols, end, np.datetime64(start) + WARM_UP, **options)
    with patch("yfinance.download", yahoo), patch("time.sleep", sleep), patch(f"{SOURCE}.cache_folder", lambda: cache):
        return load_yahoo(query)


def never(*args: Any, **options: Any) -> pd.DataFrame:
    raise AssertionError("Yahoo was called")


def down(*args: Any, **options: Any) -> pd.DataFrame:
    raise ConnectionError("no route to host")


def test_second_run_reads_the_snapshot_and_gives_the_same_bars(tmp_path: Path) -> None:
    first = load(tmp_path, Yahoo())
    assert load(tmp_path, never).sha256 == first.sha256
    assert load(tmp_path, never, offline=True).sha256 == first.sha256
    part = load(tmp_path, never, start="2021-03-08", end="2021-03-12")
    assert part.sha256 == first.between("2021-03-08", "2021-03-12").sha256


def test_snapshot_says_what_was_fetched_when_and_with_what(tmp_path: Path) -> None:
    load(tmp_path, Yahoo(), ("KO",))
    (file,) = (tmp_path / "yahoo" / "KO").iterdir()
    kept = read_latest(tmp_path, "KO")
    assert kept is not None and (kept.start, kept.stop) == ("2021-03-01", "2021-04-01")
    assert file.stem.split("-")[1] == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert pd.Timestamp(kept.fetched_at).tz is not None


def test_longer_span_is_fetched_whole_and_only_for_symbols_that_lack_it(tmp_path: Path) -> None:
    load(tmp_path, Yahoo(), ("KO",))
    yahoo = Yahoo()
    load(tmp_path, yahoo, ("KO", "PEP"))
    assert yahoo.asked == [(("PEP",), "2021-03-01", "2021-04-01")]
    yahoo = Yahoo()
    bars = load(tmp_path, yahoo, ("KO",), start="2021-03-10", end="2021-04-30")
    assert yahoo.asked == [(("KO",), "2021-03-01", "2021-05-01")]
    assert str(bars.stamps[0])[:10] == "2021-03-10"


def test_revised_history_is_told_where_and_both_are_kept(tmp_path: Path) -> None:
    load(tmp_path, Yahoo(), ("KO",))

    def revise(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc["2021-03-10", [("Close", "KO"), ("High", "KO")]] += 0.25
        frame[("Adj Close", "KO")] *= 0.99
        return frame.drop(index=pd.Timestamp("2021-03-17"))

    bars = load(tmp_path, Yahoo(change=revise), ("KO",), end="2021-04-30")
    (note,) = (note for note in bars.notes if "differs" in note)
    assert "close on 1 days, first 2021-03-10: 50.9985, now 51.2485" in note
    assert "1 days are in one only, first 2021-03-17" in note
    assert "adjusted closes are rescaled" in note
    assert len(list((tmp_path / "yahoo" / "KO").glob("*.npz"))) == 2


def test_without_connection_the_snapshot_is_used_and_said(tmp_path: Path) -> None:
    load(tmp_path, Yahoo())
    bars = load(tmp_path, down, end="2021-04-30")
    assert any("could not be read (no route to host)" in note and "snapshots" in note for note in bars.notes)
    assert any("snapshot of KO" in note and "before 2021-04-01 only" in note for note in bars.notes)
    with pytest.raises(BarsError, match="no route to host"):
        load(tmp_path, down, ("KO", "XOM"))


def test_offline_without_a_snapshot_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BarsError, match="no snapshot of KO on disk; read it once without offline=True"):
        load(tmp_path, never, offline=True)


def test_failures_are_retried_with_growing_pauses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []
    yahoo = Yahoo(failures=(ConnectionError("reset"), "KO: timed out"))
    bars = load(tmp_path, yahoo, ("KO",), sleep=pauses.append)
    assert (len(yahoo.asked), bars.n_symbols) == (3, 1)
    assert pauses == sorted(pauses) and len(pauses) == 2
    assert capsys.readouterr() == ("", "")


def test_rate_limit_is_said_plainly_and_not_hammered(tmp_path: Path) -> None:
    limited = "YFRateLimitError('Too Many Requests. Rate limited. Try after a while.')"
    yahoo = Yahoo(failures=(limited,) * 9)
    with pytest.raises(BarsError, match="yahoo limits the rate of requests"):
        load(tmp_path, yahoo)
    assert len(yahoo.asked) <= 4


LIMITED = "YFRateLimitError('Too Many Requests. Rate limited. Try after a while.')"


@pytest.mark.parametrize("shape", ["no columns", "empty columns"])
@pytest.mark.parametrize("limited", [("KO",), ("PEP",), ("KO", "XOM")])
@pytest.mark.parametrize("times", [1, 3, 9])
def test_limited_tickers_are_asked_again_alone_and_named(
    limited: tuple[str, ...], times: int, shape: str, tmp_path: Path
) -> None:
    symbols, yahoo = ("KO", "PEP", "XOM"), Yahoo()
    wanted = load(tmp_path / "other", yahoo, symbols).sha256

    def some(asked: list[str], **options: Any) -> pd.DataFrame:
        if len(yahoo.asked) > times:  # the first call was of the bars wanted
            return yahoo(asked, **options)
        frame = yahoo(asked, **options)
        logging.getLogger("yfinance").error(f"{list(limited)}: {LIMITED}")
        gone = [column for column in frame if column[1] in limited]
        if shape == "no columns":
            return frame.drop(columns=gone)
        frame[gone] = np.nan
        return frame

    if times > 3:
        with pytest.raises(BarsError, match=f"limits the rate of requests from here: {', '.join(limited)}; wait"):
            load(tmp_path, some, symbols)
        assert {read_latest(tmp_path, symbol) is not None for symbol in symbols if symbol not in limited} == {True}
        load(tmp_path, Yahoo(), symbols)
        bars = load(tmp_path, some, symbols, end="2021-04-30")
        assert any(f"limits the rate of requests from here: {', '.join(limited)}" in note for note in bars.notes)
    else:
        assert load(tmp_path, some, symbols).sha256 == wanted
        assert [asked for asked, *_ in yahoo.asked[1:]] == [symbols, *[limited] * times]


def test_silent_empty_answer_is_not_asked_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def empty(*args: Any, **options: Any) -> pd.DataFrame:
        calls.append(1)
        return pd.DataFrame()

    with pytest.raises(BarsError, match="delivered nothing for KO"):
        load(tmp_path, empty, ("KO",))
    assert len(calls) == 1


DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "altered": lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"),
    "removed": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_snapshot_is_fetched_again(damage: str, tmp_path: Path) -> None:
    wanted = load(tmp_path, Yahoo(), ("KO",)).sha256
    (file,) = (tmp_path / "yahoo" / "KO").glob("*.npz")
    DAMAGES[damage](file)
    assert read_latest(tmp_path, "KO") is None
    assert load(tmp_path, Yahoo(), ("KO",)).sha256 == wanted
    assert load(tmp_path, never, ("KO",)).sha256 == wanted


def test_an_earlier_span_hides_no_later_bar_of_the_snapshot(tmp_path: Path) -> None:
    late = {"start": "2021-03-01", "end": "2021-06-30"}
    first = load(tmp_path, Yahoo(), ("KO",), **late)
    load(tmp_path, Yahoo(), ("KO",), start="2020-06-01", end="2021-03-31")
    assert load(tmp_path, never, ("KO",), **late, offline=True).sha256 == first.sha256


def test_kill_while_a_snapshot_is_kept_leaves_the_one_before(tmp_path: Path) -> None:
    before = load(tmp_path, Yahoo(), ("KO",))
    code = f"""
import os, sys, pathlib
sys.path[:0] = {[str(ROOT / "tests" / folder) for folder in ("feeds", "cases")]!r}
from test_yahoo import Yahoo, load
os.replace = lambda a, b: os._exit(9)
load(pathlib.Path({str(tmp_path)!r}), Yahoo(), ("KO",), end="2021-04-30")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, capture_output=True)
    assert done.returncode == 9, done.stderr
    assert load(tmp_path, never, ("KO",), offline=True).sha256 == before.sha256
    assert load(tmp_path, Yahoo(), ("KO",), end="2021-04-30").n_bars > before.n_bars


@pytest.mark.parametrize("symbol", ["../../escape", "a/b", "..", ".", "^GSPC", "BRK-B", "BRK.B", "EURUSD=X"])
def test_no_symbol_leaves_the_cache_folder(symbol: str, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache"
    try:
        load(cache, Yahoo(), (symbol,))
    except BarsError as error:
        assert "no symbol name" in str(error)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent.parent == cache / "yahoo" for path in written) and written


def test_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hybrid_bt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache/hybrid_bt"


def test_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "yahoo").write_text("a file where the folder should be")
    with pytest.raises(BarsError, match=r"cannot be kept in .*XDG_CACHE_HOME"):
        load(tmp_path, Yahoo(), ("KO",))


def test_span_to_fetch_follows_the_warm_up() -> None:
    assert warm_up_start(None) == "1990-01-01"
    assert warm_up_start("2020-01-01") == "2018-01-01"
    assert warm_up_start("1990-06-01") == "1990-01-01"


def test_bad_cells_are_handled_as_anywhere(tmp_path: Path) -> None:
    def spoil(frame: pd.DataFrame) -> None:
        frame.loc["2021-03-10", ("High", "KO")] = 1.0

    with pytest.raises(BarsError, match=r"KO 2021-03-10 high is 1\.0"):
        load(tmp_path, Yahoo(change=spoil), ("KO",))
    assert load(tmp_path, never, ("KO",), handling=Handling(on_bad_data="mend")).n_bars == 23


def test_run_trades_yahoo_offline_from_its_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = ["--data", "yahoo", "--symbols", "QQQ,NVDA", "--start", "2020-01-02", "--end", "2020-06-30", "--no-plots"]
    flags += ["--out", str(tmp_path / "fig")]
    result = CliRunner().invoke(run_main, [*flags, "--offline"])
    assert (result.exit_code, "no snapshot of QQQ" in result.output) == (2, True)
    yahoo = Yahoo()
    monkeypatch.setattr("yfinance.download", yahoo)
    result = CliRunner().invoke(run_main, flags)
    assert result.exit_code == 0, result.output
    assert yahoo.asked == [(("QQQ", "NVDA"), "2018-01-02", "2020-07-01")]
    first = (tmp_path / "fig" / "equity.csv").read_bytes()
    monkeypatch.setattr("yfinance.download", never)
    assert CliRunner().invoke(run_main, [*flags, "--offline"]).exit_code == 0
    assert (tmp_path / "fig" / "equity.csv").read_bytes() == first
    assert "findings" in json.loads((tmp_path / "fig" / "run.json").read_text())["data"]


def test_load_bars_reads_yahoo_through_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("yfinance.download", Yahoo())
    bars = load_bars("yahoo", symbols=["KO"], end="2021-03-31")
    assert len(list((tmp_path / "hybrid_bt" / "yahoo" / "KO").glob("*.npz"))) == 1
    assert load_bars("yahoo", symbols=["KO"], end="2021-03-31", offline=True).sha256 == bars.sha256
