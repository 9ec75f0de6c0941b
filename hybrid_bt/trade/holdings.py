"""A file as a broker: what somebody holds. It answers what is there, and takes no order."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from hybrid_bt.bars import Bars
from hybrid_bt.errors import BarsError, ConfigError, check_names, os_errors
from hybrid_bt.trade.brokers.base import Abilities, Answer, BrokerError, Clock, Holdings, Order, moment_of

CASH = "cash"  #: in the place of a symbol
#: what the columns may be called, the first name before the others; cash is a row or a column
_HEAD = (("symbol", "ticker"), ("shares", "quantity", "qty", "position"), (CASH,))


class HeldBroker:
    """What is held, at the last closes of these bars."""

    name = "file"

    def __init__(self, bars: Bars, cash: float, positions: Mapping[str, float]) -> None:
        check_names(positions, bars.symbols, "holdings: not among the symbols traded:")
        worth, self._bars = cash, bars
        for symbol, size in positions.items():
            column = bars.close[:, bars.index_of(symbol)]
            if not (known := column[column == column]).size:
                raise ConfigError(f"holdings: {symbol} has no price up to {bars.stamps[-1]:.10}; look at later bars")
            worth += size * float(known[-1])
        self._holdings = Holdings(cash, worth, positions)
        if not worth > 0.0:
            raise ConfigError(f"holdings: {worth:,.2f} in all; say the cash, as a row `cash,10000` or with --cash")

    def clock(self) -> Clock:
        """Behind the last close."""
        now = moment_of(self._bars.stamps[-1])
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


def read_holdings(path: Path, symbols: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """Cash, None where it is not said, and shares by symbol, of a table that somebody or a broker wrote.

    Parameters
    ----------
    symbols
        That are traded; the file may write them in any case.

    Raises
    ------
    ConfigError
        If it is no such table, says something twice, or leaves open what a number is.
    """
    from hybrid_bt.feeds.figures import decimal_mark, value_of

    rows, by_commas = _rows(path)
    try:
        mark, unsure = decimal_mark(text.strip("()") for _, _, *texts in rows for text in texts)
    except ValueError as error:
        raise ConfigError(f"holdings: {path} has two decimal marks, {error}; keep one") from None
    mark, unsure = mark or "." * by_commas, unsure and not mark and not by_commas
    known, found, money = {name.upper(): name for name in symbols}, dict[str, float](), list[float]()
    for number, name, *texts in rows:
        values = (None if unsure and "." in text else value_of(text, mark) for text in texts)
        shares, cash = (math.inf if value is None else value for value in values)
        symbol = name if name in symbols else CASH if name.lower() == CASH else known.get(name.upper(), name)
        if not symbol or symbol in found or not math.isfinite(shares) or math.isinf(cash):
            said = f"row {number} says {name!r} and {texts[0]!r}"
            raise ConfigError(f"holdings: {path} {said}; give each symbol once, and its shares as 1234.0 or 1234,0")
        found[symbol] = shares
        money += [cash] if cash == cash and cash not in money else []
    money += [found.pop(CASH)] if CASH in found and CASH not in symbols else []
    if len(money) > 1:
        raise ConfigError(
            f"holdings: {path} says the cash as {' and as '.join(f'{one:,.2f}' for one in money)}; keep one"
        )
    return (money[0] if money else None), {symbol: size for symbol, size in found.items() if size}


def _rows(path: Path) -> tuple[list[tuple[int, str, str, str]], bool]:
    """Number, symbol, shares and cash of each row, as written; and whether commas part the columns."""
    from hybrid_bt.feeds.dialect import SEPARATORS, encoding_of
    from hybrid_bt.feeds.names import key_of

    with os_errors(ConfigError, f"holdings: cannot read {path}", "name another file"):
        content = path.read_bytes()
    try:
        lines = content.decode(encoding_of(content, path.name)).replace("\u2212", "-").splitlines()
        tables = {one: [[*map(str.strip, row)] for row in csv.reader(lines, delimiter=one)] for one in SEPARATORS}
    except (BarsError, UnicodeDecodeError, csv.Error):
        raise ConfigError(f"holdings: {path} is no text that can be read; save it as CSV in UTF-8") from None
    for separator, rows in tables.items():
        for head, names in enumerate([*map(key_of, row)] for row in rows):
            columns = [next((name for name in kind if name in names), "") for kind in _HEAD]
            if not all(columns[:2]) or any(names.count(name) > 1 for name in columns if name):
                continue
            at, of, money = (names.index(name) if name else -1 for name in columns)  # -1, behind the row: empty
            found = []
            for number, row in enumerate(rows[head + 1 :], head + 2):
                cells = [*row, *[""] * (len(names) + 1)]
                shares = separator.join(row) if any(row[len(names) :]) else cells[of]  # all of it: a number was cut
                found.append((number, cells[at], shares, cells[money]))
            return [one for one in found if any(one[1:])], separator == ","
    began = lines[0][:60] if lines else ""
    raise ConfigError(f"holdings: {path} begins with {began!r}; it needs one column symbol and one column shares")
