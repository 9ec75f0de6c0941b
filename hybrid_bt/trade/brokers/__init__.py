"""Brokers: one file each. A new one is one file and one line in `BROKERS`, or an entry point of `hybrid_bt.brokers`."""

from hybrid_bt.trade.brokers.base import Abilities, Answer, Broker, BrokerError, Clock, Fill, Holdings, Order, Status

__all__ = ["Abilities", "Answer", "Broker", "BrokerError", "Clock", "Fill", "Holdings", "Order", "Status"]
