"""Training under watch: validation, checkpoints, processes; none of it moves a weight."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from places import ROOT
from small_specs import GATE, SAC

from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market
from hybrid_bt.brain.records import record
from hybrid_bt.commands.study import main as study
from hybrid_bt.commands.train import main
from hybrid_bt.config import load_config
from hybrid_bt.config.build import Policies, build
from hybrid_bt.envs import history_of
from hybrid_bt.equations.bundles import bundles_of, layout_of
from hybrid_bt.errors import ConfigError, HybridError
from hybrid_bt.feeds import load_bars
from hybrid_bt.train.members import Event, Member, Practice, Trained, train_member
from hybrid_bt.train.models import new_model
from hybrid_bt.train.pipeline import Lesson, grounds_of, learn
from hybrid_bt.train.validation import GateValidation, SacValidation, reversal_legs, rows_after
from hybrid_bt.train.watch import MAGIC, read_checkpoint

END, VALID_END = date(1996, 12, 31), date(1997, 9, 30)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1997-12-31").between("1994-06-01")


def lesson(bars: Bars, practice: Practice = Practice(), valid_end: date | None = None, **more: Any) -> Lesson:  # noqa: B008
    given: dict[str, Any] = {"seeds": (3,), "sac_steps": 200, "ppo_steps": 64, "sac": SAC, "gate": GATE, **more}
    return Lesson(
        (Market("", bars, "KO:PEP"),),
        load_config("stable"),
        date(1996, 1, 2),
        END,
        valid_end=valid_end,
        practice=practice,
        **given,
    )


class KilledError(Exception):
    """Stands for the end of a process."""


class KillAt:
    """Ends a training at the first word about a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: Event) -> None:
        if self.step <= event.step < event.steps:
            raise KilledError


def silent(event: Event) -> None:
    """Listen to nothing."""


def weights(trained: Trained) -> list[np.ndarray[Any, Any]]:
    return [tensor.numpy().copy() for tensor in trained.model.policy.state_dict().values()]


def members(bars: Bars, practice: Practice) -> dict[str, Member]:
    """A small SAC and a small gate on the same bars, with validation."""
    given = lesson(bars, practice, VALID_END)
    config = given.config
    history = history_of(given.market.until(VALID_END).bars, given.market.pairs, config)
    first, legs = rows_after(history.bars, END), reversal_legs(history, given.market.pairs, config)
    alone, fused = SacValidation(history, first, config), GateValidation(history, first, config, legs)
    sac, gate = (grounds_of(given, kind) for kind in ("sac", "gate"))
    return {
        "sac": Member("sac_seed3", "sac", sac, config, SAC, 400, 3, alone, practice),
        "gate": Member("gate_seed3", "gate", gate, config, GATE, 320, 3, fused, practice),
    }


@pytest.mark.parametrize("kind", ["sac", "gate"])
def test_a_training_that_was_killed_and_resumed_ends_with_the_same_weights(
    kind: str, bars: Bars, tmp_path: Path
) -> None:
    whole = train_member(members(bars, Practice(valid_every=64))[kind], silent)
    kept = Practice(valid_every=64, checkpoint_dir=tmp_path, checkpoint_every=32)
    with pytest.raises(KilledError):
        train_member(members(bars, kept)[kind], KillAt(192))
    torch.rand(3), np.random.rand(3)  # another process would have other generators
    resumed = train_member(members(bars, kept._replace(resume=True))[kind], silent)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert np.array_equal(a, b)
    assert resumed.evaluations == whole.evaluations
    assert resumed.model.num_timesteps == whole.model.num_timesteps
    again = train_member(members(bars, kept._replace(resume=True))[kind], silent)
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_without_numba_as_well(bars: Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid_bt.envs.lanes.have_numba", lambda: False)
    test_a_training_that_was_killed_and_resumed_ends_with_the_same_weights("sac", bars, tmp_path)


SPAN = ("--symbols", "KO,PEP", "--train-start", "1996-01-02", "--train-end", "1996-12-31")
COMMAND = ("sac", *SPAN, "--sac-steps", "6500", "--seeds", "0", "--checkpoint-every", "5500")


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "hybrid_bt.train", *COMMAND, *flags]


