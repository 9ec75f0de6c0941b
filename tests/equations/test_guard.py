"""The guard keeps the account inside its limits, sees no future, and survives a policy that fails."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from brain_cases import PAIRS, MemoryPolicy, TiltPolicy, altered_from, random_bars
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from price_files import write_prices

from hybrid_bt.analyzers import Ledger
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.legs import KalmanLeg, View, Wish
from hybrid_bt.commands.init import commented_toml
from hybrid_bt.commands.parity import compare
from hybrid_bt.commands.run import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, load_policies
from hybrid_bt.config.task import prepare
from hybrid_bt.equations.bundles import layout_of
from hybrid_bt.equations.guard import GuardState, guard_step, initial_guard
from hybrid_bt.equations.guard_limits import GuardFacts, GuardParams, Wanted, rule_names
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds import to_feeds
from hybrid_bt.strategies import HybridStrategy, SpreadFeeCommission

BARS = random_bars(400)
HOLED = random_bars(400, missing=0.15, late=300, seed=5)
#: pairs that open often and carry most of the risk
WILD = {
    "kalman": {"gross_exposure": 2.0, "entry_costs": 0.0},
    "fusion": {"at_reversion": 1.0, "at_neutral": 0.8, "at_trend": 0.6},
}
LIMITS = {
    "gross_limit": 0.6,
    "net_limit": 0.2,
    "asset_limit": 0.15,
    "pair_limit": 0.25,
    "max_order_notional": 40_000.0,
    "daily_loss_limit": 0.004,
    "drawdown_limit": 0.006,
    "drawdown_scale": 0.5,
    "drawdown_release": 0.003,
    "drawdown_pause_bars": 20,
}


def run(bars: Bars, guard: Any = None, policies: Any = None, kind: Any = HybridStrategy, **params: Any) -> Any:
    config = load_config("stable", overrides=WILD | {"guard": guard or {}})
    cerebro = bt.Cerebro(stdstats=False)
    for feed in to_feeds(bars):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1_000_000.0)
    cerebro.broker.addcommissioninfo(SpreadFeeCommission.from_costs(config.costs))
    cerebro.addstrategy(kind, config=config, pairs=PAIRS, record=True, policies=policies, **params)
    cerebro.addanalyzer(Ledger, _name="ledger")
    (strategy,) = cerebro.run()
    return strategy


# --- the rules ---

fractions = st.floats(-3.0, 3.0)
limits = st.sampled_from([0.0, 0.05, 0.3, 1.0])


@st.composite
def cases(draw: Any) -> tuple[list[float], GuardFacts, GuardParams, float]:
    n = draw(st.integers(2, 6))
    column = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    wanted = column(st.one_of(fractions, st.just(math.nan), st.just(0.0)))
    facts = GuardFacts(1, draw(st.sampled_from([1e3, 1e6])), column(fractions), column(st.booleans()))
    params = GuardParams(draw(limits), draw(limits), draw(limits), draw(limits), draw(st.sampled_from([0.0, 200.0])))
    return wanted, facts, params, draw(st.sampled_from([0.0, 0.005, 0.05]))


def guarded(
    targets: list[float],
    facts: GuardFacts,
    pairs: Any,
    params: GuardParams,
    band: float,
    state: GuardState | None = None,
) -> tuple[GuardState, list[float], int]:
    """State, targets and mask behind the guard, of symbols that each stand alone."""
    layout = layout_of([[(i,) for i in range(len(targets))]])
    wanted = Wanted(list(targets), [0.3 if target != target else target for target in targets], layout)
    state, mask = guard_step(state or initial_guard(), wanted, facts, pairs, params, band)
    return state, wanted.targets, mask


def outcome(targets: Any, facts: GuardFacts, band: float) -> list[float]:
    """What is held after the fills, worked out from the order rule: a change below the band is not sent."""
    return [
        t if can and t == t and (t == 0.0 or abs(t - h) >= band) else h
        for t, h, can in zip(targets, facts.held, facts.delivered, strict=True)
    ]


@pytest.mark.parametrize(
    ("limit", "wanted", "after"),
    [
        ({"gross_limit": 0.6}, [0.3003, -0.3], [0.6 * 0.3003 / 0.6003, -0.6 * 0.3 / 0.6003]),
        ({"net_limit": 0.6}, [0.3003, 0.3], [0.6 * 0.3003 / 0.6003, 0.6 * 0.3 / 0.6003]),
        ({"pair_limit": 0.6}, [0.3003, -0.3], [0.6 * 0.3003 / 0.6003, -0.6 * 0.3 / 0.6003]),
        ({"asset_limit": 0.3}, [0.3003, -0.3], [0.3, -0.3]),
    ],
)
def test_a_limit_overshot_by_little_is_met(limit: dict[str, float], wanted: list[float], after: list[float]) -> None:
    facts = GuardFacts(1, 1e6, [0.0, 0.0], [True, True])
    _, targets, _ = guarded(wanted, facts, [(0, 1)], GuardParams(**limit), 0.0)
    assert targets == pytest.approx(after, rel=1e-12)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_what_is_held_afterwards_is_inside_every_limit(case: Any) -> None:
    wanted, facts, params, band = case
    _, targets, mask = guarded(wanted, facts, [(0, 1)], params, band)
    after, can = outcome(targets, facts, band), facts.delivered
    free = 1.0 + 1e-9
    if params.asset_limit:
        assert all(abs(w) <= params.asset_limit * free for w, ok in zip(after, can, strict=True) if ok)
    for limit, columns in ((params.gross_limit, range(len(after))), (params.pair_limit, (0, 1))):
        stuck = sum(abs(facts.held[i]) for i in columns if not can[i])
        if limit:
            assert sum(abs(after[i]) for i in columns) <= max(limit, stuck) * free
    if params.net_limit and all(can):
        assert abs(sum(after)) <= params.net_limit * free + len(after) * band
    for before, now, target in zip(facts.held, after, targets, strict=True):
        opened = now - before if before * now > 0.0 and abs(now) > abs(before) else now if before * now < 0.0 else 0.0
        if params.max_order_notional and before == 0.0:
            opened = now
        if params.max_order_notional:
            assert abs(opened) * facts.equity <= params.max_order_notional * free
        assert not math.isinf(target)
    if mask == 0:
        assert all(t == w or (t != t and w != w) for t, w in zip(targets, wanted, strict=True))


@settings(max_examples=200, deadline=None)
@given(cases())
def test_reducing_is_never_refused_and_nothing_grows(case: Any) -> None:
    wanted, facts, params, band = case
    _, targets, _ = guarded(wanted, facts, [(0, 1)], params, band)
    for w, t, h, can in zip(wanted, targets, facts.held, facts.delivered, strict=True):
        if not can:
            continue
        assert t != t or abs(t) <= max(abs(w) if w == w else abs(h), abs(h)) * (1.0 + 1e-9)
        if w == w and w * h >= 0.0 and abs(w) <= abs(h):
            assert abs(t) <= abs(w) * (1.0 + 1e-9)  # at least the reduction that was asked for


def stepped(params: GuardParams, equities: Any, days: Any) -> list[tuple[list[float], list[str]]]:
    state, found = initial_guard(), []
    for equity, day in zip(equities, days, strict=True):
        facts = GuardFacts(day, equity, [0.2, -0.1], [True, True])
        state, targets, mask = guarded([0.4, -0.2], facts, [], params, 0.0, state)
        found.append((targets, rule_names(mask)))
    return found


def test_daily_loss_sells_everything_until_the_date_changes() -> None:
    found = stepped(GuardParams(daily_loss_limit=0.05), [100.0, 97.0, 94.0, 99.0, 93.0, 88.0], [1, 2, 2, 2, 3, 4])
    # 94 is 6 % below yesterday's 100; 93 is 6.06 % below 99; 88 is 5.4 % below 93
    assert [rules for _, rules in found] == [[], [], ["daily_loss"], ["daily_loss"], ["daily_loss"], ["daily_loss"]]
    assert found[2][0] == found[5][0] == [0.0, 0.0] and found[1][0] == [0.4, -0.2]


def test_brake_goes_off_when_the_loss_is_made_good_or_the_pause_is_over() -> None:
    params = GuardParams(drawdown_limit=0.10, drawdown_scale=0.5, drawdown_release=0.04, drawdown_pause_bars=3)
    found = stepped(params, [100, 90, 95, 96, 90, 85, 84, 83, 76, 74], range(10))
    on = [bool(rules) for _, rules in found]
    # on at 90; off at 96; on at 90; pause over at 83, whose peak is 83: 76 is 8.4 % below, 74 is 10.8 %
    assert on == [False, True, True, False, True, True, True, False, False, True]
    assert found[1][0] == [0.2, -0.1]


def test_killed_and_failed_are_met_whatever_the_limits() -> None:
    facts = GuardFacts(1, 100.0, [0.2, -0.1], [True, True])
    _, targets, mask = guarded([0.4, 0.0], facts._replace(killed=True), [], GuardParams(), 0.0)
    assert targets == [0.0, 0.0] and rule_names(mask) == ["kill_switch"]
    failed = facts._replace(failed=True)
    _, targets, mask = guarded([0.4, 0.0], failed, [], GuardParams(), 0.0)
    assert all(map(math.isnan, targets)) and rule_names(mask) == ["policy_failure"]
    _, targets, _ = guarded([0.4, 0.0], failed, [], GuardParams(on_policy_failure="flatten"), 0.0)
    assert targets == [0.0, 0.0]


# --- in a run ---


@pytest.mark.parametrize("bars", [BARS, HOLED], ids=["whole", "holed"])
def test_backtrader_and_arrays_agree_behind_the_guard(bars: Bars) -> None:
    config = load_config("stable", overrides=WILD | {"guard": LIMITS})
    market = Market("", bars, PAIRS)
    differences = compare(prepare(market, config=config))
    assert [(d.quantity, d.largest) for d in differences if d.largest > 0.0] == []
    record = run_backtest(market, config=config)  # replays what was sent, and fails on a difference
    assert set(record.facts["guard"]["triggers"]) >= {"daily_loss", "drawdown", "asset_limit", "net_limit"}
    assert "max_order_notional" in record.facts["guard"]["triggers"]
    assert record.decisions.wanted is not None
    free = run_backtest(market, config=WILD)
    assert np.array_equal(record.accounts["sac"].equity, free.accounts["sac"].equity)
    assert "guard" not in free.facts and "guard" not in free.config


def test_guard_that_limits_nothing_changes_no_bit() -> None:
    loose = run(BARS, {"gross_limit": 50.0, "max_order_notional": 1e12, "daily_loss_limit": 0.9})
    free = run(BARS)
    assert np.array_equal(loose.analyzers.ledger.path().equity, free.analyzers.ledger.path().equity)
    assert loose.guard.triggers == {} and free.guard.report() == {}


def test_guard_sees_no_future() -> None:
    whole = run(BARS, LIMITS).recorder.decisions()
    for row in (300, 350, 399):
        other = run(altered_from(BARS, row), LIMITS).recorder.decisions()
        assert np.array_equal(whole.target[:row], other.target[:row], equal_nan=True)


def test_positions_of_a_run_keep_to_the_limits_at_the_close_they_were_decided_on() -> None:
    strategy = run(BARS, {"asset_limit": 0.1, "max_order_notional": 30_000.0})
    path = strategy.analyzers.ledger.path()
    for fill in path.fills:
        after = path.size[fill.bar, fill.symbol] * BARS.close[fill.decided, fill.symbol] / path.equity[fill.decided]
        before = path.size[fill.decided, fill.symbol]
        opens = abs(path.size[fill.bar, fill.symbol]) > abs(before) or before * path.size[fill.bar, fill.symbol] < 0
        assert abs(after) <= 0.1 + 1e-9
        assert not opens or abs(fill.size) * BARS.close[fill.decided, fill.symbol] <= 30_000.0 + 1e-6
    assert strategy.guard.triggers["asset_limit"] > 10 and strategy.guard.triggers["max_order_notional"] > 3


class Switching(HybridStrategy):
    """Throws the kill switch on bar 320 and takes it back on bar 340."""

    def next(self) -> None:
        file = Path(self.config.guard.kill_file)
        if self.n_bars == 320:
            file.touch()
        if self.n_bars == 340:
            file.unlink()
        super().next()


def test_kill_switch_flattens_while_the_file_is_there(tmp_path: Path) -> None:
    strategy = run(BARS, {"kill_file": str(tmp_path / "stop")}, kind=Switching)
    size = strategy.analyzers.ledger.path().size
    assert size[320].any() and not size[321:341].any() and size[341:].any()
    assert strategy.guard.triggers == {"kill_switch": 20}
    assert f"{bt.num2date(strategy.guard.first['kill_switch']):%Y-%m-%d}" == str(BARS.stamps[320])[:10]


# --- policies that fail ---


class Faulty:
    """A policy of somebody's own that goes wrong on some calls."""

    clipped_count = 0
    manifest = SimpleNamespace(train_end=None, valid_end=None)

    def __init__(self, inner: Any, how: str, calls: range) -> None:
        self.inner, self.how, self.calls, self.n = inner, how, calls, 0

    def reset(self) -> None:
        self.inner.reset()
        self.n = 0

    def act(self, observations: Any) -> Any:
        self.n += 1
        actions = self.inner.act(observations)
        if self.n - 1 not in self.calls:
            return actions
        if self.how == "raises":
            raise ZeroDivisionError("no luck")
        if self.how == "shape":
            return np.zeros((len(actions), 2))
        if self.how == "text":
            return ["up"] * len(actions)
        return np.full(len(actions), {"nan": math.nan, "inf": -math.inf, "range": 1.5}[self.how])


