"""`hybrid-bt runs A B`: the paired interval is arch's own, and what cannot be compared is refused with its reason."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from click.testing import CliRunner, Result
from price_files import read, write_prices

from hybrid_bt.commands.run import main as run
from hybrid_bt.commands.runs import main as runs
from hybrid_bt.evidence import N_RESAMPLES
from hybrid_bt.evidence.blocks import block_length

CHANGED = {"--spread-bps": ("config.costs.spread_bps", 40.0), "--lot": ("config.account.lot", 10.0)}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers 0 to 3 of a ledger: a, b with other settings, `late` with a later start, `short` with other bars."""
    home = tmp_path_factory.mktemp("runs")
    prices = write_prices(home / "four")
    last = read_dates(prices)[-40]
    asked = {
        "a": [],
        "b": [f"{flag}={value}" for flag, (_, value) in CHANGED.items()],
        "late": ["--start", read_dates(prices)[-60]],
        "short": ["--end", last],
    }
    for name, flags in asked.items():
        words = ["--data", str(prices), "--pairs", "BBB:AAA", "--no-plots", "-q", "--out", str(home / name), *flags]
        answer = CliRunner().invoke(run, words)
        assert answer.exit_code == 0, answer.output
    return home


def read_dates(prices: Path) -> list[str]:
    with open(next(iter(sorted(prices.glob("*.csv")))), newline="") as file:
        return [next(iter(row.values()))[:10] for row in csv.DictReader(file)]


def compare(home: Path, a: object, b: object, *more: str) -> Result:
    return CliRunner().invoke(runs, [str(a), str(b), "--ledger", str(home / "runs.jsonl"), *more])


def compared(home: Path, a: object, b: object) -> dict[str, Any]:
    answer = compare(home, a, b, "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def equity(folder: Path) -> np.ndarray:
    return np.array([float(row["equity"]) for row in read(folder, "equity")])


def test_the_interval_is_that_of_arch_over_paired_bars(kept: Path) -> None:
    found = compared(kept, kept / "a", kept / "b")["a_less_b"]
    ours, theirs = read(kept / "a", "summary_pnl")[0], read(kept / "b", "summary_pnl")[0]
    for measure, interval in found.items():
        assert interval["estimate"] == pytest.approx(float(ours[measure]) - float(theirs[measure]), abs=1e-12)
    a, b = (np.diff(equity(kept / name)) / equity(kept / name)[:-1] for name in "ab")
    rate = json.loads((kept / "a" / "run.json").read_text())["annualisation"]["reports"]

    def difference(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(rate) * (one.mean() / one.std(ddof=1) - other.mean() / other.std(ddof=1)))

    sampler = StationaryBootstrap(round(block_length(np.column_stack([a, b]))), a, b, seed=0)
    low, high = sampler.conf_int(difference, N_RESAMPLES, method="percentile").ravel()
    assert (found["sharpe"]["low"], found["sharpe"]["high"]) == pytest.approx((low, high), rel=1e-9)
    assert low < high


def test_a_run_against_itself_differs_by_nothing_and_swapped_sides_swap_signs(kept: Path) -> None:
    itself = compared(kept, kept / "a", kept / "a")
    assert itself["differing"] == {}
    assert all(value == 0.0 for interval in itself["a_less_b"].values() for value in interval.values())
    there, back = (compared(kept, kept / a, kept / b)["a_less_b"] for a, b in ("ab", "ba"))
    for measure in there:
        swapped = [-back[measure][edge] for edge in ("estimate", "high", "low")]
        assert list(there[measure].values()) == pytest.approx(swapped)


def test_what_differs_is_what_was_changed(kept: Path) -> None:
    differing = compared(kept, kept / "a", kept / "b")["differing"]
    settings = {key: pair[1] for key, pair in differing.items() if not key.startswith("result.")}
    assert settings == dict(CHANGED.values())
    printed = compare(kept, kept / "a", kept / "b").stdout
    assert all(key in printed for key, _ in CHANGED.values()) and "(95 %" in printed


def test_numbers_are_the_folders_that_they_wrote(kept: Path) -> None:
    folders, numbers = compared(kept, kept / "a", kept / "b"), compared(kept, 0, 1)
    assert {**numbers, "a": None, "b": None} == {**folders, "a": None, "b": None}
    mixed = compared(kept, 0, kept / "b")
    assert mixed["a_less_b"] == folders["a_less_b"]


def test_a_number_whose_folder_holds_another_run_has_no_interval(kept: Path, tmp_path: Path) -> None:
    for name in ("runs.jsonl", "b"):
        (shutil.copytree if name == "b" else shutil.copy)(kept / name, tmp_path / name)
    shutil.copytree(kept / "b", tmp_path / "a")
    found = compared(tmp_path, 0, 1)
    assert found["a_less_b"] == {} and "holds another run than 0" in found["without_interval"]
    assert dict(CHANGED.values()).items() <= {key: pair[1] for key, pair in found["differing"].items()}.items()
    shutil.rmtree(tmp_path / "a")
    answer = compare(tmp_path, 0, 1)
    assert answer.exit_code == 0 and "no interval: runs: cannot read" in answer.stdout


@pytest.mark.parametrize("other", ["late", "short", 2, 3])
def test_other_bars_are_refused(kept: Path, other: object) -> None:
    answer = compare(kept, kept / "a", kept / other if isinstance(other, str) else other)
    assert answer.exit_code == 2 and "on the same bars only" in answer.stderr and "four" in answer.stderr


@pytest.mark.parametrize("words", [["0"], ["0", "1", "2"], ["0", "9"], ["0", "nowhere"], ["0", ""]])
def test_what_is_no_pair_of_runs_is_one_line(kept: Path, words: list[str]) -> None:
    answer = CliRunner().invoke(runs, [*words, "--ledger", str(kept / "runs.jsonl")])
    assert answer.exit_code == 2 and answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


@pytest.mark.parametrize("file", ["run.json", "equity.csv"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"datetime,equity\n", b"datetime,equity\n2010-01-04,\n"])
def test_a_damaged_folder_is_named(kept: Path, tmp_path: Path, file: str, content: bytes) -> None:
    shutil.copytree(kept / "b", tmp_path / "b")
    (tmp_path / "b" / file).write_bytes(content)
    answer = compare(kept, kept / "a", tmp_path / "b")
    assert answer.exit_code == 2 and "is damaged" in answer.stderr and answer.stderr.count("\n") == 1
