"""What a broker is asked, and what it answers: plain values, so that one broker is as good as another.

    bars(symbols)    closed bars, oldest first         account()     cash, equity, positions
    submit(order)    once, whatever is repeated        orders(ids)   what became of them
    cancel(id)       what still waits                  clock()       the broker's time, and whether it trades now

The trader decides on a bar, works orders out from `account()`, writes them down, and then submits them. A process that
died may ask all of it again: an order is known by its id, which the trader makes from account, bar, symbol and target.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.errors import HybridError


class BrokerError(HybridError):
    """A broker that refuses, or cannot be had.

    Parameters
    ----------
    again : bool
        Whether asking again later may help: no answer, too many questions, an error of the server.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class Order(NamedTuple):
    """A market order for the next open."""

    id: str  #: at most 48 characters of [a-z0-9-]; the same order has the same one in every process
    symbol: str
    size: float  #: signed shares
    close: float  #: price that it was decided on
    checked: bool = True  #: False: of a ruined account, that closes whatever cash is left


class Status(Enum):
    """What became of an order."""

    OPEN = "open"  #: accepted; it may be filled in part
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"  #: or expired; it may have been filled in part before


class Fill(NamedTuple):
    """A part of an order that was filled."""

    id: str  #: of the order
    symbol: str
    size: float  #: signed shares
    price: float
    fee: float  #: currency; NaN where the broker does not say
    moment: datetime  #: UTC


class Answer(NamedTuple):
    """What a broker says of an order."""

    order: Order
    status: Status
    fills: Sequence[Fill] = ()  #: oldest first; a broker that tells sums only gives one with the average price
    reason: str = ""  #: of a refusal, in the broker's words


class Holdings(NamedTuple):
    """An account as its broker has it."""

    cash: float  #: with longs paid in full and shorts' proceeds in it; negative is borrowed
    equity: float
    positions: Mapping[str, float]  #: signed shares by symbol, without zeros
    free: float = math.nan  #: cash that orders may take, as Backtrader counts it; NaN: it follows from the others


class Clock(NamedTuple):
    """The time at the broker."""

    now: datetime  #: UTC
    is_open: bool
    next_open: datetime  #: UTC; the next moment at which an order for the open is filled


class Abilities(NamedTuple):
    """What a broker does with a symbol; asked before the first order."""

    fractions: bool  #: of a share
    shorts: bool
    crosses: bool = True  #: whether one order may go from long to short or back
    fractional_shorts: bool = True  #: whether a short may end in a fraction of a share
    leverage: float = math.inf  #: most value of positions by equity that the account may hold over night


def moment_of(stamp: np.datetime64) -> datetime:
    """Of a bar."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(stamp.astype("M8[us]").astype(int)))


@runtime_checkable
class Broker(Protocol):
    """One account at a broker.

    Every method may raise `BrokerError`. `submit` of an id that the broker has is no second order: it gives the answer
    of the first one.
    """

    name: str  #: of the broker and the account, for people and for the ids of orders; no secret

    def clock(self) -> Clock: ...
    def bars(self, symbols: Sequence[str]) -> Bars: ...
    def abilities(self, symbols: Sequence[str]) -> Mapping[str, Abilities]: ...
    def account(self) -> Holdings: ...
    def orders(self, ids: Collection[str]) -> Mapping[str, Answer]:
        """Those of these orders that the broker knows, by id."""
        ...

    def waiting(self) -> Sequence[Answer]:
        """All open orders of the account, those of other hands too."""

    def submit(self, order: Order) -> Answer: ...
    def cancel(self, id: str) -> None:
        """Take back what still waits; one that does not wait any more, or is not known, is left."""
        ...

    def close(self) -> None: ...
