"""How an account stands, by its state alone: no broker is asked."""

from __future__ import annotations

import glob
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hybrid_bt.brain.journal import Entry, Journal, said
from hybrid_bt.equations.costs import BPS, Costs
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.errors import HybridError, StateError, os_errors
from hybrid_bt.files.texts import json_object
from hybrid_bt.trade.beside import Twin, against_us, bought_since, twin
from hybrid_bt.trade.brokers.base import Order
from hybrid_bt.trade.rows import NOTHING, SEEN, Told, follow, seen

SHOWN_ALARMS = 20


class Filled(NamedTuple):
    """A fill, and what a backtest assumed of it."""

    stamp: float
    symbol: str
    size: float
    price: float
    assumed: float  #: the bar's open
    bps: float  #: above 0 against us
    fee: float  #: NaN where the broker does not say


class Standing(NamedTuple):
    """Everything that a state tells."""

    symbols: tuple[str, ...]
    rows: Sequence[Entry]
    twin: Twin
    fills: Sequence[Filled]
    pending: Sequence[Order]
    alarms: Sequence[dict[str, Any]]  #: of the log, oldest first


@contextmanager
def copy_of(state: Path) -> Iterator[Path]:
    """A copy of a state and of all that is kept beside it, in whose place errors name the state."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / state.name
        for file in state.absolute().parent.glob(f"{glob.escape(state.name)}*"):
            if file.is_file() and file.name.removeprefix(state.name)[:1] in ("", "."):
                shutil.copy(file, copy.with_name(file.name))
        try:
            yield copy
        except HybridError as error:
            raise type(error)(str(error).replace(str(copy), str(state))) from error


def read_standing(path: Path) -> Standing:
    """Of a state and the log beside it, also while somebody trades with it.

    Raises
    ------
    StateError
        If there is none with a row.
    """
    remedy = "name the --state of hybrid-bt trade"
    with os_errors(StateError, f"state: cannot read {path}", remedy), path.open("rb") as file:
        head = json_object(file.readline()) or {}
    fit = head.get("fit") or {}
    if "broker" not in fit:
        raise StateError(f"state: {path} is no state of hybrid-bt trade; name another file")
    with copy_of(path) as copy:
        journal = Journal(copy, fit, SEEN)
        rows, symbols = journal.rows(), tuple(fit["symbols"])
        journal.close()
    if not rows:
        raise StateError(f"state: {path} has no bar yet; run hybrid-bt trade first")
    numbers = {key.rpartition(".")[2]: number for key, number in fit.items() if key.startswith(("costs.", "account."))}
    costs = Costs(**{name: numbers[name] for name in Costs._fields})
    rules = OrderRules(**{name: numbers[name] for name in OrderRules._fields})
    orders: dict[str, Order] = {}
    pending: dict[str, Order] = {}
    before: dict[str, Told] = {}
    fills: list[Filled] = []
    for row in rows:
        for id, answer in seen(row)["answers"].items():
            size, price, fee = bought_since(before.get(id, NOTHING), answer)
            before[id] = answer
            if size:
                symbol = orders[id].symbol
                bar = (row.prices or [None] * len(symbols))[symbols.index(symbol)]
                assumed = math.nan if bar is None else bar[0]
                bps = against_us(size, price, assumed)
                fills.append(Filled(row.stamp, symbol, size, price, assumed, bps, fee))
        follow(pending, row)
        orders |= pending
    return Standing(symbols, rows, twin(symbols, rows, costs, rules), fills, list(pending.values()), _alarms(path))


def _alarms(path: Path) -> list[dict[str, Any]]:
    log = log_of(path)
    lines = log.read_bytes().splitlines() if log.exists() else []
    found = (json_object(line) for line in lines if b'"alarm": true' in line)
    return [one for one in found if one is not None]


def log_of(state: Path) -> Path:
    """The log beside a state."""
    return state.with_name(f"{state.name}.log")


def document(standing: Standing) -> dict[str, Any]:
    """As plain data."""
    rows, fills = standing.rows, standing.fills
    last, now = rows[-1], seen(rows[-1])
    replayed = float(standing.twin.path.equity[-1])
    worth = sum(abs(fill.size * fill.price) for fill in fills)
    slipped = sum(abs(fill.size * fill.price) * fill.bps for fill in fills if fill.bps == fill.bps)
    return {
        "begun": said(rows[0].stamp),
        "bar": said(last.stamp),
        "bars": len(rows),
        "equity": now["equity"],
        "backtest_equity": replayed,
        "difference_bps": (now["equity"] / replayed - 1.0) / BPS if replayed else None,
        "cash": now["cash"],
        "ruined": now["ruined"],
        "positions": now["positions"],
        "backtest_positions": {
            symbol: size
            for symbol, size in zip(standing.symbols, standing.twin.path.size[-1].tolist(), strict=True)
            if size
        },
        "pending": [order._asdict() for order in standing.pending],
        "fills": len(fills),
        "slippage_bps": slipped / worth if worth else 0.0,
        "alarms": len(standing.alarms),
        "last_alarms": list(standing.alarms)[-SHOWN_ALARMS:],
    }
