"""The registry of accounts: the same name is the same account, in a run, a study and a training's validation.

Every account trades the same bars under the same costs. Those that are a mix of what legs said run under the hybrid's
own volatility target and limits; the others are fully invested and unlevered, and know nothing of it.

`moves`, `momentum` and `standard_scores` say of every asset whether it will earn more than the others, without
learning: what a policy is held against. Lehmann, Fads, Martingales, and Market Efficiency, QJE 105(1), 1990 (reversal);
Jegadeesh & Titman, Returns to Buying Winners and Selling Losers, J. of Finance 48(1), 1993 (momentum).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.account.flows import known_logs
from hybrid_bt.account.records import AccountPath, FloatArray
from hybrid_bt.account.replay import replay
from hybrid_bt.bars import Bars, say_stamp
from hybrid_bt.brain.legs.sac import inverse_volatility, tilted
from hybrid_bt.brain.records import Decisions, Opinions
from hybrid_bt.brain.settling import Mix, alone, mix_of, settle_panel
from hybrid_bt.equations.costs import Costs
from hybrid_bt.equations.fusion import Line, RiskParams
from hybrid_bt.equations.sizing import OrderRules
from hybrid_bt.equations.tilt import CLIP, LEAST_SD, TiltParams
from hybrid_bt.errors import ConfigError, ReconciliationError, did_you_mean

EQUAL_WEIGHT = "equal-weight"
BENCHMARK = "benchmark"
RISK_OFF = "risk-off"
HURDLES = ("vol-target", "inverse-vol")  #: at the hybrid's volatility, and without learning
PARITY_TOLERANCE = 1e-9  #: relative difference allowed between Backtrader's equity and its replay
SHUFFLED_BLOCK_BARS = 21  #: r is cut into months that change places, so that its own persistence stays
MOMENTUM_BARS, SKIPPED_BARS = 252, 21  #: twelve months without the last


class Terms(NamedTuple):
    """How an account is mixed, limited, charged and traded."""

    lines: tuple[Line, ...]  #: share of risk of each leg at r = -1, 0 and +1
    risk: RiskParams
    costs: Costs
    rules: OrderRules
    cash: float  #: start value


class Panel(NamedTuple):
    """Some bars, what was said of them, and how they are traded."""

    bars: Bars  #: row 0 is the first decision
    opinions: Opinions
    terms: Terms
    momentum: FloatArray | None = None  #: (T, N) of `momentum`, for those who ask for it
    benchmark: str = EQUAL_WEIGHT  #: or a symbol
    seed: int = 0  #: of what is shuffled


def account(panel: Panel, name: str) -> AccountPath:
    """One account: a name of `ACCOUNTS`, or that of a leg, which is then traded alone."""
    if name in panel.opinions.names:
        return mixed(panel, alone(panel.opinions, name))
    if name not in ACCOUNTS:
        raise ConfigError(f"account {name!r} is unknown{did_you_mean(name, (*ACCOUNTS, *panel.opinions.names))}")
    return ACCOUNTS[name](panel)


def run_accounts(legs: Sequence[str], benchmark: str = EQUAL_WEIGHT) -> list[str]:
    """The accounts that stand beside the hybrid in a run, in the order of the summary; of `legs`, each alone."""
    asked = [] if benchmark == EQUAL_WEIGHT else [BENCHMARK]
    return [*legs, "gate-off", EQUAL_WEIGHT, *HURDLES, *asked]


def mixed(panel: Panel, mix: Mix | None = None, opinions: Opinions | None = None) -> AccountPath:
    """A mix of what was said (by r, unless another is given), under the hybrid's limits."""
    terms, said = panel.terms, opinions or panel.opinions
    mix = mix or mix_of(said.regime, terms.lines)
    settled = settle_panel(said, panel.bars.traded, mix, terms.risk)
    return traded_at(terms, settled.targets, panel.bars, settled.together)


def traded_at(
    terms: Terms, targets: FloatArray, bars: Bars, together: NDArray[np.integer] | None = None
) -> AccountPath:
    """Targets (T, N) as an account under these terms; symbols of the same label, (T, N), are one decision."""
    return replay(targets, bars, cash=terms.cash, costs=terms.costs, rules=terms.rules, sides=together)


