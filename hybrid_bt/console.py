"""What the commands share: errors in one line, exit status 2, and a progress bar on terminals only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hybrid_bt.errors import HybridError

__all__ = ["Command", "comma_list", "mode_option", "progress_bar"]

USER_MISTAKE = 2  #: exit status

mode_option = click.option(
    "--mode",
    type=click.Choice(["stable", "aggressive"]),
    default="stable",
    show_default=True,
    help="Where every number comes from that no flag gives.",
)


class Command(click.Command):
    """A command that answers a user's mistake with one line on stderr and status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; anything that is not a `HybridError` is our bug and keeps its traceback."""
        try:
            return super().invoke(ctx)
        except HybridError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(USER_MISTAKE)


def comma_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split `A,B,C`; a click callback."""
    if value is None:
        return ()
    items = tuple(item.strip() for item in value.split(","))
    if not all(items):
        raise click.BadParameter(f"{value!r} has an empty item; write A,B,C", ctx, param)
    return items


@contextmanager
def progress_bar(label: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """A `progress(done, total)` callable that draws on a terminal; None elsewhere, or where it is to be hidden."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(label), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label)
        yield lambda done, total: bar.update(task, completed=done, total=total)
