"""What the commands share: errors in one line, exit status 2, kinds of options, a progress bar on terminals."""

from __future__ import annotations

import importlib.util
import io
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias

import click

from hybrid_bt.commands.ending import NEAREST, USER_MISTAKE, Ending, at_work, is_of_output, tell, unclocked
from hybrid_bt.commands.given import Given, alone, check_paths, nearest_file, refusal
from hybrid_bt.errors import ConfigError, Hint, HybridError, did_you_mean, how_to_install
from hybrid_bt.files.texts import shown

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

Flag: TypeAlias = Any  #: what click made of a flag: text, number, date, path, tuple
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Flags = Mapping[str, Flag]  #: those of a command, by their names


class _Day(click.ParamType):  # type: ignore[type-arg]  # generic in later versions of click
    """A date, which help and errors call by its form."""

    name = "yyyy-mm-dd"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else datetime.strptime(str(value), "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is no date; write YYYY-MM-DD, for example 2010-01-04", param, ctx)


class Finite(click.FloatRange):
    """A number of a range; click's own ranges let NaN pass."""

    def convert(self, value: Flag, param: click.Parameter | None, ctx: click.Context | None) -> float:
        amount: float = super().convert(value, param, ctx)
        if not math.isfinite(amount):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return amount


DAY, AMOUNT, COUNT, FILE = _Day(), Finite(0.0, min_open=True), click.IntRange(min=1), click.Path(path_type=Path)


def option(*names: str, help: str, **how: Flag) -> Decorator:
    """`click.option` whose help names its default, also where that is to do without."""
    if how.get("default") is not None:
        how["show_default"] = True
    elif not (how.get("is_flag") or how.get("required") or how.get("hidden") or "[default:" in help):
        help = f"{help}  [default: none]"
    return click.option(*names, help=help, **how)


def flag(*names: str, help: str, **how: Flag) -> Decorator:
    """An option that takes no value."""
    return click.option(*names, is_flag=True, help=help, **how)


def listed(*names: str, help: str, metavar: str = "A,B,C", **how: Flag) -> Decorator:
    """An option that takes `A,B,C` and gives a tuple of texts."""
    return option(*names, help=help, metavar=metavar, callback=_split, **how)


def _split(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    items = () if value is None else tuple(item.strip() for item in value.split(","))
    if not all(items):
        raise click.BadParameter(f"{value!r} has an empty item; write A,B,C", ctx, param)
    return items


class Command(Given, Ending):
    """A command that answers a user's mistake with one line on stderr and status 2."""

    def invoke(self, ctx: click.Context) -> object:
        """Run it, alone in what --out names; what is neither a `HybridError` nor the system's refusal is our bug."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=NEAREST)
        advice: list[Warning | str] = []

        def warn(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
            if issubclass(category, Hint):
                advice.append(message)  # whose words may know more when all is done
            else:
                tell("warning", message)

        with warnings.catch_warnings():
            warnings.showwarning = warn  # a user of the command has no use for our line of source
            try:
                check_paths(ctx.params.values())
                with at_work(ctx.command_path, ctx.params.get("quiet")), alone(ctx.params.get("out")):
                    return super().invoke(ctx)
            except (HybridError, OSError) as error:
                if isinstance(error, OSError) and is_of_output(error):
                    raise
                advice.clear()
                said = self._in_flags(str(error)) if isinstance(error, HybridError) else refusal(error)
                tell("error", said + nearest_file(said, ctx.params.values()))
                ctx.exit(USER_MISTAKE)
            finally:
                for text in () if ctx.params.get("quiet") else advice:
                    tell("note", text)

    def _in_flags(self, text: str) -> str:
        """What a message says in Python's words, in this command's: `on_bad_data='mend'` is `--on-bad-data mend`."""
        flags = {option.name: option.opts[-1] for option in self.params if isinstance(option, click.Option)}
        named = re.compile(rf"\b({'|'.join(map(str, flags))})=(?:True\b|'(\w+)')") if flags else None
        return named.sub(lambda said: f"{flags[said[1]]} {said[2] or ''}".rstrip(), text) if named else text


class Group(Ending, click.Group):
    """Commands under one name; one that is not there gets the nearest."""

    command_class = Command

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise click.UsageError(f"no command {cmd_name!r}{did_you_mean(cmd_name, self.list_commands(ctx))}", ctx)
        return found


def command(name: str | None = None, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Decorator of a command that can also be started as a module; `example` ends its help."""
    return click.command(name, cls=Command, context_settings=SETTINGS, epilog=f"Example: hybrid-bt {example}")


def check_installed(what: str, extra: str, modules: Iterable[str]) -> None:
    """Name what is missing before anything is computed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what} needs {', '.join(missing)}: {how_to_install(extra)}")


def check_trainers(what: str) -> None:
    """The same of the extra `train`."""
    check_installed(what, "train", ("torch", "stable_baselines3", "sb3_contrib", "onnx"))


def write_out(path: Path, content: bytes) -> None:
    """Write a file that --out names, and its folder where that is missing."""
    from hybrid_bt.files import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


@contextmanager
def progress_bar(label: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """A `progress(done, total)` callable that draws on a terminal; None elsewhere, or where it is to be hidden."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with unclocked(), Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(shown(label))
        yield lambda done, total: bar.update(task, completed=done, total=total)
