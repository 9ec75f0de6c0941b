"""`hybrid-bt parity`: 0 equal, 1 a difference and where it stands, 2 misuse; and frozen policies against SB3's own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import hybrid_bt.account.replay
import hybrid_bt.backtest.engines
import hybrid_bt.brain.legs.sac
import hybrid_bt.envs
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.legs import SacLeg
from hybrid_bt.brain.records import record
from hybrid_bt.commands.parity import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, build
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.feeds import load_bars
from hybrid_bt.policies.freeze import freeze
from hybrid_bt.train.members import Member, train_member
from hybrid_bt.train.pipeline import Lesson, grounds_of, manifest
from hybrid_bt.train.spec import SacSpec

SPAN = ("--data", "us20", "--symbols", "KO,PEP,JNJ,PG", "--end", "2010-12-31")


def test_the_whole_stack_is_equal() -> None:
    for mode in ("stable", "aggressive"):
        result = CliRunner().invoke(main, [*SPAN, "--mode", mode])
        assert result.exit_code == 0, result.output
        assert result.output.splitlines()[-1] == "equal"
        assert result.output.count("largest difference 0") == 9


def test_a_difference_is_found_and_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hybrid_bt.backtest.engines.trade_session

    def tampered(*arguments: Any, **named: Any) -> Any:
        path = honest(*arguments, **named)
        return replace(path, cash=path.cash + np.where(np.arange(len(path.cash)) == 100, 0.01, 0.0))

    monkeypatch.setattr("hybrid_bt.backtest.engines.trade_session", tampered)
    result = CliRunner().invoke(main, SPAN)
    assert result.exit_code == 1, result.output
    assert "cash               largest difference 1e-08 on 2010-05-27" in result.output


def test_a_number_that_is_none_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hybrid_bt.backtest.engines.trade_session

    def tampered(*arguments: Any, **named: Any) -> Any:
        path = honest(*arguments, **named)
        path.equity[100] = np.nan
        return path

    monkeypatch.setattr("hybrid_bt.backtest.engines.trade_session", tampered)
    result = CliRunner().invoke(main, SPAN)
    assert result.exit_code == 1, result.output
    assert "equity             largest difference inf on 2010-05-27" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--mode", "wild"], "'wild' is not one of"),
        (["--data", "us20", "--symbols", "KO,ZZZ"], "no symbol 'ZZZ'"),
        (["--data", "us20", "--pairs", "KO"], "write Y:X"),
        (["--data", "tech6", "--start", "2099-01-01"], "is after the last bar"),
        (["--data", "tech6", "--start", "9999-12-31"], "is after the last bar"),
        (["--data", "tech6", "--start", "1500-01-01", "--allow-in-sample"], "start 1500-01-01 leaves 0 bars"),
        (["--data", "us20", "--end", "1996-12-31"], "lie in the policies' training span"),
    ],
)
def test_misuse_is_status_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert said in result.stderr and "Traceback" not in result.stderr


def test_bars_with_gaps_and_a_late_start_are_equal(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bars = load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="2012-12-31").between("2010-01-01")
    for i, symbol in enumerate(bars.symbols):
        close = bars.close[:, i]
        gone = rng.random(len(close)) < 0.05
        gone[: 50 * i] = True
        opens = close * np.exp(rng.normal(0.0, 0.004, len(close)))
        lines = [
            f"{str(stamp)[:10]},{o!r},{max(o, c)!r},{min(o, c)!r},{c!r}"
            for stamp, o, c, out in zip(bars.stamps, opens.tolist(), close.tolist(), gone, strict=True)
            if not out
        ]
        (tmp_path / f"{symbol}.csv").write_text("\n".join(["date,open,high,low,close", *lines]))
    result = CliRunner().invoke(main, ["--data", str(tmp_path), "--pairs", "KO:PEP", "--mode", "aggressive"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "equal" and result.output.count("largest difference 0") == 9


class ModelPolicy:
    """SB3's own predict in place of the frozen policy."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def act(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        clipped = np.clip(observations, -5.0, 5.0).astype(np.float32)
        actions: NDArray[np.float64] = self.model.predict(clipped, deterministic=True)[0][:, 0].astype(np.float64)
        return actions


def test_final_equity_with_the_frozen_policy_is_that_of_sb3_predict(tmp_path: Path) -> None:
    """To 1e-5: SB3 computes in float32, the frozen net in float64, and a whole share may flip."""
    pytest.importorskip("torch")
    bars = load_bars("us20", symbols=["KO", "PEP", "JNJ", "PG"], end="2000-12-31")
    config, pairs = load_config("stable"), ("KO:PEP",)
    lesson = Lesson((Market("", bars, pairs),), config, date(1995, 1, 3), date(1996, 12, 31), (0,), 0, 0)
    spec = SacSpec(n_groups=2, batch_size=128, learning_starts=64)
    member = Member("sac_seed0", "sac", grounds_of(lesson, "sac"), config, spec, 4_000, 0)
    model = train_member(member, lesson.tell).model
    frozen = freeze([model], manifest(lesson, [member]), tmp_path / "sac.onnx")
    equity = []
    for policy in (frozen, ModelPolicy(model)):
        brain = build(config, bars.symbols, pairs, Policies(frozen, None))
        brain.legs["sac"] = SacLeg(bars.symbols, [], config.tilt_params, policy)
        targets = record(brain, bars, pairs).decisions(300).target
        path = hybrid_bt.account.replay.replay(
            targets, bars.between(bars.stamps[300]), costs=config.costs, rules=config.order_rules
        )
        assert len(path.fills) > 1_000
        equity.append(path.equity[-1])
    assert equity[0] == pytest.approx(equity[1], rel=1e-5)


def test_longer_bars_on_common_dates_are_equal(tmp_path: Path) -> None:
    bars = load_bars("us20", symbols=["KO", "PEP"], end="2012-12-31")
    rows = ["date,symbol,close"]
    for symbol, closes in zip(bars.symbols, bars.close.T, strict=True):
        for t in range(bars.n_bars - 700, bars.n_bars):
            if (t % 50, symbol) != (7, "PEP"):  # days that only one of them has
                for hour in ("10:00", "12:00", "14:00", "16:00"):
                    rows.append(f"{bars.stamps[t].astype('M8[D]')} {hour},{symbol},{float(closes[t])!r}")
    (tmp_path / "hours.csv").write_text("\n".join(rows))
    flags = ["--data", str(tmp_path / "hours.csv"), "--align", "intersection", "--resample", "1D", "--pairs", "KO:PEP"]
    result = CliRunner().invoke(main, [*flags, "--json"])
    assert result.exit_code == 0, result.output
    counted = int(json.loads(result.output)["title"].split(": ")[1].split()[0])
    assert counted == 700 - 14 - WARMUP_BARS
