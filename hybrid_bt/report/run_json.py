"""run.json: what was run, on what, with what, and over which span.

Sorted keys, valid JSON without NaN (null instead). Everything that depends on the clock or the machine's speed stands
under the one key `wall_clock`, so that the rest is the same from run to run.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hybrid_bt
from hybrid_bt.records import RunRecord
from hybrid_bt.texts import plain, stamp_texts

VERSIONED = ("backtrader", "numpy", "onnxruntime")  # what a result may depend on; tools that only draw do not count


def write_run_json(record: RunRecord, folder: Path) -> Path:
    """Write `run.json` into an existing folder."""
    path = folder / "run.json"
    text = json.dumps(run_document(record), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_bytes((text + "\n").encode())
    return path


def run_document(record: RunRecord) -> dict[str, Any]:
    """The document as plain data. Keys of `record.facts` stand at the top level and add to or replace ours."""
    bars = record.bars
    stamps = stamp_texts(bars.stamps)
    spans = in_sample_spans(record.in_sample)
    ours = {
        "config": record.config,
        "data": {"name": bars.name, "symbols": bars.symbols, "sha256": bars.sha256},
        "span": {
            "start": stamps[0],
            "end": stamps[-1],
            "bars": bars.n_bars,
            "bars_per_year": bars.bars_per_year,
            "in_sample": [{"start": stamps[first], "end": stamps[last]} for first, last in spans],
            "in_sample_bars": int(record.in_sample.sum()),
            "out_of_sample": not record.in_sample.any(),
        },
        "accounts": {
            name: {"fills": len(path.fills), "rejected": path.rejected} for name, path in record.accounts.items()
        },
        "benchmark": record.benchmark,
        "start_value": record.start_value,
        "notes": record.notes,
        "versions": _versions(),
        "wall_clock": {},
    }
    document: dict[str, Any] = plain(_merged(ours, record.facts))
    return document


def in_sample_spans(in_sample: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last row of each unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], in_sample, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


def _merged(ours: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: {**ours[key], **facts[key]} for key in ours.keys() & facts.keys() if isinstance(facts[key], Mapping)}
    return {**ours, **facts, **both}


def _versions() -> dict[str, str]:
    found = {"hybrid_bt": hybrid_bt.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
