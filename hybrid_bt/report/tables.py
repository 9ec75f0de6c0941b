"""The CSV files of a run.

Columns become texts and are joined (`files.texts`), which writes the 65,000 rows of a twenty-symbol decade in a
third of a second. Dates are `YYYY-MM-DD` where every bar lies at midnight, ISO 8601 with the time otherwise. Texts take
ten times the memory of their numbers, so tables are written some hundred rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.attribution import Contributions, contributions
from hybrid_bt.account.conditional import Condition, conditional_rows
from hybrid_bt.account.flows import Flows, by_symbol, exposure_of, exposures, flows_of, marked_close
from hybrid_bt.account.metrics import Summary, drawdown
from hybrid_bt.account.records import RunRecord
from hybrid_bt.brain.laid import ManagedPaths, let_go
from hybrid_bt.brain.records import Decisions
from hybrid_bt.equations.guard_limits import rule_names
from hybrid_bt.files.texts import Cells, cell, cells, coarse, csv_of_columns

Columns = dict[str, Sequence[object] | NDArray[Any]]
#: heading -> measure and its format
HEADLINES = {
    "end value": ("end_value", ",.0f"),
    "CAGR": ("cagr", ".2%"),
    "Sharpe": ("sharpe", ".2f"),
    "Sortino": ("sortino", ".2f"),
    "max drawdown": ("max_drawdown", ".2%"),
    "volatility": ("volatility", ".2%"),
    "turnover a year": ("turnover_per_year", ".2f"),
    "costs": ("costs", ",.0f"),
}
CELLS_AT_ONCE = 8_192  #: bars x symbols that profits are split on
ROWS_AT_ONCE = 512  #: or bars, of `decisions.csv` and `pairs.csv`
PIECES_LOOKED_AT = 64  #: until what was read of them is let go


def headline_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """The summary as people read it, the same in the terminal and on pages: account, then `HEADLINES`."""
    formats = HEADLINES.values()
    return [
        (account, *(cell(getattr(summary, field), how) for field, how in formats))
        for account, summary in record.summary().items()
    ]


def hybrid_flows(record: RunRecord) -> Flows:
    """What each symbol did to the hybrid's account."""
    return flows_of(record.accounts["hybrid"], marked_close(record.bars.close))


def split_of(record: RunRecord, rows: slice = slice(None)) -> Contributions:
    """The parts of a run's profit, bar by bar; of all bars, or of some in a row."""
    columns = {symbol: i for i, symbol in enumerate(record.bars.symbols)}
    sides = [(columns[y], columns[x]) for y, x in (name.split(":") for name in record.pairs.names)]
    prices = record.bars.open, marked_close(record.bars.close)
    return contributions(record.accounts["hybrid"], record.decisions, record.pairs, sides, *prices, rows)


def write_table(record: RunRecord, name: str, folder: Path) -> Path:
    """Write one of `TABLES` into an existing folder."""
    path, found = folder / name, TABLES[name](record)
    with path.open("wb") as file:
        for i, columns in enumerate(_pieces(found) if isinstance(found, dict) else found):
            file.write(csv_of_columns(columns.values(), () if i else tuple(columns)).encode(errors="backslashreplace"))
            if not i % PIECES_LOOKED_AT:
                let_go()
    return path


def _summary(record: RunRecord) -> Columns:
    rows = record.summary()
    first, last = cells(coarse(record.bars.stamps)[[0, -1]])
    dates = {"start_date": [first] * len(rows), "end_date": [last] * len(rows)}
    return {"account": list(rows)} | dates | _fields_of(rows.values(), Summary._fields[2:])


def _per_ticker(record: RunRecord) -> Columns:
    return {"symbol": record.bars.symbols, **by_symbol(record.accounts["hybrid"], hybrid_flows(record))}


def _equity(record: RunRecord) -> Columns:
    path, held = record.accounts["hybrid"], record.accounts[record.benchmark]
    gross, net = exposures(exposure_of(path.size, marked_close(record.bars.close)), path.equity)
    return {
        "datetime": coarse(record.bars.stamps),
        "cash": path.cash,
        "interest": path.interest(),
        "equity": path.equity,
        "gross_exposure": gross,
        "net_exposure": net,
        "drawdown": drawdown(path.equity),
        "benchmark": held.equity,
        "benchmark_cash": held.cash,
        "benchmark_interest": held.interest(),
    }


