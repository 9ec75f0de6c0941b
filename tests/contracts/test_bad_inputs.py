"""Broken inputs: each gives its documented result, and no input whatever gives a traceback."""

from __future__ import annotations

import gzip
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_bt.commands.data import main
from hybrid_bt.commands.run import main as run_main
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars

HEAD = "date,open,high,low,close,volume"
ROWS = ("2021-03-01,1,3,1,2,10", "2021-03-02,2,4,2,3,20", "2021-03-03,3,5,3,4,30", "2021-03-04,4,6,4,5,40")
GOOD = "\n".join((HEAD, *ROWS)) + "\n"


class Case(NamedTuple):
    """A broken file and what becomes of it: text of the refusal ("" if none), bars left after mend (None: refused)."""

    content: bytes | str
    refusal: str
    mended: int | None = None
    suffix: str = ".csv"


def row(n: int, text: str) -> str:
    """GOOD with its n-th row replaced."""
    return "\n".join((HEAD, *ROWS[: n - 1], text, *ROWS[n:])) + "\n"


def added(*texts: str) -> str:
    return GOOD + "\n".join(texts) + "\n"


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


NOT_A_NUMBER, NO_DATE = r"not a number", r"(is no date|is written in another way than the first); write YYYY-MM-DD"
CASES: dict[str, Case] = {
    # dates
    "unsorted": Case("\n".join((HEAD, ROWS[1], ROWS[0], *ROWS[2:])), "comes after 2021-03-02; .*sort", 4),
    "twice the same row": Case(added(ROWS[3]), "2021-03-04 appears twice", 4),
    "twice with other prices": Case(added("2021-03-04,4,6,4,4.5,40"), "2021-03-04 appears twice", 4),
    "twice far apart": Case(added(ROWS[0]), "comes after", 4),
    "day first": Case(row(1, "01.03.2021,1,3,1,2,10"), NO_DATE),
    "day first with slashes": Case(row(2, "31/03/2021,2,4,2,3,20"), NO_DATE),
    "month first": Case(row(2, "03/02/2021,2,4,2,3,20"), NO_DATE),
    "month by name": Case(row(2, "2 Mar 2021,2,4,2,3,20"), NO_DATE),
    "two digit year": Case(row(2, "21-03-02,2,4,2,3,20"), NO_DATE),
    "no such day": Case(row(2, "2021-02-30,2,4,2,3,20"), NO_DATE),
    "no such month": Case(row(2, "2021-13-01,2,4,2,3,20"), NO_DATE),
    "no such hour": Case(row(2, "2021-03-02T25:00,2,4,2,3,20"), NO_DATE),
    "epoch seconds": Case(row(2, "1614643200,2,4,2,3,20"), NO_DATE),
    "spreadsheet number": Case(row(2, "44257,2,4,2,3,20"), NO_DATE),
    "empty date": Case(row(2, ",2,4,2,3,20"), NO_DATE),
    "year 1500": Case(row(1, "1500-03-01,1,3,1,2,10"), "dates outside 1678 to 2261|is no date"),
    "year 9999": Case(row(4, "9999-03-01,1,3,1,2,10"), "dates outside 1678 to 2261|is no date"),
    "one zone": Case(GOOD.replace(",1,3", "T16:00-05:00,1,3"), "several time zones"),
    "offsets that no exchange has": Case(
        "\n".join((HEAD, *(r.replace(",", f"T16:00:00-0{5 - i // 2}:30,", 1) for i, r in enumerate(ROWS)))),
        "several time zones .*time_zone=",
    ),
    "daylight saving": Case(
        "\n".join((HEAD, *(r.replace(",", f"T16:00:00-0{4 + i % 2}:00,", 1) for i, r in enumerate(ROWS)))),
        "several time zones .*time_zone=",
    ),
    "mixed zones": Case(
        "\n".join((HEAD, *(r.replace(",", f"T16:00:00{'+09:00' if i % 2 else 'Z'},", 1) for i, r in enumerate(ROWS)))),
        "several time zones",
    ),
    # numbers
    "text": Case(row(2, "2021-03-02,2,4,2,n.a.,20"), NOT_A_NUMBER),
    "dash": Case(row(2, "2021-03-02,2,4,2,-,20"), "close is nan", 3),
    "thousands": Case(row(2, '2021-03-02,2,4,2,3,"1,020"'), "not a number; write decimals with a point"),
    "two decimal marks": Case(row(2, '2021-03-02,2.5,4,2,"3,5",20'), "two decimal marks: '2.5' and '3,5'"),
    "bare decimal comma": Case(
        row(2, "2021-03-02,2,0,4,0,2,0,3,5,20"), "line 3 has 10 values, where there are 6 names"
    ),
    "unit": Case(row(2, "2021-03-02,2,4,2,3,20 lots"), NOT_A_NUMBER),
    "formula": Case(row(2, "2021-03-02,2,4,2,=B2,20"), NOT_A_NUMBER),
    "hexadecimal": Case(row(2, "2021-03-02,2,4,2,0xA,20"), NOT_A_NUMBER),
    "truth": Case("date,close\n2021-03-01,True\n2021-03-02,False\n", NOT_A_NUMBER),
    "missing close": Case(row(2, "2021-03-02,2,4,2,,20"), "close is nan", 3),
    "missing high": Case(row(2, "2021-03-02,2,,2,3,20"), "high is nan", 4),
    "missing open": Case(row(2, "2021-03-02,,4,2,3,20"), "open is nan", 3),
    "row without prices": Case(row(2, "2021-03-02,,,,,"), "open is nan", 3),
    "short row": Case(row(2, "2021-03-02,2,4"), "low is nan", 3),
    "zero": Case(row(2, "2021-03-02,2,4,2,0,20"), r"close is 0\.0", 3),
    "negative": Case(row(2, "2021-03-02,2,4,-2,3,20"), r"low is -2\.0", 3),
    "infinite": Case(row(2, "2021-03-02,2,inf,2,3,20"), "high is inf", 3),
    "overflow": Case(row(2, "2021-03-02,2,1e999,2,3,20"), "high is inf", 3),
    "denormal": Case(row(2, "2021-03-02,2,4,5e-324,3,20"), "low is 5e-324", 3),
    "absurd": Case(row(2, "2021-03-02,2,1e300,2,3,20"), "high is 1e\\+300", 3),
    "low above close": Case(row(2, "2021-03-02,2,4,3.5,3,20"), "low must not exceed", 4),
    "high below open": Case(row(2, "2021-03-02,2,1,1,1,20"), "high must not be below", 4),
    "high and low exchanged": Case(row(2, "2021-03-02,2,2,4,3,20"), "low must not exceed", 4),
    "negative volume": Case(row(2, "2021-03-02,2,4,2,3,-20"), r"volume is -20\.0", 4),
    "all prices zero": Case("date,close\n" + "\n".join(f"2021-03-0{d},0" for d in range(1, 5)), r"close is 0\.0"),
    "adjusted close zero": Case("date,close,adj\n2021-03-01,1,1\n2021-03-02,1,0\n2021-03-03,1,1\n", r"adj is 0\.0", 2),
    # shape
    "empty file": Case("", "is empty"),
    "blank lines only": Case("\n\n\n", "is empty|cannot be read|has no"),
    "header only": Case(HEAD + "\n", "has no rows"),
    "one bar": Case(f"{HEAD}\n{ROWS[0]}\n", r"holds 1 bar\(s\)"),
    "no header": Case("\n".join(ROWS), "no header, and open and close may be exchanged"),
    "no close": Case("date,open,volume\n2021-03-01,1,1\n2021-03-02,1,1\n", "no close column"),
    "no date": Case("day,close\nMonday,1\nTuesday,1\n", "no date column"),
    "two closes": Case("date,close,Close\n2021-03-01,1,1\n", "more than one column"),
    "half a range": Case("date,open,close\n2021-03-01,1,1\n2021-03-02,1,1\n", "only some of open, high and low"),
    "long row": Case(row(2, ROWS[1] + ",7"), "cannot be read as CSV"),
    "web page": Case("<html><body>Sign in</body></html>\n", "no date column"),
    "two header rows": Case("a,b,c\nTicker,KO,KO\n2021-03-01,1,1\n", "2 rows of headers; keep one"),
    "unclosed quote": Case(row(2, '2021-03-02,2,4,2,"3,20'), "cannot be read as CSV|not a number|is nan"),
    # encoding and packing
    "utf-16 cut in a character": Case(GOOD.encode("utf-16")[:-1], "cannot be read as CSV"),
    "latin-1": Case(GOOD.encode() + "2021-03-05,5,7,5,6,é\n".encode("latin-1"), "cannot be read as CSV in UTF-8"),
    "binary": Case(bytes(range(256)) * 40, "cannot be read as CSV|no close column|is empty"),
    "nul bytes": Case(b"\0" * 500, "cannot be read|no close column|has no|is empty"),
    "line without end": Case(b"date,close\n" + b"1" * (3 << 20), "line of more than 1048576 bytes"),
    "no gzip": Case(GOOD, "cannot be read as CSV", suffix=".csv.gz"),
    "truncated gzip": Case(zipped(GOOD * 500)[:-60], "cannot be read as CSV", suffix=".csv.gz"),
    "gzip cut in its trailer": Case(zipped(GOOD)[:-4], "cannot be read as CSV", suffix=".csv.gz"),
    "gzip with a wrong sum": Case(zipped(GOOD)[:-8] + b"\0" * 8, "cannot be read as CSV", suffix=".csv.gz"),
    "gzip that claims 10 GB": Case(
        zipped(GOOD)[:-4] + struct.pack("<I", 10**10 % 2**32), "cannot be read as CSV", suffix=".csv.gz"
    ),
    "gzip bomb": Case(gzip.compress(b"0" * (64 << 20), 1), "line of more than", suffix=".csv.gz"),
    "no parquet": Case(GOOD, "cannot be read as Parquet", suffix=".parquet"),
    "parquet of magic only": Case(b"PAR1" + b"\0" * 64 + b"PAR1", "cannot be read as Parquet", suffix=".parquet"),
    "parquet that claims 10 GB": Case(
        b"PAR1" + b"\x15" * 64 + struct.pack("<I", 2**31 - 1) + b"PAR1", "cannot be read as Parquet", suffix=".parquet"
    ),
}


