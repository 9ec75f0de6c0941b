"""Half spread, fee, borrow and financing as a Backtrader commission scheme.

Costs go here rather than into the broker's slippage, which is capped at the bar's high and low (on close-only data it
costs nothing at all), is the same for every asset, and is not part of the margin check.
"""

from __future__ import annotations

from hybrid_bt.equations.costs import Costs, commission, interest, interest_rates, reads_cash
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.feeds.framework import Framework, bt

NOTHING = -1.0, (0.0, 0.0)  # a bar that is none, and rates
FIXED = {"commtype": bt.CommInfoBase.COMM_PERC, "stocklike": True, "percabs": True}


class SpreadFeeCommission(bt.CommInfoBase):
    """Costs of a share trade, charged by the functions that `hybrid_bt.equations.accounting` charges with.

    Parameters
    ----------
    spread_bps, fee_bps, borrow_bps_per_year, leverage : float
    financing_bps_per_year, rebate_bps_per_year, idle_cash_bps_per_year : float
        See `hybrid_bt.equations.costs.Costs`.

    Raises
    ------
    ConfigError
        For an unknown parameter, one of Backtrader's that this scheme does not read, or a value below its least.

    Examples
    --------
    >>> cerebro = bt.Cerebro()
    >>> cerebro.broker.addcommissioninfo(SpreadFeeCommission(spread_bps=4, fee_bps=1))
    """

    params = (*Costs._field_defaults.items(), *FIXED.items())

    def __init__(self, *args: object, **unknown: object) -> None:
        if args or unknown:
            name = next(iter(unknown), "a positional value")
            raise ConfigError(f"SpreadFeeCommission: no parameter {name!r}{did_you_mean(name, Costs._fields)}")
        self._refuse_foreign()
        super().__init__()
        self.costs = validated(Costs, [getattr(self.p, name) for name in Costs._fields], "costs")
        # Where longs never owe anything the broker need not ask for them on every bar.
        self.p.interest_long = reads_cash(self.costs)
        self._fixed = 0.0, self.costs.borrow_bps_per_year
        self._positions: Framework = None  # the broker's, new in each run
        self._told: dict[Framework, tuple[float, tuple[float, float]]] = {}  # feed -> its bar, and the rates on it

    @classmethod
    def from_costs(cls, costs: Costs) -> SpreadFeeCommission:
        """The scheme that charges `costs`."""
        return cls(**costs._asdict())

    def _refuse_foreign(self) -> None:
        """Backtrader's own parameters would be accepted and do nothing: say so."""
        params: Framework = type(self).params
        for name, default in params._getitems():
            if name not in Costs._fields and getattr(self.p, name) != default:
                raise ConfigError(
                    f"SpreadFeeCommission: {name}={getattr(self.p, name)!r} has no effect here; "
                    f"use {', '.join(Costs._fields)}"
                )

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return commission(size, price, self.costs)

    def _get_credit_interest(
        self, data: Framework, size: float, price: float, days: int, dt0: object, dt1: object
    ) -> float:
        return interest(size, price, days, self._rates(data) if self.p.interest_long else self._fixed)

    def _rates(self, data: Framework) -> tuple[float, float]:
        """Of the account as it came into the bar: kept by feed, since a `Ledger` asks again when orders have filled."""
        broker = getattr(getattr(data, "_env", None), "broker", None)
        if not isinstance(broker, bt.brokers.BackBroker):
            raise ConfigError(
                "SpreadFeeCommission: financing, rebate and interest on idle cash need the account of Backtrader's "
                f"simulated broker, not {type(broker).__name__}; set their rates to 0, or add the feed to a Cerebro"
            )
        if self._positions is not broker.positions:
            self._positions, self._told, self._last = broker.positions, {}, NOTHING
        stamp = data.datetime[0]
        if self._told.get(data, NOTHING)[0] != stamp:
            if self._last[0] != stamp:
                self._last = stamp, interest_rates(balance_of(broker), self.costs)
            self._told[data] = self._last
        return self._told[data][1]


def balance_of(broker: Framework) -> tuple[float, float, float]:
    """`hybrid_bt.equations.book.balance` of a simulated broker's account; futures tie up no cash."""
    cash, longs, shorts = broker.cash, 0.0, 0.0
    for feed, position in broker.positions.items():
        scheme = broker.getcommissioninfo(feed)
        value = position.size * position.price if scheme.stocklike else 0.0
        if value > 0.0:
            longs, cash = longs + value, cash - value * (1.0 - 1.0 / scheme.get_leverage())
        else:
            shorts -= value
    return cash, longs, shorts
