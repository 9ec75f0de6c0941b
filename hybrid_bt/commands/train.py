"""`hybrid-bt train`: train policies and freeze them to inert files, or agents of an environment; check the learner."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybrid_bt.commands.console import COUNT, DAY, FILE, Flag, Flags, check_trainers, command, flag, listed, option
from hybrid_bt.commands.ending import echo, unclocked
from hybrid_bt.commands.given import alone
from hybrid_bt.commands.options import MARKETS, market_of, markets_of, shared
from hybrid_bt.commands.tables import say
from hybrid_bt.commands.train_agent import parts_of, train_agent, with_settings
from hybrid_bt.errors import ConfigError
from hybrid_bt.train.spec import ALGOS

if TYPE_CHECKING:
    from hybrid_bt.train.members import Practice
    from hybrid_bt.train.pipeline import Lesson

REHEARSED_TO = date(2004, 12, 31)  #: where the shipped policies' rehearsal ends: the bars that settings learned on
MOST_SEED = 2**31 - 1  #: environments count on from it, and numpy's seeds end at 2**32
AGENT_STEPS = 100_000
OF_AGENT = ("algo", "steps", "tune")  #: flags
FOLDER = click.Path(path_type=Path, file_okay=False)


@command("train", example="train sac --data us20 --sac-steps 400000 --out my_sac.onnx")
@click.argument("kind", required=False, type=click.Choice(["sac", "gate", "shipped", "controls"]))
@option("--env", metavar="Asset-v0|Portfolio-v0|Regime-v0", help="Train an agent of this environment instead.")
@option("--algo", type=click.Choice(sorted(ALGOS)), help="By this algorithm.  [default: ppo]")
@option("--steps", type=COUNT, help=f"Environment steps per agent.  [default: {AGENT_STEPS}]")
@option("--tune", type=COUNT, metavar="TRIALS", help="Seek its settings on markets left out, by Optuna (extra `tune`).")
@shared("mode", "bars", "pairs", "markets")
@option("--train-start", type=DAY, help="First training day.  [default: the first warm bar]")
@option("--train-end", type=DAY, default="2009-12-31", help="Last training day; later bars are not read.")
@shared("steps")
@listed("--seeds", default="0,1,2,3,4", help="One member of the ensemble each.")
@shared("config")
@option("--tensorboard-log", type=FOLDER, help="Folder for TensorBoard.")
@option(
    "--valid-end", type=DAY, help="Last validation day; validation begins behind --train-end.  [default: no validation]"
)
@option("--valid-every", type=COUNT, metavar="STEPS", help="Steps between validations.  [default: 1/20]")
@option(
    "--rehearse-to",
    type=DAY,
    help="First train the same up to this day and put its result on the rest of the training span into the manifest.",
)
@option("--checkpoint-dir", type=FOLDER, help="Folder for checkpoints.")
@option("--checkpoint-every", type=COUNT, default=10_000, help="Steps between two.")
@flag("--resume", help="Go on from the checkpoints that are there.")
@shared("jobs", "ledger")
@option("--out", type=FILE, help="File; of shipped and --env a folder.  [default: KIND.onnx, policies, ENV-ALGO]")
def main(kind: str | None, **flags: Flag) -> None:
    """Train sac (tilts) or gate (regime score) and freeze the ensemble of all seeds to one ONNX file.

    The same seeds on one thread give the same file, whatever --jobs and however often a training with --checkpoint-dir
    was interrupted and resumed. Validations go to OUT's name with .validation.csv; they trade under --mode's numbers.

    shipped makes all shipped policies again, in the folder --out, and compares them with the files that ship; status 1
    if one is not the same.

    --env trains an agent by any algorithm of Stable-Baselines3 or sb3-contrib that answers numbers, and keeps zips,
    VecNormalize and a manifest in the folder --out, which `load_agent` makes parameters of AgentStrategy from. Sections
    of --config: [algo] arguments of the algorithm, [env] those of gym.make and of the training, [tune] what is sought
    and where. With several --markets it is judged on each by what it learns on the others.

    controls trains agents that must earn (one is told what will come) and agents that must not (shuffled returns;
    features of noise), within the training span; status 1 if one of them does otherwise.
    """
    check_trainers("training")
    from hybrid_bt.train.logbook import Logbook
    from hybrid_bt.train.pipeline import learn

    if (kind is None) == (flags["env"] is None):
        raise ConfigError("name sac, gate, shipped or controls, or an environment: --env Portfolio-v0 --algo ppo")
    for name in OF_AGENT if kind else ():
        if flags[name] is not None:
            raise ConfigError(f"--{name} belongs to an agent; name its environment with --env, or drop --{name}")
    out = flags["out"] or _default_out(kind, flags)
    click.get_current_context().with_resource(alone(out))
    if kind == "shipped":
        _shipped(flags, out)
        return
    if out.is_dir() and kind in ("sac", "gate"):  # said now, not after hours of training
        raise ConfigError(f"--out {out} is a folder; name a file, {out / 'policy.onnx'} say")
    if out.is_file() and kind is None:
        raise ConfigError(f"--out {out} is a file; an agent is kept in a folder")
    logbook = Logbook(out)
    lesson = _lesson({**flags, "kind": kind})._replace(tell=logbook.hear)
    with unclocked(), logbook.progress(sys.stderr.isatty()):
        if kind == "controls":
            _controls(lesson)
            return
        if kind is None:
            train_agent(lesson, flags, out)
            return
        policy = learn(kind, lesson, out)
    say(f"{out}: {kind}, {policy.manifest.members} members, sha256 {policy.sha256}")


def _default_out(kind: str | None, flags: Flags) -> Path:
    names = {None: f"{flags['env']}-{flags['algo'] or 'ppo'}", "shipped": "policies"}
    return Path(names.get(kind, f"{kind}.onnx").replace("/", "-"))


def _shipped(flags: Flags, folder: Path) -> None:
    from hybrid_bt.train.logbook import Logbook, compare, rebuild

    logbook = Logbook(folder / "shipped")
    if flags["valid_end"] is not None:
        raise ConfigError("shipped policies are trained to the end and rehearsed, not validated; drop --valid-end")
    if any(parts_of(flags["config"]).values()):
        raise ConfigError(
            "shipped policies are trained by their own numbers; drop [algo], [env] and [tune] of --config"
        )
    folder.mkdir(exist_ok=True)
    asked = {
        "kind": "shipped",
        "rehearse_to": flags["rehearse_to"] or REHEARSED_TO,
        "markets": flags["markets"] or MARKETS,
    }
    lesson = _lesson({**flags, **asked})._replace(tell=logbook.hear)
    all_same = True
    with unclocked(), logbook.progress(sys.stderr.isatty()):
        for made, shipped in rebuild(lesson, folder):
            differences = compare(made, shipped)
            verdict = f"NOT the shipped bytes, {differences}" if differences else "the same bytes as the shipped file"
            say(f"{made.name}: {verdict}")
            all_same &= not differences
    if not all_same:
        raise click.exceptions.Exit(1)


def _controls(lesson: Lesson) -> None:
    from hybrid_bt.train.controls import run_controls
    from hybrid_bt.train.pipeline import grounds_of

    grounds = grounds_of(lesson, "sac")
    rows = run_controls(grounds, lesson.sac, steps=lesson.sac_steps, seeds=lesson.seeds, tell=lesson.tell)
    echo(f"{'control':<10}{'seed':>5}{'earned':>10}{'z':>8}")
    for row in rows:
        verdict = "as it must" if row.passed else "NOT AS IT MUST"
        echo(f"{row.name:<10}{row.seed:>5}{row.earned:>10.3f}{row.z:>8.1f}  {verdict}")
    if not all(row.passed for row in rows):
        raise click.exceptions.Exit(1)


def _lesson(flags: Flags) -> Lesson:
    from hybrid_bt.config import load_config
    from hybrid_bt.train.pipeline import Lesson

    start, end, rehearse_to = (flags[day] for day in ("train_start", "train_end", "rehearse_to"))
    if start and end <= start:
        raise ConfigError(f"--train-end {end} is not after --train-start {start}; exchange them or widen the span")
    if rehearse_to and not (start or date.min) < rehearse_to < end:
        raise ConfigError(f"--rehearse-to {rehearse_to} is not between --train-start {start} and --train-end {end}")
    until = flags["valid_end"] or end
    markets = markets_of({**flags, "end": until}) if flags["markets"] else [market_of(flags, end=until)]
    market, parts = markets[0], parts_of(flags["config"])
    config = load_config(flags["mode"], flags["config"], apart=tuple(parts))
    lesson = Lesson(
        markets=tuple(markets),
        config=config.for_stamps(market.until(end).bars.stamps),
        start=start,
        end=end,
        seeds=_seeds(flags["seeds"]),
        sac_steps=flags["sac_steps"],
        ppo_steps=flags["ppo_steps"],
        valid_end=flags["valid_end"],
        rehearse_to=rehearse_to,
        practice=_practice(flags),
        steps=flags["steps"] or AGENT_STEPS,
    )
    return with_settings(lesson, flags, parts)


def _practice(flags: Flags) -> Practice:
    from hybrid_bt.train.members import Practice

    if flags["valid_end"] is None and flags["valid_every"] is not None:
        raise ConfigError("--valid-every needs --valid-end: there is nothing to validate on")
    if flags["resume"] and flags["checkpoint_dir"] is None:
        raise ConfigError("--resume needs --checkpoint-dir: name the folder that the checkpoints are in")
    for name in ("checkpoint_dir", "tensorboard_log"):
        if flags[name] is not None:
            flags[name].mkdir(parents=True, exist_ok=True)
    return Practice(**{name: flags[name] for name in Practice._fields})


def _seeds(words: tuple[str, ...]) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in words)
    except ValueError:
        raise ConfigError(f"--seeds {','.join(words)}: seeds are whole numbers; write 0,1,2") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MOST_SEED:
        raise ConfigError(f"--seeds {','.join(words)}: each seed once, from 0 to {MOST_SEED}")
    return seeds
