"""What trading the markets left out comes to: gains of Sharpe ratio over the hurdles, and the claim."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hybrid_bt.account.metrics import FloatArray
from hybrid_bt.account.registry import HURDLES
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import Interval, figure, percentile_interval
from hybrid_bt.evidence.blocks import stationary_rows
from hybrid_bt.evidence.study.jobs import Arrays
from hybrid_bt.evidence.study.markets import ACCOUNTS, BARS_PER_YEAR, LEAST_BARS, SETTINGS, MarketJob
from hybrid_bt.evidence.study.schedule import Runner
from hybrid_bt.files import whole_folder
from hybrid_bt.files.texts import csv_of_rows, real_minus

BLOCK_BARS = 42.0  #: mean length of a block
PERIODS = (1960, 1970, 1980, 1990, 1995, 2000, 2005, 2010)  #: first years
BY_YEARS, EQUALLY = "pooled by years", "pooled equally"
WHOLE = "whole"
FEW = ("hybrid", "sac", "pairs", "rule and pairs", *HURDLES)  #: accounts whose settings and periods are looked at
PLAIN = SETTINGS[0]
#: columns of markets.csv; `setting` is costs, or how late; `market` may be how they are pooled; with a 95 % interval
COLUMNS = ("setting", "period", "account", "hurdle", "market", "gain", "low", "high")
Key = tuple[str, str, str, str, str]  #: setting, period, account, hurdle, market
Rng = np.random.Generator
Gains = Iterator[tuple[Key, Interval]]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What came of all markets."""

    jobs: Sequence[MarketJob]
    left_out: bool  #: the policies had no part of the market that they were judged on
    traded: Mapping[str, Arrays]  #: market -> what its job gave
    gains: Mapping[Key, Interval]  #: of Sharpe ratio, less a hurdle's
    failures: Mapping[str, str] = field(default_factory=dict)  #: market -> why

    def gain(self, account: str, hurdle: str, market: str, setting: str = PLAIN, period: str = WHOLE) -> Interval:
        """One of them."""
        return self.gains[setting, period, account, hurdle, market]

    def periods(self) -> list[str]:
        """Those in which there is something to pool."""
        return [period for period in dict.fromkeys(key[1] for key in self.gains) if period != WHOLE]


def leave_one_out(
    jobs: Sequence[MarketJob], runner: Runner, *, left_out: bool, n_resamples: int, seed: int = 0
) -> LeftOut:
    """Trade and weigh; what an earlier study has done is found in the runner's folder.

    Raises
    ------
    ConfigError
        If every market failed.
    """
    traded, failures = runner.run({job.name: job for job in jobs})
    if not traded:
        raise ConfigError(f"study: every market failed: {'; '.join(failures.values())}")
    gains = dict(_weighed(traded, n_resamples, np.random.default_rng(seed)))
    return LeftOut(jobs, left_out, traded, gains, failures)


def _weighed(traded: Mapping[str, Arrays], n_resamples: int, rng: Rng) -> Gains:
    for setting in SETTINGS:
        yield from _of_span(traded, setting, WHOLE, ACCOUNTS if setting == PLAIN else FEW, n_resamples, rng)
    for first, last in itertools.pairwise(PERIODS):
        inside = {}
        for name, arrays in traded.items():
            years = arrays["days"].astype("M8[D]").astype("M8[Y]").astype(int) + 1970
            rows = (years >= first) & (years < last)
            if rows.sum() >= LEAST_BARS:
                inside[name] = {key: path[rows] for key, path in arrays.items() if path.shape == rows.shape}
        if inside:
            yield from _of_span(inside, PLAIN, f"{first}-{last - 1}", FEW, n_resamples, rng)


def _of_span(
    traded: Mapping[str, Arrays], setting: str, period: str, accounts: Sequence[str], n_resamples: int, rng: Rng
) -> Gains:
    """Gains of each market and of all, of accounts that trade the same bars."""
    tables = [np.column_stack([arrays[f"{setting}:{name}"] for name in accounts]) for arrays in traded.values()]
    drawn = np.stack([sharpe_draws(table, n_resamples, rng) for table in tables])
    years = np.array([float(len(table)) for table in tables])
    picks = rng.integers(len(tables), size=(n_resamples, len(tables)))
    rows = rng.integers(1, n_resamples + 1, size=picks.shape)  # a market that is drawn twice has other bars each time
    for hurdle in HURDLES:
        for number, name in enumerate(accounts):
            gains = drawn[:, :, number] - drawn[:, :, accounts.index(hurdle)]
            each = zip(traded, gains, strict=True)
            found = {market: percentile_interval(gain[0], gain[1:]) for market, gain in each}
            for pool, weights in ((BY_YEARS, years), (EQUALLY, np.ones(len(years)))):
                estimate = float(np.average(gains[:, 0], weights=weights))
                resampled = np.average(gains[picks, rows], axis=1, weights=weights[picks])
                found[pool] = percentile_interval(estimate, resampled)
            for market, interval in found.items() if name != hurdle else ():
                yield (setting, period, name, hurdle, market), interval


