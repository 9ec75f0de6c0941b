"""`hybrid-bt pairs`: look for pairs on training bars, and say how many of them luck would have found."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.console import (
    AMOUNT,
    DAY,
    command,
    data_option,
    data_options,
    load_asked,
    progress_bar,
    symbols_option,
    wide_console,
)
from hybrid_bt.errors import ConfigError
from hybrid_bt.files import write_whole

if TYPE_CHECKING:
    from hybrid_bt.pair_selection import Candidate

LEVEL = 0.05  #: of a single test, for the comparison with luck
LAST_TRAINING_DAY = datetime(2009, 12, 31)  #: of the shipped policies


@command()
@data_option
@data_options
@symbols_option
@click.option("--train-start", type=DAY, help="First day looked at.  [default: the first bar]")
@click.option(
    "--train-end",
    type=DAY,
    default=LAST_TRAINING_DAY,
    help=f"Last day looked at; nothing behind it is read.  [default: {LAST_TRAINING_DAY:%Y-%m-%d}]",
)
@click.option(
    "--fdr", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of false finds allowed."
)
@click.option("--max-half-life", type=AMOUNT, default=60.0, show_default=True, help="Slowest return, bars.")
@click.option("--max-drift", type=AMOUNT, default=0.5, show_default=True, help="Greatest relative change of the ratio.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many to show.")
@click.option("--fit-kalman", is_flag=True, help="Noise variances of those shown, by maximum likelihood (slow).")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file with all pairs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(**flags: Any) -> None:
    """Test every two symbols for cointegration on training bars, with control of false discoveries.

    A pair passes with q <= --fdr, a half-life and a stable hedge ratio. The text for --pairs of `hybrid-bt run` comes
    last. A pair that passes has moved together; it need not go on to.
    """
    from hybrid_bt.pair_selection import select_pairs

    if flags["train_start"] and flags["train_end"] <= flags["train_start"]:
        raise ConfigError("--train-end is not after --train-start; exchange them or widen the span")
    bars = load_asked(flags, end=flags["train_end"].date())
    if flags["train_start"]:
        bars = bars.between(flags["train_start"].date(), None)
    if bars.n_symbols < 2:
        raise ConfigError(f"pairs: {bars.n_symbols} symbol makes no pair; name two or more with --symbols")
    with progress_bar(f"pairs of {bars.name}") as progress:
        found = select_pairs(bars, progress)
    passed = [c for c in found if _passes(c, flags)]
    noise = _fitted(bars, found[: flags["top"]]) if flags["fit_kalman"] else {}
    if flags["out"]:
        _write(flags["out"], found)
    if flags["as_json"]:
        rows = [c._asdict() | {"passes": c in passed} | noise.get(c.pair, {}) for c in found]
        click.echo(json.dumps(rows).replace("Infinity", "null"))
        return
    _print(bars, found, passed, noise, flags["top"])


def _passes(candidate: Candidate, flags: dict[str, Any]) -> bool:
    return bool(
        candidate.q_value <= flags["fdr"]
        and candidate.half_life_bars <= flags["max_half_life"]
        and abs(candidate.stability) <= flags["max_drift"]
    )


def _fitted(bars: Any, shown: list[Candidate]) -> dict[str, dict[str, float]]:
    from hybrid_bt.config import load_config
    from hybrid_bt.trading_start import fit_pairs

    names = [candidate.pair for candidate in shown]
    params = fit_pairs(bars, names, bars.n_bars, load_config("stable"))
    return {
        name: {"alpha_var": p.alpha_var_per_bar, "beta_var": p.beta_var_per_bar, "noise_var": p.noise_var}
        for name, p in zip(names, params, strict=True)
    }


def _write(path: Path, found: list[Candidate]) -> None:
    from hybrid_bt.texts import csv_of_rows

    try:
        write_whole(path, csv_of_rows((found[0]._fields, *found)).encode())
    except OSError as error:
        raise ConfigError(f"pairs: cannot write {path}: {error.strerror or error}; give another --out") from None


def _print(
    bars: Any, found: list[Candidate], passed: list[Candidate], noise: dict[str, dict[str, float]], top: int
) -> None:
    from rich.table import Table

    from hybrid_bt.texts import end_days

    first, last = end_days(bars.stamps)
    table = Table(title=f"{len(found)} pairs of {bars.name}, {first} to {last}", title_justify="left")
    table.add_column("pair")
    names = ["hedge ratio", "p", "q", "Johansen / 95 %", "half-life, bars", "drift of ratio"]
    for name in names + (["Q alpha", "Q beta", "R"] if noise else []) + ["passes"]:
        table.add_column(name, justify="right")
    for c in found[:top]:
        fitted = [f"{value:.1e}" for value in noise.get(c.pair, {}).values()]
        table.add_row(
            c.pair,
            f"{c.hedge_ratio:.2f}",
            f"{c.p_value:.4f}",
            f"{c.q_value:.3f}",
            f"{c.johansen:.2f}",
            f"{c.half_life_bars:.0f}",
            f"{c.stability:+.0%}",
            *fitted,
            "yes" if c in passed else "",
        )
    wide_console().print(table)
    by_luck = sum(1 for c in found if c.p_value <= LEVEL)
    click.echo(f"{by_luck} of {len(found)} have p <= {LEVEL}; luck alone gives about {LEVEL * len(found):.0f}")
    click.echo(f"--pairs {','.join(c.pair for c in passed)}" if passed else "no pair passes")


if __name__ == "__main__":
    main()
