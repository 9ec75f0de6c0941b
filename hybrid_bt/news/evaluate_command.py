"""`hybrid-bt news evaluate`: the risk manager against none, against placebos, late and masked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.console import (
    DAY,
    command,
    config_option,
    data_option,
    data_options,
    load_asked,
    mode_option,
    pairs_option,
    symbols_option,
    wide_console,
)
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole
from hybrid_bt.news_options import risk_options, setup_of

if TYPE_CHECKING:
    from hybrid_bt.news.evaluation import Evaluation

TABLE = "news_effects.csv"
SHOWN = ("sharpe", "cvar", "max_drawdown")


@command("evaluate")
@mode_option
@data_option
@data_options
@symbols_option
@pairs_option
@config_option
@risk_options
@click.option("--placebos", type=click.IntRange(1, 1000), default=20, show_default=True, help="Shuffles of the advice.")
@click.option("--cutoff", type=DAY, help="The model's knowledge cut-off: effects before and after are told apart.")
@click.option("--masked/--no-masked", default=True, show_default=True, help="Also without names and dates.")
@click.option("--start", type=DAY, help="First day traded.  [default: the first out-of-sample bar]")
@click.option("--end", type=DAY, help="Last day.  [default: the last bar]")
@click.option(
    "--allow-in-sample", is_flag=True, help="Trade bars that the policies were trained on; nothing is evidence then."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of shuffles and resamples.")
@click.option("--out", type=click.Path(path_type=Path), help=f"Folder for {TABLE}.")
def main(**flags: Any) -> None:
    """Compare the risk manager with none: Sharpe, CVaR, drawdown with intervals, placebo, delay, mask, flips, cost."""
    if flags["risk"] == "off":
        raise ConfigError("evaluate needs a risk manager; say --risk lexicon, replay, record or live")
    found = _evaluated(flags)
    _print(found)
    if flags["out"] is not None:
        _write(flags["out"], found)


def _evaluated(flags: dict[str, Any]) -> Evaluation:
    import numpy as np

    from hybrid_bt.backtest import Request
    from hybrid_bt.build import load_policies
    from hybrid_bt.config import load_config
    from hybrid_bt.feeds.sample import sample_pairs
    from hybrid_bt.news.evaluation import Questions, evaluate

    setup = setup_of(flags)
    assert setup is not None
    config = load_config(flags["mode"], flags["config"])
    start, end, cutoff = (None if flags[name] is None else flags[name].date() for name in ("start", "end", "cutoff"))
    bars = load_asked(flags, end=end, trade_from=start)
    request = Request(
        bars=bars,
        config=config,
        policies=load_policies(config),
        pairs=tuple(flags["pairs"] or sample_pairs(flags["data"], bars.symbols)),
        start=start,
        allow_in_sample=flags["allow_in_sample"],
        mode=flags["mode"],
    )
    after = None if cutoff is None else np.datetime64(cutoff)
    return evaluate(request, setup, Questions(flags["placebos"], after, flags["masked"], flags["seed"]))


def _print(found: Evaluation) -> None:
    """The table with its title, and what else is to be said."""
    console = wide_console()
    console.print(found.title, highlight=False, markup=False)
    console.print(_table(found.effects))
    for line in found.said:
        console.print(line, highlight=False, markup=False)


def _table(effects: list[Any]) -> Any:
    from rich.table import Table

    table = Table("span", "variant")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
        table.add_column("less off", justify="right")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in effects:
        rows.setdefault((one.span, one.variant), {})[one.measure] = one
    for (span, variant), found in rows.items():
        cells = []
        for name in SHOWN:
            scale, unit = (1.0, "") if name == "sharpe" else (100.0, "%")
            value, gap = found[name].value, found[name].less_off
            cells.append(f"{scale * value.estimate:.2f}{unit}")
            cells.append(f"{scale * gap.estimate:+.2f} [{scale * gap.low:.2f}, {scale * gap.high:.2f}]{unit}")
        table.add_row(span, variant, *cells)
    return table


def _write(out: Path, found: Evaluation) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / TABLE, found.table)
    except OSError as error:
        raise ConfigError(f"out: cannot write to {out}: {error.strerror or error}; give another with --out") from None