def _fills(record: RunRecord) -> Columns:
    fills = record.accounts["hybrid"].fills
    stamps, symbols = coarse(record.bars.stamps), cells(record.bars.symbols)
    return {
        "datetime": stamps[fills.bar],
        "symbol": Cells(symbols[column] for column in fills.symbol.tolist()),
        "size": fills.size,
        "price": fills.price,
        "notional": fills.notional,
        "commission": fills.commission,
        "decided": stamps[fills.decided],
    }


def _decisions(record: RunRecord) -> Iterator[Columns]:
    """Some bars at a time."""
    whole, symbols, stamps = record.decisions, cells(record.bars.symbols), coarse(record.bars.stamps)
    n = len(symbols)
    guarded = "guard" in record.facts or bool(whole.guard.any())
    for rows in _spans(len(stamps)):
        wanted = whole.rows(rows)
        yield {
            "datetime": _each(cells(stamps[rows]), n),
            "symbol": Cells(symbols * len(stamps[rows])),
            **{f"target_{leg}": target for leg, target in wanted.legs.items()},
            "r": _each(cells(wanted.regime), n),
            **{f"w_{leg}": _each(cells(weight), n) for leg, weight in wanted.weights.items()},
            "fused": wanted.fused,
            "target": wanted.target,
            **_managed(wanted.managed, n),
            **(_guarded(wanted, n) if guarded else {}),
        }


def _guarded(wanted: Decisions, n: int) -> Columns:
    """Targets before the guard and the rules that changed them."""
    rules = [";".join(rule_names(int(mask))) for mask in wanted.guard.tolist()]
    return {"target_before_guard": wanted.wanted, "guard": _each(rules, n)}


def _managed(managed: ManagedPaths | None, n: int) -> Columns:
    """The risk manager's own columns; `target` is its final one."""
    if managed is None:
        return {}
    return {
        "proposed": managed.proposed,
        "m": managed.multiplier,
        "r_managed": _each(cells(managed.regime), n),
        "risk": managed.risk,
        "sentiment": managed.sentiment,
        "r_documents": _each(cells(managed.regime_read), n),
        "confidence": _each(cells(managed.confidence), n),
        "no_new_risk": _each([str(int(one)) for one in managed.no_new_risk], n),
        "reason": managed.reasons,
        "documents": managed.documents,
    }


def _pairs(record: RunRecord) -> Iterator[Columns]:
    """Some bars at a time."""
    names, stamps = cells(record.pairs.names), coarse(record.bars.stamps)
    for rows in _spans(len(stamps)):
        pairs = record.pairs.rows(rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = pairs.innovation / np.sqrt(pairs.innovation_var)
        yield {
            "datetime": _each(cells(stamps[rows]), len(names)),
            "pair": Cells(names * len(stamps[rows])),
            "alpha": pairs.alpha,
            "beta": pairs.beta,
            "innovation": pairs.innovation,
            "S": pairs.innovation_var,
            "z": z,
            "spread": pairs.spread,
            "zscore": pairs.zscore,
            "position": pairs.position,
        }


def _attribution(record: RunRecord) -> Iterator[Columns]:
    """Some bars at a time."""
    stamps = coarse(record.bars.stamps)
    for rows in _spans(len(stamps), max(ROWS_AT_ONCE, CELLS_AT_ONCE // record.bars.n_symbols)):
        yield {"datetime": stamps[rows], **split_of(record, rows)}


def _conditional(record: RunRecord) -> Columns:
    equity = {name: path.equity for name, path in record.accounts.items()}
    rows = conditional_rows(record.bars, record.decisions.regime, equity)
    return _fields_of(rows, Condition._fields)


#: columns whole, or some rows of them at a time
TABLES: dict[str, Callable[[RunRecord], Columns | Iterator[Columns]]] = {
    "summary_pnl.csv": _summary,
    "per_ticker_pnl.csv": _per_ticker,
    "equity.csv": _equity,
    "fills.csv": _fills,
    "decisions.csv": _decisions,
    "pairs.csv": _pairs,
    "attribution.csv": _attribution,
    "conditional.csv": _conditional,
}


def _pieces(columns: Columns) -> Iterator[Columns]:
    for rows in _spans(len(next(iter(columns.values())))):
        yield {name: column[rows] for name, column in columns.items()}


def _spans(n_bars: int, step: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Of the bars that are written at once; one even of none, for the head."""
    for start in range(0, max(n_bars, 1), step):
        yield slice(start, start + step)


def _each(texts: Sequence[str], times: int) -> Cells:
    return Cells(chain.from_iterable(map(repeat, texts, repeat(times))))


def _fields_of(rows: Iterable[tuple[object, ...]], names: Sequence[str]) -> Columns:
    """Fields of named tuples, column by column."""
    return {name: [getattr(row, name) for row in rows] for name in names}
