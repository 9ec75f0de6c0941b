"""The main job as a user runs it: files of the contract, accounts that add up, and one clear line for each mistake."""

from __future__ import annotations

import csv
import gc
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from price_files import SYMBOLS, read, write_prices

from hybrid_bt.commands import options
from hybrid_bt.commands.run import main

TABLES = ("summary_pnl", "per_ticker_pnl", "equity", "fills", "decisions", "pairs", "attribution", "conditional")


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prices(tmp_path_factory.mktemp("prices") / "four")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def report(prices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "fig"
    result = run("--data", prices, "--pairs", "BBB:AAA,CCC:DDD", "--out", out, "--no-plots")
    assert result.exit_code == 0, result.output
    return out


def test_files_of_the_contract_are_there(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {f"{table}.csv" for table in TABLES} | {"run.json"}


def test_every_account_of_the_contract_has_a_row(report: Path) -> None:
    accounts = [row["account"] for row in read(report, "summary_pnl")]
    assert accounts == ["hybrid", "sac", "kalman", "gate-off", "equal-weight", "vol-target", "inverse-vol"]


def test_summary_per_ticker_equity_and_fills_agree_to_a_cent(report: Path) -> None:
    hybrid = read(report, "summary_pnl")[0]
    equity, fills, tickers = read(report, "equity"), read(report, "fills"), read(report, "per_ticker_pnl")
    pnl = float(hybrid["end_value"]) - float(hybrid["start_value"])
    assert float(equity[0]["equity"]) == float(hybrid["start_value"]) == 1_000_000.0
    assert float(equity[-1]["equity"]) == float(hybrid["end_value"])
    assert sum(float(row["pnl_net"]) for row in tickers) == pytest.approx(pnl, abs=0.01)
    assert sum(float(row["costs"]) for row in tickers) == pytest.approx(float(hybrid["costs"]), abs=0.01)
    assert sum(int(row["buys"]) + int(row["sells"]) for row in tickers) == len(fills) > 0
    cash = 1_000_000.0 - sum(float(f["size"]) * float(f["price"]) + float(f["commission"]) for f in fills)
    borrow = float(hybrid["costs"]) - sum(float(f["commission"]) for f in fills)
    assert cash - borrow == pytest.approx(float(equity[-1]["cash"]), abs=0.01)


@pytest.mark.parametrize("wrong", ["", "a link to nowhere", "a broken table", "no table"])
def test_long_files_are_read_as_short_ones_are(
    wrong: str, prices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process of its own: the same bars, and the same words of what cannot be read."""
    data = Path(shutil.copytree(prices, tmp_path / "data"))
    if wrong == "a link to nowhere":
        (data / "EEE.csv").symlink_to(tmp_path / "nowhere")
    elif wrong:
        (data / "EEE.csv").write_text("date,close\n2015-01-05,fifty\n" if wrong == "a broken table" else "")
    said = []
    for least in (options.LONG_BYTES, 0):
        monkeypatch.setattr(options, "LONG_BYTES", least)
        out = tmp_path / str(least)
        result = run("--data", data, "--pairs", "BBB:AAA", "--engine", "replay", "--no-plots", "-q", "--out", out)
        said.append((result.exit_code, result.output, *(file.read_bytes() for file in sorted(out.glob("*.csv")))))
    assert said[0] == said[1] and said[0][0] == (2 if wrong else 0)


def test_the_end_of_a_run_waits_for_no_collector(prices: Path, tmp_path: Path) -> None:
    """Regression: a quarter of a second for a look through all that a run leaves behind, when it is over."""
    found: list[int] = []

    def note(phase: str, seen: dict[str, int]) -> None:
        if phase == "stop":
            found.append(seen["collected"])

    gc.collect()
    gc.callbacks.append(note)
    try:
        run("--data", prices, "--out", tmp_path / "fig", "--no-plots")
        kept: list[list[int]] = [[] for _ in range(gc.get_threshold()[0])]  # what the collector would look at first
    finally:
        gc.callbacks.remove(note)
    assert kept and max(found, default=0) < 1_000


def test_a_run_that_takes_another_s_place_says_so(prices: Path, tmp_path: Path) -> None:
    flags = "--data", prices, "--out", tmp_path / "fig", "--no-plots"
    printed = [run(*flags, "--mode", mode).output for mode in ("stable", "stable", "aggressive")]
    assert ["in the place of those of" in text for text in printed] == [False, False, True]
    assert "in the place of those of stable on four" in " ".join(printed[2].split())


RATES = "[costs]\nfinancing_bps_per_year = 900.0\nrebate_bps_per_year = 200.0\nidle_cash_bps_per_year = 400.0\n"


@pytest.mark.parametrize("rates", ["", RATES], ids=["shipped", "every rate"])
@pytest.mark.parametrize("mode", ["stable", "aggressive"])
def test_fills_and_interest_give_cash_and_equity_of_every_bar(
    mode: str, rates: str, prices: Path, tmp_path: Path
) -> None:
    (tmp_path / "rates.toml").write_text(rates)
    flags = "--mode", mode, "--config", tmp_path / "rates.toml", "--pairs", "BBB:AAA,CCC:DDD", "--no-plots"
    assert run("--data", prices, *flags, "--out", tmp_path).exit_code == 0
    rows, fills = read(tmp_path, "equity"), read(tmp_path, "fills")
    closes: dict[str, dict[str, float]] = {}
    for symbol in SYMBOLS:
        with (prices / f"{symbol}.csv").open(newline="") as file:
            closes[symbol] = {bar["date"]: float(bar["close"]) for bar in csv.DictReader(file)}
    start = float(read(tmp_path, "summary_pnl")[0]["start_value"])
    cash, other, held, shorts = start, float(rows[1]["benchmark_cash"]), dict.fromkeys(SYMBOLS, 0.0), 0
    for t, row in enumerate(rows):
        for fill in (fill for fill in fills if fill["datetime"] == row["datetime"]):
            cash -= float(fill["size"]) * float(fill["price"]) + float(fill["commission"])
            held[fill["symbol"]] += float(fill["size"])
        cash -= float(row["interest"])
        equity = cash + sum(size * closes[symbol][row["datetime"]] for symbol, size in held.items())
        assert (float(row["cash"]), float(row["equity"])) == pytest.approx((cash, equity), rel=1e-9, abs=1e-9 * start)
        shorts += min(held.values()) < 0.0
        if t > 1:  # the benchmark is bought once, on the second bar
            other -= float(row["benchmark_interest"])
            assert float(row["benchmark_cash"]) == pytest.approx(other, rel=1e-9)
    assert shorts and any(float(row["interest"]) > 0.0 for row in rows) == (mode == "aggressive" or not rates)
    assert any(float(row["cash"]) < 0.0 for row in rows) == (mode == "aggressive")
    for column in ("interest", "benchmark_interest"):
        assert any(float(row[column]) < 0.0 for row in rows) == bool(rates)


def test_commission_is_half_the_spread_and_the_fee(prices: Path, tmp_path: Path) -> None:
    run("--data", prices, "--out", tmp_path / "fig", "--no-plots", "--spread-bps", 10, "--fee-bps", 3)
    for fill in read(tmp_path / "fig", "fills"):
        assert float(fill["commission"]) == pytest.approx(abs(float(fill["size"])) * float(fill["price"]) * 8e-4)


def test_decisions_follow_the_formula(report: Path) -> None:
    for row in read(report, "decisions"):
        mix = float(row["w_sac"]) * float(row["target_sac"]) + float(row["w_kalman"]) * float(row["target_kalman"])
        assert float(row["fused"]) == mix


def test_a_fill_is_at_the_next_open_of_its_symbol(report: Path, prices: Path) -> None:
    for symbol in SYMBOLS:
        with (prices / f"{symbol}.csv").open(newline="") as file:
            bars = {row["date"]: (i, float(row["open"])) for i, row in enumerate(csv.DictReader(file))}
        for fill in (f for f in read(report, "fills") if f["symbol"] == symbol):
            row, price = bars[fill["datetime"]]
            assert row == bars[fill["decided"]][0] + 1
            assert float(fill["price"]) == price


def test_the_replay_repeats_backtrader_to_the_bit(report: Path) -> None:
    assert json.loads((report / "run.json").read_text())["replay_difference"] == 0.0


def test_two_runs_write_the_same_bytes(report: Path, prices: Path, tmp_path: Path) -> None:
    run("--data", prices, "--pairs", "BBB:AAA,CCC:DDD", "--out", tmp_path / "fig", "--no-plots")
    for table in TABLES:
        assert (tmp_path / "fig" / f"{table}.csv").read_bytes() == (report / f"{table}.csv").read_bytes()
    documents = [json.loads((folder / "run.json").read_text()) for folder in (report, tmp_path / "fig")]
    for document in documents:
        document.pop("wall_clock", None)
    assert documents[0] == documents[1]


@pytest.mark.parametrize(
    ("flags", "missing"),
    [(("--no-sac",), {"sac"}), (("--no-kalman",), {"kalman"}), (("--no-ppo-lstm",), set())],
)
def test_parts_can_be_switched_off(flags: tuple[str, ...], missing: set[str], prices: Path, tmp_path: Path) -> None:
    result = run("--data", prices, "--pairs", "BBB:AAA", "--out", tmp_path / "fig", "--no-plots", *flags)
    assert result.exit_code == 0, result.output
    accounts = {row["account"] for row in read(tmp_path / "fig", "summary_pnl")}
    assert {"sac", "kalman"} - accounts == missing
    if "--no-ppo-lstm" in flags:
        assert {row["r"] for row in read(tmp_path / "fig", "decisions")} == {"0.0"}


def test_eps_trade_and_lot_shape_the_orders(prices: Path, tmp_path: Path) -> None:
    run("--data", prices, "--out", tmp_path / "fig", "--no-plots", "--eps-trade", 300, "--lot", 100)
    sizes = [float(fill["size"]) for fill in read(tmp_path / "fig", "fills")]
    assert sizes
    assert all(size % 100 == 0 for size in sizes)


def test_fitted_noise_depends_on_earlier_bars_only(prices: Path, tmp_path: Path) -> None:
    """The same trading start with 40 bars less behind it: what is fitted, and each decision, is the same."""
    fitted, rows = [], []
    for end in ("2016-08-05", "2016-06-10"):
        out = tmp_path / end
        result = run("--data", prices, "--pairs", "BBB:AAA", "--fit-kalman", "--no-plots", "--end", end, "--out", out)
        assert result.exit_code == 0, result.output
        fitted.append(json.loads((out / "run.json").read_text())["config"]["kalman_fitted"]["BBB:AAA"])
        rows.append(read(out, "decisions"))
    assert fitted[0] == fitted[1]
    assert fitted[0]["alpha_var_per_bar"] != 1.9e-4
    assert len(rows[0]) > len(rows[1])
    assert rows[0][: len(rows[1])] == rows[1]


def test_benchmark_symbol_adds_an_account(prices: Path, tmp_path: Path) -> None:
    result = run("--data", prices, "--benchmark", "CCC", "--out", tmp_path / "fig", "--no-plots")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "fig", "summary_pnl")[-1]["account"] == "benchmark"


def test_an_end_behind_all_dates_is_the_end_of_the_data(report: Path, prices: Path, tmp_path: Path) -> None:
    run("--data", prices, "--pairs", "BBB:AAA,CCC:DDD", "--out", tmp_path, "--end", "9999-12-31", "--no-plots")
    assert read(tmp_path, "equity") == read(report, "equity")


def test_start_is_the_first_decision_and_earlier_bars_warm_up(prices: Path, tmp_path: Path) -> None:
    run("--data", prices, "--start", "2016-03-01", "--end", "2016-06-30", "--out", tmp_path / "fig", "--no-plots")
    equity = read(tmp_path / "fig", "equity")
    assert (equity[0]["datetime"], equity[-1]["datetime"]) == ("2016-03-01", "2016-06-30")
    assert min(fill["datetime"] for fill in read(tmp_path / "fig", "fills")) >= "2016-03-02"


def edited(prices: Path, tmp_path: Path, edit: object) -> Path:
    """A copy of the prices with the lines of AAA.csv changed."""
    folder = tmp_path / "edited"
    folder.mkdir()
    for path in prices.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    lines = (folder / "AAA.csv").read_text().splitlines()
    edit(lines)  # type: ignore[operator]
    (folder / "AAA.csv").write_text("\n".join(lines) + "\n")
    return folder


def cell(row: int, column: int, value: str) -> object:
    def edit(lines: list[str]) -> None:
        cells = lines[row].split(",")
        cells[column] = value
        lines[row] = ",".join(cells)

    return edit


def swap(lines: list[str]) -> None:
    lines[100], lines[101] = lines[101], lines[100]


def repeat(lines: list[str]) -> None:
    lines.insert(100, lines[100])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (cell(200, 4, "nan"), ("AAA", "2015-10-09")),
        (cell(200, 4, "-5"), ("AAA", "2015-10-09", "-5")),
        (cell(200, 4, "0"), ("AAA", "2015-10-09")),
        (cell(200, 4, "inf"), ("AAA", "2015-10-09")),
        (cell(200, 4, "12,5x"), ("AAA",)),
        (cell(200, 0, "yesterday"), ("AAA", "yesterday")),
        (swap, ("AAA",)),
        (repeat, ("AAA", "twice")),
    ],
)
def test_bad_prices_end_in_one_line_and_status_2(
    edit: object, words: tuple[str, ...], prices: Path, tmp_path: Path
) -> None:
    folder = edited(prices, tmp_path, edit)
    refused(run("--data", folder, "--out", tmp_path / "fig"), words, tmp_path)


def refused(result: Result, words: tuple[str, ...], tmp_path: Path) -> None:
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert not (tmp_path / "fig").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--data", "nowhere"), ("nowhere",)),
        (("--symbols", "AAA,ZZZ"), ("ZZZ",)),
        (("--pairs", "AAA:BBX"), ("BBX", "BBB")),
        (("--pairs", "AAA"), ("Y:X",)),
        (("--pairs", "AAA:AAA"), ("itself",)),
        (("--pairs", "AAA:BBB,BBB:AAA"), ("twice",)),
        (("--start", "2016-06-01", "--end", "2016-03-01"), ("2016-03-01", "2016-06-01")),
        (("--start", "2015-02-01"), ("warm",)),
        (("--start", "2031-01-01"), ("2031-01-01",)),
        (("--start", "9999-12-31"), ("9999-12-31", "choose an earlier start")),
        (("--end", "1500-01-01"), ("1500-01-01", "choose dates within")),
        (("--end", "2015-06-30"), ("253",)),
        (("--no-sac", "--no-kalman"), ("at least one leg",)),
        (("--spread-bps", "-1"), ("spread_bps",)),
        (("--cash", "0"), ("cash",)),
        (("--benchmark", "SPY"), ("SPY",)),
        (("--config", "missing.toml"), ("missing.toml",)),
        (("--sac", "missing.onnx"), ("missing.onnx",)),
        (("--sac-steps", "10"), ("train",)),
        (("--mod", "stable"), ("--mode",)),
        (("--mode", "stabel"), ("stable",)),
    ],
)
def test_misuse_ends_in_one_line_and_status_2(
    flags: tuple[str, ...], words: tuple[str, ...], prices: Path, tmp_path: Path
) -> None:
    data = () if "--data" in flags else ("--data", prices)
    refused(run(*data, "--out", tmp_path / "fig", *flags), words, tmp_path)


def test_an_unknown_config_key_names_the_nearest(prices: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[risk]\ngros_limit = 1.0\n")
    refused(run("--data", prices, "--config", file, "--out", tmp_path / "fig"), ("gros_limit", "gross_limit"), tmp_path)


def test_training_bars_are_refused_and_marked_if_allowed(tmp_path: Path) -> None:
    base = ("--data", "us20", "--symbols", "KO,PEP", "--end", "2010-06-30", "--start", "2009-06-01", "--no-plots")
    refused(run(*base, "--out", tmp_path / "fig"), ("2009-12-31", "--allow-in-sample"), tmp_path)
    allowed = run(*base, "--allow-in-sample", "--out", tmp_path / "fig")
    assert allowed.exit_code == 0, allowed.output
    assert "IN-SAMPLE" in allowed.output
    document = json.loads((tmp_path / "fig" / "run.json").read_text())
    assert any("IN-SAMPLE" in note for note in document["notes"])


def test_us20_starts_behind_the_training_span_and_prints_its_caveats(tmp_path: Path) -> None:
    result = run("--symbols", "KO,PEP", "--end", "2010-12-31", "--out", tmp_path / "fig", "--no-plots")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "fig", "equity")[0]["datetime"] == "2010-01-04"
    for caveat in ("survivorship", "close only", "rounded"):
        assert caveat in result.output
