"""explorer.html: every decision of a run, to be walked through bar by bar, in one page that needs no network.

The page holds the run's own numbers, as little-endian arrays in base64, and plotly.js (its basic bundle) once. What is
drawn is thinned to the pixels there are (lowest and highest value of each stretch); what is said about a bar is read
from the full arrays. The sentences are made in the page (`explorer_words.js` beside this file), from the numbers of
`decisions.csv`, `pairs.csv` and `fills.csv`.

The risk manager's part (numbers, texts and script) is absent from the page of a run without it. Kept are the cells (bar
and symbol) and the bars at which it did or read something. Reasons and ids come from documents or a model and repeat
for as long as a verdict is remembered: each text stands once, and a cell holds its number. They go into the page as
JSON and are escaped by the script that shows them.
"""

from __future__ import annotations

import base64
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.records import RunRecord
from hybrid_bt.brain.laid import ManagedPaths
from hybrid_bt.equations.advice import NEUTRAL_RISK
from hybrid_bt.equations.guard_limits import RULES
from hybrid_bt.files.texts import escape, shown
from hybrid_bt.report.style import COLORS, TEXT_COLORS, color_of, in_sample_spans, run_text, sample_stamp

EXPLORER = "explorer.html"
#: plotly.js 4.1.1, the basic bundle of its makers (npm: plotly.js-basic-dist-min, MIT): a quarter of the size, and of
#: the time to start, of the whole library that plotly.py carries
_PLOTLY = "plotly-basic.min.js"
#: what the page says, and what it draws
_SCRIPTS = ("words", "drawing")
#: sections of the configuration that the sentences quote
_QUOTED = ("kalman", "sac", "gate", "risk", "account", "costs", "guard")
#: what the page says of a risk manager
_MANAGED = re.compile(r"\{\{managed:(.*?)\}\}", re.DOTALL)
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def write_explorer(record: RunRecord, folder: Path) -> Path:
    """Write the page into an existing folder."""
    path = folder / EXPLORER
    path.write_bytes(page(record).encode())
    return path


def page(record: RunRecord) -> str:
    """The whole page; the same record gives the same text."""
    shell = _beside(EXPLORER)
    for name in _SCRIPTS:
        shell = shell.replace(f"/* {name} */", _beside(f"explorer_{name}.js"), 1)
    shell = _MANAGED.sub(r"\1" if record.decisions.managed else "", shell)
    coded = {name: (one.dtype.str, base64.b64encode(one.tobytes()).decode()) for name, one in _arrays(record).items()}
    parts = {
        "/* managed */": _beside("explorer_managed.js"),
        "{{policy}}": _POLICY,
        "{{colors}}": " ".join(f"--{name}: {color};" for name, color in (COLORS | TEXT_COLORS).items()),
        "{{title}}": escape(f"hybrid_bt: {_title(record)}"),
        "{{facts}}": _inert(json.dumps(_facts(record))),
        "{{arrays}}": _inert(json.dumps(coded)),
        "{{plotly}}": _beside(_PLOTLY),
    }
    # in one go: what comes from outside may hold a mark
    return re.sub("|".join(map(re.escape, parts)), lambda mark: parts[mark[0]], shell)


def _beside(name: str) -> str:
    return (resources.files("hybrid_bt.report") / name).read_text(encoding="utf-8")


def _title(record: RunRecord) -> str:
    mode = record.config.get("mode")
    return shown(f"{mode} on {record.bars.name}" if mode else record.bars.name)


def _facts(record: RunRecord) -> dict[str, Any]:
    """Names and numbers that are not one per bar."""
    columns = {symbol: i for i, symbol in enumerate(record.bars.symbols)}
    chief = "hybrid", record.benchmark, "vol-target"
    return {
        "title": _title(record),
        "subtitle": run_text(record),
        "stamp": sample_stamp(record),
        "inSample": in_sample_spans(record.in_sample),
        "symbols": record.bars.symbols,
        "pairs": [{"name": name, "sides": [columns[side] for side in name.split(":")]} for name in record.pairs.names],
        "accounts": [{"name": name, "color": color_of(name), "shown": name in chief} for name in record.accounts],
        "entryZ": record.entry_z,
        "exitZ": record.exit_z,
        "legs": list(record.decisions.legs),
        "limits": record.limits.words(),
        "colors": COLORS | {leg: color_of(leg) for leg in record.decisions.legs},
        "config": {name: record.config[name] for name in _QUOTED if name in record.config},
        "notes": [*map(shown, record.notes)],
        **({"guardRules": RULES} if record.decisions.guard.any() else {}),
        **({"managed": list(_numbers(record.decisions.managed))} if record.decisions.managed else {}),
    }