FAULTS = ("raises", "nan", "inf", "range", "shape", "text")


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize(("part", "rule"), [("sac", "hold"), ("sac", "flatten"), ("gate", "hold"), ("gate", "flatten")])
def test_failing_policy_moves_the_account_to_its_safe_rule(how: str, part: str, rule: str) -> None:
    policies: dict[str, Any] = {"sac": TiltPolicy(), "gate": MemoryPolicy()}
    for policy in policies.values():
        policy.manifest = Faulty.manifest
    policies[part] = Faulty(policies[part], how, range(50, 60))
    start = BARS.stamps[260].astype("datetime64[us]").item()
    with pytest.warns(UserWarning, match=f"{part}: "):
        strategy = run(BARS, {"on_policy_failure": rule}, Policies(**policies), trade_from=start)
    first = 302 if part == "sac" else 303  # an asset is warm after 252 returns, the market a bar later
    path = strategy.analyzers.ledger.path()
    bars = np.flatnonzero(strategy.recorder.decisions().guard)
    assert len(bars) == 10 and bars[0] == first
    size = path.size[bars + 1]
    assert (size == path.size[bars[0]]).all() and size.any() if rule == "hold" else not size.any()
    assert path.size[bars[-1] + 2 :].any() and np.isfinite(path.equity).all()
    assert strategy.guard.triggers == {"policy_failure": 10} and len(strategy.guard.failures) == 1
    assert len(path.fills) > 20