def put(folder: Path, case: Case) -> Path:
    path = folder / f"KO{case.suffix}"
    path.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    return path


def test_corpus_is_large() -> None:
    assert len(CASES) + len(PATHS) + len(FINE) >= 60


@pytest.mark.parametrize("name", CASES)
def test_broken_file_is_refused_and_mended_as_documented(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = put(tmp_path, case)
    with pytest.raises(BarsError, match=case.refusal) as told:
        load_bars(path)
    assert not re.search("tokenizing|C error|Length of header|dtype|engine", str(told.value)), "pandas' own words"
    if case.mended is None:
        with pytest.raises(BarsError):
            load_bars(path, on_bad_data="mend")
    else:
        assert load_bars(path, on_bad_data="mend").n_bars == case.mended
    result = CliRunner().invoke(main, ["check", str(path)])
    assert (result.exit_code, result.exception is None or isinstance(result.exception, SystemExit)) == (1, True)
    assert result.output.startswith("error: ")


FINE: dict[str, bytes] = {
    "BOM": b"\xef\xbb\xbf" + GOOD.encode(),
    "carriage returns": GOOD.replace("\n", "\r\n").encode(),
    "newest first": "\n".join((HEAD, *ROWS[::-1])).encode(),
    "currency": GOOD.replace(",4,2", ",$4,2").encode(),
    "thousands of shares": GOOD.replace(",20\n", ",0.02K\n").encode(),
    "semicolons": GOOD.replace(",", ";").encode(),
    "tabs": GOOD.replace(",", "\t").encode(),
    "spaces": GOOD.replace(",", "  ").encode(),
    "utf-16": GOOD.encode("utf-16"),
    "decimal comma": GOOD.replace(",", ";").replace("2;4;2;3", "2,0;4,00;2;3,0").encode(),
    "old Mac line ends": GOOD.replace("\n", "\r").encode(),
    "blank lines": GOOD.replace("\n", "\n\n").encode(),
    "no newline at the end": GOOD.rstrip().encode(),
    "capitals and spaces": GOOD.replace("date,open", " DATE , Open").encode(),
    "slashes, year first": GOOD.replace("-", "/").encode(),
    "unpunctuated dates": GOOD.replace("-", "").encode(),
    "days of a zone": "\n".join((HEAD, *(r.replace(",", "T00:00:00+09:00,", 1) for r in ROWS))).encode(),
    "closes of a zone": "\n".join((HEAD, *(r.replace(",", "T16:00:00-05:00,", 1) for r in ROWS))).encode(),
    "quoted cells": GOOD.replace("2021-03-01,1", '"2021-03-01","1"').encode(),
    "unknown columns": "\n".join(f"{line},note" for line in GOOD.split()).encode(),
    "columns in any order": "\n".join(",".join(line.split(",")[::-1]) for line in GOOD.split()).encode(),
}


@pytest.mark.parametrize("name", FINE)
def test_harmless_variant_gives_the_same_bars(name: str, tmp_path: Path) -> None:
    plain, variant = tmp_path / "plain", tmp_path / "variant"
    for folder, content in ((plain, GOOD.encode()), (variant, FINE[name])):
        folder.mkdir()
        (folder / "KO.csv").write_bytes(content)
    assert load_bars(variant).sha256 == load_bars(plain).sha256


# --- paths and names ---


def long_symbols(*names: str) -> str:
    lines = [f"2021-03-0{day},{name},{day}" for day in (1, 2) for name in names]
    return "date,symbol,close\n" + "\n".join(lines) + "\n"


def folder_of(tmp_path: Path, **contents: str) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name.replace("_DOT_", ".")).write_text(content)
    return folder


