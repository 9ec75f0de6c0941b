"""Pair selection: a planted pair is found, walks that only look alike are not, and nothing after training is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hybrid_bt.bars import Bars
from hybrid_bt.brain.pair_selection import select_pairs
from hybrid_bt.commands.pairs import main
from hybrid_bt.errors import BarsError


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


def test_a_planted_pair_comes_first_and_passes():
    best = select_pairs(panel(6, planted=True))[0]
    assert set(best.pair.split(":")) == {"S0", "S1"}
    assert best.q_value < 0.05 and best.johansen > 1.0
    assert best.half_life_bars == pytest.approx(10.0, rel=0.4)
    expected = 0.8 if best.pair == "S1:S0" else 1 / 0.8
    assert best.hedge_ratio == pytest.approx(expected, rel=0.1)
    assert abs(best.stability) < 0.3


def test_walks_that_only_look_alike_do_not_pass():
    """Of 30 panels without any pair at most a tenth, and some, may name one: the family-wise level under the null."""
    named = [any(c.q_value <= 0.1 for c in select_pairs(panel(5, t=500, seed=seed))) for seed in range(30)]
    assert sum(named) <= 3
    lucky = [c.p_value <= 0.1 for seed in range(30) for c in select_pairs(panel(5, t=500, seed=seed))]
    assert 0 < sum(lucky) < 0.2 * len(lucky), "without control some would"


def test_q_is_never_below_p_and_all_pairs_are_there():
    found = select_pairs(panel(5))
    assert len(found) == 10
    assert all(c.q_value >= c.p_value for c in found)
    assert [c.p_value for c in found] == sorted(c.p_value for c in found)


def test_symbols_without_common_bars_are_left_out():
    bars = panel(3)
    close = bars.close.copy()
    close[:900, 2] = np.nan
    late = Bars("late", bars.symbols, bars.stamps, close, close, close, close, np.zeros_like(close))
    assert [set(c.pair.split(":")) for c in select_pairs(late)] == [{"S0", "S1"}]
    with pytest.raises(BarsError, match="in common"):
        select_pairs(bars.between(None, bars.stamps[100]))


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
    assert json.loads(answers[0])[0]["bars"] == 600


def test_the_command_prints_what_run_takes(tmp_path: Path):
    out = tmp_path / "pairs.csv"
    flags = ["--symbols", "KO,PEP,XOM,CVX", "--fdr", "1", "--max-half-life", "1e9", "--max-drift", "9"]
    answer = CliRunner().invoke(main, [*flags, "--out", str(out), "--top", "1"])
    assert answer.exit_code == 0 and "half-life" in answer.stdout
    last = answer.stdout.splitlines()[-1]
    assert last.startswith("--pairs ") and last.count(":") == 6
    assert len(out.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--symbols", "KO"], "no pair"),
        (["--train-start", "2010-01-01"], "not after"),
        (["--symbols", "KO,PEP", "--out", "/dev/null/x.csv"], "cannot write"),
    ],
)
def test_mistakes_end_in_one_line(flags: list[str], said: str):
    answer = CliRunner().invoke(main, flags)
    assert answer.exit_code == 2 and said in answer.stderr and len(answer.stderr.splitlines()) == 1
