"""`hybrid-bt runs`: what was tried, from the ledger; and two runs on the same bars held against each other."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from hybrid_bt.account import metrics
from hybrid_bt.commands.console import COUNT, FILE, command, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.config import load_config
from hybrid_bt.config.parts import AUTO, MODES
from hybrid_bt.errors import ConfigError, os_errors
from hybrid_bt.evidence import Draws, bootstrap
from hybrid_bt.evidence.trials import LEDGER, TrialLedger, configuration_key, others_tried, read_trials, result_of
from hybrid_bt.files.texts import end_days, flat, json_object, plain

_TEXTS = ("when", "command", "mode", "data", "span", "differs")  #: columns
_FIGURES = {"cagr": ".2%", "sharpe": ".2f", "max_drawdown": ".2%"}
_COLUMNS = ("number", *_TEXTS[:-1], "CAGR", "Sharpe", "max drawdown", "in sample", "differs")
_SPARE = ("when", "command", "span")  #: columns, where there is no room
#: of a trial's settings, what columns of the list, or the span, say already
_TOLD = ("command", "in_sample", "result", "config.mode", "config.data", "config.start", "config.allow_in_sample")
_SETTINGS = ("command", "version", "span", "in_sample", "policies", "config", "result")  #: of a trial, to compare
CHECKSUM, SHORT = re.compile("[0-9a-f]{64}"), 12  #: a checksum, and the digits of it that are told
_RATES = ("sharpe", "cagr")  #: whose differences get an interval


@command(example="runs fig other/fig")
@click.argument("compared", nargs=-1, metavar="[A B]")
@option("--ledger", type=FILE, default=Path(LEDGER), help="File that runs and studies append to.")
@option("--last", type=COUNT, default=20, help="How many to list.")
@shared("json")
def main(compared: tuple[str, ...], ledger: Path, last: int, as_json: bool) -> None:
    """List the runs and studies of a ledger, or compare two on the same bars, A less B.

    A and B are folders of reports, or numbers of the list (./3 is a folder of that name). The differences of Sharpe
    ratio and yearly growth stand in 95 % intervals by the block bootstrap of a study, beside whatever
    differs in the settings. A number whose report is gone, or that is a study, is compared without intervals.
    """
    if compared:
        _compare([_side(name, ledger) for name in compared], as_json)
        return
    found = _trials(ledger)
    numbered = list(enumerate(found.trials))[-last:]
    if as_json:
        echo(json.dumps([{"number": number, **trial} for number, trial in numbered]))
        return
    differing = _differing([trial for _, trial in numbered])
    rows = [(*_row(number, trial), text) for (number, trial), text in zip(numbered, differing, strict=True)]
    say(Table(_COLUMNS, rows, left=_TEXTS, spare=_SPARE))
    names = {str(trial.get("data_sha256")): str(trial.get("data")) for _, trial in reversed(numbered)}
    for data, name in sorted(names.items()):
        say(f"{len(others_tried(found, data))} different configurations were tried on {name} ({data[:12]})")
    if found.damaged:
        say(f"{found.damaged} damaged line(s) in {ledger} were passed over")


def _trials(ledger: Path) -> TrialLedger:
    found = read_trials(ledger)
    if not found.trials:
        damaged = f" but {found.damaged} damaged line(s)" if found.damaged else ""
        raise ConfigError(
            f"ledger: {ledger} holds no trial{damaged}; run something first, or name another with --ledger"
        )
    return found


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


def _differing(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each, the numbers that are not its mode's, and what else the others of its command, mode and data have not."""
    known = [_settings(trial) for trial in trials]
    kinds = [tuple(str(trial.get(name)) for name in ("command", "mode", "data")) for trial in trials]
    found = []
    for kind, settings in zip(kinds, known, strict=True):
        modes = flat(load_config(kind[1]).numbers()) if kind[1] in MODES else {}
        others = [one for other, one in zip(kinds, known, strict=True) if other == kind]
        usual = {
            key: {_text(modes[key])}
            if modes.get(key, AUTO) not in (None, AUTO)
            else {*(one.get(key) for one in others)} - {text}
            for key, text in settings.items()
        }
        found.append(", ".join(f"{key} {text}" for key, text in settings.items() if usual[key] - {text}))
    return found


def _settings(trial: Mapping[str, Any]) -> dict[str, str]:
    """As they are told in the list."""
    known = flat({key: trial.get(key) for key in _SETTINGS})
    span = known.pop("span")
    known |= dict(zip(("start", "end"), span, strict=False)) if isinstance(span, list) else {}
    told = {key: _text(value) for key, value in known.items() if not key.startswith((*_TOLD, "config.kalman_fitted"))}
    return {key.removeprefix("config."): text for key, text in told.items()}


