"""The trial ledger `runs.jsonl`: one line for every run and study, appended and never changed.

Whoever tries often enough finds a good result by luck, so the number of trials belongs beside it: it feeds the deflated
Sharpe ratio. A line is one JSON object, written by a single append under a lock and flushed to the disk; a line that a
crash cut off is counted and passed over, and the next one begins on a line of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hybrid_bt.errors import ConfigError, os_errors
from hybrid_bt.files import append_line
from hybrid_bt.files.texts import end_days, flat, json_object, plain

if TYPE_CHECKING:
    from hybrid_bt.account.metrics import Summary
    from hybrid_bt.bars import Bars
    from hybrid_bt.config.task import Case

LEDGER = "runs.jsonl"
FORMAT = 1
ELSEWHERE = "pass --no-ledger, or write elsewhere"
#: keys of a run's configuration that move no order of the hybrid, or that the prices' sha256 stands for already
NOT_TRIED = ("mode", "data", "symbols", "start", "benchmark", "allow_in_sample", "seed", "kalman_fitted")


class TrialLedger(NamedTuple):
    """What a ledger file holds."""

    trials: list[dict[str, Any]]  #: in the order in which they were written
    damaged: int  #: lines that are no JSON object


def trial_of(
    command: str, bars: Bars, config: Mapping[str, Any], policies: Mapping[str, str], summary: Summary, **more: object
) -> dict[str, Any]:
    """A line of the ledger.

    Parameters
    ----------
    bars : Bars
        Those that were traded.
    config : mapping
        Resolved configuration, `mode` included.
    policies : mapping
        Name -> sha256.
    summary : Summary
        Of the hybrid.
    **more
        `data_sha256` of all bars, and what else there is to keep.
    """
    from hybrid_bt import __version__

    span, tried = end_days(bars.stamps), plain(config)
    return plain(
        {
            "command": command,
            "version": __version__,
            "mode": tried["mode"],
            "data": bars.name,
            "policies": policies,
            "config": tried,
            "config_sha256": configuration_key(tried, policies, span[0]),
            "span": span,
            "result": result_of(summary),
            **more,
        }
    )


def result_of(summary: Summary) -> dict[str, Any]:
    """What a line holds of an account."""
    return plain({name: getattr(summary, name) for name in ("cagr", "sharpe", "max_drawdown", "volatility")})


def study_trial(task: Case, summary: Summary, **more: object) -> dict[str, Any]:
    """The line of a study of a task; `more` as in `trial_of`."""
    config, policies = _tried(task)
    known = {"data_sha256": task.market.bars.sha256, **more}
    return trial_of("study", task.traded, config, policies, summary, **known)


def study_key(task: Case) -> str:
    """What makes two studies one trial (`configuration_key`)."""
    return configuration_key(*_tried(task), end_days(task.traded.stamps)[0])


def _tried(task: Case) -> tuple[dict[str, Any], dict[str, str]]:
    config = {"mode": task.mode, "pairs": list(task.market.pairs), **task.config.numbers()}
    return config, task.policies.sha256s()


def append_trial(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line.

    Parameters
    ----------
    entry : mapping
        Plain data; `when` (UTC) and `format` are added.

    Raises
    ------
    ConfigError
        If the file cannot be written to.
    """
    text = json.dumps({"format": FORMAT, "when": datetime.now(UTC).isoformat(timespec="seconds"), **entry})
    with os_errors(ConfigError, f"ledger: cannot write to {path}", ELSEWHERE):
        append_line(path, text)


def check_ledger(path: Path) -> None:
    """Say before the work, not after it, that no line could be added; nothing is written.

    Raises
    ------
    ConfigError
    """
    with os_errors(ConfigError, f"ledger: cannot write to {path}", ELSEWHERE):
        if path.exists():  # else it is made in a folder that is written to, too
            path.open("ab").close()


def read_trials(path: Path) -> TrialLedger:
    """All trials of a ledger; none if there is no such file.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    with os_errors(ConfigError, f"ledger: cannot read {path}"):
        lines = [line for line in path.read_bytes().splitlines() if line.strip()] if path.exists() else []
    trials = [trial for line in lines if (trial := json_object(line)) is not None]
    return TrialLedger(trials, len(lines) - len(trials))


def configuration_key(config: Mapping[str, Any], policies: Mapping[str, str], first_day: str) -> str:
    """sha256 of what makes a trial: runs and studies that decide alike on the same prices are one.

    Parameters
    ----------
    config : mapping
        Resolved configuration as plain data; `NOT_TRIED` is left out.
    policies : mapping
        Name -> sha256.
    first_day : str
        Date of the first decision.
    """
    tried = {key: value for key, value in config.items() if key not in NOT_TRIED}
    whole = {"config": tried, "policies": dict(policies), "first_day": first_day}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def others_tried(ledger: TrialLedger, data_sha256: str, but: str = "") -> dict[str, Any]:
    """Configurations tried on these prices, that of key `but` aside: key -> the last Sharpe ratio a year, or None."""
    found: dict[str, Any] = {}
    for trial in ledger.trials:
        if trial.get("data_sha256") == data_sha256 and str(trial.get("config_sha256")) != but:
            found[str(trial.get("config_sha256"))] = flat(trial).get("result.sharpe")
    return found
