"""`hybrid-bt policy import-sb3`: a model that Stable-Baselines3 saved becomes a frozen policy.

Loading such a zip with SB3 runs whatever code was put into it. The import never does that: it reads the file as data
(`archive`, `inert_pickle`), in a process of its own, and what cannot be read so is refused. It still asks for
`--trust`, because a policy decides about money, and nothing in a zip says who trained it on what.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import click

from hybrid_bt.console import DAY, FILE, check_installed, command, flag, listed, option
from hybrid_bt.errors import ConfigError, PolicyError

NEEDED = ("torch", "stable_baselines3", "sb3_contrib", "onnx")
TIMEOUT_SECONDS = 600
MAX_NAMES_BYTES = 65_536
MAX_MESSAGE = 1_000  # letters


@command("import-sb3")
@click.argument("model", type=FILE)
@option("--kind", type=click.Choice(["sac", "gate"]), required=True, help="Leg of exposures, or regime gate.")
@option(
    "--observation",
    required=True,
    metavar="A,B,C|FILE",
    help="What the model reads, in its order: names, or a file with one per line.",
)
@option("--out", type=FILE, required=True, help="File to write (.onnx).")
@option("--train-start", type=DAY, required=True, help="First training day.")
@option("--train-end", type=DAY, required=True, help="Last training day; runs begin after it.")
@option("--valid-start", type=DAY, help="First day used to choose the model, if any.")
@option("--valid-end", type=DAY, help="Last such day; runs begin after it.")
@listed("--symbols", required=True, help="Trained on.")
@option("--vecnormalize", type=FILE, help="Statistics of VecNormalize.save().")
@option("--observation-clip", type=click.FloatRange(0, min_open=True), help="Clip.  [default: the model's Box]")
@option("--data-sha256", help="Of the training bars, if known (run.json has it).")
@option("--seed", type=int, help="Of the training.  [default: the zip's]")
@option("--reward", default="not stated", help="In words.")
@option("--action-meaning", help="In words, with unit.  [default: that of --kind]")
@option("--spread-bps", type=float, help="Spread charged in training, bps.")
@option("--fee-bps", type=float, help="Fee charged in training, bps.")
@option("--borrow-bps", type=float, help="Borrowing fee charged in training, bps per year.")
@option("--mode", type=click.Choice(["stable", "aggressive"]), help="If meant for one mode only.")
@flag("--trust", help="You know who made these files.")
def import_sb3(model: Path, trust: bool, **flags: Any) -> None:
    """Freeze a MODEL.zip of SAC, TD3, DDPG, PPO, A2C or RecurrentPPO that you trained with Stable-Baselines3.

    The file is read as data, in a process of its own, and nothing in it is run. The frozen policy repeats
    model.predict(deterministic=True), VecNormalize included; that is checked before it is written.
    """
    if not trust:
        raise PolicyError(
            f"import: {model} was not opened. A zip that SB3 saved holds pickles, which run code when SB3 loads them, "
            "and nothing in it proves who made it; if you do know, say so with --trust "
            "(even then it is read as data, in a process of its own, and what cannot be read so is refused)"
        )
    check_installed("importing", "train", NEEDED)
    answer = _ask(_request(model, flags))
    if "error" in answer:
        raise PolicyError(_printable(answer["error"]))
    from hybrid_bt.policy import FrozenPolicy

    policy = FrozenPolicy.load(flags["out"])
    origin = policy.manifest.results["imported_from"]
    click.echo(f"{flags['out']}: {flags['kind']} from {origin}, sha256 {policy.sha256}")


def _printable(said: str) -> str:
    """Names out of a file may be long, or hold what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in said[:MAX_MESSAGE])


def _request(model: Path, flags: dict[str, Any]) -> dict[str, Any]:
    costs = {"spread_bps": "spread_bps", "fee_bps": "fee_bps", "borrow_bps_per_year": "borrow_bps"}
    stated: dict[str, Any] = {
        key: flags[key].isoformat() if isinstance(flags[key], date) else flags[key]
        for key in ("train_start", "train_end", "valid_start", "valid_end", "symbols", "data_sha256", "reward")
    }
    stated |= {key: flags[key] for key in ("action_meaning", "mode")}
    stated["seeds"] = None if flags["seed"] is None else [flags["seed"]]
    stated["costs"] = {name: flags[flag] for name, flag in costs.items() if flags[flag] is not None}
    return {
        "model": str(model.absolute()),
        "kind": flags["kind"],
        "observation": _names(flags["observation"]),
        "observation_clip": flags["observation_clip"],
        "vecnormalize": str(flags["vecnormalize"].absolute()) if flags["vecnormalize"] else None,
        "out": str(flags["out"].absolute()),
        "manifest": stated,
    }


def _names(text: str) -> list[str]:
    """Names in a list, or in a file that holds them in lines or a list."""
    if "," not in text and Path(text).is_file():
        raw = Path(text).read_bytes()[: MAX_NAMES_BYTES + 1]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise ConfigError("--observation: the file is not text; write one name per line") from None
        if len(raw) > MAX_NAMES_BYTES:
            raise ConfigError("--observation: the file is too long; write one name per line")
    names = [name.strip() for line in text.splitlines() for name in line.rstrip(", ").split(",")]
    return [name for name in names if name]


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """Let a process of its own read the files; it finds modules where this one does, the working folder aside."""
    path = os.pathsep.join(entry for entry in sys.path if entry) + os.pathsep + str(Path(__file__).parents[2])
    code = "from hybrid_bt.sb3.freezing import main; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise PolicyError(
            f"import: {request['model']} was not read within {TIMEOUT_SECONDS} s; is it such a model?"
        ) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise PolicyError(
            f"import: reading {request['model']} ended with status {done.returncode} ({last}); the file is damaged or "
            "asks for more than this machine has"
        ) from None
    return answer