class FaultyLeg(KalmanLeg):
    """A leg of somebody's own, trading pairs like the real one, that goes wrong on some bars."""

    how = "raises"

    def __init__(self, symbols: Any, pairs: Any, config: Any) -> None:
        super().__init__(symbols, pairs, config.pair_rules)
        self.n = 0

    def wishes(self, view: Any) -> Any:
        self.n += 1
        wishes = super().wishes(view)
        if not 320 < self.n <= 330:
            return wishes
        if self.how == "raises":
            raise ZeroDivisionError("no luck")
        wrong = {"nan": (math.nan, math.nan), "shape": (0.1,)}
        return None if self.how == "none" else [Wish(columns, wrong[self.how]) for columns, _ in wishes]


@pytest.mark.parametrize("how", ["raises", "nan", "shape", "none"])
@pytest.mark.parametrize("rule", ["hold", "flatten"])
def test_failing_leg_of_your_own_moves_the_account_to_its_safe_rule(how: str, rule: str) -> None:
    leg = type("FaultyLeg", (FaultyLeg,), {"how": how})
    start = BARS.stamps[260].astype("datetime64[us]").item()
    with pytest.warns(UserWarning, match="kalman: "):
        strategy = run(BARS, {"on_policy_failure": rule}, trade_from=start, legs={"kalman": leg})
    path = strategy.analyzers.ledger.path()
    bars = np.flatnonzero(strategy.recorder.decisions().guard)
    assert bars.tolist() == list(range(320, 330))
    size = path.size[bars + 1]
    assert (size == path.size[bars[0]]).all() and size.any() if rule == "hold" else not size.any()
    assert path.size[bars[-1] + 2 :].any() and np.isfinite(path.equity).all()
    assert strategy.guard.triggers == {"policy_failure": 10} and len(strategy.guard.failures) == 1
    assert how != "raises" or "ZeroDivisionError: no luck (test_guard.py, line " in strategy.guard.failures[0]