def sharpe_draws(returns: FloatArray, n_resamples: int, rng: Rng) -> FloatArray:
    """Sharpe ratios of returns (T, K) and of their resamples in blocks of bars, (1 + R, K), the first as they are."""
    n = len(returns)
    counts = np.ones((1 + n_resamples, n))
    for row in counts[1:]:
        row[:] = np.bincount(stationary_rows(rng, n, BLOCK_BARS), minlength=n)
    means, squares = counts @ returns / n, counts @ returns**2 / n
    found: FloatArray = means / np.sqrt((squares - means**2) / (n - 1) * n / BARS_PER_YEAR)
    return found


def claim(found: LeftOut) -> str:
    """One sentence: how much, over what, how sure, and where it ends."""
    costs = found.jobs[0].task.config.costs
    side = costs.spread_bps / 2 + costs.fee_bps
    over, under = (found.gain("hybrid", hurdle, BY_YEARS).said(plus=True) for hurdle in HURDLES[::-1])
    alone = [found.gain("hybrid", "inverse-vol", market).estimate for market in found.traded]
    dear = found.gain("hybrid", "inverse-vol", BY_YEARS, SETTINGS[2]).said(plus=True)
    own = "with the configuration's OWN policies, which may have learnt on them,"
    how = "that no policy had a part of" if found.left_out else own
    return (
        f"On {len(alone)} markets before 2010 {how} net of {side:g} bps a side: the hybrid's Sharpe ratio less that of "
        f"inverse volatility at the same target is {over}, less that of equal weight at it {under} (pooled by years, "
        f"95 % over markets and blocks of bars), above 0 on {sum(gain > 0.0 for gain in alone)} of {len(alone)}, "
        f"{dear} at {SETTINGS[2]} costs. {_end(found)}"
    )


def _end(found: LeftOut) -> str:
    """The last period in which anything is shown."""
    shown = [found.gain("hybrid", "inverse-vol", BY_YEARS, period=period) for period in found.periods()]
    known = [number for number, interval in enumerate(shown) if interval.low > 0.0]
    last = found.periods()[-1]
    text = shown[-1].said(plus=True)
    if not known:
        return f"No period alone shows it; {last} has {text}, and later bars are not read."
    if known[-1] == len(shown) - 1:
        return f"It is there to the end: {last} has {text}; later bars are not read."
    return f"It ends in {found.periods()[known[-1]][-4:]}: {last} has {text}, and later bars are not read."


Rows = list[tuple[str, ...]]


def tables(found: LeftOut) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """Title, head and rows of what is printed."""
    markets = list(found.traded)
    head = ("account", "less inverse-vol", "less vol-target", *markets)
    pools = [(name, *(_text(found, name, hurdle, BY_YEARS) for hurdle in HURDLES[::-1])) for name in ACCOUNTS]
    rows = [(*pool, *(_short(found, pool[0], market) for market in markets)) for pool in pools]
    yield "gain of Sharpe ratio, pooled by years, and of each market less inverse-vol", head, rows
    chief = [name for name in FEW if name not in HURDLES]
    rows = [(s, *(_text(found, name, "inverse-vol", BY_YEARS, s) for name in chief)) for s in SETTINGS]
    rows.append((EQUALLY, *(_text(found, name, "inverse-vol", EQUALLY) for name in chief)))
    turnover = (np.mean([found.traded[m][f"turnover {PLAIN}:{name}"] for m in markets]) for name in chief)
    rows.append(("turnover a year", *(f"{mean:.0f}" for mean in turnover)))
    title = f"less inverse-vol: at {', '.join(SETTINGS[:3])} costs, and with every decision late by bars"
    yield title, ("", *chief), rows
    rows = [(p, *(_text(found, name, "inverse-vol", BY_YEARS, period=p) for name in chief)) for p in found.periods()]
    yield "less inverse-vol, by period", ("", *chief), rows


def _text(found: LeftOut, account: str, hurdle: str, market: str, setting: str = PLAIN, period: str = WHOLE) -> str:
    if account == hurdle:
        return ""
    return found.gain(account, hurdle, market, setting, period).text(plus=True)


def _short(found: LeftOut, account: str, market: str) -> str:
    if account == "inverse-vol":
        return ""
    text = figure(found.gain(account, "inverse-vol", market).estimate)
    return text if text.startswith(real_minus("-")) else f"+{text}"


def write_left_out(found: LeftOut, out: Path) -> None:
    """markets.csv: every gain, and failures.csv where a market failed."""
    rows = ((*key, *gain) for key, gain in found.gains.items())
    with whole_folder(out, ("failures.csv", "markets.csv")) as fresh:
        (fresh / "markets.csv").write_bytes(csv_of_rows((COLUMNS, *rows)).encode())
        if found.failures:
            failed = ("cell", "failure"), *found.failures.items()
            (fresh / "failures.csv").write_bytes(csv_of_rows(failed).encode())
