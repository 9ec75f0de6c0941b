"""`hybrid-bt runs`: what was tried, from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from hybrid_bt.console import command, wide_console
from hybrid_bt.errors import ConfigError
from hybrid_bt.trials import LEDGER, count_trials, read_trials

WIDTH = 140  #: of a row with its span
_FIGURES = ("cagr", "sharpe", "max_drawdown")


@command()
@click.argument("compared", nargs=-1, type=int, metavar="[A B]")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    default=Path(LEDGER),
    show_default=True,
    help="File that runs and studies append to.",
)
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
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
        click.echo(json.dumps([{"number": number, **trial} for number, trial in numbered]))
        return
    _print(numbered)
    for data in sorted({str(trial.get("data_sha256")) for _, trial in numbered}):
        name = next(str(t.get("data")) for _, t in numbered if str(t.get("data_sha256")) == data)
        click.echo(f"{count_trials(found, data)} different configurations were tried on {name} ({data[:12]})")
    if found.damaged:
        click.echo(f"{found.damaged} damaged line(s) in {ledger} were passed over")


def _print(numbered: list[tuple[int, dict[str, Any]]]) -> None:
    from rich.table import Table

    table = Table()
    for name in ("number", "when", "command", "mode", "data", "span", "CAGR", "Sharpe", "max drawdown", "in sample"):
        table.add_column(name, justify="right" if name in ("number", "CAGR", "Sharpe", "max drawdown") else "left")
    for number, trial in numbered:
        cagr, sharpe, deepest = (_figure(trial, name) for name in _FIGURES)
        span = trial.get("span")
        table.add_row(
            str(number),
            str(trial.get("when", ""))[:16].replace("T", " "),
            str(trial.get("command", "")),
            str(trial.get("mode", "")),
            str(trial.get("data", "")),
            " to ".join(str(day) for day in span) if isinstance(span, list) else "",
            "" if cagr is None else f"{cagr:.2%}",
            "" if sharpe is None else f"{sharpe:.2f}",
            "" if deepest is None else f"{deepest:.2%}",
            "yes" if trial.get("in_sample") else "",
        )
    wide_console(WIDTH).print(table)


def _figure(trial: Mapping[str, Any], name: str) -> float | None:
    """A number of the result; None where a line written by hand, or by another version, has none."""
    result = trial.get("result")
    value = result.get(name) if isinstance(result, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _compare(trials: list[dict[str, Any]], numbers: tuple[int, ...], as_json: bool) -> None:
    if len(numbers) != 2 or not all(0 <= number < len(trials) for number in numbers):
        raise ConfigError(f"runs: name two numbers between 0 and {len(trials) - 1}, got {list(numbers)}")
    a, b = (dict(_flat(trials[number])) for number in numbers)
    differing = {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}
    if as_json:
        click.echo(json.dumps(differing))
        return
    for key, (left, right) in differing.items():
        click.echo(f"{key:<40}{left!s:>30}{right!s:>30}")


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    main()
