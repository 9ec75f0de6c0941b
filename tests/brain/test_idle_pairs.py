"""A pair that cannot open says so by name, as trading begins and at the end, in a run and in any Cerebro alike."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brain_cases import PAIRS, random_bars
from click.testing import CliRunner
from strategy_cases import cerebro_of, ran

from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.brain.legs.kalman import IdlePair
from hybrid_bt.config import load_config
from hybrid_bt.feeds import load_bars, to_feeds
from hybrid_bt.run import main

START, FIRST = "2008-01-02", np.datetime64("2005-01-03")


def etf_and_inverse(gearing: float = -1.0) -> Bars:
    """A fund and one that gives `gearing` times its return of each day, less noise of a tenth of a percent."""
    bars = load_bars("us20", symbols=["KO"], end="2009-12-31").between(FIRST, None)
    bull = bars.close[:, 0]
    moves = gearing * np.diff(np.log(bull), prepend=np.log(bull[0]))
    other = 50.0 * np.exp(np.cumsum(moves + np.random.default_rng(0).normal(0.0, 0.001, len(moves))))
    return Bars.checked("funds", ["BULL", "BEAR"], bars.stamps, np.column_stack([bull, other]))


def said(bars: Bars, **params: Any) -> tuple[Any, list[str]]:
    """The strategy of a Cerebro, and its warnings of pairs that cannot open."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        strategy = ran(cerebro_of(to_feeds(bars)), **params)
    return strategy, [str(one.message) for one in caught if issubclass(one.category, IdlePair)]


