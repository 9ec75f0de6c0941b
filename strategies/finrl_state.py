"""FinRL's state and FinRL's trades, as its `StockTradingEnv` has them, from what a Backtrader strategy knows.

    state  = [cash] + closes + holdings + indicator 1 of every ticker + indicator 2 of every ticker + ...
    trades = whole shares, action * hmax cut toward zero; the greatest sale first, then the greatest purchase;
             nothing is sold that is not held, nothing bought that the cash left over does not pay for

Tickers are in alphabetical order, as FinRL sorts them. Source: FinRL, `finrl/meta/env_stock_trading/
env_stocktrading.py` and `finrl/meta/preprocessor/preprocessors.py` (version 0.3.7).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.errors import ConfigError

#: `finrl.config.INDICATORS`, in stockstats' names
FINRL_INDICATORS = ("macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma")
_COLUMNS = ("open", "high", "low", "close", "volume")


class Purse(NamedTuple):
    """The account as FinRL sees it, tickers in its order."""

    cash: float
    closes: Sequence[float]
    holdings: Sequence[float]  #: shares, >= 0


def finrl_state(purse: Purse, indicators: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """FinRL's observation, of shape (1 + tickers * (2 + indicators),).

    Parameters
    ----------
    indicators : sequence of (tickers,) sequences
        One for each indicator.
    """
    flat = [value for values in indicators for value in values]
    return np.array([purse.cash, *purse.closes, *purse.holdings, *flat], dtype=np.float32)


def finrl_trades(
    actions: ArrayLike, purse: Purse, hmax: int, buy_costs: Sequence[float], sell_costs: Sequence[float]
) -> list[tuple[int, int]]:
    """Orders as (ticker, signed whole shares), in the order in which FinRL carries them out.

    Parameters
    ----------
    actions : (tickers,)
        In [-1, 1].
    hmax : int
        Shares of an action of 1.
    buy_costs, sell_costs : (tickers,)
        Fraction of the value traded, which decides how much the cash pays for.
    """
    shares = (np.asarray(actions) * hmax).astype(int)
    order = np.argsort(shares)
    cash, trades = purse.cash, []
    for i in order[: int((shares < 0).sum())].tolist():
        size = int(min(-shares[i], max(purse.holdings[i], 0.0)))
        if size:
            cash += purse.closes[i] * size * (1.0 - sell_costs[i])
            trades.append((i, -size))
    for i in order[::-1][: int((shares > 0).sum())].tolist():
        affordable = cash // (purse.closes[i] * (1.0 + buy_costs[i]))
        size = int(min(max(affordable, 0.0), shares[i]))
        if size:
            cash -= purse.closes[i] * size * (1.0 + buy_costs[i])
            trades.append((i, size))
    return trades


class FinrlIndicators:
    """Indicators of each feed on the bars so far: its own lines of those names, else stockstats.

    An indicator that the feed has as a line is read from there. The others are computed by stockstats from the bars up
    to this one only, some 8 ms for each feed and bar: give lines where that is too slow.

    Raises
    ------
    ConfigError
        If stockstats is needed and not installed, or does not know an indicator.
    """

    def __init__(self, feeds: Sequence[Any], names: Sequence[str]) -> None:
        self.feeds, self.names = list(feeds), tuple(names)
        self._missing = [tuple(name for name in self.names if not hasattr(feed.lines, name)) for feed in self.feeds]
        self._bars = [tuple(array("d") for _ in _COLUMNS) for _ in self.feeds]
        self._known = [dict.fromkeys(self.names, math.nan) for _ in self.feeds]
        if any(self._missing):
            _stockstats()

    def keep(self) -> None:
        """Remember the bar of every feed."""
        for feed, columns, missing in zip(self.feeds, self._bars, self._missing, strict=True):
            for name, column in zip(_COLUMNS, columns if missing else (), strict=False):
                column.append(getattr(feed, name)[0])

    def values(self) -> list[list[float]]:
        """(indicators, feeds) at this bar; a value that is NaN is the last one that was not, as FinRL fills them."""
        for feed, columns, missing, known in zip(self.feeds, self._bars, self._missing, self._known, strict=True):
            fresh = {name: getattr(feed.lines, name)[0] for name in self.names if name not in missing}
            fresh |= _computed(columns, missing) if missing else {}
            known.update({name: value for name, value in fresh.items() if math.isfinite(value)})
        return [[known[name] for known in self._known] for name in self.names]


def _computed(columns: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    import pandas as pd

    frame = _stockstats().StockDataFrame.retype(
        pd.DataFrame(dict(zip(_COLUMNS, (np.array(column) for column in columns), strict=True)))
    )
    try:
        return {name: float(frame[name].iloc[-1]) for name in names}
    except (KeyError, UserWarning) as error:
        raise ConfigError(
            f"FinRL: stockstats has no indicator {error}, and the feed has no line of that name"
        ) from None


def _stockstats() -> Any:
    try:
        import stockstats
    except ImportError:
        raise ConfigError(
            "FinRL: indicators need stockstats: pip install 'hybrid_bt[finrl]', or feeds with a line for each"
        ) from None
    return stockstats
