"""What a `HybridStrategy` thought, in Backtrader's own `cerebro.plot()`: r and weights, z of each pair, each target.

They are kept where Backtrader's standard observers are (`stdstats`) and a plot is possible; elsewhere a bar costs
nothing more. They become observers at the end of the run, `strategy.stats.regime.r` and so on: an observer that
Backtrader steps along takes some 27 us a bar.
"""

from __future__ import annotations

import math
import os
import re
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import count

from hybrid_bt.feeds.framework import Framework, bt


class Thoughts:
    """Numbers of each bar that the strategy has seen, NaN before its first decision."""

    def __init__(self, strategy: Framework) -> None:
        self._strategy, self._names = strategy, tuple(strategy.session.decider.current.legs)
        self._regime, self._zscores, self._targets = array("d"), array("d"), array("d")
        self._nothing = [math.nan] * (1 + len(self._names)), [math.nan] * len(strategy.symbols)

    def see(self) -> None:
        """Keep those of this bar."""
        decision = self._strategy.decision
        if decision is None:
            self._regime.extend(self._nothing[0])
            self._targets.extend(self._nothing[1])
            return
        self._regime.extend((decision.regime, *decision.weights.values()))
        self._targets.extend(decision.target)
        self._zscores.extend([pair.zscore for pair in decision.view.pairs])

    def show(self) -> None:
        """Make them observers of the strategy."""
        strategy = self._strategy
        _add(strategy, "regime", ["r", *(f"w {name}" for name in self._names)], self._regime)
        if strategy.pair_names:
            _add(strategy, "zscores", [f"z {pair}" for pair in strategy.pair_names], self._zscores)
        _add(strategy, "targets", [f"target {symbol}" for symbol in strategy.symbols], self._targets)
        strategy.getobservers = self._drawn

    def _drawn(self) -> Framework:
        """What Backtrader's plot asks for before it draws; it wants a window, and does without where there is none."""
        no_screen = sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
        if no_screen and "backtrader.plot" in sys.modules:
            drawing = sys.modules["matplotlib"]  # which that has imported
            if str(drawing.rcParams._get("backend")).lower() == "tkagg":
                drawing.use("Agg")
        return type(self._strategy).getobservers(self._strategy)


def thoughts_of(strategy: Framework) -> Thoughts | None:
    """None where nothing can be plotted."""
    cerebro = strategy.cerebro
    return None if not cerebro.p.stdstats or cerebro._exactbars > 0 or cerebro._dooptimize else Thoughts(strategy)


def _add(strategy: Framework, name: str, labels: Sequence[str], rows: Sequence[float]) -> None:
    """An observer of a class of its own, because Backtrader's lines belong to classes."""
    lines: list[str] = []
    for line in (re.sub(r"\W", "_", label) for label in labels):
        lines.append(next(free for i in count() if (free := f"{line}_{i}" if i else line) not in lines))
    shown = {"plot": True, "subplot": True, "plotname": name, "plothlines": [0.0]}
    looks = {line: {"_name": label.removeprefix("target ")} for line, label in zip(lines, labels, strict=True)}
    body = {"__module__": __name__, "_stclock": True, "lines": tuple(lines), "plotinfo": shown, "plotlines": looks}
    strategy._addobserver(False, type(name.title(), (bt.Observer,), body), obsname=name)
    made = getattr(strategy.stats, name)
    for i, line in enumerate(made.lines):
        _fill(line, rows[i :: len(lines)], len(strategy))


def _fill(line: Framework, numbers: Iterable[float], n_bars: int) -> None:
    """Lay numbers of the last bars into a line."""
    known = array("d", numbers)
    line.array = array("d", [math.nan] * (n_bars - len(known))) + known
    line.lencount, line.idx = n_bars, n_bars - 1
