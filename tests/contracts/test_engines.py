"""Whatever the engine, the same files to the byte: Backtrader's broker, its twin on arrays at once or bar by bar."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars
from click.testing import CliRunner

import hybrid_bt.backtest.engines
from hybrid_bt.backtest import run_backtest
from hybrid_bt.backtest.engines import ENGINES
from hybrid_bt.brain.legs.base import each_asset
from hybrid_bt.commands.run import main
from hybrid_bt.equations.advice import Advice
from hybrid_bt.errors import ConfigError, ReconciliationError

WORLDS = range(18)


class Moody:
    """A leg that is asked bar by bar; with `fails_on`, one that fails there."""

    def __init__(self, n: int, fails_on: int) -> None:
        self.n, self.fails_on, self.bars = n, fails_on, 0

    def wishes(self, view: Any) -> Any:
        self.bars += 1
        if self.bars == self.fails_on:
            raise ValueError("out of sorts")
        return each_asset([0.4 * np.sin(0.05 * self.bars + i) / self.n for i in range(self.n)])


class Stage:
    """Documents that say something else on every bar."""

    def __init__(self, n: int) -> None:
        self.n, self.moments = n, list[datetime]()

    def advise(self, moment: datetime) -> Advice:
        self.moments.append(moment)
        k = len(self.moments)
        risk = tuple(1 + (k + i) % 5 for i in range(self.n))
        return Advice(
            risk, tuple(((k + i) % 7 - 3) / 3.0 for i in range(self.n)), ((k % 9) - 4) / 4.0, 0.5, k % 11 == 0
        )

    def facts(self) -> dict[str, Any]:
        return {}

    def notes(self) -> list[str]:
        return []


def world(seed: int) -> dict[str, Any]:
    """Legs, gate, guard, documents, missing bars, costs, bands, leverage: all drawn; and whether orders are refused."""
    rng = np.random.default_rng(seed)
    off, leverage = [None, "sac", "kalman", None][seed % 4], float(rng.choice([1.0, 2.0]))
    config: dict[str, dict[str, Any]] = {
        "sac": {"enabled": off != "sac"},
        "kalman": {"enabled": off != "kalman", "entry_z": float(rng.uniform(0.4, 1.2)), "orphan_bars": 4},
        "gate": {"enabled": bool(rng.random() < 0.7)},
        "account": {
            "cash": float(rng.choice([1e4, 1e6])),
            "cash_buffer": float(rng.choice([0.0, 0.005])),
            "rebalance_band": float(rng.choice([0.0, 0.02])),
            "lot": float(rng.choice([0.0, 1.0])),
            "leverage": leverage,
        },
        "costs": {"spread_bps": float(rng.uniform(0.0, 20.0)), "idle_cash_bps_per_year": 90.0},
        "risk": {"asset_limit": float(rng.uniform(0.1, 1.0)), "net_limit": leverage * float(rng.uniform(0.8, 0.999))},
    }
    if seed % 4 == 3:  # all that the limits allow, so that a gap is more than the cash
        config["risk"] |= {"volatility_target": 2.0, "scale_limit": 20.0, "gross_limit": 20.0, "asset_limit": 1.0}
        config["risk"]["net_limit"] = 0.9995 * leverage
        config["account"] |= {"cash_buffer": 0.0, "lot": 0.0}
    if seed % 6 == 1:
        config["guard"] = {"daily_loss_limit": 0.005, "drawdown_limit": 0.02, "max_order_notional": 30_000.0}
    n = int(rng.integers(4, 7))
    missing, late = float(rng.choice([0.0, 0.08])), int(rng.choice([0, 30, 260]))
    given: dict[str, Any] = {"config": config, "pairs": PAIRS, "mode": str(rng.choice(["stable", "aggressive"]))}
    if seed % 6 in (2, 3) and off != "sac":
        fails_on = 300 if seed % 6 == 3 else 0
        given["legs"] = {"sac": lambda symbols, *_: Moody(len(symbols), fails_on)}
    if seed % 6 == 4:
        given["news"] = SimpleNamespace(stage=lambda *_: Stage(n), trial=lambda _: {})
    given["market"] = random_bars(310, n, seed=seed, missing=missing, late=late)
    return given


def files(folder: Path, engine: str, given: dict[str, Any]) -> tuple[dict[str, bytes], dict[str, Any], Any]:
    made = run_backtest(**given, allow_in_sample=True, engine=engine)
    made.write(folder / engine, plots=False)
    found = {path.name: path.read_bytes() for path in (folder / engine).iterdir()}
    said = json.loads(found.pop("run.json"))
    assert said.pop("engine") == engine
    del said["wall_clock"]
    return found, said, made


@pytest.mark.filterwarnings("ignore:HybridStrategy")
@pytest.mark.parametrize("seed", WORLDS)
def test_every_engine_writes_the_same_files(seed: int, tmp_path: Path) -> None:
    given = world(seed)
    csvs, said, _ = files(tmp_path, "backtrader", given)
    assert len(csvs) == 8
    for engine in set(ENGINES) - {"backtrader"}:
        others, also, _ = files(tmp_path, engine, given)
        assert also == said, engine
        for name, content in csvs.items():
            assert others[name] == content, (engine, name)


@pytest.mark.filterwarnings("ignore:HybridStrategy")
def test_the_worlds_meet_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, found = hybrid_bt.backtest.engines._at_once, list[Any]()

    def noted(*given: Any) -> Any:
        found.append(at_once(*given))
        return found[-1]

    monkeypatch.setattr(hybrid_bt.backtest.engines, "_at_once", noted)
    made = [run_backtest(**world(seed), allow_in_sample=True, engine="replay") for seed in WORLDS]
    facts = [run.facts for run in made]
    assert sum(one is not None for one in found) >= 6 and sum(one is None for one in found) >= 6
    assert sum(run.accounts["hybrid"].rejected > 0 for run in made) >= 2
    assert sum(bool(one.get("guard", {}).get("triggers")) for one in facts) >= 3
    assert sum(bool(one.get("guard", {}).get("failures")) for one in facts) >= 2
    assert sum(run.decisions.managed is not None for run in made) >= 3
    assert sum(bool(run.decisions.waits.any()) for run in made) >= 4
    assert sum(not run.bars.traded[0].all() for run in made) >= 3


@pytest.mark.filterwarnings("ignore:HybridStrategy")
def test_both_names_the_first_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    honest = hybrid_bt.backtest.engines.traded_at

    def tampered(*given: Any) -> Any:
        path = honest(*given)
        rows = np.arange(len(path.equity))
        return replace(path, equity=path.equity + 1e-9 * (rows >= 40), cash=path.cash - 1e-9 * (rows >= 17))

    monkeypatch.setattr(hybrid_bt.backtest.engines, "traded_at", tampered)
    given = world(0)
    with pytest.raises(ReconciliationError, match="differ first on 2011-09-29, in cash"):
        run_backtest(**given, allow_in_sample=True, engine="both")
    assert str(given["market"].stamps[252 + 17])[:10] == "2011-09-29"


@pytest.mark.parametrize("engine", ["replay", "both"])
def test_a_state_is_of_an_account_at_the_broker(engine: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a state keeps the account at Backtrader's broker"):
        run_backtest("tech6", engine=engine, state=tmp_path / "state")


def test_the_command_takes_an_engine_and_no_other_word(tmp_path: Path) -> None:
    flags = ["--data", "tech6", "--no-plots", "--no-ledger", "-q", "--out", str(tmp_path / "fig")]
    assert CliRunner().invoke(main, [*flags, "--engine", "replay"]).exit_code == 0
    assert json.loads((tmp_path / "fig" / "run.json").read_text())["engine"] == "replay"
    assert CliRunner().invoke(main, [*flags, "--engine", "relpay"]).exit_code == 2
    with pytest.raises(ConfigError, match="engine: there is no 'relpay'; did you mean 'replay'"):
        run_backtest("tech6", engine="relpay")
