"""Costs by hand, and the commission scheme inside Backtrader."""

from __future__ import annotations

import datetime

import backtrader as bt
import pytest

from hybrid_bt.equations.costs import Costs, borrow_interest, commission
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError
from hybrid_bt.strategies.commission import SpreadFeeCommission

COSTS = Costs(spread_bps=4.0, fee_bps=1.0, borrow_bps_per_year=365.0, leverage=2.0, financing_bps_per_year=730.0)


def test_a_side_pays_half_the_spread_and_the_fee() -> None:
    # 100 shares at 50 are 5,000; half of 4 bps and 1 bp are 3 bps of it
    assert commission(100.0, 50.0, COSTS) == pytest.approx(1.5, rel=1e-15)
    assert commission(-100.0, 50.0, COSTS) == commission(100.0, 50.0, COSTS)


def test_short_pays_borrow_on_its_entry_value_per_calendar_day() -> None:
    # 365 bps a year are 1 bp a day: 100 * 50 * 1e-4 * 3 days
    assert borrow_interest(-100.0, 50.0, 3, COSTS) == pytest.approx(1.5, rel=1e-15)
    assert borrow_interest(-100.0, 50.0, 0, COSTS) == 0.0


def test_leveraged_long_pays_on_the_borrowed_half() -> None:
    # 730 bps a year are 2 bps a day, on half of 5,000
    assert borrow_interest(100.0, 50.0, 1, COSTS) == pytest.approx(0.5, rel=1e-15)
    assert borrow_interest(100.0, 50.0, 1, COSTS._replace(leverage=1.0)) == 0.0


@pytest.mark.parametrize("field", Costs._fields)
@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_costs_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        validated(Costs, COSTS._replace(**{field: value}), "costs")
    with pytest.raises(ConfigError, match=field):
        SpreadFeeCommission(**{field: value})


def test_scheme_charges_what_the_functions_charge() -> None:
    scheme = SpreadFeeCommission.from_costs(COSTS)
    assert scheme.getcommission(-7.0, 12.3) == commission(-7.0, 12.3, COSTS)
    assert (scheme.stocklike, scheme.get_leverage()) == (True, 2.0)
    monday, thursday = datetime.datetime(2024, 1, 1, 16), datetime.datetime(2024, 1, 4, 9)
    for size in (-7.0, 7.0):
        position = bt.Position(size, 12.3)
        position.datetime = monday
        assert scheme.get_credit_interest(None, position, thursday) == borrow_interest(size, 12.3, 3, COSTS)


def test_scheme_and_twin_share_their_defaults() -> None:
    assert SpreadFeeCommission().costs == Costs()


def test_misspelt_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'spread_bps'"):
        SpreadFeeCommission(spred_bps=4.0)


@pytest.mark.parametrize("foreign", [{"commission": 0.001}, {"interest": 0.05}, {"stocklike": False}, {"mult": 2.0}])
def test_backtraders_own_parameters_are_not_silently_ignored(foreign: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(foreign))):
        SpreadFeeCommission(**foreign)
