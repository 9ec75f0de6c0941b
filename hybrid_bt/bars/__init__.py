"""Checked prices."""

from hybrid_bt.bars.bars import MIN_BARS, Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.bars.stamps import Moment, instant, say_stamp

__all__ = ["MIN_BARS", "Bars", "Market", "Moment", "instant", "say_stamp"]
