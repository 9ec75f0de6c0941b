"""`hybrid-bt news evaluate`: the risk manager against none, against placebos, late and masked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np

from hybrid_bt.console import (
    DAY,
    command,
    config_option,
    data_option,
    mode_option,
    pairs_option,
    symbols_option,
    wide_console,
)
from hybrid_bt.errors import ConfigError
from hybrid_bt.news.options import risk_options, setup_of
from hybrid_bt.whole_file import write_whole

__all__ = ["main"]

TABLE = "news_effects.csv"


@command("evaluate")
@mode_option
@data_option
@symbols_option
@pairs_option
@config_option
@risk_options
@click.option("--start", type=DAY, help="First day traded.  [default: the first out-of-sample bar]")
@click.option("--placebos", type=click.IntRange(min=1), default=20, show_default=True, help="Shuffles of the advice.")
@click.option("--cutoff", type=DAY, help="The model's knowledge cut-off: effects before and after it are told apart.")
@click.option("--masked/--no-masked", default=True, show_default=True, help="Also without names and dates.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of shuffles and resamples.")
@click.option("--out", type=click.Path(path_type=Path), help=f"Folder for {TABLE}.")
def main(**flags: Any) -> None:
    """Compare the risk manager with none: Sharpe, CVaR, drawdown with intervals, placebo, delay, mask, flips, cost."""
    if flags["risk"] == "off":
        raise ConfigError("evaluate needs a risk manager; say --risk lexicon, replay, record or live")
    effects, said = _evaluated(flags)
    console = wide_console()
    for line in said[:1]:
        console.print(line, highlight=False, markup=False)
    console.print(_table(effects))
    for line in said[1:]:
        console.print(line, highlight=False, markup=False)
    if flags["out"] is not None:
        _write(flags["out"], effects)


def _evaluated(flags: dict[str, Any]) -> tuple[list[Any], list[str]]:
    from hybrid_bt.build import build, load_policies, training_end
    from hybrid_bt.config import load_config
    from hybrid_bt.feeds import load_bars
    from hybrid_bt.feeds.sample import sample_pairs
    from hybrid_bt.news.evaluate import compare
    from hybrid_bt.trading_start import first_trading_row

    config = load_config(flags["mode"], flags["config"])
    bars = load_bars(flags["data"], symbols=flags["symbols"] or None)
    policies = load_policies(config)
    row = first_trading_row(bars, training_end(policies), _day(flags["start"]), False)
    config = config.for_stamps(bars.stamps[:row])
    desks = _desks(flags, config, bars)
    advice = {name: _advised(desk(), bars, row) for name, desk in desks.items()}
    brain = build(config, bars.symbols, flags["pairs"] or sample_pairs(flags["data"], bars.symbols), policies)
    opinions = [brain.opine(closes) for closes in bars.close.tolist()][row:]
    traded = bars.between(bars.stamps[row], None)
    cutoff = None if flags["cutoff"] is None else np.datetime64(flags["cutoff"])
    found = compare(
        brain, opinions, {name: one[0] for name, one in advice.items()}, traded, config,
        given="on", n_placebos=flags["placebos"], seed=flags["seed"], cutoff=cutoff,
    )  # fmt: skip
    return found.effects, _said(found, advice, traded, flags)


def _desks(flags: dict[str, Any], config: Any, bars: Any) -> dict[str, Callable[[], Any]]:
    """`on`, the lexicon beside another scorer, and the mask."""
    from hybrid_bt.news.masks import Masked
    from hybrid_bt.news.setup import LEXICON, open_desk

    setup = setup_of(flags)
    assert setup is not None
    found = {"on": lambda: open_desk(setup, config.news, bars.symbols)}
    if setup.scorer != LEXICON:
        plain = setup._replace(mode=LEXICON, scorer=LEXICON)
        found[LEXICON] = lambda: open_desk(plain, config.news, bars.symbols)
    if flags["masked"]:
        found["masked"] = lambda: open_desk(setup, config.news, bars.symbols, wrap=Masked)
    return found


def _advised(desk: Any, bars: Any, row: int) -> tuple[Any, Any]:
    from hybrid_bt.news.evaluate import advice_of
    from hybrid_bt.news.stage import stage_of

    stage = stage_of(desk, bars.stamps, row)
    return advice_of(stage, bars.between(bars.stamps[row], None)), stage


def _said(found: Any, advice: dict[str, Any], traded: Any, flags: dict[str, Any]) -> list[str]:
    from hybrid_bt.news.cache import Recording, Replay
    from hybrid_bt.news.evaluate import flip_rate

    stage = advice["on"][1]
    days = [str(traded.stamps[i].astype("datetime64[D]")) for i in (0, -1)]
    lines = [
        f"{flags['mode']} on {traded.name}, {days[0]} to {days[1]}, {stage.desk.answers.scorer} on {stage.desk.name}; "
        "differences to off, 95 % intervals",
        f"better Sharpe ratio than {found.better_than_placebos:.0%} of {flags['placebos']} placebos on shuffled days",
    ]
    if stage.desk.is_sample:
        lines.append("The embedded documents were chosen in hindsight: nothing here is evidence.")
    if stage.counts["failures"]:
        lines.append(f"the scorer failed on {stage.counts['failures']} of {stage.counts['bars_with_documents']} bars")
    if "masked" in advice:
        gaps = [abs(a - b) for one, other in zip(advice["on"][0], advice["masked"][0], strict=True)
                for a, b in zip(one.risk, other.risk, strict=True)]  # fmt: skip
        lines.append(f"mean change of risk under the mask (contamination gap): {np.mean(gaps):.4f} points")
    answers = stage.desk.answers
    if isinstance(answers, Recording | Replay):
        recorded = answers.recorded()
        rate = flip_rate(recorded)
        if not math.isnan(rate):
            lines.append(f"verdict flip rate between calls: {rate:.1%}")
        thousands = traded.n_bars / 1000.0
        spent = {name: sum(one.usage.get(name, 0.0) for one in recorded) for name in ("prompt_tokens",
                 "completion_tokens", "usd")}  # fmt: skip
        lines.append(
            f"per 1,000 bars: {spent['prompt_tokens'] / thousands:,.0f} tokens in, "
            f"{spent['completion_tokens'] / thousands:,.0f} out, {spent['usd'] / thousands:.4f} US dollars"
        )
    return lines


def _table(effects: list[Any]) -> Any:
    from rich.table import Table

    names = list(dict.fromkeys(one.measure for one in effects))
    table = Table()
    for title in ("span", "variant"):
        table.add_column(title)
    for name in ("sharpe", "cvar", "max_drawdown"):
        table.add_column(name.replace("_", " "), justify="right")
        table.add_column("less off", justify="right")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in effects:
        rows.setdefault((one.span, one.variant), {})[one.measure] = one
    for (span, variant), found in rows.items():
        cells = []
        for name in (name for name in names if name in ("sharpe", "cvar", "max_drawdown")):
            scale, unit = (1.0, "") if name == "sharpe" else (100.0, "%")
            value, gap = found[name].value, found[name].less_off
            cells.append(f"{scale * value.estimate:.2f}{unit}")
            cells.append(f"{scale * gap.estimate:+.2f} [{scale * gap.low:.2f}, {scale * gap.high:.2f}]{unit}")
        table.add_row(span, variant, *cells)
    return table


def _write(out: Path, effects: list[Any]) -> None:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("span", "variant", "measure", "value", "low", "high", "less_off", "less_off_low", "less_off_high"))
    for one in effects:
        writer.writerow((one.span, one.variant, one.measure, *map(repr, (*one.value, *one.less_off))))
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / TABLE, file.getvalue().encode())
    except OSError as error:
        raise ConfigError(f"out: cannot write to {out}: {error.strerror or error}; give another with --out") from None


def _day(moment: Any) -> date | None:
    return None if moment is None else moment.date()
