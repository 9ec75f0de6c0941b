"""Backtrader-facing adapters: the strategy, the Kalman indicator and the commission scheme."""

from hybrid_bt.strategies.commission import SpreadFeeCommission

__all__ = ["SpreadFeeCommission"]
