"""What a run says is so: of symbols that are not traded, of an account without a fill, of measures without a value."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hybrid_bt import load_bars, run_backtest
from hybrid_bt.brain.pair_selection import Candidate
from hybrid_bt.commands import cli
from hybrid_bt.commands.news import _effect_cells
from hybrid_bt.commands.pairs import _cells
from hybrid_bt.commands.run import _claim
from hybrid_bt.commands.study_markets import _wealth
from hybrid_bt.evidence import Interval
from hybrid_bt.evidence.advice_effect import Effect
from hybrid_bt.evidence.ratios import claim
from hybrid_bt.files.texts import cell

SHORT = ["run", "--symbols", "KO,PEP", "--no-ledger"]
NO_VALUE = Interval(math.nan, math.nan, math.nan)


def run(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.main, [*SHORT, "--out", str(tmp_path / "fig"), *words])


@pytest.mark.parametrize("words", [["--benchmark", "WMT"], ["--plot-symbols", "KO,WMT"], ["--pairs", "KO:WMT"]])
def test_a_symbol_that_is_in_the_data_and_not_traded_is_called_that(words: list[str], tmp_path: Path) -> None:
    """Regression: "us20 has no symbol 'WMT'"."""
    answer = run(tmp_path, *words)
    assert answer.exit_code == 2 and not (tmp_path / "fig").exists()
    assert re.search(r"^error: .*not among .* traded:? ?'?.*; known: KO, PEP$", answer.stderr), answer.stderr
    assert "'WMT'" in answer.stderr


#: settings with which nothing can ever be traded
NOTHING = {
    "little cash": (["--cash", "1"], ""),
    "large lots": (["--lot", "1e9"], ""),
    "large orders": (["--eps-trade", "1e12"], ""),
    "a wide band": ([], "[account]\nrebalance_band = 0.9999"),
    "a kept cash": ([], "[account]\ncash_buffer = 0.9999"),
    "a tiny limit": ([], "[risk]\nnet_limit = 1e-6"),
    "a tinier one": ([], "[guard]\ngross_limit = 1e-308"),
    "a tiny order": ([], "[guard]\nmax_order_notional = 1e-308"),
    "no pair": (["--no-sac"], "[kalman]\nentry_z = 98.0"),
}
SPAN = ["--start", "2020-01-02", "--end", "2021-03-01", "--no-plots"]


@pytest.mark.parametrize("name", NOTHING)
def test_a_run_that_can_never_trade_says_so(name: str, tmp_path: Path) -> None:
    """Regression: exit 0, a table of zeros, and under -q nothing at all."""
    flags, toml = NOTHING[name]
    (tmp_path / "mine.toml").write_text(toml)
    words = [*SPAN, *flags, "--config", str(tmp_path / "mine.toml")]
    quiet, loud = run(tmp_path, "-q", *words), run(tmp_path, *words)
    said = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert said["accounts"]["hybrid"]["fills"] == 0
    (note,) = (note for note in said["notes"] if note.startswith("NOTHING WAS TRADED"))
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", f"warning: {note}\n")
    assert (loud.exit_code, loud.stderr) == (0, "") and note in " ".join(loud.stdout.split())
    assert " nan" not in loud.stdout


def test_a_run_that_trades_says_nothing_of_it(tmp_path: Path) -> None:
    quiet = run(tmp_path, "-q", *SPAN)
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert "NOTHING" not in (tmp_path / "fig" / "run.json").read_text()


def test_two_bars_that_were_traded_did_trade(tmp_path: Path) -> None:
    """Regression: "hybrid did not trade" beside a turnover of 145 a year."""
    bars = load_bars("us20", symbols=["KO", "PEP"], end="2020-01-03")
    made = run_backtest(bars, pairs="KO:PEP", start="2020-01-02")
    assert made.bars.n_bars == 2 and len(made.accounts["hybrid"].fills) > 0
    told = claim(made, [])
    assert "did not trade" not in told and "hybrid traded on 2 bars, too few for a ratio" in told
    idle = run_backtest(bars, pairs="KO:PEP", start="2020-01-02", config={"account": {"lot": 1e9}})
    assert "hybrid did not trade" in claim(idle, [])
    page = run(tmp_path, "--start", "2020-01-02", "--end", "2020-01-03").stdout
    assert "nan" not in page and "did not trade" not in page
    assert "did not trade" not in (tmp_path / "fig" / "tearsheet.html").read_text()


@pytest.mark.parametrize("broken", [False, True])
def test_the_claim_is_that_of_the_accounts_whoever_makes_it(
    broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken:
        (tmp_path / "quantstats.py").write_text("raise ValueError('broken')")
        monkeypatch.syspath_prepend(str(tmp_path))
    answer = run(tmp_path, "--start", "2020-01-02", "--end", "2021-03-01", "--json")
    made = run_backtest(load_bars("us20", symbols=["KO", "PEP"], end="2021-03-01"), pairs="KO:PEP", start="2020-01-02")
    assert json.loads(answer.stdout)["claim"] == claim(made)
    assert ("ValueError: broken" in answer.stderr) == broken
    assert html.escape(claim(made)) in (tmp_path / "fig" / "tearsheet.html").read_text()


def test_the_process_that_makes_the_claim_is_not_sent_what_was_decided(tmp_path: Path) -> None:
    made = run_backtest(load_bars("us20", symbols=["KO", "PEP"], end="2021-03-01"), pairs="KO:PEP", start="2020-01-02")
    sentence = _claim(made, {"data_sha256": "", "config_sha256": ""}, tmp_path / "runs.jsonl")
    assert str(sentence) == claim(made, [])
    sent = sentence.make.args[0]  # type: ignore[attr-defined]
    for part in (sent.decisions, sent.pairs, sent.limits.opinions, sent.limits):
        fields = part._asdict() if isinstance(part, tuple) else vars(part)
        lengths = {name: len(path) for name, path in fields.items() if isinstance(path, np.ndarray)}
        assert not any(length for name, length in lengths.items() if name != "before"), "which is of the sides"


def test_a_measure_without_a_value_is_left_empty_wherever_a_table_shows_it() -> None:
    assert cell(math.nan, ".2f") == NO_VALUE.text() == NO_VALUE.text(percent=True, plus=True) == ""
    assert (cell(-1.234, ".2f"), cell(math.inf, ".0f"), NO_VALUE.said()) == ("-1.23", "inf", "unknown")
    assert Interval(0.5, 0.25, 1.0).text(plus=True) == Interval(0.5, 0.25, 1.0).said(plus=True) == "+0.50 [0.25, 1.00]"
    for measure in ("sharpe", "cvar"):
        assert _effect_cells(Effect("v", "s", measure, NO_VALUE, NO_VALUE)) == ("", "")
    whole = Interval(-0.0123, -0.02, 0.01)
    assert _effect_cells(Effect("v", "s", "cvar", whole, whole)) == ("-1.23%", "-1.23 [-2.00, 1.00]%")
    assert _effect_cells(Effect("v", "s", "sharpe", whole, whole)) == ("-0.01", "-0.01 [-0.02, 0.01]")
    assert _wealth(math.nan) == _wealth(None) == "" and (_wealth(12.345), _wealth(12345.0)) == ("12.35", "1.23e+04")
    fields = {name: math.nan for name in Candidate._fields} | {"pair": "A:B", "chosen": True}
    assert _cells(Candidate(**fields)) == ("A:B", *[""] * 6, "yes")  # type: ignore[arg-type]


def test_the_table_of_accounts_has_no_nan() -> None:
    bars = load_bars("us20", symbols=["KO", "PEP"])
    made = run_backtest(bars, pairs="KO:PEP", start="2021-01-04", config={"account": {"cash": 1.0}})
    assert math.isnan(made.summary()["hybrid"].sharpe)
    for text in (repr(made), made._repr_html_()):
        assert "nan" not in re.sub('financ|src="[^"]*"', "", text)
