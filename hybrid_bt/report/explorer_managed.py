"""The risk manager's part of the explorer: numbers, texts and script, all absent from the page of a run without it.

Kept are the cells (bar and symbol) and the bars at which it did or read something. Reasons and ids come from documents
or a model and repeat for as long as a verdict is remembered: each text stands once, and a cell holds its number. They
go into the page as JSON and are escaped by the script that shows them.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.advice import NEUTRAL_RISK
from hybrid_bt.records import ManagedPaths, RunRecord

__all__ = ["managed_arrays", "managed_marks", "managed_texts"]

_SCRIPT = "explorer_managed.js"
_STYLE = "#why .read { display: block; font-size: 12.5px; color: var(--grey); overflow-wrap: anywhere; }\n"


def managed_marks(record: RunRecord) -> dict[str, str]:
    """Mark of `explorer.html` -> what stands there; nothing at all where no risk manager was asked."""
    asked = record.decisions.managed is not None
    marks = {
        "{{managedStyle}}": _STYLE,
        "{{managedBefore}}": "proposed(i, t, ",
        "{{managedAfter}}": ")",
        "{{managedRegime}}": " + regimeManaged(t)",
        "{{managedLine}}": "managedWords(i, t) + ",
        "{{managed}}": (resources.files("hybrid_bt.report") / _SCRIPT).read_text(encoding="utf-8") + "\n",
    }
    return {mark: text if asked else "" for mark, text in marks.items()}


def managed_texts(record: RunRecord) -> dict[str, list[str]]:
    """The reasons and ids, each once, in the order in which they are first met; the first one is empty."""
    managed = record.decisions.managed
    return {} if managed is None else {"managed": list(_numbers(managed))}


def managed_arrays(record: RunRecord) -> dict[str, NDArray[Any]]:
    """Cells and bars at which it did or read something, and the numbers of each."""
    managed, wanted = record.decisions.managed, record.decisions
    if managed is None:
        return {}
    cell, bar = _cells(managed), np.flatnonzero((managed.confidence > 0.0) | managed.no_new_risk)
    final = wanted.target if wanted.wanted is None else wanted.wanted
    numbers = _numbers(managed)
    of_cells = {
        "proposed": managed.proposed,
        "final": final,
        "m": managed.multiplier,
        "risk": managed.risk,
        "sentiment": managed.sentiment,
    }
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
    """Text -> its number."""
    return {text: k for k, text in enumerate(dict.fromkeys(("", *managed.reasons, *managed.documents)))}
