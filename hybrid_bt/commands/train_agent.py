"""`hybrid-bt train --env`: an agent of a registered environment, by settings that are given or sought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_bt.commands.console import Flags
from hybrid_bt.commands.tables import say
from hybrid_bt.errors import ConfigError, did_you_mean
from hybrid_bt.evidence.trials import LEDGER, append_trial, check_ledger, trial_of

if TYPE_CHECKING:
    from hybrid_bt.train.pipeline import Lesson
    from hybrid_bt.train.spec import AgentSpec
    from hybrid_bt.train.tune import Trial

PARTS = ("algo", "env", "tune")  #: sections of a file that are of a training
OWN = ("n_envs", "n_assets", "episode_bars", "normalize")  #: keys of [env] that are not the environment's
OF_FLAGS = ("spec", "bars", "mode", "pairs", "start", "end", "compiled", "render_mode")


def parts_of(file: Path | None) -> dict[str, dict[str, Any]]:
    """Those sections of a file; ConfigError for one that is no table."""
    from hybrid_bt.config.parts import read_toml

    given = read_toml(file) if file else {}
    for name in PARTS:
        if not isinstance(given.get(name, {}), Mapping):
            raise ConfigError(f"{file}: [{name}] must be a table of keys, got {given[name]!r}")
    return {name: given.get(name, {}) for name in PARTS}


def with_settings(lesson: Lesson, flags: Flags, parts: Mapping[str, Mapping[str, Any]]) -> Lesson:
    """A lesson with the settings of a file: those of SAC or of the gate, or of an agent.

    Raises
    ------
    ConfigError
        For a section or key that there is not, with the nearest.
    """
    from hybrid_bt.equations.parameters import validated
    from hybrid_bt.train.spec import GateSpec, SacSpec

    if flags["env"] is not None:
        return lesson._replace(agent=_agent_spec(flags, parts))
    for name in ("env", "tune"):
        if parts[name]:
            raise ConfigError(f"[{name}] belongs to an agent; name its environment with --env, or drop the section")
    if flags["kind"] == "gate":
        return lesson._replace(gate=validated(GateSpec, parts["algo"], "[algo]"))
    return lesson._replace(sac=validated(SacSpec, parts["algo"], "[algo]"))


def _agent_spec(flags: Flags, parts: Mapping[str, Mapping[str, Any]]) -> AgentSpec:
    from hybrid_bt.config.parts import read_toml
    from hybrid_bt.envs import Task, named
    from hybrid_bt.equations.parameters import validated
    from hybrid_bt.train.spec import AgentSpec, algo_settings

    for section in read_toml(flags["config"]) if flags["config"] else ():
        if section not in PARTS:
            near = did_you_mean(section, PARTS)
            raise ConfigError(f"{flags['config']}: [{section}] is not an agent's{near} (its costs are [env.costs])")
    terms = dict(parts["env"])
    own = {key: terms.pop(key) for key in OWN if key in terms}
    for key in terms:
        near = did_you_mean(key, OWN)
        if key in OF_FLAGS:
            raise ConfigError(f"[env] {key} is said by flags: --data, --symbols, --pairs, --mode, --train-start")
        if key not in Task._fields and "mean" in near:
            raise ConfigError(f"[env] has no key {key!r}{near}")
    said = {"env": named(flags["env"]), "algo": flags["algo"] or "ppo", "mode": flags["mode"]}
    spec = validated(AgentSpec, {**said, **own, "terms": terms, "settings": parts["algo"]}, "[env]")
    algo_settings(spec, 1)
    return spec


def train_agent(lesson: Lesson, flags: Flags, out: Path) -> None:
    """Seek settings where that is asked for, train, and say what it was worth."""
    from hybrid_bt.train.kept import dealing, learn_agent

    lesson, results = lesson._replace(agent=dealing(lesson)), dict[str, Any]()
    if flags["tune"]:
        lesson, results["tuning"] = _tuned(lesson, flags, out.absolute().parent / LEDGER)
    elif parts_of(flags["config"])["tune"]:
        raise ConfigError("[tune] says what is sought, and nothing is; give --tune TRIALS, or drop the section")
    said = learn_agent(lesson, out, **results)
    left_out = said["results"].get("left_out")
    say(f"{out}: {said['algo']} of {said['env']}-v0, {len(said['seeds'])} members, learned until {said['train_end']}")
    if left_out:
        gain, error = left_out["gain"], left_out["standard_error"]
        say(f"on markets left out: Sharpe {gain:+.3f} over an action that is held, standard error {error:.3f}")
    elif lesson.valid_end is None and lesson.rehearse_to is None:
        say("judged on nothing that it did not learn from: name several --markets, or --valid-end")


def _tuned(lesson: Lesson, flags: Flags, ledger: Path) -> tuple[Lesson, dict[str, Any]]:
    from hybrid_bt.train.tune import best, space_of, tune

    if not flags["no_ledger"]:
        check_ledger(ledger)
    trials = []
    for trial in tune(lesson, space_of(parts_of(flags["config"])["tune"], lesson), flags["tune"]):
        trials.append(trial)
        gain = f"gain {trial.gain:+.3f} on {len(trial.judged)} markets"
        say(f"trial {trial.number}: {gain}, {trial.ended}: {trial.settings}")
        for line in () if flags["no_ledger"] else _lines(trial, lesson):
            append_trial(ledger, line)
    found = best(trials)
    say(f"trial {found.number} is the best of {len(trials)} on markets left out, by which it was chosen")
    spec = lesson.agent._replace(settings={**lesson.agent.settings, **found.settings})
    return lesson._replace(agent=spec), {"trials": len(trials), "best": found.number, "gain": found.gain}


def _lines(trial: Trial, lesson: Lesson) -> Iterator[dict[str, Any]]:
    """Of the ledger: one for each market that was left out."""
    spec = lesson.agent._replace(settings={**lesson.agent.settings, **trial.settings})
    config = {**spec._asdict(), "steps": lesson.steps, "learner_seed": lesson.seeds[0]}
    for market, summary, gain in trial.judged:
        traded = market.bars.between(summary.start_date, summary.end_date)
        more = {"trial": trial.number, "ended": trial.ended, "left_out": True, "gain": gain}
        yield trial_of("train", traded, config, {}, summary, data_sha256=market.bars.sha256, **more)
