"""Several calendars: the union with nothing carried forward, or the bars that all have; and prices adjusted or raw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars
from hybrid_bt.commands.run import main as run
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import BarsError, ConfigError
from hybrid_bt.feeds import load_bars

FREE, FRACTIONS = Costs(0.0, 0.0, 0.0), OrderRules(lot=0.0)


def walks(n: int = 320) -> dict[str, pd.DataFrame]:
    """Three symbols: AA whole, BB without some bars, CC late and ending early."""
    rng = np.random.default_rng(7)
    days = pd.bdate_range("2015-01-02", periods=n, name="date")
    frames = {
        name: pd.DataFrame({"close": np.round(40 * np.exp(np.cumsum(rng.normal(0, 0.01, n))), 4)}, index=days)
        for name in ("AA", "BB", "CC")
    }
    frames["BB"] = frames["BB"].drop(days[[100, 101, 280]])
    frames["CC"] = frames["CC"].iloc[5:-20]
    return frames


def test_union_keeps_every_bar_and_fills_none() -> None:
    frames = walks()
    bars = load_bars(frames)
    assert bars.n_bars == 320 and np.isnan(bars.close[[100, 101, 280], 1]).all()
    assert np.isnan(bars.open[:5, 2]).all() and np.isnan(bars.close[-20:, 2]).all()
    assert int((~bars.traded).sum()) == 28


def test_intersection_keeps_the_bars_that_all_have() -> None:
    frames = walks()
    bars = load_bars(frames, align="intersection")
    common = frames["AA"].index.intersection(frames["BB"].index).intersection(frames["CC"].index)
    assert bars.traded.all() and bars.stamps.tolist() == common.to_numpy().astype("M8[ns]").tolist()
    assert bars.close[:, 1].tolist() == frames["BB"].loc[common, "close"].tolist()
    assert bars.notes[-1] == "data: on the 292 bars that all symbols have; left out: AA 28, BB 25, CC 3"
    assert {one.action for one in bars.findings if one.rule in ("missing_bars", "late_listing", "delisted")} == {
        "left out of all symbols"
    }
    whole = {name: frame.loc[common] for name, frame in frames.items()}
    assert load_bars(whole, align="intersection").sha256 == load_bars(whole).sha256 == bars.sha256


def test_nothing_in_common_is_refused() -> None:
    frames = walks()
    with pytest.raises(BarsError, match=r"have 0 bar\(s\) in common.*align='union'"):
        load_bars({"AA": frames["AA"].iloc[:50], "CC": frames["CC"].iloc[-50:]}, align="intersection")
    with pytest.raises(ConfigError, match="align is 'both'"):
        load_bars(frames, align="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("align", ["union", "intersection"])
def test_run_counts_what_was_missing(align: str, tmp_path: Path) -> None:
    place = tmp_path / "own"
    place.mkdir()
    for name, frame in walks().items():
        frame.to_csv(place / f"{name}.csv")
    flags = ["--data", str(place), "--pairs", "AA:BB", "--align", align, "--no-plots", "--no-ledger"]
    result = CliRunner().invoke(run, [*flags, "--out", str(tmp_path / "fig")])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "fig" / "run.json").read_text())
    missing = {"union": 21, "intersection": 0}  # BB's hole at 280 and CC's end lie behind the warm-up
    assert document["gaps"]["missing_bars"] == missing[align]
    assert document["data"]["findings"]["missing_bars"]["bars"] == 3
    assert document["replay_difference"] < 1e-9


def test_symbol_without_a_bar_is_valued_at_its_last_close_and_not_traded() -> None:
    close = np.array([[10.0, 20.0], [10.0, 20.0], [11.0, np.nan], [12.0, np.nan], [12.0, 30.0]])
    bars = Bars.checked("hand", ("AA", "BB"), np.arange("2020-01-01", "2020-01-06", dtype="M8[D]"), close)
    targets = np.array([[0.0, 0.5], [0.0, 0.5], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    path = replay(targets, bars, cash=1000.0, costs=FREE)
    assert path.size[:, 1].tolist() == [0.0, 25.0, 25.0, 25.0, 25.0]
    assert path.equity.tolist() == [1000.0, 1000.0, 1000.0, 1000.0, 1250.0]  # at 20 until it trades at 30


# --- corporate actions ---


def dividend_frame() -> tuple[pd.DataFrame, list[float]]:
    """Raw closes with a 2-for-1 split long past, and a dividend of 2 that goes ex on the third day.

    Yahoo's factor for the days before: 1 - dividend / last close before = 1 - 2/100.
    """
    raw = [98.0, 100.0, 99.0, 103.0]
    factor = 1.0 - 2.0 / 100.0
    adjusted = [raw[0] * factor, raw[1] * factor, raw[2], raw[3]]
    frame = pd.DataFrame(
        {"open": raw, "high": raw, "low": raw, "close": raw, "adj close": adjusted, "volume": 1000.0},
        index=pd.bdate_range("2020-01-06", periods=4, name="date"),
    )
    return frame, raw


def test_total_return_of_adjusted_prices_is_that_of_raw_ones_with_the_dividend_reinvested() -> None:
    frame, raw = dividend_frame()
    bars = load_bars({"AA": frame})
    targets = np.array([[0.9], [np.nan], [np.nan], [np.nan]])  # bought at the close of day 2, held
    path = replay(targets, bars, cash=1e6, costs=FREE, rules=FRACTIONS)
    # by hand: bought at the close of day 2 at 100, the dividend of 2 buys 2/98 of a share at the ex-dividend value of
    # 98 that the close before leaves (Yahoo's convention), and the whole is worth 103 each at the end
    reinvested = (1.0 + 2.0 / 98.0) * raw[3] / raw[1]
    paid = path.size[1, 0] * bars.close[1, 0]
    assert (path.equity[-1] - path.equity[1]) / paid == pytest.approx(reinvested - 1.0, rel=1e-9)
    untouched = load_bars({"AA": frame}, raw_prices=True)
    assert untouched.close[:, 0].tolist() == raw
    assert untouched.close[-1, 0] / untouched.close[1, 0] == pytest.approx(1.03)


def test_short_pays_the_dividend_through_adjusted_prices() -> None:
    frame, raw = dividend_frame()
    bars = load_bars({"AA": frame})
    targets = np.array([[-0.5], [np.nan], [np.nan], [np.nan]])  # sold once at the close of day 2, held
    path = replay(targets, bars, cash=1e9, costs=FREE, rules=FRACTIONS)
    # by hand: on a notional of N the price return costs 3 %, and the dividend 2/98 more, itself risen by 3 %
    notional = -path.size[1, 0] * bars.close[1, 0]
    assert path.equity[-1] - path.equity[1] == pytest.approx(-notional * ((1 + 2 / 98) * 1.03 - 1), rel=1e-9)
    assert raw[3] / raw[1] == 1.03
