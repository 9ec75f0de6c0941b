"""What a study found, in plain words: the claim first, then what each part added."""

from __future__ import annotations

import math

from hybrid_bt.evidence import Interval
from hybrid_bt.study.findings import Findings
from hybrid_bt.texts import end_days

#: what somebody would ask about, and the two accounts whose difference answers it
QUESTIONS = (
    ("the hybrid beats equal weight at the same volatility without learning", "hybrid", "vol-target"),
    ("the hybrid beats equal weight held", "hybrid", "equal-weight"),
    ("SAC beats equal weight at the same volatility", "sac", "vol-target"),
    ("the pairs add to SAC", "hybrid", "sac"),
    ("the learned gate adds to a constant one (r = 0)", "hybrid", "gate r=0"),
    ("the gate's timing matters (against r in shuffled order)", "hybrid", "shuffled gate"),
)


def claim(found: Findings) -> str:
    """One sentence: what, on which bars, how sure, after how many trials."""
    plan, bars = found.plan, found.bars
    first, last = end_days(bars.stamps)
    costs = plan.config.costs
    side = costs.spread_bps / 2 + costs.fee_bps
    sample = "IN SAMPLE" if plan.in_sample else "Out of sample"
    dsr = found.ratios.get("hybrid", {}).get("dsr", math.nan)
    return (
        f"{sample} on {bars.name}, {first} to {last}, net of {side:g} bps a side: {plan.mode} has a Sharpe ratio of "
        f"{found.draws.interval('sharpe', 'hybrid').text()} and a drawdown of "
        f"{found.draws.interval('max_drawdown', 'hybrid').text(percent=True)} (95 % intervals); "
        f"{found.n_trials} configurations were tried, and the probability of a ratio above 0 after that is {dsr:.2f}."
    )


def verdicts(found: Findings) -> list[str]:
    """Answers, one sentence each."""
    said = [
        _answer(what, found.draws.difference("sharpe", account, other))
        for what, account, other in QUESTIONS
        if {account, other} <= set(found.equity)
    ]
    for name, bps in found.break_even.items():
        what = "is worth nothing" if name == "kalman" else "grows no faster than vol-target"
        at = (
            "from no costs on"
            if bps == 0.0
            else "at none of the costs tried"
            if bps == math.inf
            else f"from {bps:.1f} bps a side on"
        )
        said.append(f"{name} {what} {at}.")
    late = found.draws.difference("sharpe", "one bar late", "hybrid")
    said.append(f"Every decision one bar late changes the Sharpe ratio by {late.text(plus=True)}.")
    if found.overfitting is not None:
        said.append(
            f"Choosing the best of these {len(found.equity)} accounts on half of the bars gives one that is below the "
            f"median on the other half in {100 * found.overfitting.probability:.0f} % of all splits (PBO)."
        )
    if found.failures:
        said.insert(
            0, f"{len(found.failures)} CELLS FAILED: {'; '.join(f'{k}: {v}' for k, v in found.failures.items())}"
        )
    return said


def _answer(what: str, difference: Interval) -> str:
    size = f"difference in Sharpe ratio {difference.text(plus=True)}"
    if difference.low > 0.0:
        return f"There is evidence that {what}: {size}."
    if difference.high < 0.0:
        return f"There is evidence against: {what}; {size}."
    return f"No evidence that {what}: {size}."
