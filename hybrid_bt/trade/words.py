"""What is to be held and ordered, symbol by symbol, and why, in the words of the decision explorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybrid_bt.bars.market import Market
from hybrid_bt.brain.journal import moment_of
from hybrid_bt.brain.laid import texts_told
from hybrid_bt.brain.legs.base import Decision
from hybrid_bt.brain.limits import Limits, listed
from hybrid_bt.brain.records import Recorder
from hybrid_bt.equations.guard_limits import rule_names
from hybrid_bt.files.texts import cell
from hybrid_bt.trade.trader import Step, Trader

TREND = 0.33  #: of r: beyond it, a trend or a mean reversion
_NAMES = {"sac": "SAC", "kalman": "Kalman"}


class Line(NamedTuple):
    """Of one symbol."""

    symbol: str
    held: float  #: signed shares
    target_pct: float  #: of equity; NaN keeps what is held
    target_shares: float  #: behind the order
    order: float  #: signed shares
    value: float  #: of the order at the close, currency
    reason: str


def lines_of(trader: Trader, step: Step) -> list[Line]:
    """Every symbol that is held, wanted or ordered."""
    orders = {order.symbol: order.size for order in step.sized.orders}
    market, band, limits = trader.case.market, trader.case.config.order_rules.rebalance_band, limits_of(trader, step)
    holding, words = limits.holding()[0].tolist(), limits.words()
    learned, found = trader.case.trained_until, []
    in_sample = "in-sample: " if learned is not None and moment_of(step.stamp).date() <= learned else ""
    for i, symbol in enumerate(market.bars.symbols):
        held, order, target, close = step.sizes[i], orders.get(symbol, 0.0), step.targets[i], step.closes[i]
        if held or order or target:
            why = in_sample + reason(i, step.decision, market, listed(words, holding[i]))
            apart = target - held * close / step.holdings.equity
            if symbol in step.sized.held_back:
                why += "; it, or what is one decision with it, may not be short here: no order"
            elif not order and 0.0 < abs(apart) < band:
                why += f"; inside the band of {band:.1%}: no order"
            elif not order and apart == apart and apart:
                why += "; less than one lot, or more than cash carries: no order"
            value = order * close if order else 0.0
            found.append(Line(symbol, held, 100.0 * target, held + order, order, value, why))
    return found


def limits_of(trader: Trader, step: Step) -> Limits:
    """Of the bar's targets."""
    config, decision = trader.case.config, step.decision
    recorder = Recorder(len(step.closes), trader.case.market.pairs, tuple(decision.legs))
    recorder.append(decision)
    r = decision.managed.regime if decision.managed else decision.regime
    return Limits(recorder.opinions(), config.lines(), config.risk, np.array([r]))


def regime_words(decision: Decision) -> str:
    """What the gate says of the market, and how the legs weigh."""
    r, base = decision.regime, next(iter(decision.weights))
    kind = "trend" if r > TREND else "mean reversion" if r < -TREND else "between trend and mean reversion"
    if decision.managed and decision.managed.regime != r:
        kind += f"; documents make it {decision.managed.regime:+.3f}"
    legs = [f"{_NAMES.get(leg, leg)} weighs {weight:.4f}" for leg, weight in decision.weights.items()]
    legs[0] += ", the scale of the base" if decision.weights[base] else ""
    guard = f" Guard: {', '.join(rule_names(decision.guard))}." if decision.guard else ""
    return f"r = {r:+.2f}, {kind}: {'; '.join(legs)}.{guard}"


def reason(i: int, decision: Decision, market: Market, limits: str) -> str:
    """Of one symbol: what legs want, what comes of it by their weights, what its pairs do, what stood in the way."""
    if not decision.view.traded[i]:
        return "no bar here: no order"
    said = [f"{_NAMES.get(leg, leg)} wants {wanted[i]:+.4f}" for leg, wanted in decision.legs.items()]
    final = decision.target[i] if decision.wanted is None else decision.wanted[i]
    proposed = decision.managed.proposed[i] if decision.managed else final
    mixed, left = f"{decision.fused[i]:+.3f}", f"{proposed:+.3f}"
    said.append(f"weighed {mixed}" if mixed == left else f"weighed {mixed}, in its place {left}")
    said[-1] += limits and f", held there by {limits}"
    pairs = zip(market.pairs, market.columns, decision.view.pairs, decision.positions, strict=True)
    symbols: Sequence[str] = market.bars.symbols
    for name, (y, x), view, position in pairs:
        if i in (y, x) and view.zscore == view.zscore:
            long, short = (y, x) if position > 0.0 else (x, y)
            does = f"long {symbols[long]}, short {symbols[short]}" if position else "flat"
            said.append(f"{name} z = {view.zscore:+.1f}: {does}")
    if decision.managed is not None and decision.managed.multipliers[i] < 1.0:
        why = texts_told(decision.managed.advice.reasons, decision.managed.sources, "pair: ")[i]
        said.append(f"documents x {decision.managed.multipliers[i]:.2f}: {why}")
    if decision.waits and decision.waits[i]:
        said.append("waits: the other side of its pair has no bar")
    elif decision.guard and final != decision.target[i]:
        said.append(f"guard: {cell(decision.target[i], '+.3f', 'what is held')}")
    return "; ".join(said)
