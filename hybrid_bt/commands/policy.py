"""`hybrid-bt policy`: a frozen policy's manifest as a card; a model of Stable-Baselines3 made into a frozen policy.

Loading such a model with SB3 runs whatever code was put into its zip. The import does not: it reads the file as data
(`policies.sb3_archive`), and what cannot be read so is refused, unless `--trust` says that SB3 may load it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hybrid_bt.commands.console import AMOUNT, DAY, FILE, Flag, Group, check_trainers, flag, listed, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.tables import say
from hybrid_bt.errors import PolicyError

COSTS = {"spread_bps": "spread_bps", "fee_bps": "fee_bps", "borrow_bps": "borrow_bps_per_year"}  #: flag -> in manifests
MAX_NAMES_BYTES = 65_536
MAX_MESSAGE = 1_000  # letters


@click.group("policy", cls=Group, epilog="Example: hybrid-bt policy show package:sac.onnx")
def main() -> None:
    """Look into frozen policies, and make them from models of Stable-Baselines3."""


@main.command("show", epilog="Example: hybrid-bt policy show package:sac.onnx")
@click.argument("file", type=FILE)
@shared("json")
def show(file: Path, as_json: bool) -> None:
    """Check a frozen policy and print what it observes, does and was trained on."""
    from hybrid_bt.config.build import policy_path
    from hybrid_bt.files.texts import flat
    from hybrid_bt.policies.frozen import FrozenPolicy

    policy = FrozenPolicy.load(policy_path(str(file)))
    fields = {"file": str(file), "sha256": policy.sha256, **policy.manifest.model_dump(mode="json")}
    if as_json:
        echo(*json.dumps(fields, indent=2, sort_keys=True).splitlines())
        return
    results = fields.pop("results")
    shown = fields | (flat(results, "results.") or {"results": results})  # what a reader of a card looks for first
    shown["gradient_steps"] = shown["gradient_steps"] or "not recorded"
    width = max(map(len, shown))
    for name, value in shown.items():
        say(f"{name:{width}}  {_plain(value)}", hang=4)


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    return "-" if value is None else str(value)


@main.command(
    "import-sb3",
    epilog="Example: hybrid-bt policy import-sb3 model.zip --kind sac --observation names.txt --symbols KO"
    ",PEP --train-start 1990-01-02 --train-end 2009-12-31 --out my_sac.onnx",
)
@click.argument("model", type=FILE)
@option(
    "--kind",
    type=click.Choice(["sac", "gate", "portfolio"]),
    help="Trained as on Asset-v0, Regime-v0 or Portfolio-v0.  [default: as many numbers as it reads and answers say]",
)
@option(
    "--observation",
    metavar="A,B,C|FILE",
    help="What the model reads, in its order: names, or a file with one per line.  [default: all that is shown there]",
)
@option("--out", type=FILE, required=True, help="File to write: .onnx, or with --trust .zip, kept as an object.")
@option("--train-start", type=DAY, required=True, help="First training day.")
@option("--train-end", type=DAY, required=True, help="Last training day; runs begin after it.")
@option("--valid-start", type=DAY, help="First day used to choose the model, if any.")
@option("--valid-end", type=DAY, help="Last such day; runs begin after it.")
@listed("--symbols", required=True, help="Trained on; of a portfolio in the order of its actions.")
@option("--vecnormalize", type=FILE, help="Statistics of VecNormalize.save().")
@flag("--unscaled", help="No VecNormalize scaled observations.")
@option("--observation-clip", type=AMOUNT, help="Clip.  [default: none, as SB3]")
@option("--data-sha256", help="Of the training bars, if known (run.json has it).")
@option("--seed", type=int, help="Of the training.  [default: the zip's]")
@option("--reward", default="not stated", help="In words.")
@option("--action-meaning", help="In words, with unit.  [default: that of --kind]")
@option("--spread-bps", type=float, help="Spread charged in training, bps.")
@option("--fee-bps", type=float, help="Fee charged in training, bps.")
@option("--borrow-bps", type=float, help="Borrowing fee charged in training, bps per year.")
@option("--mode", type=click.Choice(["stable", "aggressive"]), help="If meant for one mode only.")
@flag("--trust", help="Let SB3 load MODEL, which runs code in it: you know who made it.")
def import_sb3(model: Path, observation: str | None, out: Path, seed: int | None, **flags: Flag) -> None:
    """Freeze a MODEL.zip that you trained with Stable-Baselines3 or sb3-contrib.

    SAC, TD3, DDPG, TQC, CrossQ, PPO, A2C, TRPO, RecurrentPPO and ARS. The file is read as data, and nothing in it is
    run, unless you --trust it. The frozen policy repeats model.predict(deterministic=True), VecNormalize included;
    that is checked before it is written. What cannot be frozen is kept as an object (--trust --out NAME.zip), which
    hybrid-bt run --trust runs.
    """
    check_trainers("importing")
    from hybrid_bt.policies.sb3_model import import_model

    ways: dict[str, Any] = {name: flags.pop(name) for name in ("vecnormalize", "unscaled", "trust")}
    costs = {field: value for flag, field in COSTS.items() if (value := flags.pop(flag)) is not None}
    stated: dict[str, Any] = {"costs": costs}
    stated |= {name: value for name, value in flags.items() if value is not None}
    if seed is not None:
        stated["seeds"] = [seed]
    try:
        policy = import_model(model, _names(observation) if observation else None, out, stated, **ways)
    except PolicyError as error:  # names out of a file may be long
        raise PolicyError(str(error)[:MAX_MESSAGE]) from error
    made = policy.manifest
    say(f"{out}:", f"    {made.kind} from {made.results['imported_from']}, sha256 {policy.sha256}")


def _names(text: str) -> list[str]:
    """Names in a list, or in a file that holds them in lines or a list."""
    if "," not in text and Path(text).is_file():
        from hybrid_bt.policies.file import read_bytes

        text = read_bytes(Path(text), MAX_NAMES_BYTES, "a text with one name per line").decode(errors="replace")
    return [name for line in text.splitlines() for word in line.split(",") if (name := word.strip())]