def test_leg_that_never_fails_trades_as_without_its_safety() -> None:
    fine = type("FineLeg", (FaultyLeg,), {"wishes": KalmanLeg.wishes})
    with_own, without = run(BARS, legs={"kalman": fine}), run(BARS)
    assert np.array_equal(with_own.recorder.decisions().target, without.recorder.decisions().target)
    assert np.array_equal(with_own.recorder.pairs().position, without.recorder.pairs().position)


def test_failure_leaves_no_trace_in_a_recurrent_memory() -> None:
    policies = load_policies(load_config("stable"))
    strategy = run(BARS, policies=policies)
    brain, view = strategy.brain, strategy.decision.view
    policy = brain.gate.policy
    before = policy.state()
    opinion = brain.opine_on(View(*view)._replace(market=[math.nan] * len(view.market)))
    assert opinion.regime == 0.0 and "is nan" in opinion.failures[0]
    assert all(np.array_equal(before[key], value) for key, value in policy.state().items())


def test_run_with_a_failing_policy_is_replayed_exactly_and_says_so() -> None:
    config = load_config("stable", overrides=WILD)
    sac: Any = Faulty(TiltPolicy(), "raises", range(30, 33))
    sac.sha256 = "0" * 64
    record = run_backtest(BARS, config=config, policies={"sac": sac}, pairs=PAIRS)
    assert record.facts["guard"]["triggers"] == {"policy_failure": 3}
    assert any("POLICY FAILURE on 3 traded bars: sac: ZeroDivisionError: no luck" in note for note in record.notes)
    assert np.isfinite(record.decisions.standing_target).all() and np.isnan(record.decisions.target).any()


