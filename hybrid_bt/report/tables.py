"""The CSV files of a run.

Columns are built as lists of text and joined, which writes the 65,000 rows of a twenty-symbol decade in a third of a
second. Floats are written by `repr`, so they read back exactly; NaN is an empty field. Dates are `YYYY-MM-DD` where
every bar lies at midnight, ISO 8601 with the time otherwise. Texts take ten times the memory of their numbers, so the
longest tables are written some hundred bars at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.evidence.conditional import Condition, conditional_rows
from hybrid_bt.guard import rule_names
from hybrid_bt.metrics import Summary, drawdown, summarise
from hybrid_bt.records import Decisions, ManagedPaths, PairPaths, RunRecord
from hybrid_bt.report.attribution import exposures, fill_arrays, marked_close, round_trips, split_of, ticker_pnl

__all__ = ["TABLES", "account_summary", "stamp_texts", "summaries", "write_table"]

Columns = dict[str, Sequence[str]]
BARS_AT_ONCE = 128  #: of `decisions.csv` and `pairs.csv`


def account_summary(record: RunRecord, name: str) -> Summary:
    """Every measure of one account, net of its commissions and borrow interest."""
    path = record.accounts[name]
    fills = fill_arrays(path)
    return summarise(
        path.equity,
        record.bars.stamps,
        record.bars.bars_per_year,
        traded_notional=float(np.abs(fills.size * fills.price).sum()),
        costs=float(fills.commission.sum() + path.borrow.sum()),
    )


def summaries(record: RunRecord) -> dict[str, Summary]:
    """Account name -> its measures, in the record's order (`hybrid` first)."""
    return {name: account_summary(record, name) for name in record.accounts}


def stamp_texts(stamps: NDArray[np.datetime64]) -> list[str]:
    """One text per stamp, all of one form: dates if all lie at midnight, else seconds or as fine as it takes."""
    for unit in ("D", "s"):
        coarse = stamps.astype(f"datetime64[{unit}]")
        if (coarse == stamps).all():
            stamps = coarse
            break
    texts: list[str] = np.datetime_as_string(stamps).tolist()
    return texts


def write_table(record: RunRecord, name: str, folder: Path) -> Path:
    """Write one of `TABLES` into a folder.

    Parameters
    ----------
    record : RunRecord
    name : str
        The file's name, a key of `TABLES`.
    folder : Path
        Where to; it must exist.

    Returns
    -------
    Path
    """
    path, found = folder / name, TABLES[name](record)
    with path.open("wb") as file:
        for i, columns in enumerate([found] if isinstance(found, dict) else found):
            head = [",".join(map(_quoted, columns))] if i == 0 else []
            lines = [*head, *map(",".join, zip(*columns.values(), strict=True)), ""]
            file.write("\n".join(lines).encode())
    return path


def _summary(record: RunRecord) -> Columns:
    rows = summaries(record)
    columns: Columns = {"account": [_quoted(name) for name in rows]}
    stamps = stamp_texts(record.bars.stamps)
    columns |= {"start_date": stamps[:1] * len(rows), "end_date": stamps[-1:] * len(rows)}
    for field in Summary._fields[2:]:
        columns[field] = _floats([getattr(row, field) for row in rows.values()])
    return columns


def _per_ticker(record: RunRecord) -> Columns:
    path = record.accounts["hybrid"]
    fills = fill_arrays(path)
    pnl = ticker_pnl(path, marked_close(record.bars.close))
    n = record.bars.n_symbols
    return {
        "symbol": _symbols(record),
        "gross_pnl": _floats(pnl.gross[-1]),
        "costs": _floats(pnl.costs[-1]),
        "pnl_net": _floats(pnl.net[-1]),
        "buys": _texts(np.bincount(fills.symbol[fills.size > 0], minlength=n)),
        "sells": _texts(np.bincount(fills.symbol[fills.size < 0], minlength=n)),
        "trades": _texts(round_trips(fills, n)),
    }


def _equity(record: RunRecord) -> Columns:
    path = record.accounts["hybrid"]
    gross, net = exposures(path, marked_close(record.bars.close))
    return {
        "datetime": stamp_texts(record.bars.stamps),
        "cash": _floats(path.cash),
        "equity": _floats(path.equity),
        "gross_exposure": _floats(gross),
        "net_exposure": _floats(net),
        "drawdown": _floats(drawdown(path.equity)),
        "benchmark": _floats(record.accounts[record.benchmark].equity),
    }


def _fills(record: RunRecord) -> Columns:
    fills = fill_arrays(record.accounts["hybrid"])
    stamps, symbols = stamp_texts(record.bars.stamps), _symbols(record)
    return {
        "datetime": [stamps[row] for row in fills.bar],
        "symbol": [symbols[column] for column in fills.symbol],
        "size": _floats(fills.size),
        "price": _floats(fills.price),
        "notional": _floats(np.abs(fills.size) * fills.price),
        "commission": _floats(fills.commission),
        "decided": [stamps[row] for row in fills.decided],
    }


