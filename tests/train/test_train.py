"""Training: reproducible files, an honest manifest, nothing read behind the training span."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from small_specs import GATE, SAC

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.commands.train import main
from hybrid_bt.config import load_config
from hybrid_bt.envs import history_of
from hybrid_bt.errors import BarsError
from hybrid_bt.feeds import load_bars
from hybrid_bt.policies.frozen import FrozenPolicy
from hybrid_bt.train.ground import ground_of, regime_ground_of
from hybrid_bt.train.pipeline import Lesson, learn

pytest.importorskip("torch")

from hybrid_bt.train.bandits import GroupVecEnv, RegimeVecEnv

END = date(1997, 6, 30)


def lesson(bars: Bars, seeds: tuple[int, ...] = (3,)) -> Lesson:
    return Lesson(
        markets=(Market("", bars, "KO:PEP"),),
        config=load_config("stable"),
        start=date(1996, 1, 2),
        end=END,
        seeds=seeds,
        sac_steps=200,
        ppo_steps=64,
        sac=SAC,
        gate=GATE,
    )


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1997-12-31").between("1994-06-01")


def with_another_future(bars: Bars) -> Bars:
    close = bars.close.copy()
    after = bars.stamps > np.datetime64(END)
    close[after] = close[after][::-1] * 3.0
    return Bars.checked(bars.name, bars.symbols, bars.stamps, close)


def test_the_same_seed_gives_the_same_bytes_whatever_comes_after_the_span(bars: Bars, tmp_path: Path) -> None:
    first = learn("sac", lesson(bars), tmp_path / "a.onnx")
    again = learn("sac", lesson(with_another_future(bars)), tmp_path / "b.onnx")
    other = learn("sac", lesson(bars, seeds=(4,)), tmp_path / "c.onnx")
    assert first.sha256 == again.sha256
    assert first.manifest.graph_sha256 != other.manifest.graph_sha256


def test_the_manifest_says_what_was_learned_from(bars: Bars, tmp_path: Path) -> None:
    manifest = learn("sac", lesson(bars, seeds=(0, 1)), tmp_path / "sac.onnx").manifest
    assert (manifest.kind, manifest.members, manifest.seeds, manifest.steps) == ("sac", 2, (0, 1), 200)
    assert (manifest.train_start, manifest.train_end) == (date(1996, 1, 2), END)
    assert manifest.symbols == ("KO", "PEP", "JNJ")
    assert manifest.data_sha256 == bars.between(None, END).sha256
    assert (manifest.gamma, manifest.mode, manifest.costs, manifest.markets) == (0.0, None, {}, ())


def test_the_same_gate_is_learned_whatever_comes_after_the_span(bars: Bars, tmp_path: Path) -> None:
    policy = learn("gate", lesson(bars), tmp_path / "gate.onnx")
    again = learn("gate", lesson(with_another_future(bars)), tmp_path / "again.onnx")
    assert policy.is_recurrent and policy.sha256 == again.sha256
    assert (policy.manifest.kind, policy.manifest.observation) == ("gate", ("calm", "dispersion"))
    assert (policy.manifest.gamma, policy.manifest.mode, policy.manifest.results) == (0.0, None, {})


def test_the_command_freezes_a_loadable_file(tmp_path: Path) -> None:
    out = tmp_path / "sac.onnx"
    flags = ("--symbols", "KO,PEP", "--train-start", "1996-01-02", "--train-end", "1996-12-31", "--sac-steps", "5001")
    result = CliRunner().invoke(main, ["sac", *flags, "--seeds", "0", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert FrozenPolicy.load(out).manifest.train_end == date(1996, 12, 31)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--train-start", "2009-01-01", "--train-end", "2008-01-01"), "2008-01-01"),
        (("--seeds", "0,x"), "whole numbers"),
        (("--seeds", "1,1"), "once"),
        (("--data", "nowhere"), "nowhere"),
        (("--train-start", "1989-01-01", "--train-end", "1990-03-01"), "warm"),
        (("--sac-steps", "0"), "--sac-steps"),
    ],
)
def test_misuse_ends_with_status_2_and_no_file(flags: tuple[str, ...], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sac", *flags, "--out", str(tmp_path / "sac.onnx")])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_step_pays_each_asset_for_its_own_score_and_for_what_came_after_the_fill() -> None:
    """By hand on one group: the standard score, times the next five bars from the next open, over relative risk."""
    panel = load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1996-12-31")
    history = history_of(panel, (), load_config("stable"))
    ground, spec = ground_of(history), SAC._replace(n_groups=1, n_symbols=3)
    env = GroupVecEnv([ground], spec)
    env.seed(3)
    env.reset()
    (_, row, _), (columns,) = env._where[0], env._more
    _, paid, dones, _ = env.step(np.array([[0.5], [0.5], [-1.0]], np.float32))
    opens, risk = np.log(panel.open), history.volatility[row] * np.sqrt(1.0 - history.correlation[row])
    moved = (opens[row + 6] - opens[row + 1])[columns]
    z = np.array([1.0, 1.0, -2.0]) / np.sqrt(2.0)
    np.testing.assert_allclose(paid, z * (moved - moved.mean()) / risk[columns], rtol=1e-5)
    assert not dones.any() and not ground.usable[-6:].any() and not ground.usable[:252].any()


def test_a_step_pays_r_for_what_trends_earn_more_than_their_reversal() -> None:
    """By hand: standard scores of both rules, times each bar's relative gain from the next open, over 20 bars."""
    panel = load_bars("us20", symbols=["KO", "PEP", "JNJ", "XOM"], end="1996-12-31")
    history = history_of(panel, (), load_config("stable"))
    ground, spec = regime_ground_of(history), GATE._replace(n_envs=1, price_of_size=0.2, price_of_change=0.5)
    opens, closes = np.log(panel.open), np.log(panel.close)
    risk = history.volatility * np.sqrt(1.0 - history.correlation)[:, None]

    def score(values: np.ndarray) -> np.ndarray:
        return np.clip((values - values.mean()) / values.std(), -2.0, 2.0)

    def more(t: int) -> float:
        gain = opens[t + 2] - opens[t + 1]
        trend, week = closes[t - 21] - closes[t - 252], closes[t - 5] - closes[t]
        apart = score(trend / history.volatility[t]) - score(week / history.volatility[t])
        return float(np.mean(apart * (gain - gain.mean()) / risk[t]))

    rows = np.flatnonzero(ground.usable)
    wanted = np.array([sum(more(t + k) for k in range(20)) for t in rows])
    np.testing.assert_allclose(ground.gains[rows], (wanted - wanted.mean()) / wanted.std(), rtol=1e-8, atol=1e-10)
    assert not ground.usable[-21:].any() and not ground.usable[:252].any() and ground.usable[300:-21].all()
    env = RegimeVecEnv([ground], spec)
    env.seed(3)
    env.reset()
    row = env._where[0, 1]
    first, second = (env.step(np.array([[r]], np.float32))[1][0] for r in (0.5, -0.25))
    assert first == np.float32(0.5 * ground.gains[row] - 0.2 * 0.25)
    assert second == pytest.approx(-0.25 * ground.gains[row + 1] - 0.2 * 0.0625 - 0.5 * 0.75, rel=1e-6)


