"""Numbers as texts: stamps, CSV, plain data."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.errors import ConfigError, HybridError, NewsError, os_errors
from hybrid_bt.files.texts import TEXT, cells, csv_of_columns, csv_of_rows, html_table, plain, stamp_texts


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("two\n  lines"), "it: two lines; do"),
        (RuntimeError(), "it: RuntimeError; do"),
        (ValueError("x" * 5_000), f"it: {'x' * 300}; do"),
        (FileNotFoundError(2, "No such file", "a"), "it: No such file; do"),
        (NewsError("told already"), "told already"),
    ],
)
def test_what_a_library_refuses_is_one_line_and_what_is_told_stays(raised: Exception, said: str) -> None:
    with pytest.raises(HybridError) as told, os_errors(ConfigError, "it", "do", of=(ValueError, RuntimeError, OSError)):
        raise raised
    assert str(told.value) == said


def test_dates_have_a_time_only_where_bars_have():
    assert stamp_texts(np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]")) == ["2020-01-01", "2020-01-02"]
    mixed = np.array(["2020-01-01T00:00", "2020-01-01T09:30"], "datetime64[ns]")
    assert stamp_texts(mixed) == ["2020-01-01T00:00:00", "2020-01-01T09:30:00"]


def test_one_writer_writes_every_csv_file():
    head = ("name", "value", "count", "said")
    table = [("a", 0.1 + 0.2, 3, 'x, "y"'), ("b", np.float64(1e-300), 4, "two\nlines"), ("c", math.nan, 5, "")]
    text = csv_of_rows((head, *table))
    assert csv_of_columns(zip(*table, strict=True), head) == text
    assert text.splitlines()[1] == 'a,0.30000000000000004,3,"x, ""y"""' and text.endswith("\nc,,5,\n")
    read = list(csv.reader(text.splitlines(keepends=True)))
    assert tuple(read[0]) == head and float(read[2][1]) == 1e-300 and read[2][3] == "two\nlines"
    square = np.array([[1.5, math.nan], [-0.0, math.inf]])
    assert csv_of_columns([square, range(4)]) == "1.5,0\n,1\n-0.0,2\ninf,3\n", "arrays in row-major order"
    with pytest.raises(ValueError, match="shorter"):
        csv_of_columns([square, range(3)])


@given(st.lists(st.floats() | st.integers(-25, 25).map(lambda k: 10.0**k) | st.integers(-(2**60), 2**60).map(float)))
def test_a_float_is_written_as_python_writes_it(numbers: list[float]) -> None:
    """Whatever writes it: files of many years are compared byte by byte."""
    wanted = ["" if number != number else repr(number) for number in numbers]
    assert cells(np.array(numbers)) == wanted
    whole = [int(number) for number in numbers if abs(number) < 2**62]
    assert cells(np.array(whole, np.int64)) == list(map(repr, whole))


@given(st.text(), st.sampled_from(["", "=", "+", "-", "@", "\t=", "\r=", "=HYPERLINK(", "-2+3+cmd|", "+1-"]))
def test_no_text_is_written_as_a_formula(tail: str, head: str) -> None:
    """And every text can be had again."""
    for text in (csv_of_rows([(head + tail, 1.0)]), csv_of_columns([[head + tail], [1.0]])):
        (read, number), *_ = csv.reader(io.StringIO(text, newline=""))
        assert number == "1.0" and read.removeprefix("'") in (head + tail, (head + tail).removeprefix("'"))
        assert not read.startswith(("=", "@", "\t", "\r"))
        if read.startswith(("+", "-")):
            assert not set("=(|!@*/&") & set(read), "what calls anything has one of these"


@pytest.mark.parametrize(
    "number", [-0.5, "-0.5", "+1.25", "-3", "-1e-05", "-12%", "-inf", "+nan", "-1,234.5", float("-inf"), -7]
)
def test_numbers_are_no_formulas(number: object) -> None:
    assert csv_of_rows([("KO", number)]).strip("\n").replace('"', "") == f"KO,{number}"


def test_plain_refuses_what_has_no_json_form():
    assert plain({"a": (np.float64(1.5), np.nan, np.datetime64("2020-01-01"))}) == {"a": [1.5, None, "2020-01-01"]}
    with pytest.raises(TypeError, match="no JSON form"):
        plain({"a": object()})


def test_a_table_of_html_is_escaped_and_its_figures_have_a_real_minus():
    table = html_table(("a", "b"), [("x<y", "-1.5"), ("hybrid", "R&D -2")], chief="hybrid", kinds=(TEXT,))
    head = '<tr><th class="text">a</th><th>b</th></tr>'
    rows = '<tr><td class="text">x&lt;y</td><td>\u22121.5</td></tr>'
    chief = '<tr class=chief><td class="text">hybrid</td><td>R&amp;D -2</td></tr>'
    assert table == f'<div style="overflow-x:auto"><table>{head}{rows}{chief}</table></div>'
    assert "<table><tr><td>x</td></tr></table>" in html_table((), [("x",)])
