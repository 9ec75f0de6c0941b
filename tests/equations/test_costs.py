"""Costs by hand, and the commission scheme inside Backtrader."""

from __future__ import annotations

import datetime

import backtrader as bt
import numpy as np
import pytest
from broker_cases import Case, panel_of, run_cerebro
from hypothesis import given
from hypothesis import strategies as st

from hybrid_bt.equations.costs import Costs, commission, interest, interest_rates, reads_cash
from hybrid_bt.equations.parameters import validated
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ConfigError
from hybrid_bt.strategies.commission import SpreadFeeCommission

COSTS = Costs(spread_bps=4.0, fee_bps=1.0, borrow_bps_per_year=365.0, leverage=2.0, financing_bps_per_year=730.0)


def test_a_side_pays_half_the_spread_and_the_fee() -> None:
    # 100 shares at 50 are 5,000; half of 4 bps and 1 bp are 3 bps of it
    assert commission(100.0, 50.0, COSTS) == pytest.approx(1.5, rel=1e-15)
    assert commission(-100.0, 50.0, COSTS) == commission(100.0, 50.0, COSTS)


def test_short_pays_borrow_on_its_entry_value_per_calendar_day() -> None:
    # 365 bps a year are 1 bp a day: 100 * 50 * 1e-4 * 3 days
    rates = interest_rates((-1000.0, 0.0, 5000.0), COSTS)
    assert interest(-100.0, 50.0, 3, rates) == pytest.approx(1.5, rel=1e-15)
    assert interest(-100.0, 50.0, 0, rates) == 0.0


def test_longs_pay_on_the_debit_balance_alone() -> None:
    # 1,000 borrowed for longs of 5,000: 730 bps a year are 2 bps a day, on 1,000
    assert interest(100.0, 50.0, 1, interest_rates((-1000.0, 5000.0, 0.0), COSTS)) == pytest.approx(0.2, rel=1e-15)
    assert interest(100.0, 50.0, 1, interest_rates((0.0, 5000.0, 0.0), COSTS)) == 0.0


MONEY = st.sampled_from([0.0, 0.01, 1e3, 123_456.789]) | st.floats(1e-6, 1e9)
RATE = st.floats(0.0, 1e4)


ACCOUNT_RATES = ("financing_bps_per_year", "rebate_bps_per_year", "idle_cash_bps_per_year")


@given(
    MONEY,
    st.booleans(),
    MONEY,
    MONEY,
    st.builds(Costs, borrow_bps_per_year=RATE, **dict.fromkeys(ACCOUNT_RATES, RATE)),
)
def test_every_unit_of_cash_earns_once_or_is_owed_once(
    money: float, borrowed: bool, longs: float, shorts: float, costs: Costs
) -> None:
    cash = -money if borrowed else money
    of_longs, of_shorts = interest_rates((cash, longs, shorts), costs)
    owed = of_longs * longs + of_shorts * shorts - costs.borrow_bps_per_year * shorts
    proceeds = min(money, shorts)
    if borrowed:
        wanted = costs.financing_bps_per_year * money if longs > 0.0 else 0.0
    else:
        wanted = -costs.rebate_bps_per_year * proceeds - costs.idle_cash_bps_per_year * (money - proceeds)
    if borrowed or longs + shorts > 0.0:  # nothing held: nothing is asked for
        assert owed == pytest.approx(wanted, rel=1e-9, abs=1e-9 * (abs(wanted) + 1e4 * shorts + 1.0))
    assert reads_cash(costs) == any(getattr(costs, name) for name in ACCOUNT_RATES)


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
    position = bt.Position(-7.0, 12.3)
    position.datetime = monday
    plain = SpreadFeeCommission(borrow_bps_per_year=365.0)  # what only depends on the position needs no Cerebro
    assert plain.get_credit_interest(None, position, thursday) == interest(-7.0, 12.3, 3, (0.0, 365.0))
    with pytest.raises(ConfigError, match="not NoneType; set their rates to 0, or add the feed to a Cerebro"):
        scheme.get_credit_interest(None, position, thursday)


# Two symbols that stay at 10 and 20, in an account of 1,000 a day apart; 3650 bps a year are 10 bps a day.


def owed(targets: list[float], **rates: float) -> list[float]:
    """Interest of both symbols in Cerebro on the bar behind the fills, which is the last."""
    prices, costs = np.tile([10.0, 20.0], (3, 1)), Costs(0.0, 0.0, 0.0, 2.0)._replace(**rates)
    wanted = np.array([targets, [np.nan] * 2, [np.nan] * 2])
    case = Case(panel_of(prices, prices), wanted, 1000.0, costs, OrderRules(lot=0.0), {})
    return [float(value) for value in run_cerebro(case).borrow[-1]]


@pytest.mark.parametrize(
    ("targets", "rates", "wanted"),
    [
        ([0.60, 0.45], {"financing_bps_per_year": 3650.0}, [0.050 * 600 / 1050, 0.050 * 450 / 1050]),  # 50 borrowed
        ([0.60, 0.40], {"financing_bps_per_year": 3650.0}, [0.0, 0.0]),
        ([1.20, -0.30], {"financing_bps_per_year": 3650.0}, [0.0, 0.0]),  # the short brought 300
        ([1.50, -0.30], {"financing_bps_per_year": 3650.0, "rebate_bps_per_year": 3650.0}, [0.2, 0.0]),
        ([1.20, -0.30], {"rebate_bps_per_year": 3650.0}, [0.0, -0.1]),  # of the 300, 100 are still there
        ([0.50, -0.30], {"rebate_bps_per_year": 3650.0, "borrow_bps_per_year": 7300.0}, [0.0, 0.3]),
        ([0.50, -0.30], {"idle_cash_bps_per_year": 3650.0}, [-0.5 * 5 / 8, -0.5 * 3 / 8]),  # 500 of its own are idle
        ([0.00, 0.00], {"idle_cash_bps_per_year": 3650.0}, [0.0, 0.0]),  # Backtrader asks for positions alone
    ],
)
def test_interest_of_accounts_by_hand(targets: list[float], rates: dict[str, float], wanted: list[float]) -> None:
    assert owed(targets, **rates) == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_scheme_and_twin_share_their_defaults() -> None:
    assert SpreadFeeCommission().costs == Costs()


def test_misspelt_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'spread_bps'"):
        SpreadFeeCommission(spred_bps=4.0)


@pytest.mark.parametrize("foreign", [{"commission": 0.001}, {"interest": 0.05}, {"stocklike": False}, {"mult": 2.0}])
def test_backtraders_own_parameters_are_not_silently_ignored(foreign: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(foreign))):
        SpreadFeeCommission(**foreign)