def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    return tmp_path / "loop.csv"


def subfolder(tmp_path: Path) -> Path:
    (tmp_path / "own" / "KO.csv").mkdir(parents=True)
    return tmp_path / "own"


def pipe(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    os.mkfifo(tmp_path / "own" / "KO.csv")
    return tmp_path / "own"


PATHS: dict[str, tuple[Callable[[Path], Path], str, int]] = {
    "nothing there": (lambda t: t / "none", "neither a source nor an existing path", 2),
    "name too long": (lambda t: t / ("x" * 5000), "neither a source nor an existing path", 2),
    "NUL in the name": (lambda t: Path(f"{t}/a\0b"), "neither a source nor an existing path", 2),
    "link to itself": (loop, "neither a source nor an existing path|cannot be read", 2),
    "folder without files": (lambda t: folder_of(t), r"holds no \.csv\.gz", 2),
    "folder of other files": (lambda t: folder_of(t, notes_DOT_md="x"), r"holds no \.csv\.gz", 2),
    "hidden files only": (lambda t: folder_of(t, _DOT_KO_DOT_csv=GOOD), r"holds no \.csv\.gz", 2),
    "pipe": (pipe, "is no regular file", 1),
    "folder named like a file": (subfolder, "cannot be read|holds no", 1),
    "other kind of file": (lambda t: folder_of(t, KO_DOT_doc=GOOD) / "KO.doc", "is no table", 2),
    "no workbook": (
        lambda t: folder_of(t, KO_DOT_xlsx=GOOD) / "KO.xlsx",
        "cannot be read as Excel: it is no workbook",
        1,
    ),
    "no JSON": (lambda t: folder_of(t, KO_DOT_json=GOOD) / "KO.json", "cannot be read as JSON", 1),
    "no zip": (lambda t: folder_of(t, KO_DOT_zip=GOOD) / "KO.zip", "cannot be read as zip", 1),
    "symbol with a slash": (lambda t: folder_of(t, a_DOT_csv=long_symbols("A/B", "C")), "is no symbol name", 1),
    "symbol that climbs": (lambda t: folder_of(t, a_DOT_csv=long_symbols("../../etc", "C")), "is no symbol name", 1),
    "symbol with a backslash": (lambda t: folder_of(t, a_DOT_csv=long_symbols("A\\B", "C")), "is no symbol name", 1),
    "symbol of 40 letters": (lambda t: folder_of(t, a_DOT_csv=long_symbols("A" * 40, "C")), "is no symbol name", 1),
    "symbol with a space": (lambda t: folder_of(t, a_DOT_csv=long_symbols("A B", "C")), "is no symbol name", 1),
    "file name with a colon": (lambda t: folder_of(t, **{"K:O_DOT_csv": GOOD}), "is no symbol name", 1),
    "symbol in two files": (
        lambda t: folder_of(t, KO_DOT_csv=GOOD, a_DOT_csv=long_symbols("KO")),
        "comes from a.csv and from another file",
        1,
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_bad_path_or_name_is_refused_without_a_traceback(name: str, tmp_path: Path) -> None:
    make, refusal, status = PATHS[name]
    path = make(tmp_path)
    with pytest.raises(BarsError, match=refusal):
        load_bars(path)
    if "\0" in str(path):
        return  # no shell can say it
    result = CliRunner().invoke(main, ["check", str(path)])
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (status, True), result.output


def test_source_without_a_name_is_refused() -> None:
    with pytest.raises(BarsError, match="no name"):
        load_bars("")  # not the folder that one happens to be in


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet"])
def test_file_of_too_many_rows_is_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_bt.feeds.files.MOST_ROWS", 3)
    if suffix == ".parquet":
        pd.DataFrame({"date": pd.bdate_range("2021-03-01", periods=4), "close": 1.0}).to_parquet(
            tmp_path / "KO.parquet"
        )
    else:
        (tmp_path / "KO.csv.gz").write_bytes(zipped(GOOD))
    with pytest.raises(BarsError, match="more than 3 rows"):
        load_bars(tmp_path / f"KO{suffix}")


def test_run_answers_in_one_line_with_status_2(tmp_path: Path) -> None:
    for name in ("truncated gzip", "day first", "web page"):
        result = CliRunner().invoke(run_main, ["--data", str(put(tmp_path, CASES[name]))])
        assert result.exit_code == 2
        assert result.output.startswith("error: bars: ") and result.output.count("\n") == 1
        (tmp_path / f"KO{CASES[name].suffix}").unlink()


def test_zones_that_differ_between_symbols_are_refused_even_when_mending(tmp_path: Path) -> None:
    def zoned(zone: str) -> str:
        return "\n".join((HEAD, *(r.replace(",", f"T16:00:00{zone},", 1) for r in ROWS))) + "\n"

    path = folder_of(tmp_path, KO_DOT_csv=zoned("-05:00"), SONY_DOT_csv=zoned("+09:00"))
    for mode in ("mend", "warn"):
        with pytest.raises(BarsError, match="several time zones"):
            load_bars(path, on_bad_data=mode)  # type: ignore[arg-type]


def test_parquet_without_a_date_is_left_out_by_mend(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": pd.to_datetime(["2021-03-01", None, "2021-03-03"]), "close": [1.0, 2.0, 3.0]})
    frame.to_parquet(tmp_path / "KO.parquet")
    with pytest.raises(BarsError, match="row 2 has no date"):
        load_bars(tmp_path / "KO.parquet")
    assert load_bars(tmp_path / "KO.parquet", on_bad_data="mend").n_bars == 2


# --- fuzz ---

CELLS = st.one_of(
    st.sampled_from(["", "1", "2.5", "-1", "0", "nan", "inf", "1e400", "x", '"', "1,5", "2021-03-02", "\0", "True"]),
    st.text(max_size=6),
    st.floats().map(repr),
)
NAMES = st.sampled_from(["date", "open", "high", "low", "close", "volume", "adj close", "symbol", "KO", "PEP", ""])
DATES = st.one_of(
    st.dates().map(str),
    st.sampled_from(["2021-03-01", "2021-03-02", "2021-03-02", "2021-03-04T10:00", "2021-03-04T10:00Z"]),
    CELLS,
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Something like a CSV file."""
    names = ["date", *draw(st.lists(NAMES, max_size=6))]
    rows = draw(st.lists(st.tuples(DATES, st.lists(CELLS, max_size=len(names))), max_size=6))
    lines = [",".join(names), *(",".join((day, *cells)) for day, cells in rows)]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode("utf-8", "surrogatepass")


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(tables(), st.binary(max_size=200)), mode=st.sampled_from(["fail", "mend", "warn"]))
def test_any_csv_gives_sound_bars_or_a_refusal(content: bytes, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "KO.csv"
    path.write_bytes(content)
    try:
        bars = load_bars(path, on_bad_data=mode)  # type: ignore[arg-type]
    except BarsError as error:
        assert str(error).startswith("bars: ")
        return
    assert bars.n_bars >= 2 and (np.diff(bars.stamps).astype(np.int64) > 0).all()
    for values in (bars.open, bars.high, bars.low, bars.close):
        assert ((values > 0.0) & np.isfinite(values) | np.isnan(values)).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(tables(), st.binary(max_size=200)))
def test_check_command_never_ends_in_a_traceback(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "KO.csv").write_bytes(content)
    result = CliRunner().invoke(main, ["check", str(tmp_path / "KO.csv")])
    assert result.exit_code in (0, 1, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 200), flip=st.integers(0, 200), bit=st.integers(1, 255))
def test_damaged_gzip_gives_the_bars_or_a_refusal(cut: int, flip: int, bit: int, tmp_path: Path) -> None:
    whole = bytearray(zipped(GOOD))
    whole[flip % len(whole)] ^= bit
    (tmp_path / "KO.csv.gz").write_bytes(bytes(whole[: len(whole) - cut % 20]))
    try:
        load_bars(tmp_path / "KO.csv.gz")
    except BarsError as error:
        assert str(error).startswith("bars: ")
