"""Half spread, fee, borrow and financing as a Backtrader commission scheme.

Costs go here rather than into the broker's slippage, which is capped at the bar's high and low (on close-only data it
costs nothing at all), is the same for every asset, and is not part of the margin check.
"""

from __future__ import annotations

from hybrid_bt.equations.costs import Costs, borrow_interest, commission
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.feeds.framework import Framework, bt

FIXED = {"commtype": bt.CommInfoBase.COMM_PERC, "stocklike": True, "percabs": True}


class SpreadFeeCommission(bt.CommInfoBase):
    """Costs of a share trade, charged by the functions that `hybrid_bt.equations.accounting` charges with.

    Parameters
    ----------
    spread_bps, fee_bps, borrow_bps_per_year, leverage, financing_bps_per_year : float
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
        # Of longs only the borrowed part is charged. Where that is nothing the broker need not ask on every bar.
        self.p.interest_long = borrow_interest(1.0, 1.0, 1, self.costs) > 0.0

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
        return borrow_interest(size, price, days, self.costs)
