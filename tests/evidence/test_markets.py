"""Markets left out: who may teach, what is late, how gains are pooled, and that the accounts are those of a run."""

from __future__ import annotations

import copy
import csv
import shutil
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from hybrid_bt.account import metrics
from hybrid_bt.account.registry import late, tilted_base
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market, may_teach
from hybrid_bt.brain.legs.sac import inverse_volatility
from hybrid_bt.brain.opinions import opinions
from hybrid_bt.brain.pair_selection import with_found_pairs
from hybrid_bt.brain.reader import read_panel
from hybrid_bt.commands import study_markets
from hybrid_bt.commands.study import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, load_policies
from hybrid_bt.equations.costs import Costs
from hybrid_bt.errors import InSampleError
from hybrid_bt.evidence.study import markets as judged
from hybrid_bt.evidence.study.leave_out import sharpe_draws
from hybrid_bt.evidence.study.markets import ACCOUNTS, SETTINGS, MarketJob, task_on
from hybrid_bt.feeds import load_bars
from hybrid_bt.feeds.sample import business_days, read_set

CONFIG = load_config("stable")
POLICIES = load_policies(CONFIG)


def panel(name: str, n: int = 6, t: int = 900, seed: int = 0, pull: float = 0.0, start: str = "2000-01-03") -> Bars:
    """Walks with a common part; with `pull`, a stock's own part comes back by so much a bar."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0003, 0.008, t).cumsum()[:, None]
    own, shocks = np.zeros((t, n)), rng.normal(0.0, 0.012, (t, n))
    for k in range(1, t):
        own[k] = (1.0 - pull) * own[k - 1] + shocks[k]
    close = 50.0 * np.exp(common + own)
    return Bars.checked(
        name, [f"S{i}" for i in range(n)], np.busday_offset(start, np.arange(t)).astype("M8[ns]"), close
    )


def market(bars: Bars) -> Market:
    return Market(bars.name, bars, ("S0:S1", "S2:S3"), pairs_found=True)


def test_one_country_s_dates_teach_nothing_about_themselves() -> None:
    old, new = panel("nyse_o", t=300), panel("us20", t=300, start="2000-06-01")
    first, last = np.searchsorted(old.stamps, new.stamps[0]), old.n_bars
    assert np.flatnonzero(~may_teach(old, new, 6)).tolist() == list(range(first - 6, last))
    end = int(np.searchsorted(new.stamps, old.stamps[-1], "right"))
    assert np.flatnonzero(~may_teach(new, old, 6)).tolist() == list(range(end))
    assert may_teach(panel("tse", t=300), new, 6).all()
    assert not may_teach(panel("mine", t=300), panel("mine too", t=300), 6).any(), "nobody knows where they trade"


@given(n=st.integers(0, 30))
def test_few_found_pairs_carry_little_wherever_the_number_comes_from(n: int) -> None:
    scaled = CONFIG.with_pairs_found(n)
    assert scaled.lines()[1] == tuple(scaled.fusion) and scaled.lines()[0] == CONFIG.lines()[0]
    assert scaled.fusion[1] == min(1.0, n / 10) * CONFIG.fusion[1]


def test_the_hybrid_judged_is_the_hybrid_that_runs() -> None:
    chosen = market(panel("mine"))
    task = task_on(chosen, "stable", CONFIG, POLICIES)
    found = MarketJob("mine", task, ()).run()
    assert task.config.fusion[1] == 0.2 * CONFIG.fusion[1]
    run = run_backtest(task.market, config=task.config, start=task.start, allow_in_sample=True)
    assert np.array_equal(metrics.simple_returns(run.accounts["hybrid"].equity), found["1x:hybrid"])
    names = {name for name in found if ":" in name and not name.startswith("turnover")}
    assert names == {f"{setting}:{name}" for setting in SETTINGS for name in ACCOUNTS}
    assert np.array_equal(found["1x:inverse-vol"], found["4 late:inverse-vol"]), "hurdles are never late"
    assert not np.array_equal(found["1x:hybrid"], found["1 late:hybrid"])


@settings(max_examples=20, deadline=None)
@given(bars=st.integers(0, 40), leg=st.integers(0, 1))
def test_a_leg_that_is_late_says_the_same_later_and_moves_no_other(bars: int, leg: int) -> None:
    chosen = market(panel("mine", t=400))
    brain = task_on(chosen, "stable", CONFIG, Policies(POLICIES.sac, None), 260).brain()
    said = opinions(brain, read_panel(chosen.bars.close, brain.reader))
    moved = late(said, bars, slice(leg, leg + 1))
    sides = np.arange(said.amounts.shape[1]) < 6 if leg == 0 else np.arange(said.amounts.shape[1]) >= 6
    assert np.array_equal(moved.amounts[bars:, sides], said.amounts[: 400 - bars, sides])
    assert not moved.amounts[:bars, sides].any()
    assert np.array_equal(moved.amounts[:, ~sides], said.amounts[:, ~sides])
    flat = tilted_base(said, np.zeros((400, 6)), CONFIG.tilt_params)
    assert np.array_equal(flat.amounts[:, :6], inverse_volatility(said.volatility, said.warm))


def test_what_other_markets_teach_pays_where_it_holds() -> None:
    tamed = [market(panel(f"m{seed}", n=10, seed=seed, pull=0.1)) for seed in (1, 2)]
    teacher, left_out = tamed[0], Market("tse", tamed[1].bars, tamed[1].pairs, pairs_found=True)
    named = Market("us20", Bars.checked("us20", teacher.bars.symbols, teacher.bars.stamps, teacher.bars.close))
    task = task_on(
        Market("tse", Bars.checked("tse", left_out.bars.symbols, left_out.bars.stamps, left_out.bars.close)),
        "stable",
        CONFIG,
        Policies(POLICIES.sac, None),
    )
    taught, untaught = (MarketJob("tse", task, others).run() for others in ((named,), ()))
    gain = taught["1x:ridge"].sum() - taught["1x:inverse-vol"].sum()
    assert gain > 0.1
    assert np.array_equal(untaught["1x:ridge"], untaught["1x:inverse-vol"]), "without a teacher it says nothing"


def test_resampled_ratios_begin_with_the_ratios_themselves() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(0.0005, 0.01, (800, 3))
    found = sharpe_draws(returns, 200, rng)
    assert found.shape == (201, 3)
    assert found[0] == pytest.approx(metrics.measures(252.0, 1.0)["sharpe"](returns), rel=1e-9)
    assert found[1:].std(axis=0) == pytest.approx(np.sqrt(252 / 800), rel=0.25)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("markets")
    for seed, name in enumerate(("east", "west")):
        bars = panel(name, seed=seed)
        lines = [
            f"{str(day)[:10]}," + ",".join(map(repr, row))
            for day, row in zip(bars.stamps, bars.close.tolist(), strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["date," + ",".join(bars.symbols), *lines]))
    return folder


def test_the_command_pools_resumes_and_says_whose_policies_they_are(files: Path) -> None:
    names = f"{files / 'east.csv'},{files / 'west.csv'}"
    words = ["--leave-one-out", "--markets", names, "--resamples", "20", "--out", str(files / "out")]
    first, again = (CliRunner().invoke(main, words) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output.startswith("On 2 markets before 2010 with the configuration's OWN policies")
    assert again.output.replace("2 configurations were tried on these markets.\n", "") == first.output
    with open(files / "out" / "markets.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = [row for row in rows if (row["setting"], row["period"]) == ("1x", "whole")]
    assert {row["market"] for row in rows} == {"east", "west", "pooled by years", "pooled equally"}
    assert {row["account"] for row in whole} == set(ACCOUNTS)
    for row in rows:
        assert float(row["low"]) <= float(row["high"])
    one = {
        row["market"]: float(row["gain"]) for row in whole if (row["account"], row["hurdle"]) == ("sac", "inverse-vol")
    }
    assert one["pooled equally"] == pytest.approx((one["east"] + one["west"]) / 2)
    assert len(list((files / "out" / "cells").glob("*.npz"))) == 2
    assert sum("left_out" in line for line in (files / "runs.jsonl").read_text().splitlines()) == 4


def test_policies_of_a_folder_are_those_of_their_market_and_may_not_know_it(files: Path) -> None:
    folder, east = files / "policies", load_bars(files / "east.csv")
    folder.mkdir()
    for name in ("east", "west"):
        shutil.copy(ROOT / "hybrid_bt" / "policies" / "sac.onnx", folder / f"{name}.onnx")
    names = f"{files / 'east.csv'},{files / 'west.csv'}"
    words = ["--leave-one-out", "--markets", names, "--resamples", "20", "--no-ledger", "--policies", str(folder)]
    answer = CliRunner().invoke(main, [*words, "--out", str(files / "left out")])
    assert answer.output.startswith("On 2 markets before 2010 that no policy had a part of"), answer.output
    cells = [np.load(path) for path in (files / "left out" / "cells").glob("*.npz")]
    assert all(np.array_equal(cell["1x:hybrid"], cell["1x:gate-off"]) for cell in cells), "no gate file, no gate"
    with pytest.MonkeyPatch.context() as patch:
        knowing = copy.copy(POLICIES.sac)
        knowing.manifest = POLICIES.sac.manifest.model_copy(update={"data_sha256": east.sha256})
        patch.setattr(study_markets, "load_policy", lambda path, kind: knowing)
        with pytest.raises(InSampleError, match="the sac policy for east was trained on it"):
            study_markets.given_policies(folder, CONFIG)(market(east))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--markets", "us20"], "goes with --leave-one-out"),
        (["--policies", "x"], "goes with --leave-one-out"),
        (["--leave-one-out", "--markets", "us20,us20"], "holds one market twice"),
        (["--leave-one-out", "--markets", "us20", "--policies", "nowhere"], "nowhere/us20.onnx"),
        (["--leave-one-out", "--markets", "us20", "--end", "1992-03-01"], "are the least"),
        (["--leave-one-out", "--markets", "us20", "--config", "no_sac.toml"], "nothing to tilt"),
        (["--preset", "published", "--markets", "us20"], "is no set of the literature"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no_sac.toml").write_text("[sac]\nenabled = false\n")
    answer = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert answer.exit_code == 2 and told in answer.output, answer.output


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_wealth_is_the_product_of_what_the_weights_earned(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    growth = np.exp(rng.normal(0.0, 0.02, (60, n)).cumsum(axis=0))
    held = rng.dirichlet(np.ones(n), 61)
    relatives = growth / np.vstack([np.ones(n), growth[:-1]])
    days = np.busday_offset("2001-01-15", np.arange(60)).astype("M8[ns]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judged, "online_weights", lambda algorithm, closes: held)
        free, net, _ = judged.wealth("any", growth, days, Costs(fee_bps=3.0, spread_bps=0.0, leverage=2.0))
    assert free[-1] / free[0] == pytest.approx(np.prod((held[1:] * relatives).sum(axis=1)), rel=1e-5)
    assert net[-1] < free[-1]


@pytest.mark.skipif(find_spec("universal") is None or find_spec("cvxopt") is None, reason="extra `markets`")
@pytest.mark.parametrize(
    ("algorithm", "name", "printed"),
    [
        (algorithm, name, wealth)
        for algorithm, row in judged.PRINTED.items()
        for name, wealth in zip(judged.SETS, row, strict=True)
        if wealth is not None and (name not in ("nyse_o", "nyse_n") or algorithm in ("BAH", "CRP"))
    ],
)
def test_the_printed_table_is_reproduced(algorithm: str, name: str, printed: float) -> None:
    closes = np.column_stack(list(read_set(name).values()))
    free, net, _ = judged.wealth(algorithm, closes, business_days(name, len(closes)), Costs(leverage=2.0))
    assert free[-1] / free[0] == pytest.approx(printed, rel=0.011)
    assert net[-1] < free[-1]


def test_pairs_are_found_on_the_first_bars_alone() -> None:
    bars = panel("mine", t=900)
    later = Bars.checked("mine", bars.symbols, bars.stamps, np.vstack([bars.close[:504], bars.close[504:][::-1]]))
    assert with_found_pairs(bars).pairs == with_found_pairs(later).pairs
    assert task_on(with_found_pairs(bars), "stable", CONFIG, Policies(POLICIES.sac, None)).start == date(2001, 12, 7)
