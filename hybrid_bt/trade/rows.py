"""What a row of the state says of an account: what is meant to be sent, before it is, and what became of the rest.

And what prices that come again were since the row before: the same, all of one symbol multiplied by a factor, or
revised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, get_type_hints

from pydantic import ConfigDict, TypeAdapter, create_model

from hybrid_bt.brain.journal import Entry
from hybrid_bt.equations.book import Book
from hybrid_bt.equations.sizing import SIZE_GRID
from hybrid_bt.trade.brokers.base import Answer, Order, Status

LOOKED_AT = 20  #: bars that tell a factor from a correction
APART = 0.1  #: of a factor's distance from 1: what rounding to cents may make of it
LAPSED = "lapsed"  #: in the place of a status: never sent, and too late for it

Written = tuple[str, str, float, float, bool]  #: an order, field by field
Told = tuple[str, list[tuple[float, float, float | None, str]], str]  #: status; fills: size, price, fee, moment; reason
NOTHING: Told = "", [], ""  #: of an order that nobody was asked about


class Seen(TypedDict):
    """The account of one row."""

    ruined: bool
    cash: float
    equity: float
    positions: dict[str, float]
    orders: list[Written]  #: meant to be sent at this close
    answers: dict[str, Told]  #: of earlier orders that were not over before
    next_open: str  #: that the orders are for; empty on a bar that was missed
    together: list[int]  #: (N,) symbols of a label were one decision, or empty
    scales: dict[str, float]  #: what all earlier prices of a symbol were multiplied by since the row before
    before: list[tuple[float, list[float]]]  #: of the first row, stamps and closes (N,) of the bars before it


_FIELDS: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(Seen).items()}
SEEN: TypeAdapter[object] = TypeAdapter(create_model("Seen", __config__=ConfigDict(extra="forbid"), **_FIELDS))


def seen(entry: Entry) -> Seen:
    """Of a row that was read or written."""
    account: Mapping[str, object] = entry.account
    return account  # type: ignore[return-value]


def order_of(written: Sequence[object]) -> Order:
    """As it was meant."""
    return Order(*written)  # type: ignore[arg-type]


def written(order: Order) -> Written:
    """As plain data."""
    return order.id, order.symbol, order.size, order.close, order.checked


def told(answer: Answer) -> Told:
    """As plain data."""
    fills = [
        (one.size, one.price, None if math.isnan(one.fee) else one.fee, one.moment.isoformat()) for one in answer.fills
    ]
    return answer.status.value, fills, answer.reason


def follow(pending: dict[str, Order], row: Entry) -> None:
    """Bring orders that are not over, by id and oldest first, from one row to the next."""
    for id, (status, *_) in seen(row)["answers"].items():
        if status != Status.OPEN.value:
            pending.pop(id, None)
    pending.update({order.id: order for order in map(order_of, seen(row)["orders"])})


def moment_text(moment: datetime) -> str:
    """UTC, to the second."""
    return moment.isoformat(timespec="seconds")


def scale_of(before: Sequence[float], now: Sequence[float]) -> float | None:
    """What the prices of one symbol were multiplied by; 1.0 where they are the same, None where by no one factor.

    NaN is a bar that is missing. A factor needs two prices at least; it is that of the last one.
    """
    ratios = [b / a for a, b in zip(before, now, strict=True) if a == a or b == b]
    if all(ratio == 1.0 for ratio in ratios):
        return 1.0
    factor = ratios[-1]
    room = APART * abs(factor - 1.0)
    uniform = len(ratios) > 1 and all(abs(ratio - factor) <= room for ratio in ratios)
    return factor if uniform else None


def rescale(book: Book, scales: Sequence[float]) -> None:
    """Divide shares by what prices were multiplied by."""
    for i, scale in enumerate(scales):
        if scale != 1.0:
            book.size[i] = round(book.size[i] / scale * SIZE_GRID) / SIZE_GRID
            book.order[i] = round(book.order[i] / scale * SIZE_GRID) / SIZE_GRID
            for prices in (book.entry, book.close, book.order_close):
                prices[i] *= scale