@pytest.mark.parametrize(
    ("gearing", "pair", "remedy"),
    [
        (-1.0, "BEAR:BULL", "or leave the pair out"),
        (-1.0, "BULL:BEAR", "or leave the pair out"),
        (0.03, "BEAR:BULL", "or set [kalman] min_hedge_ratio"),
        (5.0, "BEAR:BULL", "or set [kalman] min_hedge_ratio or max_hedge_ratio"),
    ],
)
def test_run_and_strategy_say_what_keeps_a_pair_closed(gearing: float, pair: str, remedy: str) -> None:
    bars = etf_and_inverse(gearing)
    start = np.datetime64(START).astype("M8[us]").item()
    strategy, warned = said(bars, pairs=pair, trade_from=start, allow_in_sample=True)
    assert not strategy.recorder.pairs(strategy.first_traded_row).position.any()
    (begin,), (end,) = warned, strategy.session.idle.at_end()
    traded = bars.n_bars - strategy.first_traded_row
    prior = strategy.recorder.pairs().beta[strategy.first_traded_row - 1, 0]
    assert f"{pair} cannot open as it stands: its hedge ratio is {prior:.3g} as trading begins" in begin
    assert "[0.1, 3]" in begin and remedy in begin
    assert (
        f"never opened on {traded} traded bars: {pair} (hedge ratio out of bounds on {traded} of {traded} bars" in end
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = run_backtest(bars, pairs=pair, start=START, allow_in_sample=True)
    assert [note for note in run.notes if pair in note] == [begin, end], "once, as notes"


def test_the_command_prints_and_writes_it(tmp_path: Path) -> None:
    bars = etf_and_inverse()
    for i, symbol in enumerate(bars.symbols):
        days = np.datetime_as_string(bars.stamps, "D")
        rows = "\n".join(f"{day},{price!r}" for day, price in zip(days, bars.close[:, i].tolist(), strict=True))
        (tmp_path / f"{symbol}.csv").write_text(f"date,close\n{rows}\n")
    flags = ["--data", tmp_path, "--pairs", "BEAR:BULL", "--start", START, "--allow-in-sample", "--no-plots"]
    answer = CliRunner().invoke(main, [*map(str, flags), "--no-ledger", "--out", str(tmp_path / "out")])
    assert answer.exit_code == 0 and "IdlePair" not in answer.stderr and "BEAR" not in answer.stderr
    words = " ".join(answer.stdout.split())
    assert words.count("note: Pair BEAR:BULL cannot open") == words.count("note: Pairs that never opened") == 1
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    assert sum("BEAR:BULL" in note for note in notes) == 2


def test_auto_never_takes_an_inverse() -> None:
    start = np.datetime64(START).astype("M8[us]").item()
    with pytest.warns(UserWarning, match="no two symbols are within"):
        strategy, warned = said_with(etf_and_inverse(), start)
    assert strategy.pair_names == () and warned == []


def said_with(bars: Bars, start: Any) -> tuple[Any, list[str]]:
    strategy = ran(cerebro_of(to_feeds(bars)), pairs="auto", trade_from=start, allow_in_sample=True)
    return strategy, strategy.session.idle.at_start + strategy.session.idle.at_end()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_is_what_the_record_shows(seed: int, compiled: bool) -> None:
    bars = random_bars(420, seed=seed, missing=0.05, late=30)
    rules = {"kalman": {"entry_z": 1.9, "min_hedge_ratio": 0.6, "max_hedge_ratio": 0.9, "entry_costs": 0.0}}
    start = bars.stamps[300].astype("M8[us]").item()
    strategy, warned = said(bars, pairs=PAIRS, overrides=rules, trade_from=start, compiled=compiled)
    paths, texts = strategy.recorder.pairs(), []
    for p, (y, x) in enumerate(((0, 1), (2, 0))):
        z, position = paths.zscore[300:, p], paths.position[300:, p]
        seen = bars.traded[300:, y] & bars.traded[300:, x] & (z != 0.0)
        prior = np.concatenate([[np.nan], paths.beta[:-1, p]])[300:]
        out = seen & ~((prior >= 0.6) & (prior <= 0.9))
        opened = int(np.flatnonzero(position)[0]) if position.any() else len(position)
        first = int(np.flatnonzero(seen)[0])
        assert sum(f"Pair {PAIRS[p]} " in text for text in warned) == int(out[first] and first < opened)
        if not position.any():
            wide = int((seen & (np.abs(z) >= 1.9)).sum())
            bounds = f"hedge ratio out of bounds on {out.sum()} of {seen.sum()} bars, " if out.any() else ""
            texts.append(
                f"{PAIRS[p]} ({bounds}|z| {f'reached entry_z on {wide}' if wide else 'never reached entry_z'})"
            )
    ended = f"Pairs that never opened on 120 traded bars: {', '.join(texts)}."
    assert strategy.session.idle.at_end() == ([ended] if texts else [])


def test_it_is_the_same_after_going_on_from_a_state(tmp_path: Path) -> None:
    bars, rules = random_bars(400, seed=1), {"kalman": {"min_hedge_ratio": 0.85, "max_hedge_ratio": 0.9}}
    whole, warned = said(bars, pairs=PAIRS, overrides=rules)
    assert warned
    said(bars.between(None, bars.stamps[330]), pairs=PAIRS, overrides=rules, state=tmp_path / "a.state")
    again, _ = said(bars, pairs=PAIRS, overrides=rules, state=tmp_path / "a.state")
    assert again.resumed_after
    assert again.session.idle.at_end() == whole.session.idle.at_end()
    assert again.session.idle.at_start == whole.session.idle.at_start


def test_nobody_watches_where_the_leg_is_off_or_another_stands_in_its_place() -> None:
    bars = etf_and_inverse()

    class Idle:
        def __init__(self, symbols: Any, pairs: Any, config: Any) -> None: ...
        def wishes(self, view: Any) -> list[Any]:
            return []

    for params in ({"use_kalman": False}, {"legs": {"kalman": Idle}}):
        assert said(bars, pairs="BEAR:BULL", allow_in_sample=True, **params)[1] == []
    assert load_config("stable").pair_rules.min_hedge_ratio > 0.0, "a ratio below 0 is refused by the bounds alone"
