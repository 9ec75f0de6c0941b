"""Where the hybrid's profit came from: legs, market, selection, hedge revision, execution and costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybrid_bt.account.attribution import Contributions, contributions
from hybrid_bt.analyzers.ledger import NO_MARK, Ledger
from hybrid_bt.bars.market import resolve_pairs
from hybrid_bt.errors import ConfigError


class LegAttribution(Ledger):
    """Profit of a `HybridStrategy` split by leg; the parts sum to the change of equity (`account.attribution`).

    For a strategy that runs alone with `record=True` and trades all feeds of its Cerebro. `get_analysis()` is
    `{part: sum over bars}`, account currency, costs negative; `contributions()` has the bars.
    """

    def start(self) -> None:
        super().start()
        if getattr(self.strategy, "recorder", None) is None:
            raise ConfigError(
                f"LegAttribution: {type(self.strategy).__name__} keeps no decisions; it explains a HybridStrategy with "
                "record=True"
            )
        if len(self.strategy.feeds) != len(self.strategy.datas) or len(self.strategy.cerebro.runningstrats) > 1:
            raise ConfigError("LegAttribution: explains one strategy that trades every feed of its Cerebro alone")
        if self.strategy.p.equity_share != 1.0:
            raise ConfigError("LegAttribution: explains a strategy that trades the whole of the equity")
        self._opens: list[list[float]] = []
        self._lengths = [0] * len(self._feeds)

    def next(self) -> None:
        super().next()
        lengths = [len(feed) for feed in self._feeds]
        came = zip(self._feeds, lengths, self._lengths, strict=True)
        self._opens.append([feed.open[0] if now > before else NO_MARK for feed, now, before in came])
        self._lengths = lengths

    def stop(self) -> None:
        strategy = self.strategy
        sides = resolve_pairs(strategy.pair_names, strategy.symbols)
        self._first = first = strategy.first_traded_row or 0
        decisions, pairs = strategy.recorder.decisions(first), strategy.recorder.pairs(first)
        self._decisions = decisions, pairs, sides
        super().stop()

    def contributions(self) -> Contributions:
        """Profit of each bar from the first traded one on, by part, (T,) each."""
        decisions, pairs, sides = self._decisions
        marks = np.nan_to_num(self.marks)
        opens = np.array(self._opens).reshape(marks.shape)
        prices = (part[self._first :] for part in (opens, marks))
        return contributions(self.path(self._first), decisions, pairs, sides, *prices)

    def get_analysis(self) -> dict[str, Any]:
        """Profit of the run by part; their sum is the account's."""
        return {name: float(part.sum()) for name, part in self.contributions().items()}
