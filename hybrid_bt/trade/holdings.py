"""A file as a broker: what somebody holds. It answers what is there, and takes no order."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hybrid_bt.bars import Bars
from hybrid_bt.errors import ConfigError, check_names, os_errors
from hybrid_bt.trade.brokers.base import Abilities, Answer, BrokerError, Clock, Holdings, Order

CASH = "cash"  #: in the place of a symbol
_HEAD = ("symbol", "shares")


class HeldBroker:
    """What is held, at the last closes of these bars."""

    name = "file"

    def __init__(self, bars: Bars, cash: float, positions: Mapping[str, float]) -> None:
        check_names(positions, bars.symbols, "holdings: not among the symbols traded:")
        worth, self._bars = cash, bars
        for symbol, size in positions.items():
            column = bars.close[:, bars.index_of(symbol)]
            worth += size * float(column[column == column][-1])
        self._holdings = Holdings(cash, worth, positions)
        if not worth > 0.0:
            raise ConfigError(f"holdings: {worth:,.2f} in all; say the cash, as a row `cash,10000` or with --cash")

    def clock(self) -> Clock:
        """Behind the last close."""
        now = datetime.fromtimestamp(int(self._bars.stamps[-1].astype("M8[s]").astype(int)), UTC)
        return Clock(now, False, now + timedelta(days=1))

    def bars(self, symbols: Sequence[str]) -> Bars:
        """Those at hand."""
        return self._bars

    def abilities(self, symbols: Sequence[str]) -> Mapping[str, Abilities]:
        """Nobody knows; the lot says what is wanted."""
        return dict.fromkeys(symbols, Abilities(fractions=True, shorts=True))

    def account(self) -> Holdings:
        """As the file has it."""
        return self._holdings

    def orders(self, ids: Collection[str]) -> Mapping[str, Answer]:
        """None."""
        return {}

    def waiting(self) -> Sequence[Answer]:
        """None."""
        return ()

    def submit(self, order: Order) -> Answer:
        """Refused."""
        raise BrokerError("broker: a file of holdings takes no order")

    def cancel(self, id: str) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def read_holdings(path: Path) -> tuple[float | None, dict[str, float]]:
    """Cash, None where it is not said, and shares by symbol, of a CSV with the columns symbol and shares.

    Raises
    ------
    ConfigError
        If it is no such table, or names a symbol twice.
    """
    with os_errors(ConfigError, f"holdings: cannot read {path}", "name another file"):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    head, *rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)] or [[]]
    names = [name.lower() for name in head]
    if not set(_HEAD) <= set(names):
        raise ConfigError(f"holdings: {path} begins with {','.join(head)!r}; its columns must be {' and '.join(_HEAD)}")
    places, found = [names.index(name) for name in _HEAD], dict[str, float]()
    for number, row in enumerate(rows, 2):
        symbol, amount = (row[place] if place < len(row) else "" for place in places)
        try:
            shares = float(amount.replace(",", ""))
        except ValueError:
            shares = math.nan
        if not symbol or symbol in found or not math.isfinite(shares):
            raise ConfigError(
                f"holdings: {path} row {number} is {','.join(row)!r}; give each symbol once, and its shares"
            )
        found[symbol] = shares
    cash = next((name for name in found if name.lower() == CASH), None)
    return (None if cash is None else found.pop(cash)), {symbol: size for symbol, size in found.items() if size}