def test_a_process_that_is_killed_loses_one_interval_and_resumes_to_the_same_file(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder, out = tmp_path / "checkpoints", tmp_path / "resumed.onnx"
    flags = ["--checkpoint-dir", str(folder), "--out", str(out)]
    process = subprocess.Popen(command(*flags), cwd=ROOT, env=environment)
    file = folder / "sac_seed0.ckpt"
    try:
        deadline = time.monotonic() + 60
        while not file.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert file.exists()
    assert not out.exists()
    refused = CliRunner().invoke(main, [*COMMAND, *flags])
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    for name, more in (("resumed", [*flags, "--resume"]), ("whole", ["--out", str(tmp_path / "whole.onnx")])):
        done = subprocess.run(command(*more), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    assert out.read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_a_terminated_training_keeps_a_checkpoint_and_says_how_to_go_on(bars: Bars, tmp_path: Path) -> None:
    def terminate(event: Event) -> None:
        if event.step == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    member = members(bars, Practice(checkpoint_dir=tmp_path, checkpoint_every=10**9))["sac"]
    with pytest.raises(SystemExit) as left:
        train_member(member, terminate)
    assert left.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["sac_seed3.ckpt"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_training_terminated_in_its_last_rollout_leaves_too(bars: Bars, tmp_path: Path) -> None:
    member = members(bars, Practice(checkpoint_dir=tmp_path, checkpoint_every=10**9))["sac"]

    def terminate(event: Event) -> None:
        if event.step == member.steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as left:
        train_member(member, terminate)
    assert left.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["sac_seed3.ckpt"]


def test_a_checkpoint_of_another_training_is_refused_with_the_difference(bars: Bars, tmp_path: Path) -> None:
    practice = Practice(checkpoint_dir=tmp_path, checkpoint_every=64, resume=True)
    member = members(bars, practice)["sac"]._replace(validation=None, steps=128)
    train_member(member, silent)
    (ground,) = grounds_of(lesson(bars), "sac")
    scaled = (ground._replace(gains=2.0 * ground.gains),)
    for other, words in (
        (member._replace(steps=256), "steps was 128, now 256"),
        (member._replace(seed=4), "seed was 3, now 4"),
        (member._replace(spec=SAC._replace(temperature=0.5)), "spec.temperature was 0.2, now 0.5"),
        (member._replace(config=load_config("aggressive")), "config."),
        (member._replace(grounds=scaled), "training bars"),
    ):
        with pytest.raises(ConfigError, match=words):
            train_member(other, silent)


def test_a_damaged_or_harmful_checkpoint_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    harmful = tmp_path / "harmful.ckpt"
    memory = io.BytesIO()
    torch.save({"identity": "{}", "harm": Harm()}, memory)
    harmful.write_bytes(MAGIC + hashlib.sha256(memory.getvalue()).digest() + memory.getvalue())
    with pytest.raises(ConfigError, match="else than tensors"):
        read_checkpoint(harmful, {})
    for raw in (b"", pickle.dumps(Harm()), harmful.read_bytes()[:-7]):
        (tmp_path / "damaged.ckpt").write_bytes(raw)
        with pytest.raises(ConfigError, match="damaged"):
            read_checkpoint(tmp_path / "damaged.ckpt", {})
    assert not (tmp_path / "harm").exists()


def test_validation_sees_what_a_run_would_trade(bars: Bars) -> None:
    """The targets of a model in training are those that the brain records from its frozen file."""
    from hybrid_bt.policies.freeze import freeze
    from hybrid_bt.train.pipeline import manifest

    member = members(bars, Practice())["sac"]
    trained, given, validation = train_member(member, silent), lesson(bars), member.validation
    assert validation is not None
    with tempfile.TemporaryDirectory() as folder:
        policy = freeze([trained.model], manifest(given, [member]), Path(folder) / "sac.onnx")
    panel = validation.history.bars
    brain = build(given.config, panel.symbols, given.market.pairs, Policies(policy, None))
    recorded = record(brain, panel, given.market.pairs).decisions().legs["sac"]
    np.testing.assert_allclose(
        validation.answers([trained.model]), recorded, atol=1e-5
    )  # float32 behind a standard score
    assert np.abs(np.diff(recorded[-100:], axis=0)).max() > 0.01


def test_watching_moves_no_weight_and_ends_before_the_test_span(bars: Bars, tmp_path: Path) -> None:
    plain = learn("sac", lesson(bars), tmp_path / "a.onnx").manifest
    watched = learn("sac", lesson(bars, Practice(valid_every=50), VALID_END), tmp_path / "b.onnx").manifest
    assert watched.graph_sha256 == plain.graph_sha256
    assert (watched.valid_start, watched.valid_end) == (date(1997, 1, 1), VALID_END)
    assert watched.data_sha256 == plain.data_sha256
    close = bars.close.copy()
    close[rows_after(bars, VALID_END) :] *= 3.0
    other = Bars.checked(bars.name, bars.symbols, bars.stamps, close)
    again = learn("sac", lesson(other, Practice(valid_every=50), VALID_END), tmp_path / "c.onnx").manifest
    assert again == watched


def test_the_gate_is_watched_as_well(bars: Bars, tmp_path: Path) -> None:
    plain = learn("gate", lesson(bars), tmp_path / "a.onnx").manifest
    watched = learn("gate", lesson(bars, Practice(), VALID_END), tmp_path / "b.onnx").manifest
    assert watched.graph_sha256 == plain.graph_sha256
    found: Any = watched.results["validation"]
    assert found["members"][0]["seed"] == 3


def test_jobs_give_the_files_of_one_by_one(tmp_path: Path) -> None:
    flags = [*SPAN, "--sac-steps", "5120", "--valid-end", "1997-06-30", "--valid-every", "2560", "--seeds", "0,1"]
    for name, more in (("one", []), ("two", ["--jobs", "2"])):
        result = CliRunner().invoke(main, ["sac", *flags, *more, "--out", str(tmp_path / f"{name}.onnx")])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    texts = [(tmp_path / f"{name}.validation.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    rows = list(csv.DictReader(texts[0].splitlines()))
    assert [(row["seed"], row["step"]) for row in rows] == [("0", "2560"), ("0", "5120"), ("1", "2560"), ("1", "5120")]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".csv", ".onnx", ".onnx"]


SIDE_BY_SIDE = """
from test_training import Practice, members
from hybrid_bt.feeds import load_bars
from hybrid_bt.train.members import train_all

if __name__ == "__main__":
    bars = load_bars("us20", symbols=["KO", "PEP", "JNJ"], end="1997-12-31").between("1994-06-01")
    member, heard = members(bars, Practice(jobs=2, valid_every=32))["sac"]._replace(steps=64), []
    train_all([member._replace(name=f"{seed}" * 3_000_000, seed=seed) for seed in (3, 4)], heard.append)
    for seed in (3, 4):
        said = [event for event in heard if event.name[0] == str(seed)]
        print([event.evaluation.step for event in said if event.evaluation], said[-1].step)
"""


def test_nothing_that_a_process_said_is_lost(tmp_path: Path) -> None:
    """Long names take longer to send than a result does; the last words of a training were overtaken and lost."""
    script = tmp_path / "side_by_side.py"
    script.write_text(SIDE_BY_SIDE)
    places = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "train"), str(ROOT / "tests" / "cases")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[32, 64] 64"] * 2, done.stderr[-500:]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--valid-end", "2009-01-01"), "--valid-end 2009-01-01 is not after"),
        (("--valid-every", "3"), "--valid-every needs --valid-end"),
        (("--resume",), "--resume needs --checkpoint-dir"),
        (("--seeds", "99999999999"), "from 0 to"),
        (("--tensorboard-log", __file__), "is a file"),
        (("--checkpoint-dir", f"{__file__}/x"), "test_training.py"),
    ],
)
def test_misuse_ends_with_status_2_and_no_file(flags: tuple[str, ...], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["sac", *flags, "--out", str(tmp_path / "sac.onnx")])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("replays", [0.25, 8.0, 64.0])
@pytest.mark.parametrize("starts", [0, 1, 31, 32, 33])
@pytest.mark.parametrize("kind", ["sac", "gate"])
def test_the_fewest_steps_that_a_trainer_takes_move_its_weights(
    kind: str, starts: int, replays: float, bars: Bars
) -> None:
    # regression: 500 steps of a SAC whose learning starts at 5,000 froze the network that it began with
    spec = SAC._replace(learning_starts=starts, replays=replays) if kind == "sac" else GATE
    member = members(bars, Practice())[kind]._replace(spec=spec, steps=starts + 1 if kind == "sac" else 1)
    fresh = new_model(kind, member.grounds, spec, steps=member.steps, seed=member.seed)
    learned = train_member(member._replace(validation=None), silent)
    before = weights(Trained(fresh, []))
    assert len(before) > 4 and not all(map(np.array_equal, before, weights(learned)))


