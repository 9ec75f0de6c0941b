"""The commands end to end, each in a process of its own: start-up, imports and files included."""

from __future__ import annotations

import importlib.util
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Bound, Process, Row, at_least, in_process, missing
from hybrid_bt.errors import how_to_install

__all__ = ["commands"]

RUN = ["-m", "hybrid_bt.run", "--mode", "stable"]
TWO_ASSET_BARS = 2_500
BY_THE_CLOCK = "run us20"  #: parts of these runs work in a thread or a process beside
SMALL = "run, 2 assets x 2,500 bars, --no-plots"


def measured(arguments: Sequence[str], repeats: int) -> Process:
    """Median of some runs; `{out}` in an argument becomes a fresh folder."""
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(in_process([argument.replace("{out}", f"{folder}/fig") for argument in arguments]))
    wall, cpu, peak = (statistics.median(column) for column in zip(*(run[:3] for run in runs), strict=True))
    return Process(wall, cpu, peak, runs[-1].printed)


def commands(quick: bool) -> list[Row]:
    """Seconds of CPU, those of us20 by the clock, with the bounds of an idle machine."""
    repeats = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder:
        two = str(_two_assets(Path(folder)))
        pair = ["--data", two, "--pairs", "KO:PEP"]
        cases = [
            ("hybrid-bt --help", ["-m", "hybrid_bt.commands.cli", "--help"], 0.4),
            (SMALL, [*RUN, *pair, "--no-plots"], 1.5),
            (f"{SMALL} --engine replay", [*RUN, *pair, "--no-plots", "--engine", "replay"], 1.2),
        ]
        if not quick:
            cases.append((f"{BY_THE_CLOCK}, --no-plots", [*RUN, "--no-plots"], 2.0))
            cases.append(
                (f"{BY_THE_CLOCK}, --no-plots --engine replay", [*RUN, "--no-plots", "--engine", "replay"], 1.2)
            )
            cases.append((f"{BY_THE_CLOCK}, plots and tearsheet", RUN, 6.0))
        rows = []
        for what, arguments, limit in cases:
            out = [] if "--help" in arguments else ["--out", "{out}"]
            took = measured([*arguments, *out], repeats)
            note = f"CPU {took.cpu:.2f} s, wall {took.wall:.2f} s, peak {took.peak:.0f} MB"
            seconds = took.wall if what.startswith(BY_THE_CLOCK) else took.cpu
            rows.append(Row(what, "s", seconds, "", math.nan, Bound("figure", limit), note))
        if quick:
            return rows
        return [*rows, *_against_obvious(two, repeats)]


def _against_obvious(two: str, repeats: int) -> list[Row]:
    """The same files with SB3, PandasData and quantstats, in turns."""
    if importlib.util.find_spec("sb3_contrib") is None:
        return [missing("run vs the obvious build", f"not installed: {how_to_install('train')}")]
    ours = [*RUN, "--data", two, "--pairs", "KO:PEP", "--no-plots", "--out", "{out}"]
    theirs = ["-m", "benchmarks.obvious_build", "--bars", str(TWO_ASSET_BARS), "--data", two]
    turns = [(measured(ours, 1), measured(theirs, 1)) for _ in range(repeats)]
    mine, obvious = (statistics.median(took.cpu for took in column) for column in zip(*turns, strict=True))
    note = f"wall {turns[-1][1].wall:.2f} s, peak {turns[-1][1].peak:.0f} MB"
    return [Row(SMALL, "s", mine, "obvious build", obvious, at_least(10.0), note)]


def _two_assets(folder: Path) -> Path:
    """KO and PEP of us20 as a user's own folder of CSV: their last 2,500 bars."""
    from hybrid_bt.feeds import load_bars

    bars = load_bars("us20", symbols=["KO", "PEP"])
    out = folder / "two"
    out.mkdir()
    for i, symbol in enumerate(bars.symbols):
        rows = zip(bars.stamps[-TWO_ASSET_BARS:], bars.close[-TWO_ASSET_BARS:, i].tolist(), strict=True)
        text = "".join(f"{stamp.astype('datetime64[D]')},{close!r}\n" for stamp, close in rows)
        (out / f"{symbol}.csv").write_text("date,close\n" + text, encoding="utf-8")
    return out