def _text(value: object) -> str:
    """Of a setting; of a checksum, its first digits."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text[:SHORT] if CHECKSUM.fullmatch(text) else text


class Side(NamedTuple):
    """One of two that are compared."""

    name: str
    trial: Mapping[str, Any]  #: as the ledger has it
    bars_per_year: float = 0.0
    stamps: metrics.StampArray | None = None  #: (T,); None where no report is left of it
    equity: metrics.FloatArray = np.empty(0)  #: (T,)
    why: str = ""  #: there is none

    @property
    def bars(self) -> tuple[str, list[str]]:
        """Hash of all prices and span of those traded: what two must have in common."""
        span = self.trial.get("span")
        return str(self.trial.get("data_sha256")), list(map(str, span)) if isinstance(span, list) else []


def _side(name: str, ledger: Path) -> Side:
    """A folder, or a number of the ledger and, where it is still the same run's, the folder that it wrote."""
    if not name.isdecimal():
        return _kept(Path(name))
    trials = _trials(ledger).trials
    if int(name) >= len(trials):
        raise ConfigError(f"runs: {ledger} has no number {name}; name two between 0 and {len(trials) - 1}, or folders")
    trial = trials[int(name)]
    without = Side(name, trial, why=f"{name} is no run of which the ledger knows the folder")
    if trial.get("command") != "run" or not isinstance(trial.get("out"), str):
        return without
    folder = ledger.absolute().parent / trial["out"]
    try:
        kept = _kept(folder)
    except ConfigError as error:
        return without._replace(why=str(error))
    same = all(kept.trial[key] == trial.get(key) for key in ("config_sha256", "data_sha256", "span"))
    return (
        kept._replace(name=name)
        if same
        else without._replace(why=f"{folder} holds another run than {name} by now; give each its own --out")
    )


def _kept(folder: Path) -> Side:
    """What a report's folder says of its run."""
    with os_errors(ConfigError, f"runs: cannot read {folder}", "name the folder of a run's report, or a number"):
        facts = json_object((folder / "run.json").read_bytes())
        raw = (folder / "equity.csv").read_bytes()
    try:
        rows = list(csv.DictReader(raw.decode().splitlines()))
        stamps = np.array([row["datetime"] for row in rows], dtype="M8[us]")
        equity = np.array([float(row["equity"]) for row in rows])
        if facts is None or not np.isfinite(equity).all():
            raise ValueError
        policies = {name: policy["sha256"] for name, policy in facts["policies"].items()}
        rate, span = float(facts["annualisation"]["reports"]), end_days(stamps)
        result = metrics.summarise(equity, stamps, rate, traded_notional=0.0, costs=0.0)
        trial = {
            "command": "run",
            "version": facts["versions"]["hybrid_bt"],
            "data": facts["data"]["name"],
            "data_sha256": facts["data"]["sha256"],
            "span": list(span),
            "in_sample": facts["span"]["in_sample_bars"] > 0,
            "policies": policies,
            "config": dict(facts["config"]),
            "config_sha256": configuration_key(facts["config"], policies, span[0]),
            "result": result_of(result),
        }
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ConfigError(f"runs: run.json or equity.csv in {folder} is damaged; run it again") from None
    return Side(str(folder), trial, rate, stamps, equity)


def _compare(sides: list[Side], as_json: bool) -> None:
    if len(sides) != 2:
        raise ConfigError(f"runs: a comparison takes two, A and B, not {', '.join(side.name for side in sides)}")
    a, b = sides
    if a.bars != b.bars or not (a.stamps is None or b.stamps is None or np.array_equal(a.stamps, b.stamps)):
        raise ConfigError(
            f"runs: {_bars_said(a)}, {_bars_said(b)}; a difference means something on the same bars only: run one of "
            "them again with the other's --data, --symbols, --start and --end"
        )
    known = [flat({key: side.trial.get(key) for key in _SETTINGS}) for side in sides]
    keys = dict.fromkeys(key for each in known for key in each)
    differing = {key: (known[0].get(key), known[1].get(key)) for key in keys if known[0].get(key) != known[1].get(key)}
    why = a.why or b.why
    draws = None if why else _drawn(a, b)
    rates = {name: draws.difference(name, "A", "B") for name in _RATES} if draws else {}
    if as_json:
        found = {"a": a.name, "b": b.name, "a_less_b": {name: rate._asdict() for name, rate in rates.items()}}
        echo(json.dumps(plain({**found, "without_interval": why, "differing": differing})))
        return
    say(f"A: {a.name}", f"B: {b.name}")
    if differing:
        rows = [(key, *map(_text, pair)) for key, pair in differing.items()]
        say(Table(("differs", "A", "B"), rows, left=("differs", "A", "B")))
    else:
        say("no setting and no result differs")
    if draws is None:
        say(f"no interval: {why}")
        return
    sharpe, growth = rates["sharpe"], rates["cagr"]
    verdict = sharpe.verdict("A has the higher Sharpe ratio", "that B has the higher Sharpe ratio")
    sample = "IN SAMPLE: " if a.trial["in_sample"] or b.trial["in_sample"] else ""
    say(
        f"{sample}{verdict}: A less B {sharpe.said(plus=True)}; growth a year {growth.said(percent=True, plus=True)} "
        f"(95 % intervals, {len(a.equity) - 1} returns in blocks of {draws.block_bars:.0f} bars)"
    )


def _bars_said(side: Side) -> str:
    data, span = side.bars
    return f"{side.name} traded {side.trial.get('data')} {' to '.join(span)} (prices {str(data)[:12]})"


def _drawn(a: Side, b: Side) -> Draws:
    """Both accounts on the same resampled bars."""
    assert a.stamps is not None
    known = metrics.measures(a.bars_per_year, metrics.elapsed_years(a.stamps))
    returns = {"A": metrics.simple_returns(a.equity), "B": metrics.simple_returns(b.equity)}
    return bootstrap(returns, {name: known[name] for name in _RATES})
