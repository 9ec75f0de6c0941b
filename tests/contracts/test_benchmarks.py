"""The benchmarks run, and what they compare is equal: each raises where two accounts or answers differ."""

from __future__ import annotations

import argparse
import sys

import pytest
from places import ROOT


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


LONGER = [
    pytest.param(part, marks=pytest.mark.slow) for part in ("policies", "env", "replay")
]  # they compile or freeze


@pytest.mark.parametrize("part", ["feeds", "kalman", "rivals", *LONGER])
def test_a_part_of_the_quick_table(part: str) -> None:
    from benchmarks.__main__ import groups, line

    given = argparse.Namespace(quick=True, finrl=None, vectorbt=None, minutes=None)
    rows = groups(given)[part]()
    assert rows
    for row in rows:
        assert row.bound.kind == "skipped" or row.ours > 0.0
        assert row.what in line(row)


def test_the_obvious_build_trades(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from benchmarks import obvious_build

    monkeypatch.setattr(sys, "argv", ["obvious_build", "--bars", "330"])
    obvious_build.main()
    assert float(capsys.readouterr().out.split()[-1]) > 0.0


def test_a_miss_is_marked() -> None:
    from benchmarks.__main__ import line
    from benchmarks.measure import Row, at_least, at_most

    assert "10 ok" in line(Row("x", "us", 1.0, "y", 10.0, at_least(10.0)))
    assert "10 MISS" in line(Row("x", "us", 1.0, "y", 9.0, at_least(10.0)))
    assert "2 MISS" in line(Row("x", "us", 2.1, "y", 1.0, at_most(2.0)))
