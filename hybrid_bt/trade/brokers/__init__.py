"""Brokers: one file each. A new one is one file and one line in `BROKERS`, or an entry point of `hybrid_bt.brokers`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars import Bars
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import ConfigError, did_you_mean, os_errors
from hybrid_bt.trade.brokers.base import Abilities, Answer, Broker, BrokerError, Clock, Fill, Holdings, Order, Status

__all__ = [
    "BROKERS",
    "Abilities",
    "Answer",
    "Broker",
    "BrokerError",
    "Clock",
    "Fill",
    "Holdings",
    "Order",
    "Place",
    "Status",
    "open_broker",
]

ENTRY_POINTS = "hybrid_bt.brokers"  #: group in which packages offer brokers by name


class Place(NamedTuple):
    """What a broker is opened for; one with an account and bars of its own looks at `live` alone."""

    state: Path  #: of the trader; a broker that keeps its own files does so beside it
    bars: Callable[[], Bars]  #: of the market that the user named; read when asked for
    cash: float  #: of a new account
    costs: Costs  #: that are assumed
    first: np.datetime64 | None = None  #: bar on which a new account begins; None for the last one
    walks: bool = False  #: through past bars, one at a time
    live: bool = False  #: with money; asked for twice over


Opener = Callable[[Place], Broker]

#: name -> module and function of a `Place`; the module is imported when the broker is asked for
BROKERS: dict[str, str] = {
    "paper": "hybrid_bt.trade.brokers.paper:PaperBroker",
    "alpaca": "hybrid_bt.trade.brokers.alpaca:open_alpaca",
}


def open_broker(name: str, place: Place) -> Broker:
    """A registered broker.

    Raises
    ------
    ConfigError
        If nobody offers it, or what is offered is none.
    """
    if name in BROKERS:
        module, _, function = BROKERS[name].partition(":")
        opener: Opener = getattr(importlib.import_module(module), function)
    else:
        offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if name not in offered:
            known = (*BROKERS, *offered)
            raise ConfigError(
                f"broker: nobody offers {name!r} in BROKERS or as {ENTRY_POINTS}{did_you_mean(name, known)}"
            )
        with os_errors(ConfigError, f"broker: {name!r} cannot be imported", "mend its package", of=(Exception,)):
            opener = offered[name].load()
    broker = opener(place)
    if lacks := [
        part for part in (*Broker.__annotations__, *vars(Broker)) if part[0] != "_" and not hasattr(broker, part)
    ]:
        raise ConfigError(f"broker: {name!r} is no Broker: {type(broker).__name__} lacks {', '.join(lacks)}")
    return broker
