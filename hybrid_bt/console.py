"""What the commands share: errors in one line, exit status 2, and a progress bar on terminals only."""

from __future__ import annotations

import codecs
import io
import math
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.errors import Advice, HybridError

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console

    from hybrid_bt.bars import Bars

USER_MISTAKE = 2  #: exit status
NEAREST = "hybrid_bt.nearest"  #: how characters are written that the output's encoding lacks
WIDTH = 120  #: columns where the output is no terminal


class _Day(click.DateTime):
    """A date, which help and errors call by its form."""

    def __init__(self) -> None:
        super().__init__(formats=["%Y-%m-%d"])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no date; write YYYY-MM-DD, for example 2010-01-04", param, ctx)


DAY = _Day()


class _Amount(click.FloatRange):
    """A finite number above 0; click's own ranges let NaN pass."""

    def __init__(self) -> None:
        super().__init__(min=0.0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        if not math.isfinite(amount):
            self.fail(f"{value!r} is no finite number above 0", param, ctx)
        return amount


AMOUNT = _Amount()


class Command(click.Command):
    """A command that answers a user's mistake with one line on stderr and status 2.

    Its help names the default of every option that takes a value, also where that is to do without.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for option in self.params:
            if isinstance(option, click.Option) and _is_silent(option):
                option.help = f"{option.help}  [default: none]"

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; anything that is not a `HybridError` is our bug and keeps its traceback."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=NEAREST)
        advice: list[str] = []

        def warn(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Advice):
                advice.append(str(message))
            else:
                _say("warning", message)

        with warnings.catch_warnings():
            warnings.showwarning = warn  # a user of the command has no use for our line of source
            try:
                return super().invoke(ctx)
            except HybridError as error:
                advice.clear()
                _say("error", self._in_flags(str(error)))
                ctx.exit(USER_MISTAKE)
            finally:
                for text in () if ctx.params.get("quiet") else advice:
                    _say("note", text)

    def _in_flags(self, text: str) -> str:
        """What a message says in Python's words, in this command's: `on_bad_data='mend'` is `--on-bad-data mend`."""
        flags = {option.name: option.opts[-1] for option in self.params if isinstance(option, click.Option)}
        named = re.compile(rf"\b({'|'.join(map(str, flags))})=(?:True\b|'(\w+)')") if flags else None
        return named.sub(lambda said: f"{flags[said[1]]} {said[2] or ''}".rstrip(), text) if named else text


def _say(kind: str, message: object) -> None:
    click.echo(f"{kind}: {' '.join(str(message).split())}", err=True)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """What is written for characters that the encoding lacks; a minus stays one, or a number would be wrong."""
    assert isinstance(error, UnicodeEncodeError)
    wide = error.object[error.start : error.end].replace("\u2212", "-")
    parts = (c for c in unicodedata.normalize("NFKD", wide) if not unicodedata.combining(c))
    return "".join(parts).encode("ascii", "replace").decode(), error.end


codecs.register_error(NEAREST, _nearest)


def _is_silent(option: click.Option) -> bool:
    """Takes a value, may be left out, and does not say what happens then."""
    named = option.show_default or "[default:" in (option.help or "")
    return not (option.is_flag or option.required or option.hidden or named)


def comma_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split `A,B,C`; a click callback."""
    if value is None:
        return ()
    items = tuple(item.strip() for item in value.split(","))
    if not all(items):
        raise click.BadParameter(f"{value!r} has an empty item; write A,B,C", ctx, param)
    return items


def command(name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Decorator of a command of this program."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    return click.command(name, cls=Command, context_settings=settings)


mode_option = click.option(
    "--mode",
    type=click.Choice(["stable", "aggressive"]),
    default="stable",
    show_default=True,
    help="Where every number comes from that no flag gives.",
)
data_option = click.option(
    "--data",
    default="us20",
    show_default=True,
    metavar="us20|tech6|yahoo|PATH",
    help="Embedded sample, Yahoo, or a folder or file of OHLCV.",
)
symbols_option = click.option("--symbols", callback=comma_list, metavar="A,B,C", help="Symbols.  [default: all]")
_READING = (
    click.option("--raw-prices", is_flag=True, help="Do not scale prices by adjusted / close."),
    click.option(
        "--on-bad-data",
        type=click.Choice(["fail", "mend", "warn"]),
        default="fail",
        show_default=True,
        help="Errors in prices: refuse, repair, or leave out the bars that cannot be traded on.",
    ),
    click.option(
        "--align",
        type=click.Choice(["union", "intersection"]),
        default="union",
        show_default=True,
        help="Calendar of several symbols: bars of any, untraded where one has none, or bars that all have.",
    ),
    click.option(
        "--calendar", metavar="XNYS", help="Count days that differ from an exchange's (needs the extra `calendars`)."
    ),
    click.option(
        "--resample", metavar="1D|60min", help="Make longer bars, session by session; 1D@17:00 ends sessions then."
    ),
    click.option("--offline", is_flag=True, help="Take yahoo from its snapshots on disk; call nobody."),
)


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How the bars of --data are read; a decorator."""
    for option in reversed(_READING):
        function = option(function)
    return function


def load_asked(flags: dict[str, Any], *, end: date | None = None, trade_from: date | None = None) -> Bars:
    """The bars that --data, --symbols and the flags of `data_options` ask for, up to a last day."""
    from hybrid_bt.feeds import load_bars

    how = ("raw_prices", "on_bad_data", "offline", "align", "resample", "calendar")
    return load_bars(
        flags["data"],
        symbols=flags["symbols"] or None,
        end=end,
        trade_from=trade_from,
        **{name: flags[name] for name in how},
    )


pairs_option = click.option(
    "--pairs", callback=comma_list, metavar="Y:X,...", help="Pairs of the Kalman leg.  [default: the sample's own]"
)
config_option = click.option(
    "--config", type=click.Path(), help="TOML file that overrides the mode; flags override both."
)
sac_steps_option = click.option(
    "--sac-steps",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Environment steps per SAC model.",
)
ppo_steps_option = click.option(
    "--ppo-steps",
    type=click.IntRange(min=1),
    default=40_000,
    show_default=True,
    help="Environment steps per gate model.",
)


def wide_console(width: int = WIDTH) -> Console:
    """Standard output as rich writes to it: a terminal's own width, `width` columns elsewhere."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


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
