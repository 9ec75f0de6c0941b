"""From targets to orders, of an account as its broker has it: sized as in a backtest, within what the broker does."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hybrid_bt.equations.accounting import send_orders
from hybrid_bt.equations.book import new_book, open_account
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import ConfigError
from hybrid_bt.trade.brokers.base import Abilities, Holdings, Order


class Standing(NamedTuple):
    """An account at a close, symbol by symbol."""

    cash: float
    equity: float
    sizes: Sequence[float]  #: (N,) signed shares, with what is still under way
    ruined: bool  #: equity was <= 0 at some close


class Sized(NamedTuple):
    """What is to be ordered."""

    orders: Sequence[Order]  #: in the order of submission
    ruined: bool
    held_back: Sequence[str] = ()  #: symbols that may not be short here, and what is one decision with them


def order_id(broker: str, stamp: float, symbol: str, target: float) -> str:
    """The same in every process, and another for another account, bar, symbol or target."""
    text = f"{broker}|{stamp!r}|{symbol}|{target!r}"
    return f"hb-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def free_cash(holdings: Holdings, longs: float, leverage: float) -> float:
    """Cash that orders may take, as `send_orders` counts it: 1/leverage of each long is paid.

    Where the broker does not say, longs, worth `longs` in all, count as bought at their last closes.
    """
    known = holdings.free == holdings.free
    return holdings.free if known else holdings.cash + (1.0 - 1.0 / leverage) * longs


def check_abilities(abilities: Mapping[str, Abilities], rules: OrderRules, leverage: float) -> None:
    """Refuse, before the first order, what the broker cannot do whatever is decided."""
    most = min(can.leverage for can in abilities.values())
    if leverage > most:
        raise ConfigError(
            f"broker: the account holds at most {most:g} x its equity, account.leverage is {leverage:g}; give one that "
            "it carries, and risk.net_limit below it, in --config, or --mode stable"
        )
    whole = [symbol for symbol, can in abilities.items() if not can.fractions]
    if whole and (rules.lot == 0.0 or rules.lot != round(rules.lot)):
        raise ConfigError(
            f"broker: {', '.join(whole[:3])} is traded in whole shares here, the lot is {rules.lot:g}; give --lot 1"
        )


def sized(
    broker: str,
    stamp: float,
    symbols: Sequence[str],
    closes: Sequence[float],
    decided: tuple[Sequence[float], Sequence[int]],
    standing: Standing,
    terms: tuple[OrderRules, Costs],
    abilities: Mapping[str, Abilities],
) -> Sized:
    """Orders of one bar, by `equations.accounting.send_orders`.

    Parameters
    ----------
    closes : (N,)
        NaN where a symbol has no bar, and gets no order.
    decided
        Targets (N,), NaN keeps what is held, and labels of symbols that are one decision, (N,) or empty.
    abilities : mapping
        A symbol that may not be sold short is not; with it waits what is one decision with it. Where an order may not
        go through zero it closes, and a later bar opens the other side; where shorts are whole, they are cut to that.
    """
    targets, together = list(map(float, decided[0])), decided[1]
    held_back: list[str] = []
    while True:
        book = new_book(len(symbols))._replace(size=list(standing.sizes))
        account = open_account(standing.cash)._replace(equity=standing.equity, ruined=standing.ruined)
        sent = send_orders(account, book, 0, targets, closes, together, *terms)
        columns = list(book.queue)[: sent.submitted + sent.waiting]
        short = [
            i for i in columns if _goes_short(standing.sizes[i], book.order[i]) and not abilities[symbols[i]].shorts
        ]
        if not short:
            break
        labels = {together[i] for i in short} if together else set()
        for i, symbol in enumerate(symbols):
            if i in short or (together and together[i] in labels):
                targets[i] = math.nan
                held_back.append(symbol)
    carried = {i: _carried(standing.sizes[i], book.order[i], abilities[symbols[i]]) for i in columns}
    orders = [
        Order(order_id(broker, stamp, symbols[i], targets[i]), symbols[i], size, closes[i], checked=not sent.ruined)
        for i, size in carried.items()
        if size
    ]
    return Sized(orders, sent.ruined, tuple(dict.fromkeys(held_back)))


def _goes_short(held: float, order: float) -> bool:
    return order < 0.0 and held + order < 0.0


def _carried(held: float, order: float, can: Abilities) -> float:
    after = held + order
    if after * held < 0.0 and not can.crosses:
        after = 0.0
    elif after < 0.0 and not can.fractional_shorts:
        after = float(math.trunc(after))
    else:
        return order
    return after - held
