"""The rows of one account: what was decided and meant, told again after whatever ended the process.

Prices of earlier rows may have been multiplied since, by one factor a symbol (a split; a dividend, in adjusted prices):
the next row says so. Anything else that is not as it was is a revision, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.bars.findings import say
from hybrid_bt.brain.journal import REVISED, Entry, Journal, Prices, said
from hybrid_bt.brain.session import Advise, Session
from hybrid_bt.errors import StateError
from hybrid_bt.feeds.lines import date_numbers
from hybrid_bt.trade.brokers.base import Answer, Broker, Holdings, Order
from hybrid_bt.trade.log import Log
from hybrid_bt.trade.rows import LAPSED, LOOKED_AT, Seen, Told, follow, scale_of, seen, told

JUMPS = ("jump", "split", "unit")  #: rules of `bars.findings`


class State:
    """What stands in the journal of an account, and what of it is not over.

    Parameters
    ----------
    journal : Journal
    log : Log
    bars : Bars
        That the broker has.

    Attributes
    ----------
    rows : list of Entry
        Read again or written, oldest first.
    row : int
        Of the bars, the last one that was decided on; -1 before the first.
    pending : dict
        Orders that were not over when the last row was written, by id, oldest first.
    over : dict
        What the next row is to say of orders that the broker knows nothing of, by id.

    Raises
    ------
    StateError
        If the data does not hold the bar that the rows begin on.
    """

    def __init__(self, journal: Journal, log: Log, bars: Bars) -> None:
        self.journal, self._log, self.bars = journal, log, bars
        self.numbers = date_numbers(bars.stamps).tolist()
        self.rows: list[Entry] = []
        self.pending: dict[str, Order] = {}
        self.over: dict[str, Told] = {}
        self.row, self._scales = -1, dict[str, float]()
        self.first = bars.n_bars - 1  #: row of the first bar traded: the last one of all for a new account
        if not journal.is_over:
            if journal.first not in self.numbers:
                bar = said(journal.first)
                raise StateError(f"state: the data has no bar on {bar}, on which {journal.path} begins; {REVISED}")
            self.first = self.numbers.index(journal.first)

    def recall(self, session: Session, advise: Advise) -> None:
        """Decide past bars again.

        Raises
        ------
        StateError
            If the data or what is decided on it is not as it was.
        """
        written = self.journal.rows()
        self._scales = self._rescaled(written)
        rescaled = bool(self._scales) or any(seen(row)["scales"] for row in written)
        for row in range(self.first, self.bars.n_bars):
            if self.journal.is_over:
                break
            entry = session.recall(self.numbers[row], self.bars.close[row].tolist(), advise, rescaled)
            if entry is not None:
                self._remember(row, entry)
        self.journal.end(self.numbers[-1])
        if self._scales:
            self._log.line("prices rescaled", bar=said(self.numbers[-1]), scales=self._scales)

    def _rescaled(self, rows: Sequence[Entry]) -> dict[str, float]:
        """Symbol -> what its prices were multiplied by since the last row."""
        found = {}
        for i, symbol in enumerate(self.bars.symbols):
            scale = scale_of(*self._both(rows, i, symbol))
            if scale is None:
                raise StateError(f"state: closes of {symbol} are not those that {self.journal.path} has; {REVISED}")
            if scale != 1.0:
                found[symbol] = scale
        return found

    def _both(self, rows: Sequence[Entry], i: int, symbol: str) -> tuple[list[float], list[float]]:
        """Prices as the rows have them, since they were rescaled last, and as the data has them.

        The bars before the first row, and before a rescaling of the last one, count as well where one price is all.
        """
        before, now, scale = [], [], 1.0  # type: list[float], list[float], float
        places = {number: row for row, number in enumerate(self.numbers)}
        known = [(stamp, closes[i], 1.0) for stamp, closes in seen(rows[0])["before"]]
        known += [(row.stamp, row.closes[i], seen(row)["scales"].get(symbol, 1.0)) for row in rows]
        for stamp, close, factor in reversed(known):
            if stamp in places:
                before.insert(0, close * scale)
                now.insert(0, float(self.bars.close[places[stamp], i]))
            if factor != 1.0:
                if len(before) > 1 or before == now:
                    break
                scale *= factor
        return before, now

    def look(self, bars: Bars) -> None:
        """At the bars there are now."""
        self.bars = bars
        if bars.n_bars > len(self.numbers):
            self.numbers += date_numbers(bars.stamps[len(self.numbers) :]).tolist()

    def doubt(self, row: int) -> None:
        """Alarms of prices that may be wrong, on the bar that they are traded on first."""
        for one in self.bars.findings:
            if one.rule in JUMPS and one.first == say_stamp(self.bars.stamps[row]):
                self._log.alarm("price", say(one), bar=one.first, symbol=one.symbol)

    def last_closes(self, row: int) -> list[float]:
        """(N,) of each symbol's last bar; NaN before its first."""
        rows = row - np.argmax(self.bars.traded[row::-1], axis=0)
        return self.bars.close[rows, np.arange(self.bars.n_symbols)].tolist()  # type: ignore[no-any-return]

    def _remember(self, row: int, entry: Entry) -> None:
        self.rows.append(entry)
        self.row = row
        follow(self.pending, entry)

    @property
    def was_ruined(self) -> bool:
        """Whether equity was <= 0 at some close before."""
        return bool(self.rows) and seen(self.rows[-1])["ruined"]

    def seen(self, broker: Broker, holdings: Holdings | None) -> Seen:
        """The account for the next row, with what became of orders; None on a bar that was missed."""
        nan = float("nan")
        cash, equity, positions, _ = holdings or Holdings(nan, nan, {})
        asked = [id for id in self.pending if id not in self.over]
        known: Mapping[str, Answer] = self._log.ask(broker.orders, asked) if asked else {}
        answers = {id: told(known[id]) if id in known else (LAPSED, [], "") for id in asked}
        return {
            "ruined": self.was_ruined,
            "cash": float(cash),
            "equity": float(equity),
            "positions": {symbol: float(size) for symbol, size in positions.items()},
            "orders": [],
            "answers": answers | self.over,
            "next_open": "",
            "together": [],
            "scales": self._scales,
            "before": [] if self.rows else self._before(),
        }

    def _before(self) -> list[tuple[float, list[float]]]:
        some = slice(max(self.first - LOOKED_AT, 0), self.first)
        return list(zip(self.numbers[some], self.bars.close[some].tolist(), strict=True))

    def keep(self, session: Session, row: int, account: Seen, sent: Sequence[float] | None, *, lasting: bool) -> None:
        """Write the row of the session's last bar, and of the targets `sent`."""
        bars, stamp, closes = self.bars, self.numbers[row], self.bars.close[row].tolist()
        of_bar = zip(*(getattr(bars, name)[row].tolist() for name in ("open", "high", "low", "volume")), strict=True)
        prices: Prices = [list(one) if close == close else None for one, close in zip(of_bar, closes, strict=True)]
        session.keep(account, prices, lasting=lasting)
        self.over, self._scales = {}, {}
        self._remember(row, Entry(stamp, closes, None, None, sent, account, prices))
