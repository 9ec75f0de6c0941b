"""Modes, files and flags, in that order; whatever is wrong is named."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import numpy as np
import pytest
from annotated_types import Ge, Gt, Lt

from hybrid_bt.config import Config, keys_of, load_config, overridden
from hybrid_bt.config.parts import MODES, mode_text
from hybrid_bt.envs import task_of
from hybrid_bt.equations.features import WARMUP_BARS
from hybrid_bt.equations.parameters import meanings, validated
from hybrid_bt.errors import ConfigError


@pytest.mark.parametrize("mode", MODES)
def test_mode_is_its_file_and_reads_back(mode: str) -> None:
    config = load_config(mode)
    stated = tomllib.loads(mode_text(mode))
    assert {name: {key: values[key] for key in stated[name]} for name, values in config.sections().items()} == stated
    assert load_config(overrides=json.loads(json.dumps(config.sections()))) == overridden(config, {}) == config


def test_modes_differ() -> None:
    stable, aggressive = (load_config(mode).risk.volatility_target for mode in MODES)
    assert stable < aggressive


@pytest.mark.parametrize("part", get_type_hints(Config))
def test_every_key_has_words_and_every_number_without_a_default_a_mode(part: str) -> None:
    cls = get_type_hints(Config)[part]
    if part in ("auto_rate", "legs"):
        return
    assert cls.__doc__ and meanings(cls)
    keys = {key: section for section, parts in keys_of().items() for key, owner in parts.items() if owner == part}
    assert keys.keys() == meanings(cls).keys()
    for mode in MODES:
        stated = tomllib.loads(mode_text(mode))
        assert [key for key in keys if key not in stated[keys[key]] and key not in cls._field_defaults] == []


def test_flags_override_the_file_and_the_file_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[risk]\nvolatility_target = 0.07\nasset_limit = 0.11\n[account]\nlot = 0\n")
    config = load_config("stable", file, {"risk": {"volatility_target": 0.05}, "sac": {"enabled": False}})
    assert (config.risk.volatility_target, config.risk.asset_limit, config.order_rules.lot) == (0.05, 0.11, 0.0)
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
        ("sac", "tilt", -0.1),
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
        ({"fusion": {"at_neutral": 0.1}}, "the pairs' share of risk must not rise with r; got 0.3125, 0.1, 0.1875"),
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
    assert (config.risk.net_limit, config.costs.leverage) == (1.5, 2.0)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"account\.cash.*; risk\.gross_limit"):
        load_config(overrides={"account": {"cash": -1.0}, "risk": {"gross_limit": -1.0}})


def test_configuration_does_not_change() -> None:
    with pytest.raises(AttributeError, match="can't set"):
        load_config().risk.asset_limit = 1.0  # type: ignore[misc]


def test_unknown_mode_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="mode 'agressive' is unknown; did you mean 'aggressive'"):
        load_config("agressive")


def test_file_that_is_missing_or_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory; name a TOML file"):
        load_config(file=tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    for content in (b"[risk\n", b"\xff\xfe\x00"):
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml is not TOML"):
            load_config(file=bad)


def test_parts_carry_what_no_section_states() -> None:
    config = load_config("aggressive", overrides={"costs": {"spread_bps": 10.0, "fee_bps": 3.0}})
    assert config.tilt_params.half_life_bars == 3.0 and config.pair_rules.cost_per_side == pytest.approx(8e-4)
    assert config.spread_params.warmup_bars == WARMUP_BARS / 2
    assert task_of(load_config("aggressive", overrides={"risk": {"bars_per_year": 1000}})).unit.bars_per_year == 1000.0


class Momentum(NamedTuple):
    """Parameters of somebody's own leg."""

    window: Annotated[int, Ge(2), "bars"]
    strength: Annotated[float, Gt(0), Lt(1), "fraction of equity"] = 0.5
    side: Literal["long", "both"] = "both"

    def contradiction(self) -> str:
        return (
            "side long needs a strength of at most 0.5; lower it" if self.side == "long" and self.strength > 0.5 else ""
        )


def test_any_tuple_is_held_against_its_declaration() -> None:
    assert validated(Momentum, {"window": np.int64(20)}, "legs.momentum") == Momentum(20)
    assert validated(Momentum, Momentum(20, np.float32(0.25)), "here") == Momentum(20, 0.25)
    assert type(validated(Momentum, (20, np.float64(0.25)), "here").strength) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"window: Field required \[bars\]$"),
        ({"window": 1}, r"window: Input should be greater than or equal to 2 \[bars\] \(got 1\)$"),
        ({"window": 2.5}, r"window: .* integer.*\(got 2.5\)$"),
        ({"window": 9, "strength": math.nan}, r"strength: Input should be a finite number .*\(got nan\)$"),
        ({"window": 9, "strength": math.inf}, r"strength: Input should be a finite number .*\(got inf\)$"),
        ({"window": 9, "strenght": 0.3}, r"strenght: unknown key; did you mean 'strength'\?$"),
        ({"window": 1, "strength": 1}, r"window: .*; strength: .*"),
        ({"window": 9, "strength": 0.6, "side": "long"}, r"side long needs a strength of at most 0.5; lower it$"),
    ],
)
def test_whatever_does_not_fit_is_named_with_rule_and_value(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^legs.momentum: " + message):
        validated(Momentum, given, "legs.momentum")