def _decisions(record: RunRecord) -> Iterator[Columns]:
    """Some bars at a time."""
    whole, n, stamps = record.decisions, record.bars.n_symbols, stamp_texts(record.bars.stamps)
    guarded = whole.guard is not None and ("guard" in record.facts or bool(whole.guard.any()))
    for rows in _spans(len(stamps)):
        wanted = whole.rows(rows)
        columns = _decided(stamps[rows], _symbols(record), wanted)
        yield columns | (_guarded(wanted, n) if guarded else {})


def _guarded(wanted: Decisions, n: int) -> Columns:
    """Targets before the guard and the rules that changed them; nothing where no guard stood behind the brain."""
    if wanted.wanted is None or wanted.guard is None:
        return {}
    rules = [";".join(rule_names(int(mask))) for mask in wanted.guard.tolist()]
    return {"target_before_guard": _floats(wanted.wanted), "guard": _each(rules, n)}


def _decided(stamps: Sequence[str], symbols: Sequence[str], wanted: Decisions) -> Columns:
    n = len(symbols)
    return {
        "datetime": _each(stamps, n),
        "symbol": [*symbols] * len(stamps),
        **{f"target_{leg}": _floats(target) for leg, target in wanted.legs.items()},
        "r": _each(_floats(wanted.regime), n),
        **{f"w_{leg}": _each(_floats(weight), n) for leg, weight in wanted.weights.items()},
        "fused": _floats(wanted.fused),
        "target": _floats(wanted.target),
        **_managed(wanted.managed, n),
    }


def _managed(managed: ManagedPaths | None, n: int) -> Columns:
    """The risk manager's own columns; `target` is its final one."""
    if managed is None:
        return {}
    return {
        "proposed": _floats(managed.proposed),
        "m": _floats(managed.multiplier),
        "r_managed": _each(_floats(managed.regime), n),
        "risk": _floats(managed.risk),
        "sentiment": _floats(managed.sentiment),
        "r_documents": _each(_floats(managed.regime_read), n),
        "confidence": _each(_floats(managed.confidence), n),
        "no_new_risk": _each([str(int(one)) for one in managed.no_new_risk], n),
        "reason": [_quoted(text) for text in managed.reasons],
        "documents": [_quoted(text) for text in managed.documents],
    }


def _pairs(record: RunRecord) -> Iterator[Columns]:
    """Some bars at a time."""
    stamps = stamp_texts(record.bars.stamps)
    for rows in _spans(len(stamps)):
        yield _paired(stamps[rows], record.pairs.rows(rows))


def _paired(stamps: Sequence[str], pairs: PairPaths) -> Columns:
    with np.errstate(invalid="ignore", divide="ignore"):
        z = pairs.innovation / np.sqrt(pairs.innovation_var)
    return {
        "datetime": _each(stamps, len(pairs.names)),
        "pair": [_quoted(name) for name in pairs.names] * len(stamps),
        "alpha": _floats(pairs.alpha),
        "beta": _floats(pairs.beta),
        "innovation": _floats(pairs.innovation),
        "S": _floats(pairs.innovation_var),
        "z": _floats(z),
        "spread": _floats(pairs.spread),
        "zscore": _floats(pairs.zscore),
        "position": _floats(pairs.position),
    }


def _attribution(record: RunRecord) -> Columns:
    parts = split_of(record)
    return {
        "datetime": stamp_texts(record.bars.stamps),
        **{name: _floats(values) for name, values in parts.items()},
    }


def _conditional(record: RunRecord) -> Columns:
    equity = {name: path.equity for name, path in record.accounts.items()}
    rows = conditional_rows(record.bars, record.decisions.regime, equity)
    columns: Columns = {name: [_quoted(getattr(row, name)) for row in rows] for name in ("condition", "account")}
    columns["bars"] = [str(row.bars) for row in rows]
    return columns | {name: _floats([getattr(row, name) for row in rows]) for name in Condition._fields[3:]}


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


def _floats(values: Iterable[float] | NDArray[np.float64]) -> list[str]:
    """Exact texts in row-major order; NaN is empty."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    texts = list(map(repr, numbers.tolist()))
    for place in np.flatnonzero(np.isnan(numbers)).tolist():
        texts[place] = ""
    return texts


def _texts(values: NDArray[np.int64]) -> list[str]:
    return list(map(str, values.tolist()))


def _spans(n_bars: int) -> Iterator[slice]:
    """Of the bars that are written at once; one even of none, for the head."""
    for start in range(0, max(n_bars, 1), BARS_AT_ONCE):
        yield slice(start, start + BARS_AT_ONCE)


def _each(texts: Sequence[str], times: int) -> list[str]:
    return [text for text in texts for _ in range(times)]


def _symbols(record: RunRecord) -> list[str]:
    return [_quoted(symbol) for symbol in record.bars.symbols]


def _quoted(text: str) -> str:
    """RFC 4180."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
