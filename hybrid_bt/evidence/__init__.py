"""Statistics that say how much of a result may be luck: intervals, deflated ratios, overfitting, seeds."""

from hybrid_bt.evidence.bootstrap import bootstrap_bars

__all__ = ["bootstrap_bars"]
