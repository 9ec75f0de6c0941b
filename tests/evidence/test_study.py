"""The study: windows, cells that are kept, backends that agree, the hybrid's own cell, and plain words."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from places import ROOT

from hybrid_bt.account.registry import learned_accounts, momentum, study_accounts
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars.market import Market
from hybrid_bt.commands.study import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import policy_path
from hybrid_bt.config.task import prepare
from hybrid_bt.errors import BarsError, ConfigError, PolicyError
from hybrid_bt.evidence.study import Plan, _crossing
from hybrid_bt.evidence.study.jobs import BAR_BY_BAR, ENSEMBLE, Lessons, VoiceJob, opinions_of, run_job, split
from hybrid_bt.evidence.study.page import said_of_costs
from hybrid_bt.evidence.study.schedule import COST_LEVELS_BPS, Runner, joined, trade_jobs
from hybrid_bt.evidence.trials import append_trial, configuration_key, others_tried, read_trials
from hybrid_bt.feeds import load_bars
from hybrid_bt.policies.frozen import FrozenPolicy

CONFIG = load_config("stable")
ALL = study_accounts(CONFIG.legs_on())
SHORT = ["--symbols", "KO,PEP,XOM,CVX", "--pairs", "KO:PEP", "--end", "2011-06-30", "--windows", "2", "--seeds", "2"]
SHORT += ["--resamples", "60"]


def bars_of(symbols: tuple[str, ...] = ("KO", "PEP", "XOM", "CVX")):
    return load_bars("us20", symbols=symbols, end=np.datetime64("2011-06-30").item())


def voice(member: int = -1) -> VoiceJob:
    bars = bars_of().between("2008-06-01", None)
    return VoiceJob(f"m{member}", prepare(Market("", bars, "KO:PEP")), member)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    answer = CliRunner().invoke(main, [*SHORT, "--out", str(folder / "study")])
    assert answer.exit_code == 0, answer.output
    return folder / "study"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("file", ["sac", "gate"])
def test_the_members_mean_is_the_ensemble(file: str):
    whole = FrozenPolicy.load(policy_path(f"package:{file}.onnx"))
    members = [whole.member(index) for index in range(whole.manifest.members)]
    rng = np.random.default_rng(0)
    for _ in range(10):
        seen = rng.normal(size=(1 if whole.is_recurrent else 5, len(whole.manifest.observation)))
        alone = np.array([member.act(seen) for member in members])
        assert np.abs(alone.mean(axis=0) - whole.act(seen)).max() <= 1e-12
        assert alone.std(axis=0).max() > 0.0
    with pytest.raises(PolicyError, match="count from 0"):
        whole.member(whole.manifest.members)


def test_windows_follow_one_another_and_learn_only_from_before():
    bars = bars_of()
    first = int(np.searchsorted(bars.stamps, np.datetime64("2010-01-04")))
    for scheme in ("anchored", "rolling"):
        found = split(bars, first, 4, scheme=scheme, purge_bars=1, embargo_bars=5)
        assert found[0].first == first and found[-1].last == bars.n_bars - 1
        assert all(a.last + 1 == b.first for a, b in itertools.pairwise(found))
        for window in found:
            end = int(np.searchsorted(bars.stamps, np.datetime64(window.train_end)))
            assert window.first - end == 1 + 1 + 5
    assert len({window.train_start for window in split(bars, first, 4, scheme="rolling")}) == 4
    with pytest.raises(BarsError, match="fewer windows"):
        split(bars, first, 40)


def test_the_hybrid_s_cell_is_the_account_of_the_run(studied: Path):
    record = run_backtest(bars_of(), pairs="KO:PEP")
    whole = [np.load(path) for path in (studied / "cells").glob("*.npz")]
    equities = [cell["equity:hybrid"] for cell in whole if "equity:12-1 momentum" in cell.files]
    longest = max(equities, key=len)
    assert np.abs(longest / record.accounts["hybrid"].equity - 1.0).max() < 1e-9


def test_every_account_stands_in_every_table(studied: Path):
    ablation = rows(studied / "ablation.csv")
    assert [row["account"] for row in ablation] == list(ALL)
    for row in ablation:
        assert float(row["sharpe_low"]) <= float(row["sharpe"]) <= float(row["sharpe_high"])
    assert {row["account"] for row in rows(studied / "windows.csv")} == set(ALL)
    seeds = [row for row in rows(studied / "seeds.csv") if row["seed"] in "01"]
    assert {row["account"] for row in seeds} == set(learned_accounts(CONFIG.legs_on()))
    hybrid = {row["seed"]: row["sharpe"] for row in seeds if row["account"] == "hybrid"}
    assert hybrid["0"] != hybrid["1"]
    free, dear = (
        [float(row["cagr"]) for row in rows(studied / "costs.csv") if row["account"] == "hybrid"][k] for k in (0, -1)
    )
    assert free > dear


def test_the_page_says_what_is_claimed_and_needs_no_network(studied: Path):
    page = (studied / "study.html").read_text()
    first = re.search(r'<p class="claim">(.*?)</p>', page)[1]
    assert "Out of sample on us20, 2010-01-04 to 2011-06-30" in first and "95 % intervals" in first
    assert "No evidence that" in page or "There is evidence" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png") == 4


def test_a_second_study_takes_what_the_first_one_kept(studied: Path):
    kept = {path.name: path.stat().st_mtime_ns for path in (studied / "cells").iterdir()}
    before = {path.name: path.read_bytes() for path in studied.glob("*.csv")}
    next(iter((studied / "cells").glob("*.npz"))).write_bytes(b"torn")
    answer = CliRunner().invoke(main, [*SHORT, "--out", str(studied)])
    assert answer.exit_code == 0
    changed = [p.name for p in (studied / "cells").iterdir() if kept.get(p.name) != p.stat().st_mtime_ns]
    assert len(changed) == 1, "only the damaged cell was done again"
    assert {path.name: path.read_bytes() for path in studied.glob("*.csv")} == before
    ledger = read_trials(studied.parent / "runs.jsonl")
    assert [trial["command"] for trial in ledger.trials] == ["study", "study"]
    assert len(others_tried(ledger, ledger.trials[0]["data_sha256"])) == 1


def test_a_killed_study_goes_on_to_the_same_tables(studied: Path, tmp_path: Path):
    command = [sys.executable, "-m", "hybrid_bt.commands.cli", "study", *SHORT, "--out", str(tmp_path / "study")]
    cells = tmp_path / "study" / "cells"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as doomed:
        while doomed.poll() is None and not list(cells.glob("*.npz")):
            time.sleep(0.01)
        doomed.kill()
    kept = {path.name for path in cells.glob("*.npz")}
    assert doomed.returncode == -signal.SIGKILL and kept
    assert not (tmp_path / "study" / "study.html").exists()
    assert CliRunner().invoke(main, [*SHORT, "--out", str(tmp_path / "study")]).exit_code == 0
    assert kept < {path.name for path in cells.glob("*.npz")} == {p.name for p in (studied / "cells").glob("*.npz")}
    for table in studied.glob("*.csv"):
        assert (tmp_path / "study" / table.name).read_bytes() == table.read_bytes()


@pytest.mark.parametrize("backend", ["joblib", pytest.param("dask"), pytest.param("ray", marks=pytest.mark.slow)])
def test_every_backend_gives_the_same_arrays(backend: str, tmp_path: Path):
    jobs = [voice(0), voice(1)]
    here = [run_job(job) for job in jobs]
    there, failures = Runner(tmp_path / "cells", backend, 2).run(dict(enumerate(jobs)))
    assert not failures and list(there) == [0, 1]
    for mine, theirs in zip(here, there.values(), strict=True):
        assert (tmp_path / "cells" / f"{mine.key}.npz").exists()
        assert all(np.array_equal(mine.arrays[name], theirs[name]) for name in mine.arrays)


def test_a_failed_cell_is_told_and_not_kept(tmp_path: Path):
    def broken(*_: object) -> Any:
        raise ConfigError("legs: no luck")

    job = VoiceJob("broken", voice().task._replace(legs={"kalman": broken}))
    found, failures = Runner(tmp_path).run({"only": job})
    assert not found and "no luck" in failures["broken"] and not list(tmp_path.iterdir())


def test_windows_with_policies_of_their_own_are_joined_bar_by_bar():
    task = voice().task
    windows = tuple(split(task.market.bars, 300, 2))
    lessons = (Lessons(windows[0].train_start, windows[0].train_end, 1, 1, (0,)),) * 2
    plan = Plan(task, windows, 0, lessons=lessons)
    heard = {(w, ENSEMBLE): voice(member).run() for w, member in enumerate((0, 1))}
    first, second, whole = heard[0, ENSEMBLE], heard[1, ENSEMBLE], joined(plan, heard)[ENSEMBLE]
    edge, rows = windows[1].first, slice(0, None)
    assert not np.array_equal(first["amounts"][edge:], second["amounts"][edge:])
    for name, of in opinions_of(whole, rows).__dict__.items():
        ones, others = getattr(opinions_of(first, rows), name), getattr(opinions_of(second, rows), name)
        if name in BAR_BY_BAR:
            assert np.array_equal(of[:edge], ones[:edge]) and np.array_equal(of[edge:], others[edge:]), name
        else:
            assert np.array_equal(of, ones) if isinstance(of, np.ndarray) else of == ones, name
    assert {job.name for job in trade_jobs(plan, heard).values()} > {"whole span, ensemble"}


def test_momentum_skips_the_last_month():
    bars = bars_of(("KO",))
    found = momentum(bars)
    assert np.isnan(found[:252]).all()
    assert found[300, 0] == np.log(bars.close[279, 0]) - np.log(bars.close[48, 0])


def test_break_even_lies_between_levels():
    levels = np.array(COST_LEVELS_BPS)
    assert _crossing(0.004 - 0.001 * levels) == pytest.approx(4.0)
    assert _crossing(-0.001 - levels) == 0.0
    assert _crossing(1.0 + levels) == float("inf")


@pytest.mark.parametrize("name", ["hybrid", "sac", "kalman", "momentum"])
def test_what_pays_at_all_costs_is_said_to_pay(name: str):
    what = "worth nothing" if name == "kalman" else "grows no faster than vol-target"
    assert what not in said_of_costs(name, float("inf")) and "at all of the costs tried" in said_of_costs(name, np.inf)
    assert said_of_costs(name, 0.0).endswith(f"{what} from no costs on.")
    assert said_of_costs(name, 10.64).endswith(f"{what} from 10.6 bps a side on.")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--windows", "900"], "fewer windows"),
        (["--seeds", "9"], "ask for no more"),
        (["--check"], "--preset readme"),
        (["--preset", "readme", "--readme", "nowhere.md"], "nowhere.md"),
        (["--start", "2001-01-01"], "training span"),
    ],
)
def test_mistakes_end_in_one_line(flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, flags)
    assert answer.exit_code == 2 and said in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_a_missing_library_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "joblib" else there(name))
    answer = CliRunner().invoke(main, [*SHORT, "--jobs", "2", "--out", str(tmp_path / "study")])
    assert answer.exit_code == 2 and "needs joblib: pip install '.[study]'" in answer.stderr
    assert not (tmp_path / "study").exists()


def test_an_out_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "study").write_text("mine")
    answer = CliRunner().invoke(main, [*SHORT, "--out", str(tmp_path / "study")])
    assert answer.exit_code == 2 and "study/cells: Not a directory" in answer.stderr


def test_the_ledger_survives_torn_lines(tmp_path: Path):
    path = tmp_path / "runs.jsonl"
    append_trial(path, {"data_sha256": "a", "config_sha256": "1"})
    with open(path, "ab") as file:
        file.write(b'{"data_sha256": "a", "conf')
    append_trial(path, {"data_sha256": "a", "config_sha256": "2"})
    append_trial(path, {"data_sha256": "b", "config_sha256": "2"})
    ledger = read_trials(path)
    assert (len(ledger.trials), ledger.damaged) == (3, 1)
    assert set(others_tried(ledger, "a")) == {"1", "2"} and set(others_tried(ledger, "a", but="2")) == {"1"}


def test_lines_written_side_by_side_are_all_there(tmp_path: Path):
    """Three processes at once: each line whole, none lost, though some are longer than a disk block."""
    path = tmp_path / "runs.jsonl"
    code = (
        "import sys; from pathlib import Path; from hybrid_bt.evidence.trials import append_trial\n"
        "for k in range(40): append_trial(Path(sys.argv[1]), {'who': sys.argv[2], 'k': k, 'pad': 'x' * 9000 * (k % 2)})"
    )
    root = ROOT
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), who], cwd=root) for who in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    ledger = read_trials(path)
    assert ledger.damaged == 0
    assert {(t["who"], t["k"]) for t in ledger.trials} == {(who, k) for who in "abc" for k in range(40)}


def test_lines_of_another_hand_are_listed_and_not_believed(tmp_path: Path):
    from hybrid_bt.commands.runs import main as runs

    path = tmp_path / "runs.jsonl"
    odd = ['{"result": 5, "span": 7}', '{"config_sha256": [1], "data_sha256": "a", "result": {"sharpe": "high"}}', "[]"]
    path.write_text("\n".join(odd) + "\n")
    answer = CliRunner().invoke(runs, ["--ledger", str(path)])
    assert answer.exit_code == 0 and "1 damaged line(s)" in answer.stdout
    assert others_tried(read_trials(path), "a") == {"[1]": "high"}
    path.write_text("torn")
    answer = CliRunner().invoke(runs, ["--ledger", str(path)])
    assert answer.exit_code == 2 and "1 damaged line(s)" in answer.stderr


def test_a_ledger_that_cannot_be_written_is_told_before_the_work(tmp_path: Path):
    from hybrid_bt.commands.run import main as run

    (tmp_path / "runs.jsonl").mkdir()
    short = ["--symbols", "KO,PEP", "--end", "2010-06-30", "--no-plots", "-q", "--out", str(tmp_path / "fig")]
    answer = CliRunner().invoke(run, short)
    assert answer.exit_code == 2 and "--no-ledger" in answer.stderr
    assert not (tmp_path / "fig").exists()
    assert CliRunner().invoke(run, [*short, "--no-ledger"]).exit_code == 0


def test_a_run_and_a_study_of_the_same_settings_are_one_trial(studied: Path, tmp_path: Path):
    from hybrid_bt.commands.run import main as run

    flags = [*SHORT[:6], "--no-plots", "-q", "--seed", "5", "--out", str(tmp_path / "fig")]
    assert CliRunner().invoke(run, flags).exit_code == 0
    (mine,) = read_trials(tmp_path / "runs.jsonl").trials
    theirs = read_trials(studied.parent / "runs.jsonl").trials[0]
    assert (mine["config_sha256"], mine["data_sha256"]) == (theirs["config_sha256"], theirs["data_sha256"])
    assert mine["config_sha256"] != configuration_key(mine["config"], {}, mine["span"][0])
    assert mine["config_sha256"] != configuration_key(mine["config"], mine["policies"], "2010-02-01")


def test_a_run_without_plots_imports_no_statistics(tmp_path: Path):
    code = (
        "import sys; from hybrid_bt.run import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(sorted({'arch', 'scipy', 'statsmodels', 'matplotlib', 'quantstats'} & set(sys.modules)))"
    )
    flags = ["--symbols", "KO,PEP", "--end", "2010-06-30", "--no-plots", "-q", "--out", str(tmp_path / "fig")]
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_lists_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from hybrid_bt.commands.run import main as run
    from hybrid_bt.commands.runs import main as runs

    monkeypatch.chdir(tmp_path)
    assert "holds no trial" in CliRunner().invoke(runs, []).stderr
    short = ["--symbols", "KO,PEP", "--end", "2010-06-30", "--no-plots", "-q"]
    assert CliRunner().invoke(run, [*short, "--no-ledger"]).exit_code == 0
    assert not (tmp_path / "runs.jsonl").exists()
    for fee in ("2", "9"):
        assert CliRunner().invoke(run, [*short, "--fee-bps", fee]).exit_code == 0
    assert "2 different configurations" in CliRunner().invoke(runs, []).stdout
    found = json.loads(CliRunner().invoke(runs, ["0", "1", "--json"]).stdout)
    assert found["differing"]["config.costs.fee_bps"] == [2.0, 9.0]
    assert found["a_less_b"] == {} and "another run than 0" in found["without_interval"], "both wrote to fig"
    assert CliRunner().invoke(runs, ["0", "7"]).exit_code == 2


@pytest.mark.slow
def test_the_readme_holds_what_the_study_writes(tmp_path: Path):
    readme = ROOT / "README.md"
    flags = ["--preset", "readme", "--check", "--readme", str(readme), "--out", str(tmp_path), "--jobs", "2"]
    assert CliRunner().invoke(main, flags).exit_code == 0


@pytest.mark.slow
def test_each_window_can_be_taught_anew(tmp_path: Path):
    flags = [
        *SHORT[:-4],
        "--seeds",
        "1",
        "--resamples",
        "60",
        "--retrain",
        "--sac-steps",
        "6000",
        "--ppo-steps",
        "4096",
    ]
    answer = CliRunner().invoke(main, [*flags, "--out", str(tmp_path / "study")])
    assert answer.exit_code == 0, answer.output
    assert "2 windows x 1 seeds" in answer.stderr
    assert "trained anew for each window" in (tmp_path / "study" / "study.html").read_text()
    assert {row["window"] for row in rows(tmp_path / "study" / "windows.csv")} == {"0", "1"}