def replay_gap(terms: Terms, decisions: Decisions, bars: Bars, path: AccountPath) -> float:
    """Largest difference between Backtrader's equity and the twin's for the same decisions, relative to the start.

    Raises
    ------
    ReconciliationError
        If it is beyond `PARITY_TOLERANCE`.
    """
    twin = traded_at(terms, decisions.sent, bars, decisions.together)
    gaps = np.abs(twin.equity - path.equity) / terms.cash
    row = int(np.argmax(gaps))
    if gaps[row] > PARITY_TOLERANCE:
        raise ReconciliationError(
            f"parity: on {say_stamp(bars.stamps[row])} Backtrader's equity is {path.equity[row]!r}, its replay's "
            f"{twin.equity[row]!r}; please report this with the data and `hybrid-bt parity`"
        )
    return float(gaps[row])


def _constant_gate(r: float) -> Callable[[Panel], AccountPath]:
    return lambda panel: mixed(panel, mix_of(np.full(panel.bars.n_bars, r), panel.terms.lines))


def _shuffled_gate(panel: Panel) -> AccountPath:
    r = panel.opinions.regime
    blocks = [r[i : i + SHUFFLED_BLOCK_BARS] for i in range(0, len(r), SHUFFLED_BLOCK_BARS)]
    order = np.random.default_rng(panel.seed).permutation(len(blocks))
    return mixed(panel, mix_of(np.concatenate([blocks[i] for i in order]), panel.terms.lines))


def late(said: Opinions, bars: int, legs: slice = slice(None)) -> Opinions:
    """What some legs (by number) said, so many bars later, with r where all do; nothing is wanted on the first bars."""
    amounts, risks, sides = said.amounts.copy(), said.risks.copy(), _sides(said, legs)
    for values, columns in ((amounts, sides), (risks, legs)):
        values[bars:, columns], values[:bars, columns] = values[: len(values) - bars, columns].copy(), 0.0
    r = said.regime
    regime = np.concatenate([np.full(bars, r[0]), r[: len(r) - bars]]) if legs == slice(None) else r
    return replace(said, amounts=amounts, risks=risks, regime=regime, before=np.where(sides, 0.0, said.before))


def tilted_base(said: Opinions, scores: FloatArray, params: TiltParams) -> Opinions:
    """The same with scores (T, N), whoever has them, in the place of what the policy says of each asset."""
    shares, _ = tilted(scores, [0.0] * scores.shape[1], said.volatility, said.warm, params)
    sides = _sides(said, slice(1))
    amounts = said.amounts.copy()
    amounts[:, sides] = shares[:, np.asarray(said.layout.columns)[sides]]
    return replace(said, amounts=amounts)


def _sides(said: Opinions, legs: slice) -> NDArray[np.bool_]:
    """(S,) those of some legs."""
    ends, of_bundle = np.asarray(said.layout.ends), np.asarray(said.layout.legs)
    return np.isin(np.repeat(of_bundle, np.diff(ends, prepend=0)), np.arange(len(said.names))[legs])


def _equal_weights(panel: Panel) -> FloatArray:
    """1/n in each symbol that is warm, on every bar."""
    warm = panel.opinions.warm
    weights: FloatArray = warm / np.maximum(warm.sum(axis=1, keepdims=True), 1)
    return weights


def _base(panel: Panel, weights: FloatArray) -> AccountPath:
    """Weights (T, N) as the base, under the hybrid's volatility target and limits."""
    said = panel.opinions.with_base("weights", weights)
    return mixed(panel, alone(said, "weights"), said)


def _invested(panel: Panel, weights: FloatArray, rules: OrderRules) -> AccountPath:
    """Trade weights of what the cash buffer leaves as an unlevered account; NaN keeps what is held."""
    costs = panel.terms.costs._replace(leverage=1.0)
    return traded_at(panel.terms._replace(costs=costs, rules=rules), (1.0 - rules.cash_buffer) * weights, panel.bars)


def _held(panel: Panel, there: NDArray[np.bool_]) -> AccountPath:
    """Buy some symbols in equal parts on the first bar and never trade again."""
    weights = np.full(panel.bars.close.shape, np.nan)
    weights[0] = np.where(there, 1.0 / max(int(there.sum()), 1), 0.0)
    # no band: among many symbols an equal part is smaller than the change that a rebalanced account waits for
    return _invested(panel, weights, panel.terms.rules._replace(eps_trade=0.0, rebalance_band=0.0))