def test_a_gate_of_several_markets_says_what_r_was_worth_on_each_by_the_others(bars: Bars, tmp_path: Path) -> None:
    other = load_bars("us20", symbols=["CVX", "XOM", "GE"], end="1990-12-31")
    early = Market("oil", Bars.checked("oil", ("A", "B", "C"), bars.stamps[: other.n_bars], other.close))
    given = lesson(bars)._replace(markets=(Market("drinks", bars, "KO:PEP"), early), start=None)
    with pytest.raises(BarsError, match="A, B, C have no window"):
        learn("gate", given, tmp_path / "none.onnx")
    longer = load_bars("us20", symbols=["CVX", "XOM", "GE"], end="1994-12-31")
    given = given._replace(markets=(given.markets[0], Market("oil", longer)), rehearse_to=date(1996, 12, 31))
    found: Any = learn("gate", given, tmp_path / "gate.onnx").manifest.results["left_out"]
    assert set(found) == {"drinks", "oil", "gain", "standard_error", "strength_justified"}
    for name in ("drinks", "oil"):
        assert {"sharpe", "sharpe_of_own_mean", "sharpe_shifted", "regime"} == set(found[name])
    gains = [found[name]["sharpe"] - found[name]["sharpe_of_own_mean"] for name in ("drinks", "oil")]
    assert found["gain"] == pytest.approx(np.mean(gains)) and 0.0 <= found["strength_justified"] <= 1.0


@pytest.mark.parametrize("kind", ["sac", "gate"])
def test_where_every_market_teaches_about_the_one_left_out_nothing_is_learned(
    kind: str, bars: Bars, tmp_path: Path
) -> None:
    with pytest.raises(BarsError, match="name markets of other countries or years"):
        learn(kind, lesson(bars)._replace(left_out=bars), tmp_path / "none.onnx")
    assert not list(tmp_path.iterdir())


def test_two_markets_are_learned_from_and_named(bars: Bars, tmp_path: Path) -> None:
    other = load_bars("us20", symbols=["CVX", "XOM"], end="1999-12-31").between("1993-01-01")
    given = lesson(bars)._replace(markets=(Market("drinks", bars), Market("oil", other)), start=None)
    policy = learn("sac", given, tmp_path / "both.onnx")
    found = policy.manifest
    assert [(one.name, one.symbols, one.end) for one in found.markets] == [
        ("drinks", ("KO", "PEP", "JNJ"), END),
        ("oil", ("CVX", "XOM"), END),
    ]
    assert found.markets[1].sha256 == other.between(None, END).sha256 and found.format_version == 2
    assert found.train_start == date(1993, 1, 4) and found.symbols == ("KO", "PEP", "JNJ", "CVX", "XOM")
    alone = learn("sac", lesson(bars), tmp_path / "alone.onnx").manifest
    assert alone.markets == () and alone.graph_sha256 != found.graph_sha256


def test_prices_that_were_rounded_to_coarse_steps_are_not_learned_from() -> None:
    panel = load_bars("us20", symbols=["AAPL", "KO"], end="2004-12-31")
    ground, last = ground_of(history_of(panel, (), load_config("stable"))), np.flatnonzero(panel.close[:, 0] < 2.5)[-1]
    assert not ground.usable[: last + 1, 0].any()
