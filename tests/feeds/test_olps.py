"""The sets of universal-portfolios: numbered symbols, rebuilt dates, and plain words where something is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import SOURCES, load_bars
from hybrid_bt.feeds.sample import DAYS, PREFIX, online_weights

SHAPES = {
    "nyse_o": (5651, 36),
    "nyse_n": (6431, 23),
    "tse": (1259, 87),
    "sp500": (1276, 25),
    "djia": (507, 30),
    "msci": (1043, 24),
}
ROWS = ["A,B,\x85", "1.01,1.5,1.0", "1.02,1.4,1.9", "0.99,1.45,1.85"]  # the third moves by 90 % on the second day


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the package has them; what is in them, and its code, are ours."""
    folder = tmp_path / "universal" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "universal" / "__init__.py").write_text("raise_if_run = True\n")
    for name in DAYS:
        (folder / f"{name}.csv").write_text("\n".join([*ROWS, "1.0,1.44,1.9"]), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "universal", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop("universal", None)


@pytest.mark.parametrize("name", DAYS)
def test_every_set_is_read_with_its_dates_and_notes(name: str, package: Path) -> None:
    bars = load_bars(PREFIX + name)
    assert (bars.name, bars.symbols, bars.n_bars) == (name, ("S01", "S02", "S03"), 4)
    assert str(bars.stamps[0])[:10] == DAYS[name][0]
    weekday = (bars.stamps.astype("M8[D]").astype(int) + 3) % 7
    assert (weekday < 5).all() and (np.diff(bars.stamps.astype("M8[D]")) >= np.timedelta64(1, "D")).all()
    assert bars.close[:, 0].tolist() == [1.01, 1.02, 0.99, 1.0]
    told = " ".join(bars.notes)
    assert "dates are rebuilt" in told and DAYS[name][1] in told and "survivorship" in told


def test_a_column_with_an_impossible_move_is_left_out_by_name(package: Path) -> None:
    (package / "tse.csv").write_text("\n".join([*ROWS, "1.0,1.44,0.18"]), encoding="utf-8")
    bars = load_bars("olps:tse")
    assert bars.symbols == ("S01", "S02")
    assert any(note.startswith("tse: S03 is left out: it moves by ") for note in bars.notes)
    with pytest.raises(BarsError, match="no symbol 'S03'"):
        load_bars("olps:tse", symbols=["S03"])
    second = str(bars.stamps[1])[:10]
    assert load_bars("olps:tse", symbols=["S02"], end=second).close.tolist() == [[1.5], [1.4]]


@pytest.mark.parametrize("name", DAYS)
def test_without_the_package_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "universal", None)
    with pytest.raises(BarsError, match=rf"olps:{name} needs universal-portfolios: pip install '\.\[markets\]'"):
        load_bars(PREFIX + name)
    with pytest.raises(ConfigError, match=r"pip install '\.\[markets\]'"):
        online_weights("CRP", np.ones((3, 2)))


def test_a_set_that_is_none_gets_the_nearest() -> None:
    with pytest.raises(BarsError, match="did you mean 'olps:nyse_o'"):
        load_bars("olps:nyse_0")
    assert {PREFIX + name for name in DAYS} < SOURCES.keys()


@pytest.mark.skipif(find_spec("universal") is None, reason="extra `markets`")
@pytest.mark.parametrize("name", DAYS)
def test_the_sets_are_those_of_the_literature(name: str) -> None:
    bars = load_bars(PREFIX + name)
    assert bars.close.shape == SHAPES[name] and bars.traded.all()
    assert str(bars.stamps[-1])[:10] == DAYS[name][1]
