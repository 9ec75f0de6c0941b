"""Statistics that say how much of a result may be luck: intervals, deflated ratios, overfitting, seeds."""

from hybrid_bt.evidence.bars_bootstrap import bootstrap_bars
from hybrid_bt.evidence.bootstrap import Draws, Interval, bootstrap, interquartile_mean, interquartile_mean_interval
from hybrid_bt.evidence.ratios import (
    Overfitting,
    backtest_overfitting,
    deflated_sharpe,
    expected_maximum_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
)

__all__ = [
    "Draws",
    "Interval",
    "Overfitting",
    "backtest_overfitting",
    "bootstrap",
    "bootstrap_bars",
    "deflated_sharpe",
    "expected_maximum_sharpe",
    "interquartile_mean",
    "interquartile_mean_interval",
    "minimum_track_record",
    "probabilistic_sharpe",
]
