"""Modes, files and flags, in that order; whatever is wrong is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hybrid_bt.config import MODES, Config, load_config, mode_text
from hybrid_bt.errors import ConfigError


@pytest.mark.parametrize("mode", MODES)
def test_mode_is_its_file_and_reads_back(mode: str) -> None:
    config = load_config(mode)
    assert config.model_dump() == tomllib.loads(mode_text(mode))
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_modes_differ() -> None:
    stable, aggressive = (load_config(mode).risk.volatility_target for mode in MODES)
    assert stable < aggressive


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_field_has_a_description(name: str) -> None:
    section: Any = Config.model_fields[name].annotation
    assert section.model_fields and section.__doc__
    for key, field in section.model_fields.items():
        assert field.description, f"{name}.{key}"
        assert field.is_required(), f"{name}.{key} has a default that no mode states"


def test_flags_override_the_file_and_the_file_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[risk]\nvolatility_target = 0.07\nasset_limit = 0.11\n[account]\nlot = 0\n")
    config = load_config("stable", file, {"risk": {"volatility_target": 0.05}, "sac": {"enabled": False}})
    assert (config.risk.volatility_target, config.risk.asset_limit, config.account.lot) == (0.05, 0.11, 0.0)
    assert config.sac.enabled is False
    assert config.kalman == load_config("stable").kalman
    assert load_config("stable").risk.volatility_target == 0.10  # the mode itself is as it was


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"rsik": {"asset_limit": 1.0}}, r"unknown section \[rsik\]; did you mean 'risk'\?"),
        ({"risk": {"asset_limt": 1.0}}, r"unknown key risk.asset_limt; did you mean 'asset_limit'\?"),
        ({"risk": 3}, r"\[risk\] must be a table of keys, got 3"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(layer: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^flag: " + message):
        load_config(overrides=layer)
    if layer == {"risk": 3}:
        text = "risk = 3\n"
    else:
        text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in layer.items())
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="^" + re.escape(str(file)) + ": " + message):
        load_config(file=file)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("account", "cash", 0.0),
        ("account", "lot", -1.0),
        ("account", "rebalance_band", 1.0),
        ("account", "leverage", 0.5),
        ("costs", "fee_bps", -0.1),
        ("costs", "spread_bps", float("nan")),
        ("kalman", "noise_var", 0.0),
        ("kalman", "max_hold_bars", 0),
        ("kalman", "max_hold_bars", 2.5),
        ("kalman", "enabled", "perhaps"),
        ("sac", "risk_unit", 0.0),
        ("sac", "file", 3),
        ("fusion", "at_trend", 1.1),
        ("fusion", "at_reversion", -0.1),
        ("risk", "volatility_target", float("inf")),
        ("risk", "bars_per_year", 0.0),
    ],
)
def test_value_out_of_range_names_its_key_and_what_came(section: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^config: {section}\.{key}: .*\(got {re.escape(repr(value))}\)$"):
        load_config(overrides={section: {key: value}})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"kalman": {"exit_z": 2.5}}, "exit_z < entry_z < stop_z"),
        ({"kalman": {"stop_z": 0.9}}, "exit_z < entry_z < stop_z"),
        ({"kalman": {"min_hedge_ratio": 3.0}}, "min_hedge_ratio 3.0 must be below max_hedge_ratio"),
        ({"fusion": {"at_neutral": 0.1}}, "must not fall as r rises"),
        ({"sac": {"enabled": False}, "kalman": {"enabled": False}}, "at least one leg must be on"),
        ({"risk": {"net_limit": 1.0}}, "risk.net_limit 1.0 must stay below account.leverage 1.0"),
        ({"risk": {"net_limit": 1.5}}, "must stay below account.leverage"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("stable", overrides=overrides)


def test_broker_leverage_allows_a_larger_net_exposure() -> None:
    config = load_config("stable", overrides={"risk": {"net_limit": 1.5}, "account": {"leverage": 2.0}})
    assert config.risk_params().net_limit == 1.5


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"account\.cash.*; risk\.gross_limit"):
        load_config(overrides={"account": {"cash": -1.0}, "risk": {"gross_limit": -1.0}})


def test_configuration_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config().risk.asset_limit = 1.0


def test_unknown_mode_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="mode 'agressive' is unknown; did you mean 'aggressive'"):
        load_config("agressive")


def test_file_that_is_missing_or_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        load_config(file=tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    for content in (b"[risk\n", b"\xff\xfe\x00"):
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml is not TOML"):
            load_config(file=bad)


def test_params_carry_the_numbers_of_their_section() -> None:
    config = load_config("aggressive")
    rules, kalman = config.pair_rules()._asdict(), config.kalman.model_dump()
    assert rules == {name: kalman[name] for name in rules}
    params = config.kalman_params()
    assert params[:3] == (kalman["alpha_var_per_bar"], kalman["beta_var_per_bar"], kalman["noise_var"])
    assert config.spread_params()[:2] == (kalman["spread_half_life_bars"], kalman["scale_half_life_bars"])
    assert config.risk_unit() == (config.sac.risk_unit, config.sac.exposure_cap, 252.0)
    assert config.fusion_params()._asdict() == config.fusion.model_dump()
    assert config.risk_params()._asdict() == config.risk.model_dump() | {"bars_per_year": 252.0}
