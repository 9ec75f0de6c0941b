"""What a run shows, in one sentence: the Sharpe ratio and its interval, the hurdle, and the trials it took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybrid_bt.account.metrics import elapsed_years, measures, simple_returns
from hybrid_bt.account.records import RunRecord
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.bootstrap import FEWEST_BARS, N_RESAMPLES, Draws, bootstrap, figure
from hybrid_bt.evidence.ratios import deflated_sharpe, moments_of
from hybrid_bt.files.texts import end_days

ACCOUNT, HURDLE = "hybrid", "vol-target"


def claim(
    record: RunRecord,
    *,
    n_trials: int = 1,
    other_sharpes: Sequence[float] = (),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> str:
    """One sentence in plain words about the hybrid's Sharpe ratio.

    Parameters
    ----------
    record : RunRecord
    n_trials : int
        Different configurations tried on these prices, this one included.
    other_sharpes : sequence of float
        Sharpe ratios per year of the other ones, as far as they are known.
    n_resamples, seed
        As in `bootstrap`.

    Returns
    -------
    str
        With 95 % intervals; where arch is missing or the bars are too few it says so and goes without.
    """
    first, last = end_days(record.bars.stamps)
    sample = "IN SAMPLE" if record.in_sample.any() else "out of sample"
    result, tried = _result(record, n_resamples, seed), _trials(record, n_trials, other_sharpes)
    return f"claim ({sample}, {first} to {last}): {result}; {tried}"


def _result(record: RunRecord, n_resamples: int, seed: int) -> str:
    # all accounts, though two are told: the length of the blocks is the longest that any of them asks for
    returns = {name: simple_returns(path.equity) for name, path in record.accounts.items()}
    sharpe = measures(record.bars.bars_per_year, elapsed_years(record.bars.stamps))["sharpe"]
    estimate = float(sharpe(returns[ACCOUNT][:, None])[0]) if len(returns[ACCOUNT]) > 1 else float("nan")
    if not np.isfinite(estimate):
        return f"{ACCOUNT} did not trade, so that there is nothing to claim"
    if len(returns[ACCOUNT]) < FEWEST_BARS:
        return f"{ACCOUNT} Sharpe {figure(estimate)}, on too few bars for an interval"
    try:
        draws = bootstrap(returns, {"sharpe": sharpe}, n_resamples=n_resamples, seed=seed)
    except ConfigError as missing:
        return f"{ACCOUNT} Sharpe {figure(estimate)}, without an interval ({missing})"
    return f"{ACCOUNT} Sharpe {draws.interval('sharpe', ACCOUNT).text()}{_against(draws)}"


def _against(draws: Draws) -> str:
    if HURDLE not in draws.names:
        return ""
    difference = draws.difference("sharpe", ACCOUNT, HURDLE)
    verdict = difference.verdict(f"it beats {HURDLE}", f"that {HURDLE} beats it")
    return f"; {verdict}: difference {difference.text(plus=True)}"


def _trials(record: RunRecord, n_trials: int, other_sharpes: Sequence[float]) -> str:
    """How many were tried, and what the best of so many would be worth."""
    counted = f"{n_trials} trial{'' if n_trials == 1 else 's'} on this data"
    mine = moments_of(simple_returns(record.accounts[ACCOUNT].equity))
    if np.isnan(mine.sharpe):
        return counted
    known = [mine.sharpe, *(value / record.bars.bars_per_year**0.5 for value in other_sharpes)]
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    worth = deflated_sharpe(mine, n_trials, spread)
    return f"{counted}, after which the probability of a ratio above 0 is {worth:.2f}"
