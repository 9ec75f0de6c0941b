"""A third leg: one class, one entry point, one section in a TOML; whatever looks at legs finds it there."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars, stack_of
from click.testing import CliRunner
from places import ROOT

from hybrid_bt.account.replay import replay
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.reader import read_history, read_panel
from hybrid_bt.brain.settling import mix_of, settle_panel
from hybrid_bt.commands.parity import main as parity
from hybrid_bt.commands.run import main as run
from hybrid_bt.commands.study import main as study
from hybrid_bt.config import load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.envs import REGIME, Task, TradingEnv, regime_track
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.audit import check_leg
from hybrid_bt.evidence.audit.stack import PARTS

EXAMPLE = ROOT / "examples" / "own_leg.py"
SECTION = """[legs.momentum]
at_reversion = 0.0
at_neutral = 0.3
at_trend = 0.6
lookback_bars = 63
"""
SMALL = ["--symbols", "KO,PEP,XOM,CVX", "--pairs", "KO:PEP", "--end", "2011-06-30"]


@pytest.fixture(scope="module", autouse=True)
def their_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Somebody else's package with the example's leg in it, installed."""
    folder = tmp_path_factory.mktemp("theirs")
    code = EXAMPLE.read_text().replace('LEGS["momentum"] = MomentumLeg', "")
    (folder / "their_package.py").write_text(code)
    info = folder / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hybrid_bt.legs]\nmomentum = their_package:MomentumLeg\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    sys.modules.pop("their_package", None)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("config") / "mine.toml"
    file.write_text(SECTION)
    return str(file)


@pytest.fixture(scope="module")
def fig(tmp_path_factory: pytest.TempPathFactory, config_file: str) -> Path:
    out = tmp_path_factory.mktemp("run") / "fig"
    answer = CliRunner().invoke(run, [*SMALL, "--config", config_file, "--out", str(out), "--no-ledger"])
    assert answer.exit_code == 0, answer.output
    return out


def columns(file: Path) -> dict[str, list[str]]:
    with open(file, newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_it_keeps_the_contract_of_a_leg() -> None:
    check_leg("momentum")


def test_its_wishes_and_weights_are_recorded_and_traded(fig: Path) -> None:
    decisions = columns(fig / "decisions.csv")
    parts = {leg: np.array(decisions[f"target_{leg}"], float) for leg in ("sac", "kalman", "momentum")}
    weights = {leg: np.array(decisions[f"w_{leg}"], float) for leg in parts}
    assert parts["momentum"].any() and np.ptp(weights["momentum"]) > 0.1
    mixed = sum(weights[leg] * parts[leg] for leg in parts)
    assert np.array_equal(np.array(decisions["fused"], float), mixed)


def test_it_is_attributed_shown_and_stands_alone(fig: Path) -> None:
    attribution, summary = columns(fig / "attribution.csv"), columns(fig / "summary_pnl.csv")
    assert any(float(value) for value in attribution["momentum_selection"])
    equity = columns(fig / "equity.csv")["equity"]
    parts = [float(value) for name, values in attribution.items() if name != "datetime" for value in values]
    assert sum(parts) == pytest.approx(float(equity[-1]) - float(equity[0]), abs=0.01)
    assert "momentum" in summary["account"]
    assert "momentum" in (fig / "explorer.html").read_text(encoding="utf-8")
    said = json.loads((fig / "run.json").read_text())["config"]["legs"]["momentum"]
    assert said == {
        "enabled": True,
        "at_reversion": 0.0,
        "at_neutral": 0.3,
        "at_trend": 0.6,
        "lookback_bars": 63,
        "risk_unit": 0.2,
        "short": 0.5,
    }


def test_it_is_studied(tmp_path: Path, config_file: str, fig: Path) -> None:
    flags = [*SMALL, "--config", config_file, "--windows", "2", "--seeds", "2", "--resamples", "60"]
    answer = CliRunner().invoke(study, [*flags, "--out", str(tmp_path / "study")])
    assert answer.exit_code == 0, answer.output
    rows = columns(tmp_path / "study" / "ablation.csv")
    sharpe = dict(zip(rows["account"], rows["sharpe"], strict=True))
    run = columns(fig / "summary_pnl.csv")
    for name in ("hybrid", "momentum"):
        assert float(sharpe[name]) == pytest.approx(float(run["sharpe"][run["account"].index(name)]), rel=1e-12)


def test_the_broker_agrees(config_file: str) -> None:
    answer = CliRunner().invoke(parity, [*SMALL, "--config", config_file, "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert found["equal"] and "target of momentum" in {one["quantity"] for one in found["differences"]}


def test_it_is_audited(config_file: str) -> None:
    config, bars = load_config("stable", config_file), random_bars(420, missing=0.03)
    check = PARTS["dense arrays"](stack_of(bars, config), 40)
    assert check.findings == [] and check.values > 10_000


def test_the_gates_environment_trades_it() -> None:
    config, bars = (
        load_config("stable", None, {"legs": {"momentum": {"at_reversion": 0.1, "at_neutral": 0.3, "at_trend": 0.6}}}),
        random_bars(500, missing=0.05),
    )
    brain = build(config, bars.symbols, PAIRS, load_policies(config))
    said, first = opinions(brain, read_panel(bars.close, brain.reader)), 300
    track = regime_track(read_history(bars, brain.reader), said, config.lines(), bars.stamps[first], bars.stamps[-1])
    task = Task(risk=config.risk, costs=config.costs, rules=config.order_rules)
    scores = np.random.default_rng(0).uniform(-1.0, 1.0, bars.n_bars).astype(np.float32)
    settled = settle_panel(said, bars.traded, mix_of(scores, config.lines()), config.risk)
    cut, given = bars.between(bars.stamps[first]), {"costs": config.costs, "rules": config.order_rules}
    path = replay(settled.targets[first:], cut, sides=settled.together[first:], **given)
    for compiled in (False, True):
        env = TradingEnv(REGIME, [track], task, episode_bars=None, compiled=compiled)
        env.reset()
        equities = []
        for t in range(first, bars.n_bars - 2):  # the last bar is needed to know what the one before it earned
            env.step(scores[t : t + 1])
            equities.append(env.account.equity)
        assert equities == path.equity[1:-1].tolist()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"momentun": {}}, "nobody offers 'momentun'"),
        ({"sac": {}}, r"\[legs.sac\] is the section \[sac\]"),
        ({"hybrid": {}}, "cannot have that name"),
        ({"momentum": {"at_neutral": 0.1}}, "at_reversion"),
        ({"momentum": {"at_reversion": 0.0, "at_neutral": 0.1, "at_trend": -0.1}}, "at_trend"),
        (
            {"momentum": {"at_reversion": 0, "at_neutral": 0, "at_trend": 0, "lookbak_bars": 3}},
            "did you mean 'lookback",
        ),
        ({"momentum": {"at_reversion": 0, "at_neutral": 0, "at_trend": 0, "lookback_bars": 1}}, "lookback_bars"),
        ({"momentum": {"at_reversion": 0, "at_neutral": 0, "at_trend": 0, "enabled": "yes"}}, "true or false"),
        ({"momentum": 3}, "must be a table"),
    ],
)
def test_section_that_makes_no_sense_is_refused(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("stable", None, {"legs": section})
