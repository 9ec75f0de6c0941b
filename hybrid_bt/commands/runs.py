"""`hybrid-bt runs`: what was tried, from the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hybrid_bt.commands.console import COUNT, FILE, command, option, say, table
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.errors import ConfigError
from hybrid_bt.evidence.trials import LEDGER, others_tried, read_trials
from hybrid_bt.files.texts import flat

WIDTH = 140  #: of a row with its span
_TEXTS = ("when", "command", "mode", "data", "span", "in sample")  #: columns
_FIGURES = {"cagr": ".2%", "sharpe": ".2f", "max_drawdown": ".2%"}
_COLUMNS = ("number", *_TEXTS[:-1], "CAGR", "Sharpe", "max drawdown", "in sample")


@command()
@click.argument("compared", nargs=-1, type=int, metavar="[A B]")
@option("--ledger", type=FILE, default=Path(LEDGER), help="File that runs and studies append to.")
@option("--last", type=COUNT, default=20, help="How many to list.")
@shared("json")
def main(compared: tuple[int, ...], ledger: Path, last: int, as_json: bool) -> None:
    """List the runs and studies of a ledger, or compare the settings and results of numbers A and B of the list."""
    found = read_trials(ledger)
    if not found.trials:
        damaged = f" but {found.damaged} damaged line(s)" if found.damaged else ""
        raise ConfigError(
            f"ledger: {ledger} holds no trial{damaged}; run something first, or name another with --ledger"
        )
    if compared:
        _compare(found.trials, compared, as_json)
        return
    numbered = list(enumerate(found.trials))[-last:]
    if as_json:
        echo(json.dumps([{"number": number, **trial} for number, trial in numbered]))
        return
    say(table(_COLUMNS, (_row(number, trial) for number, trial in numbered), left=_TEXTS), width=WIDTH)
    names = {str(trial.get("data_sha256")): str(trial.get("data")) for _, trial in reversed(numbered)}
    for data, name in sorted(names.items()):
        echo(f"{len(others_tried(found, data))} different configurations were tried on {name} ({data[:12]})")
    if found.damaged:
        echo(f"{found.damaged} damaged line(s) in {ledger} were passed over")


def _row(number: int, trial: Mapping[str, Any]) -> tuple[str, ...]:
    """Figures are empty where a line written by hand, or by another version, has none."""
    span, known = trial.get("span"), flat(trial)
    figures = ((known.get(f"result.{name}"), form) for name, form in _FIGURES.items())
    return (
        str(number),
        str(trial.get("when", ""))[:16].replace("T", " "),
        *(str(trial.get(name, "")) for name in ("command", "mode", "data")),
        " to ".join(map(str, span)) if isinstance(span, list) else "",
        *(format(float(value), form) if isinstance(value, int | float) else "" for value, form in figures),
        "yes" if trial.get("in_sample") else "",
    )


def _compare(trials: list[dict[str, Any]], numbers: tuple[int, ...], as_json: bool) -> None:
    if len(numbers) != 2 or not all(0 <= number < len(trials) for number in numbers):
        raise ConfigError(f"runs: name two numbers between 0 and {len(trials) - 1}, got {list(numbers)}")
    a, b = (flat(trials[number]) for number in numbers)
    differing = {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}
    if as_json:
        echo(json.dumps(differing))
        return
    for key, (left, right) in differing.items():
        echo(f"{key:<40}{left!s:>30}{right!s:>30}")