def _arrays(record: RunRecord) -> dict[str, NDArray[Any]]:
    """Everything that is one per bar, bar and symbol, bar and pair, or fill; row-major."""
    wanted, hybrid, pairs = record.decisions, record.accounts["hybrid"], record.pairs
    fills = hybrid.fills
    single: dict[str, Any] = {
        "close": record.bars.close,
        **{f"leg:{name}": targets for name, targets in wanted.legs.items()},
        **{f"weight:{name}": weight for name, weight in wanted.weights.items()},
        "fused": wanted.fused,
        "target": wanted.standing_target,
        "regime": wanted.regime,
        "beta": pairs.beta,
        "betaSd": np.sqrt(pairs.beta_var),
        "z": pairs.zscore,
        "position": pairs.position,
        "price": fills.price,
        "commission": fills.commission,
    }
    exact = {
        "stamp": record.bars.stamps.astype("datetime64[ms]").astype(np.float64),
        "held": hybrid.size,
        "size": fills.size,
        **{f"equity:{name}": account.equity for name, account in record.accounts.items()},
    }
    whole: dict[str, Any] = {"bar": fills.bar, "decided": fills.decided, "symbol": fills.symbol}
    if not np.array_equal(wanted.wanted, wanted.standing_target):  # a guard stood between, or kept what was held
        single["wanted"], whole["guard"] = wanted.wanted, wanted.guard
    flags = {"limits": record.limits.holding()} | ({"waits": wanted.waits} if wanted.waits.any() else {})
    kinds = {"<f4": single, "<f8": exact, "<i4": whole, "u1": flags}
    arrays = {name: np.asarray(values, kind) for kind, some in kinds.items() for name, values in some.items()}
    return arrays | _managed_arrays(record)


def _inert(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def _managed_arrays(record: RunRecord) -> dict[str, NDArray[Any]]:
    """Cells and bars at which it did or read something, and the numbers of each."""
    managed, wanted = record.decisions.managed, record.decisions
    if managed is None:
        return {}
    cell, bar = _cells(managed), np.flatnonzero((managed.confidence > 0.0) | managed.no_new_risk)
    numbers = _numbers(managed)
    of_cells = {"proposed": managed.proposed, "final": wanted.wanted, "m": managed.multiplier}
    of_cells |= {"risk": managed.risk, "sentiment": managed.sentiment}
    of_bars = {"regime": managed.regime, "read": managed.regime_read, "confidence": managed.confidence}
    texts = {"reason": managed.reasons, "documents": managed.documents}
    return {
        "managed:cell": cell.astype("<i4"),
        "managed:bar": bar.astype("<i4"),
        "managed:veto": managed.no_new_risk[bar].astype("u1"),
        **{f"managed:{name}": values.ravel()[cell].astype("<f4") for name, values in of_cells.items()},
        **{f"managed:{name}": values[bar].astype("<f4") for name, values in of_bars.items()},
        **{f"managed:{name}": np.array([numbers[told[k]] for k in cell], "<i4") for name, told in texts.items()},
    }


def _cells(managed: ManagedPaths) -> NDArray[np.intp]:
    """Row-major numbers of the cells with a multiplier below 1, a risk that is not neutral, or a reason."""
    told = np.array([bool(text) for text in managed.reasons], np.bool_)
    return np.flatnonzero((managed.multiplier < 1.0).ravel() | (managed.risk != NEUTRAL_RISK).ravel() | told)


def _numbers(managed: ManagedPaths) -> dict[str, int]:
    """Reason or id -> its number, in the order in which they are first met; the first text is empty."""
    return {text: k for k, text in enumerate(dict.fromkeys(("", *managed.reasons, *managed.documents)))}