@pytest.mark.parametrize("more", [{"seeds": (3, 4), "practice": Practice(jobs=2)}, {"rehearse_to": date(1996, 6, 28)}])
def test_steps_that_are_over_before_learning_begins_are_refused(
    more: dict[str, Any], bars: Bars, tmp_path: Path
) -> None:
    given = lesson(bars, sac_steps=32)._replace(**more)
    with pytest.raises(ConfigError, match=r"--sac-steps 32: .* frozen untrained; give 33 or more"):
        learn("sac", given, tmp_path / "sac.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (main, ["sac"]),
        (main, ["controls"]),
        (main, ["shipped", "--markets", "us20"]),
        (study, ["--symbols", "KO,PEP", "--retrain", "--no-ledger"]),
    ],
)
def test_every_command_that_trains_refuses_them_with_the_number_needed(
    command: Any, flags: list[str], tmp_path: Path
) -> None:
    result = CliRunner().invoke(command, [*flags, "--sac-steps", "5000", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert "--sac-steps 5000: " in result.stderr and "give 5001 or more" in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("kind", "out", "words"),
    [
        ("sac", ".", "is a folder"),
        ("gate", "file/gate.onnx", "another with --out"),
        ("shipped", "file/x", "another with --out"),
    ],
)
def test_what_could_not_be_written_is_refused_before_anything_is_learned(
    kind: str, out: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, [kind, "--out", str(tmp_path / out)])
    assert result.exit_code == 2, result.output
    assert words in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0.0}, "temperature: .*greater than 0"),
        ({"window_bars": 500}, "never 2 warm symbols on a window of 500"),
    ],
)
def test_what_cannot_be_learned_is_refused(change: dict[str, Any], words: str, bars: Bars, tmp_path: Path) -> None:
    with pytest.raises(HybridError, match=words):
        learn("sac", lesson(bars, sac=SAC._replace(**change)), tmp_path / "sac.onnx")


