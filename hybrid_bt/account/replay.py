"""A whole backtest on arrays, equal to the Cerebro run of the same targets at every bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybrid_bt.account.records import AccountPath, Fills, FloatArray
from hybrid_bt.bars import Bars
from hybrid_bt.brain.session import Session
from hybrid_bt.brain.settling import Books
from hybrid_bt.equations.accounting import Terms, broker_day, run_account, send_orders
from hybrid_bt.equations.advice import Advice
from hybrid_bt.equations.book import Account, Book, Capital, Tape, new_book, open_account
from hybrid_bt.equations.compiled import choose
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.parameters import validated
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ConfigError

SECONDS_PER_CELL = 1e-6  # of a bar x symbol, interpreted
FIRST_FILLS = 1_000_000  # room for fills on the first attempt


def replay(
    targets: ArrayLike,
    bars: Bars,
    *,
    cash: float = 1_000_000.0,
    costs: Costs = Costs(),  # noqa: B008 (an immutable tuple)
    rules: OrderRules = OrderRules(),  # noqa: B008
    sides: ArrayLike | None = None,
    compiled: bool | None = None,
) -> AccountPath:
    """Trade `targets` on `bars` as Backtrader's broker would.

    Parameters
    ----------
    targets : (T, N) array_like
        Signed fractions of equity wanted at the close of each row; NaN keeps what is held. An order fills at the
        open of its symbol's next bar. Targets of symbols without a bar on the row are not read.
    bars : Bars
        T rows, row 0 being the first decision.
    cash : float
        Start value, currency.
    costs : Costs
    rules : OrderRules
    sides : (N,) or (T, N) array_like of int, optional
        Labels: symbols with equal ones trade as one decision, all to their exact targets or none (`equations.sizing`).
        By default each one alone.
    compiled : bool, optional
        Run under numba (same bits). By default where the work is worth loading it.

    Raises
    ------
    ConfigError
        For targets of another shape or infinite ones, sides of another shape, or cash, costs or rules out of range.

    Examples
    --------
    >>> bars = load_bars("us20", symbols=["KO", "PEP"])
    >>> f"{replay(np.full(bars.close.shape, 0.45), bars).equity[-1]:,.0f}"
    '28,579,744'
    """
    wanted = _checked_targets(targets, bars)
    terms = checked_terms(cash, costs, rules)
    arrays = bars.open, bars.close, days_of(bars), wanted, _checked_sides(sides, wanted.shape)
    if choose(compiled, wanted.size * SECONDS_PER_CELL):
        from hybrid_bt.equations.compiled.panel import one_account

        inputs = [np.ascontiguousarray(array) for array in arrays]
        return one_path(lambda tape: one_account(terms, tape, *inputs), wanted.shape)
    opens, closes, days, rows, labels = (array.tolist() for array in arrays)  # lists are fastest in CPython
    given = opens, closes, days, rows, labels, terms
    return one_path(lambda tape: run_account(*given, new_book(wanted.shape[1]), tape), wanted.shape)


def trade_session(
    session: Session,
    bars: Bars,
    stamps: Sequence[float],
    terms: Terms,
    advise: Callable[[float], Advice] | None = None,
    on_bar: Callable[[], None] = lambda: None,
) -> AccountPath:
    """Let a session trade `bars`, bar by bar, its guard looking into the twin's account.

    Parameters
    ----------
    session : Session
        Fresh, or with a history alone.
    stamps : (T,)
        Of the bars, as a session takes them.
    advise : callable, optional
        What documents say at the close of a stamp.
    """
    cash, costs, rules = terms
    opens, closes, days = bars.open.tolist(), bars.close.tolist(), days_of(bars).tolist()
    refused: list[int] = []

    def drive(tape: Tape) -> Account:
        account, book = open_account(cash), new_book(bars.n_symbols)
        for t, (stamp, open_row, close_row) in enumerate(zip(stamps, opens, closes, strict=True)):
            before, account = account, broker_day(account, book, t, days[t], open_row, close_row, costs, tape)
            if account.rejected > before.rejected:
                refused.append(t)
            look, advice = partial(_books, account, book, close_row), advise(stamp) if advise else None
            sent = session.bar(stamp, close_row, look, advice)
            if sent is not None:
                account = send_orders(account, book, t, sent, close_row, session.together, rules, costs)
            on_bar()
        return account

    path = one_path(drive, bars.close.shape, bars.close.size)  # a session is driven once
    return replace(path, first_rejected=refused[0] if refused else None)


def _books(account: Account, book: Book, closes: Sequence[float]) -> Books:
    return Books(account.equity, list(book.size), list(book.close), [close == close for close in closes])


@lru_cache(maxsize=64)  # short replays by the thousand ask for the same ones
def checked_terms(cash: float, costs: Costs, rules: OrderRules) -> Terms:
    """Those of one account; ConfigError where they make no sense."""
    start = validated(Capital, [cash], "account")
    return start.cash, validated(Costs, costs, "costs"), validated(OrderRules, rules, "orders")


def days_of(bars: Bars) -> NDArray[np.int64]:
    """(T,) date of each row, days since 1970."""
    return bars.stamps.astype("datetime64[D]").astype(np.int64)


def one_path(drive: Callable[[Tape], Account], shape: tuple[int, ...], most: int = FIRST_FILLS) -> AccountPath:
    """Run one account on a tape of (T, N), and once more with more room if its fills did not fit."""
    room = min(shape[0] * shape[1], most)
    while True:
        rows = np.empty(shape[0]), np.empty(shape[0]), np.zeros(shape)
        fills = (*(np.empty(room, np.int64) for _ in range(3)), *(np.empty(room) for _ in range(3)))
        end = drive(Tape(*rows, *fills))
        if end.fills <= room:
            return _as_path(end, *rows, fills)
        room = end.fills


def _as_path(
    end: Account, cash: FloatArray, equity: FloatArray, borrow: FloatArray, fills: Sequence[NDArray[Any]]
) -> AccountPath:
    columns = [column[: end.fills].copy() for column in fills]
    return AccountPath(cash=cash, equity=equity, held=None, borrow=borrow, fills=Fills(columns), rejected=end.rejected)


def _checked_sides(sides: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """(T, N), or (T, 0) where each symbol is decided alone."""
    if sides is None:
        return np.empty((shape[0], 0), np.int64)
    labels = np.asarray(sides)
    if labels.shape not in (shape, shape[1:]) or labels.dtype.kind not in "iu":
        wanted = f"whole numbers, bars x symbols {shape} or one row"
        raise ConfigError(f"replay: sides must be {wanted}, not {labels.dtype} {labels.shape}")
    return np.ascontiguousarray(np.broadcast_to(labels, shape), dtype=np.int64)


def _checked_targets(targets: ArrayLike, bars: Bars) -> NDArray[np.float64]:
    wanted = np.ascontiguousarray(targets, dtype=np.float64)
    if wanted.shape != bars.close.shape or not len(wanted):
        raise ConfigError(f"replay: targets must be bars x symbols, {bars.close.shape}, not {wanted.shape}")
    if np.isinf(wanted).any():
        row, column = np.argwhere(np.isinf(wanted))[0]
        where = f"{bars.symbols[column]} {bars.stamps[row]}"
        raise ConfigError(f"replay: the target of {where} is infinite; give a fraction of equity, or NaN to hold")
    return wanted
