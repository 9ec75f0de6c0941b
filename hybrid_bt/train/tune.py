"""Settings of an agent that were worth most on markets left out, sought by Optuna (extra `tune`).

A trial is a set of settings. With it the first seed learns on all markets but one and is judged on that one, for each
in turn: its gain is the mean of the Sharpe ratio less that of an action that is held. A trial whose mean over as many
markets stands below the median of those before it is pruned. The best gain of many flatters: it was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np

from hybrid_bt.account.metrics import Summary
from hybrid_bt.bars.market import Market
from hybrid_bt.equations.parameters import validated
from hybrid_bt.errors import ConfigError, check_names, library
from hybrid_bt.train.agents import AgentValidation
from hybrid_bt.train.members import named
from hybrid_bt.train.pipeline import Lesson, left_out
from hybrid_bt.train.spec import algo_settings, settable

FULL_TRIALS = 4  #: before any is pruned
LEAST_MARKETS = 2


class Range(NamedTuple):
    """Numbers between two ends, whole ones where both ends are."""

    low: Annotated[int | float, "lowest"]
    high: Annotated[int | float, "highest"]
    log: Annotated[bool, "drawn by their logarithm"] = False

    def contradiction(self) -> str:
        """What does not fit together, or ""."""
        fits = (0.0 if self.log else -np.inf) < self.low < self.high
        return "" if fits else f"low {self.low} must be below high {self.high}, and above 0 where log"


Space: TypeAlias = Mapping[str, Range | Sequence[Any]]  #: setting -> a range, or choices

#: where nothing is asked for, of those settings that the algorithm has and that are not given
SPACE: Space = {
    "learning_rate": Range(1e-5, 1e-2, log=True),
    "gamma": [0.0, 0.5, 0.9, 0.99],
    "batch_size": [64, 256, 1024],
    "policy_kwargs": [{"net_arch": [32, 32]}, {"net_arch": [64, 64]}, {"net_arch": [256, 256]}],
}


class Trial(NamedTuple):
    """Settings, and what they were worth."""

    number: int
    settings: dict[str, Any]
    judged: tuple[tuple[Market, Summary, float], ...]  #: each market left out, the account there, its gain
    ended: str  #: complete, pruned, or why it failed

    @property
    def gain(self) -> float:
        """Mean over the markets; NaN for none."""
        return float(np.mean([gain for *_, gain in self.judged])) if self.judged else np.nan


#: (number of the trial, its settings) -> what it is worth, market after market
Judged: TypeAlias = Callable[[int, dict[str, Any]], Iterator[tuple[Market, Summary, float]]]


def space_of(given: Mapping[str, Any], lesson: Lesson) -> Space:
    """Of a `[tune]` table: lists of choices, or tables of `low`, `high` and `log`; where there is none, what of
    `SPACE` is not set already.

    Raises
    ------
    ConfigError
        For a setting that the algorithm does not have (with the nearest), or choices or ends that make no sense.
    """
    algo = lesson.agent.algo
    if not given:
        free = {*settable(algo)} - {*lesson.agent.settings}
        if not free & {*SPACE}:
            raise ConfigError("[tune]: whatever is sought by default is set in [algo]; say there what is to be sought")
        return {name: choices for name, choices in SPACE.items() if name in free}
    check_names(given, settable(algo), f"[tune]: {algo} has no setting")
    space: dict[str, Range | Sequence[Any]] = {}
    for name, value in given.items():
        if not (isinstance(value, Mapping | list) and value):
            raise ConfigError(f"[tune] {name} = {value!r}: give a list of choices, or {{low = 1e-5, high = 1e-2}}")
        choices = validated(Range, value, f"[tune] {name}") if isinstance(value, Mapping) else value
        for one in choices[:2] if isinstance(choices, Range) else choices:
            algo_settings(lesson.agent._replace(settings={name: one}), 1)
        space[name] = choices
    return space


def search(space: Space, n_trials: int, seed: int, judged: Judged) -> Iterator[Trial]:
    """Trials, one after another; the same seed draws the same settings from the same gains."""
    optuna = library("optuna", "tune", "tuning needs optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=FULL_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    for number in range(n_trials):
        asked, found, ended = study.ask(), list[tuple[Market, Summary, float]](), "complete"
        settings = {name: _drawn(asked, name, choices) for name, choices in space.items()}
        try:
            for one in judged(number, settings):
                found.append(one)
                asked.report(Trial(number, settings, tuple(found), ended).gain, len(found))
                if asked.should_prune():
                    ended = "pruned"
                    break
        except ConfigError as error:
            ended = str(error)
        states = {"complete": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED}
        trial, state = Trial(number, settings, tuple(found), ended), states.get(ended, optuna.trial.TrialState.FAIL)
        study.tell(asked, trial.gain if ended == "complete" else None, state=state)
        yield trial


def _drawn(trial: Any, name: str, choices: Range | Sequence[Any]) -> Any:  # noqa: ANN401  of optuna; and what is chosen
    if not isinstance(choices, Range):
        return choices[trial.suggest_categorical(name, list(range(len(choices))))]
    low, high, log = choices
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def tune(lesson: Lesson, space: Space, n_trials: int) -> Iterator[Trial]:
    """Trials over the markets of a lesson, each left out in turn."""
    if len(lesson.markets) < LEAST_MARKETS:
        raise ConfigError("tuning leaves one market out after the other; name two or more with --markets")

    def judged(number: int, settings: dict[str, Any]) -> Iterator[tuple[Market, Summary, float]]:
        spec = lesson.agent._replace(settings={**lesson.agent.settings, **settings})
        practice, tell = lesson.practice._replace(checkpoint_dir=None), named(lesson.tell, f"trial {number}")
        tried = lesson._replace(agent=spec, practice=practice, tell=tell)
        for market, judge, model in left_out("agent", tried):
            assert isinstance(judge, AgentValidation)
            summary, held = judge.summary([model]), judge.reference().sharpe
            yield market, summary, float(np.nan_to_num(summary.sharpe) - np.nan_to_num(held))

    return search(space, n_trials, lesson.seeds[0], judged)


def best(trials: Sequence[Trial]) -> Trial:
    """The complete one with the highest gain; ConfigError if there is none."""
    complete = [trial for trial in trials if trial.ended == "complete"]
    if not complete:
        raise ConfigError(f"tuning: none of {len(trials)} trials was completed; the last: {trials[-1].ended}")
    return max(complete, key=lambda trial: trial.gain)
