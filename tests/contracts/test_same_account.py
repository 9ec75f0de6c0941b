"""The same name is the same account: in a run, a study, a replay and a validation, however it is configured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars

from hybrid_bt.account.metrics import max_drawdown, sharpe
from hybrid_bt.account.registry import ACCOUNTS, Panel, account, learned_accounts, study_accounts
from hybrid_bt.account.replay import replay
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.reader import read_history
from hybrid_bt.brain.records import record
from hybrid_bt.brain.settling import alone, mix_of, settle_panel
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import build, load_policies
from hybrid_bt.config.parts import RESERVED
from hybrid_bt.config.task import prepare
from hybrid_bt.evidence.study.jobs import TradeJob, VoiceJob, opinions_of
from hybrid_bt.train.validation import GateValidation, SacValidation, Score

WORLDS = range(10)


def world(seed: int) -> tuple[Config, Any]:
    """Legs and gate on or off, missing bars, costs, bands, limits: all drawn."""
    rng = np.random.default_rng(seed)
    off = [None, "sac", "kalman"][seed % 3]
    overrides: dict[str, dict[str, Any]] = {
        "sac": {"enabled": off != "sac"},
        "kalman": {"enabled": off != "kalman", "entry_z": float(rng.uniform(0.4, 1.2)), "orphan_bars": 4},
        "gate": {"enabled": bool(rng.random() < 0.7)},
        "account": {
            "rebalance_band": float(rng.choice([0.0, 0.02])),
            "lot": float(rng.choice([0.0, 1.0])),
            "leverage": 2.0,
        },
        "costs": {
            "spread_bps": float(rng.uniform(0.0, 20.0)),
            "financing_bps_per_year": float(rng.uniform(0, 300)),
            "idle_cash_bps_per_year": 90.0,
            "rebate_bps_per_year": 40.0,
        },
        "risk": {"asset_limit": float(rng.uniform(0.1, 1.0)), "net_limit": float(rng.uniform(0.3, 1.5))},
    }
    missing = float(rng.choice([0.0, 0.08]))
    config = load_config(str(rng.choice(["stable", "aggressive"])), None, overrides)
    return config, random_bars(430, seed=seed, missing=missing, late=int(rng.integers(0, 30)))


@pytest.mark.parametrize("seed", WORLDS)
def test_the_same_name_is_the_same_account(seed: int) -> None:
    config, bars = world(seed)
    policies = load_policies(config)
    made = run_backtest(bars, pairs=PAIRS, config=config, policies=policies, allow_in_sample=True)
    row = bars.n_bars - made.bars.n_bars
    config = config.for_stamps(bars.stamps[:row])

    task = prepare(Market("", bars, PAIRS), config=config, policies=policies, allow_in_sample=True)
    said = VoiceJob("", task).run()
    panel = Panel(made.bars, opinions_of(said, slice(row, None)), config.terms())
    studied = TradeJob("", panel, study_accounts(config.legs_on())).run()
    both = [name for name in made.accounts if f"equity:{name}" in studied]
    assert {"hybrid", "equal-weight", "vol-target"} <= set(both) and ("sac" in both) == config.sac.enabled
    for name in both:
        assert np.array_equal(studied[f"equity:{name}"], made.accounts[name].equity), name
    assert np.array_equal(studied["equity:gate r=0"], made.accounts["gate-off"].equity)

    streamed = record(build(config, bars.symbols, PAIRS, policies), bars, PAIRS).opinions(row)
    for name, mix in {"hybrid": mix_of(streamed.regime, config.lines()), "sac": alone(streamed, "sac")}.items():
        if name in made.accounts:
            settled = settle_panel(streamed, made.bars.traded, mix, config.risk)
            terms = {"cash": config.account.cash, "costs": config.costs, "rules": config.order_rules}
            assert np.array_equal(
                replay(settled.targets, made.bars, **terms, sides=settled.together).equity, made.accounts[name].equity
            ), name

    brain = build(config, bars.symbols, PAIRS, policies)
    history = read_history(bars, brain.reader)
    whole = opinions_of(said, slice(None))
    validations = {"hybrid": GateValidation(history, row, config, whole).score_of(whole.regime)}
    if config.sac.enabled:
        validations["sac"] = SacValidation(history, row, config).score_of(whole.legs["sac"])
    for name, score in validations.items():
        assert score == score_of(made.accounts[name].equity, config), name


def score_of(equity: Any, config: Config) -> Score:
    rate = config.risk.bars_per_year
    return Score(float(equity[-1] - equity[0]), float(sharpe(equity, rate)), float(max_drawdown(equity)))


def test_every_account_of_a_study_is_registered_and_a_leg_cannot_take_its_name() -> None:
    config = load_config("stable")
    legs = tuple(config.legs_enabled())
    assert set(study_accounts(config.legs_on())) <= {*ACCOUNTS, *legs} and set(learned_accounts(config.legs_on())) <= {
        *ACCOUNTS,
        *legs,
    }
    assert {name for name in ACCOUNTS if name.isidentifier()} <= set(RESERVED)


def test_study_leaves_out_what_is_switched_off() -> None:
    config = load_config("stable", None, {"sac": {"enabled": False}})
    assert "sac" not in study_accounts(config.legs_on()) and "kalman" in study_accounts(config.legs_on())


def test_account_of_another_name_is_refused() -> None:
    config, bars = world(0)
    said = record(build(config, bars.symbols, PAIRS, load_policies(config)), bars, PAIRS).opinions()
    with pytest.raises(ValueError, match="account 'hybird' is unknown; did you mean 'hybrid'"):
        account(Panel(bars, said, config.terms()), "hybird")
