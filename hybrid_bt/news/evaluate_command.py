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
from hybrid_bt.news.options import evaluation_options, questions_of, risk_options, setup_of

if TYPE_CHECKING:
    from hybrid_bt.news.evaluation import Evaluation

__all__ = ["main", "print_evaluation"]

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
@evaluation_options
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
    print_evaluation(found)
    if flags["out"] is not None:
        _write(flags["out"], found)


def _evaluated(flags: dict[str, Any]) -> Evaluation:
    from hybrid_bt.build import load_policies, training_end
    from hybrid_bt.config import load_config
    from hybrid_bt.feeds.sample import sample_pairs
    from hybrid_bt.news.evaluation import Traded, evaluate
    from hybrid_bt.trading_start import first_trading_row

    setup = setup_of(flags)
    assert setup is not None
    config = load_config(flags["mode"], flags["config"])
    start, end = (None if flags[name] is None else flags[name].date() for name in ("start", "end"))
    bars = load_asked(flags, end=end, trade_from=start)
    policies = load_policies(config)
    row = first_trading_row(bars, training_end(policies), start, flags["allow_in_sample"])
    pairs = tuple(flags["pairs"] or sample_pairs(flags["data"], bars.symbols))
    traded = Traded(bars, row, config.for_stamps(bars.stamps[:row]), policies, pairs, flags["mode"])
    return evaluate(traded, setup, questions_of(flags))


def print_evaluation(found: Evaluation) -> None:
    """The table with its title, and what else is to be said."""
    console = wide_console()
    console.print(found.title, highlight=False, markup=False)
    console.print(_table(found.effects))
    for line in found.said:
        console.print(line, highlight=False, markup=False)


def _table(effects: list[Any]) -> Any:
    from rich.table import Table

    table = Table()
    for title in ("span", "variant"):
        table.add_column(title)
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
