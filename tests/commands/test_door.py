"""The door from Python: public names, their docstrings and examples, and `run_backtest` against `hybrid-bt run`."""

from __future__ import annotations

import csv
import doctest
import inspect
import io
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from brain_cases import random_bars
from click.testing import CliRunner
from places import ROOT

import hybrid_bt
from hybrid_bt import Bars, Market, Run, View, Wish, load_bars, load_config, run_backtest
from hybrid_bt.brain.legs import LEGS
from hybrid_bt.commands.run import main
from hybrid_bt.errors import ConfigError
from hybrid_bt.feeds.framework import bt

NAMES = [name for name in hybrid_bt.__all__ if name != "__version__"]
LAST = ("--start", "2021-01-04")
START = date(2021, 1, 4)
API = ROOT / "docs" / "api.md"
KEYS = {"costs": {"fee_bps": 3}, "sac": {"enabled": False}}
TOML = """[sac]
enabled = false
[costs]
fee_bps = 3.0
[legs.small]
at_reversion = 0.1
at_neutral = 0.2
at_trend = 0.3
"""


class Small:
    """A tenth of the account in the first symbol."""

    def __init__(self, symbols: Any, pairs: Any, params: Any) -> None:
        self.wish = Wish((0,), (0.1,))

    def wishes(self, view: View) -> list[Wish]:
        return [self.wish]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_a_public_name_are_true(name: str) -> None:
    thing = getattr(hybrid_bt, name)
    names = {one: getattr(hybrid_bt, one) for one in NAMES} | {"bt": bt, "np": np, "date": date}
    text = inspect.getdoc(thing) or ""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples, "give an example"
    told = io.StringIO()
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.write)
    assert told.getvalue() == ""


def test_code_of_the_reference_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", API.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})


@pytest.mark.parametrize("first", ["strategies", "feeds", "analyzers", "envs"])
def test_packages_are_there_after_one_import(first: str) -> None:
    code = f"import hybrid_bt; hybrid_bt.{first}.__all__; hybrid_bt.strategies, hybrid_bt.feeds, hybrid_bt.analyzers"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def equities(folder: Path) -> dict[str, str]:
    """What the command wrote: account -> end value, all digits."""
    with (folder / "summary_pnl.csv").open(newline="", encoding="utf-8") as file:
        return {row["account"]: row["end_value"] for row in csv.DictReader(file)}


