"""`hybrid-bt news evaluate`: the risk manager against none, against placebos, late and masked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.console import DAY, FILE, command, option, say, table, write_out
from hybrid_bt.errors import ConfigError
from hybrid_bt.options import request_of, setup_of, shared

if TYPE_CHECKING:
    from rich.table import Table

    from hybrid_bt.news.evaluation import Effect

TABLE = "news_effects.csv"
SHOWN = ("sharpe", "cvar", "max_drawdown")


@command("evaluate")
@shared("mode", "bars", "pairs", "span", "in-sample", "config", "risk")
@option("--placebos", type=click.IntRange(1, 1000), default=20, help="Shuffles of the advice.")
@option("--cutoff", type=DAY, help="The model's knowledge cut-off: effects before and after are told apart.")
@option("--masked/--no-masked", default=True, help="Also without names and dates.")
@shared("seed")
@option("--out", type=FILE, help=f"Folder for {TABLE}.")
def evaluate(placebos: int, cutoff: date | None, masked: bool, seed: int, out: Path | None, **flags: Any) -> None:
    """Compare the risk manager with none: Sharpe, CVaR, drawdown with intervals, placebo, delay, mask, flips, cost."""
    setup = setup_of(flags)
    if setup is None:
        raise ConfigError("evaluate needs a risk manager; say --risk lexicon, replay, record or live")
    import numpy as np

    from hybrid_bt.news import evaluation

    after = None if cutoff is None else np.datetime64(cutoff)
    asked = evaluation.Questions(placebos, after, masked, seed)
    found = evaluation.evaluate(request_of(flags), setup, asked)
    say(found.title, _table(found.effects), *found.said)
    if out is not None:
        write_out(out / TABLE, found.table)


def _table(effects: list[Effect]) -> Table:
    head = [title for name in SHOWN for title in (name.replace("_", " "), "less off")]
    rows: dict[tuple[str, str], dict[str, Effect]] = {}
    for one in effects:
        rows.setdefault((one.span, one.variant), {})[one.measure] = one
    cells = ((*both, *(cell for name in SHOWN for cell in _cells(found[name]))) for both, found in rows.items())
    return table(("span", "variant", *head), cells, left=("span", "variant"))


def _cells(effect: Effect) -> tuple[str, str]:
    scale, unit = (1.0, "") if effect.measure == "sharpe" else (100.0, "%")
    value, gap = effect.value, effect.less_off
    difference = f"{scale * gap.estimate:+.2f} [{scale * gap.low:.2f}, {scale * gap.high:.2f}]{unit}"
    return f"{scale * value.estimate:.2f}{unit}", difference
