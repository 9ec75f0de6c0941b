"""`hybrid-bt pairs`: the choice of `pairs="auto"`, with tests that find planted pairs, not chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from strategy_cases import cerebro_of, ran

from hybrid_bt.bars import Bars
from hybrid_bt.brain.pair_selection import Candidate, find_pairs, judged, with_found_pairs
from hybrid_bt.commands.pairs import main
from hybrid_bt.feeds import load_bars, to_feeds


def panel(n: int, t: int = 1000, seed: int = 0, planted: bool = False) -> Bars:
    """Independent walks; where planted, S1 is 0.8 times S0 and a deviation with a half-life of 10 bars."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 0.015, (t, n)).cumsum(axis=0) + 4.0
    if planted:
        deviation = np.zeros(t)
        shocks = rng.normal(0, 0.01, t)
        for k in range(1, t):
            deviation[k] = deviation[k - 1] * 0.5**0.1 + shocks[k]
        logs[:, 1] = 0.8 * logs[:, 0] + deviation
    close = np.exp(logs)
    stamps = np.datetime64("2000-01-03", "ns") + np.arange(t) * np.timedelta64(1, "D")
    return Bars("walks", tuple(f"S{i}" for i in range(n)), stamps, close, close, close, close, np.zeros_like(close))


def judgements(bars: Bars) -> list[Candidate]:
    """All pairs, the smallest p-value first."""
    found = find_pairs(bars.symbols, bars.close, bars.n_bars)
    return sorted(judged(found, bars.close, 99), key=lambda candidate: candidate.p_value)


def test_a_planted_pair_has_the_smallest_p_value() -> None:
    best = judgements(panel(6, planted=True))[0]
    assert best.pair == "S1:S0", "S1 varies less"
    assert best.q_value < 0.05
    assert best.half_life_bars == pytest.approx(10.0, rel=0.4)
    assert best.hedge_ratio == pytest.approx(0.8, rel=0.1)
    assert abs(best.stability) < 0.3


def test_walks_that_only_look_alike_have_no_small_q() -> None:
    """Of 30 panels without any pair at most a tenth, and some, may name one: the family-wise level under the null."""
    panels = [judgements(panel(5, t=500, seed=seed)) for seed in range(30)]
    assert sum(any(c.q_value <= 0.1 for c in found) for found in panels) <= 3
    lucky = [c.p_value <= 0.1 for found in panels for c in found]
    assert 0 < sum(lucky) < 0.2 * len(lucky), "without control some would"


def test_bars_after_training_change_nothing(tmp_path: Path):
    """The prices of a folder are altered after --train-end; the answer stays."""
    bars = panel(3, planted=True)
    answers = []
    for factor in (1.0, 1.7):
        folder = tmp_path / str(factor)
        folder.mkdir()
        for i, symbol in enumerate(bars.symbols):
            close = bars.close[:, i].copy()
            close[600:] *= np.linspace(1.0, factor, 400)
            days = np.datetime_as_string(bars.stamps, "D")
            rows = "\n".join(f"{day},{price!r}" for day, price in zip(days, close.tolist(), strict=True))
            (folder / f"{symbol}.csv").write_text(f"date,close\n{rows}\n")
        end = np.datetime_as_string(bars.stamps[599], "D")
        answers.append(CliRunner().invoke(main, ["--data", str(folder), "--train-end", str(end), "--json"]).stdout)
    assert answers[0] == answers[1]
    assert json.loads(answers[0])[0]["bars"] == 504


def listed(*flags: str) -> list[dict[str, Any]]:
    answer = CliRunner().invoke(main, [*flags, "--json"])
    assert answer.exit_code == 0, answer.output
    rows: list[dict[str, Any]] = json.loads(answer.stdout)
    return rows