WORDS: dict[str, tuple[list[str], Callable[[Path], dict[str, Any]]]] = {
    "nothing": ([], lambda file: {"market": "us20"}),
    "mode": (["--mode", "aggressive"], lambda file: {"mode": "aggressive"}),
    "config": (["--config", "FILE"], lambda file: {"config": file}),
    "keys": (["--fee-bps", "3", "--no-sac"], lambda file: {"config": KEYS}),
    "symbols": (["--symbols", "KO,PEP,JNJ"], lambda file: {"market": load_bars("us20", symbols=["KO", "PEP", "JNJ"])}),
    "pairs": (["--pairs", "KO:PEP"], lambda file: {"pairs": ["KO:PEP"]}),
    "market": (["--pairs", "KO:PEP"], lambda file: {"market": Market("us20", load_bars("us20"), "KO:PEP")}),
    "benchmark": (["--benchmark", "KO"], lambda file: {"benchmark": "KO"}),
    "tech6": (["--data", "tech6"], lambda file: {"market": "tech6"}),
}  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_python_and_the_command_are_one_backtest(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEGS, "small", Small)
    (tmp_path / "mine.toml").write_text(TOML)
    flags, named = WORDS[words]
    flags = [str(tmp_path / "mine.toml") if flag == "FILE" else flag for flag in flags]
    out = tmp_path / "fig"
    answer = CliRunner().invoke(main, [*LAST, *flags, "--no-plots", "--no-ledger", "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    made = run_backtest(start="2021-01-04", **named(tmp_path / "mine.toml"))
    assert equities(out) == {name: repr(float(path.equity[-1])) for name, path in made.accounts.items()}
    made.write(tmp_path / "mine", plots=False)
    for table in out.glob("*.csv"):
        assert (tmp_path / "mine" / table.name).read_bytes() == table.read_bytes(), table.name
    assert all(f"note: {note[:60]}" in answer.output for note in made.notes)


@pytest.fixture(scope="module")
def made() -> Run:
    return run_backtest(start=START)


def test_a_leg_of_one_s_own_is_traded_and_stands_alone(made: Run) -> None:
    own = run_backtest(start=START, legs={"kalman": Small})
    assert (own.decisions.legs["kalman"][:, 0] == 0.1).all() and len(own.accounts["kalman"].fills) > 0
    assert np.array_equal(own.accounts["sac"].equity, made.accounts["sac"].equity)


def test_a_policy_of_one_s_own_is_asked(made: Run) -> None:
    own = run_backtest(start=START, policies={"sac": lambda seen: np.zeros(len(seen))})
    # that sees no difference between assets, so what is left is the base
    assert np.array_equal(own.accounts["sac"].equity, own.accounts["inverse-vol"].equity)
    assert not np.array_equal(own.accounts["sac"].equity, made.accounts["sac"].equity)
    assert np.array_equal(own.decisions.regime, made.decisions.regime)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"start": "4 January 2021"}, "is no date"),
        ({"benchmrk": "KO"}, "did you mean 'benchmark'"),
        ({"policies": {"sacc": "x"}}, "did you mean 'sac'"),
        ({"benchmark": "KOO"}, "not among the symbols traded: 'KOO'; did you mean 'KO'"),
        ({"pairs": "KO:KO"}, "cannot hedge itself"),
        ({"config": {"costs": {"fee_bpss": 1}}}, "did you mean 'fee_bps'"),
    ],
)
def test_what_makes_no_sense_is_refused(named: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_backtest(**named)


def test_a_run_shows_itself_as_its_table(made: Run) -> None:
    title, head, *rows = repr(made).splitlines()
    assert title.startswith("stable on us20, 2021-01-04 to 2022-12-28, out of sample, net of")
    assert head.split()[0] == "account" and [row.split()[0] for row in rows] == list(made.accounts)
    assert f"{made.summary()['hybrid'].end_value:,.0f}" in rows[0]
    page = made._repr_html_()
    assert page.count("<tr") == len(rows) + 1 and title in page


def test_a_run_is_a_frame_of_equities(made: Run) -> None:
    frame = made.to_frame()
    assert list(frame) == list(made.accounts) and len(frame) == made.bars.n_bars
    assert np.array_equal(frame["sac"], made.accounts["sac"].equity)
    assert frame.index[0] == pd.Timestamp("2021-01-04")


def test_a_plot_is_the_picture_that_the_command_writes(made: Run, tmp_path: Path) -> None:
    from hybrid_bt.report.style import house_style, save

    made.write(tmp_path / "fig")
    for name in ("equity_drawdown", "pairs"):
        with house_style():
            save(made.plot(name), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes() == (tmp_path / "fig" / f"{name}.png").read_bytes()
    with pytest.raises(ConfigError, match="no picture 'pears'; did you mean 'pairs'"):
        made.plot("pears")


def test_a_study_fits_pairs_as_a_run_does() -> None:
    """Regression: with `kalman.fit` a study asked a brain whose pairs were not fitted."""
    from hybrid_bt.config.task import prepare
    from hybrid_bt.evidence.study.jobs import VoiceJob, opinions_of

    keys = {"kalman": {"fit": True, "entry_z": 0.5}, "sac": {"enabled": False}}
    bars, config = random_bars(400), load_config("stable", overrides=keys)
    task = prepare(Market("", bars, "AA:BB"), config=config, allow_in_sample=True)
    said = opinions_of(VoiceJob("", task).run(), slice(task.row, None))
    made = run_backtest(task.market, config=config, allow_in_sample=True)
    assert made.decisions.legs["kalman"].any()
    assert np.array_equal(said.legs["kalman"], made.decisions.legs["kalman"])


def test_pairs_of_a_sample_belong_to_its_bars_alone() -> None:
    from hybrid_bt.feeds import as_market

    sample = load_bars("us20", symbols=["KO", "PEP"])
    mine = Bars.checked("us20", sample.symbols, sample.stamps, sample.close)
    assert as_market(sample).pairs == ("KO:PEP",) and as_market(mine).pairs == ()
    assert as_market(Market("m", sample, "PEP:KO")).pairs == ("PEP:KO",)
    assert as_market(Market("m", sample, "PEP:KO"), ()).pairs == ()


def test_bars_say_that_more_symbols_follow() -> None:
    assert repr(load_bars("us20")).endswith("20 symbols: AAPL, AMD, BAC, BBY, CVX, GE, ...)")
    assert repr(load_bars("us20", symbols=["KO", "PEP"])).endswith("2 symbols: KO, PEP)")


def test_bars_survive_a_frame() -> None:
    bars = random_bars(40, missing=0.2)
    frame = bars.to_frame()
    assert len(frame) == bars.traded.sum() and list(frame)[:3] == ["date", "symbol", "open"]
    back = load_bars(frame)
    assert back.symbols == bars.symbols and np.array_equal(back.stamps, bars.stamps)
    for field in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(back, field), getattr(bars, field), equal_nan=True), field
