"""Statistics against published examples, other libraries, and cases whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from report_cases import make_record
from scipy.stats import kurtosis, norm, skew, trim_mean

from hybrid_bt.account import metrics
from hybrid_bt.account.conditional import conditional_rows, conditions
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence import Interval, bootstrap, interquartile_mean, interquartile_mean_interval
from hybrid_bt.evidence.ratios import (
    Moments,
    backtest_overfitting,
    claim,
    deflated_sharpe,
    expected_maximum_sharpe,
    minimum_track_record,
    moments_of,
    probabilistic_sharpe,
    spread_of_trials,
)

YEARS, PER_YEAR = 4.0, 250.0


def noise(t: int = 1000, k: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0003, 0.01, (t, k))


def test_the_columns_measures_are_those_of_the_summary():
    returns = noise()
    returns[400:, 2] = -1.0, *[0.0] * 599  # an account that is lost
    for name, measure in metrics.measures(PER_YEAR, YEARS).items():
        for column, value in enumerate(measure(returns)):
            equity = np.concatenate(([1.0], np.cumprod(1.0 + returns[:, column])))
            if name == "cagr":
                expected = metrics.cagr(1.0, equity[-1], YEARS)
            elif name == "max_drawdown":
                expected = metrics.max_drawdown(equity)
            else:
                expected = getattr(metrics, name)(equity, PER_YEAR)
            assert value == pytest.approx(expected, rel=1e-9), name


def test_the_published_example_of_the_probabilistic_ratio():
    """Bailey and Lopez de Prado (2012): 24 months, SR 0.458 a month, skewness -2.448, kurtosis 10.164: 0.913."""
    assert probabilistic_sharpe(Moments(0.458, 24, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe(Moments(0.458, 24)) == pytest.approx(0.982, abs=5e-4)


def test_the_published_example_of_the_deflated_ratio():
    """Bailey and Lopez de Prado (2014): 100 trials of variance 1/2 a year, 1,250 days at SR 2.5 a year: 0.9004."""
    best_of_noise = expected_maximum_sharpe(100, math.sqrt(0.5 / 250))
    assert best_of_noise == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(Moments(2.5 / math.sqrt(250), 1250, -3.0, 10.0), best_of_noise) == pytest.approx(
        0.9004, abs=5e-4
    )


def test_moments_are_those_of_scipy():
    series = noise(500, 1)[:, 0] ** 3
    moments = moments_of(series)
    assert moments.skewness == pytest.approx(skew(series)) and moments.kurtosis == pytest.approx(kurtosis(series) + 3)
    assert deflated_sharpe(moments, 10, 0.02) == probabilistic_sharpe(moments, expected_maximum_sharpe(10, 0.02))
    assert deflated_sharpe(moments, 1, 0.02) == probabilistic_sharpe(moments)


def test_an_unknown_spread_of_trials_is_that_of_worthless_ones():
    """1 / sqrt(n - 1), as many simulated trials without an edge show it; what is known goes before it."""
    worthless = noise(500, 4000) - 0.0003
    assert spread_of_trials([], 500) == pytest.approx(np.std(worthless.mean(axis=0) / worthless.std(axis=0)), rel=0.03)
    assert spread_of_trials([0.03, math.nan], 500) == spread_of_trials([], 500) == 1.0 / math.sqrt(499)
    assert spread_of_trials([0.01, math.nan, 0.03], 500) == pytest.approx(math.sqrt(2.0) * 0.01)


@pytest.mark.parametrize("n", [0, 1, 2, 9, 1000])
@pytest.mark.parametrize("value", [0.0, 0.001, 0.1, -0.3])
def test_returns_that_do_not_vary_have_no_ratio_and_no_probability(n: int, value: float):
    moments = moments_of(np.full(n, value))
    assert math.isnan(moments.sharpe) and math.isnan(probabilistic_sharpe(moments))
    assert math.isnan(deflated_sharpe(moments, 10, 0.02))
    if n > 1:
        sharpe = metrics.measures(PER_YEAR, YEARS)["sharpe"]
        assert np.isnan(sharpe(np.full((n, 1), value)))


def test_an_estimate_without_a_deviation_has_no_probability():
    two_valued = Moments(2.0, 10, 1.0, 2.0)  # kurtosis = skewness^2 + 1, skewness * ratio = 2
    assert two_valued.spread == 0.0 and math.isnan(probabilistic_sharpe(two_valued))
    assert math.isnan(probabilistic_sharpe(Moments(0.1, 0))) and math.isnan(probabilistic_sharpe(Moments(0.1, 1)))


def test_the_track_record_is_long_enough_where_the_probability_says_so():
    series = noise(800, 1)[:, 0] + 0.0004
    bars = minimum_track_record(moments_of(series), level=0.95)
    spread = 1.0 / norm.ppf(probabilistic_sharpe(moments_of(series))) * math.sqrt(len(series) - 1)
    assert bars == pytest.approx(1 + (spread * norm.ppf(0.95)) ** 2, rel=1e-9)
    assert minimum_track_record(moments_of(-series)) == math.inf


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_published_examples_of_the_track_record(per_year: int, years: float):
    """Bailey and Lopez de Prado (2012): a yearly ratio of 2 above 1 at 95 %, normal returns a day, a week, a month."""
    moments = Moments(2.0 / math.sqrt(per_year), 1000)
    assert minimum_track_record(moments, 1.0 / math.sqrt(per_year)) / per_year == pytest.approx(years, abs=5e-3)


def test_a_verdict_says_on_which_side_of_zero_the_whole_interval_lies():
    said = [Interval(0.0, low, low + 1.0).verdict("a beats b", "that b beats a") for low in (0.1, -2.0, -0.5)]
    assert said == [
        "there is evidence that a beats b",
        "there is evidence that b beats a",
        "no evidence that a beats b",
    ]


def test_an_interval_covers_what_it_should():
    """The 95 % interval of the mean of noise, over 60 samples, covers the truth most of the time, and not always."""
    covered = 0
    for seed in range(60):
        returns = np.random.default_rng(seed).normal(0.001, 0.01, 300)
        draws = bootstrap({"a": returns}, {"mean": lambda x: x.mean(axis=0)}, n_resamples=300, seed=seed)
        low, high = draws.interval("mean", "a")[1:]
        covered += low <= 0.001 <= high
    assert 51 <= covered <= 59


def test_differences_are_drawn_on_the_same_bars():
    market = noise(600, 1)[:, 0]
    mine = market + 0.0002
    draws = bootstrap({"mine": mine, "market": market}, metrics.measures(PER_YEAR, YEARS), n_resamples=200)
    alone, paired = draws.interval("sharpe", "mine"), draws.difference("sharpe", "mine", "market")
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)
    assert paired.low > 0.0 or paired.high < 0.0
    assert alone.high >= 0.0


def test_clustered_returns_get_longer_blocks():
    calm_and_wild = np.repeat(np.random.default_rng(1).choice([0.002, 0.03], 30), 50)
    clustered = np.random.default_rng(2).normal(0, 1, 1500) * calm_and_wild
    plain = np.random.default_rng(2).normal(0, 0.01, 1500)
    wide, narrow = (bootstrap({"a": x}, {}, n_resamples=1).block_bars for x in (clustered, plain))
    assert wide > 3 * narrow


def test_too_few_bars_are_refused():
    with pytest.raises(ConfigError, match="too few"):
        bootstrap({"a": np.zeros(5)}, {})


def test_the_best_of_pure_noise_is_overfitted_and_a_real_edge_is_not():
    rng = np.random.default_rng(3)
    probabilities = [backtest_overfitting(rng.normal(0, 0.01, (1600, 20)), 10) for _ in range(20)]
    assert 0.35 < np.mean(probabilities) < 0.65
    edge = rng.normal(0, 0.01, (1600, 20))
    edge[:, 7] += 0.004
    assert backtest_overfitting(edge) == 0.0


def test_a_rule_that_reverses_is_overfitted_for_sure():
    """Two rules: in each block one wins what the other loses, so the better half is always the worse elsewhere."""
    wave = np.repeat(np.random.default_rng(4).normal(0, 1, 8), 20)
    wave -= wave.mean()
    returns = np.column_stack([wave, -wave]) + np.random.default_rng(5).normal(0, 1e-3, (160, 2))
    assert backtest_overfitting(returns, 8) > 0.9


@pytest.mark.parametrize("n_configurations", range(2, 8))
def test_noise_is_over_fitted_in_half_of_the_choices_whatever_the_number_of_configurations(n_configurations: int):
    rng = np.random.default_rng(n_configurations)
    found = [backtest_overfitting(rng.normal(0, 0.01, (400, n_configurations)), 8) for _ in range(150)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    alike = np.repeat(rng.normal(0, 0.01, (400, 1)), n_configurations, axis=1)
    assert backtest_overfitting(alike, 8) == 0.5


def test_overfitting_needs_two_configurations_and_even_blocks():
    with pytest.raises(ConfigError, match="two or more"):
        backtest_overfitting(noise(100, 1))
    with pytest.raises(ConfigError, match="even"):
        backtest_overfitting(noise(100, 2), 7)
    for value in (math.nan, math.inf):
        holed = noise(100, 3)
        holed[40, 2] = value
        with pytest.raises(ConfigError, match=f"configuration 2 has the return {value} on bar 40"):
            backtest_overfitting(holed)


def test_the_interquartile_mean_and_its_interval():
    scores = np.random.default_rng(6).normal(1.0, 0.2, (5, 10))
    found = interquartile_mean_interval(scores)
    assert found.estimate == interquartile_mean(scores) == pytest.approx(trim_mean(scores.ravel(), 0.25))
    assert found.low < found.estimate < found.high
    single = interquartile_mean_interval(np.array([0.3, 0.3, 0.3, 0.3, 0.3]))
    assert single == (pytest.approx(0.3),) * 3
    # strata are kept: columns that differ by far do not widen the interval
    apart = scores + np.arange(10) * 100.0
    assert interquartile_mean_interval(apart).high - interquartile_mean_interval(apart).low < 1.0


def test_conditions_split_the_returns_and_know_only_the_past():
    record = make_record(t=200)
    held = conditions(record.bars, record.decisions.regime)
    terciles = [held[f"r {name}"] for name in ("low", "middle", "high")]
    assert np.array_equal(np.sum(terciles, axis=0), np.ones(199))
    known = record.decisions.regime[:-1]
    assert known[held["r low"]].max() < known[held["r high"]].min()
    years = [mask for name, mask in held.items() if name.startswith("year")]
    assert np.array_equal(np.sum(years, axis=0), np.ones(199))
    equity = record.accounts["hybrid"].equity
    all_rows = conditional_rows(record.bars, record.decisions.regime, {"hybrid": equity})
    rows = [row for row in all_rows if row.condition == "2020 pandemic"]
    stamps = record.bars.stamps
    first = int(np.searchsorted(stamps, np.datetime64("2020-02-19")))
    last = int(np.searchsorted(stamps, np.datetime64("2020-03-23")))
    assert rows[0].total_return == pytest.approx(equity[last] / equity[first - 1] - 1.0)
    assert rows[0].bars == last - first + 1


def record_of(hybrid: np.ndarray, hurdle: np.ndarray):
    """A record whose hybrid and vol-target have these returns."""
    record = make_record(t=len(hybrid) + 1)
    paths = {
        name: dataclasses.replace(
            record.accounts[name], equity=1e6 * np.cumprod(np.concatenate(([1.0], 1.0 + returns)))
        )
        for name, returns in (("hybrid", hybrid), ("vol-target", hurdle))
    }
    return dataclasses.replace(record, accounts=record.accounts | paths)


def test_the_claim_says_who_beats_whom_only_where_the_interval_does():
    market = noise(400, 1)[:, 0]
    better = claim(record_of(market + 0.002, market), n_resamples=200)
    assert ": evidence of a gain, +" in better
    assert ": evidence of a loss, −" in claim(record_of(market - 0.002, market), n_resamples=200)
    other = np.random.default_rng(9).normal(0.0003, 0.01, 400)
    assert ": no evidence of a gain, " in claim(record_of(market, other), n_resamples=200)
    assert better.startswith("claim (out of sample, 2020-01-01 to 2021-02-04): hybrid Sharpe ")


def test_the_claim_is_against_the_hurdle_and_names_a_stronger_one():
    """Regression: "the probability of a ratio above 0 is 1.00" of an account that gained nothing on its hurdle."""
    market = noise(2000, 1)[:, 0] + 0.002
    record = record_of(market, market)
    said = claim(record, n_resamples=50)
    per_year = metrics.sharpe(record.accounts["hybrid"].equity, record.bars.bars_per_year)
    assert f"], vol-target {per_year:.2f}: no evidence of a gain, +0.00 [0.00, 0.00]" in said
    assert said.endswith("the probability of a ratio above that of vol-target is 0.50") and "above 0 " not in said
    alone = {name: path for name, path in record.accounts.items() if name != "vol-target"}
    assert claim(dataclasses.replace(record, accounts=alone), n_resamples=50).endswith("]; 1 trial on this data")
    held = dataclasses.replace(record.accounts["vol-target"], equity=record.accounts["vol-target"].equity)
    steady = dataclasses.replace(held, equity=1e6 * np.cumprod(np.concatenate(([1.0], 1.001 + market))))
    stronger = dataclasses.replace(record, accounts=record.accounts | {"inverse-vol": steady})
    ratio = metrics.sharpe(steady.equity, record.bars.bars_per_year)
    assert f"; of those without learning inverse-vol is best, {ratio:.2f}; 1 trial" in claim(stronger, n_resamples=50)


def test_the_claim_gets_smaller_with_every_trial():
    record = record_of(noise(400, 1)[:, 0], noise(400, 1, seed=2)[:, 0])
    known = [-1.0, 0.0, 1.0]
    worth = [float(claim(record, [*known, *[None] * n], n_resamples=2)[-4:]) for n in (0, 4, 40, 400)]
    assert worth == sorted(worth, reverse=True) and worth[0] > worth[-1]
    unknown = [float(claim(record, [None] * n, n_resamples=2)[-4:]) for n in (0, 1, 4, 100)]
    assert unknown == sorted(unknown, reverse=True) and unknown[0] - unknown[-1] > 0.3
    assert "1 trial on this data" in claim(record, n_resamples=2)
    assert "4 trials" in claim(record, known, n_resamples=2)


def test_an_account_that_did_not_move_claims_nothing():
    assert "nothing to claim" in claim(record_of(np.zeros(50), noise(50, 1)[:, 0]))
    assert "too few bars" in claim(record_of(noise(9, 1)[:, 0], noise(9, 1)[:, 0]))
    in_sample = dataclasses.replace(record_of(noise(9, 1)[:, 0], noise(9, 1)[:, 0]), in_sample=np.ones(10, bool))
    assert claim(in_sample).startswith("claim (IN SAMPLE")
