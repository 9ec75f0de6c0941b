"""Backtrader-facing adapters: the strategy, the Kalman indicator and the commission scheme."""

from hybrid_bt.strategies.commission import SpreadFeeCommission
from hybrid_bt.strategies.finrl import FinRLStrategy
from hybrid_bt.strategies.hybrid import HybridStrategy
from hybrid_bt.strategies.kalman_hedge import KalmanHedge
from hybrid_bt.strategies.orders import TargetOrders

__all__ = ["FinRLStrategy", "HybridStrategy", "KalmanHedge", "SpreadFeeCommission", "TargetOrders"]
