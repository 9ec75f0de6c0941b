"""The brain: the formula holds to the bit, and no decision knows a later bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brain_cases import ACTIVE, PAIRS, SYMBOLS, altered_from, random_bars, stand_ins, with_rows

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.brain.records import Recorder, record
from hybrid_bt.config import Config, load_config
from hybrid_bt.config.build import Policies, build, load_policies, policy_path, training_end
from hybrid_bt.equations.fusion import Said, Settled, leg_shares, settle_bar
from hybrid_bt.errors import BarsError, ConfigError

CONFIG = load_config("stable", overrides=ACTIVE)
AGGRESSIVE = load_config("aggressive")


def recorded(bars: Bars, config: Config = CONFIG, policies: Policies | None = None) -> Recorder:
    brain = build(config, bars.symbols, PAIRS, policies or stand_ins())
    return record(brain, bars, PAIRS)


def arrays(found: Recorder, start: int = 0) -> dict[str, Any]:
    """Everything that is recorded, by name."""
    decisions, pairs = found.decisions(start), found.pairs(start)
    return {
        **{f"leg {name}": values for name, values in decisions.legs.items()},
        **{f"weight {name}": values for name, values in decisions.weights.items()},
        **{name: getattr(decisions, name) for name in ("regime", "fused", "target", "scale")},
        **{name: values for name, values in vars(pairs).items() if isinstance(values, np.ndarray)},
        **{name: getattr(found.opinions(start), name) for name in ("volatility", "correlation", "warm")},
    }


def assert_same(one: dict[str, Any], other: dict[str, Any], rows: slice) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(values[rows], other[name][rows], equal_nan=values.dtype == float), name


def packaged() -> Policies:
    return load_policies(CONFIG)


@pytest.mark.parametrize("policies", [stand_ins, packaged])
@pytest.mark.parametrize("row", [260, 333, 399])
def test_no_decision_knows_a_later_bar(policies: Any, row: int) -> None:
    bars = random_bars(400, missing=0.05, late=20)
    full = arrays(recorded(bars, policies=policies()))
    prefix = arrays(recorded(with_rows(bars, slice(0, row)), policies=policies()))
    altered = arrays(recorded(altered_from(bars, row), policies=policies()))
    assert_same(full, prefix, slice(0, row))
    assert_same(full, altered, slice(0, row))
    assert not np.array_equal(full["target"][row:], altered["target"][row:])


def test_record_of_random_bars_is_not_empty() -> None:
    # the tests of this file would hold for a brain that never acts
    full = arrays(recorded(random_bars(400)), 260)
    for name in ("leg sac", "leg kalman", "regime", "target", "position"):
        assert len(np.unique(full[name])) > 2, name


@pytest.mark.parametrize("config", [CONFIG, AGGRESSIVE], ids=["stable", "aggressive"])
def test_formula_holds_in_the_record(config: Config) -> None:
    found = recorded(random_bars(400, missing=0.05), config)
    d, said = found.decisions(), found.opinions()
    w_sac, w_kalman = d.weights["sac"][:, None], d.weights["kalman"][:, None]
    assert np.array_equal(d.fused, w_sac * d.legs["sac"] + w_kalman * d.legs["kalman"])
    room = [[0.0] * n for n in (4, said.amounts.shape[1], 2, 4)]
    for t, r in enumerate(d.regime.tolist()):
        bar = Said(said.amounts[t].tolist(), said.risks[t].tolist(), said.volatility[t].tolist(), said.correlation[t])
        scale = settle_bar(Settled(*room[:3]), bar, said.layout, leg_shares(r, config.lines()), config.risk, room[3])
        assert d.scale[t] == scale and d.target[t].tolist() == room[0] and d.sides[t].tolist() == room[1]
        assert [d.weights["sac"][t], d.weights["kalman"][t]] == room[2]
    assert len(np.unique(d.weights["sac"])) > 50


def switched(config: Config = CONFIG, **parts: bool) -> Config:
    return config._replace(**{name: getattr(config, name)._replace(enabled=enabled) for name, enabled in parts.items()})


@pytest.mark.parametrize(("off", "on"), [("sac", "kalman"), ("kalman", "sac")])
def test_leg_that_is_off_leaves_the_account_to_the_other(off: str, on: str) -> None:
    both, alone = recorded(random_bars(400)), recorded(random_bars(400), switched(**{off: False}))
    d = alone.decisions()
    assert not d.weights[off].any() and d.weights[on].any()
    assert not d.legs[off].any() and d.legs[on].any()
    assert np.array_equal(d.legs[on], both.decisions().legs[on])
    assert np.array_equal(d.fused, d.weights[on][:, None] * d.legs[on])


def test_without_a_gate_the_market_is_neutral() -> None:
    d = recorded(random_bars(400), switched(gate=False)).decisions()
    assert not d.regime.any()
    aimed = CONFIG.fusion.at_neutral * CONFIG.risk.volatility_target / np.sqrt(252.0)
    free = d.weights["kalman"] < CONFIG.risk.leg_scale_limit
    assert free.any() and d.weights["kalman"][free] * d.risks[free, 1] == pytest.approx(aimed)


def test_gate_is_neutral_until_the_market_is_warm() -> None:
    regime = recorded(random_bars(400)).decisions().regime
    # the market's first return is taken on row 2, where assets have two returns: 252 of them on row 253
    assert not regime[:253].any() and regime[253:].all()


def test_late_symbol_is_left_alone_until_it_is_warm() -> None:
    late = 60
    bars = random_bars(400, late=late)
    with_late, target = arrays(recorded(bars)), recorded(bars).decisions().target
    assert not with_late["warm"][: late + 252, 3].any() and with_late["warm"][late + 252 :, 3].all()
    assert not with_late["leg sac"][: late + 252, 3].any() and with_late["leg sac"][late + 252 :, 3].all()
    assert target[260 : late + 252, :3].any()
    # until it has a return the late symbol might as well not be there
    without = arrays(recorded(bars.select(SYMBOLS[:3])))
    for name in ("regime", "alpha", "zscore", "correlation"):
        assert np.array_equal(with_late[name][: late + 1], without[name][: late + 1], equal_nan=True), name


def test_same_brain_twice_and_fresh_brains_do_not_share_memory() -> None:
    bars, policies = random_bars(330), stand_ins()
    first, second = (arrays(recorded(bars, policies=policies)) for _ in range(2))
    assert_same(first, second, slice(None))


def test_order_of_symbols_does_not_matter() -> None:
    bars = random_bars(330)
    order = [2, 0, 3, 1]
    mixed = recorded(bars.select([bars.symbols[i] for i in order])).decisions()
    assert mixed.target == pytest.approx(recorded(bars).decisions().target[:, order], rel=1e-6, abs=1e-9)


def test_first_innovation_is_no_move_of_the_spread() -> None:
    pairs = recorded(random_bars(5)).pairs()
    assert not pairs.innovation[0].any() and not pairs.spread[0].any() and pairs.spread[1].all()


def test_pair_begins_with_its_first_common_bar() -> None:
    pairs = recorded(random_bars(30, 3, late=10)).pairs()
    assert np.isnan(pairs.alpha[:10, 1]).all() and np.isfinite(pairs.alpha[10:, 1]).all()
    assert np.isfinite(pairs.alpha[:, 0]).all()
    assert not pairs.position[:10].any()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, -math.inf])
def test_close_that_is_no_price_is_refused(bad: float) -> None:
    brain = build(CONFIG, SYMBOLS[:3], PAIRS, stand_ins())
    with pytest.raises(BarsError, match=f"the close of {SYMBOLS[1]} is"):
        brain.decide([1.0, bad, 1.0])


# --- putting a brain together ---


def test_part_that_the_configuration_switches_off_is_off_even_if_its_policy_is_given() -> None:
    brain = build(switched(sac=False, gate=False), SYMBOLS[:3], PAIRS, stand_ins())
    assert brain.legs["sac"] is None and brain.gate is None and brain.legs["kalman"] is not None


def test_switched_off_policies_are_not_loaded() -> None:
    assert load_policies(switched(gate=False)).gate is None
    assert load_policies(switched(sac=False)).sac is None
    assert training_end(Policies(None, None)) is None


def test_policies_of_the_wrong_kind_are_refused() -> None:
    swapped = load_config("stable", overrides={"sac": {"file": CONFIG.gate.file}})
    with pytest.raises(ConfigError, match="is a gate, not a sac"):
        load_policies(swapped)


def test_training_end_is_the_last_day_that_any_policy_has_seen() -> None:
    policies = packaged()
    manifests = [policy.manifest for policy in policies.loaded().values()]
    seen = [day for one in manifests for day in (one.train_end, one.valid_end) if day is not None]
    assert training_end(policies) == max(seen)


def test_packaged_policies_are_found_by_name_and_others_by_path() -> None:
    assert policy_path("package:sac.onnx").is_file()
    assert str(policy_path("mine/sac.onnx")).replace("\\", "/") == "mine/sac.onnx"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["AA"], "write Y:X"),
        (["AA:BB:CC"], "write Y:X"),
        (["AA:"], "write Y:X"),
        (["AA:BX"], "'BX' is not among those traded; known: AA, BB"),
        (["AA:AA"], "cannot hedge itself"),
        (["AA:BB", "AA:BB"], "comes twice"),
        (["AA:BB", "BB:AA"], "comes twice"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_pairs(pairs, SYMBOLS)


def test_pairs_are_columns() -> None:
    assert resolve_pairs(["CC:AA", "AA:BB"], SYMBOLS) == [(2, 0), (0, 1)]