def test_an_agent_that_is_told_the_future_earns_and_one_that_knows_nothing_does_not() -> None:
    """Small; the full run is `hybrid-bt train controls`."""
    from hybrid_bt.train.controls import run_controls

    market = Market("", load_bars("us20", end="2003-12-31"))
    given = Lesson((market,), load_config("stable"), None, date(2003, 12, 31), (0,), 0, 0)
    spec = SAC._replace(net=(16, 16), batch_size=256, n_groups=8, n_symbols=8, learning_starts=500)
    found = {row.name: row for row in run_controls(grounds_of(given, "sac"), spec, steps=12_000, seeds=(0,))}
    assert found["tomorrow"].z > 10.0 and found["tomorrow"].earned > 0.5
    assert all(found[name].passed and abs(found[name].z) < 3.0 for name in ("shuffled", "noise"))


def test_validation_of_the_gate_waits_for_the_other_side_of_a_pair(bars: Bars) -> None:
    seen = members(bars, Practice(valid_every=64))["gate"].validation
    nobody, missing = seen.reference(), seen.history.bars.close.copy()
    missing[seen.first :: 2, 1] = np.nan
    holed = dataclasses.replace(seen.history.bars, close=missing, open=missing, high=missing, low=missing)
    waiting = dataclasses.replace(seen, history=seen.history._replace(bars=holed))
    apart = [(leg, (column,)) for leg, columns in bundles_of(seen.legs.layout) for column in columns]
    alone = layout_of([[columns for leg, columns in apart if leg == number] for number in range(2)])
    free = dataclasses.replace(waiting, legs=dataclasses.replace(seen.legs, layout=alone))
    assert len({nobody, free.reference(), waiting.reference()}) == 3