def test_the_command_prints_what_run_takes(tmp_path: Path) -> None:
    out = tmp_path / "pairs.csv"
    flags = ["--symbols", "MSFT,KO,PEP,MRK,PFE", "--out", str(out), "--top", "1"]
    answer = CliRunner().invoke(main, flags)
    assert answer.exit_code == 0 and "half-life" in answer.stdout and "distance" in answer.stdout
    chosen = answer.stdout.splitlines()[-1].removeprefix("--pairs=").split(",")
    rows = listed(*flags)
    assert [row["pair"] for row in rows if row["chosen"]] == chosen and len(chosen) > 1
    assert out.read_text().splitlines()[0] == ",".join(Candidate._fields)
    assert len(out.read_text().splitlines()) == len(rows) + 1 == len(chosen) + 1, "the chosen are listed beyond --top"
    assert [row["distance"] for row in rows] == sorted(row["distance"] for row in rows)


def test_the_command_chooses_what_auto_does_on_the_same_bars() -> None:
    bars = load_bars("us20", end="2011-12-30")
    start = bars.stamps[np.searchsorted(bars.stamps, np.datetime64("2010-01-01"))].astype("M8[us]").item()
    strategy = ran(cerebro_of(to_feeds(bars.between("2007-01-01", None))), pairs="auto", trade_from=start)
    assert strategy.pair_names == tuple(row["pair"] for row in listed() if row["chosen"]) != ()


def test_train_start_widens_the_span() -> None:
    assert {row["bars"] for row in listed("--symbols", "KO,PEP")} == {504}
    assert listed("--symbols", "KO,PEP", "--train-start", "2000-01-01")[0]["bars"] > 2500


def folder_of(tmp_path: Path, closes: dict[str, Any]) -> Path:
    days = np.datetime_as_string(np.datetime64("2005-01-03") + np.arange(600), "D")
    for symbol, close in closes.items():
        rows = [f"{day},{price!r}" for day, price in zip(days, close.tolist(), strict=True) if price == price]
        (tmp_path / f"{symbol}.csv").write_text("date,close\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_copies_opposites_and_prices_that_stand_still_are_said_and_not_chosen(tmp_path: Path) -> None:
    bull = 50.0 * np.exp(np.random.default_rng(0).normal(0.0, 0.01, 600).cumsum())
    late = np.where(np.arange(600) < 500, np.nan, bull)
    folder = folder_of(
        tmp_path, {"BULL": bull, "BEAR": 1e4 / bull, "TWICE": 2.0 * bull, "STILL": np.full(600, 7.0), "LATE": late}
    )
    answer = CliRunner().invoke(main, ["--data", str(folder), "--on-bad-data", "warn"])
    assert answer.exit_code == 0, answer.output
    assert "copies of one series are no pair: BULL:TWICE" in answer.stdout
    assert answer.stdout.count("negative") == 2 and "STILL" not in answer.stdout and "LATE" not in answer.stdout
    assert "no two symbols are within" in answer.stdout and "--pairs" not in answer.stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--symbols", "KO"], "no pair"),
        (["--train-start", "2010-01-01"], "not after"),
        (["--train-end", "1990-06-29"], "bars in common"),
        (["--symbols", "KO,PEP", "--out", "/dev/null/x.csv"], "cannot write"),
    ],
)
def test_mistakes_end_in_one_line(flags: list[str], said: str) -> None:
    answer = CliRunner().invoke(main, flags)
    assert answer.exit_code == 2 and said in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_several_markets_are_told_apart_and_looked_at_from_their_first_bars(tmp_path: Path) -> None:
    out = tmp_path / "pairs.csv"
    words = ["--markets", "us20,tech6", "--train-end", "2022-12-30", "--json", "--out", str(out)]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.output
    rows = json.loads(answer.stdout)
    assert out.read_text().startswith("market,pair,") and len(out.read_text().splitlines()) == 1 + len(rows)
    for name in ("us20", "tech6"):
        chosen = tuple(row["pair"] for row in rows if row["market"] == name and row["chosen"])
        assert chosen == with_found_pairs(load_bars(name)).pairs
    refused = CliRunner().invoke(main, ["--markets", "us20", "--train-start", "1995-01-03"])
    assert refused.exit_code == 2 and "drop --train-start" in refused.output
