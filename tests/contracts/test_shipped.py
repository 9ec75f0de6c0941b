"""Shipped policies: rebuilt and compared, rehearsed before, and their r read for what it says."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from small_specs import GATE, SAC

from hybrid_bt.account.conditional import read_regime
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.commands.policy import main as card
from hybrid_bt.commands.run import main as run
from hybrid_bt.commands.train import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import policy_path
from hybrid_bt.config.parts import MODES
from hybrid_bt.equations.features import MARKET_FEATURES
from hybrid_bt.feeds import load_bars
from hybrid_bt.policies.file import pack
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.logbook import compare
from hybrid_bt.train.members import Practice
from hybrid_bt.train.pipeline import Lesson, learn

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    bars = load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1997-12-31").between("1994-06-01")
    span = date(1996, 1, 2), date(1997, 6, 30)
    return Lesson(
        (Market("", bars, "KO:PEP"),),
        load_config("stable"),
        *span,
        (3, 4),
        200,
        64,
        rehearse_to=date(1996, 12, 31),
        sac=SAC,
        gate=GATE,
    )


def validated(lesson: Lesson) -> Lesson:
    """The rehearsal as an ordinary training with validation."""
    return lesson._replace(
        end=date(1996, 12, 31), valid_end=lesson.end, rehearse_to=None, practice=Practice(valid_every=10**6)
    )


def test_a_rehearsal_is_the_training_that_ends_earlier(lesson: Lesson, tmp_path: Path) -> None:
    said: Any = learn("sac", lesson, tmp_path / "rehearsed.onnx").manifest.results["rehearsal"]
    found: Any = learn("sac", validated(lesson), tmp_path / "a.onnx").manifest.results["validation"]
    assert said["member_sharpes"] == [row["sharpe"] for row in found["members"]][:1]
    assert said["reference"] == found["reference"]
    said = learn("gate", lesson, tmp_path / "rehearsed.onnx").manifest.results["rehearsal"]
    found = learn("gate", validated(lesson), tmp_path / "b.onnx").manifest.results["validation"]
    assert said["member_sharpes"] == [row["sharpe"] for row in found["members"]][:1]
    assert -1.0 <= said["regime"]["mean"] <= 1.0


def test_a_rehearsal_moves_no_weight_and_reads_no_bar_behind_the_training_span(lesson: Lesson, tmp_path: Path) -> None:
    bars = lesson.market.bars
    close = bars.close.copy()
    close[bars.stamps > np.datetime64(lesson.end)] *= 3.0
    other = lesson._replace(markets=(Market("", Bars.checked("us20", bars.symbols, bars.stamps, close), "KO:PEP"),))
    told = learn("sac", lesson, tmp_path / "a.onnx").manifest
    assert learn("sac", other, tmp_path / "b.onnx").manifest.results == told.results
    plain = learn("sac", lesson._replace(rehearse_to=None), tmp_path / "c.onnx").manifest
    assert plain.graph_sha256 == told.graph_sha256
    assert plain.results == {} and "rehearsal" in told.results


def test_a_rebuilt_policy_is_compared_by_bytes_manifest_and_weights(lesson: Lesson, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.onnx" for name in ("first", "again", "other")]
    for path, seeds in zip(paths, ((3, 4), (3, 4), (5, 6)), strict=True):
        learn("sac", lesson._replace(seeds=seeds, rehearse_to=None), path)
    assert compare(paths[1], paths[0]) == ""
    data = paths[0].read_bytes()
    manifest = FrozenPolicy.load(str(paths[0])).manifest
    unsaid = manifest.model_copy(update={"gradient_steps": None})
    (tmp_path / "unsaid.onnx").write_bytes(pack(data[: manifest.graph_bytes], unsaid)[0])
    assert manifest.gradient_steps and compare(paths[0], tmp_path / "unsaid.onnx") == ""
    assert "gradient_steps" in compare(tmp_path / "unsaid.onnx", paths[0])
    said = compare(paths[2], paths[0])
    assert said.startswith("weights differ by up to ") and "up to 0.0e" not in said
    assert said.endswith("; seeds: [3, 4] -> [5, 6]")


def test_the_command_makes_both_files_of_a_mode_and_says_that_they_are_others(tmp_path: Path) -> None:
    span = ("--markets", "us20", "--train-start", "1996-01-02", "--train-end", "1999-12-31")
    flags = (*span, "--rehearse-to", "1998-12-31", "--sac-steps", "5001", "--ppo-steps", "2048", "--seeds", "0")
    result = CliRunner(env={"COLUMNS": "100000"}).invoke(main, ["shipped", *flags, "--out", str(tmp_path / "new")])
    assert result.exit_code == 1, result.output
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "sac.onnx",
        "gate.onnx",
    ]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["gate.onnx", "sac.onnx"]
    shown = CliRunner().invoke(card, ["show", str(tmp_path / "new" / "gate.onnx")]).stdout
    assert "results.rehearsal.ensemble.sharpe" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("shipped", "--valid-end", "2010-12-31"), "drop --valid-end"),
        (("sac", "--rehearse-to", "2010-01-01"), "not between --train-start"),
        (("sac", "--rehearse-to", "1980-01-01"), "us20 has 0 bar(s) from its start to 1980-01-01"),
    ],
)
def test_misuse_ends_with_status_2_and_no_file(flags: tuple[str, ...], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*flags, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


def test_gradient_steps_are_said_by_card_and_run_or_that_nobody_recorded_them(lesson: Lesson, tmp_path: Path) -> None:
    own = tmp_path / "sac.onnx"
    steps = learn("sac", lesson._replace(rehearse_to=None), own).manifest.gradient_steps
    # 200 steps in lanes of 4; learned from behind the first 32: 168 transitions, 8 times each, in batches of 32
    assert steps == 42
    for file, said in ((str(own), "42"), ("package:sac.onnx", "not recorded"), ("package:gate.onnx", "not recorded")):
        lines = CliRunner().invoke(card, ["show", file]).stdout.splitlines()
        assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("gradient_steps")] == [said]
    flags = ["--data", "us20", "--symbols", "KO,PEP,JNJ", "--start", "2010-01-04", "--end", "2010-06-30"]
    result = CliRunner().invoke(run, [*flags, "--sac", str(own), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "The sac policy learned for 42 gradient steps." in result.stdout
    assert "The gate policy learned" not in result.stdout
    facts = json.loads((tmp_path / "out" / "run.json").read_text())["policies"]
    assert {name: one["gradient_steps"] for name, one in facts.items()} == {"sac": 42, "gate": None}


@pytest.mark.parametrize("mode", MODES)
def test_shipped_cards_say_how_the_recipe_did_on_bars_it_had_not_seen(mode: str) -> None:
    config = load_config(mode)
    for path in (config.sac.file, config.gate.file):
        manifest = FrozenPolicy.load(policy_path(path)).manifest
        said: Any = manifest.results["rehearsal"]
        assert (said["train_end"], said["valid_end"]) == ("2004-12-31", "2009-12-31")
        assert manifest.in_sample(np.array(["2009-12-31", "2010-01-01"], "M8[us]")).tolist() == [True, False]
        assert (len(said["member_sharpes"]), manifest.members) == (1, 5)


def test_reading_of_r_tells_trend_from_volatility() -> None:
    step = np.where(np.arange(348) < 148, -1.0, 1.0)
    market = np.random.default_rng(0).normal(size=(348, len(MARKET_FEATURES)))
    market[:, MARKET_FEATURES.index("market_trend_252")] += step
    market[:, MARKET_FEATURES.index("calm")] -= 2.0 * step
    reading = read_regime(step, market, MARKET_FEATURES)
    assert reading.correlation_with_trend > 0.5 > abs(reading.correlation_with_volatility)
    assert reading.correlation_with_calm < -0.8 and abs(reading.correlation_with_dispersion) < 0.2
    assert (reading.share_near_reversion, reading.share_near_trend) == (148 / 348, 200 / 348)
    still = read_regime(np.zeros(348), market, MARKET_FEATURES)
    assert still.standard_deviation == 0.0 and np.isnan(still.correlation_with_trend)
