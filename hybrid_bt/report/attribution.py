"""What each symbol earned, derived from an account's fills alone, and what the account held.

For symbol i, with fills k of signed size q_k at price p_k, marked size s_t and marked close c_t:

    gross_t = s_t c_t - sum over fills up to t of q_k p_k          net_t = gross_t - commissions - borrow interest

The sum of net over symbols is the change of equity, whatever the leverage: it moves cash, not profit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.attribution import Contributions, PriceMoves, contributions
from hybrid_bt.account.records import AccountPath, Fills, RunRecord

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class FillArrays(NamedTuple):
    """The K fills of an account, column by column."""

    bar: IntArray
    decided: IntArray
    symbol: IntArray
    size: FloatArray  #: signed shares
    price: FloatArray
    commission: FloatArray

    @property
    def notional(self) -> FloatArray:
        """Worth of what was bought or sold, >= 0."""
        return np.abs(self.size * self.price)


class TickerPnl(NamedTuple):
    """Cumulative, from the trading start to each close, shape (T, N), account currency."""

    gross: FloatArray
    costs: FloatArray  #: commissions and borrow interest

    @property
    def net(self) -> FloatArray:
        """Gross less costs."""
        return self.gross - self.costs


def fill_arrays(path: AccountPath) -> FillArrays:
    """The fills as arrays of shape (K,)."""
    return FillArrays(*Fills.of(path.fills).columns)


def marked_close(close: FloatArray) -> FloatArray:
    """Closes at which positions are marked: the symbol's last one; 0 before its first, when nothing can be held.

    Parameters
    ----------
    close : ndarray of shape (T, N)
        NaN where a symbol has no bar.

    Returns
    -------
    ndarray of shape (T, N)
    """
    rows = np.arange(len(close))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(close), 0, rows), axis=0)
    return np.nan_to_num(np.take_along_axis(close, last, axis=0), nan=0.0)


def ticker_pnl(path: AccountPath, close: FloatArray) -> TickerPnl:
    """Profit and costs of each symbol up to each close; `close` is that of `marked_close`, (T, N)."""
    fills = fill_arrays(path)
    paid, commission = np.zeros_like(close), np.zeros_like(close)
    np.add.at(paid, (fills.bar, fills.symbol), fills.size * fills.price)
    np.add.at(commission, (fills.bar, fills.symbol), fills.commission)
    costs = commission.cumsum(axis=0) + path.borrow.cumsum(axis=0)
    return TickerPnl(path.size * close - paid.cumsum(axis=0), costs)


def exposures(path: AccountPath, close: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gross and net exposure at each close, fractions of equity, each (T,); NaN where equity is not positive."""
    held = path.size * close
    with np.errstate(divide="ignore", invalid="ignore"):
        equity = np.where(path.equity > 0.0, path.equity, np.nan)
        return np.abs(held).sum(axis=1) / equity, held.sum(axis=1) / equity


def round_trips(fills: FillArrays, n_symbols: int) -> IntArray:
    """How many positions each symbol opened, from flat or by a flip; one still open at the end counts, (N,)."""
    counts = np.zeros(n_symbols, dtype=np.int64)
    held = [0.0] * n_symbols
    for symbol, size in zip(fills.symbol.tolist(), fills.size.tolist(), strict=True):
        before = held[symbol]
        held[symbol] = after = before + size
        counts[symbol] += after != 0.0 and before * after <= 0.0
    return counts


def per_bar(path: AccountPath, what: str) -> FloatArray:
    """(T,) sums of what the fills of each bar hold, such as `notional` or `commission`."""
    total, fills = np.zeros(len(path.equity)), fill_arrays(path)
    np.add.at(total, fills.bar, getattr(fills, what))
    return total


def yearly_rate(record: RunRecord, amounts: FloatArray) -> tuple[FloatArray, str]:
    """Amounts per bar as multiples of equity a year, over the trailing year, and the window in words.

    Returns
    -------
    ndarray of shape (T,), str
        NaN on the first quarter of the window: a rate per year from a few bars is noise that squeezes the rest.
    """
    year = round(record.bars.bars_per_year)
    long = record.bars.n_bars > year
    window = year if long else record.bars.n_bars
    equity = record.accounts["hybrid"].equity
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = _trailing(amounts, window) / _trailing(equity, window) * record.bars.bars_per_year
    rate[: window // 4] = np.nan
    return rate, "the trailing year" if long else "the span so far"


def _trailing(values: FloatArray, window: int) -> FloatArray:
    """Mean over up to `window` rows ending at each row."""
    total = np.concatenate(([0.0], values.cumsum()))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


def split_of(record: RunRecord) -> Contributions:
    """The parts of a run's profit, bar by bar."""
    mark = marked_close(record.bars.close)
    before = np.vstack([mark[:1], mark[:-1]])
    opened = np.where(np.isnan(record.bars.open), before, record.bars.open)
    columns = {symbol: i for i, symbol in enumerate(record.bars.symbols)}
    sides = [(columns[y], columns[x]) for y, x in (name.split(":") for name in record.pairs.names)]
    gross = float(record.config.get("kalman", {}).get("gross_exposure", 1.0))
    account = record.accounts["hybrid"]
    return contributions(account, record.decisions, record.pairs, sides, gross, PriceMoves(opened, mark))