def _monthly(panel: Panel, weights: FloatArray) -> AccountPath:
    """Fully invested in the weights of each month's first bar."""
    months = panel.bars.stamps.astype("datetime64[M]")
    new = np.concatenate(([True], months[1:] != months[:-1]))
    rules = panel.terms.rules._replace(rebalance_band=0.0)
    return _invested(panel, np.where(new[:, None], weights, np.nan), rules)


def _momentum(panel: Panel) -> AccountPath:
    """Equal parts of the better half by 12-month momentum, looked at every month."""
    score = momentum(panel.bars) if panel.momentum is None else panel.momentum
    score = np.where(panel.opinions.warm & np.isfinite(score), score, -np.inf)
    known = np.isfinite(score)
    rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1, kind="stable")
    held = known & (rank < np.ceil(known.sum(axis=1, keepdims=True) / 2))
    return _monthly(panel, held / np.maximum(held.sum(axis=1, keepdims=True), 1))


def moves(bars: Bars, since: int, until: int = 0) -> FloatArray:
    """log(c[t - until] / c[t - since]) of last known closes, (T, N); NaN where there is none so long ago."""
    logs, found = known_logs(bars.close), np.full(bars.close.shape, np.nan)
    if bars.n_bars > since:
        found[since:] = logs[since - until : bars.n_bars - until] - logs[:-since]
    return found


def momentum(bars: Bars) -> FloatArray:
    """Of twelve months without the last, (T, N)."""
    return moves(bars, MOMENTUM_BARS, SKIPPED_BARS)


def relative(values: FloatArray) -> FloatArray:
    """(T, N, ...) less the mean over the assets of each bar; 0 where NaN."""
    there = np.isfinite(values)
    n, known = np.maximum(there.sum(axis=1, keepdims=True), 1), np.where(there, values, 0.0)
    return np.where(there, known - known.sum(axis=1, keepdims=True) / n, 0.0)


def standard_scores(values: FloatArray) -> FloatArray:
    """(T, N) less the mean over the assets of each bar, in their standard deviation, within +-2; 0 where NaN."""
    n, away = np.maximum(np.isfinite(values).sum(axis=1, keepdims=True), 1), relative(values)
    sd = np.sqrt((away**2).sum(axis=1, keepdims=True) / n)
    return np.asarray(np.clip(away / np.where(sd > LEAST_SD, sd, np.inf), -CLIP, CLIP))


#: account -> how it is traded; beside these, each leg alone by its own name
ACCOUNTS: dict[str, Callable[[Panel], AccountPath]] = {
    "hybrid": mixed,
    RISK_OFF: mixed,  # the hybrid's risk manager stands behind the limits
    "gate-off": _constant_gate(0.0),
    "gate r=-1": _constant_gate(-1.0),
    "gate r=0": _constant_gate(0.0),
    "gate r=+1": _constant_gate(1.0),
    "shuffled gate": _shuffled_gate,
    "one bar late": lambda panel: mixed(panel, opinions=late(panel.opinions, 1)),
    EQUAL_WEIGHT: lambda panel: _held(panel, panel.bars.traded[0]),
    BENCHMARK: lambda panel: _held(panel, np.arange(panel.bars.n_symbols) == panel.bars.index_of(panel.benchmark)),
    "rebalanced": lambda panel: _monthly(panel, _equal_weights(panel)),
    "vol-target": lambda panel: _base(panel, _equal_weights(panel)),
    # the hybrid's own base without a tilt: the harder hurdle
    "inverse-vol": lambda panel: _base(panel, inverse_volatility(panel.opinions.volatility, panel.opinions.warm)),
    "12-1 momentum": _momentum,
}
_GATES = ("gate r=-1", "gate r=0", "gate r=+1", "shuffled gate", "one bar late")
_UNLEARNED = (EQUAL_WEIGHT, "rebalanced", "vol-target", "inverse-vol", "12-1 momentum")


def learned_accounts(legs: Sequence[str], learner: str = "sac") -> tuple[str, ...]:
    """Of a study, those that differ from seed to seed: policies have a part in them; `legs` are on, one is learned."""
    return ("hybrid", *(name for name in legs if name == learner), *_GATES)


def study_accounts(legs: Sequence[str], learner: str = "sac") -> tuple[str, ...]:
    """All accounts of a study, `hybrid` first; `legs` are on."""
    learned = learned_accounts(legs, learner)
    return (*learned, *(name for name in legs if name not in learned), *_UNLEARNED)