# --- configuration and report ---


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ({"gros_limit": 1.0}, "unknown key guard.gros_limit; did you mean 'gross_limit'"),
        ({"asset_limit": -0.1}, "guard.asset_limit"),
        ({"drawdown_limit": 0.1, "drawdown_release": 0.1}, "must be below drawdown_limit"),
        ({"drawdown_limit": 0.1, "drawdown_scale": 0.0}, "give drawdown_pause_bars"),
        ({"on_policy_failure": "panic"}, "'hold' or 'flatten'"),
        ({"max_order_notional": math.inf}, "guard.max_order_notional"),
    ],
)
def test_guard_that_makes_no_sense_is_refused(guard: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("stable", overrides={"guard": guard})


def test_init_names_every_key_of_the_guard() -> None:
    text = commented_toml("stable")
    assert "[guard]" in text and 'on_policy_failure = "hold"' in text and "max_order_notional = 0.0" in text


def test_report_shows_what_the_guard_did(tmp_path: Path) -> None:
    prices, config = write_prices(tmp_path / "four", 330), tmp_path / "mine.toml"
    config.write_text("[guard]\nasset_limit = 0.05\ngross_limit = 0.9\n")
    common = ["--data", str(prices), "--pairs", "BBB:AAA", "--no-plots", "--no-ledger"]
    for out, more in (("plain", []), ("guarded", ["--config", str(config)])):
        done = CliRunner().invoke(main, [*common, "--out", str(tmp_path / out), *more])
        assert done.exit_code == 0, done.output
    assert "note: The guard changed targets: asset_limit on" in done.output
    assert "The accounts beside the hybrid are replayed without the guard." in done.output
    document = json.loads((tmp_path / "guarded" / "run.json").read_text())
    with open(tmp_path / "guarded" / "decisions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    hits = [row for row in rows if "asset_limit" in row["guard"].split(";")]
    assert document["guard"]["triggers"]["asset_limit"] == len(hits) / 4
    assert document["config"]["guard"]["asset_limit"] == 0.05
    assert all(abs(float(row["target"])) <= 0.05 * (1.0 + 1e-12) for row in rows)
    assert any(abs(float(row["target_before_guard"])) > 0.05 for row in hits)
    assert "guard" not in (tmp_path / "plain" / "decisions.csv").read_text().splitlines()[0]
